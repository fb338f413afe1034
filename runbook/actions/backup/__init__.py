"""Backups as actions: one file each, thin; the work is in runbook/backup."""

from runbook.actions.backup.freeze import Freeze, Unfreeze

__all__ = ["Freeze", "Unfreeze"]
