"""Saved views of MLflow's UI: a link that opens a study sorted, with suitable columns and charts.

A saved view is an experiment tag `mlflow.sharedViewState.<key>` with a name, two times, and the
state of the UI, compressed. The format was read from the UI of MLflow 3.17 and is not documented.
So a view that cannot be saved is only logged.
"""

import base64
import json
import logging
import time
import zlib
from collections.abc import Mapping
from itertools import combinations
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from requests import RequestException

from hpo.goals import Goals
from pipelines.files.uris import without_login
from pipelines.store import schema
from pipelines.store.tracking import first_line, is_http
from warmstart.families import short_name

logger = logging.getLogger(__name__)

TAG = "mlflow.sharedViewState."
OWN = "hpo-"
MAX_VIEWS = 40  # per experiment
MAX_VALUE = 20_000  # characters of a tag
MAX_COLUMNS = 100
MAX_AXES = 40
KIND, DEVELOPMENT = "mlflow.experimentKind", "custom_model_development"
LOCAL_UI = "http://127.0.0.1:5000"


def save(
    client: MlflowClient, experiment_id: str, run_id: str, header: Mapping[str, Any]
) -> str | None:
    """Save the view of a study and return its link; None when it cannot be saved."""
    key = OWN + run_id
    how = "one configuration" if schema.trains_one(header) else header.get("algorithm", "search")
    name = f"{short_name(str(header.get('model', 'study')))}, {how} ({run_id[:8]})"
    value = envelope(name, state(run_id, header), round(time.time() * 1000))
    try:
        if len(value) > MAX_VALUE or not _make_room(client, experiment_id, TAG + key):
            logger.debug(
                "no saved view: it has %d characters, or users have saved %d views",
                len(value),
                MAX_VIEWS,
            )
            return None
        client.set_experiment_tag(experiment_id, TAG + key, value)
    except (MlflowException, RequestException) as error:
        logger.debug("no saved view: %s", first_line(error))
        return None
    return link(client.tracking_uri, experiment_id, key)


def open_on_runs(client: MlflowClient, experiment_id: str) -> None:
    """Tag an experiment so that its page opens on runs and not on traces, unless it has a kind."""
    try:
        if KIND not in client.get_experiment(experiment_id).tags:
            client.set_experiment_tag(experiment_id, KIND, DEVELOPMENT)
    except (MlflowException, RequestException) as error:
        logger.debug("the experiment has no kind: %s", first_line(error))


def link(tracking_uri: str, experiment_id: str, key: str, *, charts: bool = True) -> str:
    """The URL that opens a saved view."""
    mode = "&compareRunsMode=CHART" if charts else ""
    return f"{ui(tracking_uri)}/#/experiments/{experiment_id}/runs?viewStateShareKey={key}{mode}"


def ui(tracking_uri: str) -> str:
    """The URL of MLflow's UI: the tracking server, or else the default of `mlflow ui`."""
    return without_login(tracking_uri).rstrip("/") if is_http(tracking_uri) else LOCAL_UI


def _make_room(client: MlflowClient, experiment_id: str, tag: str) -> bool:
    """Delete our oldest views until one more fits; False when there are too many of users."""
    tags = client.get_experiment(experiment_id).tags
    others = [name for name in tags if name.startswith(TAG) and name != tag]
    own = [name for name in others if name.startswith(TAG + OWN)]
    excess = max(len(others) + 1 - MAX_VIEWS, 0)
    if excess > len(own):
        return False
    own.sort(key=lambda name: _created(tags[name]))
    for old in own[:excess]:
        client.delete_experiment_tag(experiment_id, old)
    return True


def _created(value: str) -> float:
    try:
        return float(json.loads(value)["createdAt"])
    except (ValueError, KeyError, TypeError):
        return 0.0


def envelope(name: str, view: Mapping[str, Any], now: int) -> str:
    """The value of the tag: name and times as JSON, with the compressed state."""
    packed = base64.b64encode(zlib.compress(json.dumps(view).encode())).decode()
    return json.dumps(
        {"name": name, "createdAt": now, "updatedAt": now, "state": f"deflate;{packed}"}
    )


def state(run_id: str, header: Mapping[str, Any]) -> dict[str, Any]:
    """The state of the UI: filter, order, columns and charts."""
    metrics = list(Goals.from_dict(header).names)
    metric = metrics[0]
    space = schema.parameters_of(header)
    unconditional = [name for name, parameter in space.items() if not parameter.get("when")]
    columns = [f"metrics.`{name}`" for name in (*metrics, schema.SECONDS)]
    columns += [f"tags.`{schema.ORIGIN}`"]
    if len(header.get("rungs", ())) > 1:
        columns += [f"tags.`{schema.BUDGET}`", f"tags.`{schema.ENDED}`"]
    columns += [f"params.`{name}`" for name in space][:MAX_COLUMNS]
    section = f"{run_id}-section"
    return {
        "searchFilter": (
            f"tags.`{schema.PARENT_RUN}` = '{run_id}' AND tags.`{schema.ROLE}` = 'trial'"
        ),
        "orderByKey": f"metrics.`{metric}`",
        "orderByAsc": header["direction"] == "minimize",
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": columns,
        "runsHiddenMode": "SHOW_ALL",
        "hideEmptyCharts": True,
        "isAccordionReordered": True,
        "compareRunSections": [_section(section)],
        "compareRunCharts": _charts(run_id, section, metrics, unconditional),
    }


def _section(uuid: str) -> dict[str, Any]:
    return {
        "uuid": uuid,
        "name": "Search",
        "display": True,
        "isReordered": True,
        "deleted": False,
        "isGenerated": False,
    }


def _charts(
    run_id: str, section: str, metrics: list[str], params: list[str]
) -> list[dict[str, Any]]:
    """Charts of the parameters, the learning curves, the cost, and each pair of goals.

    `params` are those of every trial: parallel coordinates hide trials that lack a parameter.
    """
    metric = metrics[0]
    parallel = {
        "type": "PARALLEL",
        "selectedParams": params[:MAX_AXES],
        "selectedMetrics": metrics,
        "showAllRuns": True,
        "displayName": "Parameters and score",
    }
    curves = {
        "type": "LINE",
        "metricKey": metric,
        "selectedMetricKeys": [metric],
        "xAxisKey": "step",
        "displayName": f"{metric} by budget",
    }
    fronts = [_scatter(x, y, f"{y} by {x}") for y, x in combinations(metrics, 2)]
    cost = _scatter(schema.SECONDS, metric, f"{metric} by seconds")
    charts: list[dict[str, Any]] = [*fronts, parallel, curves, cost]
    common = {
        "metricSectionId": section,
        "deleted": False,
        "isGenerated": False,
        "runsCountToCompare": 100,
    }
    return [{"uuid": f"{run_id}-{i}", **common, **chart} for i, chart in enumerate(charts)]


def _scatter(x: str, y: str, name: str) -> dict[str, Any]:
    return {
        "type": "SCATTER",
        "xaxis": {"key": x, "type": "METRIC"},
        "yaxis": {"key": y, "type": "METRIC"},
        "displayName": name,
    }
