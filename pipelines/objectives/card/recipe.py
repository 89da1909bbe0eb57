"""How to train a configuration again: its values as YAML, and the command."""

import json
import re

from hpo.space.parameters import Params, Value
from pipelines.files.commands import command
from pipelines.models import search_model, settings
from pipelines.study.options import TrainOptions
from pipelines.study.plan import Plan
from pipelines.table.division.validation import HOLDOUT, Validation
from pipelines.table.overrides import as_options
from pipelines.table.source import TEST, VALIDATION, DataPlan

_PLAIN_KEY = re.compile(r"[A-Za-z_]\w*")


def as_yaml(params: Params) -> str:
    """A configuration as YAML, which `train -P params=` reads back exactly.

    An empty configuration stands for the library's defaults.
    """
    return "".join(f"{_key(name)}: {_scalar(value)}\n" for name, value in params.items()) or "{}\n"


def train_command(plan: Plan, data: DataPlan, family: str) -> str:
    """The command that trains the configuration in `params.yaml` like the winner of a study.

    It uses the same rows and the same budget.
    """
    given = {
        "params": "params.yaml",
        "data": data.uri or "TABLE",
        "target": data.target,
        "model": family,
        "metric": plan.score.name,
        "seed": plan.seed,
        "task": data.task,
        **_unusual(plan, data, family),
    }
    return command("train", **given)


def _unusual(plan: Plan, data: DataPlan, family: str) -> dict[str, object]:
    """The options that differ from the defaults of `train`."""
    validation = Validation.parse(data.validation)
    options = {
        "split": (data.split, TrainOptions.split),
        "test_share": (data.test_share, 0.0 if TEST in data.others else TrainOptions.test_share),
        "test": (_place(data, TEST), None),
        "validation": (_place(data, VALIDATION) or _held_out(validation), HOLDOUT),
        "fold": (validation.column, ""),
        "loss": (data.loss, ""),
        "max_budget": (_full_budget(plan, family), settings(family).budget.max),
        "refit": (plan.refit, TrainOptions.refit),
        "calibrate": (plan.calibrate, TrainOptions.calibrate),
        "threshold": (plan.threshold, TrainOptions.threshold),
    }
    unusual = {name: value for name, (value, default) in options.items() if value != default}
    return unusual | as_options(data.overrides) | data.roles.as_options()


def _place(data: DataPlan, role: str) -> str | None:
    """Where a table beside the table of the study is; None if it has none."""
    return data.others[role] or role.upper() if role in data.others else None


def _held_out(validation: Validation) -> str:
    return HOLDOUT if validation.column else str(validation)


def _full_budget(plan: Plan, family: str) -> int:
    """The rounds or steps of a full training."""
    if plan.fidelity == "rows":  # its budgets are shares of the rows
        return settings(family).budget.max
    return search_model(plan.model).rounds(family, plan.rungs[-1])


def _key(name: str) -> str:
    return name if _PLAIN_KEY.fullmatch(name) else _scalar(name)


def _scalar(value: Value) -> str:
    """A value as JSON, which is YAML 1.2 if characters that YAML cannot hold are escaped."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in text)
