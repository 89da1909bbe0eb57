"""The model registry: logged models, versions, and what decides about a promotion."""
