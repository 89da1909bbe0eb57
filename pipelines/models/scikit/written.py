"""Estimators as text, such as `sklearn.svm.SVC(kernel='poly')`, and back.

The text is the `model` of a study: it is stored with it, workers make the estimator from it, and
two estimators with the same text are the same. It is a Python expression of class names, parameters
that differ from their defaults, and plain values. Nothing of it is evaluated, because a stored text
may be anyone's: it may call classes of scikit-learn and of modules that the user trusts
(`serving.trust`), and name some functions of scikit-learn, NumPy and SciPy.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from hpo.errors import ParameterError
from serving.trust import belongs, trusted_modules, way_out

MAX_LENGTH = 4000  # of a text, which MLflow stores as a tag
_SCIKIT = "sklearn"
_FUNCTIONS = ("sklearn.feature_selection", "sklearn.metrics", "sklearn.preprocessing")
_NUMBERS = ("numpy", "scipy")
# What a value that is not plain looks like: None, a container, a class or function, an object.
_WRITTEN = re.compile(r"None|[(\[{].*[)\]}]|[A-Za-z_]\w*(\.\w+)+(\(.*\))?", re.DOTALL)
_SESSION = ("__main__", "__mp_main__")  # modules that no other process can import


def written(estimator: Any) -> str:
    """An estimator as text.

    Raises:
        ParameterError: if it holds something that cannot be written, naming it.
    """
    text = _written(estimator, "estimator")
    if len(text) > MAX_LENGTH:
        raise ParameterError(
            f"estimator: written down it has {len(text):,} characters, and at most "
            f"{MAX_LENGTH:,} are possible; set long parameters in a class of your own"
        )
    return text


def read(text: str) -> Any:
    """The object of a text.

    Raises:
        ParameterError: if there is none, or if it names what cannot be imported or is not trusted.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ParameterError(f"estimator={text!r} is not an estimator: {error}") from error
    return _read(tree)


def plain_or_written(value: Any, name: str) -> Any:
    """A value for a space: texts, numbers and truth values stay, anything else is written down.

    Raises:
        ParameterError: if it cannot be written.
    """
    is_plain = isinstance(value, str | bool | int | float | np.generic)
    return value if is_plain else _written(value, name)


def value_of(value: Any) -> Any:
    """The value that `plain_or_written` made plain.

    Raises:
        ParameterError: as `read`.
    """
    if not isinstance(value, str) or not _WRITTEN.fullmatch(value):
        return value
    if re.fullmatch(r"[\w.]+", value) and value != "None" and not belongs(value, _known()):
        return value  # such as the name of a file
    try:
        tree = ast.parse(value, mode="eval").body
    except (SyntaxError, ValueError):
        return value
    return _read(tree)


def parameters_of(thing: Any) -> dict[str, Any]:
    """The arguments with which an object was made, as scikit-learn's own objects keep them.

    Raises:
        ParameterError: if it does not keep them.
    """
    if hasattr(thing, "get_params"):
        return dict(thing.get_params(deep=False))
    names = [*inspect.signature(type(thing)).parameters]
    lost = [name for name in names if not _keeps(thing, name)]
    if lost:
        raise ParameterError(
            f"{type(thing).__name__} does not keep its argument {lost[0]!r} as an attribute, so it "
            "cannot be made again"
        )
    return {name: getattr(thing, name) for name in names}


def _keeps(thing: Any, name: str) -> bool:
    return hasattr(thing, name) and not inspect.isroutine(getattr(thing, name))


def _written(value: Any, where: str) -> str:
    if isinstance(value, np.generic):
        value = value.item()
    match value:
        case None | bool() | int() | str():
            return repr(value)
        case float():
            return repr(value) if np.isfinite(value) else _not_finite(value)
        case list():
            return f"[{', '.join(_written(each, where) for each in value)}]"
        case tuple():
            inner = ", ".join(_written(each, where) for each in value)
            return f"({inner},)" if len(value) == 1 else f"({inner})"
        case dict():
            pairs = (f"{_written(k, where)}: {_written(v, where)}" for k, v in value.items())
            return f"{{{', '.join(pairs)}}}"
        case np.ndarray():
            raise ParameterError(f"{where} is an array, which cannot be written down; give a list")
    if isinstance(value, type) or callable(value) and not hasattr(value, "get_params"):
        return _path(value, where)
    return _written_object(value, where)


def _not_finite(value: float) -> str:
    if np.isnan(value):
        return "numpy.nan"
    return "numpy.inf" if value > 0 else "-numpy.inf"


def _written_object(value: Any, where: str) -> str:
    path = _path(type(value), where)
    try:
        found = parameters_of(value)
    except (ParameterError, ValueError, TypeError) as error:
        raise ParameterError(
            f"{where} is a {path}, which cannot be written down: {error}"
        ) from error
    signature = inspect.signature(type(value)).parameters
    arguments = []
    for name, argument in found.items():
        text = _written(argument, f"{where}: {name}")
        is_unnamed = name not in signature and argument is None  # of **kwargs, as in XGBoost
        if text != _default(signature.get(name)) and not is_unnamed:
            arguments.append(f"{name}={text}")
    return f"{path}({', '.join(arguments)})"


def _default(parameter: inspect.Parameter | None) -> str | None:
    """The default of an argument as text; None without one, and where it cannot be written."""
    if parameter is None or parameter.default is inspect.Parameter.empty:
        return None
    try:
        return _written(parameter.default, "")
    except ParameterError:
        return None


def _path(thing: Any, where: str) -> str:
    """The shortest public name by which a class or a function is imported."""
    module = str(getattr(thing, "__module__", None) or "")
    name = str(getattr(thing, "__qualname__", getattr(thing, "__name__", "")))
    if module in _SESSION:
        raise ParameterError(
            f"{where}: {name} is defined in this script or notebook, where neither the workers nor "
            "the served model can import it; move it to a module"
        )
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        parent = ".".join(parts[:end])
        is_own = parent != "builtins"
        if name and is_own and getattr(sys.modules.get(parent), name, None) is thing:
            return f"{parent}.{name}"
    raise ParameterError(
        f"{where} is {thing!r}, which cannot be imported by its name; take a class or a function "
        "of a module"
    )


def _read(node: ast.AST) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_read(operand)
        case ast.List(elts=elements):
            return [_read(each) for each in elements]
        case ast.Tuple(elts=elements):
            return tuple(_read(each) for each in elements)
        case ast.Dict(keys=keys, values=values) if None not in keys:
            return {_read(k): _read(v) for k, v in zip(keys, values, strict=True) if k}
        case ast.Call(func=function, args=[], keywords=keywords):
            return _called(ast.unparse(function), {str(k.arg): _read(k.value) for k in keywords})
        case ast.Attribute():
            return _named(ast.unparse(node))
    raise ParameterError(
        f"an estimator holds classes, their parameters by name and plain values, but got "
        f"{ast.unparse(node)!r}"
    )


def _called(path: str, arguments: Mapping[str, Any]) -> Any:
    made = _found(path)
    if not isinstance(made, type) or not _is_from(made, (_SCIKIT, *trusted_modules())):
        raise ParameterError(
            f"estimator: {path} is no class of {_SCIKIT} or a trusted module, and an estimator is "
            "made of these only"
        )
    try:
        return made(**arguments)
    except Exception as error:  # the class is the user's
        raise ParameterError(f"{path} cannot be made: {type(error).__name__}: {error}") from error


def _named(path: str) -> Any:
    """A class, a function or a number that a parameter has by its name."""
    found = _found(path)
    is_number = isinstance(found, float | np.ufunc)
    is_number |= isinstance(found, type) and issubclass(found, np.generic)
    if is_number or _is_from(found, (*_FUNCTIONS, *trusted_modules())):
        return found
    if isinstance(found, type) and _is_from(found, (_SCIKIT,)):
        return found
    raise ParameterError(
        f"estimator: {path} is not allowed as a parameter; take a ufunc or a type of NumPy, a "
        f"class of {_SCIKIT}, a function of {', '.join(_FUNCTIONS)}, or of a module you trust"
    )


def _is_from(found: Any, modules: tuple[str, ...]) -> bool:
    """Whether a class or a function is defined there, and not only imported there."""
    return belongs(str(getattr(found, "__module__", "")), modules)


def _known() -> tuple[str, ...]:
    """The modules that a text may name."""
    return (_SCIKIT, *_NUMBERS, *trusted_modules())


def _found(path: str) -> Any:
    """What a dotted name stands for, imported if its package may be."""
    if not belongs(path, _known()):
        raise ParameterError(
            f"estimator: {path} is not of scikit-learn, and code of other modules is not trusted "
            f"unless you say so; {way_out(path)}"
        )
    parts = path.split(".")
    for end in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:end])
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name and belongs(module, (error.name,)):
                continue  # not a module but a class, or it does not exist
            raise _not_imported(path, error) from error
        except Exception as error:  # importing runs the user's code
            raise _not_imported(path, error) from error
        try:
            for part in parts[end:]:
                found = getattr(found, part)
        except AttributeError as error:
            raise _not_imported(path, error) from error
        return found
    raise _not_imported(path, ModuleNotFoundError(f"there is no module {parts[0]}"))


def _not_imported(path: str, error: Exception) -> ParameterError:
    return ParameterError(
        f"estimator: {path} cannot be imported ({type(error).__name__}: {error}); install its "
        "package, or run where its module can be imported"
    )
