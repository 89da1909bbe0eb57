"""Seconds to read the knowledge of 1,000 past studies with 100 trials each.

They are read from a database and through a server. The project's own bulk writer fills the store
with the same data as real studies: summaries in the models' own spaces, parameters, reports,
meta-features. Some studies were killed, so they are read from their trials. Every reading runs in a
new process whose imports do not count, once with an empty cache directory and once with the cache
of the first reading.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.environments import cache
from benchmarks.markdown import number, table
from benchmarks.report import machine, write
from hpo.goals import Goal
from hpo.trial import Report, Trial
from pipelines.models.catalog import settings
from pipelines.store import schema
from pipelines.store.delivery.bulk import BulkWriter, engine_for
from pipelines.store.lease import Driver
from pipelines.store.parents import HEADER_FILE, describe
from pipelines.store.records import Record, grant, outcome
from pipelines.store.summaries import summary_of, summary_tags
from pipelines.store.tracking import connect

MODELS = ("lightgbm", "xgboost", "mlp")
FULL = 1000.0
FEATURES = 47
START = 400.0  # seconds that the server may take
NOW = 1_760_000_000_000  # milliseconds since 1970, of the first study

Header = dict[str, Any]


def header(number_: int, rng: np.random.Generator) -> Header:
    """The header of study `number_`."""
    model = MODELS[number_ % len(MODELS)]
    features = {
        f"group{i % 8}.feature_{i}": float(value)
        for i, value in enumerate(rng.normal(size=FEATURES))
    }
    return {
        "model": model,
        "algorithm": "tpe",
        "metric": "roc_auc",
        "direction": "maximize",
        "seed": 0,
        "target": "income",
        "task": "binary",
        "split": "random",
        "validation": "holdout",
        "rungs": [FULL],
        "data": {"uri": f"s3://tables/table-{number_}.parquet", "digest": f"{number_:064x}"},
        "space": settings(model).space.to_dict(),
        "meta_features": {"values": features, "version": 1, "caps": {"rows": 2000}, "seed": 0},
    }


def trained(model: str, n: int, rng: np.random.Generator) -> list[Trial]:
    """The trials of `n` full trainings."""
    space = settings(model).space
    trials = []
    for i, row in enumerate(space.codes.sample(rng, n)):
        auc, others = rng.random(), {"log_loss": rng.random(), "accuracy": rng.random()}
        report = Report(FULL, -auc, {"roc_auc": auc, **others}, 1.0)
        trials.append(Trial(i, space.decode(row), FULL, reports=(report,)))
    return trials


def parent(of: Header, key: str, start: int, summary: dict[str, str] | None) -> Record:
    """The run of a study; a study without a summary was killed."""
    facts = {
        name: str(of[name]) for name in ("model", "algorithm", "metric", "target", "task", "seed")
    }
    gone = Driver(
        "elsewhere", "another machine", 1, "long ago", "0" * 32, start / 1000, start / 1000
    )
    tags = {
        schema.RUN_NAME: key,
        schema.ROLE: "study",
        schema.NOTE: describe(of),
        schema.DRIVER: gone.to_tag() if summary is None else "",
        "hpo.data.digest": of["data"]["digest"],
        **{f"hpo.{name}": value for name, value in facts.items()},
        **(summary or {}),
    }
    names = ("best_roc_auc", "test_roc_auc", "test_log_loss", "test_accuracy")
    return Record(
        key,
        key,
        tags,
        params=facts | {"trials": "100", "data": of["data"]["uri"]},
        metrics=tuple((name, 0.9, start, 0) for name in names),
        mark=(schema.SCHEMA, schema.VERSION),
        status=schema.RUNNING if summary is None else schema.FINISHED,
        start=start,
        end=None if summary is None else start + 1000,
    )


def fill(uri: str, folder: Path, studies: int, trials: int, killed: int) -> None:
    """Fill the store; the newest studies are the killed ones."""
    client = connect(uri)
    engine = engine_for(client)
    if engine is None:
        raise RuntimeError(f"{uri} is not written in bulk by this release")
    experiment = client.create_experiment("past", artifact_location=str(folder / "artifacts"))
    known = {"anchor": client.create_run(experiment).info.run_id}
    writer = BulkWriter(engine, experiment, known["anchor"], known)
    for i in range(studies):
        rng = np.random.default_rng([0, i])
        of, start = header(i, rng), NOW + 100_000 * i
        done = trained(of["model"], trials, rng)
        finished = i < studies - killed
        summary = summary_tags(summary_of(of, "0" * 32, done)) if finished else None
        writer([parent(of, f"study-{i}", start, summary)])
        run_id = known[f"study-{i}"]
        if not finished:
            client.log_text(run_id, json.dumps(of), HEADER_FILE)
        writer([_trial_record(of["model"], trial, i, run_id, start) for trial in done])
    writer.analyze()
    engine.dispose()


def _trial_record(model: str, trial: Trial, study: int, parent_run: str, start: int) -> Record:
    """The run of a trial of study number `study`."""
    common = {
        schema.PARENT_RUN: parent_run,
        "mlflow.user": "somebody",
        "mlflow.source.name": "pipelines",
    }
    granted = grant(trial, f"{model}-{trial.number:03d}", common, start)
    record = granted.then(outcome(trial, Goal("roc_auc", "maximize"), 0, start + 1000, FULL))
    return replace(record, key=f"{study}-{trial.number}")


@contextmanager
def server(database: Path) -> Iterator[tuple[str, int]]:
    """A tracking server with one worker on a database: its URI and its process id."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{database}"]
    quiet = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            command, env=quiet, cwd=database.parent, stdout=log, stderr=log
        ) as process,
    ):
        try:
            yield _answering(f"http://127.0.0.1:{port}", process), process.pid
        finally:
            process.terminate()


def _answering(uri: str, process: "subprocess.Popen[bytes]") -> str:
    end = time.monotonic() + START
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(f"{uri}/health", timeout=5)  # noqa: S310
            return uri
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.2)
    raise RuntimeError("the tracking server did not start")


def cpu_seconds(pid: int) -> float:
    """CPU seconds of a process and its children, from Linux's /proc."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    tasks = Path(f"/proc/{pid}/task").iterdir()
    below = (int(child) for task in tasks for child in (task / "children").read_text().split())
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") + sum(
        map(cpu_seconds, below)
    )


_READ = """
import json, sys, time
from pipelines.store.knowledge import past_studies
wall, cpu = time.perf_counter(), time.process_time()
found = past_studies(sys.argv[1])
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
print(json.dumps({"wall": wall, "cpu": cpu, "studies": len(found.studies), "notes": found.notes}))
"""


def read(uri: str, folder: str) -> dict[str, Any]:
    """Seconds of one reading in a process of its own, with `folder` as its cache directory."""
    done = subprocess.run(
        [sys.executable, "-c", _READ, uri],
        env={**os.environ, "HPO_CACHE_DIR": folder},
        capture_output=True,
        text=True,
        check=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def measure(
    uri: str, repeats: int, server_pid: int | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Readings with an empty and with a filled cache directory, in turns."""
    spent = partial(cpu_seconds, server_pid) if server_pid else float
    found: dict[str, list[dict[str, Any]]] = {"empty": [], "kept": []}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            for name in found:
                before = spent()
                found[name].append(read(uri, folder) | {"server": spent() - before})
    return found


def tables(measured: dict[str, dict[str, list[dict[str, Any]]]], about: str) -> str:
    """Markdown: seconds by store and by cache."""
    titles = {"empty": "empty", "kept": "filled by the first reading"}
    rows = [
        [
            store,
            titles[name],
            *(_median_and_range([run[key] for run in runs]) for key in ("wall", "cpu", "server")),
            str(runs[0]["studies"]),
        ]
        for store, by_cache in measured.items()
        for name, runs in by_cache.items()
    ]
    return f"{about}; seconds, median (minimum to maximum)\n\n" + table(
        [
            "store",
            "cache directory",
            "wall",
            "CPU of the reader",
            "CPU of the server",
            "studies read",
        ],
        rows,
    )


def _median_and_range(values: Sequence[float]) -> str:
    median = number(float(np.median(values)))
    return f"{median} ({number(min(values))} to {number(max(values))})"


def main(arguments: Sequence[str]) -> None:
    """Fill the store if it does not exist, read it, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks knowledge", description=__doc__)
    parser.add_argument("--studies", type=int, default=1_000)
    parser.add_argument("--trials", type=int, default=100, help="of each study")
    parser.add_argument(
        "--killed", type=int, default=10, help="how many of the studies left no summary"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="40 studies with 20 trials, twice")
    parser.add_argument("--output", type=Path, default=None, help="folder of the results")
    options = parser.parse_args(arguments)
    if options.quick:
        options.studies, options.trials, options.repeats = 40, 20, 2
    folder = cache() / f"knowledge-{options.studies}-{options.trials}-{options.killed}"
    database = folder / "mlflow.db"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        fill(f"sqlite:///{database}", folder, options.studies, options.trials, options.killed)
        (folder / "complete").touch()
    measured = {"SQLite": measure(f"sqlite:///{database}", options.repeats)}
    with server(database) as (uri, pid):
        measured["server, one worker"] = measure(uri, options.repeats, pid)
    about = (
        f"{options.studies:,} studies with {options.trials:,} trials each, "
        f"{options.killed} of them killed"
    )
    values = {
        "seconds": measured,
        "machine": machine(),
        "studies": options.studies,
        "trials": options.trials,
    }
    write(options.output or cache() / "results", "knowledge", tables(measured, about), values)
