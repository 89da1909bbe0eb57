"""The peers' Python environments, created on first use, and worker processes in them.

The requirements of each environment are pinned in `peers/<name>.txt`.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.methods import Method
from hpo.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = Path(__file__).resolve().parent / "peers"
QUIET = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "PYTHONWARNINGS": "ignore",
    "PYTHONHASHSEED": "0",
}


class PeerError(UserError):
    """A peer's process failed."""


@dataclass
class Process:
    """A worker process (`benchmarks.worker`) of one method."""

    method: Method
    popen: "subprocess.Popen[str]"

    def call(self, **job: Any) -> dict[str, Any]:
        """Send one job and wait for its answer.

        Raises:
            PeerError: if the job raised an exception or the process ended.
        """
        if self.popen.stdin is None or self.popen.stdout is None:
            raise PeerError(f"{self.method.name}: the process has no pipes")
        print(json.dumps(job), file=self.popen.stdin, flush=True)
        line = self.popen.stdout.readline()
        if not line:
            raise PeerError(f"{self.method.name}: the process ended with code {self.popen.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise PeerError(f"{self.method.name} on {job}:\n{answer['error']}")
        return answer


def cache() -> Path:
    """The folder of environments and results: `BENCH_CACHE`, or `.bench` in the project."""
    return Path(os.environ.get("BENCH_CACHE", ROOT / ".bench"))


def python(environment: str | None) -> str:
    """The interpreter of a peer's environment (None: this one).

    The environment is created if it is missing or its requirements have changed.
    """
    if environment is None:
        return sys.executable
    requirements = REQUIREMENTS / f"{environment}.txt"
    folder = cache() / "environments" / f"{environment}-{requirements_digest(environment)}"
    interpreter = folder / "bin" / "python"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        print(f"creating the environment {environment} in {folder}", file=sys.stderr)
        _install(folder, interpreter, requirements)
        (folder / "complete").touch()
    return str(interpreter)


def requirements_digest(environment: str) -> str:
    """A digest of the requirements of an environment."""
    return hashlib.sha256((REQUIREMENTS / f"{environment}.txt").read_bytes()).hexdigest()[:12]


@contextmanager
def started(method: Method, folder: str | Path = ROOT) -> Iterator[Process]:
    """A worker of `method` in the working directory `folder`; it is killed on exit."""
    command = [
        python(method.environment),
        "-m",
        "benchmarks.worker",
        method.module,
        json.dumps(method.settings),
    ]
    environment = os.environ | QUIET | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=folder,
    ) as popen:
        try:
            yield Process(method, popen)
        finally:
            popen.kill()


def versions(environment: str | None, packages: tuple[str, ...]) -> dict[str, str]:
    """The versions of `packages` in an environment."""
    code = (
        "import json, sys; from importlib.metadata import version; "
        "print(json.dumps({name: version(name) for name in sys.argv[1:]}))"
    )
    done = subprocess.run(
        [python(environment), "-c", code, *packages],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


def main(arguments: Sequence[str]) -> None:
    """Create every environment and print its packages."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks environments", description=__doc__)
    parser.parse_args(arguments)
    for requirements in sorted(REQUIREMENTS.glob("*.txt")):
        names = [
            line.partition("==")[0].partition("[")[0]
            for line in requirements.read_text().splitlines()
        ]
        packages = tuple(name for name in names if name and not name.startswith("#"))
        found = versions(requirements.stem, packages)
        print(f"{requirements.stem}: {', '.join(f'{name} {v}' for name, v in found.items())}")


def _install(folder: Path, interpreter: Path, requirements: Path) -> None:
    uv = shutil.which(
        "uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    )
    if uv:
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
        subprocess.run(
            [uv, "pip", "install", "--quiet", "--python", interpreter, "-r", requirements],
            check=True,
        )
        return
    venv.create(folder, with_pip=True)
    subprocess.run([interpreter, "-m", "pip", "install", "--quiet", "-r", requirements], check=True)
