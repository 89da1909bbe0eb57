from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.warmstart.compare import AT, NEVER, Key, report
from benchmarks.warmstart.pasts import left_by, past_of, tables
from benchmarks.warmstart.searches import FITS, on_surface
from benchmarks.warmstart.starts import METHODS


def test_no_table_is_in_its_own_past() -> None:
    for table in tables("lightgbm"):
        names = [study.name for study in past_of(table, seed=0)]
        assert table.name not in names
        assert len(names) == len(tables("lightgbm")) - 1


def test_the_real_trainings_are_on_tables_that_no_past_study_has_seen() -> None:
    assert not set(FITS) & {
        table.name for model in ("lightgbm", "xgboost", "mlp") for table in tables(model)
    }


def test_a_past_study_is_a_search_of_its_own() -> None:
    table = tables("lightgbm")[0]
    past = left_by(table, 0)
    assert len(past) == 50
    assert past.losses[0] == pytest.approx(
        min(table.loss(table.space.decode(x)) for x in past.x), rel=1e-3
    )


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("all inverted", "2 past studies")]


@pytest.mark.parametrize("method", ["cold", "warm", "warm bohb", *SLOW])
def test_a_search_repeats_from_its_seed(method: str) -> None:
    assert method in METHODS
    one, two = (on_surface("lightgbm", 3, method, 1, 8) for _ in range(2))
    assert one == two
    assert len(one) == 8
    assert np.isfinite(one[-1])


def test_the_report_counts_trials_to_what_cold_has_in_the_end() -> None:
    table = tables("lightgbm")[0]
    low, width = table.optimum, table.scale - table.optimum

    def searched(regrets: Sequence[float]) -> list[float]:
        return [low + width * regret for regret in np.repeat(regrets, 10)]

    kept: dict[Key, list[float]] = {
        (table.name, "lightgbm", "cold", 0): searched([0.9, 0.8, 0.5, 0.5, 0.25]),
        (table.name, "lightgbm", "warm", 0): searched([0.6, 0.2, 0.2, 0.2, 0.1]),
        (table.name, "lightgbm", "all inverted", 0): searched([0.9] * 5),
    }
    text, values = report(kept, "lightgbm", [table.name], ["cold", "warm", "all inverted"], 50)
    warm, inverted = values["warm"], values["all inverted"]
    assert isinstance(warm, dict)
    assert isinstance(inverted, dict)
    assert warm["trials"] == [11, 11, 11]
    assert [warm["regret"][n] for n in AT] == pytest.approx([0.6, 0.6, 0.2, 0.1])
    assert warm["worse"] == 0
    assert inverted["trials"] == [NEVER] * 3
    assert inverted["worse"] == 1
    assert "| warm | 11, 11 |" in text
    assert "| all inverted | never, never |" in text
    assert "| cold | 0.300 [0.300, 0.300], 1 | 0.300 [0.300, 0.300], 1 | 0.300" in text
