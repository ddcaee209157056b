"""Formulas as MathML when the site is built, so that no script and no other host is needed to read them."""

import html
import re
from typing import Any

from latex2mathml.converter import convert
from markdown import Extension, Markdown
from markdown.preprocessors import Preprocessor

ROLE = re.compile(r":math:`([^`]+)`")
DIRECTIVE = re.compile(r"^(?P<indent> *)\.\. math::(?P<first>.*)$")
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_config(config: Any) -> Any:
    """Read the formulas of docstrings too, which are written as Sphinx reads them."""
    config.markdown_extensions.append(DocstringFormulas())
    return config


def on_page_content(content: str, **_: Any) -> str:
    """Replace what arithmatex marked by MathML."""
    return FORMULA.sub(_mathml, content)


def _mathml(match: re.Match[str]) -> str:
    kind, latex = match.groups()
    display = "block" if kind == "div" else "inline"
    mathml = convert(" ".join(html.unescape(latex).split()), display=display)
    return f'<{kind} class="formula">{mathml}</{kind}>'


class DocstringFormulas(Extension):
    """``.. math::`` and ``:math:`` as dollars, which arithmatex reads."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Come before all others."""
        md.preprocessors.register(_Dollars(md), "docstring_formulas", 100)


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
