"""A run from options to a folder of results: checkpoints, scores, progress."""
