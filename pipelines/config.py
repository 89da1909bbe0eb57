"""Options from a YAML file (`--config`), and the JSON schema by which editors check it."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hpo.errors import ParameterError, closest, raise_all
from hpo.space.yaml import load_file
from pipelines import entry_points
from pipelines.entry_points import Parameter

SCHEMAS = Path(__file__).parent / "schemas"
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}


def read(path: str, function: Callable[..., Any]) -> dict[str, Any]:
    """The options in a file.

    Args:
        path: of a YAML file with a mapping of options.
        function: the entry point.

    Raises:
        ParameterError: naming every unknown option, or when there is no such file.
    """
    place = Path(path)
    if not place.is_file():
        near = [other.name for other in place.parent.glob("*.y*ml")]
        raise ParameterError(f"config={path!r}: there is no such file{closest(place.name, near)}")
    found = load_file(place)
    if not isinstance(found, Mapping):
        raise ParameterError(
            f"config={path!r} must hold options, one per line, such as `trials: 30`"
        )
    known = [parameter.name for parameter in entry_points.parameters(function)]
    raise_all(
        ParameterError,
        (
            f"config={path!r}: unknown option {name!r}{closest(str(name), known)}"
            for name in found
            if name not in known
        ),
    )
    return {str(name): value for name, value in found.items()}


def schema(name: str) -> str:
    """The JSON schema of the options of an entry point."""
    parameters = entry_points.parameters(entry_points.load(name))
    return (
        json.dumps(
            {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "title": f"Options of mlflow-warmstart {name}",
                "type": "object",
                "additionalProperties": False,
                "properties": {p.name: _property(p) for p in parameters},
            },
            indent=1,
        )
        + "\n"
    )


def _property(parameter: Parameter) -> dict[str, Any]:
    types = [_TYPES[kind] for kind in parameter.kinds if kind in _TYPES]
    if any(kind not in _TYPES for kind in parameter.kinds):
        types += ["object", "array"]
    return {"type": sorted(set(types)), "description": parameter.help}


def main() -> None:
    """Write the schemas of all entry points."""
    SCHEMAS.mkdir(exist_ok=True)
    for name in entry_points.NAMES:
        (SCHEMAS / f"{name}.json").write_text(schema(name), encoding="utf-8")


if __name__ == "__main__":
    main()
