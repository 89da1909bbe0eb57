"""What the system refuses is one line with the path and the way out."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from hpo.errors import UserError
from pipelines.files import refused
from pipelines.files.errors import NotWrittenError
from pipelines.files.exchange import Exchange
from pipelines.files.refused import refusals_told, why_refused


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            OSError(errno.EROFS, "Read-only file system", "/mlruns/0"),
            "cannot write /mlruns/0 (Read-only file system); make it writable",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", b"/data"),
            "cannot write /data (Permission denied); give this user the right to write there",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", "s3://me:secret@host/x"),
            "cannot write s3://***@host/x (No space left on device); free space there",
        ),
        (OSError(errno.EMFILE, "Too many open files", "/x"), "ulimit -n"),
        (
            OSError(errno.ENAMETOOLONG, "File name too long", "[" * 20_000),
            "[[… (File name too long); give the path of a file",
        ),
        (MemoryError("Unable to allocate 7.45 GiB"), "Unable to allocate 7.45 GiB"),
        (MemoryError(), "use a machine with more, fewer workers, or fewer rows"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "the memory of this process ran out"),
        (NotWrittenError("cannot write there; free space"), "cannot write there; free space"),
    ],
)
def test_a_refusal_has_the_path_and_the_way_out(error: BaseException, words: str) -> None:
    told = why_refused(error)
    assert told is not None
    assert words in told
    assert "\n" not in told
    with pytest.raises(UserError) as caught, refusals_told():
        raise error
    assert str(caught.value) == told


@pytest.mark.parametrize("error", [ValueError("x"), BrokenPipeError(errno.EPIPE, "pipe")])
def test_other_errors_are_left_alone(error: Exception) -> None:
    assert why_refused(error) is None
    with pytest.raises(type(error)), refusals_told():
        raise error


def test_a_full_disk_without_a_path_is_looked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(refused, "_NEARLY_FULL", 1 << 62)
    assert str(tmp_path) in str(why_refused(OSError(errno.ENOSPC, "No space left on device")))


def _no_space(folder: Path) -> None:
    (folder / "a").write_text("half")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _cut_short(folder: Path) -> None:
    if not (full := Path("/dev/full")).exists():
        pytest.skip("there is no /dev/full")
    with full.open("wb") as file:
        np.ones(100_000).tofile(file)


@pytest.mark.parametrize("write", [_no_space, _cut_short])
def test_a_folder_that_does_not_fit_into_the_exchange_is_named(
    tmp_path: Path, write: object
) -> None:
    exchange = Exchange(str(tmp_path))
    exchange.put("models", lambda folder: (folder / "a").write_text("before"))
    words = rf"cannot write .*{tmp_path.name} \(No space left on device\); free space there"
    with pytest.raises(NotWrittenError, match=words):
        exchange.put("models", write)  # type: ignore[arg-type]
    assert (exchange.get("models") / "a").read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["models"]
