"""The winner: its object is scored on the held-out rows, and the same object is logged and registered."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from mlflow.exceptions import MlflowException

from hpo.errors import StudyError
from pipelines.models import search_model
from pipelines.objectives.card import ARTIFACT, Subject, description, model_card, whole
from pipelines.objectives.jobs import models_of
from pipelines.registry.gate import HeldOutScore
from pipelines.registry.logged import TRIAL_NUMBER, log_winner, logged_before
from pipelines.registry.versions import Origin, register_winner
from pipelines.store.tracking import connect, first_line
from pipelines.study.objective import Choice, Ending
from pipelines.study.plan import Plan
from pipelines.table.metrics import METRICS
from pipelines.table.permutation import permuted
from pipelines.table.splits import group_codes
from serving.predictor import Predictor

if TYPE_CHECKING:
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
    """What is known of the winner when a study ends.

    Attributes:
        choice: the winner, and how the best few were compared.
        ending: the study around it.
        scored: its model on the held-out rows.
        test: every metric there.
        interval: of the deciding metric.
        trivial: the deciding metric of the trivial baseline on the same rows.
    """

    choice: Choice
    ending: Ending
    scored: Scored
    test: Mapping[str, float]
    interval: "Interval | None"
    trivial: float


@dataclass(frozen=True)
class Logged:
    """Where the winner is, and the version it was registered as, if it was."""

    uri: str
    version: int | None
    seconds: float


def score(prepared: "Prepared", plan: Plan, ending: Ending, label: str) -> Scored:
    """Make one predictor of the models with this label, and predict the raw held-out rows."""
    exchange = ending.workshop.exchange
    place = exchange.scratch / "predictors" / label
    members = sorted(exchange.get(models_of(label)).iterdir())
    Predictor(prepared.features, prepared.target, ()).save(place, members)
    rows = prepared.test_frame
    prediction = Predictor.load(place).predict_raw(rows)
    return Scored(place, prepared.y_test, prediction, group_codes(plan.data.split, rows))


def log(plan: Plan, prepared: "Prepared", won: Won) -> Logged:
    """Log the scored model with the study, and register it when the plan says so.

    Raises:
        StudyError: when MLflow does not take it.
    """
    try:
        return _log(plan, prepared, won)
    except MlflowException as error:
        raise StudyError(
            f"MLflow did not take the winner ({first_line(error)}); all trials are stored: when "
            f"that is repaired, `tune` with study={won.ending.store.run_id} logs the winner again"
        ) from error


def _log(plan: Plan, prepared: "Prepared", won: Won) -> Logged:
    store, best, folder = won.ending.store, won.choice.winner, won.scored.folder
    client = connect(store.tracking_uri)
    winner = logged_before(client, store.run_id, folder)
    if winner is None:
        winner = log_winner(
            client,
            store.run_id,
            folder,
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
    card = model_card(_subject(plan, prepared, won, held_out))
    store.notes.save_text(whole(card), ARTIFACT)
    origin = Origin(
        study=store.run_id,
        trial=store.trial_run_id(best.number),
        family=search_model(plan.model).resolve(best.params)[0],
        score=held_out,
    )
    registered = register_winner(client, winner, plan.register, origin, description(card))
    return Logged(winner.uri, registered.version, winner.seconds)


def _subject(plan: Plan, prepared: "Prepared", won: Won, held_out: HeldOutScore) -> Subject:
    metric, scored, store = METRICS[plan.metric], won.scored, won.ending.store
    predictor = Predictor.load(scored.folder)
    return Subject(
        study=store.run_id,
        trial=store.trial_run_id(won.choice.winner.number),
        plan=plan,
        prepared=prepared,
        best=won.choice.winner,
        trials=won.ending.trials,
        score=held_out,
        test=won.test,
        interval=won.interval,
        baselines=won.ending.baselines,
        permuted=permuted(predictor, prepared.test_frame, scored.y, metric, plan.seed),
        confirmation=won.choice.confirmation,
    )
