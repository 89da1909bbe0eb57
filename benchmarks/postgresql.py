"""A PostgreSQL server of its own, in a folder, where one is installed."""

import atexit
import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

USER = "postgres"  # the server refuses to run as root


def obstacle() -> str:
    """Why there can be no server; empty if there can."""
    if _binaries() is None:
        return "PostgreSQL is not installed: no initdb on the PATH or in /usr/lib/postgresql"
    if importlib.util.find_spec("psycopg") is None:
        return "psycopg, the driver of PostgreSQL, is not installed"
    return ""


def started() -> str:
    """The URI of an empty database; its server ends with this process."""
    binaries = _binaries()
    if binaries is None:
        raise RuntimeError(obstacle())
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if os.getuid() == 0:
        shutil.chown(folder, USER)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = folder / "data"
    _run(binaries / "initdb", "--auth=trust", f"--username={USER}", "--no-sync", f"--pgdata={data}")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    log = f"--log={folder / 'log'}"
    _run(binaries / "pg_ctl", "start", "-w", f"--pgdata={data}", log, f"--options={options}")
    stop = ("stop", "-w", f"--pgdata={data}", "--mode=immediate")
    atexit.register(_run, binaries / "pg_ctl", *stop)
    return f"postgresql://{USER}@127.0.0.1:{port}/postgres"


def another(uri: str, name: str) -> str:
    """The URI of a new database on the server of `uri`."""
    import psycopg

    with psycopg.connect(uri, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return f"{uri.rpartition('/')[0]}/{name}"


def _binaries() -> Path | None:
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "pg_ctl").exists()), None)


def _run(*command: str | Path) -> None:
    """Run a command of the server; as its own user if this one is root."""
    words = [*map(str, command)]
    if os.getuid() == 0:
        words = ["runuser", "-u", USER, "--", *words]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
