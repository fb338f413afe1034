"""The platform on its machines: containers, compose, configuration files, archives."""
