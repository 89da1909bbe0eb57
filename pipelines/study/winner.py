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
from pipelines.models import resolve
from pipelines.objectives.table import members_folder
from pipelines.registry.gate import HeldOutScore
from pipelines.registry.logged import TRIAL_NUMBER, log_winner, logged_before
from pipelines.registry.versions import register_winner
from pipelines.store.tracking import first_line
from pipelines.study.card import ARTIFACT, Subject, description, model_card, whole
from pipelines.study.plan import Plan
from pipelines.table.metrics import METRICS
from pipelines.table.permutation import permuted
from pipelines.table.splits import group_codes
from serving.predictor import Predictor

if TYPE_CHECKING:
    from pipelines.store.storage import MlflowStorage
    from pipelines.study.confirmation import Confirmation
    from pipelines.table.bootstrap import Interval
    from pipelines.table.data import Prepared


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
class Won:
    """What is known when a study ends.

    `best` of the `trials` won; `test` holds every metric of the `scored` object, `interval` the
    bounds of the deciding one, `trivial` that of the trivial baseline on the same rows; `baselines`
    are on the validation rows. `confirmation` is there when the best few were trained again.
    """

    best: Trial
    trials: tuple[Trial, ...]
    scored: Scored
    test: Mapping[str, float]
    interval: "Interval | None"
    baselines: Mapping[str, float]
    trivial: float
    confirmation: "Confirmation | None"


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
    won: Won,
) -> Logged:
    """Log the scored object under the study's run, and register it when the plan says so.

    Raises:
        StudyError: when MLflow does not take it.
    """
    try:
        return _log(plan, prepared, storage, won)
    except MlflowException as error:
        raise StudyError(
            f"MLflow did not take the winner ({first_line(error)}); all trials are kept: when that is mended, `tune` "
            f"with study={storage.run_id} logs the winner again"
        ) from error


def _log(
    plan: Plan,
    prepared: "Prepared",
    storage: "MlflowStorage",
    won: Won,
) -> Logged:
    best = won.best
    winner = logged_before(storage.client, storage.run_id, won.scored.folder)
    if winner is None:
        winner = log_winner(
            storage.client,
            storage.run_id,
            won.scored.folder,
            prepared.example,
            metrics={f"test_{name}": value for name, value in won.test.items()},
            params=best.params,
            tags={TRIAL_NUMBER: str(best.number)},
        )
    if not plan.register:
        return Logged(winner.uri, None, winner.seconds)
    held_out = HeldOutScore(
        metric=plan.metric,
        greater_is_better=METRICS[plan.metric].greater_is_better,
        value=won.test.get(plan.metric, float("nan")),  # such a version is never promoted
        baseline=won.trivial,
        data=plan.data.digest,
        split=prepared.rows.digest,
        rows=len(prepared.test_frame),
    )
    card = model_card(_subject(plan, prepared, storage, won, held_out))
    storage.client.log_text(storage.run_id, whole(card), ARTIFACT)
    registered = register_winner(
        storage.client,
        winner,
        plan.register,
        study=storage.run_id,
        trial=storage.trial_run_id(best.number),
        family=resolve(plan.model, best.params)[0],
        score=held_out,
        description=description(card),
    )
    return Logged(winner.uri, registered.version, winner.seconds)


def _subject(
    plan: Plan, prepared: "Prepared", storage: "MlflowStorage", won: Won, held_out: HeldOutScore
) -> Subject:
    metric, scored = METRICS[plan.metric], won.scored
    predictor = Predictor.load(scored.folder)
    return Subject(
        study=storage.run_id,
        trial=storage.trial_run_id(won.best.number),
        plan=plan,
        prepared=prepared,
        best=won.best,
        trials=won.trials,
        score=held_out,
        test=won.test,
        interval=won.interval,
        baselines=won.baselines,
        permuted=permuted(predictor, prepared.test_frame, scored.y, metric, plan.seed),
        confirmation=won.confirmation,
    )
