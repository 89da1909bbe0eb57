"""What low budgets are worth: how well they rank, and what continued trainings save."""
