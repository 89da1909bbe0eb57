"""Promotions that are killed, overtaken by another process, or meet broken models."""

import itertools
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipelines.promote import promote
from pipelines.registry import champions, gate, versions
from pipelines.registry.gate import (
    Check,
    PromotionRefusedError,
    Verdict,
)
from pipelines.registry.versions import aliases
from pipelines.rollback import rollback
from pipelines.store.lease import Driver, birth
from tests.pipelines.promotion.models import (
    NAMES,
    Store,
    three_champions,
)


class KilledError(BaseException):
    """Stands for the end of the process."""


CALLS = (
    "get_registered_model",
    "get_model_version",
    "log_text",
    "set_model_version_tag",
    "delete_model_version_tag",
    "set_registered_model_alias",
    "delete_registered_model_alias",
    "set_registered_model_tag",
    "delete_registered_model_tag",
)


def before_call(monkeypatch: pytest.MonkeyPatch, act: Callable[[int], None]) -> Callable[[], int]:
    """Have `act` called before each call to the registry with its number; how many there were."""
    calls = itertools.count()
    count = 0
    for method in CALLS:
        original = getattr(MlflowClient, method)

        def counted(self: MlflowClient, *arguments: Any, original: Any = original) -> Any:
            nonlocal count
            number = next(calls)
            count = number + 1
            act(number)
            return original(self, *arguments)

        monkeypatch.setattr(MlflowClient, method, counted)
    return lambda: count


def killed_at(store: Store, work: Callable[[], object], moment: int) -> bool:
    """Do the work until the call `moment`; whether it came to that."""

    def act(number: int) -> None:
        if number == moment:
            raise KilledError

    with pytest.MonkeyPatch.context() as patch:
        before_call(patch, act)
        try:
            work()
        except KilledError:
            return True
    return False


def test_killed_between_any_two_calls_and_run_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdict = Verdict((Check("champion", "better", "better", True),), "better", 0.99)
    monkeypatch.setattr(
        "pipelines.promote._judge", lambda *_: verdict
    )  # it only reads, and takes most of the time
    for moment in itertools.count():
        name = next(NAMES)
        store.bare(
            name, {}, {}, {gate.ROLLED_BACK: "to version 2"}, champion=2, previous=1, challenger=3
        )
        killed = killed_at(store, lambda name=name: promote(name, version=3), moment)  # type: ignore[misc]
        known = aliases(store.client, name)
        assert known["champion"] in (2, 3), "there is a champion at any moment"
        if known["champion"] == 3:
            assert known["previous"] == 2, (
                "the old one stands by as soon as the new one is champion"
            )
            assert gate.EVIDENCE in store.tags(name, 3)
        promote(name, version=3)
        assert aliases(store.client, name) == {"challenger": 3, "champion": 3, "previous": 2}
        tags = store.tags(name, 3)
        assert tags[gate.REPLACED] == "2"
        assert {gate.EVIDENCE, gate.PROBABILITY, gate.TABLE} <= tags.keys()
        assert gate.ROLLED_BACK not in tags
        if not killed:
            assert moment > 10
            return


def test_rollback_killed_between_any_two_calls_and_run_again(store: Store) -> None:
    for moment in itertools.count():
        name = next(NAMES)
        three_champions(store, name)
        killed = killed_at(store, lambda name=name: rollback(name), moment)  # type: ignore[misc]
        if killed and aliases(store.client, name) != {
            "challenger": 3,
            "champion": 2,
            "previous": 1,
        }:
            rollback(name)
        assert aliases(store.client, name) == {"challenger": 3, "champion": 2, "previous": 1}
        assert gate.ROLLED_BACK in store.tags(name, 3)
        if not killed:
            assert moment > 6
            return


def test_a_rival_between_the_comparison_and_the_change(store: Store, name: str) -> None:
    for model in ("bad", "good", "fair"):
        store.register(name, model)
    store.client.set_registered_model_alias(name, "champion", "1")
    with pytest.MonkeyPatch.context() as patch:
        compared = patch.setattr(
            champions, "make_champion", rivalled(store, name, champions.make_champion)
        )
        assert compared is None
        with pytest.raises(
            PromotionRefusedError, match="it is version 3, version 2 was compared with version 1"
        ):
            promote(name, version=2)
    assert aliases(store.client, name) == {"challenger": 3, "champion": 3}


def test_two_promotions_at_once_in_two_processes(store: Store, name: str) -> None:
    for model in ("bad", "good", "twin"):
        store.register(name, model)
    store.client.set_registered_model_alias(name, "champion", "1")
    environment = {**os.environ, "PYTHONPATH": str(Path(versions.__file__).parents[2])}
    gates = {
        version: subprocess.Popen(
            [
                sys.executable,
                "-m",
                "pipelines",
                "promote",
                f"--name={name}",
                f"--version={version}",
            ],
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for version in (2, 3)
    }
    said = {version: gate.communicate(timeout=300)[0] for version, gate in gates.items()}
    codes = {version: gate.returncode for version, gate in gates.items()}
    assert sorted(codes.values()) == [0, 2], said
    winner, loser = sorted(codes, key=lambda version: codes[version])
    assert aliases(store.client, name) == {"challenger": 3, "champion": winner, "previous": 1}
    assert f"version {winner} of {name} is now champion" in said[winner]
    # The loser finds the lock, the changed champion, or compares with the new champion.
    assert re.search(
        "is in progress|has changed the champion|does not become champion", said[loser]
    )
    assert champions.GATE not in store.client.get_registered_model(name).tags


def other_gate(host: str = "here", **changes: Any) -> Driver:
    """A gate of a process that lives, but for what `changes` say."""
    parent = os.getppid()
    return replace(Driver.myself(), host=host, pid=parent, born=birth(parent), **changes)


def test_a_locked_model_is_refused_with_the_name_of_the_holder(store: Store, name: str) -> None:
    store.register(name, "good")
    store.client.set_registered_model_tag(name, champions.GATE, other_gate("elsewhere").to_tag())
    with pytest.raises(
        PromotionRefusedError, match="another promotion or rollback .* on elsewhere since"
    ):
        promote(name)
    assert aliases(store.client, name) == {"challenger": 1}
    for gone in (other_gate(), other_gate(machine="another", seen=0.0)):
        left = replace(gone, born="long ago") if gone.machine != "another" else gone
        store.client.set_registered_model_tag(name, champions.GATE, left.to_tag())
        with champions._locked(store.client, name):
            pass
    store.client.set_registered_model_tag(name, champions.GATE, "no gate wrote this")
    assert promote(name).done


def test_of_two_promotions_at_once_one_gives_up(
    store: Store, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.register(name, "good")
    set_tag = MlflowClient.set_registered_model_tag

    def overtaken(self: MlflowClient, name: str, key: str, value: str) -> None:
        set_tag(self, name, key, value)
        set_tag(self, name, key, other_gate().to_tag())

    monkeypatch.setattr(MlflowClient, "set_registered_model_tag", overtaken)
    with pytest.raises(PromotionRefusedError, match="is in progress"):
        promote(name)
    assert aliases(store.client, name) == {"challenger": 1}


def rivalled(store: Store, name: str, promotion: Callable[..., None]) -> Callable[..., None]:
    def late(*arguments: Any) -> None:
        store.client.set_registered_model_alias(name, "champion", "3")
        promotion(*arguments)

    return late


def test_a_rival_just_after_the_change_is_reported(store: Store, name: str) -> None:
    for model in ("bad", "good", "fair"):
        store.register(name, model)
    store.client.set_registered_model_alias(name, "champion", "1")
    set_alias = MlflowClient.set_registered_model_alias

    def overtaken(self: MlflowClient, name: str, alias: str, version: str) -> None:
        set_alias(self, name, alias, version)
        if alias == "champion":
            set_alias(self, name, alias, "3")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MlflowClient, "set_registered_model_alias", overtaken)
        with pytest.raises(
            PromotionRefusedError, match="it is version 3, this promotion made it version 2"
        ):
            promote(name, version=2)


def test_only_models_of_this_project_are_read(store: Store, name: str, tmp_path: Path) -> None:
    class Foreign(mlflow.pyfunc.PythonModel):  # type: ignore[misc, name-defined]
        def predict(self, context: Any, model_input: list[str]) -> list[str]:
            raise AssertionError("nothing out of an unknown model may run")

    mlflow.pyfunc.save_model(tmp_path / "foreign", python_model=Foreign(), pip_requirements=[])
    store.client.create_registered_model(name)
    tags = replace(store.score, value=0.9).to_tags()
    store.client.create_model_version(name, source=str(tmp_path / "foreign"), tags=tags)
    with pytest.raises(PromotionRefusedError, match="not a model of this project .*decide by hand"):
        promote(name, version=1)


def test_a_model_with_missing_files(store: Store, name: str, tmp_path: Path) -> None:
    store.client.create_registered_model(name)
    tags = replace(store.score, value=0.9).to_tags()
    store.client.create_model_version(name, source=str(tmp_path / "nowhere"), tags=tags)
    with pytest.raises(
        PromotionRefusedError, match=f"the model of version 1 of {name} is damaged or gone"
    ):
        promote(name, version=1)


def test_errors_of_the_store_are_not_user_errors(
    store: Store, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: MlflowClient, name: str) -> None:
        raise MlflowException("the disk is on fire")

    monkeypatch.setattr(MlflowClient, "get_registered_model", broken)
    with pytest.raises(MlflowException, match="on fire"):
        promote(name)
