"""Errors of training a model and of continuing it."""


class TrainingError(ValueError):
    """A model that cannot be used; the trial fails with this message."""
