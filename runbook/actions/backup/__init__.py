"""Backups as actions: one file each, thin; the work is in runbook/backup."""

from runbook.actions.backup.freeze import Freeze, Unfreeze
from runbook.actions.backup.verify import Verify

__all__ = ["Freeze", "Unfreeze", "Verify"]
