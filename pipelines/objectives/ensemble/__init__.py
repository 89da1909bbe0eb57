"""Ensembles of the trials of a search: which ones, with which weights, and whether it pays."""
