"""Everything that reads or writes MLflow's tracking store."""
