"""How far a session of a study is to go: what its driver stores at the start, and others read."""

import json
import math
import time
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Target:
    """The end of a session.

    Attributes:
        began: when its timeout began to count, in seconds since 1970.
        trials: how many the study will have; None where time alone ends the search.
        timeout: seconds from `began`; None for no limit.
        budgets: the budgets of all trainings until then together; None without a number of trials.
        share: the share of them that was done before the session.
        workers: how many trials run side by side.
    """

    began: float
    trials: int | None = None
    timeout: float | None = None
    budgets: float | None = None
    share: float = 0.0
    workers: int = 1

    def to_tag(self) -> str:
        """Encode as the value of the tag `hpo.session`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_tag(cls, text: str | None) -> "Target | None":
        """Decode a value of `to_tag`; None for any other text."""
        try:
            found = cls(**json.loads(text or "null"))
            numbers = (found.began, found.timeout, found.budgets, found.trials, found.share)
            whole = all(math.isfinite(each) for each in numbers if each is not None)
            return found if whole and found.workers >= 1 else None
        except (TypeError, ValueError):
            return None

    def done(self, budgets: float) -> float:
        """The share of the training that is done, when so many budgets were trained; 0 to 1."""
        return min(budgets / self.budgets, 1.0) if self.budgets else 0.0

    def seconds_left(self, share: float, now: float) -> float:
        """Until the last trial or the timeout, whichever comes first; infinite if unknown.

        Args:
            share: of the training that is done.
            now: in seconds since 1970.
        """
        elapsed = max(now - self.began, 0.0)
        left = math.inf if self.timeout is None else max(self.timeout - elapsed, 0.0)
        gained = share - self.share
        return min(left, elapsed * (1 - share) / gained) if gained > 0 else left


def since_1970(monotonic: float) -> float:
    """A moment of `time.monotonic` in seconds since 1970."""
    return time.time() - (time.monotonic() - monotonic)
