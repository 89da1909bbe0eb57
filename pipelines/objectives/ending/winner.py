"""The winner: one predictor is scored on the held-out rows, logged and registered."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from hpo.errors import StudyError
from pipelines.objectives.card import ARTIFACT, description, inputs, model_card, whole
from pipelines.objectives.card.sections import Subject
from pipelines.objectives.jobs import Portion, models_of
from pipelines.registry.gate import ALL_ROWS, TRAINED_ON, HeldOutScore
from pipelines.registry.logged import TRIAL_NUMBER, LoggedWinner, log_winner, logged_before
from pipelines.registry.versions import Origin, register_winner
from pipelines.store.schema import NOTE, cut
from pipelines.store.tracking import with_way_out
from pipelines.study.ending import Choice, Ending
from pipelines.study.plan import Plan
from pipelines.table.scores.metrics import Metric
from pipelines.table.scores.named import metric_of
from pipelines.table.scores.permutation import permuted
from pipelines.table.source import DataPlan
from pipelines.table.splits import group_codes
from serving.decision import UNDECIDED, Decision
from serving.predictor import Predictor, Share

if TYPE_CHECKING:
    from pipelines.table.data import Prepared
    from pipelines.table.scores.bootstrap import Interval


ATTEMPTS = 3  # to log the winner


@dataclass(frozen=True)
class Scored:
    """A predictor and its predictions on the n held-out rows.

    Attributes:
        folder: of the predictor.
        y: the encoded target, `(n,)`.
        prediction: `(n,)`, or `(n, k)` for k classes.
        decided: the same as metrics of labels see it.
        groups: `(n,)` codes of rows that depend on each other; None if there are none.
    """

    folder: Path
    y: npt.NDArray[Any]
    prediction: npt.NDArray[np.float64]
    decided: npt.NDArray[np.float64]
    groups: npt.NDArray[np.int64] | None

    def seen_by(self, metric: Metric) -> npt.NDArray[np.float64]:
        """The predictions as a metric sees them."""
        return self.decided if metric.on_labels else self.prediction


@dataclass(frozen=True)
class Won:
    """The winner with its scores on the held-out rows.

    Attributes:
        choice: the winner, and how the best trials were compared.
        ending: the end of the search.
        scored: its predictor.
        folder: of the predictor that is logged: the same, or one that was trained on all rows.
        test: every metric on the held-out rows.
        interval: of the deciding metric.
        trivial: the deciding metric of the trivial baseline on the same rows.
    """

    choice: Choice
    ending: Ending
    scored: Scored
    folder: Path
    test: Mapping[str, float]
    interval: "Interval | None"
    trivial: float


@dataclass(frozen=True)
class Logged:
    """The logged winner.

    Attributes:
        uri: of the model.
        version: of the registered model; None if none was registered.
        seconds: that logging took; 0 if an earlier session had logged it.
    """

    uri: str
    version: int | None
    seconds: float


def join(
    prepared: "Prepared",
    ending: Ending,
    portions: Sequence[Portion],
    decision: Decision = UNDECIDED,
) -> Path:
    """The folder of a predictor that joins the models of these labels."""
    exchange = ending.workshop.exchange
    name = hashlib.sha256(repr((portions, decision)).encode()).hexdigest()[:16]
    place = exchange.scratch / "predictors" / name
    if not place.exists():
        members: list[Path] = []
        shares: list[Share] = []
        for portion in portions:
            own = sorted(exchange.get(models_of(portion.label)).iterdir())
            members += own
            if portion.share is not None:
                each = replace(portion.share, weight=portion.share.weight / len(own))
                shares += [each] * len(own)
        joined = Predictor(prepared.features, prepared.target, (), decision=decision)
        joined.save(place, members, shares)
    return place


def score(
    prepared: "Prepared",
    data: DataPlan,
    ending: Ending,
    portions: Sequence[Portion],
    decision: Decision = UNDECIDED,
) -> Scored:
    """Predict the raw held-out rows with the models of these labels, joined into one predictor."""
    place = join(prepared, ending, portions, decision)
    rows = prepared.test_frame
    prediction = Predictor.load(place).predict_raw(rows)
    groups = group_codes(data.split, rows, data.overrides)
    return Scored(place, prepared.y_test, prediction, decision.decided(prediction), groups)


def log(plan: Plan, data: DataPlan, prepared: "Prepared", won: Won) -> Logged:
    """Log the scored predictor with the study, and register it if the plan has a name for it.

    A request whose answer was lost is refused when it is repeated. So there are several attempts;
    each looks first for what earlier ones have logged.

    Raises:
        StudyError: when MLflow refuses it.
    """
    refused = None
    for _ in range(ATTEMPTS):
        try:
            return _log(plan, data, prepared, won)
        except MlflowException as error:
            refused = error
    raise StudyError(
        f"MLflow refused the winner ({with_way_out(refused)}); all trials are stored: when this is "
        f"repaired, resume with study={won.ending.store.run_id} to log the winner"
    ) from refused


def _log(plan: Plan, data: DataPlan, prepared: "Prepared", won: Won) -> Logged:
    client = MlflowClient(won.ending.store.tracking_uri)  # its calls are retried
    won.ending.store.verify()
    winner = _logged_winner(client, plan, data, prepared, won)
    if not plan.register:
        return Logged(winner.uri, None, winner.seconds)
    store, trial = won.ending.store, won.choice.winner
    subject = _subject(plan, data, prepared, won)
    card = model_card(subject)
    store.verify()  # logging the model took a while
    client.log_text(store.run_id, whole(card), ARTIFACT)
    origin = Origin(
        study=store.run_id,
        trial=store.trial_run_id(trial.number),
        family=subject.family,
        score=subject.score,
        trained_on=_trained_on(plan, data),
        tags=won.choice.model_tags,
    )
    registered = register_winner(client, winner, plan.register, origin, description(card))
    return Logged(winner.uri, registered.version, winner.seconds)


def _logged_winner(
    client: MlflowClient, plan: Plan, data: DataPlan, prepared: "Prepared", won: Won
) -> LoggedWinner:
    """Log the predictor, unless an earlier session has logged the same one."""
    run_id, folder, trial = won.ending.store.run_id, won.folder, won.choice.winner
    logged = logged_before(client, run_id, folder)
    if logged is not None:
        return logged
    return log_winner(
        client,
        run_id,
        folder,
        prepared.example,
        metrics={f"test_{name}": value for name, value in won.test.items()},
        params=trial.params,
        tags={
            TRIAL_NUMBER: str(trial.number),
            TRAINED_ON: _trained_on(plan, data),
            NOTE: cut(inputs(prepared.features)),
            **won.choice.model_tags,
        },
    )


def _trained_on(plan: Plan, data: DataPlan) -> str:
    """The rows that the logged model was trained on, as its tag says them."""
    if plan.uses_test_rows:
        return ALL_ROWS
    return "train+validation" if plan.refits or data.has_folds else "train"


def _held_out_score(plan: Plan, prepared: "Prepared", won: Won) -> HeldOutScore:
    return HeldOutScore(
        goal=plan.score,
        value=won.test.get(plan.score.name, float("nan")),  # a version with nan is never promoted
        baseline=won.trivial,
        data=prepared.digest,
        split=prepared.rows.digest,
        rows=len(prepared.test_frame),
        goals=None if plan.goals.is_single else plan.goals,
    )


def _subject(plan: Plan, data: DataPlan, prepared: "Prepared", won: Won) -> Subject:
    metric, scored, store = metric_of(plan.score), won.scored, won.ending.store
    predictor = Predictor.load(scored.folder)
    return Subject(
        study=store.run_id,
        trial=store.trial_run_id(won.choice.winner.number),
        plan=plan,
        data=data,
        prepared=prepared,
        best=won.choice.winner,
        trials=won.ending.trials,
        score=_held_out_score(plan, prepared, won),
        test=won.test,
        interval=won.interval,
        baselines=won.ending.baselines,
        permuted=permuted(
            predictor, prepared.test_frame, scored.y, metric, plan.seed, prepared.weight_test
        ),
        confirmation=won.choice.confirmation,
        ensemble=won.choice.ensemble,
        decision=won.choice.decision,
    )
