"""A shop's tables into a medallion lakehouse: bronze (raw), silver (clean), gold (analyses)."""

__version__ = "0.2.0"
