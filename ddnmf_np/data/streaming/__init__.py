"""Samples that are read from disk as training goes on."""
