"""What past studies know, read from MLflow: their summaries, and no trial of theirs.

One paged query brings the runs of all studies with their tags, and with the tags the summaries. A
study that could not leave one (killed with `kill -9`, or written by the first release) is read from
its trials, the newest few of those only, up to some number of trials; what is read so is kept in
the cache directory, since nobody but its driver may write to a study's run. Whatever is wrong with
one study leaves out that study and is counted in a note.
"""

import json
import logging
import re
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING

from mlflow.entities import LifecycleStage

from hpo.errors import StudyError, closest, raise_all
from pipelines.files.cache import cache_dir
from pipelines.files.uris import safe
from pipelines.store import schema
from pipelines.store.lease import Driver
from pipelines.store.studies import find_study, read_header
from pipelines.store.summaries import NewerSummaryError, summary_from, summary_of, summary_tags
from pipelines.store.tracking import as_study_error, children, connect, experiments, search
from pipelines.table.metrics import METRICS
from warmstart.past import PastStudy

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

logger = logging.getLogger(__name__)

MOST_READ = 20  # studies that are read from their trials, about 1 ms a trial
MOST_TRIALS = (
    10_000  # of one of them, the newest; and after so many of all together no further study is read
)
_EVERY_STUDY = f"tags.`{schema.SCHEMA}` LIKE '%'"
_EVERY_ADOPTED = f"tags.`{schema.ADOPTED_ID}` LIKE '%'"
_RUN_ID = re.compile(r"[\w\-]{1,256}", re.ASCII)


class Why(Enum):
    """Why a study is not among what is known; the value completes "3 past studies left out: "."""

    RUNNING = "still running"
    TOO_FEW = "fewer than two results"
    NEWER = "written by a newer release; update this one to learn from them"
    METRIC = "by a metric that this release does not know"
    UNREADABLE = "incomplete or damaged in MLflow"
    OLDER = (
        f"without a summary, of which only the newest {MOST_READ}, with about {MOST_TRIALS:,} trials, are read; "
        "one that is resumed leaves its summary"
    )


@dataclass(frozen=True)
class Knowledge:
    """Past studies, the newest first, and sentences on what is not among them.

    `omitted` says by run id why a study is not, `named` which studies, by run ids, each named
    source stands for, and `held_out` by run id which test rows were set aside, in the words of the
    function of that name.
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
    """What the studies of a tracking store left for later ones.

    Args:
        tracking_uri: of the store; without it the one in force.
        sources: run ids of studies and names of experiments to learn from, also those that were
            adopted from; without them all studies of the store.
        exclude: the run id of a study that is not to learn from itself.

    Raises:
        StudyError: when the store cannot be read, or naming every source that does not exist.
    """
    client = connect(tracking_uri, reading=True)
    with as_study_error(f"past studies cannot be read from {safe(client.tracking_uri)}"):
        named = {
            source: _counting(runs, exclude) for source, runs in _named(client, sources).items()
        }
        every = named.values() if sources is not None else [_counting(_all_runs(client), exclude)]
        runs = {run.info.run_id: run for found in every for run in found}
        known = _known(client, sorted(runs.values(), key=_age, reverse=True))
    return replace(
        known,
        named={source: tuple(run.info.run_id for run in runs) for source, runs in named.items()},
    )


def _counting(runs: Iterable["Run"], exclude: str | None) -> list["Run"]:
    """Those inside a validation do not count: of parts of one table there would be as many as there are folds."""
    return [run for run in runs if run.info.run_id != exclude and schema.OUTER not in run.data.tags]


def _known(client: "MlflowClient", runs: Sequence["Run"]) -> Knowledge:
    """What `runs`, the newest first, know."""
    now, tried, left = time.time(), 0, MOST_TRIALS
    studies: list[PastStudy] = []
    omitted: dict[str, Why] = {}
    read, unkept = 0, ""
    for run in runs:
        found = _left_by(run, now)
        if found is None:
            found = Why.OLDER
            if tried < MOST_READ and left > 0:
                reading = _read_from_trials(client, run)
                found, left = reading.found, left - reading.trials
                unkept = unkept or reading.unkept
            tried += 1
            read += isinstance(found, PastStudy)
        if isinstance(found, PastStudy) and found.metric not in METRICS:
            found = Why.METRIC
        if isinstance(found, Why):
            omitted[run.info.run_id] = found
        else:
            studies.append(replace(found, run_id=run.info.run_id))
    rows = {run.info.run_id: _held_out_by(run) for run in runs}
    return Knowledge(
        tuple(studies),
        tuple(_notes(Counter(omitted.values()), read, unkept)),
        omitted,
        held_out=rows,
    )


def held_out(split: str, test_share: object, seed: object) -> str:
    """Equal for studies of one table that hold out the same rows of it: windows of time depend on no seed."""
    share = f"split={split}, test_share={test_share}"
    return share if split.startswith("time:") else f"{share}, seed={seed}"


def _held_out_by(run: "Run") -> str:
    tags = run.data.tags
    if schema.ADOPTED_ID in tags or not {"hpo.split", "hpo.test_share"} <= tags.keys():
        return "not known which"
    return held_out(tags["hpo.split"], tags["hpo.test_share"], tags.get("hpo.seed"))


def _notes(omitted: Mapping[Why, int], read: int, unkept: str) -> Iterable[str]:
    for why in Why:
        if n := omitted.get(why):
            yield f"{counted(n)} left out: {why.value}"
    if read:
        yield f"{counted(read)} without a summary: read from the trials"
    if unkept:
        yield f"what was read from trials is read again the next time: {unkept}; set HPO_CACHE_DIR to another directory"


def counted(n: int) -> str:
    """So many past studies, in words."""
    return f"{n} past {'study' if n == 1 else 'studies'}"


def _age(run: "Run") -> tuple[int, str]:
    return run.info.start_time or 0, run.info.run_id


def _left_by(run: "Run", now: float) -> PastStudy | Why | None:
    """What a run's tags say; None when they say nothing that holds.

    A run that is `RUNNING` with no driver alive was killed: its trials know more than an earlier
    session's summary.
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
    """What the trials of a study said, how many those were, and why that could not be kept for the next time."""

    found: PastStudy | Why
    trials: int
    unkept: str = ""


def _read_from_trials(client: "MlflowClient", run: "Run") -> _Reading:
    """What the trials of a study say, or said when they were read the last time."""
    memory = _Memory(client.tracking_uri, run)
    if (known := memory.recall()) is not None:
        return known
    below: list[Run] = []
    try:
        header = read_header(client, run.info.run_id)
        below = children(client, run.info.experiment_id, run.info.run_id, "trial", MOST_TRIALS)
        trials = [
            trial
            for child in below
            if (trial := schema.decode_trial(child.data.tags, child.data.params))
        ]
        past = summary_of(header, run.info.run_id, trials)
    except (StudyError, ValueError, KeyError, TypeError) as error:
        logger.debug("study %s cannot be read from its trials: %s", run.info.run_id, error)
        return _Reading(Why.UNREADABLE, len(below))
    return _Reading(past or Why.TOO_FEW, len(below), memory.keep(past, len(below)))


class _Memory:
    """What the trials of one study said, in a file; whatever is wrong with it costs the time to read them again.

    It holds for the study as it stands: whoever resumes it changes its status, its end or its
    driver.
    """

    def __init__(self, tracking_uri: str, run: "Run") -> None:
        info = run.info
        self._path = cache_dir() / "knowledge" / f"{info.run_id}.json"
        state = [safe(tracking_uri), info.status, info.end_time, run.data.tags.get(schema.DRIVER)]
        self._of = json.dumps(state)

    def recall(self) -> _Reading | None:
        """What was kept of the study as it stands now; None when nothing is."""
        try:
            kept = json.loads(self._path.read_text(encoding="ascii"))
            if kept["of"] != self._of:
                return None
            return _Reading(summary_from(kept["tags"]) or Why.TOO_FEW, int(kept["trials"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def keep(self, past: PastStudy | None, trials: int) -> str:
        """Keep it for the next time; why that cannot be, or nothing."""
        text = json.dumps({"of": self._of, "tags": summary_tags(past), "trials": trials})
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(text, encoding="ascii")
        except OSError as error:
            return f"{self._path.parent} cannot be written ({error.strerror})"
        return ""


def _all_runs(client: "MlflowClient") -> list["Run"]:
    """The parent runs of all studies."""
    ids = [str(place.experiment_id) for place in experiments(client)]
    return list(search(client, ids, _EVERY_STUDY)) if ids else []


def _named(client: "MlflowClient", sources: Sequence[str] | None) -> dict[str, list["Run"]]:
    """The parent runs of the studies that each source stands for.

    An experiment stands for the studies in it and for those that were adopted from it, wherever
    they lie.

    Raises:
        StudyError: naming every source that does not exist.
    """
    if not sources:
        return {}
    places = {str(place.name): str(place.experiment_id) for place in experiments(client)}
    ids = list(places.values())
    found: dict[str, dict[str, Run]] = {source: {} for source in sources}
    if named := {places[source]: source for source in sources if source in places}:
        for run in search(client, list(named), _EVERY_STUDY):
            found[named[run.info.experiment_id]][run.info.run_id] = run
        for run in search(client, ids, _EVERY_ADOPTED):
            if source := named.get(run.data.tags[schema.ADOPTED_ID]):
                found[source][run.info.run_id] = run
    run_ids = sorted({source for source in sources if source not in places})
    if ids and (plain := [run_id for run_id in run_ids if _RUN_ID.fullmatch(run_id)]):
        listed = ", ".join(f"'{run_id}'" for run_id in plain)
        for run in search(client, ids, f"{_EVERY_STUDY} AND attributes.run_id IN ({listed})"):
            found[run.info.run_id][run.info.run_id] = run
    raise_all(
        StudyError, (_missing(client, run_id, places) for run_id in run_ids if not found[run_id])
    )
    return {source: list(runs.values()) for source, runs in found.items()}


def _missing(client: "MlflowClient", source: str, names: Collection[str]) -> str:
    """What is wrong with a source that is no study and no experiment."""
    if re.fullmatch(r"[0-9a-f]{32}", source):
        try:
            find_study(client, source)
        except StudyError as error:
            return str(error)
    place = client.get_experiment_by_name(source)
    if place is not None and place.lifecycle_stage != LifecycleStage.ACTIVE:
        return f"experiment {source!r} was deleted; restore it in MLflow, or name another"
    return (
        f"{source!r} is neither an experiment of {safe(client.tracking_uri)} nor the run id of a study"
        f"{closest(source, names)}"
    )
