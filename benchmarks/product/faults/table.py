"""Faults on purpose: how many of them the studies survive.

Studies of a small table run through the product's own command, against a database (SQLite, or
PostgreSQL with --postgresql) and against an MLflow server, also behind a proxy that spoils answers.
Their drivers and workers are killed or frozen, servers go away, disks fill up. A try is survived if
the study ends, by itself or when it is resumed, and then MLflow has every trial exactly once with
the scores that were printed, nothing was trained twice, every run has the right status, and no
driver printed a traceback.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import postgresql
from benchmarks.environments import cache
from benchmarks.markdown import table
from benchmarks.product.faults.place import Place
from benchmarks.product.faults.processes import warm_up
from benchmarks.product.faults.scenarios import FAULTS, Fault, Result
from benchmarks.report import machine, write

QUICK_TRIALS = 6


def summary(found: Mapping[str, Result], seconds: Mapping[str, float]) -> str:
    """The table, and what went wrong below it."""
    rows = [
        [
            name,
            result.skipped and f"not tried: {result.skipped}" or str(result.tried),
            "" if result.skipped else str(result.tried - len(result.lost)),
            f"{seconds[name]:.0f}",
        ]
        for name, result in found.items()
    ]
    tried = sum(result.tried for result in found.values())
    survived = tried - sum(len(result.lost) for result in found.values())
    rows.append(["**all**", f"**{tried}**", f"**{survived}**", f"{sum(seconds.values()):.0f}"])
    lines = [table(["fault", "tried", "survived", "seconds"], rows)]
    for name, result in found.items():
        lines += [f"- {name}: {problem}" for problem in dict.fromkeys(result.lost)]
    return "\n".join(lines)


def chosen(words: Sequence[str]) -> list[Fault]:
    """The faults whose name has one of these words; all without any."""
    return [fault for fault in FAULTS if not words or any(word in fault.name for word in words)]


def main(arguments: Sequence[str]) -> None:
    """Try and print the table; exit with 1 when something was lost."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks faults", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="WORD", help="faults with one of these words"
    )
    parser.add_argument("--share", type=float, default=1.0, help="of the tries of each fault")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--postgresql", action="store_true", help="databases of a PostgreSQL server of its own"
    )
    parser.add_argument("--quick", action="store_true", help="a few faults, about a minute")
    parser.add_argument("--output", type=Path, default=None, help="folder of the results")
    options = parser.parse_args(arguments)
    if options.postgresql and (reason := postgresql.obstacle()):
        parser.error(reason)
    found: dict[str, Result] = {}
    seconds: dict[str, float] = {}
    warm_up()
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as folder:
        uri = postgresql.started() if options.postgresql else ""
        trials = {"trials": QUICK_TRIALS} if options.quick else {}
        place = Place(Path(folder), postgresql=uri, **trials)
        for fault in chosen(options.only):
            tries = fault.quick if options.quick else max(1, round(options.share * fault.tries))
            if not tries:
                continue
            began = time.monotonic()
            found[fault.name] = fault.run(place, tries, options.seed)
            seconds[fault.name] = time.monotonic() - began
            lost = found[fault.name].lost
            print(f"{fault.name}: {tries} tried, {len(lost)} lost", file=sys.stderr, flush=True)
    values = {
        "tried": {name: result.tried for name, result in found.items()},
        "lost": {name: result.lost for name, result in found.items()},
        "skipped": {name: result.skipped for name, result in found.items()},
        "seconds": seconds,
        "machine": machine(),
    }
    write(options.output or cache() / "results", "faults", summary(found, seconds), values)
    if any(result.lost for result in found.values()):
        sys.exit(1)
