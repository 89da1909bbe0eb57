"""What the exchange keeps for ensembles, and that it is bounded."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.trial import Report, Trial
from pipelines.files.exchange import Exchange
from pipelines.objectives.ensemble.library import (
    MAX_ROWS,
    Stored,
    predictions_of,
    read,
    sampled,
    save,
    shortlist,
)
from pipelines.objectives.jobs import models_of, trial_label
from pipelines.table.scores.metrics import METRICS


def one_family(_: Trial) -> str:
    return "lightgbm"


def trial(number: int, *losses: float, origin: str = "sampler") -> Trial:
    """A trial with a report at the budgets 1, 2, ..."""
    reports = tuple(Report(float(i), loss) for i, loss in enumerate(losses, 1))
    return Trial(number, {}, float(len(losses)), origin, reports)


def test_predictions_of_all_folds_come_back_in_order(tmp_path: Path) -> None:
    exchange, trials = Exchange(str(tmp_path)), [trial(0, 1.0), trial(1, 2.0), trial(2, 3.0)]
    save(exchange, trial_label(0, 1), [np.array([1.0, 2.0]), np.array([3.0])])
    save(exchange, trial_label(2, 1), [np.array([4.0, 5.0]), np.array([6.0])])
    found = read(exchange, trials, np.zeros(3), METRICS["rmse"])
    assert found.numbers == (0, 2)
    assert found.predictions.tolist() == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    assert found.predictions.dtype == np.float32
    part = found.on(np.array([2, 0]))
    assert part.predictions.tolist() == [[3.0, 1.0], [6.0, 4.0]]
    assert part.loss(part.predictions[0]) == pytest.approx(np.sqrt(5))


@given(n=st.integers(1, 5 * MAX_ROWS))
def test_the_rows_that_are_kept_are_bounded(n: int) -> None:
    rows = sampled(n)
    assert len(rows) == min(n, MAX_ROWS)
    assert len(np.unique(rows)) == len(rows)
    assert rows[0] == 0
    assert rows[-1] == (n - 1 if n > 1 else 0)


def test_many_rows_are_stored_as_few(tmp_path: Path) -> None:
    exchange = Exchange(str(tmp_path))
    save(exchange, "t", [np.arange(MAX_ROWS, dtype=float), np.arange(MAX_ROWS, dtype=float)])
    assert np.load(exchange.get(predictions_of("t")) / "prediction.npy").shape == (MAX_ROWS,)


@given(losses=st.lists(st.integers(0, 5).map(float), min_size=1, max_size=12))
def test_only_the_best_trials_are_kept(losses: list[float]) -> None:
    stored, there = Stored(1, 3, "default", one_family), set[str]()
    for number, loss in enumerate(losses):
        label = trial_label(number, 1)
        there |= {models_of(label), predictions_of(label)}
        there -= set(stored.outdated(trial(number, loss)))
    best = sorted(range(len(losses)), key=lambda i: (losses[i], i))
    assert there == {
        *(models_of(trial_label(i, 1)) for i in best[:1]),
        *(predictions_of(trial_label(i, 1)) for i in best[:3]),
    }


def test_the_models_of_the_default_stay() -> None:
    stored = Stored(1, 0, "default", one_family)
    assert stored.outdated(trial(0, 3.0, origin="default")) == [predictions_of(trial_label(0, 1))]
    assert models_of(trial_label(0, 1)) not in stored.outdated(trial(1, 1.0))
    assert models_of(trial_label(2, 1)) in stored.outdated(trial(2, 2.0))


def test_a_promoted_trial_is_kept_where_it_was_best() -> None:
    stored = Stored(1, 1, "default", one_family)
    assert stored.outdated(trial(0, 3.0)) == []
    first, second, third = (trial_label(0, budget) for budget in (1, 2, 3))
    assert set(stored.outdated(trial(0, 3.0, 2.0))) == {models_of(first), predictions_of(first)}
    worse = stored.outdated(trial(0, 3.0, 2.0, 4.0))
    assert set(worse) == {models_of(third), predictions_of(third)}
    assert set(stored.outdated(trial(1, 1.0))) == {models_of(second), predictions_of(second)}


def test_the_best_of_each_family_are_kept_beside_the_best_of_all() -> None:
    families = dict(enumerate(["a", "a", "a", "a", "b", "b", "b"]))
    stored = Stored(1, 3, "default", lambda trial: families[trial.number])
    gone = [name for n in families for name in stored.outdated(trial(n, float(n)))]
    kept = {predictions_of(trial_label(n, 1)) for n in families} - set(gone)
    assert kept == {predictions_of(trial_label(n, 1)) for n in (0, 1, 2, 4, 5)}
    assert shortlist(sorted(families), 3, families.__getitem__) == [0, 1, 2, 4, 5]
    assert shortlist(sorted(families), 0, families.__getitem__) == []
