"""Bringing a backup to this PC and keeping enough of them: choose, look for room, transfer into a folder
that no one takes for a backup, verify, give it its name, copy it further, and only then delete."""
