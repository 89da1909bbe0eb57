"""What a study's trials say about its parameters: a forest, importance, and Shapley values."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpo.arrays import FloatArray, IntArray
from hpo.space import SearchSpace
from hpo.space.parameters import Params, Value
from pipelines.findings.evidence import Comparable, Evidence, best_and_others
from pipelines.findings.importance import MIN_TRIALS, Forest, Importance, decompose, fit, shapley

FAIR = 0.25  # a forest that explains a smaller share of the variance is not relied on
_EXPLAINED = 200  # trials with Shapley values


@dataclass(frozen=True)
class Analysis:
    """What a forest learned from comparable trials.

    Attributes:
        space: The search space, with d parameters.
        data: The trials.
        forest: The forest.
        importance: Shares of the variance over the whole space.
        order: The columns, the most important first.
        explained: Positions in `data` of the trials with Shapley values.
        shapley: By how much each parameter moved their losses, `(len(explained), d)`.
        branch: The importance given the winner's choices; None if no parameter depends on another.
        given: These choices.
    """

    space: SearchSpace
    data: Comparable
    forest: Forest
    importance: Importance
    order: tuple[int, ...]
    explained: IntArray
    shapley: FloatArray
    branch: Importance | None
    given: Params

    @property
    def trustworthy(self) -> bool:
        """Whether the forest predicts unseen trials well enough to act on it."""
        return self.forest.explained >= FAIR


def analyse(evidence: Evidence) -> Analysis | None:
    """The analysis of a study; None for too few comparable trials, or if all losses are equal."""
    data, space, winner = evidence.comparable, evidence.scope.space, evidence.winner
    if winner is None or len(data.losses) < MIN_TRIALS or np.ptp(data.losses) == 0:
        return None
    forest = fit(data.x, data.losses, choices(space))
    whole = decompose(forest)
    given = {name: winner.params[name] for name in parents(space) if name in winner.params}
    branch = decompose(forest.given(codes_of(space, given))) if given else None
    order = _by_importance(space, whole)
    if branch is not None:
        order = _branch_first(order, _by_importance(space, branch), given, winner.params)
    columns = tuple(map(space.names.index, order))
    ranks = np.argsort(data.losses, kind="stable")
    explained = ranks[best_and_others(len(ranks), _EXPLAINED)]
    values = shapley(forest, data.x[explained])
    return Analysis(space, data, forest, whole, columns, explained, values, branch, given)


def _by_importance(space: SearchSpace, found: Importance) -> list[str]:
    return [space.names[j] for j in np.argsort(-found.total, kind="stable")]


def _branch_first(
    whole: Sequence[str], branch: Sequence[str], choices: Params, winner: Params
) -> list[str]:
    """The winner's choices, then what else is active in the winner, then all other parameters."""
    first = [name for name in whole if name in choices]
    active = [name for name in branch if name in winner]
    return list(dict.fromkeys([*first, *active, *whole]))


def choices(space: SearchSpace) -> dict[int, int]:
    """The number of choices of each categorical parameter, by column."""
    layout = space.layout
    return dict(zip(layout.choices.tolist(), layout.n_choices.astype(int).tolist(), strict=True))


def parents(space: SearchSpace) -> set[str]:
    """The parameters that others depend on."""
    return {parent for parameter in space for parent in parameter.when}


def codes_of(space: SearchSpace, values: Params) -> dict[int, float]:
    """The unit codes of some values, by column."""
    return {space.names.index(name): space[name].to_unit(value) for name, value in values.items()}


def making_active(space: SearchSpace, name: str, preferred: Params) -> dict[str, Value]:
    """Values of all parameters that `name` depends on, directly or not, that make it active.

    A value in `preferred` is taken if it is allowed.
    """
    chosen: dict[str, Value] = {}
    for parent, allowed in space[name].when.items():
        chosen |= making_active(space, parent, preferred)
        wanted = preferred.get(parent)
        chosen[parent] = wanted if wanted is not None and wanted in allowed else allowed[0]
    return chosen
