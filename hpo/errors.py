"""Errors whose messages are written for the user: value, rule, way out; and what can become of a job."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """A mistake the user can mend; shown as one message without a traceback."""


class SpaceError(UserError, ValueError):
    """A search space, or parameters that do not belong to it."""


class StudyError(UserError):
    """A study that cannot be created, resumed or continued."""


class DataError(UserError):
    """A table that cannot be searched on."""


class ParameterError(UserError, ValueError):
    """An unknown or impossible value of a public parameter."""


class JobError(Exception):
    """A job raised; says what, as text.

    Args:
        kind: name of the exception's type.
        message: its text.
        traceback: where it was raised, in the worker.
    """

    def __init__(self, kind: str, message: str, traceback: str = "") -> None:
        super().__init__(f"{kind}: {message}" if message else kind)
        self.kind = kind
        self.message = message
        self.traceback = traceback


class WorkerDied(Exception):  # noqa: N818
    """The process that ran the job ended before the job did."""


class TimeLimitExceeded(Exception):  # noqa: N818
    """A job ran for longer than it may."""


class PoolBroken(UserError):  # noqa: N818
    """No worker can be started; every job that waits gets this, and so does every later `submit`."""


def too_slow(time_limit: float) -> TimeLimitExceeded:
    """The error of a job that ran for longer than `time_limit` seconds."""
    return TimeLimitExceeded(
        f"the job ran for longer than its limit of {time_limit:g} s; raise the limit"
    )


def closest(name: str, known: Iterable[str]) -> str:
    """The end of a message: `, did you mean 'x'?` when one of `known` resembles `name`, else nothing."""
    by_case = {str(k).casefold(): str(k) for k in known}
    match = get_close_matches(name.casefold(), by_case, n=1, cutoff=0.6)
    return f", did you mean {by_case[match[0]]!r}?" if match else ""


def raise_all(kind: type[UserError], mistakes: Iterable[str]) -> None:
    """Raise one `kind` that lists every mistake, if there is any."""
    found = list(mistakes)
    if len(found) == 1:
        raise kind(found[0])
    if found:
        raise kind(f"{len(found)} mistakes:\n" + "\n".join(f"- {m}" for m in found))
