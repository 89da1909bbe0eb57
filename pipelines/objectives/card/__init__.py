"""The model card: a registered version in Markdown, to judge it and to train it again.

A card is a list of sections, the most important first. The registry's tables have 5,000 characters
for a description (`SqlModelVersion.description` in MLflow 3.17; SQLite does not enforce it,
PostgreSQL and MySQL do). The description holds the sections that fit and names the others; the
whole card is an artifact of the study's run.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.objectives.card import sections
from pipelines.objectives.card.sections import Subject
from serving.features import FeatureEncoder

LIMIT = 5_000  # characters of a description
ARTIFACT = "model_card.md"
PARTS = (
    ("", sections.headline),
    ("Configuration", sections.configuration),
    ("Scores", sections.scores),
    ("Data", sections.data),
    ("Inputs", lambda subject: sections.inputs(subject.prepared.features)),
    ("Search", sections.search),
    ("Limits", sections.limits),
    ("Importance of the columns", sections.importance_of_columns),
    ("Importance of the parameters", sections.importance_of_parameters),
    ("Cost", sections.cost),
)


@dataclass(frozen=True)
class Section:
    """A part of a card; the first has no title."""

    title: str
    lines: tuple[str, ...]

    def __str__(self) -> str:
        """Markdown."""
        heading = [f"## {self.title}", ""] if self.title else []
        return "\n".join([*heading, *self.lines, ""])


def model_card(subject: Subject) -> tuple[Section, ...]:
    """All sections, the most important first."""
    return tuple(Section(title, tuple(write(subject))) for title, write in PARTS)


def inputs(features: FeatureEncoder) -> str:
    """The inputs of a model, as its description."""
    return str(Section("Inputs", tuple(sections.inputs(features))))


def whole(card: Sequence[Section]) -> str:
    """The card as one text."""
    return "\n".join(map(str, card))


def description(card: Sequence[Section], limit: int = LIMIT) -> str:
    """The sections that fit into `limit` characters, and a line that names the others."""
    text = whole(card)
    if len(text) <= limit:
        return text
    room = limit - len(str(_omitted([section.title for section in card]))) - 1
    fitting, omitted = [card[0]], []
    for section in card[1:]:
        if len(whole([*fitting, section])) <= room:
            fitting.append(section)
        else:
            omitted.append(section.title)
    if omitted:
        fitting.append(_omitted(omitted))
    return whole(fitting)[:limit]


def _omitted(titles: Sequence[str]) -> Section:
    line = (
        f"No room here for: {', '.join(titles)}. See `{ARTIFACT}`, an artifact of the study's run."
    )
    return Section("", (line,))
