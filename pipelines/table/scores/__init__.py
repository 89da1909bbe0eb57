"""Metrics, and what they say about a model: intervals, estimates, importance."""
