"""The engine: guides, sites, hosts, actions, journal, report. Imports neither textual nor rich."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("openedx-dr-runbook")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"
