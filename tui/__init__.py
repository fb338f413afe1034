"""The terminal app: one of the front ends. The engine knows nothing of it."""
