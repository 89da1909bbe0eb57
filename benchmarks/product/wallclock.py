"""Validation loss over real seconds: `tune` with `bohb`, with `tpe`, and FLAML, one after another.

All tune LightGBM on the same training rows and are scored on the same validation rows. FLAML gets
the encoded rows with categoricals marked, and its clock starts with `AutoML.fit`. Ours starts with
the call of `tune`, so it includes reading and encoding the table and starting the workers. The loss
at a time is the lowest of the legs (for FLAML, trials) reported so far.
"""

import argparse
import hashlib
import math
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from benchmarks.datasets import Dataset, add_datasets_option, find_dataset
from benchmarks.environments import ROOT, requirements_digest, started
from benchmarks.environments import cache as cache_folder
from benchmarks.markdown import table
from benchmarks.methods import CLOCKED, Method, method
from benchmarks.report import machine, write
from benchmarks.results import MethodJob, Results
from benchmarks.statistics import best_so_far
from hpo.arrays import FloatArray
from hpo.errors import UserError
from pipelines.table.data import Prepared
from pipelines.table.scores.named import metric_for
from pipelines.table.source import Source

IMAGE = ROOT / "docs" / "images" / "wallclock.png"
SHARES = (1 / 8, 1 / 4, 1 / 2, 1.0)  # of the time, the columns of the tables
METRICS = ("log_loss", "roc_auc", "rmse")  # FLAML has the same names
REFERENCE = "flaml"
PANELS = 3  # seeds in the picture
QUICK_SECONDS = 10
# Grey and medium colours are visible on white and on black. Line styles differ as well.
INK = "#808080"
LINES = {"bohb": ("#d1495b", "-"), "tpe": ("#3d85e0", "--"), "flaml": ("#2f9e62", "-.")}


@dataclass(frozen=True)
class Search(MethodJob):
    """One method for a number of seconds; the seed is also that of the split."""

    table: str
    metric: str
    seconds: int
    workers: int
    seed: int


@dataclass(frozen=True)
class Course:
    """The legs of a search: ascending times `(n,)` in seconds since the call, and losses `(n,)`."""

    times: FloatArray
    losses: FloatArray

    @classmethod
    def of(cls, events: Sequence[Sequence[float]], seconds: float) -> "Course":
        """From pairs (time, loss), without those after `seconds`."""
        rows = np.array(sorted(map(tuple, events)), dtype=float).reshape(-1, 2)
        in_time = rows[rows[:, 0] <= seconds]
        return cls(in_time[:, 0], in_time[:, 1])

    @property
    def best(self) -> FloatArray:
        """The lowest loss so far `(n,)`."""
        return best_so_far(self.losses)

    def at(self, seconds: float) -> float:
        """The lowest loss at a time; infinite before the first."""
        seen = int(np.searchsorted(self.times, seconds, side="right"))
        return float(self.losses[:seen].min(initial=math.inf))


def export_rows(prepared: Prepared, path: Path) -> None:
    """Write encoded rows for a peer.

    Each part has numbers, level codes (-1 if missing) and targets, which are class codes or numbers
    in original units. `cardinalities` are the numbers of levels.
    """
    fold, test = prepared.folds[0], prepared.features.transform(prepared.test_frame)
    parts = {
        "train": (fold.train, fold.target.original(fold.y_train)),
        "valid": (fold.valid, fold.target.original(fold.y_valid)),
        "test": (test, prepared.y_test),
    }
    arrays: dict[str, Any] = {"cardinalities": np.array(fold.cardinalities, dtype=int)}
    for part, (rows, y) in parts.items():
        arrays |= {
            f"{part}-numeric": rows.numeric,
            f"{part}-categorical": rows.categorical,
            f"{part}-target": y,
        }
    np.savez(path, **arrays)


def measure(chosen: Method, job: Search, dataset: Dataset, prepared: Prepared) -> dict[str, Any]:
    """One search in a process and a folder of its own."""
    with tempfile.TemporaryDirectory() as folder, started(chosen, folder) as process:
        common = {
            "metric": job.metric,
            "seed": job.seed,
            "seconds": job.seconds,
            "workers": job.workers,
            "folder": folder,
        }
        if chosen.environment is None:
            table = str(dataset.path)
            answer = process.call(call="run", table=table, target=dataset.target, **common)
        else:
            rows = Path(folder) / "rows.npz"
            export_rows(prepared, rows)
            answer = process.call(call="run", rows=str(rows), task=prepared.task.kind, **common)
    fold = prepared.folds[0]
    return {**answer, "rows": [len(fold.train), len(fold.valid), len(prepared.rows.test)]}


def stored(folder: Path) -> Results[Search]:
    """The searches in a folder made with the current code and versions."""
    return Results(folder, Search, lambda job: _code(job.method))


def report(
    answers: Sequence[Sequence[Mapping[str, Any]]], methods: Sequence[Method], seconds: int
) -> tuple[str, dict[str, object]]:
    """Markdown and plain values of the answers by method and seed."""
    at = [share * seconds for share in SHARES]
    courses = [[Course.of(answer["events"], seconds) for answer in seeds] for seeds in answers]
    losses = np.array([[[course.at(time) for time in at] for course in of] for of in courses])
    rows = []
    for chosen, of, found, low in zip(methods, courses, answers, losses, strict=True):
        legs = np.median([len(course.times) for course in of])
        test = spread(np.array([answer["test"] for answer in found]))
        whole = max(answer["whole"] for answer in found)
        rows.append([chosen.title, *map(spread, low.T), f"{legs:.0f}", test, f"{whole:.0f} s"])
    columns = [f"{time:g} s" for time in at]
    header = ["", *columns, "legs in time", "winner on the held-out rows", "whole call, at most"]
    parts = [
        "Best validation loss so far, median (minimum to maximum over seeds)\n",
        table(header, rows),
        *_difference_section(methods, losses, columns),
    ]
    values: dict[str, object] = {
        "methods": [chosen.name for chosen in methods],
        "at": at,
        "losses": losses.tolist(),
        "answers": answers,
    }
    return "\n".join(parts), values


def _difference_section(
    methods: Sequence[Method], losses: FloatArray, columns: Sequence[str]
) -> Iterator[str]:
    """Losses `(methods, seeds, times)` compared with those of `REFERENCE`, if it was run."""
    names = [chosen.name for chosen in methods]
    if REFERENCE not in names or len(names) == 1:
        return
    other = names.index(REFERENCE)
    yield (
        f"\nDifference to the loss of {methods[other].title} on the same split; below 0 is better\n"
    )
    differences = zip(methods, losses - losses[other], strict=True)
    rows = [[chosen.title, *map(spread, of.T)] for chosen, of in differences]
    yield table(["", *columns], [row for i, row in enumerate(rows) if i != other])


def spread(values: FloatArray) -> str:
    """`median (minimum to maximum)` of losses, or `none yet` if a search had none."""
    if not np.isfinite(values).all():
        return "none yet"
    return f"{np.median(values):.4f} ({values.min():.4f} to {values.max():.4f})"


def picture(
    answers: Sequence[Sequence[Mapping[str, Any]]],
    methods: Sequence[Method],
    seconds: int,
    metric: str,
    path: Path,
) -> None:
    """Draw the lowest loss so far over logarithmic seconds, one panel per seed."""
    seeds = min(len(answers[0]), PANELS)
    figure = Figure(figsize=(1.2 + 4.4 * seeds, 3.8), layout="constrained")
    for seed, axes in enumerate(np.atleast_1d(figure.subplots(1, seeds))):
        courses = [Course.of(of[seed]["events"], seconds) for of in answers]
        for chosen, course in zip(methods, courses, strict=True):
            color, style = LINES.get(chosen.name, (INK, ":"))
            # the last loss holds until the end of the time
            times = np.append(course.times, seconds)
            best = np.append(course.best, course.at(seconds))
            axes.step(
                times,
                best,
                where="post",
                color=color,
                linestyle=style,
                linewidth=1.8,
                label=_plain(chosen),
            )
        _dress(axes, courses, seconds)
        axes.set_title(f"seed {seed}", color=INK)
    figure.axes[0].set_ylabel(f"lowest validation loss ({_loss_name(metric)})", color=INK)
    figure.axes[0].legend(frameon=False, labelcolor=INK)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, transparent=True)


def window(courses: Sequence[Course], seconds: float) -> tuple[float, float] | None:
    """The range of losses to draw: from the lowest to the highest after 1/16 of the time.

    Higher losses of the first seconds would make the rest indistinguishable. None without losses.
    """
    ends = [course.at(seconds) for course in courses]
    starts = [course.at(seconds / 16) for course in courses]
    shown = [loss for loss in (*ends, *starts) if math.isfinite(loss)]
    if not shown:
        return None
    low, high = min(shown), max(shown)
    margin = 0.05 * (high - low) or 0.01 * abs(low) or 1.0
    return low - margin, high + margin


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks wallclock", description=__doc__)
    add_datasets_option(parser)
    parser.add_argument("--table", default="adult_income")
    parser.add_argument("--metric", choices=METRICS, default="log_loss")
    parser.add_argument(
        "--methods", nargs="+", default=list(CLOCKED), help=f"of {', '.join(CLOCKED)}"
    )
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2, help="our processes, or FLAML's threads")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_SECONDS} seconds, one seed")
    parser.add_argument(
        "--image", type=Path, default=None, help=f"instead of {IMAGE.relative_to(ROOT)}"
    )
    parser.add_argument("--output", type=Path, default=None, help="folder of the results")
    return parser


def main(arguments: Sequence[str]) -> None:
    """Run the searches that are missing one by one, print the tables and draw the picture."""
    options = _parser().parse_args(arguments)
    if options.quick:
        options.seconds, options.seeds = QUICK_SECONDS, 1
    if options.seconds < 1 or options.seeds < 1:
        raise UserError(
            f"seconds={options.seconds} and seeds={options.seeds} must be 1 or greater; "
            "leave them out for 120 and 2"
        )
    methods = [method(text, CLOCKED) for text in options.methods]
    folder = options.output or cache_folder() / "results"
    answers = _answers(methods, stored(folder / "wallclock"), options)
    default = folder / "wallclock.png" if options.quick else IMAGE
    picture(answers, methods, options.seconds, options.metric, options.image or default)
    train, valid, test = answers[0][0]["rows"]
    intro = (
        f"{options.table}: {train:,} training, {valid:,} validation and {test:,} held-out rows; "
        f"{_loss_name(options.metric)}; {options.seconds} s, {options.workers} workers (ours) "
        f"or threads (FLAML), {options.seeds} seed(s), each with its own split.\n\n"
    )
    text, values = report(answers, methods, options.seconds)
    write(folder, "wallclock", intro + text, values | {"machine": machine()})


def _answers(
    methods: Sequence[Method], results: Results[Search], options: argparse.Namespace
) -> list[list[Mapping[str, Any]]]:
    """The answers by method and seed; searches without a stored one are run."""
    dataset = find_dataset(options.datasets, options.table)
    answers: list[list[Mapping[str, Any]]] = [[] for _ in methods]
    limits = (options.seconds, options.workers)
    for seed in range(options.seeds):
        prepared = Source(dataset.path, dataset.target, seed=seed).prepare()  # as `tune`
        metric_for(options.metric, prepared.task.kind, prepared.y)
        for chosen, of in zip(methods, answers, strict=True):
            job = Search(chosen.name, options.table, options.metric, *limits, seed)
            if job not in results.answers:
                results.add(job, measure(chosen, job, dataset, prepared))
                course = Course.of(results.answers[job]["events"], options.seconds)
                best = course.at(options.seconds)
                print(f"{chosen.name}, seed {seed}: {best:.4f}", file=sys.stderr, flush=True)
            of.append(results.answers[job])
    return answers


def _dress(axes: Axes, courses: Sequence[Course], seconds: int) -> None:
    axes.set(xlabel="seconds since the call", xscale="log")
    firsts = [float(course.times[0]) for course in courses if len(course.times)]
    axes.set_xlim(max(min(firsts, default=1.0), 0.1), seconds)
    if (shown := window(courses, seconds)) is not None:
        axes.set_ylim(*shown)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(visible=True, which="both", color=INK, alpha=0.2)
    axes.tick_params(which="both", colors=INK)
    axes.xaxis.label.set_color(INK)
    for spine in axes.spines.values():
        spine.set_color(INK)


def _loss_name(metric: str) -> str:
    return "1 - roc_auc" if metric == "roc_auc" else metric


def _plain(chosen: Method) -> str:
    return chosen.title.replace("**", "")


@cache
def _code(name: str) -> str:
    chosen = method(name, CLOCKED)
    files = [ROOT / "benchmarks" / "peers" / f"{chosen.module.replace('.', '/')}.py"]
    if chosen.environment is None:
        files += sorted(
            path for part in ("hpo", "pipelines", "serving") for path in (ROOT / part).rglob("*.py")
        )
    code = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]
    if chosen.environment:
        return f"{code}/{requirements_digest(chosen.environment)}"
    return f"{code}/lightgbm {version('lightgbm')}"
