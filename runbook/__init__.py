"""The engine: guides, sites, hosts, actions, journal, report. Imports neither textual nor rich."""

__version__ = "0.1.0"
