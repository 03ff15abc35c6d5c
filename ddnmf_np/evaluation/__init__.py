"""Scores, learned parts and pictures; nothing here is seen by training."""
