"""A method in a process of its own: reads one JSON object per line and writes one.

The calls, each with its other arguments in the same object:

* `minimise`: the losses of a whole search on a problem.
* `front`: the losses of all goals of a whole search on a problem (`benchmarks.search.goals`).
* `prepare`: set up a study with n observations; each `step` then returns the seconds of one more
  ask and tell.
* `touch`, `study`, `count`: a study logged to MLflow (`benchmarks.product.overhead`).
* `run`: a study of real trainings (`benchmarks.product.utilisation`, `wallclock`, `mlp`).
* `race`: a search over simulated workers (`benchmarks.search.replay`, `ones`).
* `decide`: set up a search with n trials (`benchmarks.search.decisions`); then `step`.
* `search`: set up a search whose losses are computed by the caller. Each `next` gets the loss of
  the last configuration (null at first, and for a failed training) and returns the `params` of
  the next one (null if there is none).
"""

import json
import os
import sys
import time
import traceback
import warnings
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np

from benchmarks.search import goals
from benchmarks.search.problems import Problem, counting_ones, problem
from benchmarks.search.simulation import Meter, incumbents
from benchmarks.tabulated.curves import load_curves
from benchmarks.warmstart.asked import Given
from hpo.space import Params, SearchSpace


def observations(name: str, n: int, seed: int) -> list[tuple[dict[str, Any], float]]:
    """`n` random configurations of a problem with their losses."""
    chosen = problem(name)
    units = chosen.space.codes.sample(np.random.default_rng(seed), n)
    drawn = [chosen.space.decode(row) for row in units]
    return [(params, chosen.loss(params)) for params in drawn]


def serve(module: str, settings: dict[str, Any]) -> None:
    """Answer the jobs from standard input until it is closed."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not mix with the answers
    peer = import_module(f"benchmarks.peers.{module}")
    made: list[Any] = []
    for line in sys.stdin:
        job = json.loads(line)
        try:
            answer = _answer(job, peer, settings, made)
        except Exception:  # noqa: BLE001 - the border of the process: a failing peer is an answer
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)


def _answer(job: dict[str, Any], peer: Any, settings: dict[str, Any], made: list[Any]) -> Any:
    """The answer to a job; `made` holds the step function or the search that was set up last."""
    match job.pop("call"):
        case "minimise" | "front" as call:
            return _searched(call, job, peer, settings)
        case "prepare":
            history = observations(job["problem"], job["n"], job["seed"])
            made[:] = [
                peer.stepper(problem(job["problem"]).space, history, job["seed"], **settings)
            ]
            return {}
        case "step":
            return made[0]()
        case "race":
            return race(peer, settings, **job)
        case "decide":
            decider = peer.decider(load_curves(job.pop("curves")), **job, **settings)
            made[:] = [decider.step]
            return {"bytes": decider.bytes}
        case "search":
            made[:] = [
                peer.search(SearchSpace.from_dict(job.pop("space")), Given(**job), **settings)
            ]
            return {}
        case "next":
            return {"params": made[0].send(job["loss"])}
        case "run":
            return peer.run(**job, **settings)
        case "touch" | "study" | "count" as call:
            return _logged(call, job, peer, settings)
        case other:
            raise ValueError(f"unknown call {other!r}")


def _searched(call: str, job: dict[str, Any], peer: Any, settings: dict[str, Any]) -> Any:
    start = time.process_time()
    if call == "front":
        losses = peer.front(goals.problem(job.pop("problem")), **job, **settings)
    else:
        losses = minimise(peer, problem(job.pop("problem")), **job, **settings)
    return {"losses": losses, "cpu_seconds": round(time.process_time() - start, 3)}


def minimise(peer: Any, on: Problem, seed: int, **settings: Any) -> list[float]:
    """The losses of one search, in order; with noise, the true losses of its best so far."""
    if not on.noise:
        losses: list[float] = peer.minimise(on, seed=seed, **settings)
        return losses
    seen, true = on.observed(seed), list[float]()

    def loss(params: Params) -> float:
        true.append(on.loss(params))
        return seen.loss(params)

    observed = peer.minimise(replace(on, loss=loss), seed=seed, **settings)
    best = [int(np.argmin(observed[: n + 1])) for n in range(len(observed))]
    return [true[i] for i in best]


def _logged(call: str, job: dict[str, Any], peer: Any, settings: dict[str, Any]) -> Any:
    if call == "touch":
        noop().touch(**job)
        return {}
    if call == "study":
        return noop().timed(lambda: peer.study(**job, **settings))
    return {"runs": noop().count(**job)}


def race(
    peer: Any,
    settings: dict[str, Any],
    curves: str,
    seed: int,
    workers: int,
    seconds: float,
    noisy: bool,
) -> dict[str, Any]:
    """A search over simulated workers.

    The answer has the incumbents as `(time, loss)`, the number of legs, the worker seconds spent
    and the CPU seconds of the search itself. With `noisy`, the curves are those of counting ones,
    and incumbents are judged by the expected loss.
    """
    meter, start = Meter(), time.process_time()
    finishes = peer.race(
        meter.on(load_curves(curves)), seed=seed, workers=workers, seconds=seconds, **settings
    )
    used = time.process_time() - start - meter.cpu_seconds
    best = [
        (round(finish.time, 6), counting_ones(finish.leg.params) if noisy else finish.loss)
        for finish in incumbents(finishes, noisy)
    ]
    spent = finishes[-1].spent if finishes else 0.0
    return {
        "incumbents": best,
        "legs": len(finishes),
        "spent": spent,
        "cpu_seconds": round(used, 3),
    }


def noop() -> Any:
    """The module that needs MLflow, which most environments lack."""
    return import_module("benchmarks.peers.product.noop")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    serve(sys.argv[1], json.loads(sys.argv[2]))
