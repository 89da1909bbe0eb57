"""The plan of a study: everything that a later process needs to resume it.

A plan is written once, as the header of the study in MLflow, and read back when the study is
resumed. A later session may change how many trials it has, how long and on how many workers.
"""

import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any

from hpo.algorithms import grants_budgets
from hpo.errors import StudyError
from hpo.goals import Goal, Goals
from hpo.space import SearchSpace
from hpo.study import FirstPoint
from hpo.trial import Phase
from hpo.workers.cores import WorkerPlan
from pipelines.files.uris import HIDDEN, is_hidden, safe
from pipelines.models import is_model, libraries, search_model
from pipelines.models.libraries import STUDY_LIBRARIES, installed_versions
from pipelines.study.extent import Extent
from pipelines.study.options import ALL_ROWS, AUTO, OFF, TuneOptions, most_members
from pipelines.table.source import absolute
from warmstart.families import is_code

# what a later session may change, by the names of options and of the plan
_CHANGED_LATER = frozenset(
    (
        "trials",
        "register",
        "confirm",
        "patience",
        "min_gain",
        "budget",
        "price",
        "refit",
        "ensemble",
        "calibrate",
        "threshold",
        "checkpoints",
        "device",
    )
)
_OF_EXTENT = tuple(each.name for each in fields(Extent))


@dataclass(frozen=True)
class Plan:
    """A study before its first trial.

    `workers`, `threads` and `lag` are fixed with the study because its results depend on them
    (`hpo.study`; torch also depends on the number of threads).

    Attributes:
        model: a model family, or `all`.
        algorithm: a pair of sampler and scheduler, by name.
        goals: the deciding scores and their limits.
        seed: of the splits, the models and the search.
        space: what is searched.
        first_points: configurations that are tried first.
        rungs: the budgets at which trials may stop, ascending; the last is a full training.
        eta: the factor between rungs.
        budget_unit: of the rungs.
        fidelity: what a smaller budget means (`pipelines.models.search.FIDELITIES`).
        checkpoints: the URI where trials that may be promoted are stored; None for this machine.
        workers: worker processes.
        threads: of each worker.
        lag: results that the sampler waits for (`hpo.study.Study`).
        extent: how far it goes.
        register: the name of the registered model; None registers nothing.
        refit: what the logged model is trained on, one of `pipelines.study.options.REFITS`.
        confirm: how many of the best trials are trained again on repeated folds before the winner
            is named; None for none.
        device: what models are trained on: auto, cpu or cuda.
        warm_start: the past studies that the search learns from (the option `warm_start`).
        ensemble: how many trials the winner may join (the option `ensemble`).
        calibrate: whether the winner's probabilities are calibrated (the option `calibrate`).
        threshold: of the winner's labels (the option `threshold`).
        before: the earlier values of a single given configuration that changed while it was
            trained, as `train` repeats it; () in a search.
    """

    model: str
    algorithm: str
    goals: Goals
    seed: int
    space: SearchSpace
    first_points: tuple[FirstPoint, ...]
    rungs: tuple[float, ...]
    eta: float
    budget_unit: str
    fidelity: str
    checkpoints: str | None
    workers: int
    threads: int
    lag: int
    extent: Extent
    register: str | None = None
    refit: str = OFF
    confirm: int | None = None
    warm_start: str = OFF
    ensemble: str = OFF
    device: str = AUTO
    calibrate: str = OFF
    threshold: str = OFF
    before: tuple[Phase, ...] = ()

    @property
    def goal(self) -> Goal:
        """The score that decides; of several, the first."""
        return self.goals.first

    @property
    def metric(self) -> str:
        """The name of the score that decides; of several, the first."""
        return self.goal.name

    @property
    def score(self) -> Goal:
        """The score that models are trained by and tested on: `goal`, or its first term."""
        return self.goals.score

    @property
    def worker_plan(self) -> WorkerPlan:
        """The workers and their threads."""
        return WorkerPlan(self.workers, self.threads)

    @property
    def refits(self) -> bool:
        """Whether the winner is trained once more, on training and validation rows."""
        return self.refit != OFF

    @property
    def uses_test_rows(self) -> bool:
        """Whether the logged model is trained on the test rows, too, after its score."""
        return self.refit == ALL_ROWS

    @property
    def max_members(self) -> int:
        """How many trials an ensemble may have; 0 for none."""
        alone = self.trains_one or not self.goals.is_plain
        return 0 if alone else most_members(self.ensemble)

    @property
    def decides(self) -> bool:
        """Whether a classifier may be calibrated or given a threshold."""
        return self.calibrate != OFF or self.threshold != OFF

    @property
    def races(self) -> bool:
        """Whether trials stop at several budgets."""
        return grants_budgets(self.algorithm)

    @property
    def inherited(self) -> tuple[str, ...]:
        """The parameters that a running training cannot change, so that copies inherit them."""
        if is_code(self.model):
            return ()
        model = search_model(self.model)
        return tuple(name for name in self.space.names if not model.is_changeable(name))

    @property
    def trains_one(self) -> bool:
        """Whether a single given configuration is trained, which is no search."""
        given = [point for point in self.first_points if point.origin != "default"]
        return self.extent.trials == 1 == len(self.first_points) == len(given)

    def search_seed(self, name: str) -> int:
        """The seed of the search, from the study's seed and the name of its objective.

        With the study's seed alone, all studies with the default seed would try the same
        configurations, and later studies could not learn about others.
        """
        words = f"{self.seed}:{name}"
        return int(hashlib.sha256(words.encode()).hexdigest()[:8], 16)

    def to_header(self) -> dict[str, Any]:
        """Plain values, as they are stored in MLflow; URIs are without secrets."""
        families = search_model(self.model).families if is_model(self.model) else ()
        versions = installed_versions([*STUDY_LIBRARIES, *libraries(families)])
        return {
            **{name: value for name, value in vars(self).items() if name != "extent"},
            **vars(self.extent),
            **self.goals.to_dict(),
            "checkpoints": self.checkpoints and safe(self.checkpoints),
            "space": self.space.to_dict(),
            "before": [asdict(phase) for phase in self.before],
            "first_points": [
                {"params": dict(point.params), "origin": point.origin}
                for point in self.first_points
            ],
            "versions": {"python": platform.python_version(), **versions},
        }

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> "Plan":
        """Read what `to_header` wrote.

        Raises:
            StudyError: when a value is missing.
        """
        try:
            values = _stored_values(header)
        except (KeyError, TypeError) as error:
            raise StudyError(
                f"the study's header is incomplete ({error} is missing), so it cannot be resumed; "
                "start a new study"
            ) from error
        return cls(**values)

    def resumed(self, options: TuneOptions, goals: Goals) -> "Plan":
        """This plan with what a later session may change; what is not given stays as it is.

        Only the timeout is that of the session: None stands for no limit.

        Raises:
            StudyError: when the URI of the checkpoints has a secret, which is not stored.
        """
        if options.checkpoints is None and is_hidden(self.checkpoints or ""):
            raise StudyError(
                f"the study's checkpoints are at {self.checkpoints}, and the secret in place of "
                f"{HIDDEN} is not stored: give the full URI as checkpoints=, or a new place, where "
                "its trials start from the beginning"
            )
        if options.confirm is not None and not self.goals.is_plain:
            raise StudyError(
                f"confirm={options.confirm} orders trials by one metric, and the study has the "
                f"goals {self.goals}; leave confirm out"
            )
        given = {name: value for name, value in options.given().items() if name in _CHANGED_LATER}
        began = self.extent
        if not any((began.trials, began.budget, options.trials, options.timeout, options.budget)):
            raise StudyError(
                "the study has no number of trials, because it began with a timeout; to continue "
                "it, give timeout= or trials="
            )
        if "ensemble" in given:
            given["ensemble"] = str(given["ensemble"])
        if "checkpoints" in given:
            given["checkpoints"] = absolute(given["checkpoints"])
        new = {name: given.pop(name) for name in _OF_EXTENT if name in given}
        extent = replace(self.extent, **{**new, "timeout": options.timeout})
        return replace(self, goals=goals, extent=extent, **given)


def _stored_values(header: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a plan; an older study may lack those that have a default."""
    values = _stored(Plan, header, ("goals", "extent"))
    points = [FirstPoint(point["params"], point["origin"]) for point in values["first_points"]]
    return {
        **values,
        "goals": Goals.from_dict(header),
        "extent": Extent(**_stored(Extent, header)),
        "rungs": tuple(values["rungs"]),
        "space": SearchSpace.from_dict(values["space"], "the study's space"),
        "first_points": tuple(points),
        "before": tuple(Phase(**phase) for phase in values.get("before", ())),
    }


def _stored(
    kind: type[Plan | Extent], header: Mapping[str, Any], apart: Sequence[str] = ()
) -> dict[str, Any]:
    """The values of the fields of a class as they are in the header, without those `apart`."""
    wanted = [each for each in fields(kind) if each.name not in apart]
    return {
        each.name: header[each.name]
        for each in wanted
        if each.default is MISSING or each.name in header
    }
