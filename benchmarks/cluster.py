"""How much of a Ray cluster a search uses, where trainings only sleep.

The nodes are raylets on this machine with one CPU each, so that eight of them fit on two cores.
What a driver and the workers compute competes with the raylets for these cores: on machines of
their own the shares can only be higher.
"""

import argparse
import os
import resource
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.markdown import table
from hpo.algorithms import algorithm
from hpo.loop import Job, Stop, run
from hpo.space import Float, SearchSpace
from hpo.storage import MemoryStorage
from hpo.study import Study
from hpo.trial import Report
from hpo.workers.remote.host import HostSetup, Place

_WAIT = 300.0  # seconds for all workers to be up
_OBJECT_STORE = 80 << 20  # bytes on each node


@dataclass(frozen=True)
class Sleeper:
    """Makes trainings that sleep, and report when they began and ended."""

    seconds: float

    def __call__(self, place: Place) -> Callable[[Job], Report]:
        """The evaluation of a job, wherever it runs."""
        return self.train

    def train(self, job: Job) -> Report:
        """Sleep."""
        began = time.time()
        time.sleep(self.seconds)
        return Report(job.to, float(job.params["x"]), {"began": began, "ended": time.time()})


@dataclass(frozen=True)
class Measured:
    """What one search took.

    Attributes:
        nodes: of the cluster, one place each.
        seconds: of a training.
        busy: the share of the places that trained, while trials were left to start.
        overhead: seconds between two trainings at one place.
        first: seconds from the start of the pool to the first result.
        cpu: CPU seconds of the driver for each trial.
    """

    nodes: int
    seconds: float
    busy: float
    overhead: float
    first: float
    cpu: float


def main(arguments: list[str]) -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks cluster", description=__doc__)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--seconds", type=float, nargs="+", default=[1.0, 0.05])
    parser.add_argument("--per-place", type=float, default=15.0, help="seconds of work for each")
    parser.add_argument("--out", type=Path, help="a file for the table")
    options = parser.parse_args(arguments)
    found: list[Measured] = []
    for nodes in options.nodes:
        found += measure(nodes, options.seconds, options.per_place)
        print(found[-len(options.seconds) :], file=sys.stderr, flush=True)
    text = shown(found)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


def measure(nodes: int, seconds: Sequence[float], per_place: float) -> list[Measured]:
    """Searches on a cluster of so many nodes, one for each length of a training."""
    from ray.cluster_utils import Cluster

    from hpo.workers.ray import connected

    size = {"num_cpus": 1, "object_store_memory": _OBJECT_STORE}
    cluster = Cluster(initialize_head=True, head_node_args={**size, "include_dashboard": False})
    try:
        for _ in range(nodes - 1):
            cluster.add_node(**size)
        with connected(cluster.address) as ours:
            return [_search(ours, nodes, each, per_place) for each in seconds]
    finally:
        cluster.shutdown()


def _search(cluster: Any, nodes: int, seconds: float, per_place: float) -> Measured:
    from hpo.workers.ray import Share

    trials = max(int(nodes * per_place / seconds), 2 * nodes)
    setup = HostSetup(secrets.token_hex(8), Sleeper(seconds), 1, ("benchmarks.cluster",))
    began = time.monotonic()
    with cluster.open_pool(setup, workers=None, share=Share(1)) as pool:
        pool.submit(Job(0, {"x": 0.0}, 0, 1)).result(_WAIT)
        first = time.monotonic() - began - seconds
        while pool.free < nodes:  # the figures are those of the full cluster
            if time.monotonic() - began > _WAIT:
                raise TimeoutError(f"{pool.size} of {nodes} workers are up after {_WAIT:g} s")
            time.sleep(0.05)
        warm = [pool.submit(Job(0, {"x": 0.0}, 0, 1)) for _ in range(nodes)]
        for future in warm:  # one at each place: its process is up
            future.result(_WAIT)
        sampler, scheduler = algorithm("random", rungs=(1,))
        space = SearchSpace((Float("x", 0.0, 1.0),))
        study = Study(space, sampler, scheduler, MemoryStorage(), seed=0, max_trials=trials)
        before = resource.getrusage(resource.RUSAGE_SELF)
        started = time.time()
        done = list(run(study, pool, stop=Stop()))
        after = resource.getrusage(resource.RUSAGE_SELF)
    reports = [trial.reports[0].metrics for trial in done]
    last = max(metrics["began"] for metrics in reports)  # afterwards places have nothing to do
    busy = sum(min(metrics["ended"], last) - metrics["began"] for metrics in reports)
    places = nodes * (last - started)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Measured(nodes, seconds, busy / places, (places - busy) / trials, first, used / trials)


def shown(found: Sequence[Measured]) -> str:
    """The figures as a Markdown table, with the size of the machine."""
    rows = [
        (
            str(each.nodes),
            f"{each.seconds:g} s",
            f"{100 * each.busy:.1f} %",
            f"{1000 * each.overhead:.1f} ms",
            f"{1000 * each.cpu:.1f} ms",
            f"{each.first:.1f} s",
        )
        for each in found
    ]
    head = ("raylets", "training", "places busy", "between trials", "driver's CPU", "first trial")
    cores, load = os.cpu_count(), os.getloadavg()[0]
    return f"{table(head, rows)}\n\n{cores} cores, load {load:.1f} at the end."
