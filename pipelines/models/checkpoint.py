"""Folders that are written atomically and read only if their SHA-256 sums match."""

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
from pipelines.files.errors import CheckpointError

_OWN = "manifest_sha256"


def write_files(
    directory: Path, files: Mapping[str, bytes], manifest: str, facts: Mapping[str, Any]
) -> None:
    """Write files and a JSON manifest to `directory`, atomically.

    The manifest holds `facts`, the SHA-256 of each file and its own. Everything is written and
    synced under a temporary name beside `directory`; an existing directory is replaced.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    sums = {name: _sha256(content) for name, content in files.items()}
    content = {**facts, "sha256": sums}
    text = json.dumps(
        {**content, _OWN: _sum_of(content)}, indent=1, sort_keys=True, allow_nan=False
    )
    temporary = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        for name, data in {**files, manifest: text.encode()}.items():
            _write_synced(temporary / name, data)
        temporary.chmod(0o755)  # mkdtemp makes it private, but another user may serve the model
        if directory.exists():
            shutil.rmtree(directory)
        temporary.rename(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _sync_directory(directory.parent)


def read_files(
    directory: Path, manifest: str, expected: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Read a manifest and the files that it names, and check them.

    Native parsers end the process on a damaged file, so every SHA-256 is checked before.

    Args:
        directory: What `write_files` wrote.
        manifest: The file name of the manifest.
        expected: Facts that the manifest must hold.

    Returns:
        The facts of the manifest, and the files by name.

    Raises:
        CheckpointError: if something is missing, damaged or differs from `expected`.
    """
    facts, own, files = _read(directory, manifest)
    if own != _sum_of(facts):
        raise CheckpointError(
            f"{directory / manifest} is damaged: the checkpoint does not match its own SHA-256"
        )
    for name, content in files.items():
        if _sha256(content) != facts["sha256"][name]:
            raise CheckpointError(
                f"{directory / name} is damaged: its SHA-256 is not the one in {manifest}; the "
                "checkpoint cannot be used"
            )
    differing = [key for key, value in expected.items() if facts.get(key) != value]
    if differing:
        raise CheckpointError(
            f"{directory}: the checkpoint has other {', '.join(differing)} than this trial"
        )
    return facts, files


def _read(directory: Path, manifest: str) -> tuple[dict[str, Any], Any, dict[str, bytes]]:
    """The facts of a manifest, its own sum, and the files that it names; all unchecked."""
    try:
        facts = json.loads((directory / manifest).read_bytes())
        own = facts.pop(_OWN)
        files = {name: (directory / name).read_bytes() for name in facts["sha256"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{directory}: the checkpoint cannot be read ({error})") from error
    return facts, own, files


def array_bytes(values: FloatArray) -> bytes:
    """An array in numpy's `.npy` format."""
    out = io.BytesIO()
    np.save(out, values, allow_pickle=False)
    return out.getvalue()


def array_from_bytes(content: bytes) -> FloatArray:
    """The array that `array_bytes` wrote."""
    values: FloatArray = np.load(io.BytesIO(content), allow_pickle=False)
    return values


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _sum_of(facts: Mapping[str, Any]) -> str:
    """The SHA-256 of a manifest's facts, independent of their layout in the file."""
    return _sha256(json.dumps(facts, sort_keys=True).encode())


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
