"""Search quality and speed against the peers, on functions and replayed learning curves."""
