"""Dumps as bytes and as choices: read, judged, one copy of each database chosen."""
