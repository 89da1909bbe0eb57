"""Nested cross-validation: how good a whole search is on rows that it has not seen."""
