"""What the user's code prints."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.objectives.code.printed import (
    place,
    printed_since,
    printed_so_far,
    printed_to,
    taken,
)


def test_python_c_and_children_print_to_the_file_of_a_leg(tmp_path: Path) -> None:
    path = place(tmp_path, 7, 27.0)
    with printed_to(path):
        os.write(1, b"python\n")
        os.write(2, b"library\n")
        start = printed_so_far()
        subprocess.run([sys.executable, "-c", "print('child')"], check=True)
        assert printed_since(start) == "child\n"
    os.write(1, b"not in the file\n")
    assert taken(path) == "python\nlibrary\nchild\n"
    assert not path.exists()


def test_a_leg_that_prints_nothing_leaves_no_file(tmp_path: Path) -> None:
    path = place(tmp_path, 0, 1)
    with printed_to(path):
        pass
    assert not path.exists()
    assert taken(path) == ""


@pytest.mark.parametrize("size", [10, 65_535, 65_536, 65_537, 200_000])
def test_a_long_text_keeps_its_beginning_and_its_end(tmp_path: Path, size: int) -> None:
    path, text = tmp_path / "x.txt", "".join(str(i % 10) for i in range(size))
    path.write_text(text)
    found = taken(path)
    if size <= 65_536:
        assert found == text
    else:
        assert found.startswith(text[:32_768])
        assert found.endswith(text[-32_768:])
        assert f"… {size - 65_536:,} bytes are left out …" in found
