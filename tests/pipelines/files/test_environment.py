"""What code changes in its process does not reach what runs next."""

import os
import tempfile
from pathlib import Path

import pytest

from pipelines.files.environment import one_process, surroundings


def test_surroundings_are_restored(tmp_path: Path) -> None:
    folder, mask, temporary = Path.cwd(), os.umask(0o022), tempfile.gettempdir()
    with surroundings():
        os.chdir(tmp_path)
        os.umask(0o777)
        tempfile.tempdir = "/nowhere"
    assert (Path.cwd(), os.umask(mask), tempfile.gettempdir()) == (folder, 0o022, temporary)


def test_a_folder_that_is_gone_is_left(tmp_path: Path) -> None:
    folder, before = tmp_path / "folder", Path.cwd()
    folder.mkdir()
    with surroundings():
        os.chdir(folder)
        folder.rmdir()
    assert Path.cwd() == before


@pytest.mark.parametrize("error", [None, ValueError, SystemExit])
def test_a_forked_process_ends_where_it_comes_back(error: type[BaseException] | None) -> None:
    with one_process():
        child = os.fork()
        if child == 0 and error is not None:
            raise error
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == (0 if error is None else 1)
