"""Formulas as MathML when the site is built, so that no script and no other host is needed to read them."""

import html
import re
from typing import Any

from latex2mathml.converter import convert
from markdown import Extension, Markdown
from markdown.postprocessors import Postprocessor
from markdown.preprocessors import Preprocessor

ROLE = re.compile(r":math:`([^`]+)`")
DIRECTIVE = re.compile(r"^(?P<indent> *)\.\. math::(?P<first>.*)$")
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


class Formulas(Extension):
    """Formulas of docstrings as dollars, which arithmatex reads, and what it marked as MathML."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Read before all others, and write after them."""
        md.preprocessors.register(_Dollars(md), "formulas", 100)
        md.postprocessors.register(_MathML(md), "formulas", -100)


class _MathML(Postprocessor):
    def run(self, text: str) -> str:
        """Replace what arithmatex marked."""
        return FORMULA.sub(_mathml, text)


def _mathml(match: re.Match[str]) -> str:
    kind, latex = match.groups()
    display = "block" if kind == "div" else "inline"
    mathml = convert(" ".join(html.unescape(latex).split()), display=display)
    return f'<{kind} class="formula">{mathml}</{kind}>'


class _Dollars(Preprocessor):
    def run(self, lines: list[str]) -> list[str]:
        """Rewrite the lines of a docstring."""
        found: list[str] = []
        indent: int | None = None  # of the directive whose formula is being read
        for line in lines:
            if indent is not None and line.strip() and len(line) - len(line.lstrip()) <= indent:
                found += ["$$", ""]
                indent = None
            if directive := DIRECTIVE.match(line):
                indent = len(directive["indent"])
                found += ["", "$$", *filter(None, [directive["first"].strip()])]
            elif indent is None:
                found.append(ROLE.sub(r"$\1$", line))
            elif line.strip():
                found.append(line.strip())
        return [*found, "$$"] if indent is not None else found


def makeExtension(**_: Any) -> Formulas:
    """Let Markdown find it by the name of the module."""
    return Formulas()
