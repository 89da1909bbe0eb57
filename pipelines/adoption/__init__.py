"""Runs that this project did not log, as a past study."""
