"""Rules about the score of the winner: noise, held-out rows, odd folds and lost classes."""

import math
from collections.abc import Iterator, Mapping

import numpy as np

from hpo.arrays import FloatArray
from pipelines.findings.case import Case
from pipelines.findings.diagnosis import HINT, PROBLEM, Diagnosis
from pipelines.findings.evidence import ClassScore
from pipelines.findings.scales import number, short

_SIGNIFICANT = 0.05  # p-value below which a difference is real
_FAR = 0.05  # share of the way from the trivial baseline to the winner that matters
_BEST = 10  # trials whose scores are compared with the noise
_MIN_CLASS_ROWS = 5
_RARELY_FOUND = 0.25  # recall


def within_noise(case: Case) -> Iterator[Diagnosis]:
    """The best trials lie closer together than repeats, or folds, can tell apart."""
    return _repeats(case) if case.evidence.confirmation else _folds(case)


def _repeats(case: Case) -> Iterator[Diagnosis]:
    rivals = case.evidence.confirmation
    close = [rival for rival in rivals if rival.p >= _SIGNIFICANT]
    if not close:
        return
    nearest = max(close, key=lambda rival: rival.p)
    yield Diagnosis(
        "noise",
        HINT,
        f"repeats do not tell the winner from {len(close)} of {len(rivals)} rivals",
        f"the winner gains {nearest.gain:.2g} [{nearest.low:.2g}, {nearest.high:.2g}] "
        f"{case.metric} over trial {nearest.number} on other folds, p = {nearest.p:.2g}",
        "take the cheapest or simplest of them; more rows help more than more trials",
    )


def _folds(case: Case) -> Iterator[Diagnosis]:
    losses = np.sort(case.evidence.comparable.losses)
    k = _n_folds(case.evidence.header)
    if k < 2 or len(losses) < _BEST:
        return
    error = _metrics(case).get(f"{case.metric}_std", math.nan) / math.sqrt(k)
    distance = losses[_BEST - 1] - losses[0]
    if not error > distance:  # nor if the error is not known
        return
    yield Diagnosis(
        "noise",
        HINT,
        "the best trials cannot be told apart",
        f"the ten best lie within {distance:.2g} {case.metric} of each other; the standard error "
        f"over {k} folds is {error:.2g}",
        "take the cheapest or simplest of them, or let repeats decide: confirm=5; more rows "
        "help more than more trials",
    )


def _n_folds(header: Mapping[str, object]) -> int:
    """The folds of `validation=cv:K`; 0 for another validation."""
    kind, _, k = str(header.get("validation", "")).partition(":")
    return int(k) if kind == "cv" and k.isdigit() else 0


def _metrics(case: Case) -> Mapping[str, float]:
    return case.winner.best.metrics if case.winner.best else {}


def worse_on_test(case: Case) -> Iterator[Diagnosis]:
    """The winner scores worse on the held-out rows than on the validation rows."""
    evidence, winner = case.evidence, case.winner
    test = evidence.test.get(case.metric)
    if test is None:
        return
    gap = evidence.scope.goal.to_loss(test) - winner.loss
    gained = float(np.median(evidence.results.losses)) - winner.loss
    if gap <= gained or gap <= _FAR * case.score_range(otherwise=abs(winner.loss)):
        return
    yield Diagnosis(
        "test",
        PROBLEM,
        "the held-out rows score worse than the validation rows",
        f"{case.metric} {number(test)} against {number(evidence.scope.score(winner.loss))}, a gap "
        f"of {gap:.2g}; the median trial and the winner are {gained:.2g} apart",
        "; ".join(_other_splits(evidence.header))
        or "take more rows for validation, or run fewer trials: they choose less by luck",
    )


def _other_splits(header: Mapping[str, object]) -> Iterator[str]:
    split = str(header.get("split", "random"))
    if str(header.get("validation", "holdout")).startswith("holdout"):
        yield "take validation=cv:5, so that no single set of rows decides"
    if split == "random":
        yield (
            "if rows belong together or follow in time, take split=group:COLUMN or "
            "split=time:COLUMN"
        )
    if split.startswith("time:"):
        yield "the table may change over time: train on newer rows, promote against newer ones"


def odd_fold(case: Case) -> Iterator[Diagnosis]:
    """One fold scores unlike all others."""
    scores = _fold_scores(_metrics(case), case.metric)
    if len(scores) < 3:
        return
    odd = int(np.argmax(np.abs(scores - np.median(scores))))
    others = np.delete(scores, odd)
    mean, spread = float(others.mean()), float(others.std(ddof=1))
    distance = abs(scores[odd] - mean)
    far = _FAR * case.score_range(otherwise=abs(mean))
    if distance <= max(3 * max(spread, 1e-12), far):
        return
    yield Diagnosis(
        "fold",
        PROBLEM,
        f"one fold decides the score of the winner: fold {odd + 1} of {len(scores)}",
        f"{case.metric} {number(float(scores[odd]))} there, {number(mean)} ± {spread:.2g} on the "
        "others",
        "look at the rows of that fold: groups or a time order that split= should know, or a few "
        "rows that weigh too much",
    )


def _fold_scores(metrics: Mapping[str, float], name: str) -> FloatArray:
    """The metric on each fold, in the order of the folds; empty where it was not logged."""
    prefix = f"{name}_fold_"
    folds = {int(k.removeprefix(prefix)): k for k in metrics if k.startswith(prefix)}
    return np.array([metrics[folds[fold]] for fold in sorted(folds)])


def lost_class(case: Case) -> Iterator[Diagnosis]:
    """One class is hardly ever found, while another makes the score look good."""
    classes = case.evidence.classes
    rows = sum(c.rows for c in classes)
    found = sum(c.recall * c.rows for c in classes) / max(rows, 1)
    lost = [c for c in classes if _is_lost(c, found)]
    if len(classes) < 2 or not lost:
        return
    worst = min(lost, key=lambda c: c.recall)
    largest = max(classes, key=lambda c: c.rows)
    name = short(repr(worst.label))
    yield Diagnosis(
        "class",
        PROBLEM,
        f"{short(repr(largest.label))} carries the score; {name} is hardly ever found",
        f"{worst.recall:.0%} of the {worst.rows} held-out rows of {name} are predicted as such, "
        f"{found:.0%} of all {rows} rows",
        "if that class matters, take metric=balanced_accuracy, f1_macro or log_loss, or balance=on"
        + (", or for two classes threshold=f1" if len(classes) == 2 else ""),
    )


def _is_lost(score: ClassScore, of_all: float) -> bool:
    limit = min(_RARELY_FOUND, of_all / 2)
    return score.rows >= _MIN_CLASS_ROWS and score.recall < limit
