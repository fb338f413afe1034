"""Taking a backup of CouchDB: one state, complete, or not there at all."""
