"""Studies that never ran."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from hpo.space import Categorical, Float, Integer, Params, SearchSpace
from hpo.trial import Report, Trial
from pipelines.findings.evidence import ClassScore, Evidence

SPACE = SearchSpace(
    (
        Float("learning_rate", 5e-3, 0.1, log=True),
        Integer("num_leaves", 2, 200, log=True),
        Float("bagging_fraction", 0.7, 1.0),
        Categorical("extra_trees", (False, True)),
    )
)
Score = Callable[[Params], float]


def sampled(space: SearchSpace, n: int, loss: Score, seed: int = 0, **changes: Any) -> list[Trial]:
    """`n` random trials with their losses; a `ValueError` of `loss` is a failure."""
    rng = np.random.default_rng(seed)
    trials = []
    for number in range(n):
        params = space.sample(rng)
        try:
            value = loss(params)
        except ValueError as error:
            trials.append(Trial(number, params, 10.0, failure=str(error)))
            continue
        metrics = {"rmse": value, **changes.get("metrics", {})}
        trials.append(Trial(number, params, 10.0, reports=(Report(10.0, value, metrics, 1.0),)))
    return trials


def study(
    trials: Sequence[Trial],
    space: SearchSpace = SPACE,
    *,
    model: str = "lightgbm",
    test: Mapping[str, float] | None = None,
    baselines: Mapping[str, float] | None = None,
    classes: tuple[ClassScore, ...] = (),
    **header: Any,
) -> Evidence:
    """The evidence of a study with these trials."""
    done = sorted(trials, key=lambda trial: (trial.loss, trial.number))
    best = np.minimum.accumulate([trial.loss for trial in trials if trial.reports] or [0.0])
    return Evidence(
        study="0123456789abcdef0123456789abcdef",
        name="lightgbm-tpe",
        header={
            "model": model,
            "algorithm": "tpe",
            "metric": "rmse",
            "direction": "minimize",
            "task": "regression",
            "target": "price",
            "split": "random",
            "validation": "holdout",
            "seed": 0,
            "rungs": [10.0],
            "budget_unit": "rounds",
            "workers": 2,
            "data": {"rows": 1000},
            "space": space.to_dict(),
            **header,
        },
        rows=[_row(trial) for trial in done],
        best=tuple((float(i + 1), float(value)) for i, value in enumerate(best)),
        curves={
            t.number: tuple((float(b), t.loss * (1 + 1 / b)) for b in range(1, 11))
            for t in done[:4]
        },
        baselines={"trivial": 10.0} if baselines is None else baselines,
        test=test or {},
        classes=classes,
        elapsed=float(len(trials)),
    )


def _row(trial: Trial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "name": f"lightgbm-{trial.number:03}",
        "run_id": f"{trial.number:032x}",
        "status": "FAILED" if trial.failure else "FINISHED",
        "budget": trial.budget,
        "origin": trial.origin,
        "failure": trial.failure,
        "reports": trial.reports,
        "params": dict(trial.params),
        "metrics": dict(trial.best.metrics) if trial.best else {},
        "seconds": trial.seconds,
        "started": float(trial.number),
        "ended": trial.number + 1.0,
    }
