"""A search as an estimator of scikit-learn: `TunedClassifier` and `TunedRegressor`.

```python
from pipelines.sklearn import TunedClassifier

model = TunedClassifier(trials=20, timeout=60, random_state=0).fit(X, y)
model.predict_proba(X)
```
"""

from __future__ import annotations

import contextlib
import io
import logging
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_array, check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from hpo.errors import UserError, counted
from pipelines.study.options import AUTO, DEFAULT, TEST_SHARE
from pipelines.tune import tune
from serving.predictor import DESCRIPTION, Predictor


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        study: its run id.
        params: of the winner.
        files: those of the predictor, as a zip archive.
    """

    study: str
    params: dict[str, Any]
    files: bytes


class _Tuned(BaseEstimator):  # type: ignore[misc]
    """What classifier and regressor share.

    Args:
        model: as in `tune`, and so are the others.
        metric: the deciding score.
        limits: what trials should keep.
        prefer: which trial wins among those of the front.
        algorithm: of the search.
        space: of the search.
        trials: of the search.
        timeout: in seconds.
        patience: trials without a better result.
        max_budget: of a full training.
        validation: auto, holdout, or cv:K.
        test_share: of the rows, on which the winner is scored before it is trained on all.
        ensemble: how many trials the winner may join.
        warm_start: which past studies to learn from.
        workers: processes.
        random_state: a seed, or what gives one.
        verbose: whether the search shows its progress.

    Attributes:
        study_: the run id of the study in MLflow.
        best_params_: the winner's configuration.
        n_features_in_: columns of X.
        feature_names_in_: their names, if they are all text.
    """

    def __init__(
        self,
        *,
        model: str = AUTO,
        metric: str = AUTO,
        limits: str | None = None,
        prefer: str | None = None,
        algorithm: str = "tpe",
        space: Any = DEFAULT,
        trials: int | None = None,
        timeout: float | None = None,
        patience: int | None = None,
        max_budget: int | None = None,
        validation: str = AUTO,
        test_share: float = TEST_SHARE,
        ensemble: str | int = AUTO,
        warm_start: str = AUTO,
        workers: int | None = None,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.model = model
        self.metric = metric
        self.limits = limits
        self.prefer = prefer
        self.algorithm = algorithm
        self.space = space
        self.trials = trials
        self.timeout = timeout
        self.patience = patience
        self.max_budget = max_budget
        self.validation = validation
        self.test_share = test_share
        self.ensemble = ensemble
        self.warm_start = warm_start
        self.workers = workers
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        """Missing values are taken as they are."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """Without the loaded predictor, which is in the files, too."""
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_loaded"}

    def _search(
        self,
        X: Any,
        y: npt.NDArray[Any],
        sample_weight: Any,
        **options: Any,  # noqa: N803
    ) -> None:
        """Search with the rows of `X`, which was checked, and train the winner on all of them."""
        frame = self._frame(X, fitting=True)
        target, weight = (_unused(name, frame) for name in ("target", "weight"))
        frame[target] = y
        if sample_weight is not None:
            frame[weight] = _weights(sample_weight, len(frame))
            options["weight"] = weight
        own = self.get_params(deep=False)
        random_state, verbose = own.pop("random_state"), own.pop("verbose")
        options |= own | {"seed": _seed(random_state), "refit": "all"}
        try:
            with contextlib.nullcontext() if verbose else _quiet():
                found = search(frame, target, options)
        except UserError as error:
            raise ValueError(str(error)) from error
        self.study_, self.best_params_, self._files = found.study, found.params, found.files
        self._loaded = _unpacked(found.files)

    def _frame(self, X: Any, *, fitting: bool = False) -> pd.DataFrame:  # noqa: N803
        frame = X.copy() if isinstance(X, pd.DataFrame) else pd.DataFrame(X)
        named = isinstance(X, pd.DataFrame)
        if fitting:
            self._columns = [*map(str, frame)] if named else [f"x{j}" for j in frame]
        return frame.set_axis(self._columns, axis=1).reset_index(drop=True)

    def _checked(self, X: Any, y: Any = None, **given: Any) -> Any:  # noqa: N803
        """Check rows, and targets when it is fitted, by the rules of scikit-learn."""
        y_given = {} if given.get("reset") is False else {"y": y}
        if isinstance(X, pd.DataFrame):
            validate_data(self, X, skip_check_array=True, **y_given, **given)
            if not X.shape[1] or len(X) < 2 * bool(y_given):
                check_array(np.empty(X.shape), ensure_min_samples=2 if y_given else 1)
            if y_given and len(X) != len(y):
                raise ValueError(f"X has {len(X)} rows, but y has {len(y)}")
            return (X, y) if y_given else X
        given = {"ensure_all_finite": "allow-nan", **given}
        return validate_data(self, X, ensure_min_samples=2 if y_given else 1, **y_given, **given)

    def _predicted(self, X: Any) -> Any:  # noqa: N803
        check_is_fitted(self, "study_")
        checked = self._checked(X, reset=False)
        try:
            return self._predictor.predict_raw(self._frame(checked))
        except UserError as error:
            raise ValueError(str(error)) from error

    @property
    def _predictor(self) -> Predictor:
        if "_loaded" not in self.__dict__:  # after it was unpickled
            self._loaded = _unpacked(self._files)
        return self._loaded


class TunedClassifier(ClassifierMixin, _Tuned):  # type: ignore[misc]
    """A classifier whose `fit` is a search, logged to MLflow as `tune` logs it.

    Parameters are those of `tune`; each `fit` is a study. The winner is scored on a part of the
    rows, and trained once more on all of them.

    Attributes:
        classes_: the labels, in order.
        study_: the run id of the study.
        best_params_: the winner's configuration.
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:  # noqa: N803
        """Search, and train the winner on all rows.

        Args:
            X: a DataFrame of any columns that `tune` takes, or `(n, d)` numbers.
            y: `(n,)` labels.
            sample_weight: `(n,)`; None for equal weights.

        Raises:
            ValueError: for what no model can be trained with.
        """
        X, y = self._checked(X, y)
        labels = _known(column_or_1d(y, warn=True))
        check_classification_targets(labels)
        self.classes_ = np.unique(labels)
        n_classes = len(self.classes_)
        if n_classes < 2:
            raise ValueError(
                f"{type(self).__name__} needs at least 2 classes, but y has 1 class: "
                f"{self.classes_[0]!r}"
            )
        options: dict[str, Any] = {"task": "binary" if n_classes == 2 else "multiclass"}
        last = self.classes_[-1]
        if n_classes == 2 and isinstance(last, str | int | np.integer):
            options["positive"] = last if isinstance(last, str) else int(last)
        self._search(X, labels, sample_weight, **options)
        return self

    def predict_proba(self, X: Any) -> npt.NDArray[np.float64]:  # noqa: N803
        """`(n, k)` probabilities, in the order of `classes_`."""
        raw = self._predicted(X)
        order = self._predictor.target.encode(pd.Series(self.classes_))
        return np.asarray(raw[:, order], dtype=np.float64)

    def predict(self, X: Any) -> npt.NDArray[Any]:  # noqa: N803
        """The labels `(n,)`: the most probable ones, or those that the tuned threshold gives."""
        codes = self._predictor.decision.codes(self._predicted(X))
        order = self._predictor.target.encode(pd.Series(self.classes_))
        return np.asarray(self.classes_[np.argsort(order)[codes]])


class TunedRegressor(RegressorMixin, _Tuned):  # type: ignore[misc]
    """A regressor whose `fit` is a search, logged to MLflow as `tune` logs it.

    Parameters are those of `tune`; each `fit` is a study. The winner is scored on a part of the
    rows, and trained once more on all of them.

    Attributes:
        study_: the run id of the study.
        best_params_: the winner's configuration.
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:  # noqa: N803
        """Search, and train the winner on all rows.

        Args:
            X: a DataFrame of any columns that `tune` takes, or `(n, d)` numbers.
            y: `(n,)` numbers.
            sample_weight: `(n,)`; None for equal weights.

        Raises:
            ValueError: for what no model can be trained with.
        """
        X, y = self._checked(X, y)
        known = _known(column_or_1d(y, warn=True))
        values = check_array(known, ensure_2d=False, dtype=np.float64)
        self._search(X, values, sample_weight, task="regression")
        return self

    def predict(self, X: Any) -> npt.NDArray[np.float64]:  # noqa: N803
        """The predicted values `(n,)`."""
        return np.asarray(self._predicted(X), dtype=np.float64)


def search(frame: pd.DataFrame, target: str, options: dict[str, Any]) -> Found:
    """Tune, and fetch the winner.

    Raises:
        UserError: when nothing was trained.
    """
    from pipelines.registry.versions import read_predictor

    result = tune(frame, target, **options)
    if result.model_uri is None:
        raise UserError(f"study {result.run_id} has no winner:\n{result}")
    with tempfile.TemporaryDirectory(prefix="model-") as scratch:
        read_predictor(result.model_uri, f"study {result.run_id}", Path(scratch) / "model")
        folder = next((Path(scratch) / "model").rglob(DESCRIPTION)).parent
        archive = shutil.make_archive(str(Path(scratch) / "predictor"), "zip", folder)
        return Found(result.run_id, dict(result.best_params), Path(archive).read_bytes())


def _unpacked(files: bytes) -> Predictor:
    with tempfile.TemporaryDirectory(prefix="model-") as scratch:
        archive, folder = Path(scratch) / "predictor.zip", Path(scratch) / "predictor"
        archive.write_bytes(files)
        shutil.unpack_archive(archive, folder)
        return Predictor.load(folder)


def _known(y: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The targets, all of which are known.

    Raises:
        ValueError: saying how many are missing.
    """
    missing = int(pd.isna(y).sum())
    if missing:
        raise ValueError(
            f"y contains NaN: {counted(missing, 'value')} of {len(y):,} missing; drop these rows, "
            "or give the missing values a label of their own"
        )
    return y


def _unused(name: str, frame: pd.DataFrame) -> str:
    """A name that no column has."""
    while name in frame:
        name += "_"
    return name


def _weights(sample_weight: Any, n: int) -> npt.NDArray[np.float64]:
    weight = np.asarray(sample_weight, dtype=np.float64)
    if weight.shape != (n,):
        raise ValueError(f"sample_weight has the shape {weight.shape}, but X has {n} rows")
    if not weight.any():
        raise ValueError("all weights are zero; give one row a sample_weight above zero")
    return weight


def _seed(random_state: Any) -> int:
    if isinstance(random_state, int | np.integer):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress of the search, and MLflow's steps of saving a model."""
    logger = logging.getLogger("mlflow.pyfunc")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with contextlib.redirect_stderr(io.StringIO() if sys.stderr else None):
            yield
    finally:
        logger.setLevel(before)
