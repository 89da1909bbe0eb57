"""Races over rungs with real trainings, killed, resumed and with invalid budgets."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.end_to_end.conftest import Place, command_line
from tests.end_to_end.test_resume import facts, read_until, study_id, trials_of

RUNGS = (5.0, 14.0, 41.0)
SETTINGS = {
    "target": "income",
    "algorithm": "bohb",
    "trials": 14,
    "min_budget": 4,
    "max_budget": 41,
    "seed": 5,
    "workers": 1,
}


@pytest.mark.slow  # a race is killed in test_machines.py, too
def test_a_killed_race_goes_on_where_its_models_stood(
    place: Place,
    tmp_path_factory: pytest.TempPathFactory,
    table: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = Place.made_in(tmp_path_factory.mktemp("other"))
    code, output = other.command("tune", data=table, **SETTINGS)
    assert code == 0, output
    expected = trials_of(other, study_id(output), monkeypatch)
    assert "rungs 5, 14, 41 rounds" in output
    assert "again from the start" not in output

    process = place.start(*command_line("tune", data=table, **SETTINGS))
    assert process.stdout
    output = read_until(process.stdout, "at 14 rounds")
    process.kill()
    process.wait()
    study = study_id(output)
    assert list((place.folder / "cache" / "checkpoints" / study).iterdir())
    code, output = place.command("tune", study=study)
    assert code == 0, output
    assert "again from the start" not in output
    found = trials_of(place, study, monkeypatch)
    assert facts(found) == facts(expected)
    assert {trial.reached for trial in found} <= set(RUNGS)
    assert any(len(trial.reports) == 3 for trial in found), "nobody went up all rungs"
    assert not (place.folder / "cache" / "checkpoints" / study).exists(), "the study is done"

    client = MlflowClient(place.tracking_uri)
    for run in client.search_runs(
        ["0"], f"tags.mlflow.parentRunId = '{study}' AND tags.`hpo.role` = 'trial'"
    ):
        trial = found[int(run.data.tags["hpo.trial.number"])]
        steps = {point.step for point in client.get_metric_history(run.info.run_id, "roc_auc")}
        assert {round(report.budget) for report in trial.reports} <= steps
        left = "full budget" if trial.reached == RUNGS[-1] else f"left at {trial.reached:g}"
        assert run.data.tags["hpo.trial.ended"] == left


def test_a_study_that_ran_out_of_time_goes_on_from_its_checkpoints(
    place: Place, table: Path
) -> None:
    settings = SETTINGS | {"trials": 5000, "timeout": 5, "workers": 2}
    code, output = place.command("tune", data=table, **settings)
    assert code == 0, output
    study = study_id(output)
    assert "checkpoints, " in output
    assert f"resume   mlflow-warmstart tune --study={study} --trials=5000" in output
    models = list((place.folder / "cache" / "checkpoints" / study).iterdir())
    assert 0 < len(models) <= 44, "20 for each rung below the top, and those that run"

    began = {name: SETTINGS[name] for name in ("min_budget", "max_budget", "algorithm")}
    code, output = place.command("tune", study=study, trials=5000, timeout=2, **began)
    assert code == 0, output
    code, output = place.command("tune", study=study, eta=4)
    assert code == 2, output
    assert "began with eta=3.0, but got 4.0" in output


def test_shares_of_the_rows_as_budgets_and_checkpoints_elsewhere(place: Place, table: Path) -> None:
    settings = SETTINGS | {"trials": 5, "workers": 2}
    del settings["max_budget"]
    code, output = place.command(
        "tune", data=table, **(settings | {"fidelity": "rows", "min_budget": 30})
    )
    assert code == 0, output
    assert "rungs 33, 100 % of the rows\n" in output
    kept = place.folder / "kept"
    code, output = place.command(
        "tune", data=table, checkpoints=f"file://{kept}", **SETTINGS | {"trials": 5}
    )
    assert code == 0, output
    assert kept.is_dir(), "checkpoints were kept there"
    assert list(kept.iterdir()) == [], "and deleted at the end"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"algorithm": "tpe"},
            "min_budget=4 is for algorithms that grant budgets, such as bohb; leave it out",
        ),
        ({"algorithm": "tpe+asho"}, "unknown scheduler 'asho', did you mean 'asha'?"),
        ({"eta": 1}, "eta=1 must be 2 or more"),
        (
            {"min_budget": 30},
            "min_budget=30 leaves no rung below max_budget=41 with eta=3; "
            "bohb needs at least two rungs",
        ),
        ({"max_budget": 2, "min_budget": 1}, "take max_budget=3 or more"),
        ({"min_budget": 50}, "min_budget=50 must not exceed max_budget=41"),
        (
            {"algorithm": "pbt", "model": "lightgbm,linear,svm"},
            "pbt changes values while a model trains, which linear and svm cannot",
        ),
        ({"algorithm": "pbt", "fidelity": "rows"}, "fidelity=rows trains each leg from the start"),
        ({"fidelity": "row"}, "unknown fidelity 'row', did you mean 'rows'?"),
        ({"checkpoints": "nowhere://x"}, "checkpoints cannot be stored at nowhere://x"),
    ],
)
def test_budgets_that_cannot_be(
    place: Place, table: Path, changes: dict[str, object], message: str
) -> None:
    code, output = place.command("tune", data=table, **(SETTINGS | changes))
    assert code == 2, output
    assert message in output
