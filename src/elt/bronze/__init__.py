"""Bronze: what the source has, raw, as Parquet snapshots in the bucket."""
