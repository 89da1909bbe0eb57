"""What a study evaluates, as the session sees it.

An objective lives in the driver. It publishes what its workers read, and names the jobs that set
the bar. What becomes of its trials is a conclusion (`pipelines.study.ending`).
`pipelines.objectives.table` is the objective for tables.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from hpo.configurations import Identity
from hpo.errors import StudyError
from hpo.goals import Goal
from hpo.trial import Trial
from pipelines.files.exchange import Exchange
from pipelines.study.plan import Plan


class Objective(Protocol):
    """What a study evaluates."""

    @property
    def goal(self) -> Goal:
        """The score that decides."""
        ...

    @property
    def name(self) -> str:
        """Names what is evaluated; the seed of the search depends on it."""
        ...

    @property
    def identity(self) -> Identity | None:
        """What configurations that are the same training share; None if it is not deterministic."""
        ...

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """What must be equal when a study is resumed, as plain values: its entry `data`."""
        ...

    @property
    def again(self) -> Mapping[str, str | None]:
        """The options that a resumed study has to be given again.

        None is the value of one that is not a text, such as a table in memory.
        """
        ...

    def described(self) -> Mapping[str, Any]:
        """Its part of the study's header; `data` has at least the fingerprint."""
        ...

    def meta_features(self) -> Mapping[str, Any] | None:
        """By which later studies find this one (`warmstart.metafeatures`); None for none."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """What a user should know of the input, in sentences."""
        ...

    def describe(self) -> str:
        """What is evaluated, in a few words."""
        ...

    def publish(self, exchange: Exchange, checkpoints: str | None) -> None:
        """Put what the workers read into the exchange; `checkpoints` is the URI of the study's."""
        ...

    def baselines(self) -> Mapping[str, Any]:
        """Jobs whose scores a search must beat, by name."""
        ...

    def reported(self, trial: Trial, best: Trial | None, exchange: Exchange) -> None:
        """A trial has reported: discard what is not needed any more."""
        ...


def header_of(plan: Plan, objective: Objective) -> dict[str, Any]:
    """The header of a new study: its plan, and what its objective says of itself."""
    features = objective.meta_features()
    known = {} if features is None else {"meta_features": features}
    return {**plan.to_header(), **objective.described(), **known}


def check_same(objective: Objective, header: Mapping[str, Any]) -> None:
    """Check that what is evaluated is what the study with this header began with.

    Raises:
        StudyError: naming the first difference.
    """
    began = header["data"]
    for name, now in objective.fingerprint.items():
        if began.get(name) != now:
            what = "objective" if name == "objective" else "data"
            raise StudyError(
                f"this study has another {what}: {name} was {began.get(name)!r}, but now it is "
                f"{now!r}; pass the {what} that the study began with, or start a new study (leave "
                "`study` out)"
            )
