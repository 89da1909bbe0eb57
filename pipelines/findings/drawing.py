"""How figures are drawn: style, colours, and rendering to SVG and PNG.

Codes of the unit cube are coordinates, so that every parameter stands on its own scale.
"""

import io
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from hpo.arrays import FloatArray
from pipelines.findings.evidence import Evidence

INK, MUTED, FAINT, ACCENT, WINNER, DEFAULT = (
    "#1f2937",
    "#6b7280",
    "#e5e7eb",
    "#2563eb",
    "#ea580c",
    "#0f9d74",
)
PAST = "#7c3aed"
GOOD = LinearSegmentedColormap.from_list("good", ("#d5dce6", "#8fb0e0", "#2563eb", "#172b73"))
LOW_HIGH = LinearSegmentedColormap.from_list("low-high", ("#0f9d74", "#c9d2dd", "#b4348c"))
WIDTH = 10.0
_SLACK = 4.0  # pixels beside the axes where a mark still counts as drawn
MANY = 800  # marks from which on they are stored as pixels
MOST_LINES = 1_500  # lines of parallel coordinates: the best and an even sample of the rest
STYLE: Any = {
    "axes.edgecolor": "#c5cbd5",
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


@dataclass(frozen=True)
class Drawing:
    """A figure as SVG and PNG.

    `marks` are trials and where they stand, as shares of the width and the height from the upper
    left; `joined` says that the marks of a trial are one line.
    """

    name: str
    title: str
    reading: str
    svg: bytes
    png: bytes
    size: tuple[float, float]
    marks: Sequence[tuple[int, float, float]] = ()
    joined: bool = False


@contextmanager
def drawing() -> Iterator[None]:
    """The style, and silence about letters that the font has not: browsers have them, in a PNG they are boxes."""
    with rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def new_figure(
    height: float, rows: int = 1, columns: int = 1, **options: Any
) -> tuple[Figure, list[Axes]]:
    """A figure of panels."""
    figure = Figure(figsize=(WIDTH, height))
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, list(axes.flat)


def finish(
    figure: Figure,
    name: str,
    title: str,
    reading: str,
    marks: Iterable[tuple[Axes, Sequence[int], FloatArray, FloatArray]] = (),
    joined: bool = False,
) -> Drawing:
    """Render a figure; `marks` are trials `(n,)` at data coordinates `(n,)` of some axes."""
    svg, png = io.BytesIO(), io.BytesIO()
    figure.savefig(png, format="png", dpi=110)
    width, height = figure.get_size_inches() * figure.dpi
    places: list[tuple[int, float, float]] = []
    for axes, numbers, x, y in marks:
        pixels = axes.transData.transform(np.column_stack([x, y]))
        (left, lower), (right, upper) = axes.bbox.get_points() + (
            (-_SLACK, -_SLACK),
            (_SLACK, _SLACK),
        )
        with np.errstate(invalid="ignore"):
            inside = np.all((pixels >= (left, lower)) & (pixels <= (right, upper)), axis=1).tolist()
        pixels = pixels / (width, height)
        places += [
            (int(n), round(float(px), 4), round(1 - float(py), 4))
            for n, (px, py), there in zip(numbers, pixels, inside, strict=True)
            if there
        ]
    figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    return Drawing(
        name,
        title,
        reading,
        svg.getvalue(),
        png.getvalue(),
        (float(width), float(height)),
        places,
        joined,
    )


def direction(evidence: Evidence) -> str:
    """The metric and which way is better, for an axis."""
    better = "higher is better" if evidence.metric.greater_is_better else "lower is better"
    return f"{evidence.metric.name} ({better})"


def tidy(axes: Axes, grid: str = "y") -> None:
    """Faint lines behind the data."""
    axes.grid(axis=grid, color=FAINT, linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def ranked(losses: FloatArray) -> FloatArray:
    """How good each loss is among all, from 0 to 1: colours by rank are not flattened by a few bad trials."""
    return 1.0 - np.argsort(np.argsort(losses)) / max(len(losses) - 1, 1)


def window(
    evidence: Evidence, losses: FloatArray, also: Sequence[float] = ()
) -> tuple[float, float]:
    """The range of the metric that is worth looking at: from the best to where the worst quarter begins, and a bit."""
    best, far = float(np.min(losses)), float(np.quantile(losses, 0.75))
    spread = max(far - best, abs(best) * 1e-6, 1e-12)
    worst = max(far + 0.6 * spread, *(loss for loss in also if loss < far + 3 * spread), best)
    ends = sorted(
        (
            evidence.shown(best - 0.15 * spread),
            evidence.shown(min(worst, float(np.max([*losses, *also])) + 0.1 * spread)),
        )
    )
    return ends[0], ends[1]


def dot_size(n: int) -> float:
    """The area of a mark, in points squared, where there are `n`."""
    return 26.0 if n <= 100 else 14.0 if n <= 1_000 else 5.0
