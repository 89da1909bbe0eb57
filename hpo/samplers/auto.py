"""How `algorithm=auto` chooses: the first rule that holds for a study.

`docs/algorithms.md` has the measurement behind each rule.
"""

from collections.abc import Callable
from dataclasses import dataclass

from hpo.space import SearchSpace

FEW, MANY = 15, 1000  # trials


@dataclass(frozen=True)
class Rule:
    """An algorithm for some studies.

    Attributes:
        when: which studies, in words.
        algorithm: its name.
        holds: whether a study with a space and a number of trials is one of them.
    """

    when: str
    algorithm: str
    holds: Callable[[SearchSpace, int], bool]


RULES = (
    Rule(f"fewer than {FEW} trials", "tpe", lambda space, trials: trials < FEW),
    Rule(f"more than {MANY:,} trials", "tpe", lambda space, trials: trials > MANY),
    Rule("all others", "gp", lambda space, trials: True),
)


def choice(space: SearchSpace, trials: int) -> str:
    """The algorithm for a study of so many trials over a space."""
    return next(rule.algorithm for rule in RULES if rule.holds(space, trials))
