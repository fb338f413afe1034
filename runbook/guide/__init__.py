"""Guides: Markdown that people read, made into steps, and held against this program."""
