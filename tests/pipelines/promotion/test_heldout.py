"""The rows that a challenger and a champion are compared on."""

from pathlib import Path

import pandas as pd
import pytest

from hpo.errors import DataError
from pipelines.promote import promote
from pipelines.registry.gate import PromotionRefusedError
from tests.pipelines.promotion.models import Store, make_table


def test_new_rows(store: Store, name: str, tmp_path: Path) -> None:
    store.register(name, "bad")
    promote(name)
    store.register(name, "good")
    new = make_table(300, seed=9)
    new.loc[:4, "answer"] = None
    new.to_csv(tmp_path / "new.csv", index=False)
    text = str(promote(name, data=str(tmp_path / "new.csv"), dry_run=True))
    assert "295 new rows of new.csv" in text
    assert "note: 5 of 300 rows of new.csv have no 'answer'" in text
    assert promote(name, data=new).done


def test_new_rows_without_the_target_or_with_other_labels(store: Store, name: str) -> None:
    store.register(name, "good")
    new = make_table(300, seed=9)
    with pytest.raises(DataError, match="no target column 'answer', did you mean 'answers'"):
        promote(name, data=new.rename(columns={"answer": "answers"}))
    with pytest.raises(DataError, match="labels that are no class: 'maybe'"):
        promote(name, data=new.assign(answer=["maybe", *new["answer"][1:]]))
    with pytest.raises(DataError, match="version 1, cannot predict the new rows .* lacks 1 column"):
        promote(name, data=new.drop(columns="x"))


def test_the_studys_own_table_gives_its_held_out_rows(store: Store, name: str) -> None:
    store.register(name, "good")
    result = promote(name, data=pd.read_csv(store.table), dry_run=True)
    assert "400 rows that the challenger's study held out" in str(result)


def test_rows_of_the_training_table_are_refused(store: Store, name: str) -> None:
    store.register(name, "good")
    grown = pd.concat([pd.read_csv(store.table), make_table(300, seed=9)])
    with pytest.raises(
        PromotionRefusedError,
        match="87% of the rows of the table in memory are also in the table of",
    ):
        promote(name, data=grown)


def test_a_missing_or_changed_table_is_an_error(store: Store, name: str) -> None:
    store.register(name, "good")
    content = store.table.read_bytes()
    try:
        store.table.write_bytes(content + b"0,0,a,yes\n")
        with pytest.raises(PromotionRefusedError, match="has changed since .* as -P data="):
            promote(name)
        store.table.unlink()
        with pytest.raises(PromotionRefusedError, match="no longer exists.* 'answer', as -P data="):
            promote(name)
        assert promote(name, data=make_table(300, seed=9)).done
    finally:
        store.table.write_bytes(content)


def test_too_few_rows(store: Store, name: str) -> None:
    store.register(name, "good")
    with pytest.raises(
        PromotionRefusedError, match="49 new rows of the table in memory are too few"
    ):
        promote(name, data=make_table(49, seed=9))


def test_a_deleted_study(store: Store, name: str) -> None:
    store.register(name, "good", study="0" * 32)
    with pytest.raises(PromotionRefusedError, match="there is no run '0000.*decide by hand"):
        promote(name)


def test_a_champion_of_other_rows_is_compared_and_noted(store: Store, name: str) -> None:
    store.register(name, "bad", data="d2", value=0.99)
    store.client.set_registered_model_alias(name, "champion", "1")
    store.register(name, "good")
    assert "note: the champion comes from another table or split" in str(promote(name))


def test_a_score_that_is_not_the_recorded_one_is_noted(store: Store, name: str) -> None:
    store.register(name, "good", value=0.7)
    assert "note: the challenger was recorded with roc_auc 0.7 on these rows" in str(promote(name))
