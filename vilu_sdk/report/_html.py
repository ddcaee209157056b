"""Parts of a page, in which everything from outside is escaped."""

import base64
import hashlib
import io
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from importlib.resources import files
from string import Template
from typing import Any

from vilu_sdk.displays._style import prepare
from vilu_sdk.inputs.escape import html as escape

TEMPLATE, SCRIPT = "template.html", "sort.js"
# How a table begins that the script lets readers sort.
SORTS = '<table class="sorts"'
# Widths are computed with the first of these fonts; the others are about as wide.
FONTS = "'DejaVu Sans', Verdana, sans-serif"


def page(title: str, lead: str, sections: dict[str, str], footer: str) -> str:
    """Return the whole page; the headings of the sections become its contents."""
    parts = [
        f'<section id="s{number}" aria-labelledby="h{number}">'
        f'<h2 id="h{number}">{escape(heading)}</h2>{body}</section>'
        for number, (heading, body) in enumerate(sections.items())
    ]
    links = [
        f'<li><a href="#s{number}">{escape(heading)}</a></li>' for number, heading in enumerate(sections)
    ]
    template, script = (
        files(__package__).joinpath(name).read_text(encoding="utf-8") for name in (TEMPLATE, SCRIPT)
    )
    # Browsers run this script and no other, whatever a name on the page holds.
    checksum = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return Template(template).substitute(
        script=script,
        allowed=f"'sha256-{checksum}'",
        title=escape(title),
        lead=lead,
        contents="".join(links),
        sections="\n".join(parts),
        footer=footer,
    )


class Raw(str):
    """Markup that is no text to escape."""


def strong(sentence: str) -> str:
    """Return the sentence that stands above all others."""
    return f'<p class="first">{escape(sentence)}</p>'


def listing(items: Sequence[str]) -> str:
    """Return a numbered list."""
    return f"<ol>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ol>"


def text(*paragraphs: str) -> str:
    """Return paragraphs."""
    return "".join(f"<p>{escape(paragraph)}</p>" for paragraph in paragraphs)


def facts(values: dict[str, str]) -> str:
    """Return a few numbers in large print."""
    pairs = (f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in values.items())
    return f'<dl class="facts">{"".join(pairs)}</dl>'


def table(
    caption: str,
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    words: int = 1,
    marked: Sequence[int] = (),
    sorts: bool = False,
) -> str:
    """Return a table of which the first `words` columns are words and the others numbers."""

    def cell(tag: str, column: int, value: str, scope: str = "") -> str:
        number = "" if column < words else ' class="number"'
        return f"<{tag}{scope}{number}>{value if isinstance(value, Raw) else escape(value)}</{tag}>"

    head = "".join(cell("th", column, name, ' scope="col"') for column, name in enumerate(header))
    body = []
    for index, row in enumerate(rows):
        first, *rest = row
        cells = cell("th", 0, first, ' scope="row"') + "".join(
            cell("td", column, value) for column, value in enumerate(rest, 1)
        )
        body.append(f'<tr class="certified">{cells}</tr>' if index in marked else f"<tr>{cells}</tr>")
    return scroll(
        f"{SORTS if sorts else '<table'}><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table>",
        caption,
    )


def scroll(body: str, label: str) -> str:
    """Let a wide body scroll by itself, with the keyboard too."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}">{body}</div>'


def code(lines: str) -> str:
    """Return text in a fixed-width font."""
    return f'<pre tabindex="0"><code>{escape(lines)}</code></pre>'


def fold(summary: str, body: str) -> str:
    """Fold a long body under its summary."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def picture(key: str, title: str, caption: str, draw: Callable[[Any], Any]) -> str:
    """Draw on new axes and return the figure as inline SVG; `key` makes its names unique on the page."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure()
    axes = prepare(figure)
    buffer = io.StringIO()
    with warnings.catch_warnings():
        # The page shows texts with the reader's fonts, which may know more letters than matplotlib's.
        warnings.filterwarnings("ignore", r"Glyph .* missing", UserWarning)
        draw(axes)
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": key}):
            # Metadata would add the time and addresses.
            nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
            figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{key}-", svg)
    svg = re.sub(r"(font: (?:\d+ )?[\d.]+px) [^;\"]*", rf"\1 {FONTS}", svg)
    head, rest = svg.split(">", 1)
    # The page decides how wide it is; the view box keeps the proportions.
    svg = re.sub(r' (?:width|height)="[^"]*"', "", head) + ">" + rest
    legend = "; ".join(axes.get_legend_handles_labels()[1])
    label = escape(f"{title}. {legend}")
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
    return f"<figure><figcaption><b>{escape(title)}</b>{escape(caption)}</figcaption>{svg}</figure>"


def percent(value: float, decimals: int = 1) -> str:
    """Show a fraction, or a dash where there is none."""
    return "–" if value != value else f"{100 * value:.{decimals}f}\N{NO-BREAK SPACE}%"


def number(value: float) -> str:
    """Show a value with a minus that is as wide as a digit."""
    return f"{value:.3f}".replace("-", "\N{MINUS SIGN}")
