"""Who may import whom."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = ("hpo", "serving", "warmstart", "pipelines", "benchmarks", "tests")
MAY_IMPORT = {
    "hpo": {"hpo"},
    "serving": {"serving"},
    "warmstart": {"warmstart", "hpo"},
    "pipelines": {"pipelines", "hpo", "serving", "warmstart"},
    "benchmarks": {"benchmarks", "pipelines", "hpo", "serving", "warmstart"},
}
# Only these modules may import the library (a folder means all of it).
ONLY = {
    "hyperopt": ("hpo/samplers/hyperopt.py", "hpo/space/hyperopt", "benchmarks"),
    "lightgbm": ("pipelines/models/lightgbm.py", "serving/members.py", "benchmarks"),
    "xgboost": ("pipelines/models/xgboost.py", "serving/members.py", "benchmarks"),
    "torch": (
        "pipelines/models/mlp.py",
        "pipelines/models/network",
        "serving/network.py",
        "benchmarks",
    ),
    "mlflow": (
        "pipelines/adoption/store.py",
        "pipelines/store/bulk.py",
        "pipelines/store/knowledge.py",  # types only
        "pipelines/store/lease.py",
        "pipelines/registry/champions.py",
        "pipelines/registry/logged.py",
        "pipelines/store/outbox.py",
        "pipelines/store/parents.py",
        "pipelines/registry/versions.py",
        "pipelines/study/runs.py",
        "pipelines/store/storage.py",
        "pipelines/store/studies.py",
        "pipelines/store/tracking.py",
        "pipelines/study/validations.py",
        "pipelines/store/views.py",
        "pipelines/objectives/winner.py",
        "benchmarks",
    ),
    "pandas": ("pipelines", "serving", "warmstart", "benchmarks"),
    "sklearn": ("pipelines", "warmstart", "benchmarks"),
}


def modules() -> Iterator[Path]:
    for package in MAY_IMPORT:
        yield from sorted((ROOT / package).rglob("*.py"))


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
        elif isinstance(node, ast.ImportFrom):
            raise AssertionError(f"{path}: relative imports hide who imports whom")
    return found


@pytest.mark.parametrize("path", [*modules()], ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_stay_inside_the_borders(path: Path) -> None:
    place = path.relative_to(ROOT)
    used = imports(path)
    assert used & set(OURS) <= MAY_IMPORT[place.parts[0]]
    for library, allowed in ONLY.items():
        if library in used:
            assert any(place.is_relative_to(folder) for folder in allowed), (
                f"{place} imports {library}"
            )


def test_the_driver_starts_without_model_libraries() -> None:
    import subprocess
    import sys

    code = (
        "import sys, pipelines.tune, pipelines.train, pipelines.report; "
        "print([m for m in ('lightgbm', 'xgboost', 'torch', 'hyperopt', 'mlflow') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "[]"
