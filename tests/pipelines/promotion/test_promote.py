"""Which challengers are promoted, and which are refused."""

import re

import mlflow
import pytest

from pipelines.promote import promote
from pipelines.registry import gate
from pipelines.registry.gate import PromotionRefusedError
from pipelines.registry.versions import aliases
from tests.pipelines.promotion.models import Store


def test_the_first_champion_beats_the_trivial_baseline(store: Store, name: str) -> None:
    store.register(name, "good")
    result = promote(name)
    assert aliases(store.client, name) == {"challenger": 1, "champion": 1}
    text = str(result)
    scores = f"roc_auc {store.values['good']:.6g} against 0.5 of the trivial"
    assert f"version 1 of {name} is now champion: {scores}" in text
    assert "400 rows that the challenger's study held out" in text
    assert "latency p99 " in text
    assert "note:" not in text, "the score is the recorded one"
    tags = store.tags(name, 1)
    assert tags[gate.EVIDENCE] in text
    assert float(tags[gate.PROBABILITY]) > 0.95
    assert tags[gate.REPLACED] == "none"
    checks = mlflow.artifacts.load_text(tags[gate.TABLE])
    assert "\ntrivial baseline," in checks


def test_a_useless_first_model_is_refused(store: Store, name: str) -> None:
    store.register(name, "useless")
    with pytest.raises(
        PromotionRefusedError, match="not passed: trivial baseline; there is no champion yet"
    ):
        promote(name)
    assert aliases(store.client, name) == {"challenger": 1}
    assert gate.EVIDENCE not in store.tags(name, 1)


def test_a_better_model_is_promoted_and_the_old_one_becomes_previous(
    store: Store, name: str
) -> None:
    for model in ("bad", "fair", "good"):
        store.register(name, model)
        result = promote(name)
    assert aliases(store.client, name) == {"challenger": 3, "champion": 3, "previous": 2}
    assert "go back:  mlflow-warmstart rollback" in str(result)
    assert "of version 2, better with probability" in store.tags(name, 3)[gate.EVIDENCE]
    assert store.tags(name, 3)[gate.REPLACED] == "2"


@pytest.mark.parametrize("model", ["twin", "fair", "bad"])
def test_an_equal_or_worse_model_is_refused_with_the_table(
    store: Store, name: str, model: str
) -> None:
    store.register(name, "good")
    promote(name)
    store.register(name, model)
    with pytest.raises(PromotionRefusedError) as refused:
        promote(name)
    for words in (
        f"version 2 of {name} does not become champion",
        "not passed: champion (version 1); the champion stays version 1",
        f'set_registered_model_alias("{name}", "champion", "2")',
    ):
        assert words in str(refused.value)
    assert re.search(
        r"\nchampion \(version 1\) .* better with probability >= 0.95 +REFUSED\n",
        str(refused.value),
    )
    assert aliases(store.client, name) == {"challenger": 2, "champion": 1}


def test_margin_and_confidence(store: Store, name: str) -> None:
    store.register(name, "bad")
    promote(name)
    store.register(name, "good")
    gain = store.values["good"] - store.values["bad"]
    with pytest.raises(PromotionRefusedError, match=r"better by more than 0\.\d+ with probability"):
        promote(name, margin=round(1.5 * gain, 4))
    with pytest.raises(PromotionRefusedError, match=r"with probability >= 0\.9999"):
        promote(name, margin=round(0.8 * gain, 4), confidence=0.9999)
    assert promote(name, margin=round(0.5 * gain, 4)).done


def test_dry_run_changes_nothing(store: Store, name: str) -> None:
    store.register(name, "good")
    result = promote(name, dry_run=True)
    assert "would become champion" in str(result)
    assert aliases(store.client, name) == {"challenger": 1}
    assert gate.EVIDENCE not in store.tags(name, 1)


def test_champion_already(store: Store, name: str) -> None:
    store.register(name, "good")
    promote(name)
    result = promote(name)
    assert not result.done
    assert "nothing to do" in str(result)


def test_a_version_by_number(store: Store, name: str) -> None:
    store.register(name, "bad")
    store.register(name, "good")
    assert promote(name, version=1).champion.version == 1
    assert promote(name).champion.version == 2
