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
def measured():
    """Accuracy, AUC and FPR95 by data set and method."""
    sets = "dtd,stanford_cars,imagenet,sun397,caltech101"
    arguments = ("table1", "figure8", "--sets", sets, "--scorers", FAST, "--json", "--embeddings", EMBEDDINGS)
    with pytest.MonkeyPatch.context() as patch:
        tables = json.loads(run("benchmarks/paper/run.py", *arguments, monkeypatch=patch))
    found = {}
    for row in (row for table in tables for row in table["rows"]):
        found.setdefault((row["data"], row["method"]), {}).update(row)
    return found


def is_near(row, cell):
    """Whether AUC / FPR95 of a page, without their spread, are the measured ones."""
    auc, fpr95 = (float(value.split(" ± ")[0]) for value in cell.split(" / "))
    # Ties and sums in another order move a rank or two.
    return (row["auc"], row["fpr95"]) == pytest.approx((auc, fpr95), abs=0.15)


def test_table_1_of_the_reproduction(measured):
    assert FAST in page("docs/reproduction.md")
    compared = 0
    sets = {1: "DTD", 3: "StanfordCars", 5: "ImageNet-1k"}
    for method, *cells in rows(page("docs/reproduction.md"), "method | DTD | paper"):
        for column, data in sets.items():
            if (data, method) in measured:
                assert is_near(measured[data, method], cells[column - 1]), (data, method)
                compared += 1
    assert compared == 18


def test_figure_8_of_the_reproduction(measured):
    text = page("docs/reproduction.md")
    header = next(line for line in text.splitlines() if line.startswith("| method | DTD | StanfordCars |"))
    sets = [cell.split(",")[0].strip() for cell in header.strip("|").split("|")[1:]]
    compared = 0
    for method, *cells in rows(text, "method | DTD | StanfordCars"):
        for data, cell in zip(sets, cells, strict=True):
            data = {"ImageNet": "ImageNet-1k"}.get(data, data)
            if method == "zero-shot accuracy" and (data, "MCM") in measured:
                assert float(cell) == pytest.approx(measured[data, "MCM"]["accuracy"], abs=0.06)
                compared += 1
            elif (data, method) in measured:
                assert is_near(measured[data, method], cell), (data, method)
                compared += 1
    assert compared == 15


def test_the_landing_page_and_the_readme_have_the_same_numbers(measured):
    assert rows(page("README.md"), "test set") == rows(page("docs/index.md"), "test set")
    found = {
        cells[0].split(",")[0]: [cell.replace("*", "") for cell in cells]
        for cells in rows(page("README.md"), "test set")
    }
    published = {
        cells[0]: cells for cells in rows(page("docs/reproduction.md"), "method | DTD | StanfordCars")
    }["ViLU, published recipe"]
    places = {"DTD": 1, "StanfordCars": 2, "ImageNet-1k": 3, "SUN397": 4}
    names = {"DTD": "DTD", "Stanford Cars": "StanfordCars", "ImageNet": "ImageNet-1k", "SUN397": "SUN397"}
    for name, data in names.items():
        _, accuracy, auc, fpr95, _ = found[name]
        mcm, ours = measured[data, "MCM"], measured[data, "ViLU, our default"]
        assert float(accuracy.split(" → ")[0]) == pytest.approx(mcm["accuracy"], abs=0.06)
        for cell, metric in ((auc, "auc"), (fpr95, "fpr95")):
            first, _, last = cell.split(" / ")
            assert [float(first), float(last)] == pytest.approx([mcm[metric], ours[metric]], abs=0.15)
        assert published[places[data]] in (f"{auc.split(' / ')[1]} / {fpr95.split(' / ')[1]}", "–")


def test_the_landing_page_has_the_answers_of_their_page():
    shown = {cells[0]: cells for cells in rows(page("docs/answers.md"), "set | labels") if cells[1] == "all"}
    found = {
        cells[0].split(",")[0]: [cell.replace("*", "") for cell in cells]
        for cells in rows(page("README.md"), "test set")
    }
    for name, cells in found.items():
        there = shown[{"Stanford Cars": "Cars"}.get(name, name)]
        assert cells[1] == f"{there[2]} → {there[3]}"
        assert cells[4] == f"{there[5]} → {there[7]}"


def test_adapting_with_few_labels(monkeypatch):
    folder = ("--embeddings", EMBEDDINGS)
    printed = run("benchmarks/few_labels.py", "adapt_pretrained_head", *folder, monkeypatch=monkeypatch)
    found = re.findall(
        r"^(?:MCM|head|\d+ labels alone|head, adapted) +([\d.]+)\S* +([\d.]+)", printed, re.MULTILINE
    )
    shown = [
        cell.split(" / ")
        for _, *cells in rows(page("docs/examples/adapt_pretrained_head.md"), "AUC % / FPR95 %")
        for cell in cells
    ]
    assert len(shown) == 8
    for here, there in zip(found, shown, strict=True):
        assert [*map(float, here)] == pytest.approx([*map(float, there)], abs=0.15)


def test_half_precision(monkeypatch):
    files = re.search(r"`python benchmarks/precision\.py ([^`]*)`", page("docs/performance.md"))[1].split()
    printed = run("benchmarks/precision.py", *(EMBEDDINGS / file for file in files), monkeypatch=monkeypatch)
    found, shown = (rows(text, "set | scorer") for text in (printed, page("docs/performance.md")))
    assert len(shown) == 2 * len(files)
    for here, there in zip(found, shown, strict=True):
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
