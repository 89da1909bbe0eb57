"""How figures are drawn: style, colours, common marks, and rendering to SVG.

Axes of parameters show unit codes, so that each parameter has its own scale.
"""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hpo.arrays import BoolArray, FloatArray, IntArray
from pipelines.findings.evidence import Evidence

INK = "#1f2937"
MUTED = "#6b7280"
FAINT = "#e5e7eb"
FRAME = "#c5cbd5"
LINE = "#9aa3b2"
ACCENT = "#2563eb"
ACCENT_LIGHT = "#a9c3f5"
WINNER = "#ea580c"
DEFAULT = "#0f9d74"
PAST = "#7c3aed"
GOOD = LinearSegmentedColormap.from_list("good", ("#d5dce6", "#8fb0e0", "#2563eb", "#172b73"))
LOW_HIGH = LinearSegmentedColormap.from_list("low-high", ("#0f9d74", "#c9d2dd", "#b4348c"))
WIDTH = 10.0  # inches
DPI = 110  # of marks that are stored as pixels
MAX_VECTOR_MARKS = 800  # more marks than this are stored as pixels
MAX_LINES = 1_500  # lines of trials in one figure
_SLACK = 4.0  # pixels outside the axes where a mark is still visible
STYLE: Any = {
    "axes.edgecolor": FRAME,
    "axes.labelcolor": INK,
    "axes.labelsize": 10,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.unicode_minus": False,
    "font.family": ["DejaVu Sans"],
    "font.size": 9.5,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
}

Place = tuple[int, float, float]  # a trial's number, and where it stands in the image


@dataclass(frozen=True)
class Drawing:
    """A figure as SVG.

    Attributes:
        name: The name of its file.
        title: Its heading on the page.
        reading: How to read it.
        svg: The image on the page.
        size: Width and height in pixels.
        places: Where trials stand: number, x and y as shares of the width and the height, from the
            upper left corner.
        joined: Whether the places of a trial form one line.
    """

    name: str
    title: str
    reading: str
    svg: bytes
    size: tuple[float, float]
    places: Sequence[Place] = ()
    joined: bool = False


@dataclass(frozen=True)
class Marks:
    """Trials, by `numbers` (n,), at the data coordinates `x` and `y` (n,) of some axes."""

    axes: Axes
    numbers: Sequence[int]
    x: FloatArray | IntArray
    y: FloatArray

    def places(self, size: tuple[float, float]) -> list[Place]:
        """Where the marks stand in an image of `size` pixels, without those outside the axes."""
        pixels = self.axes.transData.transform(np.column_stack([self.x, self.y]))
        visible = self._inside(pixels)
        x, y = pixels[visible].T / np.array(size)[:, None]
        numbers = np.asarray(self.numbers)[visible].tolist()
        return list(zip(numbers, np.round(x, 4).tolist(), np.round(1 - y, 4).tolist(), strict=True))

    def _inside(self, pixels: FloatArray) -> BoolArray:
        lower, upper = self.axes.bbox.get_points()
        with np.errstate(invalid="ignore"):  # inactive parameters have the code nan
            inside: BoolArray = np.all(
                (pixels >= lower - _SLACK) & (pixels <= upper + _SLACK), axis=1
            )
        return inside


class Limits(NamedTuple):
    """The range of the metric that an axis shows."""

    low: float
    high: float

    def clip(self, scores: FloatArray) -> FloatArray:
        """The scores, those outside moved to the nearer end."""
        return np.clip(scores, self.low, self.high)

    def position(self, scores: FloatArray) -> FloatArray:
        """Where scores stand between the ends: 0 is the lower, 1 the upper."""
        return (scores - self.low) / (self.high - self.low)

    def ticks(self, most: int) -> FloatArray:
        """Round scores inside."""
        values = np.asarray(MaxNLocator(most).tick_values(self.low, self.high))
        return values[self.holds(values)]

    def holds(self, scores: FloatArray) -> BoolArray:
        """Which scores lie inside."""
        return (scores >= self.low) & (scores <= self.high)


def score_limits(evidence: Evidence, losses: FloatArray, also: Sequence[float] = ()) -> Limits:
    """The range of the metric from the best score to a bit beyond where the worst quarter begins.

    Losses in `also` extend it, unless they are far off.
    """
    best, quartile = float(np.min(losses)), float(np.quantile(losses, 0.75))
    spread = max(quartile - best, abs(best) * 1e-6, 1e-12)
    near = [loss for loss in also if loss < quartile + 3 * spread]
    worst = max(quartile + 0.6 * spread, *near, best)
    worst = min(worst, float(np.max([*losses, *also])) + 0.1 * spread)
    score = evidence.scope.score
    return Limits(*sorted((score(best - 0.15 * spread), score(worst))))


@contextmanager
def drawing_style() -> Iterator[None]:
    """The style of all figures, without warnings about letters that the font here lacks.

    Browsers have them.
    """
    with rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def new_figure(
    height: float, rows: int = 1, columns: int = 1, **options: Any
) -> tuple[Figure, list[Axes]]:
    """A figure of panels; `height` is in inches."""
    figure = Figure(figsize=(WIDTH, height))
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, list(axes.flat)


def finish(
    figure: Figure,
    name: str,
    title: str,
    reading: str,
    marks: Sequence[Marks] = (),
    joined: bool = False,
) -> Drawing:
    """Render a figure."""
    svg = io.BytesIO()
    figure.savefig(svg, format="svg", dpi=DPI, metadata={"Date": None, "Creator": None})
    width, height = (float(side) for side in figure.get_size_inches() * figure.dpi)
    places: list[Place] = []
    for group in marks:
        places += group.places((width, height))
    size = (width, height)
    return Drawing(name, title, reading, svg.getvalue(), size, places, joined)


def metric_label(evidence: Evidence) -> str:
    """The metric and which direction is better, for an axis."""
    return f"{evidence.scope.goal.name} ({evidence.scope.goal.better} is better)"


def legend_place(evidence: Evidence) -> Literal["lower right", "upper right"]:
    """The corner of the bad scores late in a search, where nothing is drawn."""
    return "lower right" if evidence.scope.goal.greater_is_better else "upper right"


def add_grid(axes: Axes, grid: str = "y") -> None:
    """Faint lines behind the data."""
    axes.grid(axis=grid, color=FAINT, linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def quality(losses: FloatArray) -> FloatArray:
    """The rank of each loss as a number from 0, the worst, to 1, the best.

    Colours by rank still differ where a few losses are far worse than the rest.
    """
    return 1.0 - np.argsort(np.argsort(losses)) / max(len(losses) - 1, 1)


def scatter_by_quality(
    axes: Axes, x: FloatArray | IntArray, y: FloatArray, losses: FloatArray, size: float
) -> None:
    """One dot for each trial, the darker the better."""
    axes.scatter(
        x,
        y,
        c=quality(losses),
        cmap=GOOD,
        s=size,
        linewidths=0,
        rasterized=len(losses) > MAX_VECTOR_MARKS,
    )


def mark_winner(axes: Axes, x: float, y: float, label: str | None = None) -> None:
    """A star."""
    axes.scatter([x], [y], marker="*", s=150, color=WINNER, label=label, zorder=5)


def dot_size(n: int) -> float:
    """The area of each of `n` marks, in square points."""
    return 26.0 if n <= 100 else 14.0 if n <= 1_000 else 5.0
