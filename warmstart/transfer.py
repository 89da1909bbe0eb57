"""From past studies to ordinary inputs of a search: first points, and what the past expects of any configuration.

Past studies may have searched another version of the space: parameters missing or added, other bounds, another family,
or the three families in one. What they share is used; a parameter that a past study did not have takes the default
of the new one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hpo.parameters import Array, Categorical, Parameter, Params, Value
from hpo.past import Past, Source, standardised
from hpo.space import SearchSpace
from warmstart.metafeatures import MetaFeatures
from warmstart.past import PastStudy
from warmstart.similarity import similarities

ALL = "all"
MOST = 40  # past studies that are learned from, the most similar ones
FEWEST_TRIALS = 3
FEWEST_LEADERS = 4
OTHER_METRIC = 0.5
"""Factor on the similarity of a study by another metric: rankings by two metrics agree at 0.88 in the median, 0.11 at
worst."""


@dataclass(frozen=True)
class Neighbour:
    """A past study, how alike its table is, from 0 to 1, and whether it is the very same table."""

    study: PastStudy
    similarity: float
    same_table: bool


def neighbours(
    studies: Sequence[PastStudy],
    features: MetaFeatures,
    *,
    model: str,
    metric: str,
    task: str,
    digest: str,
    most: int = MOST,
) -> list[Neighbour]:
    """The past studies that can say something about a new one, the most similar first.

    Those of another kind of task, of families that share nothing with `model`, without meta-features, and with fewer
    than three full trainings are left out. The keyword arguments are the new study's, as in `PastStudy`.
    """
    usable = [
        study
        for study in studies
        if study.features is not None
        and len(study) >= FEWEST_TRIALS
        and (study.model == model or ALL in (study.model, model))
        and (study.task == "regression") == (task == "regression")
    ]
    alike = similarities(features, [study.features for study in usable if study.features is not None])
    found = [
        Neighbour(
            study,
            float(value) * (1.0 if study.metric == metric else OTHER_METRIC),
            study.digest == digest,
        )
        for study, value in zip(usable, alike, strict=True)
    ]
    return sorted(found, key=lambda n: (not n.same_table, -n.similarity, n.study.run_id))[:most]


def learned(found: Sequence[Neighbour], model: str, space: SearchSpace, default: Params) -> Past:
    """What the neighbours know, in the space of the new study; `default` is its default configuration."""
    others = sum(neighbour.similarity for neighbour in found if not neighbour.same_table)
    sources = []
    for neighbour in found:
        x, losses = translated(neighbour.study, model, space, default)
        if len(x) >= FEWEST_TRIALS:
            # The same table says more than all the others together.
            alike = max(1.0, others) if neighbour.same_table else neighbour.similarity
            sources.append(Source(neighbour.study.run_id, x, standardised(losses), alike))
    return Past(space, tuple(sources))


def narrowed(past: Past) -> SearchSpace:
    """The box around the best few configurations of each past study.

    Perrone et al. (2019), "Learning search spaces for Bayesian optimization: another view of hyperparameter transfer
    learning", section 4.1. Choices, parameters with steps, and those that fewer than four of these configurations have
    stay as they are.
    """
    changes = {}
    for parameter, codes in zip(past.space, past.leaders().T, strict=True):
        known = codes[np.isfinite(codes)]
        if (
            isinstance(parameter, Categorical)
            or parameter.step not in (None, 1)
            or len(known) < FEWEST_LEADERS
        ):
            continue
        low, high = (parameter.from_unit(float(code)) for code in (known.min(), known.max()))
        if low < high:
            changes[parameter.name] = {"low": low, "high": high}
    return past.space.restrict(**changes)


def translated(past: PastStudy, model: str, space: SearchSpace, default: Params) -> tuple[Array, Array]:
    """A past study's configurations `(m, d)` as codes of another space, and their losses `(m,)`.

    Values beyond the bounds become the bounds. Configurations of families that the space does not have are left out.
    """
    rows, losses = [], []
    for code, loss in zip(past.x, past.losses, strict=True):
        theirs = _named(past.space.decode(code), past.model, model)
        if theirs is not None:
            rows.append(space.encode(completed(theirs, space, default)))
            losses.append(loss)
    return np.array(rows).reshape(-1, len(space)), np.array(losses)


def completed(theirs: Params, space: SearchSpace, default: Params) -> dict[str, Value]:
    """A configuration of the space with the values it shares with `theirs`, the others by default."""
    chosen: dict[str, Value] = {}
    for parameter in space:  # parents first
        if parameter.name not in space.active(chosen):
            continue
        for values in (theirs, default):
            value = values.get(parameter.name)
            if value is not None and _fits(parameter, value):
                chosen[parameter.name] = value
                break
    return chosen


def _fits(parameter: Parameter, value: Value) -> bool:
    if isinstance(parameter, Categorical):
        return parameter.index(value) >= 0
    return isinstance(value, int | float) and not isinstance(value, bool)


def _named(params: Mapping[str, Value], past: str, new: str) -> Mapping[str, Value] | None:
    """Parameters of a study of the model `past` by their names in one of the model `new`; None if they have none."""
    if past == new:
        return params
    if new == ALL:
        return {"model": past, **{f"{past}.{name}": value for name, value in params.items()}}
    if params.get("model") != new:
        return None
    return {
        name.removeprefix(f"{new}."): value for name, value in params.items() if name.startswith(f"{new}.")
    }
