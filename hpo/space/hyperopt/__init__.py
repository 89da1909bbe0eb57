"""Search spaces from hyperopt's `hp.*` graphs, and graphs from search spaces.

`from_hyperopt` turns the `space` argument of `hyperopt.fmin` into a `SearchSpace`:

- `uniform`, `loguniform`, `quniform`, `uniformint`, `randint`: the values that hyperopt can draw,
  so `quniform(5, 100, 10)` begins at 10 (`randint` becomes an ordered integer); `scope.int(...)`
  around `quniform` makes an integer.
- `qloguniform` with q = 1: a logarithmic integer, from 1. Other q have no counterpart, because a
  log scale has no step.
- `normal`, `qnormal`, `lognormal`, `qlognormal`: truncated at three standard deviations on each
  side of the mean and uniform in between, on the scale of the normal distribution.
- `choice` and `pchoice`, nested to any depth; the probabilities of `pchoice` are dropped. A plain
  option is its own value, once. An option with parameters is named by the text in it (`{"kind":
  "sgd", ...}`, `("sgd", {...})`), or by its position if these texts are not all different.
- other constants under a key: a categorical with that one choice.

A parameter is named by the dictionary key under which the objective receives it if that key is
unique, else by its label. Usually the two are equal.
"""

from hpo.space.hyperopt.graph import Graph, Variable
from hpo.space.hyperopt.reading import from_hyperopt, range_of
from hpo.space.hyperopt.writing import from_code, to_code, to_hyperopt

__all__ = [
    "Graph",
    "Variable",
    "from_code",
    "from_hyperopt",
    "range_of",
    "to_code",
    "to_hyperopt",
]
