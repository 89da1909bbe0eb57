"""The winner: its object is scored on the held-out rows, and the same object is logged and registered."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from mlflow.exceptions import MlflowException

from hpo.errors import StudyError
from hpo.trial import Trial
from pipelines.gate import HeldOutScore
from pipelines.metrics import METRICS
from pipelines.models import resolve
from pipelines.objective import members_folder
from pipelines.plan import Plan
from pipelines.registry import TRIAL_NUMBER, log_winner, logged_before, register_winner
from pipelines.splits import group_codes
from pipelines.tracking import first_line
from serving.predictor import Predictor

if TYPE_CHECKING:
    from pipelines.data import Prepared
    from pipelines.storage import MlflowStorage


@dataclass(frozen=True)
class Scored:
    """A predictor's folder with the truth `(n,)` and its predictions `(n,)` or `(n, k)` on the held-out rows.

    `groups` (n,) are codes of rows that depend on each other, None when there are none.
    """

    folder: Path
    y: npt.NDArray[Any]
    prediction: npt.NDArray[np.float64]
    groups: npt.NDArray[np.int64] | None


@dataclass(frozen=True)
class Logged:
    """Where the winner is, and the version it was registered as, if it was."""

    uri: str
    version: int | None
    seconds: float


def score(plan: Plan, prepared: "Prepared", folder: Path, label: str) -> Scored:
    """Make one object of the models filed under `label` and let it predict the held-out rows from the raw table."""
    place = folder / "predictors" / label
    members = sorted(members_folder(folder, label).iterdir())
    Predictor(prepared.features, prepared.target, ()).save(place, members)
    rows = prepared.test_frame
    prediction = Predictor.load(place).predict_raw(rows)
    return Scored(place, prepared.y_test, prediction, group_codes(plan.data.split, rows))


def log(
    plan: Plan,
    prepared: "Prepared",
    storage: "MlflowStorage",
    best: Trial,
    scored: Scored,
    test: Mapping[str, float],
    trivial: float,
) -> Logged:
    """Log the scored object under the study's run, and register it when the plan says so.

    Raises:
        StudyError: when MLflow does not take it.
    """
    try:
        return _log(plan, prepared, storage, best, scored, test, trivial)
    except MlflowException as error:
        raise StudyError(
            f"MLflow did not take the winner ({first_line(error)}); all trials are kept: when that is mended, `tune` "
            f"with study={storage.run_id} logs the winner again"
        ) from error


def _log(
    plan: Plan,
    prepared: "Prepared",
    storage: "MlflowStorage",
    best: Trial,
    scored: Scored,
    test: Mapping[str, float],
    trivial: float,
) -> Logged:
    metrics = {f"test_{name}": value for name, value in test.items()}
    winner = logged_before(storage.client, storage.run_id, scored.folder)
    if winner is None:
        winner = log_winner(
            storage.client,
            storage.run_id,
            scored.folder,
            prepared.example,
            metrics=metrics,
            params=best.params,
            tags={TRIAL_NUMBER: str(best.number)},
        )
    if not plan.register:
        return Logged(winner.uri, None, winner.seconds)
    held_out = HeldOutScore(
        metric=plan.metric,
        greater_is_better=METRICS[plan.metric].greater_is_better,
        value=test.get(plan.metric, float("nan")),  # such a version is never promoted
        baseline=trivial,
        data=plan.data.digest,
        split=prepared.rows.digest,
        rows=len(prepared.test_frame),
    )
    registered = register_winner(
        storage.client,
        winner,
        plan.register,
        study=storage.run_id,
        trial=storage.trial_run_id(best.number),
        family=resolve(plan.model, best.params)[0],
        score=held_out,
        metrics=metrics,
    )
    return Logged(winner.uri, registered.version, winner.seconds)
