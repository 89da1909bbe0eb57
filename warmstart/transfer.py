"""Turns past studies into inputs of a search: first points, and the data of a sampler.

Past studies may have searched another version of the space: with other parameters or bounds, of
another family, or of all families in one. The shared parameters are used; a parameter that a past
study did not have takes its default in the new space.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from hpo.arrays import FloatArray
from hpo.past import Past, PastSource, standardised
from hpo.space import SearchSpace
from hpo.space.narrowing import restricted
from hpo.space.parameters import Categorical, Parameter, Params, Value
from warmstart.families import is_joint, related, translate
from warmstart.metafeatures import MetaFeatures
from warmstart.past import PastStudy
from warmstart.similarity import closeness, differences, pairwise

MAX_STUDIES = 40  # that a study learns from
MAX_STUDIES_PER_TABLE = 3  # of one family: a table that is tuned every night is still one table
MIN_TRIALS = 3
MIN_LEADERS = 4
OTHER_METRIC = 0.5
"""Kinship of a study by another metric (rank correlation 0.88 in the median, 0.11 at worst)."""
OTHER_FAMILY = 0.5
"""Kinship of a study of another family."""


@dataclass(frozen=True)
class Neighbour:
    """A past study that a new one learns from.

    Attributes:
        study: the past study.
        similarity: of the two tables, from 0 to 1.
        same_table: whether the two tables are equal.
        kinship: less than 1 for another metric or another family.
        differences: of the two tables, by groups of meta-features; empty if there are too few
            tables to compare with.
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
    most: int = MAX_STUDIES,
) -> list[Neighbour]:
    """Select the past studies that a new study learns from, the most similar first.

    Studies that `why_not` excludes are left out. Those of another kind of task are not: which
    parameters matter, and how, is much the same there. At most three studies of each table and
    family are selected.

    Args:
        studies: newest first.
        features: of the new study's table.
        model: family of the new study.
        space: that the new study searches.
        metric: of the new study.
        task: binary, multiclass or regression.
        digest: identifies the new study's table and target.
        most: number of studies to select.
    """
    usable = [study for study in studies if why_not(study, model, space) is None]
    groups_by_table = _differences_by_table(usable, features)
    found = []
    for study in _few_of_each_table(usable, metric):
        groups = groups_by_table[study.digest]
        same_metrics = (study.task == "regression") == (task == "regression")
        factor = OTHER_METRIC if same_metrics and study.metric != metric else 1.0
        kinship = factor * _family_kinship(study.model, model)
        found.append(Neighbour(study, closeness(groups), study.digest == digest, kinship, groups))
    found.sort(key=lambda n: (not n.same_table, -n.similarity * n.kinship, n.study.run_id))
    return found[:most]


def _differences_by_table(
    studies: Sequence[PastStudy], features: MetaFeatures
) -> dict[str, dict[str, float]]:
    """The differences of the new table from each past one, by digest.

    Each table counts once, with its newest description.
    """
    tables = {s.digest: s.features for s in reversed(studies) if s.features is not None}
    return dict(zip(tables, differences(features, [*tables.values()]), strict=True))


def why_not(study: PastStudy, model: str, space: SearchSpace) -> str | None:
    """The reason why a new study cannot learn from a past one, to complete "1 past study: ".

    Args:
        study: the past study.
        model: family of the new study.
        space: of the new study.

    Returns:
        None if it can.
    """
    if not related(study.model, model):
        return f"of {study.model}, which says nothing of {model}"
    if study.features is None:
        return "without meta-features of its table"
    first = [*islice(_translated_trials(study, model), MIN_TRIALS)]  # no more, for speed
    if len(first) < MIN_TRIALS:
        return f"fewer than {MIN_TRIALS} results that say something of {model}"
    if not any(name in space for params, _ in first for name in params):
        return "of a space that shares no parameter with this one"
    return None


def _translated_trials(past: PastStudy, model: str) -> Iterator[tuple[Params, float]]:
    """Configurations of a past study that have a meaning for a family, and their losses."""
    for code, loss in zip(past.x, past.losses, strict=True):
        params = translate(past.space.decode(code), past.model, model, past.task)
        if params is not None:
            yield params, float(loss)


def _few_of_each_table(studies: Sequence[PastStudy], metric: str) -> Iterator[PastStudy]:
    """A few studies of each table and family: of the same metric first, then the largest."""
    groups: dict[tuple[str, str], list[PastStudy]] = defaultdict(list)
    for study in sorted(studies, key=lambda study: (study.metric != metric, -len(study))):
        groups[study.digest, study.model].append(study)
    for group in groups.values():
        yield from group[:MAX_STUDIES_PER_TABLE]


def learned(found: Sequence[Neighbour], model: str, space: SearchSpace, default: Params) -> Past:
    """The results of neighbours in the space of a new study.

    Args:
        found: neighbours; those that `why_not` excludes are left out, since an older release may
            have stored them.
        model: family of the new study.
        space: of the new study.
        default: its default configuration.
    """
    usable = [n for n in found if why_not(n.study, model, space) is None]
    sources = tuple(_source(neighbour, model, space, default) for neighbour in usable)
    described = [n.study.features for n in usable if n.study.features is not None]
    by_table = dict(zip((source.table for source in sources), described, strict=True))
    return Past(space, sources, pairwise(described, [*by_table.values()]))


def _source(neighbour: Neighbour, model: str, space: SearchSpace, default: Params) -> PastSource:
    study = neighbour.study
    x, losses = translated(study, model, space, default)
    is_timed = study.model == model and len(study.seconds) == len(x)
    return PastSource(
        name=study.run_id,
        x=x,
        scores=standardised(losses),
        similarity=neighbour.similarity,
        table=study.digest,
        same_table=neighbour.same_table,
        kinship=neighbour.kinship,
        seconds=study.seconds if is_timed else np.empty(0),
    )


def _family_kinship(one: str, other: str) -> float:
    """The kinship of two related families."""
    return 1.0 if one == other or is_joint(one) or is_joint(other) else OTHER_FAMILY


def narrowed(past: Past) -> SearchSpace:
    """The bounding box of the best few configurations of each past study.

    Perrone et al. (2019), "Learning search spaces for Bayesian optimization: another view of
    hyperparameter transfer learning", section 4.1. Choices, parameters with steps, and those that
    fewer than four of these configurations have keep their range.
    """
    changes = {}
    for parameter, codes in zip(past.space, past.leaders().T, strict=True):
        known = codes[np.isfinite(codes)]
        if isinstance(parameter, Categorical) or parameter.step not in (None, 1):
            continue
        if len(known) < MIN_LEADERS:
            continue
        low, high = (parameter.from_unit(float(code)) for code in (known.min(), known.max()))
        if low < high:
            changes[parameter.name] = {"low": low, "high": high}
    return restricted(past.space, **changes)


def translated(
    past: PastStudy, model: str, space: SearchSpace, default: Params
) -> tuple[FloatArray, FloatArray]:
    """The configurations of a past study in another space.

    Values beyond the bounds become the bounds.

    Args:
        past: the past study.
        model: family of the new study; configurations that it cannot use are left out.
        space: of the new study.
        default: its default configuration.

    Returns:
        Unit codes `(m, d)` and losses `(m,)`.
    """
    rows, losses = [], []
    for params, loss in _translated_trials(past, model):
        rows.append(space.encode(completed(params, space, default)))
        losses.append(loss)
    return np.array(rows).reshape(-1, len(space)), np.array(losses)


def completed(theirs: Params, space: SearchSpace, default: Params) -> dict[str, Value]:
    """A configuration of the space with the values of `theirs` that fit, and defaults elsewhere."""
    chosen: dict[str, Value] = {}
    for parameter in space:  # parents first
        if parameter.name in space.active(chosen):
            value = _first_fitting(parameter, (theirs, default))
            if value is not None:
                chosen[parameter.name] = value
    return chosen


def _first_fitting(parameter: Parameter, candidates: Sequence[Params]) -> Value | None:
    for params in candidates:
        value = params.get(parameter.name)
        if value is not None and _fits(parameter, value):
            return value
    return None


def _fits(parameter: Parameter, value: Value) -> bool:
    if isinstance(parameter, Categorical):
        return parameter.index(value) >= 0
    return isinstance(value, int | float) and not isinstance(value, bool)
