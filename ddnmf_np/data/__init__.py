"""Real data in, mini-batches out."""
