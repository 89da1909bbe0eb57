"""The call from Python, in this process."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from hpo.errors import ParameterError
from hpo.workers.cores import available_cores
from pipelines.promote import promote
from pipelines.registry.gate import PromotionRefusedError
from pipelines.store.knowledge import past_studies
from pipelines.study.runs import study_header
from pipelines.tune import tune
from warmstart.metafeatures import MetaFeatures

CORES = available_cores()


def test_a_winner_without_a_test_score_is_kept_but_never_promoted(
    store: str, make_table: Callable[[int], pd.DataFrame], capsys: pytest.CaptureFixture[str]
) -> None:
    table = make_table(300).assign(day=range(300))
    table.loc[table["day"] >= 240, "income"] = "low"  # all of the held-out rows

    result = tune(
        table,
        "income",
        split="time:day",
        trials=1,
        max_budget=5,
        workers=1,
        register="never-promoted",
    )

    assert result.version == 1
    assert "roc_auc" not in result.test
    assert "log_loss" in result.test
    assert "roc_auc is not defined on the held-out rows" in capsys.readouterr().err
    with pytest.raises(PromotionRefusedError, match="scored nan on the held-out rows"):
        promote("never-promoted")


def test_a_table_in_memory_from_another_thread_and_resumed(
    store: str, make_table: Callable[[int], pd.DataFrame]
) -> None:
    table = make_table(200)
    with ThreadPoolExecutor(1) as threads:  # as in a notebook server or a web application
        first = threads.submit(tune, table, "income", trials=2, max_budget=10, workers=1).result()
    assert first.winner is not None
    assert not first.interrupted
    assert first.test["roc_auc"] > 0.5
    run = MlflowClient(store).get_run(first.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["hpo.winner.trial"] == str(first.winner.number)
    described = MetaFeatures.from_dict(study_header(first.run_id)["meta_features"])
    assert described.values["size.log_rows"] == pytest.approx(np.log(160)), (
        "the test rows are not looked at"
    )

    left = past_studies(store, sources=[first.run_id]).studies[0]
    assert left.losses.tolist() == pytest.approx(
        sorted(trial.loss for trial in first.trials), rel=1e-5
    )
    assert (left.name, left.task) == ("a table in memory, income", "binary")
    assert left.features is not None
    assert left.features.values == pytest.approx(described.values, rel=1e-5)

    again = tune(table, study=first.run_id, trials=3)

    assert [(t.params, t.loss) for t in again.trials[:2]] == [
        (t.params, t.loss) for t in first.trials
    ]
    assert len(again.trials) == len(past_studies(store, sources=[first.run_id]).studies[0]) == 3
    assert tune(table, study=first.run_id).model_uri == again.model_uri
    if CORES > 1:  # the study began with one worker that has them all
        with pytest.raises(
            ParameterError, match=rf"workers={CORES} with {CORES} thread.* exceed the {CORES} core"
        ):
            tune(table, study=first.run_id, trials=4, workers=CORES)


def test_the_best_few_are_confirmed_once(
    store: str, make_table: Callable[[int], pd.DataFrame], capsys: pytest.CaptureFixture[str]
) -> None:
    table = make_table(300)
    result = tune(table, "income", trials=4, max_budget=10, confirm=2, ensemble="off")

    confirmed = result.confirmation
    assert confirmed is not None
    assert result.winner is not None
    assert result.winner.number == confirmed.winner
    assert (
        confirmed.searched
        == min(result.trials, key=lambda trial: (trial.loss, trial.number)).number
    )
    assert 0 in confirmed.scores
    assert all(len(scores) == 10 for scores in confirmed.scores.values())
    assert f"Confirmed on 10 parts of the search's rows, {len(confirmed.scores)} trials" in str(
        result
    )
    assert result.interval is not None
    assert result.interval.low <= result.test["roc_auc"] <= result.interval.high
    client = MlflowClient(store)
    study = client.get_run(result.run_id).data
    assert study.metrics["confirm_roc_auc_mean"] == pytest.approx(confirmed.estimate.mean)
    assert study.metrics["test_roc_auc_low"] == pytest.approx(result.interval.low)
    assert study.tags["hpo.winner.trial"] == str(confirmed.winner)
    assert {test["trial"] for test in json.loads(study.tags["hpo.confirmation"])["tests"]} == {
        *confirmed.scores
    } - {confirmed.winner}
    points = client.get_metric_history(study.tags["hpo.winner"], "confirm_roc_auc")
    assert [point.value for point in sorted(points, key=lambda p: p.step)] == pytest.approx(
        confirmed.scores[confirmed.winner]
    )

    capsys.readouterr()
    again = tune(table, study=result.run_id)
    assert (again.confirmation, again.model_uri) == (confirmed, result.model_uri)
    assert "0 trainings" in capsys.readouterr().err
