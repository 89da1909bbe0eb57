"""Studies in a storage of Optuna, as past studies of code."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from hpo.errors import ParameterError, closest
from hpo.goals import Goal
from hpo.trial import Report, Trial
from pipelines.adoption.ranges import DISTRIBUTION
from pipelines.adoption.runs import OPTUNA_DIRECTION, OPTUNA_STATE, ForeignRun
from pipelines.adoption.study import ADOPTED, FULL_BUDGET, AdoptedStudy
from pipelines.adoption.trials import MIN_TRIALS
from pipelines.files.uris import first_line, safe
from pipelines.store import schema
from warmstart.metafeatures import MetaFeatures

if TYPE_CHECKING:
    from optuna import Study

STORAGE = "optuna:"  # before the id of a study of Optuna
_VALUE = "value"
_STATUS = {"COMPLETE": schema.FINISHED, "PRUNED": schema.FINISHED, "FAIL": schema.FAILED}
_LOSS = "loss"  # the metric of a study that does not name its own, as in `tune`


@dataclass(frozen=True)
class OptunaStudies:
    """Where studies of Optuna are.

    Attributes:
        url: of the storage.
        study: the name of one study; empty for all.
    """

    url: str
    study: str = ""

    @classmethod
    def of(cls, text: str) -> "OptunaStudies | None":
        """Read `URL` or `URL#study`; None for a text that is no URL, the name of an experiment."""
        url, _, study = text.partition("#")
        return cls(url, study) if "://" in url else None

    def read(self) -> "list[Study]":
        """The studies, in order of their names.

        Raises:
            ParameterError: If Optuna is missing, the storage cannot be read, or it has none.
        """
        try:
            import optuna
        except ModuleNotFoundError as error:
            raise ParameterError(
                f"{safe(self.url)} is read with Optuna, which is not installed: "
                "pip install 'mlflow-warmstart[optuna]'"
            ) from error
        self._check_file()
        try:
            storage = optuna.storages.get_storage(self.url)
            names = sorted(optuna.get_all_study_names(storage))
            chosen = [name for name in names if self.study in ("", name)]
            found = [optuna.load_study(study_name=name, storage=storage) for name in chosen]
        except Exception as error:  # of Optuna, of SQLAlchemy or of a driver that is missing
            raise ParameterError(
                f"the Optuna storage {safe(self.url)} cannot be read: {first_line(error)}"
            ) from error
        if not found:
            what = f"no study {self.study!r}" if self.study else "no study"
            known = f"; studies: {', '.join(map(repr, names))}" if names else ""
            hint = closest(self.study, names)
            raise ParameterError(f"the Optuna storage {safe(self.url)} has {what}{hint}{known}")
        return found

    def only(self) -> "Study":
        """The study that is named, or the only one.

        Raises:
            ParameterError: If there are several, or it has several directions.
        """
        first, *others = self.read()
        if others:
            names = [study.study_name for study in (first, *others)]
            raise ParameterError(
                f"the Optuna storage {safe(self.url)} has {len(names)} studies, and one of them is "
                f"of the table; name it: {self.name_of(names[0])}; studies: {', '.join(names)}"
            )
        if len(first.directions) > 1:
            raise ParameterError(
                f"the Optuna study {first.study_name!r} has {len(first.directions)} directions, "
                "and 1 is needed"
            )
        return first

    def name_of(self, study: str) -> str:
        """What an adopted study says that it comes from, without a password."""
        return f"{safe(self.url)}#{study}"

    def id_of(self, study: str) -> str:
        """Identifies a study of this storage."""
        return f"{STORAGE}{sha256(self.name_of(study).encode()).hexdigest()[:32]}"

    def __str__(self) -> str:
        """The storage or the study, without a password."""
        return self.name_of(self.study) if self.study else safe(self.url)

    def _check_file(self) -> None:
        """A file that does not exist must not be made by reading it."""
        scheme, _, path = self.url.partition(":///")
        if scheme.startswith("sqlite") and path and not Path(path.partition("?")[0]).is_file():
            raise ParameterError(
                f"the Optuna storage {safe(self.url)} does not exist: {path} is no file"
            )


@dataclass(frozen=True)
class AdoptedOptuna:
    """What `adopt` made of the studies of a storage.

    Attributes:
        source: The storage, or one of its studies.
        studies: The past studies, by the name that they have in Optuna.
        skipped: Why other studies were left out, by their names.
        saved: The run ids of the studies; empty in a dry run.
        replaced: Run ids of earlier adoptions of the same studies.
    """

    source: str
    studies: tuple[tuple[str, AdoptedStudy], ...]
    skipped: tuple[tuple[str, str], ...]
    saved: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()

    def __str__(self) -> str:
        """What was found, and what was written."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        for name, study in self.studies:
            yield (
                f"Optuna study {name!r}: {len(study.trials)} trials as a past study of "
                f"{study.header['model']}, best {study.best_value:.5g}"
            )
        for name, reason in self.skipped:
            yield f"Optuna study {name!r} is left out: {reason}"
        if not self.saved:
            yield "nothing was written; run it again without dry_run"
            return
        yield f"adopted as {', '.join(self.saved)}; nothing in {self.source} was changed"
        if self.replaced:
            yield f"it replaces {', '.join(self.replaced)}, now in MLflow's trash"


def metric_name(study: "Study") -> str:
    """The name of a study's metric; Optuna calls one without a name `value`."""
    return str((study.metric_names or [_VALUE])[0])


def runs_of(study: "Study") -> Iterator[ForeignRun]:
    """The trials of a study that searched a model on a table, as Optuna's callback logs them."""
    for trial in study.get_trials(deepcopy=False):
        tags = {
            OPTUNA_STATE: trial.state.name,
            OPTUNA_DIRECTION: study.direction.name,
            **{f"{name}{DISTRIBUTION}": str(d) for name, d in trial.distributions.items()},
        }
        yield ForeignRun(
            run_id=f"{study.study_name}/{trial.number}",
            status=_STATUS.get(trial.state.name, schema.RUNNING),
            tags=tags,
            params={name: str(value) for name, value in trial.params.items()},
            metrics={} if trial.value is None else {metric_name(study): trial.value},
        )


def past_of(studies: "Sequence[Study]", source: str, prefix: str) -> AdoptedOptuna:
    """Past studies of code, one for each study of Optuna; `prefix` makes models of their names.

    Raises:
        ParameterError: If none of them can be one.
    """
    found, skipped = [], []
    for study in studies:
        try:
            found.append((study.study_name, _past_of(study, prefix)))
        except ParameterError as error:
            skipped.append((study.study_name, str(error)))
    if not found:
        reasons = "; ".join(f"{name!r}: {reason}" for name, reason in skipped)
        raise ParameterError(f"no study of {source} can be adopted: {reasons}")
    return AdoptedOptuna(source, tuple(found), tuple(skipped))


def _past_of(study: "Study", prefix: str) -> AdoptedStudy:
    from optuna.trial import TrialState

    from hpo.space.optuna import Dimensions, united

    if len(study.directions) > 1:
        raise ParameterError(f"it has {len(study.directions)} directions, and 1 is needed")
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    distributions = united(trial.distributions for trial in complete)
    dimensions = Dimensions.of(distributions, [trial.params for trial in complete])
    goal = Goal((study.metric_names or [_LOSS])[0], study.direction.name.lower())
    trials: list[Trial] = []
    for trial in complete:
        params = dimensions.ours(trial.params)
        if params and trial.value is not None and abs(trial.value) < float("inf"):
            report = Report(FULL_BUDGET, goal.to_loss(trial.value))
            trials.append(Trial(len(trials), params, FULL_BUDGET, reports=(report,)))
    if len(trials) < MIN_TRIALS:
        raise ParameterError(
            f"{len(trials)} of its trials are complete with a finite value and a parameter that "
            f"is searched, and {MIN_TRIALS} are needed"
        )
    model = study.study_name if ":" in study.study_name else f"{prefix}{study.study_name}"
    header = {
        "model": model,
        "algorithm": ADOPTED,
        "metric": goal.name,
        "direction": goal.direction,
        "data": {"objective": model},
        "objective": "",
        "space": dimensions.space.to_dict(),
        "rungs": [FULL_BUDGET],
        "meta_features": MetaFeatures({}, 0, {}, 0).to_dict(),
        ADOPTED: {"study": study.study_name},
    }
    best = goal.from_loss(min(trial.loss for trial in trials))
    description = (
        f"**Adopted**: {len(trials)} trials of the Optuna study `{study.study_name}`, as a past "
        "study that later ones learn from. The study cannot be resumed; to undo the adoption, "
        "delete this run, or run `adopt` with `undo=true`."
    )
    return AdoptedStudy(header, tuple(trials), best, description)
