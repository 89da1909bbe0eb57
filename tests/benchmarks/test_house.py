"""Figures of a small made-up package, counted by hand."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.house import ROOT, Figures, Module, main, measure, read, under

SPACE = '''"""Docstring."""

import json
from hpo.other import LIMIT  # a comment


class Space:
    """Three lines
    of docstring.
    """

    def size(self, low: int, high: int) -> int:
        """Docstring."""
        return high - low

    def names(self) -> list[str]:
        return [f"x{i}" for i in range(LIMIT) if i]
'''
OTHER = """LIMIT = 3


def check(a, /, b, *, c):
    import hpo.space
    from hpo import space
    if a and b or c:
        return (
            a
        )
    return None
"""
TUNE = f"from hpo.space import Space\n\nSPACE = Space()  # {'x' * 100}\n"


@pytest.fixture
def modules(tmp_path: Path) -> list[Module]:
    files = {
        "hpo/__init__.py": "",
        "hpo/space.py": SPACE,
        "hpo/other.py": OTHER,
        "pipelines/tune.py": TUNE,
    }
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    return read(tmp_path)


def figures(modules: list[Module], *folders: str) -> Figures:
    return measure(under(modules, folders), {module.name for module in modules})


def test_figures_of_a_package(modules: list[Module]) -> None:
    found = figures(modules, "hpo")
    assert found.modules == 3
    assert found.code_lines == 7 + 9  # of space.py and other.py
    assert found.longest_function == 8
    assert found.median_function == 2
    # `for` and `if` of the comprehension; `if`, `and`, `or` of the other function
    assert found.decisions == pytest.approx(100 * 5 / 16)
    assert found.comprehensions == pytest.approx(100 * 1 / 16)
    assert found.tokens_of_a_line == pytest.approx(sum(m.tokens for m in modules[:3]) / 16)
    assert found.wide_lines == 0
    assert found.most_arguments == 3
    assert found.largest_class_lines == 8
    assert found.largest_class_methods == 2
    assert found.largest_file == 17
    assert found.most_files_in_a_folder == 2


def test_imports_of_modules_outside_the_folder_count(modules: list[Module]) -> None:
    assert figures(modules, "pipelines").fan_out == 1  # hpo.space
    # hpo.space imports hpo.other, and hpo.other imports hpo.space twice; hpo imports nothing
    assert figures(modules, "hpo").fan_out == pytest.approx(2 / 3)


def test_a_folder_without_functions_has_figures(modules: list[Module]) -> None:
    found = figures(modules, "pipelines")
    assert (found.code_lines, found.longest_function, found.most_arguments) == (2, 0, 0)
    assert found.wide_lines == pytest.approx(100 / 3)


def test_an_unknown_folder_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--under", "no/such/folder"])
    assert "no Python file under 'no/such/folder'" in capsys.readouterr().err


def test_an_installed_package_is_measured_beside_ours(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--under", "hpo/space", "--beside", "click", "scipy.cluster"])
    header, _, *rows = capsys.readouterr().out.splitlines()
    assert header == "| figure | now | click | scipy.cluster |"
    modules = next(row for row in rows if row.startswith("| modules |"))
    assert all(int(cell) > 1 for cell in modules.strip("| ").split(" | ")[1:])
    with pytest.raises(ModuleNotFoundError, match="nonsense is not installed"):
        main(["--beside", "nonsense"])


def test_no_other_library_is_needed() -> None:
    # -S: without site-packages
    command = [sys.executable, "-S", "-m", "benchmarks", "house", "--under", "hpo/space"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "| median_function |" in done.stdout
