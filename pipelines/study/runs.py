"""Small reads and writes on single runs, for the entry points."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from hpo.errors import StudyError
from hpo.trial import Trial
from pipelines.files.uris import safe
from pipelines.findings.evidence import ClassScore, Evidence, confirmation, searched
from pipelines.findings.past import Curve, warm_start
from pipelines.store import schema
from pipelines.store.records import decode_trial
from pipelines.store.studies import find_study, leaderboard, read_artifact, read_header
from pipelines.store.tracking import children, connect
from pipelines.store.views import ui
from pipelines.study.gain import BESIDE_COLD, TRUST
from pipelines.study.warm_start import ARTIFACT

CURVES = 24  # learning curves that are read: each is a request
CLASSES = "classes.json"
MAX_LABEL = 200
RESUMED = "hpo.study"  # on a run of `mlflow run` that went on with a study: the study's run id


def study_header(run_id: str) -> dict[str, Any]:
    """What a study was created with.

    Raises:
        StudyError: when there is no such study, or it cannot be read.
    """
    client = connect(None)
    find_study(client, run_id)
    return read_header(client, run_id)


def read_text(run_id: str, name: str) -> str:
    """An artifact of a study that is text.

    Raises:
        StudyError: when it is missing or unreadable.
    """
    return read_artifact(connect(None), run_id, name)


def read_evidence(run_id: str) -> Evidence:
    """All that MLflow knows of a study.

    Raises:
        StudyError: when there is no such study, or it cannot be read.
    """
    client = connect(None)
    run, header, rows = find_study(client, run_id), read_header(client, run_id), leaderboard(run_id)
    metric = str(header["metric"])
    best = sorted(
        client.get_metric_history(run_id, f"best_{metric}"), key=lambda m: (m.step, m.timestamp)
    )
    intervals = [(row["started"], row["ended"]) for row in rows]
    seconds = searched(intervals, [point.timestamp / 1000 for point in best])
    baselines = {
        child.data.tags[schema.BASELINE]: child.data.metrics[metric]
        for child in children(client, run.info.experiment_id, run_id, "baseline")
        if schema.BASELINE in child.data.tags and metric in child.data.metrics
    }
    there = {item.path for item in client.list_artifacts(run_id)}
    kept = {
        name: _json(client, run_id, name)
        for name in (CLASSES, ARTIFACT, TRUST, BESIDE_COLD)
        if name in there
    }
    done = [row for row in rows if row["reports"]]
    chosen = [
        *done[: CURVES // 2],
        *(rest := done[CURVES // 2 :])[:: max(2 * len(rest) // CURVES, 1)],
    ][:CURVES]
    return Evidence(
        study=run_id,
        name=str(run.info.run_name),
        header=header,
        rows=rows,
        best=tuple(zip(seconds, (float(point.value) for point in best), strict=True)),
        curves={row["number"]: _curve(client, row["run_id"], metric) for row in chosen},
        baselines=baselines,
        test={
            k.removeprefix("test_"): v for k, v in run.data.metrics.items() if k.startswith("test_")
        },
        chosen=int(run.data.tags[schema.WINNER_NUMBER])
        if schema.WINNER_NUMBER in run.data.tags
        else None,
        classes=_classes(kept.get(CLASSES)),
        confirmation=confirmation(run.data.tags.get(schema.CONFIRMATION)),
        warm=warm_start(kept.get(ARTIFACT), kept.get(TRUST), kept.get(BESIDE_COLD)),
        elapsed=searched(intervals, [max((end for _, end in intervals), default=0.0)])[0],
    )


def _json(client: MlflowClient, run_id: str, name: str) -> Any:
    """What a JSON artifact holds; None when it cannot be read."""
    try:
        return json.loads(read_artifact(client, run_id, name))
    except (StudyError, ValueError):
        return None


def _classes(plain: Any) -> tuple[ClassScore, ...]:
    try:
        return tuple(
            ClassScore(str(label), int(rows), float(recall)) for label, rows, recall in plain or ()
        )
    except (TypeError, ValueError):
        return ()


def classes_text(classes: Sequence[tuple[str, int, float]]) -> str:
    """The artifact `CLASSES`: of each class its label, its held-out rows, the share that is found."""
    known = [
        (schema.cut(label, MAX_LABEL), rows, recall) for label, rows, recall in classes if rows
    ]
    return json.dumps(known, ensure_ascii=False)


def _curve(client: MlflowClient, run_id: str, metric: str) -> Curve:
    """A trial's metric by budget; of two values at one budget the last counts."""
    history = sorted(client.get_metric_history(run_id, metric), key=lambda m: (m.step, m.timestamp))
    return tuple({float(point.step): float(point.value) for point in history}.items())


def note_resumed(run_id: str, study: str) -> None:
    """Say on a run that its work went into an existing study."""
    client = connect(None)
    client.set_tag(run_id, schema.ROLE, "resume")
    client.set_tag(run_id, RESUMED, study)


def put_text(run_id: str, text: str, name: str) -> None:
    """Keep a text as an artifact of a run."""
    connect(None).log_text(run_id, text, name)


def put_files(run_id: str, contents: Mapping[str, bytes], folder: str) -> None:
    """Keep files as artifacts of a run, below a folder."""
    with tempfile.TemporaryDirectory() as directory:
        for name, content in contents.items():
            (Path(directory) / name).write_bytes(content)
        connect(None).log_artifacts(run_id, directory, folder)


def artifact_link(run_id: str, path: str) -> str:
    """Where MLflow's UI shows an artifact."""
    client = connect(None)
    experiment = client.get_run(run_id).info.experiment_id
    return f"{ui(client.tracking_uri)}/#/experiments/{experiment}/runs/{run_id}/artifacts/{quote(path)}"


def fail_run(run_id: str, reason: str, status: str = "FAILED") -> None:
    """End a run that came to nothing, with the reason, if MLflow can be reached.

    A run that is a study says by itself how it ended, and is left alone.
    """
    client = MlflowClient()
    with suppress(MlflowException):
        if schema.SCHEMA not in client.get_run(run_id).data.tags:
            client.set_tag(run_id, schema.FAILURE, schema.cut(reason))
            client.set_terminated(run_id, status)


def study_of_trial(run_id: str) -> tuple[dict[str, Any], Trial]:
    """The header of the study that a trial belongs to, and the trial.

    Raises:
        StudyError: when the run is no trial.
    """
    client = connect(None)
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        raise StudyError(
            f"there is no run {run_id!r} in {safe(client.tracking_uri)}; a trial is named by its run id"
        ) from error
    trial = decode_trial(run.data.tags, run.data.params)
    if trial is None:
        raise StudyError(
            f"run {run_id} is no trial; `report` lists the trials of a study with their run ids"
        )
    return study_header(run.data.tags[schema.PARENT_RUN]), trial
