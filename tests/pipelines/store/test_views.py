import base64
import json
import zlib
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipelines.store import parents, schema, views
from tests import stores


def opened(value: str) -> Any:
    """The state as MLflow's UI unpacks it."""
    outer = json.loads(value)
    assert isinstance(outer["name"], str)
    assert isinstance(outer["createdAt"], int)
    kind, packed = outer["state"].split(";")
    assert kind == "deflate"
    return json.loads(zlib.decompress(base64.b64decode(packed)))


@pytest.fixture
def experiment() -> str:
    import uuid

    return str(stores.client().create_experiment(uuid.uuid4().hex))


def tags(client: MlflowClient, experiment: str) -> dict[str, str]:
    return dict(client.get_experiment(experiment).tags)


def test_one_configuration_is_not_called_a_search() -> None:
    point = {"params": {"rate": 0.1}, "origin": "given"}
    header = {**stores.HEADER, "trials": 1, "first_points": [point]}
    assert "search" not in parents.describe(header).lower()
    assert schema.trains_one(header)
    assert not schema.trains_one(header | {"first_points": [{**point, "origin": "default"}]})
    assert not schema.trains_one(header | {"trials": 2})


def test_the_view_of_a_study() -> None:
    store = stores.study()
    link = store.notes.save_view()
    key = f"hpo-{store.run_id}"
    mode = "compareRunsMode=CHART"
    assert (
        link
        == f"http://127.0.0.1:5000/#/experiments/{store.experiment_id}/runs?viewStateShareKey={key}&{mode}"
    )
    value = tags(stores.client(), store.experiment_id)[f"mlflow.sharedViewState.{key}"]
    assert json.loads(value)["name"] == f"lightgbm, tpe ({store.run_id[:8]})"
    state = opened(value)
    filters = f"tags.`mlflow.parentRunId` = '{store.run_id}' AND tags.`hpo.role` = 'trial'"
    assert state["searchFilter"] == filters
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`auc`", False)
    assert "params.`rate`" in state["selectedColumns"]
    kinds = {chart["type"]: chart for chart in state["compareRunCharts"]}
    assert kinds["PARALLEL"]["selectedParams"] == [
        "model",
        "rate",
        "depth",
    ]  # not the conditional one
    assert kinds["LINE"]["metricKey"] == "auc"
    assert len({chart["uuid"] for chart in state["compareRunCharts"]}) == 3
    found = stores.client().search_runs([store.experiment_id], state["searchFilter"])
    assert found == []
    store.close()


def test_saving_twice_leaves_one_view() -> None:
    store = stores.study()
    assert store.notes.save_view() == store.notes.save_view()
    found = tags(stores.client(), store.experiment_id)
    assert len([name for name in found if name.startswith(views.TAG)]) == 1
    assert found["mlflow.experimentKind"] == "custom_model_development"  # opens on runs
    store.close()


def test_the_oldest_of_our_views_give_way(experiment: str) -> None:
    client = stores.client()
    client.set_experiment_tag(experiment, views.TAG + "users-own", views.envelope("mine", {}, 0))
    for i in range(views.MAX_VIEWS - 1):
        client.set_experiment_tag(
            experiment, f"{views.TAG}hpo-{i}", views.envelope("x", {}, 100 + i)
        )
    assert views.save(client, experiment, "new", stores.HEADER)
    kept = tags(client, experiment)
    assert len(kept) == views.MAX_VIEWS
    assert views.TAG + "users-own" in kept
    assert views.TAG + "hpo-0" not in kept
    assert views.TAG + "hpo-new" in kept


def test_the_views_of_others_are_left_alone(experiment: str) -> None:
    client = stores.client()
    for i in range(views.MAX_VIEWS):
        client.set_experiment_tag(experiment, f"{views.TAG}user-{i}", "not even json")
    assert views.save(client, experiment, "new", stores.HEADER) is None
    assert len(tags(client, experiment)) == views.MAX_VIEWS


def test_a_failure_costs_the_view_alone() -> None:
    class Broken:
        tracking_uri = "sqlite:///x"

        def get_experiment(self, experiment_id: str) -> None:
            raise MlflowException("no")

    assert views.save(Broken(), "0", "r", stores.HEADER) is None  # type: ignore[arg-type]


def test_a_huge_space_gets_a_view_that_fits() -> None:
    space = {
        f"a_rather_long_parameter_name_{i}": {"type": "float", "low": 0, "high": 1}
        for i in range(500)
    }
    value = views.envelope("n", views.state("r" * 32, {**stores.HEADER, "space": space}), 0)
    assert len(value) < views.MAX_VALUE
    assert len(opened(value)["selectedColumns"]) < 110


def test_links_lead_to_the_server() -> None:
    assert views.link("https://host/mlflow/", "7", "k", charts=False) == (
        "https://host/mlflow/#/experiments/7/runs?viewStateShareKey=k"
    )


def test_the_pinned_ui_reads_such_views() -> None:
    """The names that the state is made of stand in the UI's own code."""
    from pathlib import Path

    import mlflow

    code = Path(mlflow.__file__).parent / "server" / "js" / "build" / "static" / "js"
    main = next(code.glob("main.*.js")).read_text()
    words = [
        "mlflow.sharedViewState.",
        "viewStateShareKey",
        "selectedColumns",
        "compareRunCharts",
        "deflate;",
    ]
    words += [
        "compareRunSections",
        "runsHiddenMode",
        "SHOW_ALL",
        "PARALLEL",
        "selectedParams",
        "showAllRuns",
    ]
    words += ["metricSectionId", "selectedMetricKeys", "All Runs", "isAccordionReordered"]
    assert [word for word in words if word not in main] == []
