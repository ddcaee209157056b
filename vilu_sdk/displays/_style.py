"""How every picture looks: colours on a light and on a dark ground, lines and sizes."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from vilu_sdk.inputs.extras import require

# Okabe and Ito's colours, which every kind of colour vision tells apart; those of little contrast last.
BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, BLACK = "#E69F00", "#56B4E9", "#000000"
GREY, LIGHT, WHITE = "#555555", "#BBBBBB", "#FFFFFF"
COLOURS = (BLUE, VERMILION, GREEN, BLACK, PURPLE, ORANGE, SKY)
DASHES = ("-", (0, (4, 1.5)), (0, (6, 1, 1, 1)), (0, (1, 0.8)), (0, (6, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
# What each colour is on a dark ground, where it is another.
ON_DARK = {BLUE: SKY, SKY: BLUE, BLACK: WHITE, WHITE: BLACK, GREY: LIGHT, LIGHT: GREY}
# Right and wrong predictions, in every picture.
RIGHT, WRONG = BLUE, VERMILION

# Half a column of a paper, in inches, and a font that can be read there, in points.
WIDTH, HEIGHT, SQUARE_HEIGHT, FONT = 3.3, 2.4, 2.6, 8
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
    if is_own(ax) and not ax.has_data():
        _heights[ax.figure] = height
        ax.figure.set_size_inches(WIDTH, height)
    return ax


def is_own(ax: Any) -> bool:
    """Whether the figure of these axes is from `prepare`, so that its size may change."""
    return ax.figure in _heights


def grow(ax: Any, more: float) -> None:
    """Make a figure from `prepare` so many inches higher than it is without a legend."""
    ax.figure.set_size_inches(WIDTH, _heights[ax.figure] + more)


def tone(ax: Any, colour: str) -> str:
    """Return a colour as it is told apart from the ground of the axes, which may be dark."""
    from matplotlib.colors import to_rgba

    *ground, alpha = to_rgba(ax.get_facecolor())
    if not alpha:
        ground = list(to_rgba(ax.figure.get_facecolor())[:3])
    return ON_DARK.get(colour, colour) if sum(ground) < 1.5 else colour


def nth_look(ax: Any, number: int) -> Look:
    """Return colour, dashes and marker of a curve; all differ as long as one can tell curves apart."""
    # With the second round of colours markers move on, so that both together stay different.
    marker = MARKERS[(number + number // len(COLOURS)) % len(MARKERS)]
    return Look(tone(ax, COLOURS[number % len(COLOURS)]), DASHES[number % len(DASHES)], marker)


def next_look(ax: Any) -> Look:
    """Return colour, dashes and marker that no curve of the axes has yet."""
    # A point without a line, such as a mark on a curve, is no curve.
    handles = ax.get_legend_handles_labels()[0]
    drawn = sum(getattr(handle, "get_linestyle", str)() != "None" for handle in handles)
    return nth_look(ax, drawn)


def frame_rates(ax: Any, xlabel: str, ylabel: str) -> None:
    """Make axes of two rates in percent, with the diagonal under the first curve."""
    if not ax.lines:
        ax.plot([0, 1], [0, 1], color=tone(ax, LIGHT), linewidth=0.8, zorder=1)
    ax.set(xlabel=xlabel, ylabel=ylabel, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    percent(ax.xaxis, ax.yaxis)


def percent(*axes: Any) -> None:
    """Show fractions as percentages; the unit stands in the axis label."""
    for axis in axes:
        axis.set_major_formatter(_in_percent)


def _in_percent(value: float, _: int) -> str:
    return f"{round(100 * value, 6):g}"


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
