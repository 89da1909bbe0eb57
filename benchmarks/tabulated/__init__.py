"""Real trainings as tables: losses and learning curves that cost nothing to evaluate."""
