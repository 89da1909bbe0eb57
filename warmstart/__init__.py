"""Warm start: a new study learns from past ones."""
