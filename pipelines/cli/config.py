"""Options from a YAML file (`--config`), and the JSON schema by which editors check it."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hpo.errors import ParameterError, closest, raise_all
from hpo.space.yaml import load_file
from pipelines import entry_points
from pipelines.entry_points import Parameter

FILES = (  # options whose values may be files or folders
    *("data", "test", "validation", "space", "params", "output", "objective", "checkpoints"),
    "config",
)
SCHEMAS = Path(__file__).parents[1] / "schemas"
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


def choices() -> Mapping[str, tuple[str, ...]]:
    """By option: values that it takes, or that one of its values begins with."""
    from hpo.algorithms import ALGORITHMS
    from hpo.goals import DIRECTIONS
    from pipelines.models import ALL, FAMILIES, FIDELITIES
    from pipelines.study.options import (
        AUTO,
        CALIBRATIONS,
        DEFAULT,
        DEVICES,
        EXECUTORS,
        OFF,
        PAST,
        REFITS,
    )
    from pipelines.table.scores.losses import KINDS
    from pipelines.table.scores.metrics import METRICS

    return {
        "model": (AUTO, *FAMILIES, ALL),
        "metric": (AUTO, *METRICS),
        "task": (AUTO, "binary", "multiclass", "regression"),
        "split": ("random", "time:", "group:"),
        "validation": (AUTO, "holdout", "holdout:", "cv:"),
        "loss": tuple(KINDS),
        "device": DEVICES,
        "executor": EXECUTORS,
        "refit": REFITS,
        "calibrate": CALIBRATIONS,
        "threshold": (AUTO, OFF, "f1", "balanced_accuracy", "mcc", "cost:fp="),
        "algorithm": tuple(ALGORITHMS),
        "space": (DEFAULT, PAST, "auto:"),
        "fidelity": (AUTO, *FIDELITIES),
        "ensemble": (AUTO, OFF),
        "warm_start": (AUTO, OFF),
        "direction": (AUTO, *DIRECTIONS),
    }


def schema(name: str) -> str:
    """The JSON schema of the options of an entry point."""
    parameters, known = entry_points.parameters(entry_points.load(name)), choices()
    return (
        json.dumps(
            {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "title": f"Options of mlflow-warmstart {name}",
                "type": "object",
                "additionalProperties": False,
                "properties": {p.name: _property(p, known.get(p.name, ())) for p in parameters},
            },
            indent=1,
        )
        + "\n"
    )


def stored_schema(name: str) -> dict[str, Any]:
    """The schema as it is stored, without importing the entry point."""
    found: dict[str, Any] = json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def _property(parameter: Parameter, examples: Sequence[str]) -> dict[str, Any]:
    types = [_TYPES[kind] for kind in parameter.kinds if kind in _TYPES]
    if any(kind not in _TYPES for kind in parameter.kinds):
        types += ["object", "array"]
    found: dict[str, Any] = {"type": sorted(set(types)), "description": parameter.help}
    return found | ({"examples": list(examples)} if examples else {})


def main() -> None:
    """Write the schemas of all entry points."""
    SCHEMAS.mkdir(exist_ok=True)
    for name in entry_points.NAMES:
        (SCHEMAS / f"{name}.json").write_text(schema(name), encoding="utf-8")


if __name__ == "__main__":
    main()
