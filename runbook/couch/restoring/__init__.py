"""Putting a backup's documents back, from here or beside the data."""
