"""Folders that are written all or nothing and read only when their SHA-256 agree."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hpo.arrays import FloatArray
from pipelines.models.errors import CheckpointError

_OWN = "manifest_sha256"


def write_files(
    directory: Path, files: Mapping[str, bytes], manifest: str, facts: Mapping[str, Any]
) -> None:
    """Put files and a JSON manifest (`facts`, each file's SHA-256 and its own) at `directory`, all or nothing.

    They are written and synced under a temporary name beside it; a directory that stands there is
    replaced.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    stated = {**facts, "sha256": hashes}
    text = json.dumps({**stated, _OWN: _sum_of(stated)}, indent=1, sort_keys=True, allow_nan=False)
    temporary = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        for name, content in [*files.items(), (manifest, text.encode())]:
            _write_synced(temporary / name, content)
        temporary.chmod(0o755)  # mkdtemp makes it private, but others may serve the model
        if directory.exists():
            shutil.rmtree(directory)
        temporary.rename(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _sync_directory(directory.parent)


def read_files(
    directory: Path, manifest: str, expected: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The manifest and the files it names, each checked against its SHA-256, the facts against `expected`.

    The native parsers end the process on a damaged file, so nothing reaches them unchecked.

    Raises:
        CheckpointError: when something is missing or differs.
    """
    try:
        facts = json.loads((directory / manifest).read_bytes())
        own = facts.pop(_OWN)
        files = {name: (directory / name).read_bytes() for name in facts["sha256"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{directory}: the checkpoint cannot be read ({error})") from error
    if own != _sum_of(facts):
        raise CheckpointError(
            f"{directory / manifest} is damaged: the checkpoint's SHA-256 is not the one in it"
        )
    for name, content in files.items():
        if hashlib.sha256(content).hexdigest() != facts["sha256"][name]:
            raise CheckpointError(
                f"{directory / name} is damaged: its SHA-256 is not the one in {manifest}"
            )
    differing = [key for key, value in expected.items() if facts.get(key) != value]
    if differing:
        raise CheckpointError(
            f"{directory}: the checkpoint has other {', '.join(differing)} than this trial"
        )
    return facts, files


def array_bytes(values: FloatArray) -> bytes:
    """An array in numpy's own format."""
    out = io.BytesIO()
    np.save(out, values, allow_pickle=False)
    return out.getvalue()


def array_from_bytes(content: bytes) -> FloatArray:
    """The array that `array_bytes` wrote."""
    values: FloatArray = np.load(io.BytesIO(content), allow_pickle=False)
    return values


def _sum_of(stated: Mapping[str, Any]) -> str:
    """The SHA-256 of what a manifest states, however it is laid out."""
    return hashlib.sha256(json.dumps(stated, sort_keys=True).encode()).hexdigest()


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
