"""Python code of the user, found by its name."""

import importlib
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from hpo.errors import ParameterError, closest


def by_name(place: str) -> ModuleType:
    """Import a module, also from the current folder, as Python does for a script."""
    add_folder(os.getcwd())
    return importlib.import_module(place)


def add_folder(folder: str) -> None:
    """Let imports find the modules of a folder; workers find them the same way."""
    if folder not in sys.path:
        sys.path.insert(0, folder)


def imported(option: str, text: str, form: str, load: Callable[[str], ModuleType] = by_name) -> Any:
    """The object that a text like `package.module:function` names.

    Args:
        option: that gives the text, for messages.
        text: a place and a name in it, with a colon between.
        form: what the text has to look like, for messages.
        load: the module of a place.

    Raises:
        ParameterError: when there is no such object.
    """
    place, _, name = text.strip().rpartition(":")
    if not place or not name:
        raise ParameterError(f"{option}={text!r} must have the form {form}")
    try:
        module = load(place)
    except ParameterError as error:
        raise ParameterError(f"{option}={text!r}: {error}") from error
    except (Exception, SystemExit) as error:  # importing runs the user's code
        raise ParameterError(
            f"{option}={text!r}: importing {place} failed with {type(error).__name__}: {error}"
        ) from error
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            functions = [n for n, value in vars(module).items() if callable(value)]
            raise ParameterError(
                f"{option}={text!r}: {place} has no {name!r}{closest(name, functions)}"
            )
        found = getattr(found, part)
    return found
