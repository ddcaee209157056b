"""How every picture looks: colours, lines and sizes, and where legends go."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from vilu_sdk.inputs.extras import require

# Okabe and Ito's colours, which every kind of colour vision tells apart; those of little contrast last.
BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, BLACK = "#E69F00", "#56B4E9", "#000000"
GREY, LIGHT = "#555555", "#BBBBBB"
COLOURS = (BLUE, VERMILION, GREEN, BLACK, PURPLE, ORANGE, SKY)
DASHES = ("-", (0, (4, 1.5)), (0, (6, 1, 1, 1)), (0, (1, 0.8)), (0, (6, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
# Right and wrong predictions, in every picture.
RIGHT, WRONG = BLUE, VERMILION

# Half a column of a paper, in inches, and a font that can be read there, in points.
WIDTH, HEIGHT, SQUARE_HEIGHT, FONT = 3.3, 2.4, 2.6, 8
LEGEND_LINE = FONT * 1.5 / 72
# Length of a line in a legend, in font sizes.
HANDLE = 2.6
# Before a label that begins with "_", which matplotlib leaves out of legends; it is never drawn.
SHOWN = "\N{ZERO WIDTH SPACE}"
# Height without the legend of each figure from `prepare`; no other figure is made higher for a legend.
_heights: WeakKeyDictionary[Any, float] = WeakKeyDictionary()


class Look(NamedTuple):
    """How the next line of an axes is drawn."""

    color: str
    linestyle: Any
    marker: str


def prepare(figure: Any, height: float = HEIGHT) -> Any:
    """Give an empty figure its size and one axes, and return the axes."""
    figure.set_size_inches(WIDTH, height)
    figure.set_layout_engine("constrained")
    _heights[figure] = height
    axes = figure.subplots()
    axes.tick_params(labelsize=FONT)
    axes.xaxis.label.set_size(FONT)
    axes.yaxis.label.set_size(FONT)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def axes_for(ax: Any, height: float = HEIGHT) -> Any:
    """Return the axes of a new figure, or `ax`, which gets this height if it is empty and from `prepare`."""
    pyplot = require("matplotlib.pyplot", "plot")
    if ax is None:
        return prepare(pyplot.figure(), height)
    if ax.figure in _heights and not ax.has_data():
        _heights[ax.figure] = height
        ax.figure.set_size_inches(WIDTH, height)
    return ax


def next_look(ax: Any) -> Look:
    """Return colour, dashes and marker that no curve of the axes has yet."""
    # A point without a line, such as a mark on a curve, is no curve.
    handles = ax.get_legend_handles_labels()[0]
    drawn = sum(getattr(handle, "get_linestyle", str)() != "None" for handle in handles)
    return Look(COLOURS[drawn % len(COLOURS)], DASHES[drawn % len(DASHES)], MARKERS[drawn % len(MARKERS)])


def frame_rates(ax: Any, xlabel: str, ylabel: str) -> None:
    """Make axes of two rates in percent, with the diagonal under the first curve."""
    if not ax.lines:
        ax.plot([0, 1], [0, 1], color=LIGHT, linewidth=0.8, zorder=1)
    ax.set(xlabel=xlabel, ylabel=ylabel, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    percent(ax.xaxis, ax.yaxis)


def entry(label: str) -> str:
    """Return a label that stands in the legend, whatever it begins with."""
    return SHOWN + label if label.startswith("_") else label


def legend_above(ax: Any, title: str | None = None) -> None:
    """Put the legend above the axes, where it hides no data."""
    handles, labels = ax.get_legend_handles_labels()
    if not handles:
        return
    size = ax.xaxis.label.get_size()
    width = max(_width(label, size) for label in labels) + (HANDLE + 2) * size
    columns = max(1, min(len(labels), int(72 * ax.figure.get_figwidth() // width)))
    legend = ax.legend(
        handles,
        [label.removeprefix(SHOWN) for label in labels],
        # To the right, so that it can be as wide as the figure without leaving it.
        loc="lower right",
        bbox_to_anchor=(1, 1),
        borderaxespad=0.2,
        borderpad=0.1,
        frameon=False,
        fontsize=size,
        ncols=columns,
        columnspacing=1,
        handlelength=HANDLE,
        labelspacing=0.2,
    )
    if title is not None:
        legend.set_title(title, prop={"size": size, "weight": "bold"})
    plain([*legend.get_texts(), legend.get_title()])
    if ax.figure in _heights:
        lines = -(-len(labels) // columns)
        ax.figure.set_size_inches(WIDTH, _heights[ax.figure] + lines * LEGEND_LINE)


def _width(text: str, size: float) -> float:
    """Return how wide a text is, in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextToPath

    return float(TextToPath().get_text_width_height_descent(text, FontProperties(size=size), False)[0])


def percent(*axes: Any) -> None:
    """Show fractions as percentages; the unit stands in the axis label."""
    for axis in axes:
        axis.set_major_formatter(lambda value, _: f"{round(100 * value, 6):g}")


def plain(texts: Sequence[Any]) -> None:
    """Show names as they are: a dollar in one starts no formula."""
    for text in texts:
        text.set_parse_math(False)


def bars(ax: Any, names: Sequence[str]) -> None:
    """Name the rows of horizontal bars, the first on top."""
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.set_yticks(range(len(names)), labels=names)
    plain(ax.get_yticklabels())
    ax.tick_params(axis="y", length=0)


def height_of_bars(n: int) -> float:
    """Return the height of n bars with the horizontal axis, in inches."""
    return 0.55 + 0.17 * n


def shorten(name: str, longest: int = 24) -> str:
    """Cut a long name, with a mark that it was cut, and put it on one line."""
    name = " ".join(name.split())
    return name if len(name) <= longest else name[: longest - 1].rstrip() + "…"
