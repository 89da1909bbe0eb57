"""Objectives that are the user's own code."""
