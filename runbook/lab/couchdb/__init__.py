"""A CouchDB cluster's stand-in for the practice lab: real addresses, real replies, one process.

``Network`` holds the wires, a ``StandIn`` is the server and the disk of one VM::

    network = Network()
    vm1 = StandIn(network, "10.0.1.10")
    vm1.boot({"COUCHDB_USER": "admin", "COUCHDB_PASSWORD": "…", "NODENAME": "10.0.1.10"}, {})
    vm1.port    # on 127.0.0.1

Revisions, replies and the bytes of ``_all_docs`` are those of CouchDB; clustered reads and writes,
internal replication and loss of nodes behave as recorded from a real cluster of three. It keeps
everything in memory. It has no JavaScript: views, filters, and validation functions beyond those
named in ``validators`` are not there, and it says so (501).
"""

from runbook.lab.couchdb.errors import BootFailed
from runbook.lab.couchdb.network import Network
from runbook.lab.couchdb.node import StandIn
from runbook.lab.couchdb.timing import Timing

__all__ = ["BootFailed", "Network", "StandIn", "Timing"]
