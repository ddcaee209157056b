"""Numbers of the docs that take a minute, computed anew by the commands that stand beside them."""

import contextlib
import io
import json
import re
import runpy
import sys

import pytest

from support.paths import ROOT

EMBEDDINGS = ROOT.parent / "shared" / "embeddings"
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not EMBEDDINGS.is_dir(), reason="no real embeddings beside the project"),
    pytest.mark.filterwarnings("ignore::vilu_sdk.exceptions.ViLUWarning"),
]
# What learns in seconds, or not at all.
FAST = "mcm,ts,entropy,doctor,relu,auto"


def page(name):
    return (ROOT / name).read_text(encoding="utf-8")


def run(script, *arguments, monkeypatch):
    """Return what a benchmark prints."""
    monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
    monkeypatch.syspath_prepend(str((ROOT / script).parent))
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        runpy.run_path(str(ROOT / script), run_name="__main__")
    return out.getvalue()


def rows(text, first):
    """Return the cells of the table whose header begins with some cells, without the header."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {first} "))
    table = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split("|")])
    return table


@pytest.fixture(scope="module")
def table1():
    """AUC and FPR95 by data set and method."""
    with pytest.MonkeyPatch.context() as patch:
        arguments = ("table1", "--sets", "dtd,stanford_cars,imagenet", "--scorers", FAST, "--json")
        printed = run("benchmarks/paper/run.py", *arguments, "--embeddings", EMBEDDINGS, monkeypatch=patch)
    (found,) = json.loads(printed)
    return {(row["data"], row["method"]): (row["auc"], row["fpr95"]) for row in found["rows"]}


def test_table_1_of_the_reproduction(table1):
    assert FAST in page("docs/reproduction.md")
    compared = 0
    sets = {1: "DTD", 3: "StanfordCars", 5: "ImageNet-1k"}
    for method, *cells in rows(page("docs/reproduction.md"), "method | DTD | paper"):
        for column, data in sets.items():
            if (data, method) in table1:
                auc, fpr95 = map(float, cells[column - 1].split(" / "))
                # Ties and sums in another order move a rank or two.
                assert table1[data, method] == pytest.approx((auc, fpr95), abs=0.15), (data, method)
                compared += 1
    assert compared == 18


def test_the_readme_has_the_same_numbers(table1):
    found = {cells[0].split(",")[0]: cells for cells in rows(page("README.md"), "test set")}
    for name, data in {"DTD": "DTD", "Stanford Cars": "StanfordCars"}.items():
        assert float(found[name][2]) == pytest.approx(table1[data, "MCM"][0], abs=0.06)
        assert float(found[name][4]) == pytest.approx(table1[data, "ViLU, our default"][0], abs=0.06)


def test_half_precision(monkeypatch):
    files = re.search(r"`python benchmarks/precision\.py ([^`]*)`", page("docs/performance.md"))[1].split()
    printed = run("benchmarks/precision.py", *(EMBEDDINGS / file for file in files), monkeypatch=monkeypatch)
    measured, shown = (rows(text, "set | scorer") for text in (printed, page("docs/performance.md")))
    assert len(shown) == 2 * len(files)
    for here, there in zip(measured, shown, strict=True):
        assert here[0] == there[0]
        numbers = [[float(cell.removesuffix(" %")) for cell in cells[2:]] for cells in (here, there)]
        assert numbers[0] == pytest.approx(numbers[1], abs=0.1), here[:2]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_of_scoring_among_very_many(monkeypatch):
    printed = run("benchmarks/memory.py", "--rows", 8192, "--candidates", 8192, monkeypatch=monkeypatch)
    used = float(re.search(r"([\d.]+) MB above", printed)[1])
    (shown,) = re.findall(r"32,768 captions took less than (\d+) MB", page("docs/faq.md"))
    (table,) = re.findall(r"32,768 captions, MCM, [\d.]+ s \| (\d+) MB", page("docs/performance.md"))
    assert int(table) <= int(shown)
    assert used <= int(shown)
