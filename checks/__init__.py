"""Read-only questions about the world, one module a subject: ``hosts.disk_free`` is ``disk_free`` in
``checks/hosts.py``."""
