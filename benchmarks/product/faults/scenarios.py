"""Each fault: how it is made, and what is tried with it."""

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.product.faults.check import n_legs, study_of
from benchmarks.product.faults.place import PATIENCE, Course, Place
from benchmarks.product.faults.processes import Driver, children, faulty, tree, until

_KILLS = (3, 7)  # in one study
_AWAY = 6.0  # seconds
_WATCH = 1.0  # seconds in which the lease of a driver on another machine must change
_LARGE = 64  # MB of a disk that has room


class NotTriedError(Exception):
    """The fault cannot be made here."""


@dataclass
class Result:
    """Of one fault.

    Attributes:
        tried: how often.
        lost: what went wrong, one text for each try that was not survived.
        skipped: why it was not tried.
    """

    tried: int = 0
    lost: list[str] = field(default_factory=list)
    skipped: str = ""

    def add(self, problems: list[str], tries: int = 1) -> None:
        """Count tries that had these problems, at least one if there are some."""
        tries = max(tries, 1) if problems else tries
        self.tried += tries
        if problems:
            self.lost += ["; ".join(problems)] * tries


def killed_drivers(place: Place, algorithm: str, tries: int, seed: int, *, http: bool) -> Result:
    """`kill -9` of drivers at any moment: starting, searching, logging the winner, reporting."""
    result, rng = Result(), random.Random(seed)
    while result.tried < tries:
        course = place.course(algorithm, rng.randrange(1000), http=http)
        kills, wanted = 0, min(rng.randint(*_KILLS), tries - result.tried)
        while kills < wanted:
            driver = course.start()
            killed = _kill_somewhere(driver, rng)
            course.note(driver)
            kills += killed
            if not killed:  # it was faster, or the study is at its end
                break
        result.add(course.finish(), kills)
    return result


def _kill_somewhere(driver: Driver, rng: random.Random) -> bool:
    """Kill a driver some time after it begins, has a result, or has a winner."""
    moments: list[tuple[float, Callable[[str], bool], float]] = [
        (0.15, lambda text: True, 4.0),
        (0.65, lambda text: n_legs(text) > 0, 1.5),
        (0.2, lambda text: "\nwinner: " in text or "making the report" in text, 1.0),
    ]
    (_, condition, longest) = rng.choices(moments, [share for share, _, _ in moments])[0]
    if not driver.waits_for(condition, PATIENCE):
        return False
    if driver.wait(rng.uniform(0, longest)) is not None:
        return False
    driver.kill()
    return True


def killed_workers(place: Place, algorithm: str, tries: int, seed: int) -> Result:
    """`kill -9` of workers while they train, and of their fork server."""
    result, rng = Result(), random.Random(seed)
    while result.tried < tries:
        course = place.course(algorithm, rng.randrange(1000))
        trials = 3 * place.trials
        driver = course.start(trials=trials)
        driver.waits_for(lambda text: n_legs(text) > 1, PATIENCE)
        kills, wanted = 0, min(3, tries - result.tried)
        while kills < wanted and driver.wait(rng.uniform(0.1, 0.6)) is None:
            kills += _kill_worker(driver, rng)
        code = course.ends(driver)
        problems = course.problems(trials) if code == 0 else course.finish(trials=trials)
        result.add(problems, kills)
    return result


def _kill_worker(driver: Driver, rng: random.Random) -> bool:
    servers = children(driver.pid)
    workers = [worker for server in servers for worker in children(server)]
    targets = servers if rng.random() < 0.2 else workers
    if not targets:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(rng.choice(targets), signal.SIGKILL)
        return True
    return False


def spoiled(place: Place, algorithm: str, tries: int, seed: int, **shares: float) -> Result:
    """A server of which a share of the answers is refused, lost, cut, empty or slow."""
    result = Result()
    for k in range(tries):
        course = place.course(algorithm, seed + k, http=True)
        with faulty(place.server, seed + k, shares, course.folder) as proxy:
            course.uri = proxy.uri
            result.add(course.finish())
    return result


def outages(place: Place, algorithm: str, tries: int, seed: int, *, how: str) -> Result:
    """A server that is away, hangs, or does not come back before the user stops the study."""
    result = Result()
    for k in range(tries):
        course = place.course(algorithm, seed + k, http=True)
        with faulty(place.server, seed + k, {}, course.folder) as proxy:
            course.uri = proxy.uri
            driver = course.start()
            driver.waits_for(lambda text: n_legs(text) > 1, PATIENCE)
            if how == "hangs":
                proxy.signal(signal.SIGSTOP)
            else:
                proxy.stop()
            problems = _stopped(driver) if how == "stopped" else []
            driver.wait(_AWAY)
            if how == "hangs":
                proxy.signal(signal.SIGCONT)
            else:
                proxy.start()
            code = course.ends(driver)
            result.add(problems + (course.problems() if code == 0 else course.finish()))
    return result


def _stopped(driver: Driver) -> list[str]:
    """Ctrl-C twice, and what is wrong with the end."""
    for _ in range(2):
        driver.signal(signal.SIGINT)
        driver.wait(1.5)
    began = time.monotonic()
    driver.wait(20)
    took = time.monotonic() - began
    return [f"it ended {took:.0f} s after the second Ctrl-C"] if took > 5 else []


def frozen(place: Place, algorithm: str, tries: int, seed: int, *, http: bool) -> Result:
    """A driver on another machine is frozen; another one takes the study over and finishes it."""
    result = Result()
    for k in range(tries):
        course = place.course(algorithm, seed + k, http=http)
        first = course.start(
            change=_as_other_machine, environment={"HPO_CACHE_DIR": str(course.folder / "other")}
        )
        first.waits_for(lambda text: n_legs(text) > 1, PATIENCE)
        _freeze(first, course.database)
        course.printed.study = study_of(first.text)
        course.age_lease()
        second = course.start(change=_watch_briefly)
        code = course.ends(second)
        processes = tree(first.pid)
        for pid in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        late = first.wait(60)
        problems = course.problems() if code == 0 else [f"the second driver ended with {code}"]
        if late != 2 or "was taken over by another driver" not in first.text:
            problems.append(f"the first driver ended with {late}: {first.text[-200:]}")
            first.kill()
        result.add(problems)
    return result


def _as_other_machine() -> None:
    from pipelines.store import lease

    lease.machine = lambda: "another machine"


def _watch_briefly() -> None:
    from pipelines.store import lease

    lease.WATCH = _WATCH


def _freeze(driver: Driver, database: str) -> None:
    """Stop a driver and its workers, while it does not hold the lock of an SQLite database."""
    path = database.removeprefix("sqlite:///")

    def stopped() -> bool:
        for pid in tree(driver.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        if path == database:
            return True
        with contextlib.closing(sqlite3.connect(path, timeout=0.5)) as store:
            try:
                store.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                driver.signal(signal.SIGCONT)
                return False
        return True

    until(stopped, PATIENCE)


def full_disks(place: Place, algorithm: str, tries: int, seed: int, *, what: str) -> Result:
    """A disk that fills up, or becomes read-only, in the middle of a study; later it has room."""
    if place.postgresql:
        raise NotTriedError("the files of PostgreSQL belong to its server")
    result = Result()
    for k in range(tries):
        course = place.course(algorithm, seed + k)
        with _disk(course.folder / "disk", _SIZES[what]) as disk:
            _use(course, disk, what)
            driver = course.start()
            driver.waits_for(lambda text: n_legs(text) > 1, PATIENCE)
            disk.fill()
            code = course.ends(driver)
            disk.free()
            fine = code == 0 or (code == 2 and "\nerror: " in f"\n{driver.text}")
            problems = [] if fine else [f"exit code {code}: {driver.text[-300:]}"]
            result.add(problems + course.finish())
    return result


_SIZES = {"database": 3, "cache": 1, "temporary folder": 4, "artifacts": 8}  # MB


def _use(course: Course, disk: "_Disk", what: str) -> None:
    """Let a study use the disk."""
    match what:
        case "database":
            database = course.place.database(disk.path / "mlflow.db", course.folder)
            course.database = course.uri = f"sqlite:///{database}"
        case "cache":
            course.environment["HPO_CACHE_DIR"] = str(disk.path / "cache")
        case "temporary folder":
            course.environment["TMPDIR"] = str(disk.path)
        case "artifacts":
            path = Path(course.database.removeprefix("sqlite:///"))
            course.place.database(path, disk.path)
            disk.becomes_read_only = True


@dataclass
class _Disk:
    path: Path
    becomes_read_only: bool = False

    @property
    def _filler(self) -> Path:
        return self.path / "filler"

    def fill(self) -> None:
        """Leave no room on it."""
        if self.becomes_read_only:
            _mount("-o", "remount,ro", str(self.path))
            return
        with contextlib.suppress(OSError), self._filler.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass

    def free(self) -> None:
        """Make room on it."""
        _mount("-o", f"remount,rw,size={_LARGE}m", str(self.path))
        self._filler.unlink(missing_ok=True)


@contextlib.contextmanager
def _disk(path: Path, megabytes: int) -> Iterator[_Disk]:
    """A small disk in memory.

    Raises:
        NotTriedError: when this user may not mount one.
    """
    path.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(path))
    try:
        yield _Disk(path)
    finally:
        until(lambda: _umounted(path), 20)


def _umounted(path: Path) -> bool:
    return subprocess.run(["umount", str(path)], capture_output=True, check=False).returncode == 0


def _mount(*arguments: str) -> None:
    try:
        subprocess.run(["mount", *arguments], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise NotTriedError("only root can mount small disks") from error


@dataclass(frozen=True)
class Fault:
    """A row of the table.

    Attributes:
        name: as printed.
        run: makes the fault `tries` times.
        tries: how often, in the whole table.
        quick: how often, in the short form.
    """

    name: str
    run: Callable[[Place, int, int], Result]
    tries: int
    quick: int = 0


def _fault(
    name: str,
    scenario: Callable[..., Result],
    algorithm: str,
    tries: int,
    quick: int = 0,
    **options: Any,
) -> Fault:
    def run(place: Place, tries: int, seed: int) -> Result:
        try:
            return scenario(place, algorithm, tries, seed, **options)
        except NotTriedError as reason:
            return Result(skipped=str(reason))

    return Fault(name, run, tries, quick)


_CUTS: Mapping[str, Mapping[str, Any]] = {
    "answers cut in the head, 10 %": {"cut_head": 0.1},
    "answers cut in the body, 10 %": {"cut_body": 0.1},
    "empty answers, 10 %": {"empty": 0.1},
    "lost requests, 10 %": {"lose_request": 0.1},
    "lost answers, 10 %": {"lose_answer": 0.1},
}
_ALL: Mapping[str, Any] = {
    "refuse": 0.1,
    "lose_answer": 0.05,
    "cut_head": 0.05,
    "empty": 0.05,
    "cut_body": 0.05,
}
_SLOW: Mapping[str, Any] = {"slow": 1.0, "seconds": 0.4}

FAULTS = (
    _fault("driver killed, tpe, database", killed_drivers, "tpe", 60, http=False),
    _fault("driver killed, bohb, database", killed_drivers, "bohb", 60, 1, http=False),
    _fault("driver killed, tpe, HTTP", killed_drivers, "tpe", 20, http=True),
    _fault("driver killed, bohb, HTTP", killed_drivers, "bohb", 20, http=True),
    _fault("worker killed, tpe", killed_workers, "tpe", 24),
    _fault("worker killed, bohb", killed_workers, "bohb", 24, 1),
    _fault("server away for 6 s", outages, "tpe", 3, how="away"),
    _fault("server hangs for 6 s", outages, "bohb", 3, how="hangs"),
    _fault("server away, Ctrl-C twice", outages, "bohb", 3, how="stopped"),
    *(
        _fault(f"{share:.0%} refused", spoiled, algorithm, 2, refuse=share)
        for share, algorithm in ((0.05, "tpe"), (0.1, "bohb"), (0.3, "tpe"))
    ),
    *(_fault(name, spoiled, "bohb", 2, **shares) for name, shares in _CUTS.items()),
    _fault("all of these together, 30 %", spoiled, "bohb", 2, 1, **_ALL),
    _fault("each answer 0.4 s late", spoiled, "tpe", 1, **_SLOW),
    _fault("driver frozen and overtaken, database", frozen, "tpe", 3, 1, http=False),
    _fault("driver frozen and overtaken, HTTP", frozen, "bohb", 3, http=True),
    *(
        _fault(f"{what}: {how}", full_disks, algorithm, 2, what=what)
        for what, how, algorithm in (
            ("database", "disk full", "tpe"),
            ("cache", "disk full", "bohb"),
            ("temporary folder", "disk full", "tpe"),
            ("artifacts", "read-only", "tpe"),
        )
    ),
)
