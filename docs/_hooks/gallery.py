"""Make the pages of `docs/examples` out of runs of `examples/*.py`.

    python docs/_hooks/gallery.py                   # runs them, and writes their pages, pictures and cards
    python docs/_hooks/gallery.py site/examples     # writes the downloads beside built pages, without a run

An example is in the percent format that VS Code, PyCharm, Spyder and jupytext read: a docstring, whose first
line is the title, then cells of code below `# %%` and of Markdown below `# %% [markdown]`. One without cells
is a program with arguments: its page shows it, and nothing is run. The suite runs all and compares.
"""

import ast
import html
import io
import json
import re
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

ROOT = Path(__file__).parents[2]
EXAMPLES, INDEX, PAGES = ROOT / "examples", ROOT / "docs" / "examples.md", ROOT / "docs" / "examples"
MARK = re.compile(r"^# %%( \[markdown\])?\n", re.MULTILINE)
CARDS = re.compile(r"(<!-- cards: ([\w, ]+) -->\n).*?(?=<!-- end -->)", re.DOTALL)
# Pixels on the page, and in the file, of an inch of a figure.
SHOWN, DRAWN = 100, 160


class Cell(NamedTuple):
    """A piece of an example: Markdown or code, and the line of the file at which it begins."""

    kind: str
    text: str
    line: int


class Example(NamedTuple):
    """An example in cells; the first is the docstring, which begins with the title."""

    name: str
    title: str
    about: str
    cells: list[Cell]

    @property
    def is_program(self) -> bool:
        """Whether it takes arguments, so that there is nothing to run without them."""
        return len(self.cells) == 2


class Outcome(NamedTuple):
    """What a cell printed and drew."""

    text: str
    figures: list[Figure]


def read(path: Path) -> Example:
    """Read an example in cells."""
    source = path.read_text(encoding="utf-8")
    module = ast.parse(source)
    title, _, about = (ast.get_docstring(module) or "").partition("\n\n")
    start = module.body[0].end_lineno or 1
    rest = "".join(source.splitlines(keepends=True)[start:])
    cells, kind, begin = [Cell("markdown", f"# {title}\n\n{about}", 1)], "code", 0
    for mark in [*MARK.finditer(rest), None]:
        text = rest[begin : mark.start() if mark else None]
        if text.strip():
            before = rest[:begin] + text[: len(text) - len(text.lstrip())]
            shown = (
                re.sub(r"^# ?", "", text.strip(), flags=re.MULTILINE) if kind == "markdown" else text.strip()
            )
            cells.append(Cell(kind, shown, start + 1 + before.count("\n")))
        if mark:
            kind, begin = "markdown" if mark[1] else "code", mark.end()
    return Example(path.stem, title, about, cells)


def run(example: Example) -> tuple[list[Outcome], dict[str, Any]]:
    """Run the cells one after the other, and return what each gave and the names at the end."""
    names: dict[str, Any] = {"__name__": "__main__"}
    outcomes = []
    plt.close("all")
    for cell in example.cells:
        out = io.StringIO()
        if cell.kind == "code" and not example.is_program:
            code = compile("\n" * (cell.line - 1) + cell.text, str(EXAMPLES / f"{example.name}.py"), "exec")
            with redirect_stdout(out), patch.object(plt, "show"):
                exec(code, names)
        outcomes.append(Outcome(out.getvalue().rstrip(), [plt.figure(n) for n in plt.get_fignums()]))
        plt.close("all")
    return outcomes, names


def words(figure: Figure) -> str:
    """What a figure says, with its numbers: titles, labels, legends and notes, axes by axes."""
    said = []
    for ax in figure.axes:
        legend = ax.get_legend().get_texts() if ax.get_legend() else []
        texts = [ax.get_title(), ax.get_xlabel(), ax.get_ylabel()]
        texts += [text.get_text() for text in (*legend, *ax.texts)]
        said.append(", ".join(" ".join(text.split()) for text in texts if text.strip()))
    return "; ".join(filter(None, said))


def pictures(example: Example, outcomes: list[Outcome]) -> Iterator[tuple[str, Figure]]:
    """Yield the name of the file and the figure of each picture, in order."""
    figures = [figure for outcome in outcomes for figure in outcome.figures]
    for number, figure in enumerate(figures, 1):
        yield f"{example.name}-{number}.png", figure


def page(example: Example, outcomes: list[Outcome]) -> str:
    """Return the page of an example."""
    downloads = {f"{example.name}.py": "script"}
    if not example.is_program:
        downloads[f"{example.name}.ipynb"] = "notebook"
    links = " · ".join(f'<a href="{name}" download>{kind}</a>' for name, kind in downloads.items())
    names = {id(figure): name for name, figure in pictures(example, outcomes)}
    parts = [f"<!-- made by docs/_hooks/gallery.py out of examples/{example.name}.py -->"]
    for cell, outcome in zip(example.cells, outcomes, strict=True):
        parts.append(f"```python\n{cell.text}\n```" if cell.kind == "code" else cell.text.strip())
        if cell is example.cells[0]:
            parts.append(f'<p class="downloads">Download: {links}</p>')
        if outcome.text:
            parts.append(f"``` {{ .text .output }}\n{outcome.text}\n```")
        for figure in outcome.figures:
            wide = round(SHOWN * figure.get_figwidth())
            parts.append(f'<img src="{names[id(figure)]}" alt="{html.escape(words(figure))}" width="{wide}">')
    return "\n\n".join(parts) + "\n"


def notebook(example: Example) -> str:
    """Return the example as a Jupyter notebook, before it is run."""
    cells: list[dict[str, Any]] = []
    for number, cell in enumerate(example.cells):
        made = {"cell_type": cell.kind, "id": f"cell-{number}", "metadata": {}, "source": cell.text.strip()}
        cells.append(made | ({"execution_count": None, "outputs": []} if cell.kind == "code" else {}))
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    whole = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def card(example: Example, picture: bool) -> str:
    """Return the card of an example: its first picture or else its name, and its first sentence."""
    name, about = example.name, " ".join(re.split(r"(?<=[.?]) |\n\n", example.about)[0].split())
    alone = f'<code class="thumbnail">{name}.py</code>'
    shown = f'<img class="thumbnail" src="examples/{name}-1.png" alt="">' if picture else alone
    return f"-   {shown}\n\n    **[{example.title}](examples/{name}.md)**\n\n    {about}\n\n"


def index(text: str, cards: dict[str, str]) -> str:
    """Return the page of all examples with new cards; its marks say which stand there, in which order."""

    def of(match: re.Match[str]) -> str:
        found = "".join(cards[name] for name in match[2].split(", "))
        return f'{match[1]}\n<div class="grid cards" markdown>\n\n{found}</div>\n\n'

    return CARDS.sub(of, text)


def main() -> None:
    """Run all examples and write their pages, or write the downloads into a folder."""
    examples = {path.stem: read(path) for path in sorted(EXAMPLES.glob("*.py"))}
    if sys.argv[1:]:
        for name, example in examples.items():
            (Path(sys.argv[1]) / f"{name}.py").write_bytes((EXAMPLES / f"{name}.py").read_bytes())
            if not example.is_program:
                (Path(sys.argv[1]) / f"{name}.ipynb").write_text(notebook(example), encoding="utf-8")
        return
    mpl.use("agg")
    PAGES.mkdir(exist_ok=True)
    for path in PAGES.iterdir():
        path.unlink()
    cards = {}
    for name, example in examples.items():
        outcomes, _ = run(example)
        (PAGES / f"{name}.md").write_text(page(example, outcomes), encoding="utf-8")
        drawn = dict(pictures(example, outcomes))
        for file, figure in drawn.items():
            figure.savefig(PAGES / file, dpi=DRAWN, metadata={"Description": words(figure)})
        cards[name] = card(example, bool(drawn))
    INDEX.write_text(index(INDEX.read_text(encoding="utf-8"), cards), encoding="utf-8")


if __name__ == "__main__":
    main()
