"""Faults on purpose: what happens to the studies of killed processes and broken stores."""
