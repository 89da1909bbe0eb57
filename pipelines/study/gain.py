"""How much past studies helped a study, estimated when the study ends."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from hpo.algorithms import algorithm
from hpo.arrays import FloatArray
from hpo.configurations import raced
from hpo.counterfactual import without_past
from hpo.history import History
from hpo.past import Past
from hpo.samplers.llm import LLMSampler
from hpo.samplers.tpe import TPESampler
from hpo.standings import Standings
from hpo.trial import Trial
from pipelines.findings.past import WARM_ORIGIN, BesideCold, beside_cold_in_words, helped
from pipelines.store import StudyNotes
from pipelines.study.plan import Plan

TRUST = "warm_start_trust.json"
BESIDE_COLD = "warm_start_beside_cold.json"

SIMULATED = 20  # searches without a past that a study is compared with
AFTER = (10, 25, 50, 100)  # trials at which they are compared
MAX_RESULTS = 100  # of a study that are used; the cost is quadratic in their number
MIN_RESULTS = 8  # that a model can be fitted to


def log_gain(
    past: Past,
    plan: Plan,
    trials: Sequence[Trial],
    notes: StudyNotes,
    say: Callable[[str], None],
) -> None:
    """Log the gain of the first points, simulated searches without a past, and the trust.

    Args:
        past: the model of past studies.
        plan: of the study.
        trials: of the study.
        notes: where it is logged.
        say: shows a line to the user.
    """
    gain = gain_of_first_points(trials)
    values = {f"warm_start_{name}": value for name, value in gain.items()}
    rows = beside_cold(past, plan, trials)
    if rows:
        values["warm_start_ahead"] = rows[-1].ahead
        notes.save_text(json.dumps([asdict(row) for row in rows]), BESIDE_COLD)
        say(f"warm start: {beside_cold_in_words(rows)}")
    notes.annotate(metrics=values)
    notes.save_text(json.dumps(trust_by_result(past, trials)), TRUST)


def trust_by_result(past: Past, trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """The trust in the past after each of the first `MAX_RESULTS` results.

    Results are those that the search itself sees: at the highest budget that has enough of them,
    failures included.
    """
    if not trials:
        return []
    granted = {trial.budget for trial in trials}
    reported = {report.budget for trial in trials for report in trial.reports}
    standings = Standings(past.space, sorted(granted | reported))
    for trial in trials:
        standings.add(trial.params, trial.budget)
        standings.update(trial)
    seen = History.at_rung(standings, TPESampler().min_results(past.space), 0)
    trust = past.trust_after_each(seen.x[:MAX_RESULTS], seen.losses[:MAX_RESULTS])
    return [{"trials": n, "trust": round(float(each), 6)} for n, each in enumerate(trust, 1)]


def beside_cold(past: Past, plan: Plan, trials: Sequence[Trial]) -> tuple[BesideCold, ...]:
    """Compare a study with simulated searches without a past (`hpo.counterfactual`).

    Returns:
        Nothing for several goals, for races, and for samplers without a model: there the past gave
        first points only.
    """
    results = [trial for trial in trials if trial.finished][:MAX_RESULTS]
    if not plan.goals.is_single:
        return ()
    losses = np.array([trial.loss for trial in results])
    own = [point for point in plan.first_points if not point.origin.startswith(WARM_ORIGIN)]
    race = raced(plan.space, (point.params for point in own))
    sampler = algorithm(plan.algorithm, plan.rungs, plan.eta, raced=race)[0]
    if isinstance(sampler, LLMSampler):  # a simulation would ask thousands of questions
        return ()
    enough = np.count_nonzero(np.isfinite(losses)) >= MIN_RESULTS
    if plan.races or not sampler.min_results(plan.space) or not enough:
        return ()
    x = np.array([plan.space.encode(trial.params) for trial in results])
    best, simulated = without_past(
        past, x, losses, sampler, own, lag=plan.lag, seed=plan.seed, repeats=SIMULATED
    )
    ends = [*(n for n in AFTER if n < len(results)), len(results)]
    return tuple(BesideCold(n, _ahead(best[n - 1], simulated[:, n - 1]), SIMULATED) for n in ends)


def gain_of_first_points(trials: Sequence[Trial]) -> Mapping[str, float]:
    """What the first points from the past were worth.

    Returns:
        `share` of this study's other trials that are not better than the best of these points, and
        `trials`, how many of those it takes on average to find one that is as good; all at one
        budget. Nothing without such points.
    """
    found = helped(trials)
    return {} if found is None else {"share": found.share, "trials": found.trials}


def _ahead(best: float, simulated: FloatArray) -> float:
    """The share of the simulated searches `(n,)` that are worse; an equal one counts half."""
    return float(np.mean((simulated > best) + 0.5 * (simulated == best)))
