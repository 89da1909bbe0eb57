"""Values of logged parameters, which MLflow stores as texts."""

import math
import re
from dataclasses import dataclass

from hpo.space.parameters import Categorical, Float, Integer, Parameter, Value, same
from pipelines.adoption.bounds import BOUNDS, why_impossible
from pipelines.adoption.mapping import Meaning

_NOT_SET = ("", "none", "null", "nan")
_BOOLEANS = {"true": True, "false": False}
_INTEGER = re.compile(r"[+-]?\d+")


@dataclass(frozen=True)
class LoggedParameter:
    """A parameter of the logged runs.

    Attributes:
        logged: Its name in the runs.
        model: The model family.
        meaning: The parameter of the model that it stands for.
        own: That parameter in the model's own space; None if the space does not have it.
    """

    logged: str
    model: str
    meaning: Meaning
    own: Parameter | None = None

    def read(self, text: str) -> Value | None:
        """The value that a text stands for; None if the parameter was not set.

        Raises:
            ValueError: If the parameter cannot have this value.
        """
        text = _unquoted(text.strip())
        given = self.meaning.values.get(text)
        value = parse(text) if given is None else given
        if isinstance(self.own, Categorical):
            choice = _choice(self.own, value, text)
            if choice is not None:
                return choice
        if given is None and text.lower() in _NOT_SET:
            return None
        self._check_choice(text)
        if isinstance(value, bool | str):
            self._check_not_numeric(text)
            return value
        return self._number(text, value)

    def _check_choice(self, text: str) -> None:
        if isinstance(self.own, Categorical) and isinstance(self.own.choices[0], bool | str):
            choices = ", ".join(map(str, self.own.choices))
            raise ValueError(
                f"{self.logged}={text!r:.40} is none of {choices}; "
                "say with mapping which one it means"
            )

    def _check_not_numeric(self, text: str) -> None:
        if isinstance(self.own, Float | Integer) or self.meaning.name in BOUNDS[self.model]:
            raise ValueError(
                f"{self.logged}={text!r:.40} is not a number; say with mapping what it means"
            )

    def _number(self, text: str, value: float) -> int | float:
        self.check_number(text, value)
        if not isinstance(self.own, Integer):
            return value
        if not float(value).is_integer():
            raise ValueError(f"{self.logged}={text:.40} is not a whole number")
        return int(value)

    def check_number(self, text: str, number: float) -> None:
        """Check that a training of the model can have used the number that a text stands for.

        Raises:
            ValueError: If it cannot.
        """
        if not math.isfinite(number):
            raise ValueError(f"{self.logged}={text:.40} is not a finite number")
        if reason := why_impossible(self.model, self.meaning.name, number):
            raise ValueError(f"{self.logged}={text:.40} {reason}")


def parse(text: str) -> Value:
    """The boolean, integer or float that a text spells, or else the text.

    An integer that is too large for a float is infinite.
    """
    if text.lower() in _BOOLEANS:
        return _BOOLEANS[text.lower()]
    try:
        number = float(text)
    except ValueError:
        return text
    return int(text) if _INTEGER.fullmatch(text) and math.isfinite(number) else number


def _unquoted(text: str) -> str:
    """The text without quotes, in which `mlflow run` logs its parameters."""
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    return text[1:-1] if quoted else text


def _choice(own: Categorical, value: Value, text: str) -> Value | None:
    """The choice that is meant; None if it is none of them."""
    if all(isinstance(choice, bool) for choice in own.choices) and value in (0, 1):
        value = bool(value)
    matching = (choice for choice in own.choices if same(choice, value) or choice == text)
    return next(matching, None)
