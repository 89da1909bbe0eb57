"""The study of one table, from its plan to its winner."""
