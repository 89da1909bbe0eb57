"""Tables in Markdown, results as JSON, and a word on the machine."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [list(header), ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def number(value: float, digits: int = 3) -> str:
    """A value with `digits` significant digits, without exponent for what tables hold."""
    if value == 0:
        return "0"
    text = f"{value:.{digits}g}"
    return f"{value:,.0f}" if "e" in text and abs(value) >= 1 else text


def interval_text(value: float, low: float, high: float, decimals: int) -> str:
    """`value [low, high]`."""
    return f"{value:.{decimals}f} [{low:.{decimals}f}, {high:.{decimals}f}]"


def machine() -> dict[str, str | int]:
    """What the figures were measured on."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count() or 0,
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "hyperopt", "mlflow", "lightgbm", "xgboost", "torch")},
    }


def write(folder: Path, name: str, text: str, values: Mapping[str, object]) -> None:
    """Print the tables, and keep them with the figures in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text)
    (folder / f"{name}.json").write_text(json.dumps(values, indent=1))
    print(text)
    print(f"kept in {folder / name}.md and .json")


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
