"""A run as it happens: the engine, and what it is made of."""
