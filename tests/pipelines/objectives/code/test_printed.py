"""What the user's code prints."""

import os
import subprocess
import sys
from pathlib import Path

from pipelines.files.excerpt import taken
from pipelines.objectives.code.printed import printed_since, printed_so_far, printed_to


def test_python_c_and_children_print_to_the_file_of_a_leg(tmp_path: Path) -> None:
    path = tmp_path / "printed" / "7-27.txt"
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
    path = tmp_path / "printed" / "0-1.txt"
    with printed_to(path):
        pass
    assert not path.exists()
    assert taken(path) == ""
