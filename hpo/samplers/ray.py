"""Our search as a search algorithm of Ray Tune.

Liaw et al. (2018), "Tune: a research platform for distributed model selection and training",
arXiv:1807.05118.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from hpo.errors import ParameterError
from hpo.history import History
from hpo.samplers import Sampler
from hpo.samplers.proposal import Expected, checked_sampler, checked_seed, propose
from hpo.samplers.tpe import TPESampler
from hpo.space import Params, SearchSpace
from hpo.space.center import center
from hpo.space.ray import TuneSpace

MIN, MAX = "min", "max"

_TPE = TPESampler()


@dataclass(frozen=True)
class _Asked:
    """A trial of Ray: its parameters, and its loss when it is done; infinite if it failed."""

    params: Params
    loss: float | None = None


class StudySearcher(Searcher):  # type: ignore[misc]
    """Proposes the configurations of a `Tuner` with a sampler of ours.

    A proposal is computed from the trials and from (`seed`, number of the trial). The first one is
    the center of each range and the first of each choice. Trials that run are pending; failed ones,
    and those without the metric, are the worst. A trial that a scheduler of Ray stops counts with
    its last result. A small space ends when all its configurations are tried.

    Args:
        space: Ray's; None takes the `param_space` of the `Tuner`.
        metric: of the results; None takes that of the `TuneConfig`.
        mode: `min` or `max`; None takes that of the `TuneConfig`.
        points_to_evaluate: configurations of Ray to try first.
        sampler: a sampler of ours.
        seed: of every random choice; None takes a new one.
        past: gives what past studies expect in a space.
    """

    def __init__(
        self,
        space: Mapping[str, Any] | None = None,
        metric: str | None = None,
        mode: str | None = None,
        *,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        sampler: Sampler = _TPE,
        seed: int | None = None,
        past: Expected | None = None,
    ) -> None:
        for value, name in ((metric, "metric"), (mode, "mode")):
            if value is not None and not isinstance(value, str):
                raise ParameterError(f"{name}={value!r} must be text; one value is optimised")
        if mode not in (None, MIN, MAX):
            raise ParameterError(f"mode={mode!r} must be {MIN} or {MAX}")
        super().__init__(metric=metric, mode=mode)
        self._metric: str | None = metric
        self._mode: str | None = mode
        self._points = _points(points_to_evaluate)
        self._sampler = checked_sampler(sampler)
        self._seed = checked_seed(seed)
        self._past = past
        self._asked: dict[str, _Asked] = {}
        self._space: TuneSpace | None = None
        self._first: list[Params] = []
        if space not in (None, {}):
            self._set_space(space)

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Take over what the `Tuner` has and the searcher was not given; called by Ray."""
        if self._space is not None and config:
            return False
        if isinstance(metric, list) or isinstance(mode, list):
            raise ParameterError(f"metric={metric!r}: one value is optimised; give one metric")
        self._metric = self._metric or metric
        self._mode = self._mode or mode
        if self._space is None:
            self._set_space(config)
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The configuration of a trial; `Searcher.FINISHED` when all are tried."""
        space = self._checked_space()
        if trial_id not in self._asked:
            params = self._propose(space.space)
            if params is None:
                finished: str = Searcher.FINISHED
                return finished
            self._asked[trial_id] = _Asked(params)
        return space.theirs(self._asked[trial_id].params)

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """Take the last result of a trial; called by Ray."""
        trial = self._asked.get(trial_id)
        if trial is not None and trial.loss is None:
            loss = math.inf if error else self._loss(result or {})
            self._asked[trial_id] = replace(trial, loss=loss)

    def save(self, checkpoint_path: str) -> None:
        """Write the trials, as JSON; called by Ray."""
        trials = {trial_id: asdict(trial) for trial_id, trial in self._asked.items()}
        Path(checkpoint_path).write_text(json.dumps({"seed": self._seed, "trials": trials}))

    def restore(self, checkpoint_path: str) -> None:
        """Read what `save` wrote; called by Ray."""
        state = json.loads(Path(checkpoint_path).read_text())
        self._seed = int(state["seed"])
        self._asked = {trial_id: _Asked(**trial) for trial_id, trial in state["trials"].items()}

    def _set_space(self, space: Mapping[str, Any]) -> None:
        found = TuneSpace.of(space)
        middle = center(found.space)
        self._first = [{**middle, **found.ours(point)} for point in self._points] or [middle]
        self._space = found

    def _checked_space(self) -> TuneSpace:
        if self._space is None or not len(self._space.space):
            raise ParameterError(
                "there is nothing to search: give the Tuner a param_space with tune.uniform and "
                "the like, or the searcher a space"
            )
        if not self._metric or not self._mode:
            raise ParameterError(
                f"metric={self._metric!r}, mode={self._mode!r}: both are needed; give them to the "
                "TuneConfig or to the searcher"
            )
        return self._space

    def _propose(self, space: SearchSpace) -> Params | None:
        number = len(self._asked)
        if number < len(self._first):
            return self._first[number]
        history = History(space)
        for trial in self._asked.values():
            if trial.loss is not None:
                history.observe(trial.params, trial.loss)
        history.set_pending([t.params for t in self._asked.values() if t.loss is None])
        history.n_sampled = number
        return propose(history, number, self._sampler, self._seed, self._past)

    def _loss(self, result: Mapping[str, Any]) -> float:
        value = result.get(str(self._metric), math.nan)
        if not isinstance(value, int | float) or not math.isfinite(value):
            return math.inf
        return -float(value) if self._mode == MAX else float(value)


def _points(points: object) -> list[Mapping[str, Any]]:
    """Configurations to try first.

    Raises:
        ParameterError: when they are no list of configurations.
    """
    found = list(points) if isinstance(points, Sequence) and not isinstance(points, str) else None
    if points is None:
        return []
    if found is None or not all(isinstance(point, Mapping) for point in found):
        raise ParameterError(
            f"points_to_evaluate={points!r:.80} must be a list of configurations, such as "
            '[{"rate": 0.1}]'
        )
    return found
