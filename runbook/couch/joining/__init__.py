"""A lost node's blank successor, let into the cluster."""
