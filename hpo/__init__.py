"""The search engine: spaces, trials, samplers, schedulers and the study. Knows nothing of MLflow or of models."""
