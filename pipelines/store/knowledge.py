"""The knowledge of past studies: their summaries, read from MLflow without reading their trials.

One paged query returns the runs of all studies, with the summaries in their tags. A study that was
killed, or that the first release wrote, has no summary and is read from its trials: the newest few
such studies only, up to a number of trials. The result is stored in the cache directory, because
only its driver may write to the run of a study. A study that cannot be read is left out and counted
in a note.
"""

import json
import logging
import re
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING

from mlflow.entities import LifecycleStage
from mlflow.tracking.context.registry import resolve_tags

from hpo.errors import StudyError, closest, counted, raise_all
from pipelines.files.cache import cache_dir, make_private, write_private
from pipelines.files.uris import safe
from pipelines.store import schema
from pipelines.store.lease import Driver
from pipelines.store.records import decode_trial
from pipelines.store.studies import find_study, read_header
from pipelines.store.summaries import NewerSummaryError, summary_from, summary_of, summary_tags
from pipelines.store.tracking import as_study_error, children, connect, experiments, search
from pipelines.table.scores.named import is_metric
from warmstart.families import is_code
from warmstart.past import PastStudy

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

logger = logging.getLogger(__name__)

OWN = "own"  # stands for the studies that this user began
MAX_READ = 20  # studies that are read from their trials, which takes about 1 ms per trial
MAX_TRIALS = 10_000  # newest trials of one such study; after so many in all, no more are read
_EVERY_STUDY = f"tags.`{schema.SCHEMA}` LIKE '%'"
_EVERY_ADOPTED = f"tags.`{schema.ADOPTED_ID}` LIKE '%'"
_RUN_ID = re.compile(r"[\w\-]{1,256}", re.ASCII)


class Why(Enum):
    """Why a study is left out; the value completes "3 past studies left out: "."""

    RUNNING = "still running"
    TOO_FEW = "fewer than two results"
    NEWER = "written by a newer release; update this one to learn from them"
    METRIC = "by a metric that this release does not know"
    UNREADABLE = "incomplete or damaged in MLflow"
    OLDER = (
        f"without a summary, of which only the newest {MAX_READ}, with about {MAX_TRIALS:,} "
        "trials, are read; to add a summary, resume the study"
    )


@dataclass(frozen=True)
class Knowledge:
    """Past studies, newest first.

    Attributes:
        studies: to learn from.
        notes: sentences for the user on the studies that are left out.
        omitted: the reason for each study that is left out, by run id.
        named: by source, the run ids of the studies that it stands for.
        held_out: by run id, which rows were held out for the test (`held_out`).
    """

    studies: tuple[PastStudy, ...]
    notes: tuple[str, ...]
    omitted: Mapping[str, Why] = field(default_factory=dict)
    named: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    held_out: Mapping[str, str] = field(default_factory=dict)


def past_studies(
    tracking_uri: str | None = None,
    *,
    sources: Sequence[str] | None = None,
    exclude: str | None = None,
) -> Knowledge:
    """Read what the studies of a tracking store have learned.

    Args:
        tracking_uri: of the store; None uses MLflow's current one.
        sources: run ids of studies, and names of experiments whose studies, also adopted ones, to
            learn from, and `own` for those that this user began; None uses all studies of the
            store.
        exclude: the run id of a study that must not learn from itself.

    Raises:
        StudyError: when the store cannot be read, or with every source that does not exist.
    """
    client = connect(tracking_uri, reading=True)
    with as_study_error(f"past studies cannot be read from {safe(client.tracking_uri)}"):
        if sources is None:
            return _known(client, _countable(_all_studies(client), exclude))
        found = _named(client, sources)
        by_source = {source: _countable(runs, exclude) for source, runs in found.items()}
        distinct = {run.info.run_id: run for runs in by_source.values() for run in runs}
        known = _known(client, distinct.values())
    named = {source: _run_ids(runs) for source, runs in by_source.items()}
    return replace(known, named=named)


def _run_ids(runs: Iterable["Run"]) -> tuple[str, ...]:
    return tuple(run.info.run_id for run in runs)


def _known(client: "MlflowClient", runs: Iterable["Run"]) -> Knowledge:
    return _Reader(client).read(sorted(runs, key=_age, reverse=True))


def _countable(runs: Iterable["Run"], exclude: str | None) -> list["Run"]:
    """The runs without the excluded one and the studies of validations.

    The studies of a validation use parts of one table, which would count once for each outer fold.
    """
    return [run for run in runs if run.info.run_id != exclude and schema.OUTER not in run.data.tags]


class _Reader:
    """Reads studies from their summaries, and a few from their trials."""

    def __init__(self, client: "MlflowClient") -> None:
        self._client = client
        self._now = time.time()
        self._studies_left = MAX_READ
        self._trials_left = MAX_TRIALS
        self._not_saved = ""
        self._n_from_trials = 0

    def read(self, runs: Sequence["Run"]) -> Knowledge:
        """Read the studies of these runs, which are sorted from new to old."""
        found = {run.info.run_id: self._study(run) for run in runs}
        studies = {run_id: past for run_id, past in found.items() if isinstance(past, PastStudy)}
        omitted = {run_id: why for run_id, why in found.items() if isinstance(why, Why)}
        return Knowledge(
            studies=tuple(replace(past, run_id=run_id) for run_id, past in studies.items()),
            notes=tuple(_notes(Counter(omitted.values()), self._n_from_trials, self._not_saved)),
            omitted=omitted,
            held_out={run.info.run_id: _held_out_by(run) for run in runs},
        )

    def _study(self, run: "Run") -> PastStudy | Why:
        found = _from_tags(run, self._now) or self._from_trials(run)
        if isinstance(found, PastStudy) and not _is_known_metric(found):
            return Why.METRIC
        return found

    def _from_trials(self, run: "Run") -> PastStudy | Why:
        if self._studies_left == 0 or self._trials_left <= 0:
            return Why.OLDER
        self._studies_left -= 1
        reading = _read_from_trials(self._client, run)
        self._trials_left -= reading.trials
        self._not_saved = self._not_saved or reading.not_saved
        self._n_from_trials += isinstance(reading.found, PastStudy)
        return reading.found


def held_out(split: str, test_share: object, seed: object) -> str:
    """A text that is equal for studies of one table that hold out the same rows.

    A split by time does not depend on the seed.
    """
    share = f"split={split}, test_share={test_share}"
    return share if split.startswith("time:") else f"{share}, seed={seed}"


def _held_out_by(run: "Run") -> str:
    tags = run.data.tags
    if schema.ADOPTED_ID in tags or not {"hpo.split", "hpo.test_share"} <= tags.keys():
        return "not known which"
    return held_out(tags["hpo.split"], tags["hpo.test_share"], tags.get("hpo.seed"))


def _notes(omitted: Mapping[Why, int], from_trials: int, not_saved: str) -> Iterable[str]:
    for why in Why:
        if n := omitted.get(why):
            yield f"{counted(n, 'past study')} left out: {why.value}"
    if from_trials:
        yield f"{counted(from_trials, 'past study')} without a summary: read from the trials"
    if not_saved:
        yield (
            f"trials that were read now will be read again next time: {not_saved}; "
            "set HPO_CACHE_DIR to another directory"
        )


def _age(run: "Run") -> tuple[int, str]:
    return run.info.start_time or 0, run.info.run_id


def _from_tags(run: "Run", now: float) -> PastStudy | Why | None:
    """Read the summary in the tags of a run; None when the trials must be read instead.

    A run that is `RUNNING` without a living driver was killed. Its trials have more results than
    the summary of an earlier session.
    """
    tags = run.data.tags
    if tags[schema.SCHEMA] != schema.VERSION:
        return Why.NEWER
    if run.info.status == schema.RUNNING:
        driver = Driver.from_tag(tags.get(schema.DRIVER))
        return Why.RUNNING if driver and driver.alive(now) else None
    try:
        return summary_from(tags) or Why.TOO_FEW
    except NewerSummaryError:
        return Why.NEWER
    except ValueError:
        return None


@dataclass(frozen=True)
class _Reading:
    """The result of reading a study from its trials.

    Attributes:
        found: its summary, or why it is left out.
        trials: how many were read.
        not_saved: why this could not be saved for the next time; empty when it was.
    """

    found: PastStudy | Why
    trials: int
    not_saved: str = ""


def _read_from_trials(client: "MlflowClient", run: "Run") -> _Reading:
    """Read a study from its trials, or from the cache."""
    cache = _CachedReading(client.tracking_uri, run)
    if (cached := cache.load()) is not None:
        return cached
    runs: list[Run] = []
    try:
        header = read_header(client, run.info.run_id)
        runs = children(client, run.info.experiment_id, run.info.run_id, "trial", MAX_TRIALS)
        decoded = (decode_trial(child.data.tags, child.data.params) for child in runs)
        trials = [trial for trial in decoded if trial is not None]
        past = summary_of(header, run.info.run_id, trials)
    except (StudyError, ValueError, KeyError, TypeError) as error:
        logger.debug("study %s cannot be read from its trials: %s", run.info.run_id, error)
        return _Reading(Why.UNREADABLE, len(runs))
    return _Reading(past or Why.TOO_FEW, len(runs), cache.save(past, len(runs)))


class _CachedReading:
    """A file with the reading of one study. An unreadable file is ignored.

    It is valid while the study is unchanged: resuming a study changes its status, end or driver.
    """

    def __init__(self, tracking_uri: str, run: "Run") -> None:
        info = run.info
        self._path = cache_dir() / "knowledge" / f"{info.run_id}.json"
        state = [safe(tracking_uri), info.status, info.end_time, run.data.tags.get(schema.DRIVER)]
        self._state = json.dumps(state)

    def load(self) -> _Reading | None:
        """The saved reading of the study as it is now; None when there is none."""
        try:
            saved = json.loads(self._path.read_text(encoding="ascii"))
            if saved["of"] != self._state:
                return None
            return _Reading(summary_from(saved["tags"]) or Why.TOO_FEW, int(saved["trials"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, past: PastStudy | None, trials: int) -> str:
        """Save a reading. Returns why that failed, or an empty text."""
        text = json.dumps({"of": self._state, "tags": summary_tags(past), "trials": trials})
        try:
            make_private(self._path.parent)
            write_private(self._path, text.encode("ascii"))
        except OSError as error:
            return f"{self._path.parent} cannot be written ({error.strerror})"
        return ""


def _all_studies(client: "MlflowClient") -> list["Run"]:
    ids = [str(found.experiment_id) for found in experiments(client)]
    return list(search(client, ids, _EVERY_STUDY)) if ids else []


def _own_studies(client: "MlflowClient") -> list["Run"]:
    """The studies of this user: of MLFLOW_TRACKING_USERNAME, or else of the system's user."""
    me = resolve_tags().get("mlflow.user")
    return [run for run in _all_studies(client) if me and run.data.tags.get("mlflow.user") == me]


def _named(client: "MlflowClient", sources: Sequence[str]) -> dict[str, list["Run"]]:
    """The parent runs of the studies that each source stands for.

    Raises:
        StudyError: with every source that does not exist.
    """
    if OWN in sources:
        others = _named(client, [source for source in sources if source != OWN])
        return {OWN: _own_studies(client), **others}
    if not sources:
        return {}
    places = {str(found.name): str(found.experiment_id) for found in experiments(client)}
    by_experiment = {places[source]: source for source in sources if source in places}
    run_ids = sorted(set(sources) - places.keys())
    found: dict[str, dict[str, Run]] = {source: {} for source in sources}
    ids = list(places.values())
    for source, run in [
        *_in_experiments(client, by_experiment, ids),
        *_with_ids(client, run_ids, ids),
    ]:
        found[source][run.info.run_id] = run
    unknown = (run_id for run_id in run_ids if not found[run_id])
    raise_all(StudyError, (_missing(client, source, places) for source in unknown))
    return {source: list(runs.values()) for source, runs in found.items()}


def _in_experiments(
    client: "MlflowClient", sources: Mapping[str, str], ids: list[str]
) -> Iterator[tuple[str, "Run"]]:
    """The studies in some experiments, and those adopted from them in any experiment.

    Args:
        client: of the store.
        sources: the names of the experiments by id.
        ids: of all experiments.
    """
    if not sources:
        return
    for run in search(client, list(sources), _EVERY_STUDY):
        yield sources[run.info.experiment_id], run
    for run in search(client, ids, _EVERY_ADOPTED):
        if source := sources.get(run.data.tags[schema.ADOPTED_ID]):
            yield source, run


def _with_ids(
    client: "MlflowClient", run_ids: Iterable[str], ids: list[str]
) -> Iterator[tuple[str, "Run"]]:
    """The studies with these run ids, in any of the experiments with `ids`."""
    valid = [run_id for run_id in run_ids if _RUN_ID.fullmatch(run_id)]
    if not valid or not ids:
        return
    listed = ", ".join(f"'{run_id}'" for run_id in valid)
    for run in search(client, ids, f"{_EVERY_STUDY} AND attributes.run_id IN ({listed})"):
        yield run.info.run_id, run


def _missing(client: "MlflowClient", source: str, names: Collection[str]) -> str:
    """The message for a source that is neither a study nor an experiment."""
    if re.fullmatch(r"[0-9a-f]{32}", source):
        try:
            find_study(client, source)
        except StudyError as error:
            return str(error)
    place = client.get_experiment_by_name(source)
    if place is not None and place.lifecycle_stage != LifecycleStage.ACTIVE:
        return f"experiment {source!r} was deleted; restore it in MLflow, or give another name"
    return (
        f"{source!r} is neither an experiment of {safe(client.tracking_uri)} "
        f"nor the run id of a study{closest(source, names)}"
    )


def _is_known_metric(study: PastStudy) -> bool:
    """Whether the losses of a study can be compared; code of users has metrics of its own."""
    return is_code(study.model) or is_metric(study.metric)
