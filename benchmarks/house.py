"""Figures of the code itself: how long functions are, how dense, how coupled.

Each figure is taken from the syntax trees of the four packages, without any library, so that a change can be
compared with what stood before: `python -m benchmarks house --at <commit>` measures an older state.
"""

import argparse
import ast
import io
import json
import statistics
import subprocess
import tarfile
import tempfile
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.environments import ROOT
from benchmarks.report import table

PACKAGES = ("hpo", "pipelines", "serving", "warmstart")
MAX_WIDTH = 100  # characters of a line

Function = ast.FunctionDef | ast.AsyncFunctionDef
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_BRANCHES = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.match_case)


@dataclass(frozen=True)
class Module:
    """One file: its text, its tree, and the numbers of the lines that hold code."""

    path: Path  # relative to the root
    text: str
    tree: ast.Module
    code: frozenset[int]


@dataclass(frozen=True)
class Figures:
    """The figures of all modules together.

    Lengths are lines from `def` to the end, without the docstring. `decisions` and `comprehensions` are per 100 lines
    of code, `wide_lines` in percent. `fan_out` is the mean number of our own modules that a module imports.
    """

    modules: int
    code_lines: int
    median_function: float
    p90_function: float
    longest_function: int
    decisions: float
    comprehensions: float
    wide_lines: float
    most_arguments: int
    largest_class_lines: int
    largest_class_methods: int
    largest_file: int
    most_files_in_a_folder: int
    fan_out: float


def read(root: Path) -> list[Module]:
    """All modules of the packages below a root."""
    paths = (path for package in PACKAGES for path in sorted((root / package).rglob("*.py")))
    return [_module(path, root) for path in paths]


def measure(modules: Sequence[Module]) -> Figures:
    """The figures of some modules."""
    nodes = [node for module in modules for node in ast.walk(module.tree)]
    functions = [node for node in nodes if isinstance(node, Function)]
    classes = [node for node in nodes if isinstance(node, ast.ClassDef)]
    lines = [line for module in modules for line in module.text.splitlines()]
    code_lines = sum(len(module.code) for module in modules)
    lengths = sorted(_length(function) for function in functions)
    return Figures(
        modules=len(modules),
        code_lines=code_lines,
        median_function=statistics.median(lengths),
        p90_function=lengths[int(0.9 * len(lengths))],
        longest_function=lengths[-1],
        decisions=100 * sum(map(_decisions, nodes)) / code_lines,
        comprehensions=100 * sum(isinstance(n, _COMPREHENSIONS) for n in nodes) / code_lines,
        wide_lines=100 * sum(len(line) > MAX_WIDTH for line in lines) / len(lines),
        most_arguments=max(map(_arguments, functions)),
        largest_class_lines=max(map(_length, classes)),
        largest_class_methods=max(map(_methods, classes)),
        largest_file=max(len(module.text.splitlines()) for module in modules),
        most_files_in_a_folder=max(_folder_sizes(modules)),
        fan_out=statistics.mean(_fan_out(modules)),
    )


def at_commit(commit: str) -> list[Module]:
    """The modules as they stood at a commit."""
    archive = subprocess.run(
        ["git", "archive", commit, *PACKAGES], cwd=ROOT, check=True, capture_output=True
    ).stdout
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
        return read(Path(folder))


def _module(path: Path, root: Path) -> Module:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    return Module(path.relative_to(root), text, tree, _code_lines(text) - _docstring_lines(tree))


def _code_lines(text: str) -> frozenset[int]:
    """Numbers of the lines that hold a token of code."""
    blank = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    found = [
        range(t.start[0], t.end[0] + 1)
        for t in tokens
        if t.type not in (*blank, tokenize.ENDMARKER)
    ]
    return frozenset(number for numbers in found for number in numbers)


def _docstring_lines(tree: ast.Module) -> frozenset[int]:
    found = filter(None, map(_docstring, ast.walk(tree)))
    return frozenset(number for node in found for number in _span(node))


def _docstring(node: ast.AST) -> ast.stmt | None:
    if (
        not isinstance(node, Function | ast.ClassDef | ast.Module)
        or ast.get_docstring(node) is None
    ):
        return None
    return node.body[0]


def _span(node: ast.stmt) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def _length(node: Function | ast.ClassDef) -> int:
    docstring = _docstring(node)
    return len(_span(node)) - (len(_span(docstring)) if docstring else 0)


def _decisions(node: ast.AST) -> int:
    """How many branches a node adds (McCabe 1976), those of comprehensions and of `and` and `or` included."""
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    if isinstance(node, ast.comprehension):
        return 1 + len(node.ifs)
    return int(isinstance(node, _BRANCHES))


def _arguments(function: Function) -> int:
    given = function.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    return len(named) - (bool(named) and named[0].arg in ("self", "cls"))


def _methods(node: ast.ClassDef) -> int:
    return sum(isinstance(part, Function) for part in node.body)


def _folder_sizes(modules: Sequence[Module]) -> Iterator[int]:
    folders = [module.path.parent for module in modules if module.path.name != "__init__.py"]
    return (folders.count(folder) for folder in set(folders))


def _fan_out(modules: Sequence[Module]) -> Iterator[int]:
    ours = {
        ".".join(module.path.with_suffix("").parts).removesuffix(".__init__") for module in modules
    }
    for module in modules:
        yield len(set(_imported(module.tree)) & ours)


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def main(arguments: Sequence[str]) -> None:
    """Print the figures, of an older state too, or of one folder alone."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks house", description=__doc__)
    parser.add_argument("--at", help="a commit to compare with")
    parser.add_argument("--under", default="", help="a folder, such as pipelines/study")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    states = {options.at: at_commit(options.at)} if options.at else {}
    states["now"] = read(ROOT)
    found = {
        name: asdict(measure([m for m in modules if m.path.is_relative_to(options.under)]))
        for name, modules in states.items()
    }
    if options.json:
        print(json.dumps(found, indent=1))
        return
    rows = [[name, *(f"{values[name]:.4g}" for values in found.values())] for name in found["now"]]
    print(table(["figure", *found], rows))
