"""Rollback to the previous champion."""

import pytest

from hpo.errors import UserError
from pipelines.promote import promote
from pipelines.registry import gate
from pipelines.registry.gate import PromotionRefusedError
from pipelines.registry.versions import aliases
from pipelines.rollback import rollback
from tests.pipelines.promotion.models import NAMES, Store, three_champions


def test_rollback_goes_back_step_by_step(store: Store, name: str) -> None:
    three_champions(store, name)
    text = str(rollback(name))
    assert f"version 2 of {name} is champion again instead of version 3; " in text
    assert "a further rollback leads to version 1" in text
    assert aliases(store.client, name) == {"challenger": 3, "champion": 2, "previous": 1}
    assert "there is nothing before it" in str(rollback(name))
    assert aliases(store.client, name) == {"challenger": 3, "champion": 1}
    with pytest.raises(UserError, match="has no previous champion: version 1 is the first one"):
        rollback(name)


def test_a_rolled_back_version_is_promoted_only_by_number(store: Store, name: str) -> None:
    three_champions(store, name)
    rollback(name)
    with pytest.raises(
        PromotionRefusedError, match=r"was rolled back \(to version 2, .*-P version=3"
    ):
        promote(name)
    store.client.set_registered_model_alias(name, "champion", str(store.register(name, "bad")))
    assert promote(name, version=3).done
    assert gate.ROLLED_BACK not in store.tags(name, 3)
    assert aliases(store.client, name) == {"challenger": 4, "champion": 3, "previous": 4}


def test_rollback_skips_versions_that_were_rolled_back_or_deleted(store: Store, name: str) -> None:
    three_champions(store, name)
    store.client.set_model_version_tag(name, "1", gate.ROLLED_BACK, "to version 0")
    assert rollback(name).previous is None
    other = next(NAMES)
    three_champions(store, other)
    store.client.delete_model_version(other, "1")
    assert rollback(other).previous is None
    assert aliases(store.client, other) == {"challenger": 3, "champion": 2}


def test_dry_rollback_changes_nothing(store: Store, name: str) -> None:
    three_champions(store, name)
    before = aliases(store.client, name)
    assert "would be champion again" in str(rollback(name, dry_run=True))
    assert aliases(store.client, name) == before
    assert gate.ROLLED_BACK not in store.tags(name, 3)


def test_rollback_completes_an_interrupted_promotion(store: Store, name: str) -> None:
    three_champions(store, name)
    store.client.set_registered_model_alias(name, "previous", "3")
    assert "stays champion: an interrupted promotion or rollback was completed" in str(
        rollback(name)
    )
    assert aliases(store.client, name) == {"challenger": 3, "champion": 3, "previous": 2}


def test_nothing_to_roll_back(store: Store, name: str) -> None:
    with pytest.raises(UserError, match="no registered model"):
        rollback(f"{name}-nowhere")
    store.register(name, "good")
    with pytest.raises(UserError, match="has no champion to roll back"):
        rollback(name)
