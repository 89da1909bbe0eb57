"""Figures of the code itself: length, density and coupling.

All figures come from the syntax trees of the modules, and only the standard library is needed.
`python -m benchmarks house --at <commit>` compares with an older state, `--under <folder>` measures
one folder, and `--beside <package>` installed packages without their tests.
"""

import argparse
import ast
import importlib.util
import io
import json
import statistics
import subprocess
import tarfile
import tempfile
import tokenize
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.markdown import table

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("hpo", "pipelines", "serving", "warmstart")  # measured unless `--under` is given
FOLDERS = (*PACKAGES, "benchmarks", "tests")
MAX_WIDTH = 100  # characters of a line

Function = ast.FunctionDef | ast.AsyncFunctionDef
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_BRANCHES = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.match_case)
_NO_CODE = frozenset(
    (
        *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE),
        *(tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER),
    )
)
_WORDS = frozenset((tokenize.NAME, tokenize.OP, tokenize.NUMBER, tokenize.STRING))


@dataclass(frozen=True)
class Module:
    """One file: its path relative to the root and its text, which is parsed when it is measured."""

    path: Path
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree."""
        return ast.parse(self.text)

    @cached_property
    def code(self) -> frozenset[int]:
        """The numbers of the lines that hold code."""
        return _code_lines(self.text) - _docstring_lines(self.tree)

    @cached_property
    def tokens(self) -> int:
        """The number of its names, operators and constants, docstrings included."""
        found = tokenize.generate_tokens(io.StringIO(self.text).readline)
        return sum(token.type in _WORDS for token in found)

    @property
    def name(self) -> str:
        """The dotted name under which it is imported."""
        return ".".join(self.path.with_suffix("").parts).removesuffix(".__init__")


@dataclass(frozen=True)
class Figures:
    """Figures of some modules together.

    Lengths are in lines; a function or class is counted from its first line to its last, without
    its docstring. `decisions` and `comprehensions` are per 100 lines of code, `wide_lines` is in
    percent. `tokens_of_a_line` is the density of the code: two of its lines with five tokens each
    can be one with ten, which then has the decisions of both. `fan_out` is the mean number of our
    own modules that a module imports.
    """

    modules: int
    code_lines: int
    median_function: float
    p90_function: float
    longest_function: int
    decisions: float
    decisions_of_1000_tokens: float
    decisions_of_a_function: float
    comprehensions: float
    tokens_of_a_line: float
    wide_lines: float
    most_arguments: int
    largest_class_lines: int
    largest_class_methods: int
    largest_file: int
    most_files_in_a_folder: int
    fan_out: float


def read(root: Path) -> list[Module]:
    """All modules below a root."""
    paths = (path for folder in FOLDERS for path in sorted((root / folder).rglob("*.py")))
    return [Module(path.relative_to(root), path.read_text(encoding="utf-8")) for path in paths]


def installed(package: str) -> list[Module]:
    """All modules of an installed package, such as `optuna` or `sklearn.model_selection`.

    Raises:
        ModuleNotFoundError: if it is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{package} is not installed")
    root = Path(spec.origin).parent
    paths = sorted(path for path in root.rglob("*.py") if "tests" not in path.parts)
    above = root.parents[package.count(".")]
    return [Module(path.relative_to(above), path.read_text(encoding="utf-8")) for path in paths]


def under(modules: Sequence[Module], folders: Collection[str]) -> list[Module]:
    """The modules that lie in one of the folders."""
    return [m for m in modules if any(m.path.is_relative_to(folder) for folder in folders)]


def measure(modules: Sequence[Module], known: Collection[str]) -> Figures:
    """The figures of at least one module.

    Args:
        modules: the modules to measure.
        known: dotted names of all our modules; imports of these count for `fan_out`.
    """
    nodes = [node for module in modules for node in ast.walk(module.tree)]
    functions = [node for node in nodes if isinstance(node, Function)]
    classes = [node for node in nodes if isinstance(node, ast.ClassDef)]
    lines = [line for module in modules for line in module.text.splitlines()]
    code_lines = sum(len(module.code) for module in modules)
    lengths = sorted(map(_length, functions)) or [0]
    decisions = sum(map(_decisions, nodes))
    tokens = sum(module.tokens for module in modules)
    comprehensions = sum(isinstance(node, _COMPREHENSIONS) for node in nodes)
    return Figures(
        modules=len(modules),
        code_lines=code_lines,
        median_function=statistics.median(lengths),
        p90_function=lengths[int(0.9 * len(lengths))],
        longest_function=lengths[-1],
        decisions=_percent(decisions, code_lines),
        decisions_of_1000_tokens=10 * _percent(decisions, tokens),
        decisions_of_a_function=decisions / max(len(functions), 1),
        comprehensions=_percent(comprehensions, code_lines),
        tokens_of_a_line=tokens / max(code_lines, 1),
        wide_lines=_percent(sum(len(line) > MAX_WIDTH for line in lines), len(lines)),
        most_arguments=max(map(_arguments, functions), default=0),
        largest_class_lines=max(map(_length, classes), default=0),
        largest_class_methods=max(map(_methods, classes), default=0),
        largest_file=max(len(module.text.splitlines()) for module in modules),
        most_files_in_a_folder=max(_files_by_folder(modules).values(), default=0),
        fan_out=statistics.mean(len(_imported(module, known)) for module in modules),
    )


def at_commit(commit: str) -> list[Module]:
    """All modules as they were at a commit."""
    archive = subprocess.run(
        ["git", "archive", commit, *FOLDERS], cwd=ROOT, check=True, capture_output=True
    ).stdout
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
        return read(Path(folder))


def _code_lines(text: str) -> frozenset[int]:
    """Numbers of the lines that hold a token of code."""
    found: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _NO_CODE:
            found.update(range(token.start[0], token.end[0] + 1))
    return frozenset(found)


def _docstring_lines(tree: ast.Module) -> frozenset[int]:
    found: set[int] = set()
    for node in ast.walk(tree):
        docstring = _docstring(node)
        if docstring is not None:
            found.update(_span(docstring))
    return frozenset(found)


def _docstring(node: ast.AST) -> ast.stmt | None:
    if not isinstance(node, Function | ast.ClassDef | ast.Module):
        return None
    return node.body[0] if ast.get_docstring(node) is not None else None


def _span(node: ast.stmt) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def _length(node: Function | ast.ClassDef) -> int:
    docstring = _docstring(node)
    return len(_span(node)) - (len(_span(docstring)) if docstring else 0)


def _decisions(node: ast.AST) -> int:
    """The branches that a node adds (McCabe 1976), including comprehensions, `and` and `or`."""
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    if isinstance(node, ast.comprehension):
        return 1 + len(node.ifs)
    return int(isinstance(node, _BRANCHES))


def _arguments(function: Function) -> int:
    """The number of named arguments without `self` and `cls`."""
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return len(named) - (bool(named) and named[0].arg in ("self", "cls"))


def _methods(node: ast.ClassDef) -> int:
    return sum(isinstance(part, Function) for part in node.body)


def _files_by_folder(modules: Sequence[Module]) -> Counter[Path]:
    return Counter(module.path.parent for module in modules if module.path.name != "__init__.py")


def _imported(module: Module, known: Collection[str]) -> set[str]:
    """The known modules that a module imports, imports in functions included."""
    found: set[str] = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                found.add(submodule if submodule in known else node.module)
    return found & set(known)


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 0.0


def main(arguments: Sequence[str]) -> None:
    """Print the figures of the packages or of one folder, now and at an older commit."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks house", description=__doc__)
    parser.add_argument("--at", help="a commit to compare with")
    parser.add_argument(
        "--under", help=f"a folder such as pipelines/study, in {', '.join(FOLDERS)}"
    )
    parser.add_argument(
        "--beside",
        nargs="+",
        default=[],
        help="installed packages, such as optuna, to compare with",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    states = {options.at: at_commit(options.at)} if options.at else {}
    states["now"] = read(ROOT)
    figures = {}
    for state, modules in states.items():
        chosen = under(modules, [options.under] if options.under else PACKAGES)
        if not chosen:
            parser.error(f"no Python file under {options.under!r} ({state})")
        figures[state] = asdict(measure(chosen, {module.name for module in modules}))
    for package in options.beside:
        modules = installed(package)
        figures[package] = asdict(measure(modules, {module.name for module in modules}))
    if options.json:
        print(json.dumps(figures, indent=1))
        return
    names = figures["now"]
    rows = [[name, *(f"{values[name]:.4g}" for values in figures.values())] for name in names]
    print(table(["figure", *figures], rows))
