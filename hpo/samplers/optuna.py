"""Our search as a sampler of Optuna.

Akiba et al. (2019), "Optuna: a next-generation hyperparameter optimization framework", KDD.
"""

import json
import math
import threading
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpo.errors import ParameterError
from hpo.history import History
from hpo.samplers import Sampler
from hpo.samplers.proposal import Expected, checked_sampler, checked_seed, propose
from hpo.samplers.tpe import TPESampler
from hpo.space import Params, Value
from hpo.space.center import middle
from hpo.space.optuna import Dimension, Dimensions, united

_TPE = TPESampler()
_COMPLETE = (TrialState.COMPLETE, TrialState.PRUNED)  # has suggested all of its parameters
_KEY = "warmstart:params"  # of the attributes with the parameters of a running trial
_MAX_ATTRIBUTE = 2000  # characters that every storage of Optuna takes
_ONE_AT_A_TIME = threading.Lock()  # so that trials of other threads are seen as pending


class DefineByRunSampler(BaseSampler):
    """Proposes parameters of an Optuna study with a sampler of ours.

    A proposal is computed from the trials of the study and from (`seed`, number of the trial), so
    that there is no state to save. The first trial takes the center of each range and the first of
    each choice. Parameters that no trial has had before, and those whose range has changed, are
    proposed one by one, from the trials that have them. Trials that run, also those of other
    processes, are pending; failed ones, and those that break a constraint, are the worst; pruned
    ones rank behind all that are complete.

    Args:
        sampler: a sampler of ours.
        seed: of every random choice; None takes a new one.
        past: gives what past studies expect in a space.
    """

    def __init__(
        self,
        sampler: Sampler = _TPE,
        *,
        seed: int | None = None,
        past: Expected | None = None,
    ) -> None:
        self._sampler = checked_sampler(sampler)
        self._seed = checked_seed(seed)
        self._past = past

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The parameters that trials have had so far.

        Raises:
            ParameterError: if the study has several directions.
        """
        if len(study.directions) > 1:
            raise ParameterError(
                f"the study has {len(study.directions)} directions, but {type(self).__name__} "
                "optimises one value; give create_study one direction, or one of Optuna's samplers "
                "for several, such as NSGAIISampler"
            )
        found = united(other.distributions for other in _others(study, trial))
        return {name: given for name, given in found.items() if Dimension.of(name, given)}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The values of known parameters, those only that are active."""
        if not search_space:
            return {}
        with _ONE_AT_A_TIME:
            others = _others(study, trial)
            complete = [other.params for other in others if other.state in _COMPLETE]
            dimensions = Dimensions.of(search_space, complete)
            params = self._propose(trial, dimensions, _Trials(study, others))
            _remember(study, trial, params)
        return dimensions.theirs(params)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """The value of a parameter that is new, or has a new range."""
        seed = [self._seed, trial.number, zlib.crc32(param_name.encode())]
        dimension = Dimension.of(param_name, param_distribution)
        if dimension is None:
            random = RandomSampler(seed=int(np.random.default_rng(seed).integers(2**31)))
            return random.sample_independent(study, trial, param_name, param_distribution)
        if trial.number == 0:
            return dimension.theirs(middle(dimension.parameter))
        dimensions = Dimensions({param_name: dimension}, {})
        history = _Trials(study, _others(study, trial)).history(dimensions)
        params = self._sampler.suggest(history, np.random.default_rng(seed))
        if params is None:
            params = dimensions.space.sample(np.random.default_rng(seed))
        return dimension.theirs(params[param_name])

    def _propose(self, trial: FrozenTrial, dimensions: Dimensions, trials: "_Trials") -> Params:
        history, number = trials.history(dimensions), trial.number
        found = propose(history, number, self._sampler, self._seed, self._past)
        if found is None:  # Optuna repeats configurations
            return dimensions.space.sample(np.random.default_rng([self._seed, number]))
        return found


class _Trials:
    """Trials of a study as those of ours."""

    def __init__(self, study: Study, trials: Sequence[FrozenTrial]) -> None:
        self._trials = trials
        self._sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0

    def history(self, dimensions: Dimensions) -> History:
        """What is known of the dimensions, by trials with any of them."""
        history, pending = History(dimensions.space), []
        losses = self._losses()
        for trial in self._trials:
            params = _fitting(dimensions, trial.params)
            if trial.state.is_finished():
                if params:
                    history.observe(params, losses[trial.number])
            elif params := {**_remembered(trial, dimensions), **params}:
                pending.append(params)
        history.set_pending(pending)
        history.n_sampled = len(history) + len(pending)
        return history

    def _losses(self) -> dict[int, float]:
        """By number: pruned trials are worse than complete ones, the earlier the worse."""
        losses = {
            trial.number: self._loss(trial) for trial in self._trials if trial.state.is_finished()
        }
        known = [abs(loss) for loss in losses.values() if math.isfinite(loss)]
        step = max(known, default=1.0) or 1.0
        pruned = {t.number: at for t in self._trials if (at := self._pruned(t)) is not None}
        for rank, number in enumerate(sorted(pruned, key=lambda number: pruned[number]), 1):
            losses[number] = step * (1 + rank)
        return losses

    def _loss(self, trial: FrozenTrial) -> float:
        if trial.state != TrialState.COMPLETE or trial.value is None or _is_infeasible(trial):
            return math.inf
        return self._sign * trial.value

    def _pruned(self, trial: FrozenTrial) -> tuple[int, float] | None:
        """The rank of a pruned trial: how far it went, then its last value; None without one."""
        step = trial.last_step
        if trial.state != TrialState.PRUNED or step is None or _is_infeasible(trial):
            return None
        value = trial.intermediate_values[step]
        return None if math.isnan(value) else (-step, self._sign * value)


def _others(study: Study, trial: FrozenTrial) -> list[FrozenTrial]:
    """The other trials of a study, also those that are waiting, in order of their numbers."""
    trials = study.get_trials(deepcopy=False)
    return sorted((t for t in trials if t.number != trial.number), key=lambda t: t.number)


def _is_infeasible(trial: FrozenTrial) -> bool:
    constraints: Mapping[str, float] = getattr(trial, "constraints", {})
    return any(value > 0 for value in constraints.values())


def _fitting(dimensions: Dimensions, values: Mapping[str, Any]) -> Params:
    """Our values for those of Optuna that the dimensions have."""
    known = dimensions.by_name
    return dimensions.ours(
        {name: v for name, v in values.items() if name in known and known[name].contains(v)}
    )


def _remember(study: Study, trial: FrozenTrial, params: Params) -> None:
    """Store what is proposed for a trial, which other workers know only after it was asked for."""
    text = json.dumps(dict(params))
    for part, start in enumerate(range(0, len(text), _MAX_ATTRIBUTE)):
        study._storage.set_trial_system_attr(
            trial._trial_id, f"{_KEY}:{part}", text[start : start + _MAX_ATTRIBUTE]
        )


def _remembered(trial: FrozenTrial, dimensions: Dimensions) -> Params:
    """What is proposed for a trial that runs, or was fixed when it was enqueued."""
    parts: list[str] = []
    attributes = trial.system_attrs
    while f"{_KEY}:{len(parts)}" in attributes:
        parts.append(attributes[f"{_KEY}:{len(parts)}"])
    try:
        proposed = json.loads("".join(parts)) if parts else {}
    except ValueError:  # another worker has not yet written all parts
        proposed = {}
    known = dimensions.by_name
    params: dict[str, Value] = {
        name: value
        for name, value in proposed.items()
        if name in known and known[name].parameter.why_not(value) is None
    }
    return {**params, **_fitting(dimensions, attributes.get("fixed_params", {}))}
