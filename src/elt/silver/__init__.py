"""Silver: the newest snapshots' rows, clean, in relational tables; what cannot be cleaned, in quarantine."""
