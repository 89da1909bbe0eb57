"""Exceptions, and the words of messages, which give the value, the rule and a way out."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from types import TracebackType


class UserError(Exception):
    """An error that the user can fix; shown as its message, without a traceback.

    Attributes:
        mistakes: the messages of several mistakes, of which its own is the list; () for one.
    """

    mistakes: tuple[str, ...] = ()


class SpaceError(UserError, ValueError):
    """An invalid search space, or parameters that do not belong to it."""


class StudyError(UserError):
    """A study that cannot be created, resumed or continued."""


class TakenError(StudyError):
    """Another driver has the study."""


class DataError(UserError):
    """A table that cannot be used."""


class ParameterError(UserError, ValueError):
    """An unknown name or an invalid value of a public parameter."""


class JobError(Exception):
    """An exception that a job raised, as text: not every exception survives pickling.

    Args:
        kind: name of the exception's type.
        message: its message.
        traceback: the traceback in the worker.
    """

    def __init__(self, kind: str, message: str, traceback: str = "") -> None:
        super().__init__(f"{kind}: {message}" if message else kind)
        self.kind = kind
        self.message = message
        self.traceback = traceback


class WorkerDied(Exception):  # noqa: N818
    """The process that ran the job ended before the job did."""


class TimeLimitExceeded(Exception):  # noqa: N818
    """A job ran for longer than its time limit."""


class PoolBroken(UserError):  # noqa: N818
    """No worker can be started; waiting jobs and later calls of `submit` raise this."""


OUT_OF_MEMORY = "the memory ran out: use fewer workers, smaller models or fewer rows"
# Parts of the texts with which libraries tell it, in lower case.
_NO_MEMORY = (
    "memoryerror",
    "bad_alloc",
    "bad allocation",
    "allocate memory",
    "memory allocation",
    "unable to allocate",
    "out of memory",
    "not enough memory",
)


def tells_no_memory(text: str) -> bool:
    """Whether an error, or the output of a process, says that the memory ran out."""
    text = text.lower()
    return any(part in text for part in _NO_MEMORY)


def time_limit_exceeded(time_limit: float) -> TimeLimitExceeded:
    """The error of a job that ran for longer than `time_limit` seconds."""
    return TimeLimitExceeded(
        f"the job ran for longer than its limit of {time_limit:g} s; raise the limit"
    )


def reason(error: BaseException) -> str:
    """Why something ended: the message of a `UserError`, any other error with its type."""
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"


def similar(name: str, known: Iterable[str]) -> str | None:
    """The known name that resembles `name` most; None when none does."""
    by_case = {str(k).casefold(): str(k) for k in known}
    match = get_close_matches(name.casefold(), by_case, n=1, cutoff=0.6)
    return by_case[match[0]] if match else None


def closest(name: str, known: Iterable[str]) -> str:
    """A hint to append to a message: `, did you mean 'x'?` for the most similar known name.

    Returns:
        The hint, or an empty string when no name in `known` resembles `name`.
    """
    found = similar(name, known)
    return f", did you mean {found!r}?" if found else ""


def raise_all(kind: type[UserError], mistakes: Iterable[str]) -> None:
    """Raise one exception that lists all `mistakes`; do nothing when there are none."""
    found = list(mistakes)
    if len(found) == 1:
        raise kind(found[0])
    if found:
        listed = "\n".join(f"- {mistake}" for mistake in found)
        error = kind(f"{len(found)} mistakes:\n{listed}")
        error.mistakes = tuple(found)
        raise error


class Mistakes:
    """Collects the mistakes that several checks find, each in a `with` block, to tell all at once.

    What a block computes is only known if `raise_all`, after all blocks, raises nothing.
    """

    def __init__(self) -> None:
        self._found: dict[str, type[UserError]] = {}

    def __enter__(self) -> None:
        """Begin a check."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Keep a `UserError` of the check; others are raised."""
        if isinstance(error, UserError):
            self.add(error)
            return True
        return False

    def __bool__(self) -> bool:
        """Whether there is a mistake."""
        return bool(self._found)

    def add(self, error: UserError) -> None:
        """Add the mistakes of an error that are not known yet."""
        for text in error.mistakes or (str(error),):
            self._found.setdefault(text, type(error))

    def raise_all(self) -> None:
        """Raise one error of the first mistake's type, if there are mistakes."""
        for kind in self._found.values():
            raise_all(kind, self._found)


def counted(n: int, noun: str) -> str:
    """A number of things: `1 worker`, `2 studies`, `1,000 rows`."""
    return f"{n:,} {noun if n == 1 else _plural(noun)}"


def _plural(noun: str) -> str:
    if noun.endswith("y"):
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("s", "x", "ch")) else f"{noun}s"
