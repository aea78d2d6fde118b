"""Benchmarks: figures printed as Markdown, never asserted."""
