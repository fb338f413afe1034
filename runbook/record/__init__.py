"""A run on disk: its journal, what was printed, and what the journal comes to."""
