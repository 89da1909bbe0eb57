"""Search spaces of Ray Tune: a dict, nested or not, of domains and constants."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ray.tune.search import sample
from ray.tune.search.variant_generator import parse_spec_vars

from hpo.errors import SpaceError, raise_all
from hpo.space import Categorical, Float, Integer, Parameter, Params, SearchSpace, Value
from hpo.space.labels import categorical

Path = tuple[str, ...]


@dataclass(frozen=True)
class TuneSpace:
    """A space of Ray Tune.

    Attributes:
        space: ours, with a parameter `a/b` for the entry `b` of the dict `a`.
        paths: the entries of Ray's, by the names of ours.
        labels: the objects of choices, by the names of ours.
        rounding: the steps of numbers that only their values have, by the names of ours.
    """

    space: SearchSpace
    paths: Mapping[str, Path]
    labels: Mapping[str, Sequence[Any]]
    rounding: Mapping[str, float]

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "TuneSpace":
        """The space of a `param_space`; its constants are left out.

        Raises:
            SpaceError: for what is not searched, such as `grid_search`; all mistakes at once.
        """
        if not isinstance(config, Mapping):
            raise SpaceError(
                f"space={config!r:.80} must be a dict of Ray's domains, such as "
                '{"rate": tune.loguniform(1e-4, 1.0)}'
            )
        _, domains, grids = parse_spec_vars(dict(config))
        wrong = [
            f"{'/'.join(map(str, path))}: grid_search is Ray's own search; write tune.choice"
            for path, _ in grids
        ]
        found, labels, rounding = [], {}, {}
        for path, domain in domains:
            name = "/".join(map(str, path))
            try:
                parameter, step = _parameter(name, domain)
            except SpaceError as error:
                wrong.append(str(error))
                continue
            found.append(parameter)
            if isinstance(domain, sample.Categorical):
                labels[name] = domain.categories
            if step is not None:
                rounding[name] = step
        raise_all(SpaceError, wrong)
        paths = {"/".join(map(str, path)): tuple(path) for path, _ in domains}
        return cls(SearchSpace(tuple(found)), paths, labels, rounding)

    def theirs(self, params: Params) -> dict[str, Any]:
        """Ray's nested config of our values."""
        config: dict[str, Any] = {}
        for name, value in params.items():
            *folders, last = self.paths[name]
            inner = config
            for folder in folders:
                inner = inner.setdefault(folder, {})
            inner[last] = self._their_value(name, value)
        return config

    def ours(self, config: Mapping[str, Any]) -> dict[str, Value]:
        """Our values of a config of Ray; entries that are missing get none.

        Raises:
            SpaceError: for values outside the space.
        """
        params = {}
        for name, path in self.paths.items():
            found: Any = config
            for key in path:
                found = found.get(key, _MISSING) if isinstance(found, Mapping) else _MISSING
            if found is not _MISSING:
                params[name] = self._our_value(name, found)
        reasons = (self.space[name].why_not(value) for name, value in params.items())
        raise_all(SpaceError, filter(None, reasons))
        return params

    def _their_value(self, name: str, value: Value) -> Any:
        parameter = self.space[name]
        if isinstance(parameter, Categorical):
            return self.labels[name][parameter.index(value)]
        if name in self.rounding:
            step = self.rounding[name]
            rounded = round(float(value) / step) * step
            rounded = min(max(rounded, parameter.low), parameter.high)
            return int(rounded) if isinstance(parameter, Integer) else rounded
        return value

    def _our_value(self, name: str, value: Any) -> Value:
        parameter = self.space[name]
        if not isinstance(parameter, Categorical):
            number: Value = value
            return number
        labels = list(self.labels[name])
        return parameter.choices[labels.index(value)] if value in labels else str(value)


_MISSING = object()


def _parameter(name: str, domain: Any) -> tuple[Parameter, float | None]:
    """Our parameter, and the step of its values where the parameter itself has none."""
    sampler, step = domain.get_sampler(), None
    if isinstance(sampler, sample.Quantized):
        sampler, step = sampler.get_sampler(), sampler.q
    is_log = isinstance(sampler, sample.LogUniform)
    if isinstance(domain, sample.Categorical) and isinstance(sampler, sample.Uniform):
        return categorical(name, domain.categories), None
    if isinstance(domain, sample.Function | sample.Categorical) or not (
        is_log or isinstance(sampler, sample.Uniform)
    ):
        raise SpaceError(
            f"{name}: a {type(domain).__name__} by {type(sampler).__name__.strip('_')} is not "
            "searched; write tune.uniform, loguniform, randint, lograndint or choice, or a constant"
        )
    make: Callable[..., Float | Integer] = Float
    low, high = domain.lower, domain.upper
    if isinstance(domain, sample.Integer):
        make, high = Integer, high if step else high - 1  # Ray leaves the upper bound out
    if is_log or step is None:
        return make(name, low, high, log=is_log), step
    return make(name, low, high, step=step), None
