"""Backups as actions: one file each, thin; the work is in runbook/backup."""

from runbook.actions.backup.fetch import Fetch
from runbook.actions.backup.freeze import Freeze, Unfreeze
from runbook.actions.backup.upload import Upload
from runbook.actions.backup.verify import Verify

__all__ = ["Fetch", "Freeze", "Unfreeze", "Upload", "Verify"]
