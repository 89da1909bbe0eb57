"""What a study says of what the past was worth to it."""

import json
from dataclasses import replace

import numpy as np
import pytest

from hpo.errors import StudyError
from hpo.goals import Goal, Goals
from hpo.past import Past, PastSource
from hpo.space import SearchSpace
from hpo.space.parameters import Float
from hpo.study import FirstPoint
from hpo.trial import Report, Trial
from pipelines.findings.past import WARM_ORIGIN
from pipelines.store.knowledge import Knowledge, Why
from pipelines.store.summaries import prediction
from pipelines.study import warm_start as warm
from pipelines.study.gain import beside_cold, gain_of_first_points, trust_by_result
from pipelines.study.plan import Plan
from pipelines.study.warm_start import WarmStart, first_points, look_back
from pipelines.table.source import DataPlan
from tests.plans import plan
from warmstart.metafeatures import MetaFeatures
from warmstart.past import PastStudy
from warmstart.transfer import Neighbour

SPACE = SearchSpace((Float("a", 0.0, 1.0),))
FEATURES = MetaFeatures({"size.log_rows": 7.0}, 1, {}, 0)
PLAN = plan(
    goals=Goals((Goal("roc_auc", "maximize"),)),
    space=SPACE,
    first_points=(FirstPoint({"a": 0.5}, "default"),),
    trials=10,
    warm_start="here,there",
)
TABLE = DataPlan("a.csv", "d", 100, "income", "binary", "random", 0.2, "holdout")


def past_study(
    run_id: str, model: str = "lightgbm", digest: str = "other", n: int = 5
) -> PastStudy:
    x = np.linspace(0.1, 0.9, n)[:, None]
    losses = np.arange(n, dtype=float)
    return PastStudy(
        run_id, "adult", model, "roc_auc", "binary", digest, FEATURES, SPACE, x, losses
    )


def trial(number: int, loss: float, origin: str = "sampler", a: float = 0.5) -> Trial:
    return Trial(number, {"a": a}, 1.0, origin, (Report(1.0, loss),))


def failed(number: int, origin: str = "sampler") -> Trial:
    return Trial(number, {"a": 0.5}, 1.0, origin, failure="lost")


def test_gain_counts_the_trials_that_the_best_point_from_the_past_beats() -> None:
    past = f"{WARM_ORIGIN}: adult"
    trials = [
        *(trial(0, 0.5, "default"), trial(1, 0.9, past), trial(2, 0.3, past), failed(3, past)),
        *(trial(4, 0.4), trial(5, 0.2), trial(6, 0.3), failed(7)),
    ]
    assert gain_of_first_points(trials) == pytest.approx({"share": 3 / 4, "trials": 5 / 2})


@pytest.mark.parametrize(
    "trials",
    [
        [],
        [trial(0, 0.5, "default")],
        [trial(0, 0.5, WARM_ORIGIN)],
        [failed(0, WARM_ORIGIN), trial(1, 0.5)],
    ],
)
def test_there_is_no_gain_to_tell_without_both_kinds(trials: list[Trial]) -> None:
    assert gain_of_first_points(trials) == {}


def looked_back(
    monkeypatch: pytest.MonkeyPatch, known: Knowledge, chosen: Plan = PLAN
) -> WarmStart:
    monkeypatch.setattr(warm, "past_studies", lambda **_: known)
    header = chosen.to_header() | TABLE.to_header() | {"meta_features": FEATURES.to_dict()}
    return look_back(chosen, header, exclude=None)


def test_a_named_source_that_teaches_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Knowledge(
        (past_study("good"), past_study("net", "mlp")),
        ("1 past study left out: still running",),
        {"busy": Why.RUNNING},
        {"here": ("good",), "there": ("net", "busy"), "nowhere": ()},
    )
    found = looked_back(monkeypatch, known)
    assert [neighbour.study.run_id for neighbour in found.neighbours] == ["good"]
    assert found.notes == (
        "1 past study left out: still running",
        "nothing is learned from there (1 past study: of mlp, which says nothing of lightgbm; "
        "1 past study: still running)",
        "nothing is learned from nowhere (no study that has begun)",
    )


def test_sources_that_all_teach_nothing_are_an_error_with_the_reasons(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = Knowledge(
        (past_study("two", n=2),), (), {"busy": Why.RUNNING}, {"here": ("two",), "there": ("busy",)}
    )
    with pytest.raises(StudyError) as caught:
        looked_back(monkeypatch, known)
    words = str(caught.value)
    assert "here (1 past study: fewer than 3 results" in words
    assert "there (1 past study: still running)" in words
    assert "take warm_start=auto" in words


@pytest.mark.parametrize(
    ("before", "told"),
    [
        ("split=random, test_share=0.2, seed=1", True),
        ("split=random, test_share=0.3, seed=0", True),
        ("not known which", True),
        ("split=random, test_share=0.2, seed=0", False),
    ],
)
def test_test_rows_that_a_study_of_the_same_table_has_seen_are_told(
    before: str, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = prediction(TABLE.digest, TABLE.target)
    for digest in (same, "another table"):
        known = Knowledge((past_study("a", digest=digest),), (), held_out={"a": before})
        notes = looked_back(monkeypatch, known).notes
        assert any(
            f"({before}; here split=random, test_share=0.2, seed=0)" in note for note in notes
        ) == (told and digest == same)


def test_an_objective_without_meta_features_learns_from_past_studies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = Knowledge((past_study("good"),), (), {}, {"here": ("good",), "there": ()})
    monkeypatch.setattr(warm, "past_studies", lambda **_: known)
    found = look_back(PLAN, PLAN.to_header(), exclude=None).neighbours
    assert [neighbour.study.run_id for neighbour in found] == ["good"]


def test_the_seed_of_the_search_is_that_of_earlier_releases() -> None:
    folded = replace(TABLE, outer="2/5")
    assert PLAN.search_seed(TABLE.identity) == 1_098_689_758
    assert replace(PLAN, seed=7).search_seed(folded.identity) == 4_144_416_873


def test_trust_is_kept_after_each_result() -> None:
    x = np.linspace(0, 1, 9)[:, None]
    drawn = np.random.default_rng(0).random(90)
    trials = [trial(n, float(a), a=float(a)) for n, a in enumerate(drawn)]
    rows = trust_by_result(Past(SPACE, (PastSource("right", x, x[:, 0]),)), trials)
    assert [row["trials"] for row in rows] == list(range(1, 91))
    assert rows[0]["trust"] == rows[-1]["trust"] == 1.0
    more = [*trials, *(trial(90 + n, 0.5) for n in range(20))]
    many = trust_by_result(Past(SPACE, (PastSource("right", x, x[:, 0]),)), more)
    assert len(many) == 100
    assert many[:90] == rows
    wrong = trust_by_result(Past(SPACE, (PastSource("wrong", x, -x[:, 0]),)), trials)
    assert wrong[0]["trust"] == 1.0
    assert wrong[-1]["trust"] == 0.0
    assert (
        trust_by_result(Past(SPACE, (PastSource("right", x, x[:, 0]),)), [failed(0)])[0]["trust"]
        == 1.0
    )


def test_trust_is_measured_at_the_budget_that_the_search_sees() -> None:
    x = np.linspace(0, 1, 9)[:, None]
    past = Past(SPACE, (PastSource("right", x, x[:, 0]),))
    drawn = np.random.default_rng(0).random(30)
    raced = [
        Trial(n, {"a": float(a)}, 9.0 if n < 10 else 1.0, reports=(Report(1.0, -float(a)),))
        for n, a in enumerate(drawn)
    ]
    early = trust_by_result(past, [replace(trial, budget=1.0) for trial in raced])
    assert len(early) == 30
    assert early[-1]["trust"] == 0.0
    finished = [t.with_outcome(Report(9.0, float(t.params["a"]))) for t in raced[:10]]
    full = trust_by_result(past, [*finished, *raced[10:]])
    assert len(full) == 10
    assert full[-1]["trust"] == 1.0


@pytest.mark.parametrize(("best", "helped"), [(0, True), (24, False)])
def test_a_study_is_compared_with_searches_without_a_past(best: int, helped: bool) -> None:
    """One has its best result at once, the other at its end; the losses follow no pattern."""
    rng = np.random.default_rng(5)
    x = np.linspace(0, 1, 9)[:, None]
    past = Past(SPACE, (PastSource("s", x, rng.normal(size=9)),))
    drawn = rng.random((25, 2)).tolist()
    trials = [trial(n, -1.0 if n == best else loss, a=a) for n, (a, loss) in enumerate(drawn)]
    rows = beside_cold(past, PLAN, trials)
    assert [row.trials for row in rows] == [10, 25]
    assert (rows[0].ahead > 0.5) is helped
    assert rows == beside_cold(past, PLAN, trials)


def test_nothing_is_compared_where_nothing_can_be() -> None:
    x = np.linspace(0, 1, 9)[:, None]
    past = Past(SPACE, (PastSource("s", x, x[:, 0]),))
    trials = [trial(n, float(n), a=n / 9) for n in range(9)]
    assert beside_cold(past, PLAN, trials)
    assert beside_cold(past, PLAN, trials[:7]) == ()
    assert beside_cold(past, replace(PLAN, algorithm="random"), trials) == ()
    assert beside_cold(past, replace(PLAN, algorithm="bohb", rungs=(1.0, 3.0)), trials) == ()


def test_first_points_are_what_was_best_on_this_very_table_and_say_from_which_run() -> None:
    studies = (past_study("0123456789abcdef"), past_study("fedcba9876543210"))
    same, other = (
        Neighbour(study, 1.0, same) for study, same in zip(studies, (True, False), strict=True)
    )
    warm = WarmStart((same, other))
    points = first_points(warm, warm.past(PLAN), PLAN)
    assert {point.origin for point in points} == {f"{WARM_ORIGIN}: adult (01234567)"}
    assert points[0].params["a"] == pytest.approx(0.1, abs=1e-3)
    assert first_points(WarmStart((other,)), warm.past(PLAN), PLAN) == ()


def test_what_a_study_keeps_names_the_runs_and_comes_back() -> None:
    gaps = {"size": 0.1, "target": 0.3, "landmarks": 2.0}
    seen = WarmStart(
        (Neighbour(past_study("0123456789abcdef"), 0.5, False, 0.5, gaps),), ("a note",)
    )
    kept = json.loads(seen.to_json())["neighbours"][0]
    assert (kept["run_id"], kept["name"], kept["differences"]) == (
        "0123456789abcdef",
        "adult",
        gaps,
    )
    back = WarmStart.from_json(seen.to_json())
    assert (back.notes, back.neighbours[0].differences) == (("a note",), gaps)
    assert back.neighbours[0].kinship == 0.5
    assert back.to_json() == seen.to_json()


def test_the_console_tells_in_what_a_past_table_is_alike() -> None:
    gaps = {"size": 0.1, "target": 0.3, "landmarks": 2.0}
    studies = [
        Neighbour(past_study(f"{n}", digest=f"{n}"), 0.5, False, 1.0, gaps) for n in range(4)
    ]
    told = "\n".join(WarmStart(tuple(studies)).lines())
    assert (
        "adult (lightgbm, similarity 0.50, most alike in size and target, least in landmarks)"
        in told
    )
    assert "equally alike" not in told
    copies = [Neighbour(past_study(f"{n}"), 1.0, False) for n in range(4)]
    assert "fewer than 4 tables" in "\n".join(WarmStart(tuple(copies)).lines())


def test_the_console_says_nothing_of_tables_to_code() -> None:
    code = replace(past_study("0"), name="m:train", model="m:train", task="")
    other = replace(code, name="my loop", model="ask:loop")
    told = [*WarmStart((Neighbour(code, 1.0, True), Neighbour(other, 1.0, False))).lines()]
    assert told[0] == (
        "2 past studies: m:train (the same objective); my loop (ask:loop, parameters in common)"
    )
    assert not any("table" in each for each in told)
