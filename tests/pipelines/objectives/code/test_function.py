"""Functions as objectives: how they are found, checked and sent."""

import functools
import pickle
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from hpo.errors import ParameterError
from pipelines.objectives.code.function import function_code


def plain(params: dict[str, Any]) -> float:
    return float(params["x"])


def with_budget(params: dict[str, Any], budget: int, checkpoint: Path) -> float:
    return budget * float(params["x"])


def no_params() -> float:
    return 0.0


def one_more(params: dict[str, Any], seed: int) -> float:
    return float(seed)


class Callable1:
    def __call__(self, params: dict[str, Any]) -> float:
        return float(params["x"])


HERE = __name__


def test_a_function_of_a_module_is_found_again_by_its_text() -> None:
    code = function_code(plain)
    assert code.name == code.text == f"{HERE}:plain"
    assert function_code(code.text).function is plain
    assert code.takes == frozenset()
    assert function_code(with_budget).takes == {"budget", "checkpoint"}


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda params: 1.0, "lambda"),
        (functools.partial(plain), "plain"),
        (Callable1(), "Callable1"),
    ],
)
def test_other_callables_have_to_be_given_again(function: Callable[..., Any], name: str) -> None:
    code = function_code(function)
    assert code.text is None
    assert code.name.endswith(name)
    sent = pickle.loads(cloudpickle.dumps(code.worker()))
    assert sent({"x": 1.0}) == 1.0


def test_a_function_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "trainer_of_file.py").write_text("def train(params):\n    return params['x']\n")
    code = function_code(f"{tmp_path}/trainer_of_file.py:train")
    assert code.name == "trainer_of_file:train"
    before = code.digest
    assert code.text == f"{tmp_path}/trainer_of_file.py:train"
    assert code.worker()({"x": 3}) == 3
    (tmp_path / "other").mkdir()
    (tmp_path / "other/trainer_of_file.py").write_text("def train(params):\n    return 7\n")
    other = function_code(f"{tmp_path}/other/trainer_of_file.py:train")
    sent = pickle.loads(cloudpickle.dumps(other.worker()))
    assert sent({"x": 3}) == 7, "another file of the same name"
    assert other.digest != before
    (tmp_path / "ending.py").write_text("raise SystemExit(3)\n")
    with pytest.raises(ParameterError, match="failed with SystemExit: 3"):
        function_code(f"{tmp_path}/ending.py:train")
    with pytest.raises(ParameterError, match="has no 'trian', did you mean 'train'"):
        function_code(f"{tmp_path}/trainer_of_file.py:trian")
    assert len(before) == 16


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ("train", r"objective='train' must have the form package.module:function"),
        ("no_such_module:train", "importing no_such_module failed with ModuleNotFoundError"),
        ("no_such_file.py:train", "there is no file no_such_file.py"),
        (3, "objective=3 must be a function"),
        (no_params, "takes nothing; it must take the parameters as its first argument"),
        (one_more, "takes params, seed; it must take the parameters"),
    ],
)
def test_what_is_no_objective(objective: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        function_code(objective)


def test_a_function_that_cannot_travel_is_told_before_anything_runs() -> None:
    lock = threading.Lock()
    code = function_code(lambda params: lock.acquire())
    with pytest.raises(ParameterError, match="cannot be sent to the workers .*lock.*inside"):
        code.check(frozenset())
