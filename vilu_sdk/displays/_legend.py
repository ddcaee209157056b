"""Where the legend of every picture goes: above the axes, apart from all else, or inside."""

from typing import Any, NamedTuple

from vilu_sdk.displays._style import grow, is_own, plain

ABOVE, INSIDE = "above", "inside"
# Length of a line in a legend, in font sizes.
HANDLE = 2.6
# Before a label that begins with "_", which matplotlib leaves out of legends; it is never drawn.
SHOWN = "\N{ZERO WIDTH SPACE}"
# Height of a line, in font sizes. Size of letters beside those of axis labels, in figures of others.
LINE, SMALL = 1.5, 0.8
# Of the axes' width, what a legend inside may take; of their height, what one above leaves them at least.
WIDEST, LEFT = 0.8, 0.2
# By which the room above an axes is known again.
ROOM = "_room_of_legend"


def check_legend(legend: Any) -> str | None:
    """Return where the legend goes, None if there is none."""
    if legend is None or legend is False:
        return None
    if legend is not True and legend not in (ABOVE, INSIDE):
        raise ValueError(f'legend must be "above", "inside" or None, got {legend!r}.')
    return ABOVE if legend is True else str(legend)


def entry(label: str) -> str:
    """Return a label that stands in the legend, whatever it begins with."""
    return SHOWN + label if label.startswith("_") else label


def put_legend(ax: Any, where: str | None, title: str | None = None) -> None:
    """Put the legend where it was asked for; long entries go on in a second line."""
    handles, labels = ax.get_legend_handles_labels()
    if not handles or where is None:
        return
    own = is_own(ax)
    size = ax.xaxis.label.get_size() * (1 if own else SMALL)
    # In figures of others, what is left of the axes belongs to labels and neighbours.
    room = 72 * (ax.figure if own else ax).bbox.width / ax.figure.dpi * (WIDEST if where == INSIDE else 1)
    beside = (HANDLE + 2) * size
    texts = [wrap(label.removeprefix(SHOWN), room - beside, size) for label in labels]
    width = beside + max(_width(line, size) for text in texts for line in text.split("\n"))
    columns = 1 if where == INSIDE else max(1, min(len(labels), int(room // width)))
    style: dict[str, Any] = {"loc": "best", "framealpha": 0.8}
    if where == ABOVE:
        # To the right, so that it can be as wide as an own figure without leaving it.
        style = {"loc": "lower right", "bbox_to_anchor": (1, 1), "borderaxespad": 0.2, "frameon": False}
        _keep_room(ax)
    legend = ax.legend(
        handles,
        texts,
        **style,
        borderpad=0.1 if where == ABOVE else 0.3,
        fontsize=size,
        ncols=columns,
        columnspacing=1,
        handlelength=HANDLE,
        labelspacing=0.2,
    )
    if title is not None:
        legend.set_title(title, prop={"size": size, "weight": "bold"})
    legend.set_label(ROOM if where == ABOVE else "")
    plain([*legend.get_texts(), legend.get_title()])
    if own:
        lines = -(-len(texts) // columns) * max(text.count("\n") + 1 for text in texts)
        grow(ax, lines * LINE * size / 72 if where == ABOVE else 0)


class _Room(NamedTuple):
    """The legend above an axes, as an axes without content: titles stay above it."""

    of: Any

    @property
    def height(self) -> float:
        """As a share of the figure."""
        legend = self.of.get_legend()
        # One that was put elsewhere since needs none.
        if legend is None or not legend.get_visible() or legend.get_label() != ROOM:
            return 0.0
        return float(1.05 * legend.get_window_extent().height / self.of.figure.bbox.height)

    def __call__(self, ax: Any, renderer: Any) -> Any:
        box = self.of.get_position()
        return type(box).from_extents(box.x0, box.y1, box.x1, box.y1 + self.height)


class _Lower(NamedTuple):
    """An axes that gives its legend its room, where no layout does."""

    room: _Room

    def get_subplotspec(self) -> Any:
        """Where in its grid the axes is, for matplotlib's tight layout, which asks this."""
        return self.room.of.get_subplotspec()

    def __call__(self, ax: Any, renderer: Any) -> Any:
        box, layout = ax.get_position(original=True), ax.figure.get_layout_engine()
        # A constrained layout, also one that is set aside while the figure is saved.
        if layout is not None and not layout.adjust_compatible:
            return box
        top = max(box.y1 - self.room.height, box.y0 + LEFT * box.height)
        return type(box).from_extents(box.x0, box.y0, box.x1, top)


def _keep_room(ax: Any) -> None:
    """Keep titles above the legend, which is above the axes."""
    if any(child.get_label() == ROOM for child in ax.child_axes):
        return
    room = _Room(ax)
    child = ax.inset_axes([0, 1, 1, 0], label=ROOM)
    child.set_visible(False)
    child.set_axes_locator(room)
    if not is_own(ax) and ax.get_axes_locator() is None:
        ax.set_axes_locator(_Lower(room))


def wrap(text: str, room: float, size: float) -> str:
    """Break a text at spaces into lines that are so many points wide at most, if words allow it.

    What stands in brackets goes into a line of its own, and a percent sign stays with its number.
    """
    if _width(text, size) <= room:
        return text
    head, bracket, tail = text.rpartition(" (")
    if bracket:
        return "\n".join([wrap(head, room, size), wrap(f"({tail}", room, size)])
    first, *words = text.replace(" %", "\N{NO-BREAK SPACE}%").split(" ")
    lines = [first]
    for word in words:
        longer = f"{lines[-1]} {word}"
        lines[-1:] = [longer] if _width(longer, size) <= room else [lines[-1], word]
    return "\n".join(lines).replace("\N{NO-BREAK SPACE}", " ")


def _width(text: str, size: float) -> float:
    """Return how wide a text is, in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextToPath

    return float(TextToPath().get_text_width_height_descent(text, FontProperties(size=size), False)[0])
