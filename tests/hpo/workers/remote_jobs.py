"""Remote workers for tests: what they evaluate, and small clusters on this machine."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpo.workers.remote.host import HostSetup, Place
from hpo.workers.remote.pool import RemotePool
from tests.jobs import Job

NODE = {"num_cpus": 1, "object_store_memory": 80 << 20}


@dataclass(frozen=True)
class AtPlace:
    """Makes what evaluates jobs of `tests.jobs`, wherever the worker is."""

    make: Callable[[str], Callable[[Job], Any]]

    def __call__(self, place: Place) -> Callable[[Job], Any]:
        evaluate = self.make("spec")

        def answer(job: Job) -> Any:
            match job:
                case ("shared", name):
                    return {path.name: path.read_text() for path in (place.shared / name).iterdir()}
                case ("place",):
                    return str(place.shared), str(place.own)
            return evaluate(job)

        return answer


def setup(make: Callable[[str], Callable[[Job], Any]]) -> HostSetup:
    return HostSetup(secrets.token_hex(8), AtPlace(make), 1, ("tests.jobs",))


@contextmanager
def ray_cluster(nodes: int = 1) -> Iterator[Any]:
    """A cluster of raylets on this machine, with one CPU each."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    try:
        for _ in range(nodes - 1):
            cluster.add_node(**NODE)
        yield cluster
    finally:
        cluster.shutdown()


@contextmanager
def slurm_pool(
    make: Callable[[str], Callable[[Job], Any]], folder: Path, workers: int = 1
) -> Iterator[RemotePool[Job, Any]]:
    """Workers in submitit's local jobs."""
    from hpo.workers.slurm import SlurmCluster

    cluster = SlurmCluster({"cluster": "local"}, folder)
    cluster.check()
    with cluster.open_pool(setup(make), workers=workers, threads=1) as pool:
        yield pool
