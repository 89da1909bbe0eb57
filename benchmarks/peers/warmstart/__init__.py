"""Searches that start from past studies (`benchmarks.warmstart.searches`)."""
