"""Warm start: what past studies say about a new one."""
