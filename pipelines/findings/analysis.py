"""What a study's trials say about its parameters: the forest, what matters, and by how much in each trial."""

from dataclasses import dataclass

import numpy as np

from hpo.arrays import FloatArray
from hpo.space import SearchSpace
from hpo.space.parameters import Params, Value
from pipelines.findings.evidence import Comparable, Evidence
from pipelines.findings.importance import LEAST, Forest, Importance, decompose, fit, shapley

_EXPLAINED = 200  # trials with Shapley values: the best and an even sample of the rest
FAIR = 0.25  # share of the variance below which what a forest says is a guess


@dataclass(frozen=True)
class Analysis:
    """What a forest learned from comparable trials.

    `order` holds the columns, the most important first. `branch` is the importance among the
    parameters that are active in the winner, its choices given; None where no parameter depends on
    another. `explained` are positions in `data`, and `shapley` `(len(explained), d)` by how much
    each parameter moved their losses.
    """

    space: SearchSpace
    data: Comparable
    forest: Forest
    importance: Importance
    order: tuple[int, ...]
    explained: FloatArray
    shapley: FloatArray
    branch: Importance | None
    given: Params

    @property
    def trustworthy(self) -> bool:
        """Whether the forest predicts unseen trials well enough to act on what it says."""
        return self.forest.explained >= FAIR


def analyse(evidence: Evidence) -> Analysis | None:
    """The analysis of a study; None when too few of its trials can be compared, or all are the same."""
    data, space, winner = evidence.comparable, evidence.space, evidence.winner
    if winner is None or len(data.losses) < LEAST or np.ptp(data.losses) == 0:
        return None
    forest = fit(data.x, data.losses)
    found = decompose(forest)
    ranks = np.argsort(data.losses, kind="stable")
    half = _EXPLAINED // 2
    rest = ranks[half:]
    explained = np.concatenate([ranks[:half], rest[:: max(len(rest) // half, 1)][:half]])
    parents = {parent for parameter in space for parent in parameter.when}
    choices = {name: winner.params[name] for name in parents if name in winner.params}
    branch = decompose(forest.given(codes_of(space, choices))) if choices else None
    order = _order(space, found, branch, choices, winner.params)
    values = shapley(forest, data.x[explained])
    return Analysis(space, data, forest, found, order, explained, values, branch, choices)


def _order(
    space: SearchSpace, whole: Importance, branch: Importance | None, given: Params, winner: Params
) -> tuple[int, ...]:
    """The columns by importance; where the winner lies in a branch, its choices and what is active there come first."""
    by_total = [int(j) for j in np.argsort(-whole.total, kind="stable")]
    if branch is None:
        return tuple(by_total)
    choices = [j for j in by_total if space.names[j] in given]
    active = [
        int(j)
        for j in np.argsort(-branch.total, kind="stable")
        if space.names[j] in winner and space.names[j] not in given
    ]
    return (*choices, *active, *(j for j in by_total if j not in choices and j not in active))


def codes_of(space: SearchSpace, values: Params) -> dict[int, float]:
    """The codes of some values, by column."""
    return {space.names.index(name): space[name].to_unit(value) for name, value in values.items()}


def making_active(space: SearchSpace, name: str, preferred: Params) -> dict[str, Value]:
    """Values of what `name` depends on, to any depth, that make it active; the preferred ones where possible."""
    chosen: dict[str, Value] = {}
    for parent, allowed in space[name].when.items():
        chosen |= making_active(space, parent, preferred)
        wanted = preferred.get(parent)
        chosen[parent] = allowed[0] if wanted is None or wanted not in allowed else wanted
    return chosen
