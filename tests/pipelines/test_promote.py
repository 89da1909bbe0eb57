import itertools
import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from hpo.errors import ParameterError, UserError
from pipelines import entry_points
from pipelines.gate import Candidate, HeldOutScore, PromotionRefusedError, judge
from pipelines.promote import EVIDENCE, promote
from pipelines.registry import aliases

SCORE = HeldOutScore("roc_auc", True, 0.8, 0.5, data="d1", split="random, 0.2, seed 0", rows=9_769)
LOSS = HeldOutScore("log_loss", False, 0.4, 0.55, data="d1", split="random, 0.2, seed 0", rows=9_769)
NAMES = (f"model-{i}" for i in itertools.count())


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowClient]:
    directory = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{directory}/mlflow.db")
        yield MlflowClient()


@pytest.fixture
def name(client: MlflowClient) -> str:
    found = next(NAMES)
    client.create_registered_model(found)
    return found


def add(client: MlflowClient, name: str, score: HeldOutScore | None) -> int:
    """A new version with the alias `challenger`."""
    tags = score.to_tags() if score else {}
    number = client.create_model_version(name, source="somewhere", tags=tags).version
    client.set_registered_model_alias(name, "challenger", str(number))
    return int(number)


@pytest.mark.parametrize("score", [SCORE, LOSS, replace(SCORE, value=1 / 3, baseline=math.inf)])
def test_tags_hold_the_score_exactly(score: HeldOutScore) -> None:
    assert HeldOutScore.from_tags(score.to_tags(), "it") == score


def test_first_champion_beats_the_trivial_baseline(client: MlflowClient, name: str) -> None:
    add(client, name, SCORE)
    result = promote(name)
    assert aliases(client, name) == {"challenger": 1, "champion": 1}
    for words in (
        "version 1 of",
        "is now champion",
        "roc_auc 0.8 against 0.5 of the trivial baseline",
        "9,769",
    ):
        assert words in str(result)
    assert f"models:/{name}@champion" in str(result)


def test_first_champion_must_beat_the_trivial_baseline(client: MlflowClient, name: str) -> None:
    add(client, name, replace(SCORE, value=0.5))
    with pytest.raises(PromotionRefusedError, match="does not beat the trivial baseline.*0.5 against 0.5"):
        promote(name)
    assert aliases(client, name) == {"challenger": 1}


def test_two_promotions_in_a_row(client: MlflowClient, name: str) -> None:
    for value in (0.8, 0.85, 0.9):
        add(client, name, replace(SCORE, value=value))
        result = promote(name)
    assert aliases(client, name) == {"challenger": 3, "champion": 3, "previous": 2}
    assert "roc_auc 0.9 against 0.85 of version 2" in str(result)
    assert 'set_registered_model_alias("' + name + '", "champion", "2")' in str(result)
    assert "0.85 of version 2" in client.get_model_version(name, "3").tags[EVIDENCE]


def test_lower_is_better_for_a_loss(client: MlflowClient, name: str) -> None:
    add(client, name, LOSS)
    promote(name)
    add(client, name, replace(LOSS, value=0.3))
    promote(name)
    add(client, name, replace(LOSS, value=0.35))
    with pytest.raises(PromotionRefusedError, match="0.35 against 0.3 of version 2 .lower is better"):
        promote(name)
    assert aliases(client, name)["champion"] == 2


@pytest.mark.parametrize("value", [0.8, 0.79, math.nan, math.inf])
def test_what_is_not_better_is_refused_with_the_numbers(
    client: MlflowClient, name: str, value: float
) -> None:
    add(client, name, SCORE)
    promote(name)
    add(client, name, replace(SCORE, value=value))
    with pytest.raises(PromotionRefusedError, match=f"version 2 of {name}.*{value}"):
        promote(name)
    assert aliases(client, name) == {"challenger": 2, "champion": 1}


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (replace(SCORE, data="d2"), "data d2 against d1"),
        (
            replace(SCORE, split="random, 0.2, seed 1"),
            "split random, 0.2, seed 1 against random, 0.2, seed 0",
        ),
        (replace(SCORE, rows=10), "held-out rows 10 against 9769"),
        (replace(LOSS, data="d2"), "metric log_loss against roc_auc; .*data d2 against d1"),
    ],
)
def test_scores_of_other_rows_or_metrics_are_not_compared(
    client: MlflowClient, name: str, other: HeldOutScore, words: str
) -> None:
    add(client, name, SCORE)
    promote(name)
    add(client, name, replace(other, value=0.99 if other.greater_is_better else 0.01))
    with pytest.raises(PromotionRefusedError, match=words):
        promote(name)
    assert aliases(client, name)["champion"] == 1


def test_dry_run_changes_nothing(client: MlflowClient, name: str) -> None:
    add(client, name, SCORE)
    result = promote(name, dry_run=True)
    assert "would become champion" in str(result)
    assert aliases(client, name) == {"challenger": 1}
    assert EVIDENCE not in client.get_model_version(name, "1").tags


def test_champion_already(client: MlflowClient, name: str) -> None:
    add(client, name, SCORE)
    promote(name)
    result = promote(name)
    assert not result.done
    assert "nothing to do" in str(result)


def test_a_version_by_number(client: MlflowClient, name: str) -> None:
    add(client, name, SCORE)
    add(client, name, replace(SCORE, value=0.9))
    assert promote(name, version=1).champion.version == 1
    assert promote(name).champion.version == 2


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("survived", range(4))
def test_killed_between_registry_calls_and_run_again(
    client: MlflowClient, name: str, survived: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(client, name, SCORE)
    promote(name)
    add(client, name, replace(SCORE, value=0.9))
    calls = itertools.count()
    with monkeypatch.context() as patch:
        for method in ("set_model_version_tag", "set_registered_model_alias"):
            original = getattr(MlflowClient, method)

            def fatal(*arguments: str, original: object = original) -> None:
                if next(calls) == survived:
                    raise KilledError
                assert callable(original)
                original(*arguments)

            patch.setattr(MlflowClient, method, fatal)
        if survived < 3:
            with pytest.raises(KilledError):
                promote(name)
            assert aliases(client, name)["champion"] == 1
        else:
            promote(name)
    promote(name)
    assert aliases(client, name) == {"challenger": 2, "champion": 2, "previous": 1}
    assert "0.9 against 0.8 of version 1" in client.get_model_version(name, "2").tags[EVIDENCE]


def test_no_such_model(client: MlflowClient, name: str) -> None:
    with pytest.raises(UserError, match=f"no registered model '{name}x', did you mean 'model-"):
        promote(f"{name}x")


def test_no_such_version(client: MlflowClient, name: str) -> None:
    add(client, name, SCORE)
    with pytest.raises(UserError, match="no version 7; it has: 1"):
        promote(name, version=7)


def test_no_challenger(client: MlflowClient, name: str) -> None:
    with pytest.raises(UserError, match=f"has no challenger; register one with `tune -P register={name}`"):
        promote(name)


def test_impossible_parameters(client: MlflowClient) -> None:
    with pytest.raises(ParameterError, match="version=0 must be 1 or more"):
        promote("income", version=0)
    with pytest.raises(ParameterError, match="it contains /"):
        promote("in/come")


def test_version_without_a_score(client: MlflowClient, name: str) -> None:
    add(client, name, None)
    with pytest.raises(
        PromotionRefusedError, match=f"version 1 of {name} has no held-out score.*hpo.test.score"
    ):
        promote(name)


def test_version_with_an_unreadable_score(client: MlflowClient, name: str) -> None:
    number = add(client, name, SCORE)
    client.set_model_version_tag(name, str(number), "hpo.test.score", "good")
    with pytest.raises(PromotionRefusedError, match="hpo.test.score='good'"):
        promote(name)


def test_version_without_a_baseline(client: MlflowClient, name: str) -> None:
    add(client, name, replace(SCORE, baseline=math.nan))
    with pytest.raises(PromotionRefusedError, match="no trivial baseline"):
        promote(name)


def test_errors_of_the_store_are_not_taken_for_the_users(
    client: MlflowClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: MlflowClient, name: str) -> None:
        raise MlflowException("the disk is on fire")

    monkeypatch.setattr(MlflowClient, "get_registered_model", broken)
    with pytest.raises(MlflowException, match="on fire"):
        promote(name)


def test_judge_needs_no_registry() -> None:
    one, two = Candidate("m", 1, SCORE), Candidate("m", 2, replace(SCORE, value=0.81))
    judge(two, one)
    with pytest.raises(PromotionRefusedError):
        judge(one, two)


def test_parameters_are_read_off_the_signature() -> None:
    found = {parameter.name: parameter for parameter in entry_points.parameters(promote)}
    assert list(found) == ["name", "version", "dry_run"]
    assert found["name"].default is None
    assert found["version"].parse("none") is None
    assert found["dry_run"].parse("true") is True
    assert all(parameter.help for parameter in found.values())
