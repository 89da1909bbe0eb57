"""Studies logged to MLflow and real trainings (`benchmarks.product`)."""
