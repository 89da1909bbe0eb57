"""Goals that are sums of scores, such as `roc_auc - 0.1*energy`: parsed as data, never run.

A weighted sum is the simplest way to make one goal of several (the weighting method: Miettinen,
1999, "Nonlinear multiobjective optimization", chapter 3.1). It finds only the convex parts of a
front; several goals find all of it (`hpo.goals`).
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hpo.errors import ParameterError

EXAMPLE = "roc_auc - 0.1*energy"
_SIGNED = re.compile(r"(?P<sign>[+-])\s*\((?P<inner>.*)\)", re.DOTALL)
_OPERATOR = re.compile(r"\s+(\+|-|plus|minus)\s+")
_NUMBER = r"\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?"
_TERM = re.compile(rf"(?:(?P<factor>{_NUMBER})\s*(?:\*|\s)\s*)?(?P<name>[^*\s()][^*()]*)")


@dataclass(frozen=True)
class Term:
    """A score and what it is multiplied by."""

    factor: float
    name: str


@dataclass(frozen=True)
class Expression:
    """A sum of scores.

    Attributes:
        terms: at least one; the factor of the first is positive.
        sign: `-` where it is to be small, `+` where it is to be large, "" where the first term's
            direction says so.
    """

    terms: tuple[Term, ...]
    sign: str = ""

    @classmethod
    def parse(cls, text: str) -> "Expression | None":
        """Read a sum such as `roc_auc - 0.1*energy` or `-(error + 0.1*seconds)`, or its `name`.

        Returns:
            None for the name of a single score.

        Raises:
            ParameterError: for a term that is none; the message names it.
        """
        signed = _SIGNED.fullmatch(text.strip())
        sign, inner = (signed["sign"], signed["inner"].strip()) if signed else ("", text.strip())
        if not signed and "*" not in inner and _OPERATOR.search(inner) is None:
            return None
        first, *rest = _OPERATOR.split(inner)
        if not rest:
            raise ParameterError(
                f"metric={text!r} has one term; write the metric alone, or a sum with blanks "
                f"around + and -, such as {EXAMPLE}"
            )
        if first[:1] in ("+", "-"):
            raise ParameterError(
                f"metric={text!r}: to say that the sum is to be small or large, write "
                f"{first[0]}(…) around all of it"
            )
        terms = [_term(text, "+", first)]
        terms += [_term(text, *pair) for pair in zip(rest[::2], rest[1::2], strict=True)]
        names = [term.name for term in terms]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ParameterError(f"metric={text!r} has {twice} in two terms; write one of them")
        return cls(tuple(terms), sign)

    @property
    def name(self) -> str:
        """The sum as a name that MLflow takes, such as `roc_auc minus 0.1 energy`."""
        first, *others = self.terms
        words = [_shown(first)]
        words += [f"{'plus' if each.factor > 0 else 'minus'} {_shown(each)}" for each in others]
        return " ".join(words)

    @property
    def names(self) -> tuple[str, ...]:
        """The scores of its terms."""
        return tuple(term.name for term in self.terms)

    def leading(self, name: str) -> "Expression":
        """The same sum with another name of its first score."""
        first, *others = self.terms
        return replace(self, terms=(replace(first, name=name), *others))

    def value(self, scores: Mapping[str, float]) -> float:
        """The sum; nan if one of the scores is missing."""
        return sum(term.factor * scores.get(term.name, math.nan) for term in self.terms)


def canonical(text: str) -> str:
    """The name of a sum as goals have it; any other text as it is.

    Raises:
        ParameterError: for a term that is none.
    """
    found = Expression.parse(text)
    return text if found is None else found.name


def _term(whole: str, operator: str, text: str) -> Term:
    found = _TERM.fullmatch(text.strip())
    factor = float(found["factor"] or 1.0) if found else 0.0
    if found is None or not (0 < factor < math.inf):
        raise ParameterError(
            f"metric={whole!r}: the term {text.strip()!r} must be a metric, or a number greater "
            f"than 0, * and a metric, with blanks around + and -, such as {EXAMPLE}"
        )
    return Term(factor if operator in ("+", "plus") else -factor, found["name"].strip())


def _shown(term: Term) -> str:
    size = abs(term.factor)
    short = f"{size:g}"
    factor = (short if float(short) == size else repr(size)).replace("+", "")  # 1e+06 is 1e06
    return term.name if size == 1 else f"{factor} {term.name}"


@dataclass(frozen=True)
class Sums:
    """The sums among scores, and the single scores that they need.

    Attributes:
        expressions: the sums.
        measured: the scores that have to be measured: those that are no sum, and the terms.
    """

    expressions: tuple[Expression, ...]
    measured: tuple[str, ...]

    @classmethod
    def among(cls, names: Sequence[str]) -> "Sums":
        """The sums among the names of scores."""
        found = {name: Expression.parse(name) for name in names}
        single = (n for name, each in found.items() for n in (each.names if each else [name]))
        return cls(tuple(filter(None, found.values())), tuple(dict.fromkeys(single)))

    def with_values(self, scores: Mapping[str, float]) -> dict[str, float]:
        """The scores, and the sums of them."""
        return {**scores, **{each.name: each.value(scores) for each in self.expressions}}
