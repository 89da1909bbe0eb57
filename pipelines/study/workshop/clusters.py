"""The cluster that runs the jobs of a study, by the options `executor`, `ray_address`, `slurm`."""

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hpo.errors import ParameterError, UserError, closest
from hpo.space.yaml import load, load_file
from hpo.workers.cores import WorkerPlan
from hpo.workers.remote.fleet import Shelf
from hpo.workers.remote.host import HostSetup
from hpo.workers.remote.pool import RemotePool
from pipelines.files.cache import cache_dir
from pipelines.files.reach import Mark, Reached, unreached
from pipelines.files.uris import safe
from pipelines.study.options import EXECUTORS, PROCESSES, RAY, SLURM, TuneOptions

if TYPE_CHECKING:
    from hpo.workers.ray import RayCluster, Share
    from hpo.workers.slurm import SlurmCluster

CUDA = "cuda"
_LIBRARIES = {RAY: "ray", SLURM: "submitit"}


class Cluster(Protocol):
    """Machines that run the jobs of a study.

    Attributes:
        title: its name, as shown to the user.
        shelf: what all workers have.
        shares_disk: whether the machines see the driver's own folder of checkpoints.
    """

    title: str
    shelf: Shelf
    shares_disk: bool

    def worker_plan(self, workers: int | None, threads: int | None = None) -> WorkerPlan:
        """The workers of a study.

        Args:
            workers: how many; None for as many as there is room for.
            threads: of each; None for as many as there is room for.

        Raises:
            ParameterError: when there is no such number.
        """
        ...

    def check(self, checkpoints: str | None) -> None:
        """Check that every machine can run workers, and reaches the place of the checkpoints.

        Raises:
            UserError: naming the machine that does not.
        """
        ...

    def open_pool(self, setup: HostSetup, worker_plan: WorkerPlan) -> RemotePool[Any, Any]:
        """Start workers."""
        ...


def mistakes(options: TuneOptions) -> dict[str, str]:
    """The mistakes in where a study is to run, by option."""
    return dict(_mistakes(options))


def _mistakes(options: TuneOptions) -> Iterator[tuple[str, str]]:
    executor = options.executor
    if executor not in EXECUTORS:
        hint = closest(executor, EXECUTORS)
        yield "executor", f"unknown executor {executor!r}{hint}; executors: {', '.join(EXECUTORS)}"
        return
    for name, wanted in (("ray_address", RAY), ("slurm", SLURM)):
        if getattr(options, name) is not None and executor != wanted:
            yield (
                name,
                f"{name} is for executor={wanted}, but executor={executor}; take "
                f"executor={wanted}, or leave {name} out",
            )
    library = _LIBRARIES.get(executor)
    if library is not None and importlib.util.find_spec(library) is None:
        yield (
            "executor",
            f"executor={executor} needs {library}, which is not installed; run "
            f'pip install "mlflow-warmstart[{executor}]"',
        )
        return
    try:
        if executor == RAY and options.ray_address is not None:
            from hpo.workers.ray import check_address

            check_address(options.ray_address)
        if executor == SLURM:
            from hpo.workers.slurm import check_settings

            check_settings(_settings(options))
    except UserError as error:
        yield "slurm" if executor == SLURM else "ray_address", str(error)
    if executor == SLURM and options.workers is None:
        yield "workers", "executor=slurm needs workers: how many jobs Slurm is asked for"


def _settings(options: TuneOptions) -> Mapping[str, Any]:
    """What Slurm is to be asked for.

    Raises:
        UserError: when it cannot be read.
    """
    given = options.slurm
    if isinstance(given, str | Path):
        text = str(given).strip()
        given = load(text, "slurm") if text.startswith("{") else load_file(Path(text))
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ParameterError(
            f"slurm={options.slurm!r} must be a YAML file or a mapping, such as "
            '{"partition": "cpu", "time": 240}'
        )
    return given


@contextmanager
def cluster_of(options: TuneOptions, device: str) -> Iterator[Cluster | None]:
    """Connect to the cluster of a study for as long as it runs; None for this machine.

    Args:
        options: of the study.
        device: what models are trained on.

    Raises:
        UserError: when it does not answer.
    """
    if options.executor == PROCESSES:
        yield None
        return
    if options.executor == SLURM:
        from hpo.workers.slurm import SlurmCluster

        slurm = SlurmCluster(_settings(options), (cache_dir() / "slurm").absolute())
        slurm.check()
        jobs = OnSlurm(slurm)
        try:
            yield jobs
        finally:
            jobs.close()
        return
    from hpo.workers.ray import connected

    with connected(options.ray_address) as cluster:
        places = OnRay(cluster, device)
        try:
            yield places
        finally:
            places.close()


class OnRay:
    """A Ray cluster."""

    title = "Ray"

    def __init__(self, cluster: "RayCluster", device: str) -> None:
        self._cluster = cluster
        self._device = device
        self._mark: Mark | None = None
        self.shelf = cluster.shelf
        self.shares_disk = False

    def worker_plan(self, workers: int | None, threads: int | None = None) -> WorkerPlan:
        """One CPU for each worker, or the CPUs divided among a given number of workers."""
        if workers is None:
            places = self._cluster.places(self._share(WorkerPlan(1, threads or 1)))
            return WorkerPlan(max(places, 1), threads or 1, fixed=False)
        if threads is None:
            threads = 1
            while self._cluster.places(self._share(WorkerPlan(workers, threads + 1))) >= workers:
                threads += 1
        return WorkerPlan(workers, threads)

    def check(self, checkpoints: str | None) -> None:
        """Ask every node that is there now."""
        self._mark = Mark.left(checkpoints or str(cache_dir() / "checkpoints"))
        answers = self._cluster.on_every_node(unreached, self._mark)
        away = {node: why for node, why in answers.items() if why}
        self.shares_disk = not away
        if away and checkpoints is not None:
            node, why = next(iter(away.items()))
            raise UserError(
                f"checkpoints={safe(checkpoints)} is not reached by {len(away)} of {len(answers)} "
                f"nodes of the Ray cluster, such as {node}: {why}; give a place that all nodes "
                "reach, such as s3://BUCKET/FOLDER or a folder on a shared disk"
            )

    def open_pool(self, setup: HostSetup, worker_plan: WorkerPlan) -> RemotePool[Any, Any]:
        """Start actors."""
        workers = worker_plan.workers if worker_plan.fixed else None
        if self._mark is not None and self.shares_disk:  # for nodes that join later
            setup = replace(setup, check=Reached(self._mark))
        return self._cluster.open_pool(setup, workers=workers, share=self._share(worker_plan))

    def close(self) -> None:
        """Remove the mark."""
        if self._mark is not None:
            self._mark.remove()

    def _share(self, worker_plan: WorkerPlan) -> "Share":
        """A GPU for each worker, or a part of one when there are more workers than GPUs."""
        from hpo.workers.ray import Share

        if self._device != CUDA:
            return Share(worker_plan.threads)
        gpus = sum(node["Resources"].get("GPU", 0) for node in self._cluster.nodes)
        crowd = -(-worker_plan.workers // max(int(gpus), 1)) if worker_plan.fixed else 1
        return Share(worker_plan.threads, 1.0 / max(crowd, 1))


class OnSlurm:
    """Jobs of Slurm, whose nodes share a disk with this machine."""

    title = "Slurm"

    def __init__(self, cluster: "SlurmCluster") -> None:
        self._cluster = cluster
        self._mark: Mark | None = None
        self.shelf = cluster.shelf
        self.shares_disk = True

    def worker_plan(self, workers: int | None, threads: int | None = None) -> WorkerPlan:
        """As many jobs as were asked for, with the CPUs that each of them has."""
        cpus = int(self._cluster.settings.get("cpus_per_task", 1))
        return WorkerPlan(workers or 1, threads or cpus)

    def check(self, checkpoints: str | None) -> None:
        """Leave a mark; each job looks for it before it takes work."""
        self._mark = Mark.left(checkpoints or str(cache_dir() / "checkpoints"))

    def open_pool(self, setup: HostSetup, worker_plan: WorkerPlan) -> RemotePool[Any, Any]:
        """Submit jobs."""
        if self._mark is not None:
            setup = replace(setup, check=Reached(self._mark))
        return self._cluster.open_pool(
            setup, workers=worker_plan.workers, threads=worker_plan.threads
        )

    def close(self) -> None:
        """Remove the mark."""
        if self._mark is not None:
            self._mark.remove()
