"""Files outside MLflow: URIs that are safe to show, the cache folder, and checkpoints."""
