"""The model card: its text, names that could break it, and YAML that reads back exactly."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpo.goals import Goal
from hpo.space.parameters import Params
from hpo.space.yaml import load
from hpo.trial import Report, Trial
from pipelines.models import settings as settings_of
from pipelines.objectives.card import LIMIT, Section, description, inputs, model_card, whole
from pipelines.objectives.card.recipe import as_yaml
from pipelines.objectives.card.sections import Subject
from pipelines.registry.gate import HeldOutScore
from pipelines.study.choice.confirmation import Confirmation
from pipelines.table.scores.bootstrap import Interval
from pipelines.table.scores.costs import ASSUMED_WATTS, WATTS, watts_per_core
from pipelines.table.scores.estimates import Estimate
from pipelines.table.scores.permutation import Permuted
from pipelines.table.source import Source
from serving.columns import CategoricalColumn, Column, DateColumn, NumericColumn
from serving.features import FeatureEncoder
from tests.plans import plan

EVIL = "a|b`c`\n# <script>alert(1)</script> [x](javascript:y) *z* " + "long " * 50


def subject(
    name: str = "x",
    target: str = "y",
    params: Params | None = None,
    refit: str = "off",
    bare: bool = False,
) -> Subject:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({name: rng.normal(size=100), target: rng.normal(size=100)})
    source = Source(frame, target)
    prepared = source.prepare()
    chosen = {"learning_rate": 0.05} if params is None else params
    report = Report(50, 1.25, {"rmse": 1.25, "best_iteration": 30.0}, 7200.0)
    best = Trial(3, chosen, 50, "sampler", (report,))
    failed = Trial(2, {}, 50, "sampler", failure=f"ValueError: {name}")
    study_plan = plan(
        seed=7,
        space=settings_of("lightgbm").space,
        rungs=(50.0,),
        workers=2,
        threads=2,
        lag=4,
        trials=4,
        refit=refit,
    )
    return Subject(
        study="5" * 32,
        trial="7" * 32,
        plan=study_plan,
        data=replace(source.plan(prepared), uri=f"/data/{name}.csv"),
        prepared=prepared,
        best=best,
        trials=(failed, best),
        score=HeldOutScore(Goal("rmse"), 1.5, 2.0, prepared.digest, prepared.rows.digest, 20),
        test={"rmse": 1.5, "mae": 1.0},
        interval=None if bare else Interval(1.5, 1.25, 1.75),
        baselines={"trivial": 2.25},
        permuted=None
        if bare
        else Permuted(tuple((f"{name}{i}", 1.0 / (i + 1)) for i in range(40)), 20),
    )


def test_a_card_tells_what_was_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(WATTS, raising=False)
    text = whole(model_card(subject()))
    for words in (
        "**lightgbm** predicts y (regression): **rmse 1.5** [1.25, 1.75] on 20 held-out rows "
        "(lower is better; trivial baseline 2).",
        "| rmse | 1.5 (95 % interval 1.25 to 1.75) |",
        "| mae | 1 |",
        "by which it was chosen: rmse 1.25, baseline trivial 2.25.",
        "- table x.csv, digest `",
        "64 to train, 16 to validate, 20 held out; split random of 0.2, validation holdout, seed 7",
        "Each of these columns is required, in any order; others are ignored.",
        "| x | numeric |",
        "- tpe over 12 parameters of lightgbm: 2 trials, 1 failed (ValueError: x)",
        "- trained for 50 of 50 rounds, best after 30 rounds",
        "| x0 | 1 |",
        "| 25 more | 0.0625 or less |",
        "2:00:00 of workers with 2 threads, 4 core hours at most",
        "40 Wh = core hours × 10 W a core (assumed; $HPO_WATTS_PER_CORE sets it)",
        "mlflow-warmstart train --params=params.yaml --data=/data/x.csv --target=y "
        "--model=lightgbm --metric=rmse --seed=7",
        "--max-budget=50",
    ):
        assert words in text


def test_the_inputs_are_named_with_some_of_their_levels() -> None:
    columns: list[Column] = [
        CategoricalColumn("job", tuple("abcdefg")),
        DateColumn("since", "%d.%m.%Y", ("year",)),
        *(NumericColumn(f"x{i}") for i in range(100)),
    ]
    text = inputs(FeatureEncoder(tuple(columns)))
    assert "| job | categorical: a, b, c, d, e and 2 more |" in text
    assert "| since | date of the form %d.%m.%Y |" in text
    assert "| x97 | numeric |\n| 2 more |  |" in text


def test_who_was_chosen_by_confirmation_is_not_said_to_be_chosen_by_validation() -> None:
    estimate = Estimate(1.25, 1.0, 1.5)
    found = Confirmation("rmse", 3, 2, None, {3: (1.0, 1.5), 2: (2.0, 2.5)}, estimate, {}, {})
    text = whole(model_card(replace(subject(), confirmation=found)))
    assert "by which it was chosen" not in text
    assert "2 trials: trial 3, rmse 1.25 [1, 1.5]; the search's best was trial 2." in text


def test_parameters_that_matter_are_named_when_there_are_trials_enough() -> None:
    alone = subject()
    assert "Not computed: it takes 12 trials" in whole(model_card(alone))
    rng = np.random.default_rng(2)
    trials = []
    for number in range(40):
        params = alone.plan.space.sample(rng)
        loss = abs(np.log(float(params["learning_rate"])) + 3)
        trials.append(
            Trial(number, params, 50, "sampler", (Report(50, loss, {"rmse": loss}, 1.0),))
        )
    text = whole(model_card(replace(alone, trials=tuple(trials))))
    assert "(fANOVA of 40 trials)" in text
    first = text.split("| parameter | share |")[1].splitlines()[2]
    assert first.startswith("| learning_rate | 0.9")


def test_the_watts_are_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WATTS, "25")
    assert "100 Wh = core hours × 25 W a core ($HPO_WATTS_PER_CORE)" in whole(model_card(subject()))
    monkeypatch.setenv(WATTS, "much")
    assert watts_per_core()[0] == ASSUMED_WATTS


def test_what_is_not_there_is_said() -> None:
    text = whole(model_card(subject(refit="auto", bare=True)))
    assert "95 %" not in text
    assert "Not computed" in text
    assert "(before it was trained on them, too)" in text
    assert "--refit" not in text  # it is the default


def test_names_break_neither_lines_nor_tables_nor_pages() -> None:
    sections = model_card(
        subject(EVIL, f"{EVIL} target", {"learning_rate": 0.1, "objective": "```\n# x"})
    )
    text = whole(sections)
    outside = re.sub(r"^(`{3,})\w*\n.*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL)
    assert len(re.findall(r"^\s*#", outside, re.MULTILINE)) == len(sections) - 1  # the titles
    assert "<" not in outside
    assert "[x](" not in outside
    assert all(
        len(re.findall(r"(?<!\\)\|", line)) == 3
        for line in outside.splitlines()
        if line.startswith("|")
    )
    assert max(map(len, outside.splitlines())) < 800
    assert "&lt;script&gt;" in outside


def test_a_description_fits_the_registry_and_says_what_it_lacks() -> None:
    card = model_card(subject())
    assert description(card) == whole(card)
    for limit in (300, 800, 1_500, 2_500):
        text = description(card, limit)
        assert len(text) <= limit
        assert text.startswith("**lightgbm**")
    assert "No room here for: Cost" in description(card, len(whole(card)) - 1)
    assert "Scores, Data" not in description(card, len(whole(card)) - 1)
    long = model_card(subject(params={"data_sample_strategy": "goss" * 2_000}))
    text = description(long)
    assert len(text) <= LIMIT
    assert "No room here for: Configuration. See" in text
    assert "## Cost" in text, "what fits is there"
    assert "model_card.md" in text
    assert len(description([Section("", ("x" * 9_000,))])) == LIMIT


VALUES = st.one_of(
    st.booleans(),
    st.integers(-(10**9), 10**9),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
)


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(st.from_regex(r"[\w\-./: ]{1,20}", fullmatch=True), VALUES, max_size=5))
def test_a_configuration_reads_back_exactly(params: dict[str, bool | int | float | str]) -> None:
    read = load(as_yaml(params), "params.yaml")
    assert read == params or (not params and not read)
    assert [type(read[name]) for name in params] == [type(value) for value in params.values()]
