"""A Python function as an objective: found, checked, and sent to the workers.

It is called as `objective(params)`. It may also take `budget` and `checkpoint`, by these names. It
returns a number or a mapping of metrics; a generator yields them, as its learning curve.
"""

import functools
import hashlib
import importlib.util
import inspect
import marshal
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle

from hpo.errors import ParameterError, closest
from pipelines.files.code import add_folder, by_name, imported
from pipelines.objectives.code import BUDGET, CHECKPOINT, Evaluate

_IN_SESSION = ("__main__", "__mp_main__")  # modules that another process does not import
_FORM = "package.module:function, or file.py:function"

Function = Callable[..., Any]


@dataclass(frozen=True)
class FunctionCode:
    """A function that a study evaluates.

    Attributes:
        function: the function itself.
        name: `module:function`, or `file:function` for one of a script.
        text: `module:function`, by which a later process imports it; None for a function of a
            script, a notebook or a lambda.
    """

    function: Function
    name: str
    text: str | None
    needs_run = False  # its MLflow calls look for the run

    @functools.cached_property
    def takes(self) -> frozenset[str]:
        """Which of `budget` and `checkpoint` it takes."""
        return frozenset((BUDGET, CHECKPOINT)) & set(_parameters(self.function))

    @functools.cached_property
    def digest(self) -> str:
        """Of its source, or of its bytecode where there is no source."""
        inner = _inner(self.function)
        try:
            text = inspect.getsource(inner).encode()
        except (OSError, TypeError):
            code = getattr(inner, "__code__", None)
            text = self.name.encode() if code is None else marshal.dumps(code)
        return hashlib.sha256(text).hexdigest()[:16]

    def check(self, names: frozenset[str]) -> None:
        """Check that the function can be sent to the workers, whatever its parameters.

        Raises:
            ParameterError: when it refers to something that cannot be pickled.
        """
        try:
            cloudpickle.dumps(self.function)
        except Exception as error:  # pickling runs code of whatever the function refers to
            raise ParameterError(
                f"objective={self.name} cannot be sent to the workers ({error}); open files, "
                "connections, locks and the like inside the function"
            ) from error

    def worker(self) -> Evaluate:
        """The function itself."""
        return self.function


def function_code(objective: "str | Function") -> FunctionCode:
    """The code of a function that is given itself or as text.

    Raises:
        ParameterError: when there is no such function, or it cannot be called with parameters.
    """
    text = _absolute(objective) if isinstance(objective, str) else _importable(objective)
    function = named("objective", objective) if isinstance(objective, str) else objective
    if not callable(function):
        raise ParameterError(
            f"objective={objective!r} must be a function, or text of the form {_FORM}"
        )
    code = FunctionCode(function, _name(function), text)
    _check_signature(code)
    return code


def _absolute(text: str) -> str:
    """The text with the path of a file from the root, so that it is found from other folders."""
    place, _, name = text.strip().rpartition(":")
    return f"{Path(place).resolve()}:{name}" if place.endswith(".py") else text.strip()


def _check_signature(code: FunctionCode) -> None:
    """Check that the function takes `params`, and nothing else that has no default.

    Raises:
        ParameterError: naming what it takes.
    """
    try:
        inspect.signature(code.function).bind({}, **dict.fromkeys(code.takes))
    except TypeError as error:
        taken = ", ".join(_parameters(code.function)) or "nothing"
        raise ParameterError(
            f"objective={code.name} takes {taken}; it must take the parameters as its first "
            "argument, and may take `budget` and `checkpoint` beside them"
        ) from error
    except ValueError:
        return  # a builtin without a signature is called and shows what it does


def _parameters(function: Function) -> list[str]:
    try:
        return [*inspect.signature(function).parameters]
    except ValueError:
        return []


def named(option: str, text: str) -> Any:
    """The object that `package.module:name` or `file.py:name` stands for.

    Raises:
        ParameterError: when there is none, or importing its module fails.
    """
    return imported(option, text, _FORM, _module)


def _module(place: str) -> ModuleType:
    """The module of a name or of the path of a file."""
    path = Path(place)
    if path.suffix != ".py":
        return by_name(place)
    if not path.is_file():
        near = [other.name for other in path.parent.glob("*.py")]
        raise ParameterError(f"there is no file {place}{closest(path.name, near)}")
    add_folder(str(path.resolve().parent))
    return _loaded(path.resolve())


def _loaded(path: Path) -> ModuleType:
    """The module of a file. It is sent to the workers itself: another may have the same name."""
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:8]
    name = f"{path.stem}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    cloudpickle.register_pickle_by_value(module)
    return module


def _inner(function: Function) -> Any:
    """What is called in the end: without `functools.partial`, and the class of an object."""
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    return function if hasattr(function, "__qualname__") else type(function)


def _name(function: Function) -> str:
    inner = _inner(function)
    name = inner.__qualname__.replace("<locals>.", "").replace("<lambda>", "lambda")
    return f"{_module_name(inner)}:{name}"


def _module_name(inner: Any) -> str:
    module = str(getattr(inner, "__module__", None) or "builtins")
    file = getattr(sys.modules.get(module), "__file__", None)
    if file and re.fullmatch(rf"{re.escape(Path(file).stem)}_[0-9a-f]{{8}}", module):
        return Path(file).stem  # of a file that was loaded by its path
    if module not in _IN_SESSION:
        return module
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    return Path(script).stem if script else "notebook"


def _importable(function: Function) -> str | None:
    """`module:function` where an import gives this very function."""
    name, module = getattr(function, "__qualname__", ""), getattr(function, "__module__", "")
    if not name or not module or module in _IN_SESSION:
        return None
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return f"{module}:{name}" if found is function else None
