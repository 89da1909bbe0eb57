"""One HTML page that works offline: styles, figures and a small script are inside."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined, Template

from pipelines.findings.diagnosis import Diagnosis
from pipelines.findings.figures.drawing import Drawing
from pipelines.findings.scales import number, short
from pipelines.findings.tables import Table

_LONG = 80  # characters of a column's name
READ_FROM_MLFLOW = "Everything on this page was read from MLflow. It needs no network."


@dataclass(frozen=True)
class Fact:
    """A figure of the headline."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    name: str
    is_number: bool


@dataclass(frozen=True)
class Row:
    """A row of a table, as it is shown."""

    cells: Sequence[str]
    chosen: bool


@dataclass(frozen=True)
class Section:
    """A part of the page: findings, a figure or a table under a title, and how to read it."""

    title: str
    reading: str = ""
    findings: Sequence[Diagnosis] = ()
    code: str = ""
    name: str = ""
    image: str = ""
    width: float = 0.0
    height: float = 0.0
    columns: Sequence[Column] = ()
    rows: Sequence[Row] = ()

    @classmethod
    def of_drawing(cls, drawing: Drawing) -> "Section":
        """A figure as an image, so that nothing inside can reach the page."""
        image = base64.b64encode(drawing.svg).decode("ascii")
        width, height = drawing.size
        return cls(
            drawing.title,
            drawing.reading,
            name=drawing.name,
            image=image,
            width=width,
            height=height,
        )

    @classmethod
    def of_table(cls, title: str, table: Table, reading: str = "") -> "Section":
        """A table; long texts are cut."""
        columns = [
            Column(short(name, _LONG), all(_is_number(row[i]) for row in table.rows))
            for i, name in enumerate(table.columns)
        ]
        rows = [Row(list(map(_cell, row)), i == table.chosen) for i, row in enumerate(table.rows)]
        return cls(title, reading, columns=columns, rows=rows)


@dataclass(frozen=True)
class Page:
    """All values of the template.

    Attributes:
        title: The title of the browser's window.
        subtitle: The line above the headline.
        headline: The result in large letters.
        kicker: What the headline means, in small ones.
        facts: Figures below the headline.
        sections: The parts of the page.
        footer: Lines at the end.
        data: What the script knows of trials and figures.
    """

    title: str
    subtitle: str
    headline: str
    kicker: str
    facts: Sequence[Fact]
    sections: Sequence[Section]
    footer: Sequence[str]
    data: Mapping[str, Any] = field(default_factory=dict)

    def to_html(self) -> str:
        """The page; every value is escaped."""
        return template("page.html").render(page=self)


@cache
def template(name: str) -> Template:
    """A template of this folder; it escapes every value."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(
        files("pipelines.findings").joinpath(name).read_text(encoding="utf-8")
    )


def _is_number(cell: object) -> bool:
    return cell is None or (isinstance(cell, int | float) and not isinstance(cell, bool))


def _cell(value: object) -> str:
    return "–" if value is None else short(number(value, 5), 300)
