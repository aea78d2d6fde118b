"""Where data goes: the ports ``Tables`` and ``Bucket``, their adapters, and the snapshots kept in a bucket."""
