"""How far a study goes: how many trials, for how long and at what cost."""

from dataclasses import dataclass

from pipelines.study.spending import UNLIMITED, Allowance

TRIAL_SECONDS = 3600.0  # after which a leg fails, unless the user gives a limit


@dataclass(frozen=True)
class Extent:
    """What ends a search and its legs. A later session may change all of it.

    Attributes:
        trials: how many there are in all; None if time alone ends the search.
        timeout: seconds of a session; None for no limit.
        trial_timeout: seconds of a leg; None for `TRIAL_SECONDS`.
        patience: trials in a row without a better result after which the search ends; None for any
            number.
        min_gain: the search ends when the next trials are expected to improve the best score by
            less; None for no such rule.
        budget: what the trainings may cost (the option `budget`); None for no limit.
        price: of an hour of one core.
    """

    trials: int | None
    timeout: float | None
    trial_timeout: float | None
    patience: int | None = None
    min_gain: float | None = None
    budget: str | None = None
    price: float | None = None

    @property
    def allowance(self) -> Allowance:
        """What the trainings may cost."""
        return UNLIMITED if self.budget is None else Allowance.of(self.budget, self.price)

    @property
    def in_limited_time(self) -> bool:
        """Whether time may end the search before its last trial."""
        return self.timeout is not None or self.budget is not None

    @property
    def time_limit(self) -> float:
        """Seconds after which a leg fails, so that one that hangs comes to an end."""
        return self.trial_timeout or TRIAL_SECONDS

    def n_trials(self, configurations: int | None) -> int | None:
        """How many trials there will be in a space with so many configurations, None for any.

        None where time alone ends the search.
        """
        numbers = (self.trials, configurations)
        return min((number for number in numbers if number is not None), default=None)
