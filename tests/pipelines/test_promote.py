"""The gate: what is promoted, what is refused and why, and what kills and rivals leave behind."""

import itertools
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from hpo.errors import DataError, ParameterError, UserError
from pipelines import entry_points
from pipelines.promote import promote
from pipelines.registry import comparison, gate
from pipelines.registry import versions as registry
from pipelines.registry.comparison import Served, compare
from pipelines.registry.gate import (
    Candidate,
    Check,
    HeldOutScore,
    Limits,
    PromotionRefusedError,
    Verdict,
    read_latency,
)
from pipelines.registry.heldout import HeldOut
from pipelines.registry.logged import LoggedWinner, log_winner
from pipelines.registry.versions import aliases
from pipelines.rollback import rollback
from pipelines.store.lease import Driver, birth
from pipelines.table import bootstrap
from pipelines.table.metrics import METRICS
from pipelines.table.source import Source
from serving.columns import BooleanColumn, CategoricalColumn, Column, DateColumn, NumericColumn
from serving.features import FeatureEncoder, TargetEncoder
from serving.members import LinearMember, LinearWeights, seal
from serving.predictor import Predictor
from tests import stores

NAMES = (f"gate-{i}" for i in itertools.count())
WEIGHTS = {
    "good": (1.0, 0.0),
    "twin": (1.0, 1e-9),
    "fair": (1.0, 0.8),
    "bad": (1.0, 3.0),
    "useless": (0.0, 1.0),
}
YES_NO = TargetEncoder("binary", ("no", "yes"))
X, Z, KIND = (
    NumericColumn("x"),
    NumericColumn("z"),
    CategoricalColumn("kind", ("a", "b"), other=True),
)


def make_table(rows: int, seed: int = 0) -> pd.DataFrame:
    """`x` decides `answer`, `z` does not; of one `kind` the answer is the other way round."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"x": rng.normal(size=rows), "z": rng.normal(size=rows)})
    frame["kind"] = rng.choice(["a", "b"], rows, p=[0.7, 0.3])
    frame["answer"] = np.where(frame["x"] + rng.normal(0, 0.7, rows) > 0, "yes", "no")
    return frame


def linear(weights: tuple[float, float], columns: tuple[Column, ...] = (X, Z)) -> LinearWeights:
    """A logistic model of the first numeric columns; other columns have no weight."""
    features = FeatureEncoder(columns)
    p = len(features.numeric_names)
    coefficients = np.zeros((1, 2 * p + sum(features.cardinalities)))
    coefficients[0, : min(p, 2)] = np.array(weights)[: min(p, 2)]
    return LinearWeights(np.zeros(p), np.ones(p), features.cardinalities, coefficients, np.zeros(1))


def predictor(
    weights: tuple[float, float],
    columns: tuple[Column, ...] = (X, Z),
    target: TargetEncoder = YES_NO,
) -> Predictor:
    return Predictor(
        FeatureEncoder(columns), target, (LinearMember(linear(weights, columns), target.kind),)
    )


def write(folder: Path, weights: tuple[float, float], columns: tuple[Column, ...] = (X, Z)) -> Path:
    """The same as the folder of a logged model."""
    member = folder.with_name(f"{folder.name}-member")
    member.mkdir(parents=True)
    (member / "weights.json").write_text(json.dumps(linear(weights, columns).to_dict()))
    seal(member, {"family": "linear", "kind": "binary", "weights": "weights.json"})
    Predictor(FeatureEncoder(columns), YES_NO, ()).save(folder, [member])
    return folder


@dataclass(frozen=True)
class Store:
    """A tracking store with a study of `table` and some logged models by name."""

    client: MlflowClient
    table: Path
    study: str
    score: HeldOutScore
    logged: Mapping[str, LoggedWinner]
    values: Mapping[str, float]

    def register(self, name: str, model: str, **changes: Any) -> int:
        """A new version, and challenger, of a registered model."""
        value = changes.pop("value", self.values[model])
        registered = registry.register_winner(
            self.client,
            self.logged[model],
            name,
            study=changes.pop("study", self.study),
            trial="trial-run",
            family="linear",
            score=replace(self.score, value=value, **changes),
        )
        return registered.version

    def bare(self, name: str, *tags: Mapping[str, str], **aliases: int) -> None:
        """Versions of the model "good", quickly: a registered model with these tags of versions and aliases."""
        self.client.create_registered_model(name)
        for own in tags:
            scored = {
                **replace(self.score, value=self.values["good"]).to_tags(),
                "hpo.study": self.study,
            }
            source = self.logged["good"].uri
            self.client.create_model_version(name, source, self.study, tags={**scored, **own})
        for alias, number in aliases.items():
            self.client.set_registered_model_alias(name, alias, str(number))

    def tags(self, name: str, version: int) -> Mapping[str, str]:
        return dict(self.client.get_model_version(name, str(version)).tags)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("gate")
    with pytest.MonkeyPatch.context() as patch:
        uri = stores.sqlite_uri()
        patch.delenv("MLFLOW_RUN_ID", raising=False)
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        patch.setattr(mlflow, "get_tracking_uri", stores.sqlite_uri)
        patch.setattr(bootstrap, "MOST_DRAWS", 1_000)
        patch.setattr(comparison, "MOST_REQUESTS", 3)
        patch.setattr(comparison, "MOST_BATCHES", 2)
        patch.setattr(registry, "SETTLE", 0.0)
        yield make_store(folder, MlflowClient(uri))


def make_store(folder: Path, client: MlflowClient) -> Store:
    table = make_table(2_000)
    place = folder / "answers.csv"
    table.to_csv(place, index=False)
    source = Source(str(place), "answer", "auto", "random", 0.2, "holdout", 3)
    prepared = source.prepare()
    plan = source.plan(prepared)
    study = stores.study(metric="roc_auc", direction="maximize", seed=3, data=plan.__dict__)
    study.close()
    logged, values = {}, {}
    for name, columns in [*((name, (X, Z)) for name in WEIGHTS), ("wider", (X, Z, KIND))]:
        weights = WEIGHTS.get(name, WEIGHTS["good"])
        example = table[[column.name for column in columns]].head()
        logged[name] = log_winner(
            client, study.run_id, write(folder / name, weights, columns), example
        )
        prediction = predictor(weights, columns).predict_raw(prepared.test_frame)
        values[name] = METRICS["roc_auc"](prepared.y_test, prediction)
    score = HeldOutScore(
        "roc_auc", True, 0.5, 0.5, prepared.digest, prepared.rows.digest, len(prepared.test_frame)
    )
    return Store(client, place, study.run_id, score, logged, values)


@pytest.fixture
def name(store: Store) -> str:
    return next(NAMES)


# --- who is promoted
# --------------------------------------------------------------------------------


def test_the_first_champion_beats_the_trivial_baseline(store: Store, name: str) -> None:
    store.register(name, "good")
    result = promote(name)
    assert aliases(store.client, name) == {"challenger": 1, "champion": 1}
    text = str(result)
    assert (
        f"version 1 of {name} is now champion: roc_auc {store.values['good']:.6g} against 0.5 of the trivial"
        in text
    )
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


def test_a_better_model_is_promoted_and_the_old_one_kept(store: Store, name: str) -> None:
    for model in ("bad", "fair", "good"):
        store.register(name, model)
        result = promote(name)
    assert aliases(store.client, name) == {"challenger": 3, "champion": 3, "previous": 2}
    assert "go back:  mlflow run . -e rollback" in str(result)
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


def test_a_margin_and_a_confidence_can_be_asked_for(store: Store, name: str) -> None:
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


# --- what it is compared on
# -------------------------------------------------------------------------


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


def test_the_studys_own_table_means_the_rows_that_were_held_out_of_it(
    store: Store, name: str
) -> None:
    store.register(name, "good")
    result = promote(name, data=pd.read_csv(store.table), dry_run=True)
    assert "400 rows that the challenger's study held out" in str(result)


def test_rows_that_were_trained_on_are_not_new(store: Store, name: str) -> None:
    store.register(name, "good")
    grown = pd.concat([pd.read_csv(store.table), make_table(300, seed=9)])
    with pytest.raises(
        PromotionRefusedError, match="87% of the rows of the table in memory stand in the table of"
    ):
        promote(name, data=grown)


def test_a_table_that_is_gone_or_changed_is_told_with_the_way_out(store: Store, name: str) -> None:
    store.register(name, "good")
    content = store.table.read_bytes()
    try:
        store.table.write_bytes(content + b"0,0,a,yes\n")
        with pytest.raises(PromotionRefusedError, match="has changed since .* as -P data="):
            promote(name)
        store.table.unlink()
        with pytest.raises(
            PromotionRefusedError, match="no file .* any more.* 'answer', as -P data="
        ):
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


def test_a_study_that_is_gone(store: Store, name: str) -> None:
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


# --- other forms, slow ones, large ones, slices
# -----------------------------------------------------


def test_a_model_of_another_schema_is_refused(store: Store, name: str) -> None:
    store.register(name, "bad")
    promote(name)
    store.register(name, "wider")
    with pytest.raises(
        PromotionRefusedError, match="needs column.s. that the champion does not: 'kind'"
    ):
        promote(name)
    assert aliases(store.client, name)["champion"] == 1


def rows_of(frame: pd.DataFrame, groups: Any = None) -> HeldOut:
    y = YES_NO.encode(frame["answer"])
    return HeldOut(frame.drop(columns="answer"), y, groups, False, "new rows")


SCORE = HeldOutScore("roc_auc", True, 0.9, 0.5, "d", "s", 500)


@pytest.mark.parametrize(
    ("columns", "before", "words"),
    [
        ((X,), (X, Z), ""),
        ((X, CategoricalColumn("z", ("1",))), (X, Z), ""),
        ((X, NumericColumn("z", dirty=True)), (X, Z), ""),
        ((X, Z), (X, BooleanColumn("z")), ""),
        (
            (X, Z),
            (X, CategoricalColumn("z", ("1",))),
            "reads 'z' as numeric, the champion as categorical",
        ),
        (
            (X, Z),
            (X, NumericColumn("z", dirty=True)),
            "the champion as numeric .others count as missing",
        ),
        ((X, BooleanColumn("z")), (X, Z), "reads 'z' as boolean, the champion as numeric"),
        (
            (X, Z),
            (X, DateColumn("z", "ISO8601", ("year",))),
            "the champion as date of the form ISO8601",
        ),
    ],
)
def test_what_the_champion_takes_the_challenger_must_take(
    columns: tuple[Column, ...], before: tuple[Column, ...], words: str
) -> None:
    check = comparison._schema(predictor((1, 0), columns), predictor((1, 0), before))
    assert check.passed is not bool(words)
    assert words.replace(".", "(") in check.found.replace("(", "(")


def test_answers_in_another_form_are_refused() -> None:
    numbers = predictor((1, 0), target=TargetEncoder("regression"))
    swapped = predictor((1, 0), target=TargetEncoder("binary", ("nein", "ja")))
    for other, words in (
        (numbers, "answers binary, 2 classes, the champion regression"),
        (swapped, "'nein', 'ja'"),
    ):
        verdict = compare(
            Served(2, predictor((1, 0)), 10),
            Served(1, other, 10),
            rows_of(make_table(50)),
            SCORE,
            Limits(),
        )
        assert [check.name for check in verdict.failed] == ["schema"]
        assert words in verdict.table()


def test_a_model_slower_or_larger_than_the_limit_is_refused(store: Store, name: str) -> None:
    store.register(name, "good")
    with pytest.raises(PromotionRefusedError, match="not passed: latency p99;"):
        promote(name, max_latency=1e-6)
    with pytest.raises(PromotionRefusedError, match="not passed: latency p50x1000;"):
        promote(name, max_latency="p99:100000,p50x1000:1e-6")
    with pytest.raises(PromotionRefusedError, match="not passed: size;"):
        promote(name, max_size=1e-6)
    assert promote(name, max_latency=100_000, max_size=100).done


def test_a_group_for_which_it_is_worse(store: Store, name: str) -> None:
    frame = make_table(500)
    turned = np.where(frame["kind"] == "b", -1.0, 1.0)
    half_right = frame.assign(
        x=frame["x"] * turned
    )  # as if the challenger were wrong about one kind
    verdict = compare(
        Served(2, predictor((1, 0)), 10),
        Served(1, predictor((0, 1)), 10),
        rows_of(half_right),
        SCORE,
        Limits(slice="kind", tolerance=0.05, confidence=0.5),
    )
    assert [check.name for check in verdict.failed] == ["slice kind='b'"]
    assert "worse by more than 0.05 with probability < 0.975" in verdict.table()
    assert not verdict.notes


def sliced(n: int, worse: int, groups: int = 8, units: Any = None) -> tuple[list[Check], list[str]]:
    """`groups` of n rows each, where both models err, the challenger on `worse` rows more of the first, 40 in all."""
    y = np.zeros(n * groups, dtype=np.int64)
    of_group, row = np.divmod(np.arange(len(y)), n)
    champion = row % 3 == 0
    challenger = np.where((of_group == 0) & (row % 3 == 1) & (row // 3 < worse), True, champion)
    frame = pd.DataFrame({"group": of_group.astype(str)})
    rows = HeldOut(frame, y, units, False, "new rows")
    one, other = (
        np.column_stack([~errs, errs]).astype(np.float64) for errs in (challenger, champion)
    )
    return comparison.slices(METRICS["accuracy"], rows, one, other, "group", 0.01)


def test_a_group_is_not_refused_by_luck_and_does_not_pass_by_it_in_silence() -> None:
    checks, doubts = sliced(
        60, worse=2
    )  # 3 % of 60 rows: more than the tolerance, and no more than luck may give
    assert all(check.passed for check in checks)
    assert "on 1 of 8 groups of 'group' the rows cannot rule out" in doubts[0]
    checks, doubts = sliced(600, worse=40)  # 7 % of 600 rows
    assert [check.passed for check in checks] == [False, *[True] * 7]
    assert not doubts


def test_many_groups_ask_for_more_evidence_as_far_as_there_can_be_any() -> None:
    assert sliced(60, worse=7, groups=1)[0][0].passed is False
    assert sliced(60, worse=7, groups=40)[0][0].passed is True
    checks, _ = sliced(60, worse=20, groups=500)  # 1 - 0.05 / 500 is more than draws can show
    assert "probability < 0.996" in checks[0].rule
    assert [check.passed for check in checks] == [False, *[True] * 499]


def test_a_slice_that_is_one_group_of_the_split_is_judged_by_its_rows() -> None:
    units = np.repeat(np.arange(8), 600)
    assert [check.passed for check in sliced(600, 40, units=units)[0]] == [False, *[True] * 7]
    both = np.repeat(np.arange(80), 60)  # ten units in a group, of which one errs more
    assert sliced(600, 20, units=both)[0][0].passed is True


def test_a_slice_must_be_a_column_with_groups(store: Store, name: str) -> None:
    store.register(name, "good")
    assert "slice kind='a'" in str(promote(name, slice="kind", dry_run=True))
    with pytest.raises(DataError, match="slice='kinds' is no column.*did you mean 'kind'"):
        promote(name, slice="kinds")
    with pytest.raises(DataError, match="slice='x' has no group with 50"):
        promote(name, slice="x")


def test_strange_names_of_groups_break_no_table() -> None:
    frame = make_table(400)
    strange = ["=1+1", 'a\nb,"<b>', "x" * 10_000, "y"]
    frame["kind"] = [strange[i % 4] for i in range(400)]
    frame.loc[:3, "kind"] = ["rare 1", "rare 2", "rare 3", None]
    verdict = compare(
        Served(2, predictor((1, 0)), 10),
        None,
        rows_of(frame),
        SCORE,
        Limits(slice="kind", tolerance=1.0),
    )
    assert max(map(len, verdict.table().splitlines())) < 400
    assert "slice kind, others" in verdict.table()
    assert len(verdict.to_csv().splitlines()) == 1 + len(verdict.checks)


@pytest.mark.parametrize("text", ["fast", "p98:3", "p50:", "p50=3"])
def test_unreadable_limits_of_latency(text: str) -> None:
    with pytest.raises(ParameterError, match="max_latency="):
        read_latency(text)


def test_limits_of_latency() -> None:
    assert read_latency(None) == {}
    assert read_latency("20") == read_latency(20) == {"p99": 20.0}
    assert read_latency("p50:5, p99x1000:80") == {"p50": 5.0, "p99x1000": 80.0}


# --- killed, raced, broken
# --------------------------------------------------------------------------


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
        compared = patch.setattr(registry, "crown", rivalled(store, name, registry.crown))
        assert compared is None
        with pytest.raises(
            PromotionRefusedError, match="it is version 3, version 2 was compared with version 1"
        ):
            promote(name, version=2)
    assert aliases(store.client, name) == {"challenger": 3, "champion": 3}


def test_two_gates_at_once_in_two_processes(store: Store, name: str) -> None:
    for model in ("bad", "good", "twin"):
        store.register(name, model)
    store.client.set_registered_model_alias(name, "champion", "1")
    environment = {**os.environ, "PYTHONPATH": str(Path(registry.__file__).parents[2])}
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
    # Told apart by the claim, by the champion that has changed, or by a comparison with it.
    assert re.search("is at work|has changed the champion|does not become champion", said[loser])
    assert registry.GATE not in store.client.get_registered_model(name).tags


def other_gate(host: str = "here", **changes: Any) -> Driver:
    """A gate of a process that lives, but for what `changes` say."""
    parent = os.getppid()
    return replace(Driver.myself(), host=host, pid=parent, born=birth(parent), **changes)


def test_a_gate_waits_for_no_other_but_says_who_is_at_work(store: Store, name: str) -> None:
    store.register(name, "good")
    store.client.set_registered_model_tag(name, registry.GATE, other_gate("elsewhere").to_tag())
    with pytest.raises(
        PromotionRefusedError, match="another promotion or rollback .* on elsewhere since"
    ):
        promote(name)
    assert aliases(store.client, name) == {"challenger": 1}
    for gone in (other_gate(), other_gate(machine="another", seen=0.0)):
        left = replace(gone, born="long ago") if gone.machine != "another" else gone
        store.client.set_registered_model_tag(name, registry.GATE, left.to_tag())
        with registry._alone(store.client, name):
            pass
    store.client.set_registered_model_tag(name, registry.GATE, "no gate wrote this")
    assert promote(name).done


def test_of_two_gates_that_claim_at_once_one_goes_on(
    store: Store, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.register(name, "good")
    set_tag = MlflowClient.set_registered_model_tag

    def overtaken(self: MlflowClient, name: str, key: str, value: str) -> None:
        set_tag(self, name, key, value)
        set_tag(self, name, key, other_gate().to_tag())

    monkeypatch.setattr(MlflowClient, "set_registered_model_tag", overtaken)
    with pytest.raises(PromotionRefusedError, match="is at work"):
        promote(name)
    assert aliases(store.client, name) == {"challenger": 1}


def rivalled(store: Store, name: str, crown: Callable[..., None]) -> Callable[..., None]:
    def late(*arguments: Any) -> None:
        store.client.set_registered_model_alias(name, "champion", "3")
        crown(*arguments)

    return late


def test_a_rival_at_the_very_moment_is_told(store: Store, name: str) -> None:
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
    with pytest.raises(PromotionRefusedError, match="no model of this project .*decide by hand"):
        promote(name, version=1)


def test_a_model_whose_files_are_gone(store: Store, name: str, tmp_path: Path) -> None:
    store.client.create_registered_model(name)
    tags = replace(store.score, value=0.9).to_tags()
    store.client.create_model_version(name, source=str(tmp_path / "nowhere"), tags=tags)
    with pytest.raises(
        PromotionRefusedError, match=f"the model of version 1 of {name} is damaged or gone"
    ):
        promote(name, version=1)


def test_errors_of_the_store_are_not_taken_for_the_users(
    store: Store, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: MlflowClient, name: str) -> None:
        raise MlflowException("the disk is on fire")

    monkeypatch.setattr(MlflowClient, "get_registered_model", broken)
    with pytest.raises(MlflowException, match="on fire"):
        promote(name)


# --- rollback
# ---------------------------------------------------------------------------------------


def three_champions(store: Store, name: str) -> None:
    """Versions 1, 2 and 3 were promoted one after the other."""
    replaced = [{gate.REPLACED: number} for number in ("none", "1", "2")]
    store.bare(name, *replaced, champion=3, previous=2, challenger=3)


def test_rollback_goes_back_step_by_step(store: Store, name: str) -> None:
    three_champions(store, name)
    text = str(rollback(name))
    assert (
        f"version 2 of {name} is champion again instead of version 3; a further rollback leads to version 1"
        in text
    )
    assert aliases(store.client, name) == {"challenger": 3, "champion": 2, "previous": 1}
    assert "there is nothing before it" in str(rollback(name))
    assert aliases(store.client, name) == {"challenger": 3, "champion": 1}
    with pytest.raises(UserError, match="has no previous champion: version 1 is the first one"):
        rollback(name)


def test_what_was_rolled_back_is_promoted_only_when_named(store: Store, name: str) -> None:
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


def test_rollback_leads_to_no_version_that_was_rolled_back_or_deleted(
    store: Store, name: str
) -> None:
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


def test_rollback_makes_up_the_end_of_an_interrupted_promotion(store: Store, name: str) -> None:
    three_champions(store, name)
    store.client.set_registered_model_alias(name, "previous", "3")
    assert "stays champion: a promotion or rollback had been interrupted" in str(rollback(name))
    assert aliases(store.client, name) == {"challenger": 3, "champion": 3, "previous": 2}


def test_nothing_to_roll_back(store: Store, name: str) -> None:
    with pytest.raises(UserError, match="no registered model"):
        rollback(f"{name}-nowhere")
    store.register(name, "good")
    with pytest.raises(UserError, match="has no champion to roll back"):
        rollback(name)


# --- mistakes
# ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0.8, math.inf, 1 / 3])
def test_tags_hold_the_score_exactly(value: float) -> None:
    score = replace(SCORE, value=value, greater_is_better=False)
    assert HeldOutScore.from_tags(score.to_tags(), "it") == score


def test_no_such_model(store: Store, name: str) -> None:
    store.register(name, "good")
    with pytest.raises(UserError, match=f"no registered model '{name}x', did you mean 'gate-"):
        promote(f"{name}x")


def test_no_such_version_and_no_challenger(store: Store, name: str) -> None:
    store.client.create_registered_model(name)
    with pytest.raises(
        UserError, match=f"has no challenger; register one with `tune -P register={name}`"
    ):
        promote(name)
    store.register(name, "good")
    with pytest.raises(UserError, match="no version 7; it has: 1"):
        promote(name, version=7)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"version": 0}, "version=0 must be 1 or more"),
        ({"name": "in/come"}, "it contains /"),
        ({"margin": -1.0}, "margin=-1.0 must be 0 or greater"),
        ({"margin": math.nan}, "margin=nan must be 0 or greater"),
        ({"confidence": 95.0}, "confidence=95.0 must be at least 0.5 and less than 1"),
        ({"tolerance": -1.0, "max_size": 0.0}, "2 mistakes"),
        ({"max_latency": 0.0}, "max_latency=p99:0 must be greater than 0"),
    ],
)
def test_impossible_parameters(store: Store, given: Mapping[str, Any], words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        promote(**{"name": "income", **given})


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_score_that_is_no_number_is_refused(store: Store, name: str, value: float) -> None:
    store.register(name, "good", value=value)
    with pytest.raises(
        PromotionRefusedError, match=f"version 1 of {name} scored {value} on the held-out rows"
    ):
        promote(name)


def test_versions_without_a_readable_score(store: Store, name: str) -> None:
    number = store.register(name, "good")
    store.client.set_model_version_tag(name, str(number), "hpo.test.score", "good")
    with pytest.raises(PromotionRefusedError, match="hpo.test.score='good'"):
        promote(name)
    store.client.delete_model_version_tag(name, str(number), "hpo.test.score")
    with pytest.raises(
        PromotionRefusedError, match=f"version 1 of {name} has no held-out score.*hpo.test.score"
    ):
        promote(name)


def test_parameters_are_read_off_the_signature() -> None:
    found = {parameter.name: parameter for parameter in entry_points.parameters(promote)}
    assert list(found)[:3] == ["name", "version", "dry_run"]
    assert found["name"].default is None
    assert found["version"].parse("none") is None
    assert found["dry_run"].parse("true") is True
    assert found["margin"].parse("0.01") == 0.01
    assert found["max_latency"].parse("p50:3") == "p50:3"
    assert all(parameter.help for parameter in found.values())


def test_candidates_name_themselves() -> None:
    assert str(Candidate("m", 1, None, {})) == "version 1 of m"
