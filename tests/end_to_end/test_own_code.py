"""`tune(objective=…)`: functions, command lines and MLflow projects as studies."""

import re
import sys
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient

from hpo.errors import ParameterError, StudyError
from pipelines.ask import open_study
from pipelines.report import report
from pipelines.store.studies import leaderboard
from pipelines.tune import tune
from tests.end_to_end import own_code
from tests.end_to_end.conftest import Place

X = {"x": {"low": 0.0, "high": 1.0}}
HOW = [
    "works",
    "raises",
    "exits",
    "is killed",
    "is nan",
    "names oddly",
    "returns nothing",
    "forks",
    "comes back twice",
    "goes elsewhere",
    "logs elsewhere",
    "hangs",
]
SUCCEED = {"works", "forks", "comes back twice", "goes elsewhere", "logs elsewhere"}


def test_what_an_objective_does_costs_its_own_trial_only(store: str, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.db"
    MlflowClient(f"sqlite:///{elsewhere}").search_experiments()  # makes its tables, which is slow
    result = tune(
        objective=own_code.misbehaving,
        space={"how": HOW, "elsewhere": [str(elsewhere)]},
        algorithm="grid",
        trials=20,
        trial_timeout=4,
        workers=2,
    )

    assert len(result.trials) == len(HOW), "a small space ends when all of it is tried"
    failures = {str(t.params["how"]): t.failure or "" for t in result.trials}
    assert {how for how in HOW if not failures[how]} == SUCCEED
    expected = {
        "raises": "ValueError: no such column",
        "exits": "SystemExit",
        "is killed": "SIGKILL",
        "is nan": "loss is nan",
        "names oddly": "'top@1' cannot be the name of a parameter or metric",
        "returns nothing": "the objective returned None",
        "hangs": "4",
    }
    for how, message in expected.items():
        assert message in failures[how], how
    assert "own_code.py" in failures["raises"], "where it was raised"
    printed = {how: text for how, text in failures.items() if "\nits output is in" in text}
    assert set(printed) == set(HOW) - SUCCEED
    client = MlflowClient(store)
    runs = client.search_runs(
        [client.get_run(result.run_id).info.experiment_id],
        f"tags.`mlflow.parentRunId` = '{result.run_id}'",
    )
    logs = [mlflow.artifacts.load_text(f"{run.info.artifact_uri}/log.txt") for run in runs]
    noise = [re.search("noise on stdout {'how': '([a-z ]+)'", text) for text in logs]
    assert sorted(match[1] for match in noise if match) == sorted(HOW)
    assert (result.best_params["how"], result.best_score) == ("works", 1.0)
    experiment = client.get_experiment_by_name("elsewhere")
    assert experiment is not None
    assert not client.search_runs([experiment.experiment_id])
    (other,) = MlflowClient(f"sqlite:///{elsewhere}").search_runs(["0"])
    assert other.data.metrics == {"own": 1.0}
    assert "Best: trial" in str(result)


def test_a_race_goes_on_from_checkpoints_and_is_resumed(store: str) -> None:
    options: dict[str, Any] = {"workers": 2, "metric": "-err"}
    first = tune(
        objective=own_code.trained, space=X, algorithm="asha", max_budget=9, trials=4, **options
    )
    header = f"asha over {own_code.__name__}:trained"
    assert header in str(report(study=first.run_id))

    again = tune(study=first.run_id, trials=9)  # the objective is found again by its name

    assert [t.params for t in again.trials[:4]] == [t.params for t in first.trials]
    assert set(again.trials[0].params) == {"x"}, "parameters that it logged are not its own"
    legs = [report for trial in again.trials for report in trial.reports]
    assert {leg.budget for leg in legs} == {1.0, 3.0, 9.0}
    for trial in again.trials:
        before = 0.0
        for leg in trial.reports:
            is_whole = "checkpoint" in leg.note  # a complete session has deleted it
            assert leg.metrics["steps"] == leg.budget - (0 if is_whole else before)
            before = leg.budget
    run = MlflowClient(store).get_run(again.winner_run)
    assert run.data.params["rows"] == "7"
    assert run.data.metrics["began_at"] > 0
    assert run.info.status == "FINISHED"
    with pytest.raises(StudyError, match="began with metric='-err', but got '\\+err'"):
        tune(study=first.run_id, objective=own_code.trained, metric="+err")
    with pytest.raises(StudyError, match="another objective: objective was .*trained"):
        tune(study=first.run_id, objective=own_code.script)


def test_a_population_copies_checkpoints_and_is_resumed(store: str) -> None:
    options: dict[str, Any] = {"algorithm": "pbt:population=4", "min_budget": 2, "max_budget": 6}
    options["warm_start"] = "off"
    whole = tune(objective=own_code.trained, space=X, metric="-err", trials=6, workers=1, **options)
    copies = [trial for trial in whole.trials if trial.parent is not None]
    assert [trial.reports[0].budget for trial in copies] == [4.0, 6.0]
    for trial in copies:
        for leg in trial.reports:
            assert leg.metrics["steps"] == 2.0, "it goes on where its parent was"
    runs = MlflowClient(store).search_runs(
        [MlflowClient(store).get_run(whole.run_id).info.experiment_id],
        f"tags.`hpo.trial.parent` != '' AND tags.`mlflow.parentRunId` = '{whole.run_id}'",
    )
    assert {run.data.tags["hpo.trial.parent"] for run in runs} == {
        str(trial.parent) for trial in copies
    }
    began = tune(objective=own_code.trained, space=X, metric="-err", trials=5, workers=1, **options)
    again = tune(study=began.run_id, trials=6)
    assert [(t.params, t.parent) for t in again.trials] == [
        (t.params, t.parent) for t in whole.trials
    ]


def test_a_script_logs_to_its_trial_and_its_model_is_registered(store: str) -> None:
    space = {"x": [1.0, 0.25, 0.75], "tag": ["1"]}
    result = tune(objective=own_code.script, space=space, trials=3, workers=1, register="own-model")

    assert result.best_params == {"x": 0.25, "tag": "1"}
    client = MlflowClient(store)
    run = client.get_run(result.winner_run)
    assert {"inside", "after", "loss"} <= set(run.data.metrics)
    children = client.search_runs(
        [run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run.info.run_id}'"
    )
    assert [set(child.data.metrics) for child in children] == [{"child"}]
    everything = client.search_runs([run.info.experiment_id], "tags.`hpo.study` != ''")
    assert not everything, "no run beside the study's"
    model = mlflow.pyfunc.load_model("models:/own-model@challenger")
    assert model.predict([[0], [0]]) == [0.25, 0.25]
    assert result.version == 1

    later = tune(objective=own_code.script, space=space, trials=2, workers=1)
    assert later.trials[1].origin.startswith("warm start: ")
    assert later.trials[1].params == {"x": 0.25, "tag": "1"}


def test_a_command_from_the_command_line(place: Place, tmp_path: Path) -> None:
    program = tmp_path / "train.py"
    program.write_text("import sys\nprint('rate', sys.argv[1])\nprint(float(sys.argv[1]) ** 2)\n")
    space = tmp_path / "space.yaml"
    space.write_text("rate: {low: -1.0, high: 1.0}\n")
    objective = f"cmd:{sys.executable} {program} {{rate}}"

    code, output = place.command(
        "tune", objective=objective, space=str(space), trials="4", workers="2"
    )

    assert code == 0, output
    assert "Leaderboard by loss (4 trials)" in output
    assert "tpe over 1 parameter of cmd:train.py" in output


def test_a_project_is_run_in_its_trials_own_run(store: str, tmp_path: Path) -> None:
    (tmp_path / "MLproject").write_text(
        "name: theirs\nentry_points:\n  main:\n    parameters:\n      rate: float\n"
        "      rows: {type: float, default: 3}\n"
        f"    command: {sys.executable} train.py {{rate}}\n"
    )
    (tmp_path / "train.py").write_text(
        "import sys, mlflow\nrate = float(sys.argv[1])\n"
        "if rate > 0.6: raise SystemExit('too fast')\n"
        "with mlflow.start_run():\n    mlflow.log_metric('err', rate)\n"
    )
    space = {"rate": {"low": 0.25, "high": 0.75, "step": 0.25}}
    objective = f"project:{tmp_path}#main?env=local"

    result = tune(objective=objective, space=space, metric="-err", trials=3, workers=1)

    assert result.best_score == 0.25
    failed = [trial for trial in result.trials if trial.failure]
    assert [trial.params["rate"] for trial in failed] == [0.75]
    assert "the run of the project failed: too fast" in str(failed[0].failure)
    rows = {row["number"]: row["run_id"] for row in leaderboard(result.run_id)}
    run = MlflowClient(store).get_run(rows[result.trials[0].number])
    assert (run.info.status, run.data.metrics["err"]) == ("FINISHED", 0.5)
    run_project: Any = mlflow.projects.run
    ended = run_project(  # as `mlflow run --backend hpo` does
        str(tmp_path),
        parameters={"rows": 2},
        backend="hpo",
        backend_config={"space": space, "metric": "-err", "trials": 1, "workers": 1},
        env_manager="local",
        experiment_id="0",
    )
    assert ended.get_status() == "FINISHED"
    assert leaderboard(ended.run_id)[0]["params"] == {"rate": 0.5, "rows": 2}
    with pytest.raises(ParameterError, match="rates of the space is no parameter of the entry"):
        tune(objective=objective, space={"rates": [1, 2]}, metric="-err", trials=1)
    with pytest.raises(ParameterError, match="no entry point 'man', did you mean 'main'"):
        tune(objective=f"project:{tmp_path}#man", space=space, metric="-err", trials=1)


def test_a_loop_of_ones_own_asks_and_tells(store: str) -> None:
    with mlflow.start_run() as outer, open_study(X, name="loop", metric="-err") as study:
        first, second, third = study.ask(), study.ask(), study.ask()
        assert first is not None
        assert second is not None
        assert third is not None
        with study.run(first):
            mlflow.log_metric("mine", 1.0)
        mlflow.log_metric("outer", 1.0)
        study.tell(first, {"err": 0.5, "other": 2})
        with pytest.raises(ParameterError, match="tell got other, but the metric is err; tell it"):
            study.tell(second, {"other": 2})
        with pytest.raises(StudyError, match="is being run by another process"):
            open_study(study=study.run_id)
    assert MlflowClient(store).get_run(outer.info.run_id).data.metrics == {"outer": 1.0}
    with open_study(study=study.run_id) as again:
        assert again.best_score == 0.5
        wrong: Any
        for wrong in ("x", None, 1.5, True):
            with pytest.raises(ParameterError, match="must be what ask has returned"):
                again.tell(wrong, 1.0)
        for number in (99, -1):
            with pytest.raises(StudyError, match=f"no trial {number}; the study has 3 trials"):
                again.tell(number, failure="lost")
        with pytest.raises(ParameterError, match="failure='lost' must be .*; give a value or a"):
            again.tell(second, 1.0, failure="lost")
        again.tell(second.number, 0.25)
        lost = again.ask()
        assert lost is not None
        assert (lost.number, lost.params) == (third.number, third.params)
        again.tell(lost, failure="the machine was lost")
        fourth = again.ask()
        assert fourth is not None
        assert fourth.number == 3
        again.tell(fourth, 1.0)
    for call in (again.ask, lambda: again.tell(third, 1.0)):
        with pytest.raises(StudyError, match=r"is closed; open it again: open_study\(study="):
            call()
    rows = leaderboard(study.run_id)
    assert [row["number"] for row in rows] == [1, 0, 3, 2]
    assert rows[1]["metrics"]["other"] == 2.0
    run = MlflowClient(store).get_run(rows[1]["run_id"])
    assert (run.data.metrics["mine"], run.info.status) == (1.0, "FINISHED")
    assert "tpe over ask:loop, 4 trials, 1 failed" in str(report(study=study.run_id))
    with pytest.raises(RuntimeError), open_study(study=study.run_id):
        raise RuntimeError("a mistake of the loop")
    ended = MlflowClient(store).get_run(study.run_id)
    assert (ended.info.status, ended.data.tags["hpo.failure"]) == (
        "FAILED",
        "RuntimeError: a mistake of the loop",
    )
    with pytest.raises(StudyError, match="is a trial of study"):
        open_study(study=run.info.run_id)
    with pytest.raises(StudyError, match=r"made by open_study.*open_study\(study="):
        tune(study=study.run_id)


def test_several_goals_and_a_limit_from_python_to_the_report(store: str) -> None:
    asked: dict[str, Any] = {"metric": "-near,-far", "limits": "excess<0.9", "prefer": "near:1"}
    began = tune(
        objective=own_code.two_goals,
        space={"x": {"low": -4.0, "high": 4.0}},
        workers=1,
        trials=6,
        **asked,
    )
    study = began.run_id
    result = tune(objective=own_code.two_goals, study=study, workers=1, trials=16, **asked)

    front = {trial.number for trial in result.front}
    assert 2 <= len(front) < 16
    assert all(abs(float(trial.params["x"]) - 1) < 0.9 for trial in result.front)
    assert result.winner is min(result.front, key=lambda trial: float(trial.params["x"]))
    text = str(result)
    assert f"by near, far, excess (16 trials); * marks the front of {len(front)}" in text

    assert "by the weights of prefer" in text
    client = MlflowClient(store)
    run = client.get_run(study)
    assert run.data.tags["hpo.front"] == ",".join(map(str, sorted(front)))
    points = client.get_metric_history(study, "hpo.hypervolume")
    course = [point.value for point in sorted(points, key=lambda point: point.step)]
    assert sorted(course) == course
    assert course[-1] > course[0]
    rows = {row["number"]: client.get_run(row["run_id"]).data for row in leaderboard(study)}
    marked = {n for n, data in rows.items() if data.tags.get("hpo.front") == "true"}
    assert marked == front
    assert rows[0].metrics.keys() >= {"near", "far", "excess"}
    page = Path(client.download_artifacts(study, "report/report.html")).read_text("utf-8")
    assert "Goals against each other" in page
    again = tune(objective=own_code.two_goals, study=study, workers=1, prefer="far:1")
    assert again.winner is max(again.front, key=lambda trial: float(trial.params["x"]))
    with pytest.raises(StudyError, match="began with metric='-near,-far', but got '-near'"):
        tune(objective=own_code.two_goals, study=study, metric="-near", trials=20)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "space='default': a space is needed with objective"),
        ({"space": X, "model": "mlp"}, "model is for tables"),
        ({"space": X, "data": "a.csv", "target": "y"}, "(?s)data is for tables.*target is for"),
        ({"space": X, "metric": "err"}, "write -err to minimise it"),
        ({"space": X, "algorithm": "bohb"}, "has no argument `budget`; add it, or take an"),
        ({"space": X, "max_budget": 9}, "has no argument `budget`; add it, or leave max_budget"),
        ({"space": X, "metric": "-err,-err"}, "names err twice"),
        ({"space": X, "limits": "seconds"}, "must be a metric, < or >"),
        ({"space": X, "metric": "-a,-b", "prefer": "c:1"}, "prefer='c' is not a goal"),
        ({"space": X, "trials": -1}, "trials=-1 must be greater than 0"),
    ],
)
def test_mistakes_are_told_before_anything_runs(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        tune(objective=own_code.script, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trials": -1}, "trials=-1 must be greater than 0"),
        ({"algorithm": "bohb"}, "max_budget is needed: the budget of a full evaluation"),
        ({"metric": "-"}, "metric='-' has a sign and no name"),
        ({"metric": None}, "metric=None must be text"),
        ({"name": 5}, "name=5 must be text"),
        ({"study": 5}, "study=5 must be text"),
        ({"study": "a" * 32, "seed": 3}, "seed is as the study began; leave seed out"),
    ],
)
def test_mistakes_of_a_loop(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        open_study(X, **options) if "study" not in options else open_study(**options)


def test_a_race_needs_the_largest_budget() -> None:
    with pytest.raises(ParameterError, match="takes `budget`, so max_budget is needed"):
        tune(objective=own_code.trained, space=X, algorithm="bohb", metric="-err")
