"""Objectives that are the user's own code: functions, command lines and MLflow projects."""

from typing import Any, Protocol

BUDGET, CHECKPOINT = "budget", "checkpoint"  # what code may take beside its parameters


class Code(Protocol):
    """What a study evaluates for each configuration."""

    @property
    def name(self) -> str:
        """Identifies it, as `place:name`."""
        ...

    @property
    def text(self) -> str | None:
        """By which a later process finds it; None where it has to be given again."""
        ...

    @property
    def takes(self) -> frozenset[str]:
        """Which of `budget` and `checkpoint` it takes."""
        ...

    @property
    def needs_run(self) -> bool:
        """Whether it needs the id of the trial's run from the first trial on."""
        ...

    @property
    def digest(self) -> str:
        """Of its source."""
        ...

    def check(self, names: frozenset[str]) -> None:
        """Check before anything is evaluated that it can be, with parameters of these names.

        Raises:
            ParameterError: when it cannot be.
        """
        ...

    def worker(self) -> "Evaluate":
        """What the workers call: a value that `pickle` or cloudpickle can send to them."""
        ...


class Evaluate(Protocol):
    """Called in a worker with the parameters, and with what the code takes beside them."""

    def __call__(self, params: dict[str, Any], **beside: Any) -> Any:
        """What the code returns: a number, a mapping of metrics, or an iterator of these."""
        ...
