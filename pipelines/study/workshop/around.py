"""A pool whose jobs another pool runs."""

from collections.abc import Collection
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from hpo.trial import Report
from hpo.workers import first_done


class Inner(Protocol):
    """What such a pool needs of the one inside."""

    @property
    def free(self) -> int:
        """How many more jobs could start at once."""
        ...

    def shutdown(self, now: bool = False) -> None:
        """End the workers."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Any:
        """End the workers, at once after an error."""
        ...


PoolT = TypeVar("PoolT", bound=Inner)


class PoolAround(Generic[PoolT]):
    """What pools around another one have in common; each has a `submit` of its own.

    Args:
        pool: that runs the jobs.
    """

    def __init__(self, pool: PoolT) -> None:
        self._pool = pool

    @property
    def free(self) -> int:
        """How many more jobs could start at once."""
        return self._pool.free

    def wait(
        self, futures: Collection["Future[Report]"], timeout: float
    ) -> Collection["Future[Report]"]:
        """Wait until at least one of the futures is done, for `timeout` seconds at most."""
        return first_done(futures, timeout)

    def shutdown(self, now: bool = False) -> None:
        """End the workers."""
        self._pool.shutdown(now)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.__exit__(kind, error, trace)
