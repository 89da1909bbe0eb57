"""Reading and writing single runs, for the entry points and the report."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mlflow import MlflowClient
from mlflow.entities import Metric, Run
from mlflow.exceptions import MlflowException

from hpo.errors import StudyError
from hpo.goals import Goals
from hpo.past import Past
from hpo.trial import Phase, Trial, schedule
from pipelines.files.uris import safe
from pipelines.findings.evidence import ClassScore, Evidence, confirmation, searched
from pipelines.findings.past import Curve, warm_start
from pipelines.store import schema
from pipelines.store.records import decode_trial
from pipelines.store.studies import (
    find_study,
    leaderboard,
    read_artifact,
    read_header,
    trial_runs,
)
from pipelines.store.tracking import children, connect
from pipelines.store.views import ui
from pipelines.study.gain import BESIDE_COLD, TRUST
from pipelines.study.options import OFF
from pipelines.study.plan import Plan
from pipelines.study.warm_start import ARTIFACT, WarmStart

CURVES = 24  # learning curves that are read; each is a request
CLASSES = "classes.json"  # an artifact
MAX_LABEL = 200  # characters of the name of a class
TEST = "test_"  # prefix of metrics on the held-out rows
RESUMED = "hpo.study"  # tag of a run of `mlflow run` that resumed a study: the study's run id


def study_header(run_id: str) -> dict[str, Any]:
    """The header of a study: its plan and the meta-features of its table.

    Raises:
        StudyError: when there is no such study, or it cannot be read.
    """
    client = connect(None)
    find_study(client, run_id)
    return read_header(client, run_id)


def read_text(run_id: str, name: str) -> str:
    """The text of an artifact of a study.

    Raises:
        StudyError: when it is missing or unreadable.
    """
    return read_artifact(connect(None), run_id, name)


@dataclass(frozen=True)
class Pace:
    """How fast a study was.

    Attributes:
        seconds: of training, for one unit of budget.
        unit: of its budgets.
        rows: of its table; 0 without one.
    """

    seconds: float
    unit: str
    rows: int


def pace_of(run_id: str) -> Pace | None:
    """How fast a study was; None if none of its trials has a result.

    Raises:
        StudyError: when it cannot be read.
    """
    client = connect(None, reading=True)
    find_study(client, run_id)
    header = read_header(client, run_id)
    trials = [row for row in leaderboard(run_id) if row["reports"]]
    if not trials:
        return None
    continues = header.get("fidelity") not in ("scaled", "rows")  # promoted trials do
    spent = sum(
        row["budget"] if continues else sum(report.budget for report in row["reports"])
        for row in trials
    )
    seconds = sum(row["seconds"] for row in trials)
    rows = int((header.get("data") or {}).get("rows") or 0)
    return Pace(seconds / spent, str(header.get("budget_unit", "")), rows)


def read_evidence(run_id: str) -> Evidence:
    """Read a study with its trials for a report.

    Raises:
        StudyError: when there is no such study, or it cannot be read.
    """
    client = connect(None)
    run, header = find_study(client, run_id), read_header(client, run_id)
    rows = leaderboard(run_id, goals=Goals.from_dict(header))
    metric, tags = str(header["metric"]), run.data.tags
    artifacts = _json_artifacts(client, run_id)
    intervals = [(row["started"], row["ended"]) for row in rows]
    last = max((end for _, end in intervals), default=0.0)
    sample = _sample([row for row in rows if row["reports"]])
    return Evidence(
        study=run_id,
        name=str(run.info.run_name),
        header=header,
        rows=rows,
        best=_best_scores(client, run_id, metric, intervals),
        curves={row["number"]: _curve(client, row["run_id"], metric) for row in sample},
        baselines=_baselines(client, run, metric),
        test=_test_scores(run.data.metrics),
        chosen=int(tags[schema.WINNER_NUMBER]) if schema.WINNER_NUMBER in tags else None,
        classes=_classes(artifacts.get(CLASSES)),
        confirmation=confirmation(tags.get(schema.CONFIRMATION)),
        warm=warm_start(*map(artifacts.get, (ARTIFACT, TRUST, BESIDE_COLD))),
        elapsed=searched(intervals, [last])[0],
    )


def _best_scores(
    client: MlflowClient, run_id: str, metric: str, intervals: Sequence[tuple[float, float]]
) -> Curve:
    """The best score so far by seconds of search."""
    points = _history(client, run_id, f"best_{metric}")
    seconds = searched(intervals, [point.timestamp / 1000 for point in points])
    return tuple(zip(seconds, (float(point.value) for point in points), strict=True))


def _baselines(client: MlflowClient, run: Run, metric: str) -> dict[str, float]:
    """The scores of the baselines, by name."""
    runs = children(client, run.info.experiment_id, run.info.run_id, "baseline")
    return {
        child.data.tags[schema.BASELINE]: child.data.metrics[metric]
        for child in runs
        if schema.BASELINE in child.data.tags and metric in child.data.metrics
    }


def _test_scores(metrics: Mapping[str, float]) -> dict[str, float]:
    """The winner's scores on the held-out rows, by metric."""
    names = [name for name in metrics if name.startswith(TEST)]
    return {name.removeprefix(TEST): metrics[name] for name in names}


def _json_artifacts(client: MlflowClient, run_id: str) -> dict[str, Any]:
    """The JSON artifacts of a study that exist and can be read, by name."""
    names = {item.path for item in client.list_artifacts(run_id)}
    found: dict[str, Any] = {}
    for name in names & {CLASSES, ARTIFACT, TRUST, BESIDE_COLD}:
        with suppress(StudyError, ValueError):
            found[name] = json.loads(read_artifact(client, run_id, name))
    return found


def _sample(rows: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """`CURVES` rows at most: the best ones, and as many spread evenly over the others."""
    best, others = rows[: CURVES // 2], rows[CURVES // 2 :]
    step = max(2 * len(others) // CURVES, 1)
    return [*best, *others[::step]][:CURVES]


def _curve(client: MlflowClient, run_id: str, metric: str) -> Curve:
    """A trial's metric by budget; of two values at one budget the last one counts."""
    points = _history(client, run_id, metric)
    return tuple({float(point.step): float(point.value) for point in points}.items())


def _history(client: MlflowClient, run_id: str, metric: str) -> list[Metric]:
    """The values of a metric by step, then by time."""
    points = client.get_metric_history(run_id, metric)
    return sorted(points, key=lambda point: (point.step, point.timestamp))


def _classes(plain: Any) -> tuple[ClassScore, ...]:
    """Read what `classes_text` wrote; empty for anything else."""
    try:
        return tuple(
            ClassScore(str(label), int(rows), float(recall)) for label, rows, recall in plain or ()
        )
    except (TypeError, ValueError):
        return ()


def classes_text(classes: Sequence[tuple[str, int, float]]) -> str:
    """The artifact `CLASSES` as JSON.

    Args:
        classes: label, number of held-out rows and recall of each class. Classes without rows are
            left out.
    """
    found = [
        (schema.cut(label, MAX_LABEL), rows, recall) for label, rows, recall in classes if rows
    ]
    return json.dumps(found, ensure_ascii=False)


def recalled(run_id: str, plan: Plan) -> tuple[WarmStart | None, Past | None]:
    """What a study that began earlier has taken from past ones; twice None if it learns from none.

    Raises:
        StudyError: when it cannot be read.
    """
    if plan.warm_start == OFF:
        return None, None
    warm = WarmStart.from_json(read_text(run_id, ARTIFACT))
    return warm, warm.past(plan)


def note_resumed(run_id: str, study: str) -> None:
    """Note on a run of `mlflow run` that it resumed a study."""
    client = connect(None)
    client.set_tag(run_id, schema.ROLE, "resume")
    client.set_tag(run_id, RESUMED, study)


def log_text(run_id: str, text: str, name: str) -> None:
    """Log a text as an artifact of a run."""
    connect(None).log_text(run_id, text, name)


def log_files(run_id: str, contents: Mapping[str, bytes], folder: str) -> None:
    """Log files as artifacts of a run, in a folder."""
    with tempfile.TemporaryDirectory() as directory:
        for name, content in contents.items():
            (Path(directory) / name).write_bytes(content)
        connect(None).log_artifacts(run_id, directory, folder)


def artifact_link(run_id: str, path: str) -> str:
    """The address of an artifact in MLflow's UI."""
    client = connect(None)
    experiment = client.get_run(run_id).info.experiment_id
    run = f"experiments/{experiment}/runs/{run_id}"
    return f"{ui(client.tracking_uri)}/#/{run}/artifacts/{quote(path)}"


def fail_run(run_id: str, reason: str, status: str = "FAILED") -> None:
    """End a run with the reason of its failure, if MLflow can be reached.

    The run of a study is not changed, because the study has stored its own end.
    """
    client = MlflowClient()
    with suppress(MlflowException):
        if schema.SCHEMA not in client.get_run(run_id).data.tags:
            client.set_tag(run_id, schema.FAILURE, schema.cut(reason))
            client.set_terminated(run_id, status)


def study_of_trial(run_id: str) -> tuple[dict[str, Any], Trial]:
    """The header of the study that a trial belongs to, and the trial.

    Raises:
        StudyError: when the run is not a trial.
    """
    client = connect(None)
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        raise StudyError(
            f"there is no run {run_id!r} in {safe(client.tracking_uri)}; give the run id of a trial"
        ) from error
    trial = decode_trial(run.data.tags, run.data.params)
    if trial is None:
        raise StudyError(
            f"run {run_id} is not a trial; `report` lists the trials of a study with their run ids"
        )
    return study_header(run.data.tags[schema.PARENT_RUN]), trial


def values_before(run_id: str, trial: Trial) -> tuple[Phase, ...]:
    """The values that a copied trial was trained with before its own: those it comes from.

    Raises:
        StudyError: when one of those trials is missing.
    """
    client = connect(None)
    run = client.get_run(run_id)
    study = run.data.tags[schema.PARENT_RUN]
    found = [each for each, _ in trial_runs(client, run.info.experiment_id, study)]
    trials = sorted(found, key=lambda each: each.number)
    if [each.number for each in trials] != list(range(len(trials))):
        raise StudyError(
            f"trial {trial.number} continues other trials of study {study}, and some of the "
            "study's runs are missing; restore them, or give its last values in a file, as params="
        )
    return schedule(trials, trial.number)[:-1]
