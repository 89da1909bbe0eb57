"""The persistent format: tag names, limits, and the encoding of values.

`docs/mlflow-schema.md` describes the format. `VERSION` counts breaking changes.
`pipelines.store.records` converts trials to runs and back.
"""

import json
import math
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hpo.errors import ParameterError
from hpo.space.parameters import Params, Value

if TYPE_CHECKING:
    from pipelines.table.scores.bootstrap import Interval

VERSION = "1"

# Study: tags of the parent run.
SCHEMA = "hpo.schema"  # the format's version; written last, it marks the study as created
ROLE = "hpo.role"  # study, trial, baseline or validation
DRIVER = "hpo.driver"
HOLDER = "hpo.holder"  # token of the driver that took the study last; it stays after the end
SESSION = "hpo.session"  # how far the session that runs, or was the last, is to go
WINNER = "hpo.winner"
WINNER_NUMBER = "hpo.winner.trial"
SUMMARY = "hpo.summary"  # for later studies; its text is in tags with the suffixes .0, .1, ...
CONFIRMATION = "hpo.confirmation"  # the tests between the winner and other trials
DECISION = "hpo.decision"  # calibration and threshold of the winner, and their scores
ENSEMBLE = "hpo.ensemble"  # weights of the trials of an ensemble, and how it compares
ADOPTED = "hpo.adopted"  # name of the experiment whose runs were adopted as trials
ADOPTED_ID = "hpo.adopted.experiment"  # id of that experiment
OUTER = "hpo.outer"  # in a validation: the outer fold that this study holds out, such as 2/5
OUTER_RESULT = "hpo.outer.result"  # in a validation: the result on that fold; written last
VALIDATION = "hpo.validation.result"  # on the validation's run: the result over all folds

# Trial: tags of a nested run.
NUMBER = "hpo.trial.number"  # written last, it marks the trial as created
BUDGET = "hpo.trial.budget"
ORIGIN = "hpo.trial.origin"
PARAMS = "hpo.trial.params"
PARENT_TRIAL = "hpo.trial.parent"
REPORTS = "hpo.trial.reports"
UNDEFINED = "hpo.trial.undefined"
ENDED = "hpo.trial.ended"  # the state of the trial, in words
NOTED = "hpo.trial.note"
CONFIRMED = "hpo.trial.confirmed"

BASELINE = "hpo.baseline"
FAILURE = "hpo.failure"
SECONDS = "hpo.seconds"
FRONT = "hpo.front"  # with several goals: numbers of the front's trials; on a trial, true or false
HYPERVOLUME = "hpo.hypervolume"
SCALE = "hpo.hypervolume.scale"  # how many trials set its unit, and for how many it is logged
PARENT_RUN = "mlflow.parentRunId"
RUN_NAME = "mlflow.runName"
NOTE = "mlflow.note.content"

MAX_TAG = 8_000  # characters
MAX_PARAM = 6_000  # characters
MAX_CURVE = 50  # points

RUNNING, FINISHED, FAILED, KILLED = "RUNNING", "FINISHED", "FAILED", "KILLED"
STUDY_KEY = "study"

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_VALID_NAME = re.compile(r"[\w\-./: ]{1,250}")
_NUMBER_TEXT = re.compile(r"[+-]?(\d+|(\d+\.\d*|\.\d+|\d+)([eE][+-]?\d+)?|inf|nan)")


def test_metrics(
    metric: str, test: Mapping[str, float], interval: "Interval | None"
) -> dict[str, float]:
    """The winner's test scores under the names with which they are logged.

    Args:
        metric: the study's metric, which the interval is of.
        test: scores on the test rows by metric.
        interval: of the study's metric; None when there is none.
    """
    named = {f"test_{name}": value for name, value in test.items()}
    if interval is not None:
        named |= {f"test_{metric}_low": interval.low, f"test_{metric}_high": interval.high}
    return named


def trains_one(header: Mapping[str, Any]) -> bool:
    """Whether a study trains a single given configuration, which is no search."""
    given = [point["origin"] for point in header.get("first_points", ())]
    return header.get("trials") == 1 == len(given) and given != ["default"]


def parameters_of(header: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The parameters in a header's space, without its forbidden combinations."""
    return {name: v for name, v in header["space"].items() if isinstance(v, Mapping)}


@dataclass(frozen=True)
class Confirmed:
    """The scores of a trial on repeated folds.

    Attributes:
        rows: digest of how the rows are divided.
        budget: of each training.
        scores: the metric by number of the part.
        failure: why the remaining parts were not trained; None when nothing failed.
    """

    rows: str
    budget: float
    scores: Mapping[int, float]
    failure: str | None = None

    def to_tag(self) -> str:
        """The value of the tag `CONFIRMED`, exact."""
        failure = None if self.failure is None else cut(self.failure, MAX_TAG // 4)
        return json.dumps([self.rows, self.budget, sorted(self.scores.items()), failure])

    @classmethod
    def from_tag(cls, text: str) -> "Confirmed | None":
        """Decode a value of `to_tag`; None for any other text."""
        try:
            rows, budget, scores, failure = json.loads(text)
            return cls(str(rows), float(budget), {int(i): float(s) for i, s in scores}, failure)
        except (TypeError, ValueError):
            return None


def trial_key(number: int) -> str:
    """The key of a trial's record."""
    return f"trial-{number}"


def baseline_key(name: str) -> str:
    """The key of a baseline's record, which is also the name of its run."""
    return f"baseline-{name}"


def encode_value(value: Value) -> str:
    """Encode a parameter's value as text. `decode_value` restores the same value and type.

    Numbers are written by `repr`, which round-trips. Strings are written as they are, or as JSON
    when they could be mistaken for another type, or hold characters that no database takes.
    """
    if isinstance(value, bool | int | float):
        return repr(value)
    if _UNSTORABLE.search(value):
        return json.dumps(value)
    return json.dumps(value, ensure_ascii=False) if _is_ambiguous(value) else value


def _is_ambiguous(text: str) -> bool:
    """Whether `decode_value` would not return this text unchanged."""
    if text in ("True", "False", "") or text.startswith('"'):
        return True
    return _NUMBER_TEXT.fullmatch(text) is not None


def decode_value(text: str) -> Value:
    """Decode a value of `encode_value`."""
    if text in ("True", "False"):
        return text == "True"
    if text.startswith('"'):
        return str(json.loads(text))
    if not _NUMBER_TEXT.fullmatch(text):
        return text
    return int(text) if text.lstrip("+-").isdigit() else float(text)


def encode_params(params: Params) -> dict[str, str]:
    """Encode a configuration as MLflow parameters.

    Raises:
        ParameterError: for a value of another type, or one that MLflow would truncate.
    """
    encoded = {name: _encode_param(name, value) for name, value in params.items()}
    check_names(encoded)
    return encoded


def _encode_param(name: str, value: object) -> str:
    plain = value.item() if hasattr(value, "item") else value
    if not isinstance(plain, bool | int | float | str):
        raise ParameterError(
            f"{name}={value!r} must be a string, a number or a boolean to be stored in MLflow"
        )
    encoded = encode_value(plain)
    if len(encoded) > MAX_PARAM:
        raise ParameterError(
            f"{name} has {len(encoded):,} characters, but MLflow stores at most {MAX_PARAM:,} per "
            "parameter; give the choice a short name and look up the long value in the objective"
        )
    return encoded


def check_names(names: Mapping[str, object]) -> None:
    """Check that MLflow accepts these names of parameters or metrics.

    Raises:
        ParameterError: for the first name that MLflow would refuse.
    """
    for name in names:
        if not _is_valid(name):
            raise ParameterError(
                f"{name!r} cannot be the name of a parameter or metric in MLflow: it may have at "
                "most 250 letters, digits, spaces and _ - . / : and no path like `../x`; rename it"
            )


def _is_valid(name: str) -> bool:
    is_clean_path = posixpath.normpath(name) == name and name != "."
    return bool(_VALID_NAME.fullmatch(name)) and is_clean_path and not name.startswith(("..", "/"))


def cut(text: str, limit: int = MAX_TAG) -> str:
    """Shorten a text to `limit` characters and say so at its end.

    MLflow would truncate a longer text silently.
    """
    if len(text) <= limit:
        return text
    note = f" … (cut, {len(text):,} characters in all)"
    return text[: limit - len(note)] + note


def storable(text: str) -> str:
    """The text as every database takes it: of limited length, and without NUL and surrogates."""
    return cut(_UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text))


def finite(values: Mapping[str, float]) -> dict[str, float]:
    """The finite values, as floats."""
    return {name: float(value) for name, value in values.items() if math.isfinite(value)}
