"""The shell round the search engine: data, models, MLflow and the entry points of ``MLproject``."""
