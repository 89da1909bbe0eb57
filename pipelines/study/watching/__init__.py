"""Watching a study, from any machine that reaches the store: nothing is written to it."""
