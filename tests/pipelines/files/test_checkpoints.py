"""Checkpoints in any place: whole, private, and never more than what was written."""

import hashlib
import io
import os
import stat
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem

from hpo.errors import StudyError
from pipelines.files.checkpoints import (
    MAX_AGE,
    Checkpoints,
    StoredCheckpoint,
    checkpoint_place,
    superseded,
    sweep_places,
)
from pipelines.files.errors import CheckpointError

FILES = {"leg.json": b"{}", "fold-0/model.lgb": b"tree\n" * 1000, "fold-1/state.json": b"\x00\xff"}


def write(folder: Path) -> None:
    for name, content in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)


def read(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


@pytest.fixture(params=["path", "file", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Checkpoints]:
    folder = tmp_path / "some where" / "checkpoints"
    uris = {"path": str(folder), "file": f"file://{folder}", "memory": "memory://bucket/study"}
    checkpoints = Checkpoints(uris[request.param])
    yield checkpoints
    checkpoints.clear()


def test_what_is_saved_is_loaded(place: Checkpoints, tmp_path: Path) -> None:
    assert place.stored() == []
    for number, budget in ((12, 81.0), (3, 12.345679012345679), (3, 1.0)):
        place.save(number, budget, write)
    assert [(kept.number, kept.budget) for kept in place.stored()] == [
        (3, 1.0),
        (3, 12.345679012345679),
        (12, 81.0),
    ]
    assert all(5000 < kept.bytes < 6500 for kept in place.stored())
    assert read(place.load(3, 12.345679012345679, tmp_path / "out")) == FILES

    place.save(12, 81, lambda folder: (folder / "leg.json").write_bytes(b"later"))
    assert read(place.load(12, 81, tmp_path / "again")) == {"leg.json": b"later"}
    place.delete(12, 81)
    place.delete(12, 81)
    with pytest.raises(CheckpointError, match="the checkpoint of trial 12 at 81 is missing"):
        place.load(12, 81, tmp_path / "none")
    place.clear()
    assert place.stored() == []
    place.clear()


def test_a_remote_file_system_with_real_folders(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    remote = DirFileSystem(path=str(tmp_path), fs=LocalFileSystem())
    monkeypatch.setattr(fsspec.core, "url_to_fs", lambda _: (remote, "deep/study"))
    place = Checkpoints("sftp://host/deep/study")
    place.check()
    place.save(1, 9, write)
    assert [(kept.number, kept.budget) for kept in place.stored()] == [(1, 9.0)]
    assert read(place.load(1, 9, tmp_path / "out")) == FILES
    place.clear()
    assert place.stored() == []


def test_the_same_files_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        Checkpoints(str(tmp_path / name)).save(1, 2, write)
    (one,), (two,) = ([*(tmp_path / name).iterdir()] for name in ("one", "two"))
    assert one.name == two.name
    assert one.read_bytes() == two.read_bytes()


def test_local_files_are_private_and_leave_nothing_behind(tmp_path: Path) -> None:
    place = Checkpoints(str(tmp_path / "own"), scratch=tmp_path)
    place.save(1, 9, write)
    (file,) = (tmp_path / "own").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert [path.name for path in tmp_path.iterdir()] == ["own"]
    (tmp_path / "own" / f"{file.name}.abc").write_bytes(b"of a writer that was killed")
    assert [kept.number for kept in place.stored()] == [1]
    place.clear()
    assert not (tmp_path / "own").exists()


def test_clearing_keeps_what_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    place = Checkpoints(str(tmp_path))
    place.save(1, 9, write)
    place.clear()
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_every_changed_byte_and_every_cut_is_seen(tmp_path: Path) -> None:
    place = Checkpoints(str(tmp_path / "own"))
    place.save(1, 9, write)
    (file,) = (tmp_path / "own").iterdir()
    whole = file.read_bytes()
    for position in range(0, len(whole), 97):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        for content in (bytes(damaged), whole[:position]):
            file.write_bytes(content)
            with pytest.raises(CheckpointError, match="the checkpoint of trial 1 at 9 is damaged"):
                place.load(1, 9, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def forged(names: dict[str, bytes], packed: int = zipfile.ZIP_STORED) -> bytes:
    """A file whose sum is right, as one makes it who may write there."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", packed) as archive:
        for name, content in names.items():
            archive.writestr(zipfile.ZipInfo(name), content, packed)
    body = out.getvalue()
    head = b"mlflow-warmstart checkpoint 1, sha256 " + hashlib.sha256(body).hexdigest().encode()
    return head + b"\n" + body


@pytest.mark.parametrize(
    "name",
    [
        "../outside",
        "fold-0/../../outside",
        "/tmp/outside",
        "fold-0//x",
        "..",
        "a\\..\\b",
        "fold-0/",
        ".hidden",
        "C:/x",
    ],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    place = Checkpoints(str(tmp_path / "own"))
    place.save(1, 9, write)
    (file,) = (tmp_path / "own").iterdir()
    file.write_bytes(forged({"leg.json": b"{}", name: b"x"}))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CheckpointError, match="is damaged .it contains"):
        place.load(1, 9, tmp_path / "deep" / "out")
    assert sorted(tmp_path.rglob("*")) == before


def test_what_unpacks_to_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    place = Checkpoints(str(tmp_path / "own"))
    place.save(1, 9, write)
    (file,) = (tmp_path / "own").iterdir()
    file.write_bytes(forged({"leg.json": bytes(10_000_000)}, zipfile.ZIP_DEFLATED))
    with pytest.raises(CheckpointError, match="larger than the package itself"):
        place.load(1, 9, tmp_path / "out")


def test_a_place_that_cannot_be_written_is_told_before_the_study(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    place = Checkpoints(str(tmp_path / "file" / "below"))
    with pytest.raises(
        StudyError, match="checkpoints cannot be stored at .*file.below: .*give a place"
    ):
        place.check()
    with pytest.raises(CheckpointError, match="trial 1 at 9 cannot be written"):
        place.save(1, 9, write)
    with pytest.raises(CheckpointError, match="trial 1 at 9 cannot be read|is missing"):
        place.load(1, 9, tmp_path / "out")


def test_a_place_that_all_processes_share_passes(tmp_path: Path) -> None:
    for uri in (str(tmp_path / "path"), f"file://{tmp_path}/uri"):
        Checkpoints(uri).check()
        assert Checkpoints(uri).stored() == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    with pytest.raises(StudyError, match="each process has a memory of its own"):
        Checkpoints("memory://bucket/study").check()


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    def full(_: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(CheckpointError, match="trial 1 at 9 cannot be written .*No space left"):
        Checkpoints(str(tmp_path)).save(1, 9, full)


def test_a_defect_in_a_model_is_no_trouble_of_the_place(tmp_path: Path) -> None:
    def wrong(_: Path) -> None:
        raise KeyError("state")

    with pytest.raises(KeyError):
        Checkpoints(str(tmp_path)).save(1, 9, wrong)


def test_a_missing_driver_names_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(
        StudyError, match=r'Install s3fs to access S3.*pip install "mlflow-warmstart\[s3\]"'
    ):
        Checkpoints("s3://key:secret@bucket/study").check()
    with pytest.raises(CheckpointError, match="Install s3fs"):
        Checkpoints("s3://bucket/study").save(1, 9, write)


class Slow(DirFileSystem):  # type: ignore[misc]
    """A store that answers late, and with an error."""

    asked = 0

    def pipe_file(self, *_: object, **__: object) -> None:
        self.asked += 1
        time.sleep(1.2)
        raise ConnectionError("the endpoint is gone")


@pytest.mark.parametrize(
    ("patience", "why"), [(30.0, "the endpoint is gone"), (1.0, "no answer in 1 s")]
)
def test_a_store_that_keeps_silent_is_left_alone_for_a_while(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, patience: float, why: str
) -> None:
    remote = Slow(path=str(tmp_path), fs=LocalFileSystem())
    monkeypatch.setattr(fsspec.core, "url_to_fs", lambda _: (remote, "study"))
    monkeypatch.setattr("pipelines.files.objects.TIME_LIMIT", patience)
    place = Checkpoints("sftp://host/study")
    with pytest.raises(CheckpointError, match=f"trial 1 at 9 cannot be written .{why}.$"):
        place.save(1, 9, write)
    with pytest.raises(
        CheckpointError, match=f"trial 2 at 9 cannot be written .{why}; next attempt in 1. s"
    ):
        place.save(2, 9, write)
    with pytest.raises(CheckpointError, match=f"cannot be listed .{why}; next attempt in"):
        place.stored()
    assert remote.asked == 1


def test_buckets_are_not_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    remote = DirFileSystem(path=str(tmp_path), fs=LocalFileSystem())
    monkeypatch.setattr(fsspec.core, "url_to_fs", lambda _: (remote, "bucket/study"))
    with pytest.raises(StudyError, match="No such file"):
        Checkpoints("s3://bucket/study").check()
    assert list(tmp_path.iterdir()) == []


def test_no_password_is_shown() -> None:
    with pytest.raises(StudyError) as caught:
        Checkpoints("nowhere://key:secret@bucket/study?sig=secret").check()
    assert "secret" not in str(caught.value)


def test_the_local_place_is_in_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path))
    assert checkpoint_place("0123abc") == str(tmp_path / "checkpoints" / "0123abc")


def test_what_may_be_deleted_is_all_but_the_best_that_may_go_on() -> None:
    kept = [StoredCheckpoint(number, budget, 10) for budget in (3.0, 9.0) for number in range(30)]
    promotable = {3.0: [*range(10, 30)], 9.0: [4, 2]}

    def stay(promotable: Mapping[float, Sequence[int]], *busy: int) -> set[tuple[int, float]]:
        gone = superseded(kept, promotable, busy=busy)
        return {(k.number, k.budget) for k in kept} - {(k.number, k.budget) for k in gone}

    best = {(number, 3.0) for number in range(10, 30)} | {(4, 9.0), (2, 9.0)}
    assert stay(promotable) == best
    assert stay(promotable, 0) == best | {(0, 3.0), (0, 9.0)}
    assert stay({}) == set()


def test_checkpoints_that_nobody_went_on_with_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path))
    for name, age in (("old", MAX_AGE + 60), ("young", MAX_AGE - 60)):
        Checkpoints(checkpoint_place(name)).save(1, 9.0, lambda folder: None)
        os.utime(tmp_path / "checkpoints" / name, (time.time() - age,) * 2)
    sweep_places()
    assert [folder.name for folder in (tmp_path / "checkpoints").iterdir()] == ["young"]
