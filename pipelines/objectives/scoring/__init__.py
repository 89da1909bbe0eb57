"""How trials are scored, and what a study searches for."""
