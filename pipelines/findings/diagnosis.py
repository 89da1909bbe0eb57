"""What is wrong with a study, or could be better: each finding with its evidence and what to do.

A rule is a function of the evidence and the analysis that yields findings, none when all is well.
Some findings carry a change of the space; `mended` applies them, which is what `space=auto:<run
id>` starts from.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.stats import binom, mannwhitneyu

from hpo.agreement import MIN_TRIALS
from hpo.arrays import FloatArray
from hpo.space import SearchSpace
from hpo.space.parameters import Categorical, Float, Integer, Parameter
from pipelines.findings.analysis import Analysis
from pipelines.findings.evidence import Evidence, loss_at
from pipelines.findings.scales import number, short
from pipelines.models import search_model

PROBLEM, HINT = "problem", "hint"

EDGE = 0.1  # the share of a range that is its edge
_BY_CHANCE = 0.01  # probability, over all edges of the space, of taking accident for a trend
_HARDLY = 0.02  # of the variance: what explains less, with all its interactions, hardly matters
_TOGETHER = 0.05  # … and so do some that explain less than this all together
_LEFT_FREE = 2  # parameters that are searched whatever they matter
_ENOUGH = 20  # trials; of fewer no plateau can be seen
_PER_PARAMETER = 5  # trials for each parameter; fewer are few
_FAILED = 0.1  # share of failed trials that is worth a word
_SURE = 0.05  # p of a difference that is taken for one
_FAR = 0.05  # of the way from the trivial baseline to the winner


@dataclass(frozen=True)
class Change:
    """A parameter as it should be searched, and why, in a few words."""

    parameter: Parameter
    words: str


@dataclass(frozen=True)
class Diagnosis:
    """A finding: what it is, how it is known, what to do, and what that means for the space."""

    kind: str
    severity: str
    title: str
    evidence: str
    advice: str
    changes: tuple[Change, ...] = ()

    def __str__(self) -> str:
        """One paragraph for a terminal."""
        return f"{'!' if self.severity == PROBLEM else '·'} {self.title}: {self.evidence} → {self.advice}"


Rule = Callable[[Evidence, Analysis | None], Iterator[Diagnosis]]


def diagnose(evidence: Evidence, analysis: Analysis | None) -> tuple[Diagnosis, ...]:
    """All findings, problems first."""
    found = [diagnosis for rule in RULES for diagnosis in rule(evidence, analysis)]
    return tuple(sorted(found, key=lambda diagnosis: diagnosis.severity != PROBLEM))


def diagnosis_lines(found: Sequence[Diagnosis]) -> list[str]:
    """Findings for a terminal, one a line."""
    return (
        ["Diagnosis:", *(f"  {diagnosis}" for diagnosis in found)]
        if found
        else ["Diagnosis: nothing stands out"]
    )


def mended(space: SearchSpace, found: Sequence[Diagnosis]) -> tuple[SearchSpace, tuple[str, ...]]:
    """The space with the changes that the findings ask for, and these changes in words."""
    changes = {change.parameter.name: change for diagnosis in found for change in diagnosis.changes}
    parameters = tuple(changes[p.name].parameter if p.name in changes else p for p in space)
    return SearchSpace(parameters), tuple(change.words for change in changes.values())


# --- the space ------------------------------------------------------------------------------------


def at_bound(evidence: Evidence, analysis: Analysis | None) -> Iterator[Diagnosis]:
    """The best trials crowd at the edge of a range.

    Of the k best trials so many lie within the outermost tenth that this is no accident under a
    uniform distribution (binomial, corrected for the number of edges), the winner among them.
    """
    data, winner, space = evidence.comparable, evidence.winner, evidence.space
    if winner is None or len(data.losses) < 10:
        return
    best = data.x[np.argsort(data.losses, kind="stable")[: max(5, len(data.losses) // 10)]]
    for j, parameter in enumerate(space):
        codes = best[np.isfinite(best[:, j]), j]
        if (
            isinstance(parameter, Categorical)
            or parameter.name not in winner.params
            or len(codes) < 4
        ):
            continue
        at_winner = parameter.to_unit(winner.params[parameter.name])
        for upper in (False, True):
            edge = max(EDGE, 1 / (parameter.n_levels or math.inf))
            inside = (1 - codes if upper else codes) < edge
            if (1 - at_winner if upper else at_winner) >= edge or inside.mean() < 0.5:
                continue
            if binom.sf(inside.sum() - 1, len(codes), edge) > _BY_CHANCE / (2 * len(space)):
                continue
            if (change := _widened(evidence, parameter, upper)) is None:
                continue
            yield Diagnosis(
                "bound",
                PROBLEM,
                f"the best {short(parameter.name)} is at the {'upper' if upper else 'lower'} end of its range",
                f"{inside.sum()} of the {len(codes)} best trials lie in the outermost {edge:.0%} of "
                f"[{number(parameter.low)}, {number(parameter.high)}], the winner at "
                f"{number(winner.params[parameter.name])}",
                f"{change.words}",
                (change,),
            )


def _widened(evidence: Evidence, parameter: Float | Integer, upper: bool) -> Change | None:
    """The range with more room at one end, as far as the model takes it; None when there is no more.

    Half of the range is added, in the logarithm where the scale is one, a factor of ten at most.
    """
    own = search_model(str(evidence.header["model"])).limits(parameter.name)
    if own is None:
        return None
    low, high = float(parameter.low), float(parameter.high)
    if parameter.log:
        factor = min(math.sqrt(high / low), 10.0)
        bound = high * factor if upper else low / factor
    else:
        bound = high + (high - low) / 2 if upper else low - (high - low) / 2
        if parameter.step not in (None, 1):
            step = float(parameter.step or 1)
            bound = (
                high + step * math.ceil((bound - high) / step)
                if upper
                else low - step * math.ceil((low - bound) / step)
            )
    bound = min(max(_round(bound), own[0]), own[1])
    if isinstance(parameter, Integer):
        bound = round(bound)
    if (bound <= high) if upper else (bound >= low) or (parameter.log and bound <= 0):
        return None
    moved: dict[str, Any] = {"high" if upper else "low": bound}
    wider = replace(parameter, **moved)
    return Change(
        wider,
        f"widen {parameter.name} to [{number(wider.low)}, {number(wider.high)}] "
        f"(was [{number(parameter.low)}, {number(parameter.high)}])",
    )


def _round(value: float) -> float:
    return float(f"{value:.2g}")


def hardly_matters(evidence: Evidence, analysis: Analysis | None) -> Iterator[Diagnosis]:
    """Parameters that explain next to nothing, interactions included, by a forest that does predict."""
    winner, space = evidence.winner, evidence.space
    if (
        analysis is None
        or winner is None
        or not analysis.trustworthy
        or len(analysis.data.losses) < 2 * len(space)
    ):
        return
    found = analysis.branch or analysis.importance
    parents = {parent for parameter in space for parent in parameter.when}
    free = [
        j
        for j, p in enumerate(space)
        if p.name in winner.params and p.n_levels != 1 and p.name not in parents
    ]
    idle = sorted(
        (j for j in free if found.total[j] < _HARDLY), key=lambda j: float(found.total[j])
    )
    share = np.cumsum([max(float(found.total[j]), 0.0) for j in idle])
    idle = [j for j, sum_ in zip(idle, share, strict=True) if sum_ < _TOGETHER][
        : max(len(free) - _LEFT_FREE, 0)
    ]
    changes = tuple(_fixed(space[space.names[j]], winner.params[space.names[j]]) for j in idle)
    if not changes:
        return
    names = ", ".join(short(space.names[j]) for j in idle)
    most = max(max(float(found.total[j]), 0.0) for j in idle)
    yield Diagnosis(
        "idle",
        HINT,
        f"{len(idle)} of {len(space)} parameters hardly matter"
        if len(idle) > 1
        else f"{names} hardly matters",
        f"{names}: none of them explains more than {most:.1%} of the variance, interactions included"
        if len(idle) > 1
        else f"it explains {most:.1%} of the variance, interactions included",
        "fix "
        + ("them" if len(idle) > 1 else "it")
        + " at the winner's values and search the rest",
        changes,
    )


def _fixed(parameter: Parameter, value: object) -> Change:
    fixed = Categorical(parameter.name, (value,), parameter.when)  # type: ignore[arg-type]
    return Change(fixed, f"fix {parameter.name} at {number(value)}")


def default_never_beaten(evidence: Evidence, analysis: Analysis | None) -> Iterator[Diagnosis]:
    """The search found nothing better than what it began with."""
    winner = evidence.winner
    sampled = [
        t for t in evidence.trials if t.origin not in ("default", "tuned default") and t.reports
    ]
    if winner is None or winner.origin not in ("default", "tuned default") or len(sampled) < 10:
        return
    nearest = min(trial.loss for trial in sampled)
    yield Diagnosis(
        "default",
        PROBLEM,
        f"no trial beats the {winner.origin}",
        f"{len(sampled)} sampled trials reached {number(evidence.shown(nearest))} at best, the {winner.origin} "
        f"{number(evidence.shown(winner.loss))}",
        "serve it as it is, or look elsewhere: another model, other columns, a space that has the default "
        "in its middle",
    )


# --- the search -----------------------------------------------------------------------------------


def plateau_or_too_few(evidence: Evidence, analysis: Analysis | None) -> Iterator[Diagnosis]:
    """Too few trials for so many parameters; else nothing new for at least half of them. One trial is no search."""
    winner, n = evidence.winner, len([trial for trial in evidence.trials if trial.finished])
    searched = [parameter for parameter in evidence.space if parameter.n_levels != 1]
    d = len(searched)
    if winner is None or n < 2:
        return
    if n < _PER_PARAMETER * d:
        yield Diagnosis(
            "few",
            HINT,
            f"{n} trials are few for {d} parameters",
            f"that is {n / d:.1f} for each; a sampler needs about {_PER_PARAMETER} for each to see what matters",
            f"go on: -P study={evidence.study} -P trials={max(_PER_PARAMETER * d, 2 * n)}, or search fewer parameters",
        )
        return
    since = n - 1 - winner.number
    if n >= _ENOUGH and since >= n / 2 and winner.origin not in ("default", "tuned default"):
        yield Diagnosis(
            "plateau",
            HINT,
            f"nothing better in the last {since} trials",
            f"the winner is trial {winner.number} of {n}",
            "more of the same will bring little: widen the space, add columns or rows, or save the trials "
            f"(trials={max(_ENOUGH, 2 * (winner.number + 1))})",
        )


def many_failed(evidence: Evidence, analysis: Analysis | None) -> Iterator[Diagnosis]:
    """A share of the trials failed; the commonest reasons, and where in the space."""
    failed = evidence.failed
    n = len([trial for trial in evidence.trials if trial.finished])
    if len(failed) < 2 or len(failed) < _FAILED * n:
        return
    reasons = Counter(short((trial.failure or "").strip().split("\n")[0], 120) for trial in failed)
    told = "; ".join(f"{count} × {reason}" for reason, count in reasons.most_common(2))
    yield Diagnosis(
        "failed",
        PROBLEM,
        f"{len(failed)} of {n} trials failed ({len(failed) / n:.0%})",
        told + _where_they_fail(evidence),
        "mend the commonest reason or leave that part of the space out; each costs its time and teaches little",
    )


def undecided(evidence: Evidence, analysis: Analysis | None) -> Iterator[Diagnosis]:
    """The lowest rung at which most trials have one and the same loss: what goes on from there is an accident."""
    for rung, above in pairwise(evidence.rungs):
        losses = [loss for trial in evidence.trials if (loss := loss_at(trial, rung)) is not None]
        if len(losses) < MIN_TRIALS:
            continue
        loss, equal = Counter(losses).most_common(1)[0]
        if 2 * equal > len(losses):
            yield Diagnosis(
                "undecided",
                PROBLEM,
                f"{rung:g} {evidence.header['budget_unit']} do not tell trials apart",
                f"{equal} of {len(losses)} have the same {evidence.metric.name} there, {evidence.shown(loss):.5g}",
                f"begin higher (min_budget={above:g}), or take another fidelity or metric",
            )
        return


def _where_they_fail(evidence: Evidence) -> str:
    """The parameter whose values differ most between failed and other trials, if that is no accident."""
    failed = {trial.number for trial in evidence.failed}
    space = evidence.space
    x = np.array([space.encode(trial.params) for trial in evidence.trials])
    bad = np.array([trial.number in failed for trial in evidence.trials])
    found: list[tuple[float, str]] = []
    for j, parameter in enumerate(space):
        a, b = (values[np.isfinite(values)] for values in (x[bad, j], x[~bad, j]))
        if len(a) < 3 or len(b) < 3 or np.ptp(np.concatenate([a, b])) == 0:
            continue
        middle = parameter.from_unit(float(np.median(a)))
        found.append(
            (
                float(mannwhitneyu(a, b).pvalue),
                f"{short(parameter.name)} (about {number(middle)} in those that failed)",
            )
        )
    if not found or min(found)[0] > _BY_CHANCE / max(len(found), 1):
        return ""
    return f"; they differ most in {min(found)[1]}"


# --- the score ------------------------------------------------------------------------------------


def scale(evidence: Evidence) -> float:
    """From the trivial baseline to the winner: what the metric has to say about this table; nan when not known."""
    trivial = evidence.baselines.get("trivial")
    if trivial is None or evidence.winner is None:
        return math.nan
    return abs(evidence.metric.to_loss(trivial) - evidence.winner.loss)


def noise(evidence: Evidence, analysis: Analysis | None) -> Iterator[Diagnosis]:
    """The best trials lie closer together than repeats, or their folds, can tell apart."""
    if evidence.confirmation:
        yield from _repeats(evidence)
    else:
        yield from _within_folds(evidence)


def _repeats(evidence: Evidence) -> Iterator[Diagnosis]:
    close = [rival for rival in evidence.confirmation if rival.p >= _SURE]
    if not close:
        return
    nearest = max(close, key=lambda rival: rival.p)
    yield Diagnosis(
        "noise",
        HINT,
        f"repeats do not tell the winner from {len(close)} of the {len(evidence.confirmation)} trials beside it",
        f"against trial {nearest.number} it gains {nearest.gain:.2g} [{nearest.low:.2g}, {nearest.high:.2g}] "
        f"{evidence.metric.name} on the rows divided anew, p = {nearest.p:.2g}",
        "take the cheapest or simplest of them; more rows tell more than more trials",
    )


def _within_folds(evidence: Evidence) -> Iterator[Diagnosis]:
    winner, name = evidence.winner, evidence.metric.name
    done = sorted(evidence.comparable.losses)
    if winner is None or winner.best is None or len(done) < 10:
        return
    spread, k = winner.best.metrics.get(f"{name}_std"), _folds(evidence.header)
    if spread is None or k < 2:
        return
    error, tenth = spread / math.sqrt(k), done[9] - done[0]
    if error <= tenth:
        return
    yield Diagnosis(
        "noise",
        HINT,
        "the best trials cannot be told apart",
        f"the ten best lie within {tenth:.2g} {name} of each other; the standard error over {k} folds is {error:.2g}",
        "take the cheapest or simplest of them, or let repeats decide: -P confirm=5; more rows tell more "
        "than more trials",
    )


def _folds(header: Mapping[str, object]) -> int:
    kind, _, k = str(header.get("validation", "")).partition(":")
    return int(k) if kind == "cv" and k.isdigit() else 0


def fold_values(metrics: Mapping[str, float], name: str) -> list[float]:
    """The metric on each fold, where it was kept."""
    found = {k.rpartition("_")[2]: v for k, v in metrics.items() if k.startswith(f"{name}_fold_")}
    return [found[i] for i in sorted(found, key=int)]


def far_from_test(evidence: Evidence, analysis: Analysis | None) -> Iterator[Diagnosis]:
    """The held-out rows tell another story than the validation rows."""
    winner, name = evidence.winner, evidence.metric.name
    if winner is None or name not in evidence.test:
        return
    gap = evidence.metric.to_loss(evidence.test[name]) - winner.loss
    losses = [trial.loss for trial in evidence.trials if trial.reports]
    gained = float(np.median(losses)) - winner.loss
    size = scale(evidence)
    if gap <= gained or gap <= _FAR * (size if math.isfinite(size) else abs(winner.loss)):
        return
    validation, split = (
        str(evidence.header.get("validation", "holdout")),
        str(evidence.header.get("split", "random")),
    )
    advice = (
        ["take validation=cv:5, so that no single set of rows decides"]
        if validation == "holdout"
        else []
    )
    if split == "random":
        advice.append(
            "if rows belong together or follow in time, say so with split=group:COLUMN or split=time:COLUMN"
        )
    elif split.startswith("time:"):
        advice.append(
            "the table may change over time: train on newer rows, promote against newer ones"
        )
    yield Diagnosis(
        "test",
        PROBLEM,
        "the held-out rows score worse than the validation rows",
        f"{name} {number(evidence.test[name])} against {number(evidence.shown(winner.loss))}, a gap of {gap:.2g}; "
        f"between the median trial and the winner lie {gained:.2g}",
        "; ".join(advice) or "take more rows for validation; fewer trials choose less by luck",
    )


def carried(evidence: Evidence, analysis: Analysis | None) -> Iterator[Diagnosis]:
    """One fold, or one class, is not like the others."""
    winner, name = evidence.winner, evidence.metric.name
    if winner is not None and winner.best is not None:
        yield from _odd_fold(fold_values(winner.best.metrics, name), name, scale(evidence))
    yield from _lost_class(evidence)


def _odd_fold(folds: Sequence[float], name: str, size: float) -> Iterator[Diagnosis]:
    if len(folds) < 3:
        return
    values = np.array(folds)
    odd = int(np.argmax(np.abs(values - np.median(values))))
    others: FloatArray = np.delete(values, odd)
    away = abs(values[odd] - others.mean())
    if away <= 3 * max(others.std(ddof=1), 1e-12) or away <= _FAR * (
        size if math.isfinite(size) else abs(others.mean())
    ):
        return
    yield Diagnosis(
        "fold",
        PROBLEM,
        f"one fold decides the score of the winner: fold {odd + 1} of {len(folds)}",
        f"{name} {number(float(values[odd]))} there, {number(float(others.mean()))} ± "
        f"{others.std(ddof=1):.2g} on the others",
        "look at the rows of that fold: groups or a time order that split= should know, or a few rows that "
        "weigh too much",
    )


def _lost_class(evidence: Evidence) -> Iterator[Diagnosis]:
    if len(evidence.classes) < 2:
        return
    rows = sum(c.rows for c in evidence.classes)
    hit = sum(c.recall * c.rows for c in evidence.classes) / max(rows, 1)
    lost = [c for c in evidence.classes if c.rows >= 5 and c.recall < 0.25 and c.recall < hit / 2]
    if not lost:
        return
    worst = min(lost, key=lambda c: c.recall)
    first = max(evidence.classes, key=lambda c: c.rows)
    yield Diagnosis(
        "class",
        PROBLEM,
        f"{short(repr(first.label))} carries the score; {short(repr(worst.label))} is hardly ever found",
        f"of {worst.rows} held-out rows of {short(repr(worst.label))} {worst.recall:.0%} are predicted as such, of all "
        f"{rows} rows {hit:.0%}",
        "if that class matters, decide by metric=balanced_accuracy, f1_macro or log_loss, or search class weights",
    )


RULES: tuple[Rule, ...] = (
    at_bound,
    far_from_test,
    default_never_beaten,
    many_failed,
    undecided,
    carried,
    noise,
    hardly_matters,
    plateau_or_too_few,
)
