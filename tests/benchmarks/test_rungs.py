"""How rungs are made and judged; no figure of a real table."""

import numpy as np
import pytest

from benchmarks.budgets.extrapolation import extrapolate
from benchmarks.budgets.judging import Judgement, halving, halving_regrets, judged, kept_share
from benchmarks.budgets.rungs import tables_of
from benchmarks.budgets.ways import part_of
from tests.folds import make_fold


@pytest.mark.parametrize("kind", ["multiclass", "regression"])
def test_parts_of_the_rows_are_nested_and_hold_the_classes_in_proportion(kind: str) -> None:
    fold = make_fold(kind, 600)
    parts = [part_of(fold, share) for share in (1 / 27, 1 / 9, 1 / 3)]
    assert [len(part.train) for part in parts] == [15, 45, 134]
    rows = [{row.tobytes() for row in np.nan_to_num(part.train.numeric[:, :3])} for part in parts]
    assert rows[0] < rows[1] < rows[2]
    assert all(part.valid is fold.valid for part in parts)
    if kind == "multiclass":
        shares = [np.bincount(part.y_train, minlength=4) / len(part.y_train) for part in parts]
        whole = np.bincount(fold.y_train) / len(fold.y_train)
        np.testing.assert_allclose(shares[0], whole, atol=2 / 15)
        np.testing.assert_allclose(shares[2], whole, atol=2 / 134)


@pytest.mark.parametrize("curve", [lambda t: 0.2 + 0.5 * np.exp(-t / 60), lambda t: 0.1 + t**-0.5])
def test_a_smooth_curve_is_read_further_on(curve: object) -> None:
    t = np.arange(1.0, 46.0)
    points = list(zip(t.tolist(), curve(t).tolist(), strict=True))  # type: ignore[operator]
    assert extrapolate(points, 405) == pytest.approx(float(curve(405.0)), abs=0.03)  # type: ignore[operator]


def test_a_curve_that_has_turned_or_is_too_short_stays_at_its_best_loss() -> None:
    turned = [(float(t), 0.5 + 0.001 * (t - 10) ** 2) for t in range(1, 40)]
    assert extrapolate(turned, 405) == 0.5
    assert extrapolate([(1.0, 0.9), (2.0, 0.7)], 405) == 0.7
    falling = [(float(t), 1.0 - 0.02 * t) for t in range(1, 46)]
    assert 0.0 <= extrapolate(falling, 405) < 0.1


def test_a_rung_that_ranks_as_the_end_does_keeps_everything() -> None:
    final = np.arange(24.0)
    assert kept_share(2 * final + 1, final) == 1.0
    assert kept_share(-final, final) == 0.0
    losses = np.stack([final, -final], axis=1)
    losses[-1, 0] = np.nan  # diverged: the worst, which it is
    found = Judgement.of(losses, np.ones((24, 2)), final, 96.0)
    assert found.correlation == pytest.approx([1.0, -1.0])
    assert found.kept.tolist() == [1.0, 0.0]
    assert found.seconds.tolist() == [0.25, 0.25]


def test_results_become_tables_with_the_ends_of_the_ways_that_end_elsewhere() -> None:
    losses = np.add.outer(np.arange(8.0), [4.0, 3.0, 2.0, 1.0])
    seconds = np.tile([1.0, 2.0, 4.0, 8.0], (8, 1))
    plain = {"losses": losses.tolist(), "seconds": seconds.tolist()}
    better = {"losses": (0.5 * losses).tolist(), "seconds": seconds.tolist()}
    rows = {"losses": losses[:, :3].tolist(), "seconds": seconds[:, :3].tolist()}
    result = {
        "table": "t",
        "again": losses[:, 3].tolist(),
        "ways": {"rounds": plain, "scheduled": better, "rows": rows},
    }
    assert set(judged(result)) == {"rounds", "scheduled", "scheduled (own end)", "rows"}
    text = tables_of("lightgbm", [result, result])
    assert "| scheduled | 0.500 [0.500, 0.500] | 0.500 [0.500, 0.500] |" in text
    assert "12%, 25%, 50%" in text


def test_halving_from_a_rung_that_ranks_finds_the_best_and_pays_for_what_it_takes() -> None:
    losses = np.add.outer(np.arange(27.0), [3.0, 2.0, 1.0, 0.0])
    seconds = np.tile([1.0, 3.0, 9.0, 27.0], (27, 1))
    continued = {"losses": losses.tolist(), "seconds": seconds.tolist()}
    anew = {"losses": losses[:, :3].tolist(), "seconds": seconds[:, :3].tolist()}
    result = {"ways": {"rounds": continued, "rows": anew}}
    # 27 at the first rung, 9 and 3 go on, 1 ends: 27 x 1 + 9 x 2 + 3 x 6 + 1 x 18 of 27 seconds
    assert halving("rounds", result, 0, 27) == pytest.approx((0.0, 3.0))
    assert halving("rows", result, 0, 27) == pytest.approx((0.0, 4.0))
    regret, cost = halving("rounds", result, 3, 5)
    assert cost == 5.0
    assert 0.0 < regret < 1.0
    regrets = halving_regrets("rounds", result, (3.0, 20.0))
    assert regrets.shape == (2, 4)
    assert regrets[0, 0] == pytest.approx(0.0)
    assert regrets[0, 3] > regrets[1, 3]
