"""This project against its peers: `python -m benchmarks <name>` (see docs/benchmarks.md)."""
