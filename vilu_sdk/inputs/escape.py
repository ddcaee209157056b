"""Text from elsewhere, made harmless where it is shown: in a terminal, Markdown, HTML, LaTeX, a spreadsheet.

Names, cards and settings come with heads and files of strangers. Each medium has one function here.
"""

import html as _html
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

# Characters that steer a terminal or turn the direction of writing, and halves of characters, which no
# encoding has.
_RANGES = ((0x00, 0x08), (0x0B, 0x1F), (0x7F, 0x9F), (0x200E, 0x200F), (0x2028, 0x202E), (0x2066, 0x2069))
_STEERING = {
    code: f"\\u{code:04x}" for first, last in (*_RANGES, (0xD800, 0xDFFF)) for code in range(first, last + 1)
}
_LINE = {**_STEERING, ord("\n"): "\\n", ord("\t"): "\\t"}
_MARKDOWN = str.maketrans({mark: f"\\{mark}" for mark in "\\|[]`"} | {"<": "&lt;", "&": "&amp;"})
# Marks that steer LaTeX, and signs of our own that its fonts may lack.
_LATEX = str.maketrans(
    {mark: f"\\{mark}" for mark in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "[": "{[}", "]": "{]}", '"': "''"}
    | {"↑": r"$\uparrow$", "↓": r"$\downarrow$", "±": r"$\pm$", "≈": r"$\approx$", "–": "--", "−": "$-$"}
)
# The beginning of a tag or a comment, and not of an address in angle brackets.
_TAG = re.compile(r"<(?=[A-Za-z/!?])(?!https?://)")
# What makes spreadsheets take a text for a formula, numbers aside; some leave out blanks before it.
_FORMULA = re.compile(r"\s*[=+\-@](?!(?<=[+-])[0-9]+(?:[.,][0-9]+)?$)|[\t\r]", re.ASCII)


# A quote is part of an address where it does not end what is quoted.
_CHARACTER = r"""(?:[^?\s'"]|['"](?![\s,;:.)\]}>]|$))"""
#: A number of a host, as it stands in brackets, perhaps with the zone it is in.
HOST_NUMBER = r"[0-9A-Fa-f:.]+(?:%[0-9A-Za-z._~%-]+)?"
# What says who one is, and no number of a host. A password may have marks in it that end a place, but no port
# is before them. Tokens of thousands of characters serve as passwords; the bound keeps long texts quick.
_WHO = (
    rf"(?!\[{HOST_NUMBER}\](?::\d+)?(?:[/?#]|$))"
    rf"(?:(?:(?![/#]){_CHARACTER}){{0,4096}}@"
    rf"|(?:(?![/#@:]){_CHARACTER}){{0,4096}}:(?!:|\d*[/?#])(?:{_CHARACTER}|\?){{0,4096}}@)"
)
# An address in a text: what is before who one is, who that is, the place, and what a query says.
_SECRETS = re.compile(
    rf"""(?P<protocol>[A-Za-z][A-Za-z0-9+.-]+://)(?P<who>{_WHO})?"""
    rf"""(?P<place>(?:(?![A-Za-z][A-Za-z0-9+.-]+://){_CHARACTER})*)(?P<query>\?(?:{_CHARACTER}|\?)*(?<![,;:]))?"""
)


def masked(text: str) -> str:
    """Return a text whose addresses say nothing of who one is: no user, no password, no signature.

    Examples
    --------
    >>> masked("no https://me:secret@host/z.npy?X-Amz-Signature=0af, and no s3://bucket/z_?.npy")
    'no https://host/z.npy?…, and no s3://bucket/z_?.npy'
    >>> masked("zip://z.npy::https://me:sec/ret@host/z.zip")
    'zip://z.npy::https://host/z.zip'
    """

    def plain(found: re.Match[str]) -> str:
        query = found["query"] or ""
        says = "=" in query or (query and found["protocol"].lower() in ("http://", "https://"))
        return f"{found['protocol']}{found['place']}{'?…' if says else query}"

    return _SECRETS.sub(plain, text)


def secrets_of(address: str) -> list[str]:
    """Return what nobody may see of an address, the longest first: as it is written, and as it is meant.

    Examples
    --------
    >>> secrets_of("https://me:sec%2Fret@host/z.npy?X-Amz-Signature=0af19")
    ['X-Amz-Signature=0af19', 'me:sec%2Fret', 'me:sec/ret', 'sec%2Fret', 'sec/ret', '0af19']
    """
    found = set()
    for part in _SECRETS.finditer(address):
        who, query = (part["who"] or "")[:-1], (part["query"] or "")[1:]
        values = [who.partition(":")[2], *(pair.partition("=")[2] for pair in query.split("&"))]
        found |= {who, query, *(value for value in values if len(value) > 3)}
    found |= {unquote(secret) for secret in found}
    return sorted(found - {""}, key=lambda secret: (-len(secret), secret))


def has_stray_marks(address: str) -> bool:
    """Whether what says who one is in an address has marks in it that end the place."""
    return any(re.search("[/?#]", part["who"] or "") for part in _SECRETS.finditer(address))


def printable(text: str) -> str:
    r"""Return text that steers no terminal: control characters as their escapes, but newlines and tabs.

    Examples
    --------
    >>> print(printable("a\x1b[2Jb"))
    a\u001b[2Jb
    """
    return text if text.isascii() and text.isprintable() else text.translate(_STEERING)


def line(text: str) -> str:
    """Return text that steers no terminal and takes one line."""
    return text if text.isascii() and text.isprintable() else text.translate(_LINE)


def markdown(text: str) -> str:
    r"""Return text for a line or a cell of Markdown, in which nothing of it is markup of its own.

    Examples
    --------
    >>> print(markdown("a|b\n<script>"))
    a\|b &lt;script>
    """
    return printable(" ".join(text.split())).translate(_MARKDOWN)


def markdown_block(text: str) -> str:
    """Return Markdown of somebody else without tags of HTML."""
    return _TAG.sub("&lt;", printable(text))


def html(text: str) -> str:
    """Return text for HTML, also for the value of an attribute in quotes."""
    return _html.escape(printable(text))


def latex(text: str) -> str:
    r"""Return text for a cell of a table in LaTeX, in which nothing of it is a command.

    Examples
    --------
    >>> print(latex(r"100 % & \input{x}"))
    100 \% \& \textbackslash{}input\{x\}
    """
    return printable(" ".join(text.split())).translate(_LATEX)


def csv_cells(values: Sequence[Any]) -> Sequence[Any]:
    """Return a column whose texts no spreadsheet takes for formulas: these get an apostrophe before them.

    Examples
    --------
    >>> csv_cells(["=1+1", "cat", "-dash", "-1"])
    ["'=1+1", 'cat', "'-dash", '-1']
    >>> csv_cells([-1.5, 2.0])
    [-1.5, 2.0]
    """
    if not isinstance(next((value for value in values if value is not None), None), str):
        return values
    return [_cell(value) if isinstance(value, str) else value for value in values]


def _cell(text: str) -> str:
    return f"'{printable(text)}" if _FORMULA.match(text) else printable(text)
