import math
from functools import partial
from typing import Any

import numpy as np
import pytest
from hyperopt import JOB_STATE_DONE, STATUS_FAIL, STATUS_OK, Domain, Trials, fmin, hp, rand, tpe

from hpo.errors import ParameterError
from hpo.history import History
from hpo.samplers.hyperopt import HyperoptSampler, suggest
from hpo.samplers.tpe import TPESampler
from hpo.space import Categorical, Float, Integer, SearchSpace
from hpo.space.hyperopt import from_code, to_hyperopt

GRAPH = {
    "rate": hp.loguniform("rate", -9, 0),
    "noise": hp.normal("noise", 2, 0.5),
    "units": hp.qlognormal("units", 3, 1, 8),
    "model": hp.choice(
        "model",
        [
            {"kind": "sgd", "momentum": hp.uniform("momentum", 0, 1)},
            {
                "kind": "adam",
                "beta": hp.quniform("beta", 0.8, 1.0, 0.05),
                "k": hp.randint("k", 3, 6),
            },
        ],
    ),
}


def objective(point: dict[str, Any]) -> float:
    loss = abs(math.log(point["rate"]) + 4) + (point["noise"] - 2.5) ** 2
    model = point["model"]
    return float(loss + (model["momentum"] if model["kind"] == "sgd" else 1 + model["k"]))


def run(seed: int, n: int = 60, **kwargs: Any) -> Trials:
    trials = Trials()
    rng = np.random.default_rng(seed)
    settings = {
        "algo": suggest,
        "rstate": rng,
        "show_progressbar": False,
        "verbose": False,
    } | kwargs
    fmin(objective, GRAPH, max_evals=n, trials=trials, **settings)
    return trials


def test_fmin_with_our_tpe_leaves_trials_that_hyperopt_understands() -> None:
    trials = run(0)

    assert len(trials.trials) == 60
    for trial in trials.trials:
        trials.assert_valid_trial(trial)
        vals, idxs = trial["misc"]["vals"], trial["misc"]["idxs"]
        assert set(vals) == {"rate", "noise", "units", "model", "momentum", "beta", "k"}
        active = {"momentum"} if vals["model"] == [0] else {"beta", "k"}
        for label, value in vals.items():
            here = label in active or label in ("rate", "noise", "units", "model")
            assert len(value) == here
            assert idxs[label] == ([trial["tid"]] if here else [])
    assert trials.argmin["model"] == 0
    assert all(value % 8 == 0 for value in trials.vals["units"])
    assert all(3 <= value < 6 for value in trials.vals["k"])
    # hyperopt's own algorithm can go on from there
    fmin(
        objective,
        GRAPH,
        algo=tpe.suggest,
        max_evals=62,
        trials=trials,
        show_progressbar=False,
        verbose=False,
    )


def test_a_sampler_of_a_wrong_type_is_refused() -> None:
    with pytest.raises(ParameterError, match="sampler='tpe' must be a sampler of hpo.samplers"):
        run(0, 1, algo=partial(suggest, sampler="tpe"))  # type: ignore[arg-type]


def test_fmin_with_our_tpe_beats_random_draws() -> None:
    # Sign test: were the two equally good, 9 or more wins of 10 would have probability 0.011.
    random = [min(run(1000 + seed, algo=rand.suggest).losses()) for seed in range(10)]
    ours = [min(run(seed).losses()) for seed in range(10)]

    assert sum(a < b for a, b in zip(ours, random, strict=True)) >= 9


def test_fmin_is_reproducible() -> None:
    assert run(3, 25).vals == run(3, 25).vals
    assert run(3, 25).vals != run(4, 25).vals


def test_fmin_with_other_settings_and_several_at_once() -> None:
    trials = run(0, 24, algo=partial(suggest, sampler=TPESampler(n_startup=2)), max_queue_len=4)

    assert len({tuple(val) for val in (t["misc"]["vals"]["rate"] for t in trials.trials)}) == 24


def test_fmin_with_failing_trials() -> None:
    def fails_for_sgd(point: dict[str, Any]) -> dict[str, Any]:
        if point["model"]["kind"] == "sgd":
            return {"status": STATUS_FAIL}
        return {"status": STATUS_OK, "loss": objective(point)}

    trials = Trials()
    rng = np.random.default_rng(0)
    fmin(
        fails_for_sgd,
        GRAPH,
        suggest,
        40,
        trials=trials,
        rstate=rng,
        show_progressbar=False,
        verbose=False,
    )

    late = [trial["misc"]["vals"]["model"][0] for trial in trials.trials[20:]]
    assert late.count(0) < late.count(1)


def test_fmin_learns_from_trials_that_raise() -> None:
    def half(x: float) -> float:
        if x < 0:
            raise RuntimeError("diverged")
        return (x - 5) ** 2

    trials = Trials()
    fmin(
        half,
        hp.uniform("x", -10, 10),
        algo=suggest,
        max_evals=40,
        trials=trials,
        catch_eval_exceptions=True,
        rstate=np.random.default_rng(0),
        show_progressbar=False,
        verbose=False,
    )

    # hyperopt counts only what succeeded: 40 of them, with few failures beside
    assert len(trials._dynamic_trials) - len(trials.trials) < 10


def test_fmin_draws_only_what_hyperopt_draws_at_the_ends() -> None:
    trials = Trials()
    space = {"x": hp.qloguniform("x", np.log(2.5), np.log(7.5), 1)}
    fmin(
        lambda p: -abs(p["x"] - 5),  # the best are at the ends
        space,
        algo=suggest,
        max_evals=60,
        trials=trials,
        rstate=np.random.default_rng(0),
        show_progressbar=False,
        verbose=False,
    )

    assert {*trials.vals["x"]} <= {3, 4, 5, 6, 7}


def test_fmin_over_a_label_under_different_choices() -> None:
    shared = hp.uniform("x", 0, 1)
    graph = [hp.choice("c", [("p", shared), "q"]), hp.choice("d", [("p", shared), "q"])]
    trials = Trials()
    fmin(
        lambda point: float(len(str(point))),
        graph,
        suggest,
        25,
        trials=trials,
        rstate=np.random.default_rng(0),
        show_progressbar=False,
    )

    for trial in trials.trials:
        vals = trial["misc"]["vals"]
        assert bool(vals["x"]) == (0 in (vals["c"][0], vals["d"][0]))


SPACE = SearchSpace(
    (
        Categorical("kind", ("a", "b", "c")),
        Float("x", 0.0, 2.0, when={"kind": ("a", "b")}),
        Float("rate", 1e-4, 1.0, log=True),
        Integer("n", 2, 40, step=2, when={"kind": ("c",)}),
        Integer("m", 1, 100, log=True),
    )
)


def loss_of(params: Any) -> float:
    return float(
        params.get("x", 1.5) + abs(math.log10(params["rate"]) + 2) + abs(params["m"] - 20) / 50
    )


@pytest.mark.parametrize("failing", [False, True])
def test_is_hyperopt_driven_by_hand(failing: bool) -> None:
    """The reference: hyperopt's own trials, kept from call to call, with the same seeds."""
    history = History(SPACE)
    domain, trials = Domain(lambda _: 0.0, to_hyperopt(SPACE)), Trials()
    for number in range(30):
        seed = int(np.random.default_rng([1, number]).integers(2**31))
        (doc,) = tpe.suggest([number], domain, trials, seed, n_startup_jobs=8, verbose=False)
        vals = doc["misc"]["vals"]
        theirs = {p.name: from_code(p, vals[p.name][0]) for p in SPACE if vals[p.name]}

        ours = HyperoptSampler(n_startup=8).suggest(history, np.random.default_rng([1, number]))

        assert ours is not None
        # the history keeps unit codes, not values: equal up to rounding
        np.testing.assert_allclose(SPACE.encode(ours), SPACE.encode(theirs), rtol=1e-9)
        failed = failing and number % 4 == 0
        history.observe(ours, math.inf if failed else loss_of(ours))
        doc["state"] = JOB_STATE_DONE
        doc["result"] = (
            {"status": STATUS_FAIL} if failed else {"status": STATUS_OK, "loss": loss_of(ours)}
        )
        trials.insert_trial_docs([doc])
        trials.refresh()
