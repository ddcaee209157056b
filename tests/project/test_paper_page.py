"""The page of the paper, line by line: every line names the test or the command that runs it."""

import re
import sys

import pytest

from support.paths import ROOT

sys.path.insert(0, str(ROOT / "benchmarks" / "paper"))

from run import ENTRIES

PAGE = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
TESTS = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))


def rows(section):
    """Return the cells of the table of a section, without its header."""
    text = re.split(r"^## ", PAGE.split(f"## {section}\n")[1], flags=re.MULTILINE)[0]
    table = [line for line in text.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table]


@pytest.mark.parametrize(("section", "least"), [("Method", 12), ("Training", 4), ("Baselines (A.3)", 9)])
def test_every_line_names_a_test_that_exists(section, least):
    lines = rows(section)
    assert len(lines) >= least
    for line in lines:
        assert len(line) == 4, line
        (name,) = re.findall(r"^`(test_\w+)`$", line[-1])
        assert f"\ndef {name}(" in TESTS, name


def test_every_table_and_figure_names_an_entry_that_is_run():
    named = [re.findall(r"^`(\w+)`$", line[1])[0] for line in rows("Tables and figures")]
    assert sorted(named) == sorted(set(ENTRIES) - {"transfer"})
