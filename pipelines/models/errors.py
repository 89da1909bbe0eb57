"""Errors of training a model and of continuing it."""


class TrainingError(ValueError):
    """A model that cannot be used; the trial fails with this message."""


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged or of another trial.

    The leg has to be trained from the start.
    """
