"""Results kept as lines of JSON, and the processes that work off what is missing."""

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

SAY = 50  # jobs between two lines about the progress


@dataclass(frozen=True)
class MethodJob:
    """Work for one method; what else a job is made of is said by the dataclass that extends it."""

    method: str


JobT = TypeVar("JobT", bound=MethodJob)


class Results(Generic[JobT]):
    """Answers by job, one JSON object a line, so that a run goes on where it was stopped.

    A line whose digest is not that of its job today (the code, a version or the problem has changed
    since) is left out, as is one that `digest` answers with None for.

    Args:
        folder: holds `<method>.jsonl`.
        job: the dataclass of the jobs.
        digest: changes with all that an answer depends on.
    """

    def __init__(self, folder: Path, job: type[JobT], digest: Callable[[JobT], str | None]) -> None:
        self._folder = folder
        self._job = job
        self._digest = digest
        self._lock = threading.Lock()
        self.answers: dict[JobT, Mapping[str, Any]] = {}
        for path in sorted(folder.glob("*.jsonl")):
            for line in path.read_text().splitlines():
                self._keep(json.loads(line))

    def add(self, job: JobT, answer: Mapping[str, Any]) -> None:
        """Keep one answer."""
        row = {**asdict(job), "digest": self._digest(job), **answer}
        with self._lock:
            self._keep(dict(row))
            self._folder.mkdir(parents=True, exist_ok=True)
            with (self._folder / f"{job.method.replace('/', '_')}.jsonl").open("a") as file:
                file.write(json.dumps(row) + "\n")

    def _keep(self, row: dict[str, Any]) -> None:
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
    """Run what is missing, `processes` workers side by side, each with one method at a time.

    Args:
        jobs: what is wanted.
        methods: that the jobs name.
        results: has what is there already, and gets the rest.
        processes: how many.
        call: hands one job to a process of its method.
        batch: jobs that one process does before it ends.
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
                        if done[0] % SAY == 0 or done[0] == len(left):
                            print(f"{done[0]}/{len(left)} searches", file=sys.stderr, flush=True)

    with ThreadPoolExecutor(processes) as pool:
        for future in [pool.submit(work) for _ in range(processes)]:
            future.result()
