"""Files outside MLflow: URIs that may be shown, the cache folder, checkpoints."""
