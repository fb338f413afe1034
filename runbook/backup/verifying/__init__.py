"""Verification, an idea a module: each file read once, what was found put together and worded."""
