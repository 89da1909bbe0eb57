"""Warm start: what a new study takes from past ones.

It is fixed before the first trial and stored with the study. A resumed study reads it there and
does not look at past studies again, so it continues as it would have without the interruption.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hpo.errors import StudyError, closest, counted
from hpo.past import Past
from hpo.space import SearchSpace
from hpo.space.parameters import Categorical
from hpo.study import FirstPoint
from pipelines.findings.past import SHORT_ID, WARM_ORIGIN
from pipelines.store.knowledge import OWN, Knowledge, held_out, past_studies
from pipelines.store.summaries import facts_of
from pipelines.study.options import AUTO, OFF, past_sources
from pipelines.study.plan import Plan
from warmstart.metafeatures import MetaFeatures
from warmstart.past import PastStudy
from warmstart.similarity import FEWEST, in_words
from warmstart.transfer import Neighbour, learned, narrowed, neighbours, why_not

ARTIFACT = "warm_start.json"
FIRST_POINTS = 2  # from studies of the same table, after the defaults
SHOWN = 3
NO_FEATURES = MetaFeatures({}, 0, {}, 0)  # equally similar to every table


@dataclass(frozen=True)
class WarmStart:
    """The past studies that a study learns from.

    Attributes:
        neighbours: the past studies, the most similar first.
        notes: what was left out, in sentences.
    """

    neighbours: tuple[Neighbour, ...] = ()
    notes: tuple[str, ...] = ()

    def past(self, plan: Plan) -> Past | None:
        """A model of the past studies in the space of the plan; None if none of them covers it."""
        if not self.neighbours or not plan.first_points:
            return None
        found = learned(self.neighbours, plan.model, plan.space, plan.first_points[0].params)
        return found if len(found) else None

    def lines(self) -> Iterator[str]:
        """What to show to the user before the first trial."""
        yield from self.notes
        if not self.neighbours:
            yield "no past study to learn from yet; later studies will learn from this one"
            return
        tables = len({neighbour.study.digest for neighbour in self.neighbours})
        compared = tables >= FEWEST
        shown = [_named(neighbour, compared=compared) for neighbour in self.neighbours[:SHOWN]]
        if len(self.neighbours) > SHOWN:
            shown.append(f"and {len(self.neighbours) - SHOWN} more")
        yield f"{counted(len(self.neighbours), 'past study')}: {'; '.join(shown)}"
        if not compared and any(neighbour.study.task for neighbour in self.neighbours):
            yield f"with fewer than {FEWEST} tables in the past, all count as equally similar"
        yield "start-up points are spread over what they expect to be good"

    def to_json(self) -> str:
        """The text of the artifact."""
        plain = [_plain(neighbour) for neighbour in self.neighbours]
        return json.dumps({"neighbours": plain, "notes": list(self.notes)}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> "WarmStart":
        """The warm start that `to_json` wrote.

        Raises:
            StudyError: when the text is damaged.
        """
        try:
            plain = json.loads(text)
            return cls(tuple(map(_neighbour, plain["neighbours"])), tuple(plain["notes"]))
        except (ValueError, KeyError, TypeError) as error:
            raise StudyError(
                f"the artifact {ARTIFACT} of this study is damaged ({error}), so it cannot be "
                "resumed as it began; start a new study"
            ) from error


def look_back(plan: Plan, header: Mapping[str, Any], *, exclude: str | None) -> WarmStart:
    """The past studies that a new study learns from.

    Args:
        plan: of the new study.
        header: that it will have.
        exclude: the run id of the new study, which is no past one.

    Raises:
        StudyError: naming sources that do not exist, or that have nothing for this study.
    """
    named = past_sources(plan.warm_start)
    try:
        known = past_studies(sources=named, exclude=exclude)
    except StudyError as error:
        hint = closest(plan.warm_start, (AUTO, OFF, OWN)) if named else ""
        raise StudyError(f"warm_start={plan.warm_start}: {error}{hint}") from error
    facts = facts_of(header, "")
    found = neighbours(
        known.studies,
        facts.features or NO_FEATURES,
        model=plan.model,
        space=plan.space,
        metric=plan.metric,
        task=facts.task,
        digest=facts.digest,
    )
    unused = _unused(known, found, plan)
    if named and not found and named != (OWN,):  # of one's own, the first has no past
        raise StudyError(
            f"warm_start={plan.warm_start} names nothing to learn from: {'; '.join(unused)}; "
            "name others, or take warm_start=auto"
        )
    notes = [*known.notes, *(f"nothing is learned from {source}" for source in unused)]
    return WarmStart(tuple(found), (*notes, *_seen_before(known, found, header)))


@dataclass(frozen=True)
class Beginning:
    """A new study, with what it takes from past ones.

    Attributes:
        plan: with the first points of the past.
        warm: the past studies; None for a study that learns from none.
        past: their model, if they cover the space.
    """

    plan: Plan
    warm: WarmStart | None = None
    past: Past | None = None

    @property
    def artifacts(self) -> dict[str, str]:
        """What is stored with the study."""
        return {} if self.warm is None else {ARTIFACT: self.warm.to_json()}


def begin(
    plan: Plan, header: Mapping[str, Any], *, exclude: str | None = None, narrow: bool = False
) -> Beginning:
    """Read past studies, if the plan learns from them.

    Args:
        plan: of the new study.
        header: that it will have.
        exclude: the run id of the new study, which is no past one.
        narrow: whether the space becomes that where past studies did well.

    Raises:
        StudyError: as `look_back`.
    """
    if plan.warm_start == OFF:
        return Beginning(plan)
    warm = look_back(plan, header, exclude=exclude)
    if narrow:
        plan, warm = narrowed_by(plan, warm)
    past = warm.past(plan)
    return Beginning(started_with(plan, warm, past), warm, past)


def first_points(
    warm: WarmStart, past: Past | None, plan: Plan, most: int = FIRST_POINTS
) -> tuple[FirstPoint, ...]:
    """Configurations to try after the plan's own: those that did best on the very same table.

    `past` is the model of the past studies in the plan's space.
    """
    if past is None or not any(neighbour.same_table for neighbour in warm.neighbours):
        return ()
    own = [dict(point.params) for point in plan.first_points]
    names = {neighbour.study.run_id: neighbour.study.name for neighbour in warm.neighbours}
    taken = np.array([plan.space.encode(params) for params in own])
    found: list[FirstPoint] = []
    for source, code in past.best_on_same_table(taken, most):
        params = plan.space.decode(code)
        if params not in own and plan.space.allowed(params):
            own.append(params)
            origin = f"{WARM_ORIGIN}: {names[source]} ({source[:SHORT_ID]})"
            found.append(FirstPoint(params, origin))
    return tuple(found)


def narrowed_by(plan: Plan, warm: WarmStart) -> tuple[Plan, WarmStart]:
    """Narrow the space of a plan to where past studies did well; the warm start notes it."""
    past = warm.past(plan)
    if past is None:
        note = "space=past: nothing is known of this space, so it is not narrowed"
        return plan, replace(warm, notes=(*warm.notes, note))
    space = narrowed(past)
    changes = ", ".join(_narrowed_ranges(plan.space, space)) or "no range could be narrowed"
    notes = (*warm.notes, f"space=past: {changes}")
    return replace(plan, space=space), replace(warm, notes=notes)


def started_with(plan: Plan, warm: WarmStart, past: Past | None) -> Plan:
    """The plan with first points from the past after its own."""
    return replace(plan, first_points=(*plan.first_points, *first_points(warm, past, plan)))


def _narrowed_ranges(before: SearchSpace, after: SearchSpace) -> Iterator[str]:
    for old, new in zip(before, after, strict=True):
        if new != old and not isinstance(new, Categorical):
            yield f"{new.name} {new.low:.4g} to {new.high:.4g}"


def _plain(neighbour: Neighbour) -> dict[str, Any]:
    differences = {group: round(gap, 4) for group, gap in neighbour.differences.items()}
    return {
        "run_id": neighbour.study.run_id,
        "name": neighbour.study.name,
        "similarity": neighbour.similarity,
        "same_table": neighbour.same_table,
        "kinship": neighbour.kinship,
        "differences": differences,
        "summary": neighbour.study.to_text(),
    }


def _neighbour(plain: Mapping[str, Any]) -> Neighbour:
    return Neighbour(
        PastStudy.from_text(plain["summary"]),
        float(plain["similarity"]),
        bool(plain["same_table"]),
        float(plain["kinship"]),
        dict(plain["differences"]),
    )


def _seen_before(
    known: Knowledge, found: Sequence[Neighbour], header: Mapping[str, Any]
) -> Iterable[str]:
    """A note on test rows of this study that a past study of the same table was trained on."""
    if "split" not in header:
        return
    own = held_out(header["split"], header["test_share"], header["seed"])
    others = {known.held_out.get(n.study.run_id, own) for n in found if n.same_table} - {own}
    if others:
        yield (
            "past studies of this very table held out other test rows "
            f"({'; '.join(sorted(others))}; here {own}) and have seen some of this one's, so its "
            "held-out score may be a little too good; the same seed, split and test_share hold out "
            "the same rows"
        )


def _unused(known: Knowledge, found: Sequence[Neighbour], plan: Plan) -> list[str]:
    """Each named source that gave no neighbour, and why."""
    used = {neighbour.study.run_id for neighbour in found}
    return [
        f"{source} ({_reasons(run_ids, known, plan)})"
        for source, run_ids in known.named.items()
        if not used.intersection(run_ids)
    ]


def _reasons(run_ids: Iterable[str], known: Knowledge, plan: Plan) -> str:
    """Why studies are not used, with how many for each reason."""
    reasons = Counter(_reason(run_id, known, plan) for run_id in run_ids)
    shown = [f"{counted(n, 'past study')}: {reason}" for reason, n in reasons.items()]
    return "; ".join(shown) or "no study that has begun"


def _reason(run_id: str, known: Knowledge, plan: Plan) -> str:
    if run_id in known.omitted:
        return known.omitted[run_id].value
    study = next(study for study in known.studies if study.run_id == run_id)
    reason = why_not(study, plan.model, plan.space)
    return reason or "less similar, or more of the same table, than those named beside"


def _named(neighbour: Neighbour, *, compared: bool) -> str:
    """The name of a past study, with its similarity where tables are `compared`."""
    study = neighbour.study
    what = [study.model] if study.model != study.name else []
    if neighbour.same_table:
        what.append("the same table" if study.task else "the same objective")
    elif not study.task:
        what.append("parameters in common")
    elif compared:
        what.append(f"similarity {neighbour.similarity:.2f}")
        what += filter(None, [in_words(neighbour.differences)])
    return f"{study.name} ({', '.join(what)})"
