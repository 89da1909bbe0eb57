"""The gate for models that the user's own code has logged, on a table that the user gives.

Such a model can be of any of MLflow's flavors, and to load it runs its code. So it is loaded only
where the user names the rows and their target, and then in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hpo.arrays import FloatArray
from hpo.errors import DataError, ParameterError, closest, counted
from pipelines.registry.comparison import Contest, trivial
from pipelines.registry.cost import size_check
from pipelines.registry.gate import Check, Limits, PromotionRefusedError, Verdict
from pipelines.registry.heldout import HeldOut, enough
from pipelines.registry.pair import Pair, Predicted
from pipelines.registry.slices import slice_checks
from pipelines.table.reading import read_table, with_text_names
from pipelines.table.scores.metrics import METRICS, Metric
from pipelines.table.scores.named import metric_for
from pipelines.table.target import read_target
from serving.features import TargetEncoder
from serving.names import normal_name
from serving.predictor import Predictor

OF_LABELS = ("accuracy", "balanced_accuracy", "f1", "f1_macro", "mcc")
_CHILD = "pipelines.registry.user_models"
_SHOWN = 300  # characters of an error


@dataclass(frozen=True)
class Rows:
    """The rows that the user gives, and what their target is.

    Attributes:
        held_out: the rows.
        target: its classes, or that it is a number.
    """

    held_out: HeldOut
    target: TargetEncoder

    @classmethod
    def read(cls, data: str | Path | pd.DataFrame, target: str) -> Rows:
        """Read a table.

        Raises:
            UserError: if it has no such column, or too few rows with a target.
        """
        frame = with_text_names(read_table(data))
        shown = "the table in memory" if isinstance(data, pd.DataFrame) else Path(str(data)).name
        name = normal_name(target)
        if name not in frame.columns:
            raise DataError(
                f"{shown} has no target column {target!r}{closest(name, map(str, frame.columns))}"
            )
        known, found, notes = read_target(frame, name, None)
        encoder = found.encoder(np.arange(len(known)))
        y = encoder.original(encoder.encode(known[name]))
        features = known.drop(columns=name).reset_index(drop=True)
        rows = HeldOut(features, y, None, False, f"rows of {shown}", tuple(notes))
        return cls(enough(rows), encoder)

    def metric(self, name: str) -> Metric:
        """The metric that compares the models on these rows.

        Raises:
            ParameterError: for a metric that cannot score them.
        """
        if name not in METRICS:
            known = [n for n, metric in METRICS.items() if self.target.kind in metric.tasks]
            raise ParameterError(
                f"the metric {name!r} of the objective cannot be computed from predictions; give "
                f"one that can as metric=, such as {', '.join(known)}"
            )
        return metric_for(name, self.target.kind, self.held_out.y)


@dataclass(frozen=True)
class Model:
    """A version that is compared.

    Attributes:
        shown: names it in messages.
        prediction: of the rows: probabilities `(n, k)`, or values `(n,)`.
        size: of its files, in bytes.
    """

    shown: str
    prediction: FloatArray
    size: int


def predicted(uri: str, shown: str, rows: Rows, metric: Metric) -> FloatArray:
    """The predictions of a model of the user's code: `(n, k)` probabilities, or `(n,)` values.

    Raises:
        PromotionRefusedError: when it fails, or predicts something that cannot be scored.
    """
    values = _answers(uri, shown, rows.held_out.frame)
    return scorable(values, shown, rows, metric)


def scorable(values: Sequence[Any], shown: str, rows: Rows, metric: Metric) -> FloatArray:
    """What a model answers, as probabilities or numbers.

    Raises:
        PromotionRefusedError: when it is neither, or only labels where the metric needs more.
    """
    found = np.asarray(values)
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    target, n = rows.target, len(rows.held_out)
    if found.shape[:1] != (n,):
        raise PromotionRefusedError(f"{shown} answers {found.shape} values for {counted(n, 'row')}")
    numbers = _numbers(found)
    if target.kind == "regression":
        if numbers is not None and numbers.ndim == 1:
            return numbers
        raise PromotionRefusedError(f"{shown} answers no numbers, but the target is one")
    k = len(target.classes)
    if numbers is not None and numbers.shape == (n, k):
        return numbers
    if found.ndim == 1:
        codes = _codes(found, target)
        if codes is not None and metric.name in OF_LABELS:
            return np.asarray(np.eye(k)[codes])
        if codes is not None:
            raise PromotionRefusedError(
                f"{shown} answers labels, and {metric.name} needs probabilities; log it with "
                f'pyfunc_predict_fn="predict_proba", or give metric=, one of {", ".join(OF_LABELS)}'
            )
        if numbers is not None and k == 2 and ((numbers >= 0) & (numbers <= 1)).all():
            return np.stack([1 - numbers, numbers], axis=1)
    raise PromotionRefusedError(
        f"{shown} answers neither labels nor probabilities of the classes "
        f"{', '.join(map(repr, target.classes[:5]))}"
    )


def judge(
    challenger: Model, champion: Model | None, rows: Rows, metric: Metric, limits: Limits
) -> Verdict:
    """All checks of a challenger, against the champion or the trivial baseline alone.

    Raises:
        UserError: if the rows cannot be scored or sliced.
    """
    held_out = rows.held_out
    constant = trivial(rows.target, held_out, metric)
    pair = Pair.on(held_out, metric, challenger.prediction, constant)
    contests = [Contest("trivial baseline", "the trivial baseline", pair, 0.0)]
    if champion is not None:
        pair = Pair.on(held_out, metric, challenger.prediction, champion.prediction)
        shown = champion.shown
        contests.append(Contest(f"champion ({shown})", shown, pair, limits.margin))
    slices, notes = list[Check](), list[str]()
    if limits.slice is not None:
        slices, notes = slice_checks(pair, held_out, limits.slice, limits.tolerance)
    checks = (
        *(contest.check(limits.confidence) for contest in contests),
        *slices,
        size_check(challenger.size, limits),
    )
    deciding = contests[-1]
    found = (*held_out.notes, *notes)
    return Verdict(checks, deciding.summary(held_out), deciding.gain.probability, found)


def of_project(predictor: Predictor, rows: Rows, metric: Metric) -> FloatArray:
    """The predictions of a model of this project as a metric sees them, in the rows' classes.

    Raises:
        PromotionRefusedError: when it has other classes, or cannot predict the rows.
    """
    if set(predictor.target.classes) != set(rows.target.classes):
        raise PromotionRefusedError(
            f"the champion's classes are {list(predictor.target.classes)}, those of the rows "
            f"{list(rows.target.classes)}"
        )
    try:
        prediction = predictor.predict_raw(rows.held_out.frame)
    except ValueError as error:
        raise PromotionRefusedError(f"the champion cannot predict the rows: {error}") from error
    found = Predicted(prediction, predictor.decision.decided(prediction))
    return found.in_order_of(rows.target.classes, predictor.target.classes).seen_by(metric)


def _answers(uri: str, shown: str, frame: pd.DataFrame) -> list[Any]:
    """What a model answers to a table, in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="promote-") as folder:
        table, out = Path(folder) / "rows.pkl", Path(folder) / "answers.json"
        frame.to_pickle(table)
        ended = subprocess.run(
            [sys.executable, "-m", _CHILD, uri, str(table), str(out)],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if ended.returncode or not out.exists():
            lines = [line for line in ended.stderr.splitlines() if line.strip()]
            said = lines[-1][:_SHOWN] if lines else f"exit code {ended.returncode}"
            raise PromotionRefusedError(f"{shown} cannot predict the rows: {said}")
        found: list[Any] = json.loads(out.read_text(encoding="utf-8"))
        return found


def _environment() -> Mapping[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _numbers(values: npt.NDArray[Any]) -> FloatArray | None:
    try:
        found = values.astype(float)
    except (TypeError, ValueError):
        return None
    return found if np.isfinite(found).all() else None


def _codes(values: npt.NDArray[Any], target: TargetEncoder) -> npt.NDArray[np.int64] | None:
    """The classes that labels name; None if they are no labels."""
    try:
        return target.encode(pd.Series(values)).astype(np.int64)
    except ValueError:
        return None
