"""The settings of one installation: runbook.toml."""
