"""Warm start: what a new study takes over from past ones, fixed before its first trial and kept with it.

A resumed study reads what it saw at first from its own run and never looks at the past again, so it
goes on as it would have without the interruption, whatever other studies have ended since.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hpo.algorithms import algorithm, grants_budgets
from hpo.counterfactual import without_past
from hpo.errors import StudyError, closest
from hpo.past import Past
from hpo.samplers.tpe import TPESampler
from hpo.space.parameters import Categorical
from hpo.standings import Standings
from hpo.study import FirstPoint
from hpo.trial import Trial
from pipelines.findings.past import SHORT_ID, WARM_ORIGIN, BesideCold, helped
from pipelines.store.knowledge import Knowledge, counted, held_out, past_studies
from pipelines.store.summaries import prediction
from pipelines.study.options import AUTO, OFF, past_sources
from pipelines.study.plan import Plan
from warmstart.metafeatures import MetaFeatures
from warmstart.past import PastStudy
from warmstart.similarity import FEWEST, in_words
from warmstart.transfer import Neighbour, learned, narrowed, neighbours, why_not

ARTIFACT = "warm_start.json"
TRUST = "warm_start_trust.json"
BESIDE_COLD = "warm_start_beside_cold.json"
FIRST_POINTS = 2  # of studies of the same table, after the defaults
SHOWN = 3
SIMULATED = 20  # searches without a past that a study is compared with
AFTER = (10, 25, 50, 100)  # trials at which they are compared
MOST_RESULTS = 100  # of a study that are looked at, though the past is asked in its start-up only
FEWEST_RESULTS = 8  # that a model can be made of


@dataclass(frozen=True)
class WarmStart:
    """The past studies that a study learns from, most alike first, and what was left out, in sentences."""

    neighbours: tuple[Neighbour, ...] = ()
    notes: tuple[str, ...] = ()

    def past(self, plan: Plan) -> Past | None:
        """What they know, in the space of the plan; None when they know nothing of it."""
        if not self.neighbours or not plan.first_points:
            return None
        found = learned(self.neighbours, plan.model, plan.space, plan.first_points[0].params)
        return found if len(found) else None

    def told(self) -> Iterable[str]:
        """What a user is told before the first trial."""
        yield from self.notes
        if not self.neighbours:
            yield "nothing to learn from yet; this study is the next one's past"
            return
        n, tables = (
            len(self.neighbours),
            len({neighbour.study.digest for neighbour in self.neighbours}),
        )
        shown = "; ".join(
            _named(neighbour, compared=tables >= FEWEST) for neighbour in self.neighbours[:SHOWN]
        )
        more = f"; and {n - SHOWN} more" if n > SHOWN else ""
        yield f"{counted(n)}: {shown}{more}"
        if tables < FEWEST:
            yield f"with fewer than {FEWEST} tables in the past all count as equally alike"
        yield "start-up points are spread over what they expect to be good"

    def to_json(self) -> str:
        """As the study keeps it."""
        plain = [
            {
                "run_id": n.study.run_id,
                "name": n.study.name,
                "similarity": n.similarity,
                "same_table": n.same_table,
                "kinship": n.kinship,
                "differences": {group: round(gap, 4) for group, gap in n.differences.items()},
                "summary": n.study.to_text(),
            }
            for n in self.neighbours
        ]
        return json.dumps({"neighbours": plain, "notes": list(self.notes)}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> "WarmStart":
        """What `to_json` wrote.

        Raises:
            StudyError: when it is damaged.
        """
        try:
            plain = json.loads(text)
            found = tuple(
                Neighbour(
                    PastStudy.from_text(n["summary"]),
                    float(n["similarity"]),
                    bool(n["same_table"]),
                    float(n["kinship"]),
                    dict(n["differences"]),
                )
                for n in plain["neighbours"]
            )
            return cls(found, tuple(plain["notes"]))
        except (ValueError, KeyError, TypeError) as error:
            raise StudyError(
                f"the artifact {ARTIFACT} of this study is damaged ({error}), so that it cannot go on as it began; "
                "start a new study"
            ) from error


def look_back(plan: Plan, features: MetaFeatures, *, exclude: str | None) -> WarmStart:
    """The past studies that a new one learns from.

    Raises:
        StudyError: naming sources that do not exist, or that have nothing for this study.
    """
    named = past_sources(plan.warm_start)
    try:
        known = past_studies(sources=named, exclude=exclude)
    except StudyError as error:
        hint = closest(plan.warm_start, (AUTO, OFF)) if named else ""
        raise StudyError(f"warm_start={plan.warm_start}: {error}{hint}") from error
    found = neighbours(
        known.studies,
        features,
        model=plan.model,
        space=plan.space,
        metric=plan.metric,
        task=plan.data.task,
        digest=prediction(plan.data.digest, plan.data.target),
    )
    silent = _silent(known, found, plan)
    if named and not found:
        raise StudyError(
            f"warm_start={plan.warm_start} names nothing to learn from: {'; '.join(silent)}; name others, or take "
            "warm_start=auto"
        )
    notes = [*known.notes, *(f"nothing is learned from {source}" for source in silent)]
    own = held_out(plan.data.split, plan.data.test_share, plan.seed)
    return WarmStart(tuple(found), (*notes, *_seen_before(known, found, own)))


def _seen_before(known: Knowledge, found: Sequence[Neighbour], own: str) -> Iterable[str]:
    """A word on test rows of this study, held out as `own` says, that a past one of the very same table has seen."""
    others = {known.held_out.get(n.study.run_id, own) for n in found if n.same_table} - {own}
    if others:
        yield (
            f"past studies of this very table held out other test rows ({'; '.join(sorted(others))}; here {own}) and "
            "have seen some of this one's, so its held-out score may be a little too good; the same seed, split and "
            "test_share hold out the same rows"
        )


def _silent(known: Knowledge, found: Sequence[Neighbour], plan: Plan) -> list[str]:
    """Each named source that no neighbour comes from, and why."""
    heard = {neighbour.study.run_id for neighbour in found}
    studies = {study.run_id: study for study in known.studies}

    def why(run_id: str) -> str:
        if run_id in known.omitted:
            return known.omitted[run_id].value
        return (
            why_not(studies[run_id], plan.model, plan.space)
            or "less alike, or more of the same table, than those named beside"
        )

    silent = []
    for source, run_ids in known.named.items():
        if not heard.intersection(run_ids):
            reasons = Counter(map(why, run_ids)).items()
            told = (
                "; ".join(f"{counted(n)}: {reason}" for reason, n in reasons)
                or "no study that has begun"
            )
            silent.append(f"{source} ({told})")
    return silent


def first_points(
    warm: WarmStart, past: Past | None, plan: Plan, most: int = FIRST_POINTS
) -> tuple[FirstPoint, ...]:
    """Configurations to try after the plan's own: those that did best on the very same table.

    `past` is what the warm start knows in the plan's space.
    """
    if past is None or not any(neighbour.same_table for neighbour in warm.neighbours):
        return ()
    taken = np.array([plan.space.encode(point.params) for point in plan.first_points])
    names = {neighbour.study.run_id: neighbour.study.name for neighbour in warm.neighbours}
    before = [dict(point.params) for point in plan.first_points]
    found = []
    for source, code in past.best_on_same_table(taken, most):
        params = plan.space.decode(code)
        if params not in before:
            before.append(params)
            found.append(
                FirstPoint(params, f"{WARM_ORIGIN}: {names[source]} ({source[:SHORT_ID]})")
            )
    return tuple(found)


def narrowed_by(plan: Plan, warm: WarmStart) -> tuple[Plan, WarmStart]:
    """The plan with its space narrowed to where past studies did well, and the warm start with a note on that."""
    past = warm.past(plan)
    if past is None:
        return plan, replace(
            warm,
            notes=(*warm.notes, "space=past: nothing is known of this space, so it stays whole"),
        )
    found = narrowed(past)
    changes = [
        f"{new.name} {new.low:.4g} to {new.high:.4g}"
        for old, new in zip(plan.space, found, strict=True)
        if new != old and not isinstance(new, Categorical)
    ]
    note = f"space=past: {', '.join(changes) or 'no range could be narrowed'}"
    return replace(plan, space=found), replace(warm, notes=(*warm.notes, note))


def started_with(plan: Plan, warm: WarmStart, past: Past | None) -> Plan:
    """The plan with first points from the past after its own."""
    return replace(plan, first_points=(*plan.first_points, *first_points(warm, past, plan)))


def worth(past: Past, trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """The trust in the past after each of the first `MOST_RESULTS` results.

    Results are those that the search itself sees: at the highest budget that has enough of them,
    failures among them.
    """
    if not trials:
        return []
    budgets = {trial.budget for trial in trials} | {
        r.budget for trial in trials for r in trial.reports
    }
    standings = Standings(past.space, sorted(budgets))
    for trial in trials:
        standings.add(trial.params, trial.budget)
        standings.update(trial)
    seen = standings.history(TPESampler().min_results(past.space), 0)
    trust = past.trust_after_each(
        seen.x[:MOST_RESULTS], seen.losses[:MOST_RESULTS]
    )  # quadratic in their number
    return [{"trials": n, "trust": round(float(trusted), 6)} for n, trusted in enumerate(trust, 1)]


def beside_cold(past: Past, plan: Plan, trials: Sequence[Trial]) -> tuple[BesideCold, ...]:
    """How this study compares with searches without a past, which `hpo.counterfactual` simulates.

    Nothing is compared where trials stop at rungs, nor where the sampler makes no model: there the
    past gave first points only.
    """
    results = [trial for trial in trials if trial.finished][:MOST_RESULTS]
    losses = np.array([trial.loss for trial in results])
    sampler = algorithm(plan.algorithm, plan.rungs, plan.eta)[0]
    many = np.count_nonzero(np.isfinite(losses)) >= FEWEST_RESULTS
    if grants_budgets(plan.algorithm) or not sampler.min_results(plan.space) or not many:
        return ()
    own = [point for point in plan.first_points if not point.origin.startswith(WARM_ORIGIN)]
    x = np.array([plan.space.encode(trial.params) for trial in results])
    found, simulated = without_past(
        past, x, losses, sampler, own, lag=plan.lag, seed=plan.seed, repeats=SIMULATED
    )
    ends = [n for n in AFTER if n < len(results)]
    return tuple(
        BesideCold(
            n,
            float(
                np.mean(
                    (simulated[:, n - 1] > found[n - 1])
                    + 0.5 * (simulated[:, n - 1] == found[n - 1])
                )
            ),
            SIMULATED,
        )
        for n in (*ends, len(results))
    )


def gain(trials: Sequence[Trial]) -> Mapping[str, float]:
    """An estimate of what the first points from the past were worth.

    `share`: of this study's other trials that are not better than the best of these points.
    `trials`: how many of those it would take on average to find one that is as good. All at one
    budget.
    """
    found = helped(trials)
    return {} if found is None else {"share": found.share, "trials": found.trials}


def _named(neighbour: Neighbour, *, compared: bool) -> str:
    what = [neighbour.study.model]
    if neighbour.same_table:
        what.append("the same table")
    elif compared:
        what.append(f"similarity {neighbour.similarity:.2f}")
        what += filter(None, [in_words(neighbour.differences)])
    return f"{neighbour.study.name} ({', '.join(what)})"
