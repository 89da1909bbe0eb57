"""An estimator of the user on the encoded rows of a table.

Numeric columns arrive scaled and without missing values, which have columns of their own; levels
are one-hot. A regression's target is standardised. The parameters `random_state` are set from the
study's seed where the estimator leaves them None, and `n_jobs` to the threads of the worker where
it does not. Classifiers without `predict_proba` are calibrated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpo.errors import ParameterError
from hpo.space.parameters import Params, Value
from pipelines.models.catalog import single_family
from pipelines.models.families import SingleFamily
from pipelines.models.legs import FamilyOptions
from pipelines.models.scikit.calibration import calibrated, has_probabilities, last_step
from pipelines.models.scikit.columns import Encoded, scaled
from pipelines.models.scikit.single import Fit, SingleFit
from pipelines.models.scikit.written import read, value_of
from pipelines.table.data import Fold
from pipelines.table.scores.metrics import default_metric
from serving.scikit import untrusted
from serving.trust import way_out
from warmstart.families import short_name

FAMILY = "estimator"


class Estimator(SingleFit):
    """The estimator with the text `name` on one fold."""

    def __init__(self, name: str, fold: Fold, options: FamilyOptions) -> None:
        self.name = name
        super().__init__(fold, options)

    def described(self) -> SingleFamily:
        """The family as the driver knows it."""
        return single_family(self.name)

    def chosen(self, params: Params) -> dict[str, Value]:
        """The parameters of a trial; the estimator itself has the others."""
        return dict(params)

    def columns(self, chosen: Params) -> Encoded:
        """Scaled and one-hot columns, never sparse."""
        return self.cached("", scaled(self.fold, "standard", dense=True))

    def unfitted(self, chosen: Params, seed: int) -> Any:
        """A new estimator with the parameters of a trial."""
        estimator = read(self.name)
        estimator.set_params(**{name: value_of(value) for name, value in chosen.items()})
        estimator.set_params(**_set_by_study(estimator.get_params(), seed, self.threads))
        if not self.fold.task.n_classes:
            return estimator
        return calibrated(estimator, self.fold.y_train)

    def fitted(self, estimator: Any, x: Any) -> Any:
        """The estimator, with the weights of the rows if there are any."""
        y, weight = self.fold.y_train, self.fold.training_weight
        if weight is None:
            return estimator.fit(x, y)
        if hasattr(estimator, "steps"):
            return estimator.fit(x, y, **{f"{estimator.steps[-1][0]}__sample_weight": weight})
        return estimator.fit(x, y, sample_weight=weight)

    def facts(self, estimator: Any) -> Mapping[str, Any]:
        """What `member.json` says of the family."""
        return {"family": FAMILY, FAMILY: self.name}


def check_estimator(name: str, fold: Fold) -> None:
    """Check that an estimator can be trained on a table and served.

    It is fitted to the rows of the fold. If that fails, nothing is said: other parameters may
    succeed.

    Args:
        name: Its text.
        fold: A few rows.

    Raises:
        ParameterError: if it cannot.
    """
    estimator, shown = read(name), short_name(name)
    classifies = bool(fold.task.n_classes)
    _check_kind(estimator, shown, fold.task.kind)
    if classifies and not has_probabilities(estimator):
        _check_calibration(estimator, shown, fold)
    fit = Estimator(name, fold, FamilyOptions(default_metric(fold.task.kind), 1)).start({}, seed=0)
    refused = _refused(fit)
    if refused:
        raise ParameterError(
            f"estimator={shown} when fitted holds {', '.join(refused)}, of modules that are not "
            f"trusted, so the model could not be loaded; {way_out(refused[0])}"
        )


def _check_kind(estimator: Any, shown: str, kind: str) -> None:
    from sklearn.base import is_classifier, is_regressor

    classifies = kind != "regression"
    if (is_classifier if classifies else is_regressor)(estimator):
        return
    wanted, other = ("classifier", "regression") if classifies else ("regressor", "classification")
    raise ParameterError(
        f"estimator={shown} is no {wanted}, but the task is {kind}; give a {wanted}, or task= if "
        f"this is a {other}"
    )


def _check_calibration(estimator: Any, shown: str, fold: Fold) -> None:
    """Check that a classifier without probabilities can be calibrated."""
    if not hasattr(estimator, "decision_function"):
        raise ParameterError(
            f"estimator={shown} has neither predict_proba nor decision_function, and every metric "
            "here needs one of them; take another estimator"
        )
    if fold.training_weight is not None and last_step(estimator) is not estimator:
        raise ParameterError(
            f"weight: {shown} has no predict_proba, and a pipeline that is calibrated takes no "
            "weights of rows; make its last step CalibratedClassifierCV(…)"
        )


def _refused(fit: Fit) -> list[str]:
    """The types of the fitted pipeline that are not trusted; none if it cannot be fitted."""
    try:
        fit.train(1)
    except Exception:  # noqa: BLE001  # the user's code: the trials show what is wrong
        return []
    try:
        content = fit.content()
    except Exception as error:  # skops runs code of the user's classes
        raise ParameterError(
            f"the fitted estimator cannot be written to a file ({type(error).__name__}: {error}); "
            "skops takes objects of importable classes and functions, and arrays"
        ) from error
    return untrusted(content)


def _set_by_study(params: Mapping[str, Any], seed: int, threads: int) -> dict[str, int]:
    """What a study sets: seeds that are None, and numbers of threads that are not."""
    found = {}
    for name, value in params.items():
        last = name.rpartition("__")[2]
        if last == "random_state" and value is None:
            found[name] = seed
        elif last == "n_jobs" and value is not None:
            found[name] = threads
    return found
