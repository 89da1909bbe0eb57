"""From past studies to ordinary inputs of a search: first points, and what the past expects of any configuration.

Past studies may have searched another version of the space: parameters missing or added, other
bounds, another family, or the three families in one. What they share is used; a parameter that a
past study did not have takes the default of the new one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from hpo.arrays import FloatArray
from hpo.past import Past, Source, standardised
from hpo.space import SearchSpace
from hpo.space.parameters import Categorical, Parameter, Params, Value
from warmstart.families import ALL, in_terms_of, related
from warmstart.metafeatures import MetaFeatures
from warmstart.past import PastStudy
from warmstart.similarity import closeness, differences, pairwise

MOST = 40  # past studies that are learned from, the most similar ones
MOST_OF_A_TABLE = 3  # of them, by one family: a table that is tuned every night is still one table
FEWEST_TRIALS = 3
FEWEST_LEADERS = 4
OTHER_METRIC = 0.5
"""Kinship of a study by another metric: rankings by two metrics agree at 0.88 in the median, 0.11 at worst."""
OTHER_FAMILY = 0.5
"""Kinship of a study of another family."""


@dataclass(frozen=True)
class Neighbour:
    """A past study, how alike its table is, from 0 to 1, and whether it is the very same table.

    `kinship` is less than 1 for another metric or another family. `differences` are those of the
    two tables by groups of meta-features, for people; {} where there are too few tables.
    """

    study: PastStudy
    similarity: float
    same_table: bool
    kinship: float = 1.0
    differences: Mapping[str, float] = field(default_factory=dict)


def neighbours(
    studies: Sequence[PastStudy],
    features: MetaFeatures,
    *,
    model: str,
    space: SearchSpace,
    metric: str,
    task: str,
    digest: str,
    most: int = MOST,
) -> list[Neighbour]:
    """The past studies that can say something about a new one, the most similar first.

    `why_not` says which are left out. Those of another kind of task are not: much of which
    parameters matter, and how, is the same there. Of each table and family three are taken at most.
    `studies` are the newest first; the keyword arguments are the new study's, as in `PastStudy`.
    """
    usable = [study for study in studies if why_not(study, model, space) is None]
    # Each table counts once among those that similarity is measured by; of its descriptions the
    # newest.
    tables = {
        study.digest: study.features for study in reversed(usable) if study.features is not None
    }
    apart = dict(zip(tables, differences(features, list(tables.values())), strict=True))
    found = []
    for study in _few_of_each_table(usable, metric):
        comparable = (study.task == "regression") == (task == "regression")  # the same metrics
        factor = OTHER_METRIC if comparable and study.metric != metric else 1.0
        kinship = factor * _kinship(study.model, model)
        groups = apart[study.digest]
        found.append(Neighbour(study, closeness(groups), study.digest == digest, kinship, groups))
    return sorted(
        found, key=lambda n: (not n.same_table, -n.similarity * n.kinship, n.study.run_id)
    )[:most]


def why_not(study: PastStudy, model: str, space: SearchSpace) -> str | None:
    """Why a past study says nothing to one of `model` over `space`, completing "1 past study: "; None when it does.

    What counts are the results that mean something to that family, of a study of `all` only some.
    """
    if not related(study.model, model):
        return f"of {study.model}, which says nothing of {model}"
    if study.features is None:
        return "without meta-features of its table"
    understood = [
        *islice(_understood(study, model), FEWEST_TRIALS)
    ]  # no more: a thousand studies are asked
    if len(understood) < FEWEST_TRIALS:
        return f"fewer than {FEWEST_TRIALS} results that say something of {model}"
    if not any(name in space for params, _ in understood for name in params):
        return "of a space that shares no parameter with this one"
    return None


def _understood(past: PastStudy, model: str) -> Iterator[tuple[Params, float]]:
    """The configurations of a past study that mean something to a family, by its names, and their losses."""
    for code, loss in zip(past.x, past.losses, strict=True):
        theirs = in_terms_of(model, past.space.decode(code), past.model, past.task)
        if theirs is not None:
            yield theirs, float(loss)


def _few_of_each_table(studies: Sequence[PastStudy], metric: str) -> list[PastStudy]:
    """Of each table and family those by the same metric first, then the largest, then the newest."""
    groups: dict[tuple[str, str], list[PastStudy]] = {}
    for study in sorted(studies, key=lambda study: (study.metric != metric, -len(study))):
        groups.setdefault(_group(study), []).append(study)
    return [study for group in groups.values() for study in group[:MOST_OF_A_TABLE]]


def _group(study: PastStudy) -> tuple[str, str]:
    """Equal for studies that know the same: of one table, by one family."""
    return study.digest, study.model


def learned(found: Sequence[Neighbour], model: str, space: SearchSpace, default: Params) -> Past:
    """What the neighbours know, in the space of the new study; `default` is its default configuration."""
    # Those that an older release has kept with its study may say nothing.
    found = [neighbour for neighbour in found if why_not(neighbour.study, model, space) is None]
    described = [n.study.features for n in found if n.study.features is not None]
    tables = {n.study.digest: n.study.features for n in found if n.study.features is not None}
    sources = []
    for neighbour in found:
        x, losses = translated(neighbour.study, model, space, default)
        sources.append(
            Source(
                neighbour.study.run_id,
                x,
                standardised(losses),
                neighbour.similarity,
                neighbour.study.digest,
                neighbour.same_table,
                neighbour.kinship,
            )
        )
    return Past(space, tuple(sources), pairwise(described, list(tables.values())))


def _kinship(one: str, other: str) -> float:
    """How far studies of two related families agree, given their tables."""
    return 1.0 if one == other or ALL in (one, other) else OTHER_FAMILY


def narrowed(past: Past) -> SearchSpace:
    """The box around the best few configurations of each past study.

    Perrone et al. (2019), "Learning search spaces for Bayesian optimization: another view of
    hyperparameter transfer learning", section 4.1. Choices, parameters with steps, and those that
    fewer than four of these configurations have stay as they are.
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


def translated(
    past: PastStudy, model: str, space: SearchSpace, default: Params
) -> tuple[FloatArray, FloatArray]:
    """A past study's configurations `(m, d)` as codes of another space, and their losses `(m,)`.

    Values beyond the bounds become the bounds. Configurations of families that the space does not
    have are left out.
    """
    known = [*_understood(past, model)]
    rows = [space.encode(completed(theirs, space, default)) for theirs, _ in known]
    return np.array(rows).reshape(-1, len(space)), np.array([loss for _, loss in known])


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
