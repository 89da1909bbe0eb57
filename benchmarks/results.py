"""Results stored as lines of JSON, and processes that compute the missing ones."""

import json
import queue
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Generic, TypeVar

from benchmarks.environments import Process, started
from benchmarks.methods import Method

PROGRESS_EVERY = 50  # jobs between two lines about the progress


@dataclass(frozen=True)
class MethodJob:
    """Work for one method; subclasses add the other attributes of a job."""

    method: str


JobT = TypeVar("JobT", bound=MethodJob)


class Results(Generic[JobT]):
    """Answers by job, stored as one JSON object per line, so that a run can be resumed.

    An answer is ignored if the digest of its job has changed since (because of other code, another
    version or another problem), or if the digest is now None.

    Args:
        folder: the folder of the files `<method>.jsonl`.
        job: the dataclass of the jobs.
        digest: a digest of everything that an answer depends on; None for unknown problems.
    """

    def __init__(self, folder: Path, job: type[JobT], digest: Callable[[JobT], str | None]) -> None:
        self._folder = folder
        self._job = job
        self._digest = digest
        self._lock = threading.Lock()
        self.answers: dict[JobT, Mapping[str, Any]] = {}
        for path in sorted(folder.glob("*.jsonl")):
            for line in path.read_text().splitlines():
                self._load(json.loads(line))

    def add(self, job: JobT, answer: Mapping[str, Any]) -> None:
        """Store one answer."""
        row = {**asdict(job), "digest": self._digest(job), **answer}
        with self._lock:
            self._load(dict(row))
            self._folder.mkdir(parents=True, exist_ok=True)
            with (self._folder / f"{job.method.replace('/', '_')}.jsonl").open("a") as file:
                file.write(json.dumps(row) + "\n")

    def _load(self, row: dict[str, Any]) -> None:
        job = self._job(**{field.name: row.pop(field.name) for field in fields(self._job)})
        if row.pop("digest") == self._digest(job):
            self.answers[job] = row


def work_off(
    jobs: Iterable[JobT],
    methods: Sequence[Method],
    results: Results[JobT],
    processes: int,
    call: Callable[[Process, JobT], Mapping[str, Any]],
    batch: int = 40,
) -> None:
    """Run the jobs without an answer, in parallel processes that each run one method.

    Args:
        jobs: all jobs.
        methods: the methods of the jobs.
        results: the stored answers; new ones are added.
        processes: the number of parallel processes.
        call: sends one job to a process of its method and returns the answer.
        batch: the number of jobs after which a process is replaced.
    """
    waiting: queue.Queue[tuple[Method, list[JobT]]] = queue.Queue()
    left = [job for job in jobs if job not in results.answers]
    for chosen in methods:
        mine = [job for job in left if job.method == chosen.name]
        for start in range(0, len(mine), batch):
            waiting.put((chosen, mine[start : start + batch]))
    done, lock = [0], threading.Lock()

    def work() -> None:
        while True:
            try:
                chosen, mine = waiting.get_nowait()
            except queue.Empty:
                return
            with started(chosen) as process:
                for job in mine:
                    results.add(job, call(process, job))
                    with lock:
                        done[0] += 1
                        if done[0] % PROGRESS_EVERY == 0 or done[0] == len(left):
                            print(f"{done[0]}/{len(left)} searches", file=sys.stderr, flush=True)

    with ThreadPoolExecutor(processes) as pool:
        for future in [pool.submit(work) for _ in range(processes)]:
            future.result()
