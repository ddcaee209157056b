"""How every picture looks: colours, lines and sizes, and where legends go."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

# Okabe and Ito's colours, told apart with every kind of colour vision; those with little contrast last.
BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, BLACK = "#E69F00", "#56B4E9", "#000000"
GREY, LIGHT = "#555555", "#BBBBBB"
COLOURS = (BLUE, VERMILION, GREEN, BLACK, PURPLE, ORANGE, SKY)
DASHES = ("-", (0, (4, 1.5)), (0, (6, 1, 1, 1)), (0, (1, 0.8)), (0, (6, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
# What is right and what is wrong, everywhere.
RIGHT, WRONG = BLUE, VERMILION

# Half a column of a paper, in inches, and a font that can be read there, in points.
WIDTH, HEIGHT, FONT = 3.3, 2.4, 8
LEGEND_LINE = FONT * 1.5 / 72
# Length of a line in a legend, in font sizes.
HANDLE = 2.6
# Figures made here with their heights without a legend: those are ours to make higher.
_heights: WeakKeyDictionary[Any, float] = WeakKeyDictionary()


class Look(NamedTuple):
    """How the next line of an axes is drawn."""

    color: str
    linestyle: Any
    marker: str


def pyplot() -> Any:
    """Import matplotlib, or say how to get it."""
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError('Pictures need matplotlib: pip install "vilu-sdk[plot]"') from error
    return pyplot


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
    """Return `ax`, in the height the picture needs if we made it empty, or the axes of a new figure."""
    plt = pyplot()
    if ax is None:
        return prepare(plt.figure(), height)
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


def legend_above(ax: Any) -> None:
    """Name what is drawn, above the axes, where no data can be."""
    handles, labels = ax.get_legend_handles_labels()
    if not handles:
        return
    size = ax.xaxis.label.get_size()
    width = max(_width(label, size) for label in labels) + (HANDLE + 2) * size
    columns = max(1, min(len(labels), int(72 * ax.figure.get_figwidth() // width)))
    legend = ax.legend(
        handles,
        labels,
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
    """Inches that n rows need, with the horizontal axis."""
    return 0.55 + 0.17 * n


def shorten(name: str, longest: int = 24) -> str:
    """Cut a long name, with a mark that it was cut."""
    return name if len(name) <= longest else name[: longest - 1].rstrip() + "…"
