"""Runs that this project did not log, as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hpo.goals import DIRECTIONS
from pipelines.store import schema

# Tags of Optuna's MLflow callback.
OPTUNA_STATE, OPTUNA_DIRECTION = "state", "direction"


@dataclass(frozen=True)
class ForeignRun:
    """A run as MLflow stores it: parameters are texts, of each metric the last value."""

    run_id: str
    status: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]

    @property
    def parent(self) -> str | None:
        """The id of the run that this one is nested in."""
        return self.tags.get(schema.PARENT_RUN)


@dataclass(frozen=True)
class ForeignPlace:
    """Where runs come from: an experiment of MLflow, or a study of Optuna.

    Attributes:
        name: Of the experiment, or the URL of the study without a password.
        source_id: Identifies it.
        runs: All of its runs.
    """

    name: str
    source_id: str
    runs: tuple[ForeignRun, ...]


def optuna_direction(runs: Sequence[ForeignRun], metric: str) -> str | None:
    """The direction that Optuna's callback logged; None unless all runs with the metric agree."""
    directions = {
        run.tags.get(OPTUNA_DIRECTION, "").lower() for run in runs if metric in run.metrics
    }
    return next(iter(directions)) if len(directions) == 1 and directions <= {*DIRECTIONS} else None
