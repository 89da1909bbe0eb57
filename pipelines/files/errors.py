"""Errors of stored files and checkpoints."""


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged or of another trial; the leg is trained from the start."""


class DamagedError(ValueError):
    """A stored file does not hold what `Objects.save` wrote."""


class NotWrittenError(OSError):
    """A folder cannot be written; the message says where, why and what helps."""


class NoAnswerError(OSError):
    """A remote place did not answer in time."""
