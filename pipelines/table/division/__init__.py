"""The rules by which rows are divided."""
