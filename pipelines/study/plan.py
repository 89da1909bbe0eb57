"""What defines a study: everything that a later process needs to go on with it.

A plan is written once, as the header of the study in MLflow, and read back on resume; what may
change between two sessions (how many trials, how long, on how many workers) is not part of its
identity.
"""

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, replace
from typing import Any

from hpo.errors import StudyError
from hpo.goals import Goal
from hpo.space import SearchSpace
from hpo.study import FirstPoint
from pipelines.files.uris import HIDDEN, is_hidden, safe
from pipelines.models import FAMILIES, libraries
from pipelines.models.libraries import STUDY_LIBRARIES, installed_versions
from pipelines.study.options import OFF, TRAIN
from pipelines.table.source import DataPlan

TRIAL_SECONDS = 3600.0


@dataclass(frozen=True)
class Plan:
    """A study before its first trial.

    `workers`, `threads` and `lag` are fixed with the study because its results depend on them
    (`hpo.study`; torch also depends on the number of threads). `rungs` are the budgets at which
    trials may stop, ascending, in `budget_unit`; the last is a full training, and `eta` the factor
    between them. `fidelity` says what a smaller budget means
    (`pipelines.models.catalog.FIDELITIES`), `checkpoints` where trials that may go on are kept.
    `rows` is one of `ROWS`: what the model that is logged was trained on. `confirm` is how many of
    the best trials are trained again on other divisions of the rows before the winner is named.
    `warm_start` says which past studies were learned from (`sources`).
    """

    model: str
    algorithm: str
    metric: str
    direction: str
    seed: int
    data: DataPlan
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
    trials: int
    timeout: float | None
    trial_timeout: float | None
    register: str | None = None
    rows: str = TRAIN
    confirm: int | None = None
    warm_start: str = OFF

    @property
    def goal(self) -> Goal:
        """The score that decides."""
        return Goal(self.metric, self.direction)

    @property
    def time_limit(self) -> float:
        """Seconds after which a leg fails; a leg that hangs must end some time."""
        return self.trial_timeout or TRIAL_SECONDS

    @property
    def search_seed(self) -> int:
        """The seed of the search: of the study's seed and the table.

        With the study's seed alone, every study with the default seed would start with the same
        configurations, and however many a server held, later ones would learn nothing of others.
        """
        words = f"{self.seed}:{self.data.digest}:{self.data.target}:{self.data.outer}"
        return int(hashlib.sha256(words.encode()).hexdigest()[:8], 16)

    def to_header(self) -> dict[str, Any]:
        """Plain values, as the study keeps them in MLflow."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        plain["checkpoints"] = self.checkpoints and safe(self.checkpoints)
        data = {field.name: getattr(self.data, field.name) for field in fields(self.data)}
        points = [
            {"params": dict(point.params), "origin": point.origin} for point in self.first_points
        ]
        shown = {
            name: data[name] for name in ("target", "task", "split", "test_share", "validation")
        }
        environment = {
            "python": platform.python_version(),
            **installed_versions([*STUDY_LIBRARIES, *libraries(FAMILIES)]),
        }
        return (
            plain
            | shown
            | {
                "data": data,
                "space": self.space.to_dict(),
                "first_points": points,
                "versions": environment,
            }
        )

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> "Plan":
        """The plan that `to_header` wrote.

        Raises:
            StudyError: when the header lacks something.
        """
        try:
            values = {
                field.name: header[field.name]
                for field in fields(cls)
                if field.default is MISSING
                or field.name in header  # a study may be older than a choice
            }
            values["data"] = DataPlan(**values["data"])
            values["rungs"] = tuple(values["rungs"])
            values["space"] = SearchSpace.from_dict(values["space"], "the study's space")
            values["first_points"] = tuple(
                FirstPoint(p["params"], p["origin"]) for p in values["first_points"]
            )
        except (KeyError, TypeError) as error:
            raise StudyError(
                f"the study's header is incomplete: {error} is missing; it cannot be resumed"
            ) from error
        return cls(**values)

    def refuse_other(self, data: DataPlan) -> None:
        """Check that a table and its use are those of this study.

        Raises:
            StudyError: naming each difference.
        """
        for field in fields(DataPlan):
            mine, other = getattr(self.data, field.name), getattr(data, field.name)
            if field.name != "uri" and mine != other:
                raise StudyError(
                    f"this study is of another data set: {field.name} was {mine!r} and is {other!r} now; "
                    "start a new study (leave `study` out), or give it the table that it began with"
                )

    def going_on(
        self,
        *,
        trials: int | None,
        timeout: float | None,
        register: str | None,
        confirm: int | None,
        checkpoints: str | None,
    ) -> "Plan":
        """This plan with what a later session may change.

        Raises:
            StudyError: when the place of the checkpoints cannot be known from the study.
        """
        if checkpoints is None and is_hidden(self.checkpoints or ""):
            raise StudyError(
                f"the study's checkpoints are at {self.checkpoints}, and what stood in place of {HIDDEN} is kept "
                "nowhere: give the URI as checkpoints=, or another place, where its trials begin anew"
            )
        return replace(
            self,
            checkpoints=checkpoints or self.checkpoints,
            trials=trials or self.trials,
            timeout=timeout,
            register=register if register else self.register,
            confirm=confirm or self.confirm,
        )
