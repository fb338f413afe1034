"""CouchDB as actions: one file each, thin; the work is in runbook/couch."""

from runbook.actions.couchdb.compare import Compare
from runbook.actions.couchdb.create import Create
from runbook.actions.couchdb.dump import Dump
from runbook.actions.couchdb.join import Join
from runbook.actions.couchdb.restore import Restore
from runbook.actions.couchdb.setup_cluster import SetupCluster

__all__ = ["Compare", "Create", "Dump", "Join", "Restore", "SetupCluster"]
