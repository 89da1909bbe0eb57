"""Why a model cannot be trained or continued."""


class TrainingError(ValueError):
    """A model that cannot be used: the trial fails for the reason given."""


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged or of another trial: the leg must be trained again from the start."""
