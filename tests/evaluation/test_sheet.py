"""The forms in which tables leave."""

import csv
import io
import math
import re

import numpy as np
import pytest

from vilu_sdk import EntropyScorer, MCMScorer
from vilu_sdk.evaluation import compare

HOSTILE = r"=a&b_{\input{x}}|<i>%#$~^"


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    z_txt = rng.normal(size=(5, 8))
    labels = np.arange(150) % 5
    z_img = z_txt[labels] + 1.5 * rng.normal(size=(150, 8))
    scorers = {HOSTILE: MCMScorer(logit_scale=5), "entropy": EntropyScorer(), "third": MCMScorer()}
    return compare(scorers, z_img, z_txt, labels, n_splits=2, random_state=0, confidence=None)


def latex_rows(text):
    """The cells of each row of a tabular that LaTeX would read without an error."""
    assert text.startswith(r"\begin{tabular}{l")
    body, comments = text.split("\\end{tabular}")
    assert all(line.startswith("% ") for line in comments.strip().splitlines())
    bare = re.sub(r"\\[&%$#_{}\\]", "", body)
    depth = np.cumsum([{"{": 1, "}": -1}.get(mark, 0) for mark in bare])
    assert depth.min() >= 0
    assert depth[-1] == 0
    assert not set(bare) & set("#~^_<>|%")
    assert bare.count("$") % 2 == 0
    lines = [line for line in body.splitlines() if line.endswith(r"\\")]
    rows = [re.split(r"(?<!\\)&", line.removesuffix(r"\\")) for line in lines]
    width = len(re.match(r"\\begin\{tabular\}\{(lr*)\}", body)[1])
    for row in rows:
        spans = [int(found[1]) if (found := re.search(r"multicolumn\{(\d+)", cell)) else 1 for cell in row]
        assert sum(spans) == width
    return [[cell.strip() for cell in row] for row in rows]


def test_latex_has_best_second_and_spread(table):
    header, *body = latex_rows(table.to_latex(["auc", "fpr95", "fit_seconds"], digits=1))
    assert header == ["scorer", r"AUC \% $\uparrow$", r"FPR95 \% $\downarrow$", "fit s"]
    for at, sign in ((1, 1), (2, -1)):
        values = [float(re.search(r"\d+\.\d", row[at])[0]) for row in body]
        best = max(sign * value for value in values)
        assert [r"\textbf" in row[at] for row in body] == [sign * value == best for value in values]
        second = max((sign * value for value in values if sign * value != best), default=None)
        assert [r"\underline" in row[at] for row in body] == [sign * value == second for value in values]
        assert all(r"$\pm$" in row[at] for row in body)
    assert r"\input" not in table.to_latex()
    assert not any("textbf" in row[3] or "underline" in row[3] for row in body)


def test_chosen_columns_and_digits_in_every_form(table):
    for text in (
        table.to_markdown(["aurc", "brier"], digits=3),
        table.to_html(["aurc", "brier"], digits=3),
        table.to_latex(["aurc", "brier"], digits=3),
    ):
        assert "AURC" in text
        assert "AUC %" not in text
        assert re.search(r"\d\.\d{3}\b", text)
    for form in (table.to_markdown, table.to_html, table.to_latex, table.to_pandas):
        with pytest.raises(ValueError, match="columns has no 'auk'"):
            form(["auk"])
    with pytest.raises(ValueError, match="digits must be an integer"):
        table.to_latex(digits=-1)


def test_frames_are_tidy_and_wide(table):
    wide = table.to_pandas(["auc", "fpr95"])
    assert list(wide.columns) == ["auc", "fpr95"]
    assert list(wide.index) == [row["scorer"] for row in table.to_dicts()]
    tidy = table.to_pandas()
    assert list(tidy.columns) == ["scorer", "metric", "value", "low", "high", "std"]
    assert not tidy.duplicated(["scorer", "metric"]).any()
    for row in table.to_dicts():
        own = tidy[(tidy.scorer == row["scorer"]) & (tidy.metric == "auc")].iloc[0]
        assert own["value"] == row["auc"]
        assert own["std"] == row["auc_std"]


def test_csv_reads_back(table, tmp_path):
    text = table.to_csv(columns=["auc", "ece"])
    rows = list(csv.DictReader(io.StringIO(text)))
    for read, row in zip(rows, table.to_dicts(), strict=True):
        assert float(read["auc"]) == row["auc"]
        assert read["ece"] == ("" if math.isnan(row["ece"]) else str(row["ece"]))
    assert rows[0]["scorer"] == "'" + HOSTILE  # no formula in a spreadsheet
    assert table.to_csv(tmp_path / "table.csv") is None
    assert (tmp_path / "table.csv").read_text() == table.to_csv()
