from types import SimpleNamespace
from typing import Any

import pytest

from hpo.space import Float, SearchSpace
from pipelines.models import PERCENT_OF_ROWS
from pipelines.study.session.introduction import introduction
from tests.plans import plan


@pytest.mark.parametrize(
    ("cluster", "settings", "end"),
    [
        ("", {}, "1 worker × 1 thread"),
        ("Ray", {}, "1 worker × 1 thread on Ray"),
        (
            "Slurm",
            {"rungs": (33.0, 100.0), "budget_unit": PERCENT_OF_ROWS, "fidelity": "rows"},
            "1 worker × 1 thread on Slurm; rungs 33, 100 % of the rows",
        ),
        ("", {"rungs": (5.0, 9.0)}, "1 worker × 1 thread; rungs 5, 9 rounds"),
        (
            "",
            {"rungs": (5.0, 9.0), "fidelity": "scaled"},
            "1 worker × 1 thread; rungs 5, 9 rounds (scaled)",
        ),
    ],
)
def test_the_first_line_tells_where_trials_run_and_what_their_rungs_are(
    cluster: str, settings: dict[str, Any], end: str
) -> None:
    searched = SimpleNamespace(proposals=SimpleNamespace(total=None), complete=False)
    usual = {"workers": 1, "threads": 1, "budget_unit": "rounds", "fidelity": "rounds"}
    (line,) = introduction(
        plan(space=SearchSpace((Float("x", 0.0, 1.0),)), **usual | settings),
        SimpleNamespace(notes=(), describe=lambda: "600 rows"),
        SimpleNamespace(n_finished=0, study=searched),  # type: ignore[arg-type]
        study="abc",
        notes=(),
        cluster=cluster,
        keeps_checkpoints=True,
    )
    assert line.endswith(end)
