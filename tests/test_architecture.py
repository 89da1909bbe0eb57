"""Who may import whom."""

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Collection, Iterator
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
    "cmaes": ("hpo/samplers/cmaes.py",),
    "optuna": (
        "hpo/samplers/optuna.py",
        "hpo/space/optuna.py",
        "pipelines/adoption/optuna.py",
        "benchmarks",
    ),
    "ray": ("hpo/samplers/ray.py", "hpo/space/ray.py", "hpo/workers/ray.py", "benchmarks"),
    "submitit": ("hpo/workers/slurm.py",),
    "lightgbm": ("pipelines/models/lightgbm.py", "serving/members.py", "benchmarks"),
    "xgboost": ("pipelines/models/xgboost.py", "serving/members.py", "benchmarks"),
    "catboost": ("pipelines/models/catboost.py", "serving/catboost.py", "benchmarks"),
    "torch": (
        "pipelines/models/mlp.py",
        "pipelines/models/network",
        "serving/network.py",
        "serving/preprocessing.py",
        "benchmarks",
    ),
    "mlflow": (
        "pipelines/adopt.py",  # types only
        "pipelines/store",
        "pipelines/adoption/store.py",
        "pipelines/registry/champions.py",
        "pipelines/registry/logged.py",
        "pipelines/registry/versions.py",
        "pipelines/study/runs.py",
        "pipelines/validation/runs.py",
        "pipelines/objectives/ending/winner.py",
        "pipelines/cli/backend.py",
        "pipelines/objectives/code",
        "pipelines/registry/user_models.py",
        "serving/pyfunc.py",  # its exception alone
        "benchmarks",
    ),
    "pandas": ("pipelines", "serving", "warmstart", "benchmarks"),
    "sklearn": ("pipelines", "warmstart", "benchmarks"),
    "cloudpickle": ("pipelines/objectives/code",),
    "plotly": ("pipelines/findings/explorer.py",),
    "skops": ("pipelines/models/scikit", "serving/scikit.py"),
}
# The rooms of `pipelines`, outermost first; each imports only rooms to its right.
ROOMS = (
    "cli",
    "entry points",
    "validation",
    "objectives",
    "study",
    "adoption",
    "registry",
    "findings",
    "store",
    "models",
    "table",
    "files",
)
# Rooms of `hpo` that must not depend on others, not even through a third module.
INDEPENDENT_OF = {
    "hpo.space": ("hpo.samplers", "hpo.schedulers", "hpo.workers"),
    "hpo.workers": ("hpo.samplers", "hpo.schedulers", "hpo.space"),
    "hpo.samplers": ("hpo.workers",),
    "hpo.schedulers": ("hpo.workers",),
}
MAX_FILES = 16  # Python files in a folder, `__init__.py` not counted
MAX_LINES = 400  # of a file


def python_files(*packages: str) -> Iterator[Path]:
    """Paths relative to the root, in order."""
    for package in packages:
        yield from (path.relative_to(ROOT) for path in sorted((ROOT / package).rglob("*.py")))


def module_name(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in python_files(*OURS)}


def imported(path: Path) -> set[str]:
    """Dotted names that a file imports, those in functions included.

    `from a import b` gives both `a` and `a.b`.
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{path}: relative imports hide who imports whom"
            assert node.level == 0, f"{path}: relative imports hide who imports whom"
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


IMPORTS = {name: imported(path) for name, path in MODULES.items()}


def room_of(module: str) -> str:
    """The room of a module of `pipelines`; modules in no folder are entry points."""
    folder = MODULES[module].parent.parts
    if module == "pipelines.__main__":  # the console, where Python looks for it
        return "cli"
    return folder[1] if len(folder) > 1 else "entry points"


def dependencies(modules: Collection[str]) -> set[str]:
    """All modules that are imported by some modules, directly or through others."""
    found: set[str] = set()
    waiting = set(modules)
    while waiting:
        imports = IMPORTS[waiting.pop()] & set(MODULES)
        waiting |= imports - found
        found |= imports
    return found


@pytest.mark.parametrize("path", [*python_files(*MAY_IMPORT)], ids=str)
def test_imports_stay_inside_the_borders(path: Path) -> None:
    used = {name.partition(".")[0] for name in IMPORTS[module_name(path)]}
    assert used & set(OURS) <= MAY_IMPORT[path.parts[0]]
    for library, allowed in ONLY.items():
        if library in used:
            assert any(path.is_relative_to(folder) for folder in allowed), (
                f"{path} imports {library}"
            )


def test_pipelines_has_exactly_these_rooms() -> None:
    rooms = {room_of(name) for name in MODULES if name.startswith("pipelines.")}
    assert rooms == set(ROOMS)


def test_rooms_of_pipelines_import_only_rooms_to_their_right() -> None:
    ours = {name for name in MODULES if name.startswith("pipelines.")}
    against = {
        (name, other)
        for name in ours
        for other in IMPORTS[name] & ours
        if ROOMS.index(room_of(other)) < ROOMS.index(room_of(name))
    }
    assert not against, f"the order is {' > '.join(ROOMS)}"


@pytest.mark.parametrize("room", INDEPENDENT_OF)
def test_rooms_of_hpo_are_independent(room: str) -> None:
    found = dependencies([name for name in MODULES if name.startswith(f"{room}.")])
    assert not [name for name in found if name.startswith(INDEPENDENT_OF[room])]


def test_folders_are_small() -> None:
    files = Counter(path.parent for path in MODULES.values() if path.name != "__init__.py")
    assert not {str(folder): n for folder, n in files.items() if n > MAX_FILES}


def test_files_are_short() -> None:
    lines = {path: len((ROOT / path).read_text("utf-8").splitlines()) for path in MODULES.values()}
    too_long = {str(path) for path, n in lines.items() if n > MAX_LINES}
    assert not too_long, f"longer than {MAX_LINES} lines; split them"


def test_the_driver_starts_without_model_libraries() -> None:
    code = (
        "import sys, pipelines.tune, pipelines.train, pipelines.report; "
        "libraries = ('lightgbm', 'xgboost', 'torch', 'hyperopt', 'mlflow'); "
        "print([name for name in libraries if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "[]"
