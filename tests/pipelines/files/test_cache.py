"""The cache is its owner's alone, also where others can write."""

import os
import stat
from pathlib import Path

import pytest

from hpo.errors import StudyError
from pipelines.files.cache import make_private, open_private, write_private
from pipelines.store.delivery.journal import Journal, sweep_journals
from pipelines.store.records import Record


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_folders_are_private_and_made_so(tmp_path: Path) -> None:
    make_private(tmp_path / "a" / "b")
    assert (mode(tmp_path / "a"), mode(tmp_path / "a" / "b")) == (0o700, 0o700)
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    make_private(tmp_path / "open")
    assert mode(tmp_path / "open") == 0o700


def test_links_are_not_followed(tmp_path: Path) -> None:
    target, file = tmp_path / "target", tmp_path / "file"
    target.mkdir()
    file.write_text("precious")
    for name, to in (("folder", target), ("linked", file)):
        (tmp_path / name).symlink_to(to)
    with pytest.raises(PermissionError):
        make_private(tmp_path / "folder")
    with pytest.raises(NotADirectoryError):
        make_private(file)
    with pytest.raises(OSError):
        open_private(tmp_path / "linked", os.O_WRONLY | os.O_CREAT)
    write_private(tmp_path / "linked", b"mine")
    assert file.read_text() == "precious"
    assert (tmp_path / "linked").read_bytes() == b"mine"
    assert mode(tmp_path / "linked") == 0o600


def test_a_journal_is_private_and_follows_no_link(tmp_path: Path) -> None:
    folder, precious = tmp_path / "outbox", tmp_path / "precious"
    precious.write_text("precious")
    journal = Journal(folder / "study.jsonl")
    journal.append(Record("a"))
    journal.rewrite([Record("a")])
    assert [mode(path) for path in sorted(folder.iterdir())] == [0o600, 0o600]
    journal.close()
    for name in ("other.jsonl", "third.lock"):
        (folder / name).symlink_to(precious)
        with pytest.raises(StudyError, match="set HPO_CACHE_DIR"):
            Journal(folder / name.replace("lock", "jsonl"))
    assert precious.read_text() == "precious"


def test_empty_journals_of_killed_drivers_are_swept(tmp_path: Path) -> None:
    live, full = Journal(tmp_path / "live.jsonl"), Journal(tmp_path / "full.jsonl")
    full.append(Record("a"))
    full.close()
    for name in ("dead.jsonl", "dead.lock", "alone.lock"):
        (tmp_path / name).touch()
    sweep_journals(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["full.jsonl", "full.lock", "live.jsonl", "live.lock"]
    live.close()
