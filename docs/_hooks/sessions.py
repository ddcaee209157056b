"""Blocks of Python that begin with a prompt as sessions, so that only their code is copied."""

import re
from typing import Any

from markdown import Extension, Markdown
from markdown.preprocessors import Preprocessor

FENCE = re.compile(r"^( *```)python$")


class Sessions(Extension):
    """Rewrite the fence of a session, whose prompts and output `style.css` hides from the clipboard."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Come before superfences."""
        md.preprocessors.register(_Sessions(md), "sessions", 101)


class _Sessions(Preprocessor):
    def run(self, lines: list[str]) -> list[str]:
        """Rewrite the lines of a page."""
        following = [*lines[1:], ""]
        return [
            FENCE.sub(r"\1pycon", line) if after.lstrip().startswith(">>>") else line
            for line, after in zip(lines, following, strict=True)
        ]


def makeExtension(**_: Any) -> Sessions:
    """Let Markdown find it by the name of the module."""
    return Sessions()
