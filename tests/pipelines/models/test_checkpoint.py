import json
from pathlib import Path

import numpy as np
import pytest

from pipelines.files.errors import CheckpointError
from pipelines.models.checkpoint import array_bytes, array_from_bytes, read_files, write_files


def test_files_and_facts_are_read_back(tmp_path: Path) -> None:
    write_files(tmp_path / "deep" / "a", {"x": b"1", "y": b""}, "m.json", {"fact": 3})
    facts, files = read_files(tmp_path / "deep" / "a", "m.json", {"fact": 3})
    assert files == {"x": b"1", "y": b""}
    assert facts["fact"] == 3


def test_a_full_disk_leaves_the_old_checkpoint_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path / "a", {"x": b"old"}, "m.json", {})

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipelines.models.checkpoint.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_files(tmp_path / "a", {"x": b"new"}, "m.json", {})
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert read_files(tmp_path / "a", "m.json", {})[1] == {"x": b"old"}


@pytest.mark.parametrize(
    "manifest", ["", "[]", "{}", '{"sha256": 3}', '{"sha256": {"../b": "00"}}']
)
def test_an_invalid_manifest_is_refused(tmp_path: Path, manifest: str) -> None:
    (tmp_path / "m.json").write_text(manifest)
    with pytest.raises(CheckpointError, match=r"cannot be read|damaged"):
        read_files(tmp_path, "m.json", {})


def test_facts_that_differ_are_named(tmp_path: Path) -> None:
    write_files(tmp_path / "a", {}, "m.json", {"seed": 1, "params": {"b": 2.5}})
    read_files(tmp_path / "a", "m.json", json.loads('{"params": {"b": 2.5}}'))
    with pytest.raises(CheckpointError, match="other seed, data than this trial"):
        read_files(tmp_path / "a", "m.json", {"seed": 2, "params": {"b": 2.5}, "data": [1]})


def test_arrays_keep_every_bit() -> None:
    values = np.random.default_rng(0).normal(size=(5, 3)) * 1e-300
    assert np.array_equal(array_from_bytes(array_bytes(values)), values)
