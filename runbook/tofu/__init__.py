"""OpenTofu, called and read."""
