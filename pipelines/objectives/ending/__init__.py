"""How the study of a table ends: the winner is chosen, trained, scored, logged."""
