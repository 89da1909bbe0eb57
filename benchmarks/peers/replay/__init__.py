"""Searches over learning curves in simulated time (`benchmarks.search.replay`)."""
