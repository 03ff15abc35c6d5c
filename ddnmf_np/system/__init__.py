"""Tools of the system: files, archives, JSON, signals, memory."""
