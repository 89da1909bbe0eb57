"""`tune` at its defaults against other products, on the same rows and at the same seconds.

Every competitor is a process of its own that reads a file of training rows; its seconds count from
the start of the process until its model is ready to predict raw rows. Ours runs as users run it:
the table, the target, the timeout and the held-out rows, nothing else, on an empty tracking server.
It is ready when the command has ended, with the study, the model and the report logged. The same
held-out rows score all. One competitor runs at a time, and each answer is stored at once: the same
command goes on where it was stopped.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.datasets import add_datasets_option, find_dataset
from benchmarks.environments import cache as cache_folder
from benchmarks.methods import Method, method
from benchmarks.race.competitors import OURS, RACING, installed
from benchmarks.race.heats import Heat, digest, run
from benchmarks.race.splits import Split
from benchmarks.race.standings import Standings
from benchmarks.report import machine, write
from benchmarks.results import Results
from hpo.errors import UserError, closest

NAME = "tables-race"
TABLES = (
    *("phone_churn", "credit_approval", "german_credit", "hmda_mortgage"),
    *("bank_marketing", "caravan_insurance", "spambase", "credit_card_default"),
    *("eucalyptus", "splice_dna", "marketing_income", "hpc_jobs"),
    *("segment", "vehicle", "cmc_contraceptive", "letter"),
    *("ames_housing", "california_housing", "abalone", "coffee_quality"),
    *("colleges_usnews", "sacramento_housing", "kin8nm", "hotel_rates"),
)
QUICK = {"tables": ("german_credit",), "seconds": (10,), "splits": (0,)}


def main(arguments: Sequence[str]) -> None:
    """Run what is missing and print the standings.

    Raises:
        UserError: for an unknown table or peer.
    """
    options = _options(arguments)
    if options.cores:
        os.sched_setaffinity(0, options.cores)
    raced = [method(name, RACING) for name in [OURS, *options.peers]]
    methods, absent = installed(raced)
    folder = options.output or cache_folder() / "results"
    results = Results(folder / NAME, Heat, digest)
    for name in options.tables:
        for split in options.splits:
            _race(methods, name, split, options, results)
    text = [_introduction(options, absent)]
    for seconds in options.seconds:
        text.append(f"## {seconds} s\n\n{_standings(methods, options, seconds, results).text()}")
    heats = [asdict(heat) | dict(answer) for heat, answer in results.answers.items()]
    write(folder, NAME, "\n".join(text), {"heats": heats, "absent": absent, "machine": machine()})


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks {NAME}", description=__doc__)
    add_datasets_option(parser)
    parser.add_argument("--seconds", type=int, nargs="+", default=[60, 300])
    parser.add_argument("--tables", nargs="+", default=list(TABLES), help="their names")
    parser.add_argument("--splits", type=int, nargs="+", default=[0, 1])
    peers = [name for name in RACING if name != OURS]
    parser.add_argument("--peers", nargs="*", default=peers, help=f"of {', '.join(peers)}")
    parser.add_argument("--cores", type=int, nargs="+", help="the cores of all; all by default")
    parser.add_argument("--quick", action="store_true", help="one small table, 10 seconds")
    parser.add_argument("--output", type=Path, default=None, help="folder of the results")
    options = parser.parse_args(arguments)
    if options.quick:
        vars(options).update(QUICK)
    if min(options.seconds) < 1:
        raise UserError(f"seconds={min(options.seconds)} must be 1 or greater")
    for name in options.peers:
        if name not in peers:
            raise UserError(
                f"unknown peer {name!r}{closest(name, peers)}; known: {', '.join(peers)}"
            )
    for name in options.tables:
        find_dataset(options.datasets, name)
    return options


def _race(
    methods: Sequence[Method],
    name: str,
    number: int,
    options: argparse.Namespace,
    results: Results[Heat],
) -> None:
    """Run what is missing of one split of a table, in turns."""
    heats = [Heat(m.name, name, number, seconds) for seconds in options.seconds for m in methods]
    missing = [heat for heat in heats if heat not in results.answers]
    if not missing:
        return
    dataset = find_dataset(options.datasets, name)
    with tempfile.TemporaryDirectory() as temporary:
        split = Split.of(dataset, number, Path(temporary))
        for heat in missing:
            answer = run(method(heat.method, RACING), heat, dataset.target, split)
            results.add(heat, answer)
            print(f"{name}/{number}, {heat.seconds} s, {heat.method}: {answer}", file=sys.stderr)


def _standings(
    methods: Sequence[Method], options: argparse.Namespace, seconds: int, results: Results[Heat]
) -> Standings:
    answers = [
        [
            [results.answers[Heat(m.name, name, split, seconds)] for split in options.splits]
            for name in options.tables
        ]
        for m in methods
    ]
    return Standings.of(methods, options.tables, answers, seconds)


def _introduction(options: argparse.Namespace, absent: dict[str, str]) -> str:
    cores = len(os.sched_getaffinity(0))
    lines = [
        f"{len(options.tables)} tables, {len(options.splits)} split(s), {cores} core(s); held-out "
        "error by 1 - ROC AUC, log loss or RMSE; intervals are 95 % over tables.\n"
    ]
    lines += [f"Not raced: {RACING[name].title}: {why}\n" for name, why in absent.items()]
    return "\n".join(lines)
