"""Code of a user, for the tests: importable in the workers."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
from mlflow import start_run


def misbehaving(params: dict[str, Any]) -> Any:
    """Behaves as the parameter `how` says."""
    print("noise on stdout", params)
    match params["how"]:
        case "raises":
            raise ValueError("no such column")
        case "exits":
            sys.exit(3)
        case "is killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "is nan":
            return float("nan")
        case "names oddly":
            return {"loss": 1.5, "top@1": 0.5}
        case "returns nothing":
            return None
        case "forks":
            subprocess.Popen(["sleep", "100"])
            return 2.0
        case "comes back twice" | "goes elsewhere" | "logs elsewhere" as how:
            _change_the_process(how, params)
            return 2.0
        case "hangs":
            time.sleep(100)
    return 1.0


def _change_the_process(how: str, params: dict[str, Any]) -> None:
    if how == "comes back twice":
        os.fork()
    elif how == "goes elsewhere":
        os.chdir("/")
        os.umask(0o777)
        mlflow.set_experiment("elsewhere")
    else:
        mlflow.set_tracking_uri(f"sqlite:///{params['elsewhere']}")
        with mlflow.start_run():
            mlflow.log_metric("own", 1.0)


def trained(params: dict[str, Any], budget: int, checkpoint: Path) -> Iterator[dict[str, float]]:
    """Goes on where its checkpoint ends, and logs to its own run."""
    steps = checkpoint / "steps.txt"
    done = int(steps.read_text()) if steps.is_file() else 0
    mlflow.log_param("rows", 7)
    mlflow.log_metric("began_at", done, step=budget)
    for step in range(done + 1, budget + 1):
        yield {"err": (params["x"] - 0.3) ** 2 + 1.0 / step, "steps": float(step - done)}
    steps.write_text(str(budget))


class Constant(mlflow.pyfunc.PythonModel):  # type: ignore[name-defined,misc]
    """A model of one number."""

    def __init__(self, value: float) -> None:
        self.value = value

    def predict(self, context: Any, model_input: Any, params: Any = None) -> list[float]:
        return [self.value] * len(model_input)


def script(params: dict[str, Any]) -> float:
    """A training script with runs and a model of its own."""
    with start_run(run_name="my own run"):
        mlflow.log_params(params)
        mlflow.log_metric("inside", 1.0)
        with mlflow.start_run(nested=True):
            mlflow.log_metric("child", 1.0)
        mlflow.pyfunc.log_model(
            name="model", python_model=Constant(params["x"]), pip_requirements=[]
        )
    mlflow.log_metric("after", 1.0)
    return abs(float(params["x"]) - 0.25)


def two_goals(params: dict[str, Any]) -> dict[str, float]:
    """Schaffer's first problem, whose front is x in [0, 2]; `excess` is for a limit."""
    x = float(params["x"])
    return {"near": x**2, "far": (x - 2) ** 2, "excess": abs(x - 1)}
