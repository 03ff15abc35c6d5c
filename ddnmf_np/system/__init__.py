"""What a program needs of its system: files, archives, JSON, signals, memory."""
