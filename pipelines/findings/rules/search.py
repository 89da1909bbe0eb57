"""Rules about the search: its length, its failures, its first rung, and what it gained."""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from scipy.stats import mannwhitneyu

from hpo.agreement import MIN_TRIALS
from hpo.arrays import FloatArray
from hpo.errors import counted
from hpo.space.parameters import Parameter
from pipelines.files.commands import command
from pipelines.findings.case import DEFAULTS, PER_PARAMETER, Case
from pipelines.findings.diagnosis import HINT, PROBLEM, Diagnosis
from pipelines.findings.evidence import Evidence
from pipelines.findings.past import loss_at
from pipelines.findings.scales import first_line, number, short

_MIN_SAMPLED = 10  # trials that lose against the default before that is a finding
_MIN_PLATEAU = 20  # trials; a plateau cannot be seen in fewer
_FAILED = 0.1  # share of failed trials that is a finding
_BY_CHANCE = 0.01  # probability of taking chance for a difference in any parameter


def default_not_beaten(case: Case) -> Iterator[Diagnosis]:
    """The search found nothing better than the configuration that it started from."""
    evidence, winner = case.evidence, case.winner
    sampled = [trial.loss for trial in evidence.scored if trial.origin not in DEFAULTS]
    if not case.default_won or len(sampled) < _MIN_SAMPLED:
        return
    score = evidence.scope.score
    yield Diagnosis(
        "default",
        PROBLEM,
        f"no trial beats the {winner.origin}",
        f"the best of {len(sampled)} sampled trials scores {number(score(min(sampled)))}, "
        f"the {winner.origin} {number(score(winner.loss))}",
        "use it as it is, or change the search: another model, other columns, or a space with the "
        "default in its middle",
    )


def too_few_trials(case: Case) -> Iterator[Diagnosis]:
    """Too few trials for so many parameters; a single trial is no search."""
    n, d, needed = case.n_finished, case.n_searched, case.n_needed
    if not 2 <= n < needed or case.evidence.exhausted:
        return
    more = command("tune", study=case.evidence.study, trials=max(needed, 2 * n))
    yield Diagnosis(
        "few",
        HINT,
        f"{n} trials are few for {counted(d, 'parameter')}",
        f"that is {n / d:.1f} for each; a sampler needs about {PER_PARAMETER} for each to see "
        "which matter",
        f"search fewer parameters, or go on: {more}",
    )


def plateau(case: Case) -> Iterator[Diagnosis]:
    """Enough trials, but none of the last half improved the score."""
    n, winner = case.n_finished, case.winner
    since = n - 1 - winner.number
    needed = max(_MIN_PLATEAU, case.n_needed)
    if n < needed or since < n / 2 or case.default_won or case.evidence.exhausted:
        return
    yield Diagnosis(
        "plateau",
        HINT,
        f"nothing better in the last {counted(since, 'trial')}",
        f"the winner is trial {winner.number} of {n}",
        "more trials will gain little: widen the space, add columns or rows, or run fewer trials "
        f"(trials={max(_MIN_PLATEAU, 2 * (winner.number + 1))})",
    )


def many_failed(case: Case) -> Iterator[Diagnosis]:
    """Many trials failed: the most common reasons, and where in the space."""
    return failures(case.evidence)


def failures(evidence: Evidence) -> Iterator[Diagnosis]:
    """The same for a study that may have no winner."""
    failed, n = len(evidence.failed), sum(trial.finished for trial in evidence.trials)
    if failed < max(2, _FAILED * n):
        return
    reasons = Counter(first_line(trial.failure, 120) for trial in evidence.failed)
    listed = "; ".join(f"{count} × {reason}" for reason, count in reasons.most_common(2))
    yield Diagnosis(
        "failed",
        PROBLEM,
        f"{failed} of {counted(n, 'trial')} failed ({failed / n:.0%})",
        listed + _where_they_fail(evidence),
        "fix the most common reason, or leave that part of the space out; each failure costs its "
        "time and teaches little",
    )


def _where_they_fail(evidence: Evidence) -> str:
    """The parameter that differs most between failed and other trials, unless that is chance."""
    failed = {trial.number for trial in evidence.failed}
    x = np.array([evidence.scope.space.encode(trial.params) for trial in evidence.trials])
    is_failed = np.array([trial.number in failed for trial in evidence.trials])
    differences = []
    for parameter, codes in zip(evidence.scope.space, x.T, strict=True):
        active = np.isfinite(codes)
        found = _difference(parameter, codes[active & is_failed], codes[active & ~is_failed])
        if found is not None:
            differences.append(found)
    p, words = min(differences, default=(1.0, ""))
    return f"; they differ most in {words}" if p <= _BY_CHANCE / max(len(differences), 1) else ""


def _difference(
    parameter: Parameter, failed: FloatArray, others: FloatArray
) -> tuple[float, str] | None:
    """The p-value of a rank test on unit codes, and the parameter in words."""
    if min(len(failed), len(others)) < 3 or np.ptp(np.concatenate([failed, others])) == 0:
        return None
    middle = parameter.from_unit(float(np.median(failed)))
    words = f"{short(parameter.name)} (about {number(middle)} in those that failed)"
    return float(mannwhitneyu(failed, others).pvalue), words


def rung_undecided(case: Case) -> Iterator[Diagnosis]:
    """Most trials have the same loss at the lowest rung, so promotions from it are arbitrary."""
    evidence = case.evidence
    for rung, above in pairwise(evidence.scope.rungs):
        at_rung = (loss_at(trial, rung) for trial in evidence.trials)
        losses = [loss for loss in at_rung if loss is not None]
        if len(losses) < MIN_TRIALS:
            continue
        loss, equal = Counter(losses).most_common(1)[0]
        if 2 * equal > len(losses):
            yield Diagnosis(
                "undecided",
                PROBLEM,
                f"{rung:g} {evidence.scope.budget_unit} do not tell trials apart",
                f"{equal} of {len(losses)} trials have the same {case.metric} there, "
                f"{evidence.scope.score(loss):.5g}",
                f"start higher (min_budget={above:g}), or take another fidelity or metric",
            )
        return
