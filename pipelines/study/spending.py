"""What a study may spend on training, in all its sessions together; failed legs are not counted."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from hpo.errors import ParameterError
from hpo.trial import Trial

_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_TIME = re.compile(r"(\d+(?:\.\d+)?) ?(s|min|h|d)(?: cpu)?")
_MONEY = re.compile(r"(\d+(?:\.\d+)?) ?([A-Z]{3}|[€$£])")


@dataclass(frozen=True)
class Allowance:
    """CPU time for the trainings of a study.

    Attributes:
        seconds: of one core; a training with two threads uses two seconds in each second.
        text: as the user wrote it.
    """

    seconds: float
    text: str

    @classmethod
    def of(cls, budget: str, price: float | None) -> "Allowance":
        """Read the options `budget` and `price`.

        Args:
            budget: CPU time such as `4h` or `90 min`, or money such as `20 EUR`.
            price: of an hour of one core, in the currency of the budget.

        Raises:
            ParameterError: for another form, and for money without a price.
        """
        if found := _TIME.fullmatch(budget):
            if price is not None:
                raise ParameterError(f"price is for a budget in money, not for budget={budget}")
            seconds = float(found[1]) * _SECONDS[found[2]]
        elif found := _MONEY.fullmatch(budget):
            if price is None:
                raise ParameterError(
                    f"budget={budget} needs the price of an hour of one core: give price"
                )
            seconds = 3600 * float(found[1]) / price
        else:
            raise ParameterError(
                f"budget={budget!r} must be CPU time such as '4h', '90 min' or '2d', or money such "
                "as '20 EUR' with price"
            )
        if not seconds > 0:
            raise ParameterError(f"budget={budget} must be above 0")
        return cls(seconds, budget)

    def left(self, trials: Iterable[Trial], threads: int) -> float:
        """CPU seconds that trials with so many threads have left; 0 when all is spent."""
        return max(self.seconds - threads * sum(trial.seconds for trial in trials), 0.0)

    @property
    def twice(self) -> str:
        """The option `budget` of twice as much."""
        return re.sub(r"\d+(\.\d+)?", lambda number: f"{2 * float(number[0]):g}", self.text)


UNLIMITED = Allowance(math.inf, "")


def mistakes(budget: str | None, price: float | None) -> dict[str, str]:
    """What is wrong with the options, by option; a price alone is for a study that is resumed."""
    if budget is not None:
        try:
            Allowance.of(budget, price)
        except ParameterError as error:
            return {"budget": str(error)}
    return {}
