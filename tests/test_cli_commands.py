"""Each command gives what the package gives, in every format, and says in one line what is wrong."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from cli_tools import SCALE, Run, digits_in
from fake_hub import TOKEN, FakeHub
from safetensors.numpy import save_file

import vilu_sdk
from vilu_sdk import EntropyScorer, LVUScorer, MCMScorer, PaperRecipe, ViLUEstimator, cli, partition, storage
from vilu_sdk.cli import _scorers
from vilu_sdk.datasets import DigitsVLM
from vilu_sdk.evaluation import compare, evaluate
from vilu_sdk.scorers import Scorer
from vilu_sdk.selective import CostPredictor, CoveragePredictor, SelectivePredictor

DATA = "new-images.npy texts.npy"
LABELLED = f"{DATA} --labels new-labels.npy"


@pytest.fixture(scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory, digits: DigitsVLM) -> Path:
    with digits_in(tmp_path_factory.mktemp("digits"), digits) as folder:
        line = f"fit images.npy texts.npy --labels labels.npy --logit-scale {SCALE} -o my-scorer"
        assert cli.main(line.split()) == 0
        return folder


@pytest.fixture
def folder(_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(_folder)
    monkeypatch.setattr("vilu_sdk.progress._enabled", True)
    return _folder


@pytest.fixture
def vilu(folder, capsys):
    return lambda line: Run(line, capsys)


@pytest.fixture
def fitted(folder) -> ViLUEstimator:
    return ViLUEstimator.from_pretrained(folder / "my-scorer")


# --- fit -------------------------------------------------------------------------------------------


def test_fit_gives_the_scorer_that_python_gives(fitted, digits):
    expected = ViLUEstimator(logit_scale=SCALE, random_state=0)
    expected.fit(digits.z_img_fit, digits.z_txt, digits.labels_fit)
    np.testing.assert_array_equal(
        fitted.decision_function(digits.z_img_test, digits.z_txt),
        expected.decision_function(digits.z_img_test, digits.z_txt),
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--scorer mcm", MCMScorer(logit_scale=SCALE)),
        ("--scorer entropyscorer", EntropyScorer(logit_scale=SCALE)),
        ("--set recipe=paper --set epochs=1", ViLUEstimator(PaperRecipe(epochs=1), random_state=0)),
        ("--scorer ViLU --set recipe=PaperRecipe --set recipe__epochs=1 --set hidden=[8]", PaperRecipe),
        ("--scorer LVU --set epochs=1 --set target=correct --random-state 5", LVUScorer),
        ("--scorer CalibratedScorer --set scorer=EntropyScorer --set method=beta", EntropyScorer),
    ],
)
def test_any_scorer_with_its_parameters(options, expected, vilu, tmp_path):
    line = f"fit images.npy texts.npy --labels labels.npy --logit-scale {SCALE} -o {tmp_path / 's'} --json"
    done = vilu(f"{line} {options}")
    assert done.code == 0
    assert done.err == ""
    scorer = Scorer.from_pretrained(tmp_path / "s")
    assert done.json["scorer"] == type(scorer).__name__
    assert (done.json["images"], done.json["texts"], done.json["d"]) == (798, 10, 32)
    if isinstance(expected, Scorer):
        assert repr(scorer) == repr(expected.set_params(logit_scale=SCALE))
    elif expected is PaperRecipe:
        assert (scorer.recipe.epochs, list(scorer.recipe.hidden)) == (1, [8])
    elif expected is LVUScorer:
        assert (scorer.epochs, scorer.target, scorer.random_state) == (1, "correct", 5)
    else:  # the scale reaches the scorer inside
        assert (scorer.method, scorer.scorer.logit_scale, scorer.random_state) == ("beta", SCALE, 0)


def test_every_scorer_has_a_name_and_a_short_one():
    assert set(_scorers.CLASSES) == {
        name for name in vilu_sdk.__all__ if name.endswith(("Scorer", "Estimator")) and name != "Scorer"
    }
    for name, cls in _scorers.CLASSES.items():
        for short in (name, name.lower(), name.removesuffix("Scorer").removesuffix("Estimator")):
            assert _scorers._class_called(short) is cls


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "pass --labels, --correct or --captions"),
        ("--labels labels.npy --set epocs=3", "has no parameter 'epocs'"),
        ("--labels labels.npy --scorer lvu --set epocs=3", "Did you mean epochs?"),
        ("--labels labels.npy --scorer lvu --set epochs=many", "takes something like 300, got 'many'"),
        ("--labels labels.npy --scorer lvu --set epochs", "--set takes NAME=VALUE"),
        ("--labels labels.npy --scorer lvu --scorer mcm", "several times"),
        ("--labels labels.npy --scorer my-scorer", "is a saved scorer"),
        ("--labels labels.npy --scorer nothing", "Scorers by name are BayesVLMScorer"),
        ("--labels nowhere.npy", "neither a file nor a folder nowhere.npy"),
        ("--labels images.npy", "expected one value for each row"),
        ("--labels new-labels.npy", "labels has 799 entries but z_img has 798 rows"),
        ("--labels names.txt", "pass --names"),
        ("--labels labels.npy --correct labels.npy", "not allowed with argument"),
        ("--captions", "z_img has 798 rows and z_txt 10"),
        ("--labels labels.npy --logit-scale -1", "logit_scale must be finite and above 0"),
    ],
)
def test_fit_says_what_is_wrong_and_writes_nothing(options, message, vilu, tmp_path):
    done = vilu(f"fit images.npy texts.npy -o {tmp_path / 's'} -q {options}")
    assert done.code == 2
    assert message in done.err
    assert done.err.count("\n") == 1
    assert done.out == ""
    assert not (tmp_path / "s").exists()


def test_a_folder_is_overwritten_only_if_it_is_a_scorer_or_if_told(vilu, tmp_path):
    line = f"fit images.npy texts.npy --labels labels.npy --scorer mcm --logit-scale 5 -o {tmp_path}"
    (tmp_path / "photos.txt").write_text("mine")
    assert "holds something else" in vilu(line).err
    assert [path.name for path in tmp_path.iterdir()] == ["photos.txt"]
    assert vilu(f"{line} --overwrite").code == 0
    assert vilu(line.replace("5", "6")).code == 0
    assert MCMScorer.from_pretrained(tmp_path).logit_scale == 6
    assert (tmp_path / "photos.txt").read_text() == "mine"
    assert "is a file" in vilu(line.replace(str(tmp_path), "names.txt")).err


def test_the_default_logit_scale_is_told(vilu, tmp_path):
    line = f"fit images.npy texts.npy --labels labels.npy --scorer mcm -o {tmp_path / 's'}"
    assert vilu(line).err == (
        "vilu: the logit scale of MCMScorer is 100, CLIP's; that of another model goes into --logit-scale\n"
    )
    for silent in ("-q", "--logit-scale 100", "--set logit_scale=100"):
        assert vilu(f"{line} {silent}").err == ""


def test_of_several_processes_only_the_first_saves_and_prints(vilu, tmp_path, monkeypatch):
    for module in ("vilu_sdk.cli._fit", "vilu_sdk.cli._scorers"):
        monkeypatch.setattr(f"{module}.rank", lambda: 1)
    done = vilu(f"fit images.npy texts.npy --labels labels.npy --scorer mcm -o {tmp_path / 's'}")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert not (tmp_path / "s").exists()


def test_a_checkpoint_is_used_and_gone_in_the_end(vilu, tmp_path, monkeypatch):
    kept, write = [], storage.write_folder

    def recorded(folder, *rest):
        kept.append(folder)
        write(folder, *rest)

    monkeypatch.setattr("vilu_sdk.resume.EVERY_SECONDS", 0.0)
    monkeypatch.setattr(storage, "write_folder", recorded)
    state = tmp_path / "state"
    line = "fit images.npy texts.npy --labels labels.npy --scorer lvu --set epochs=2 --logit-scale 5"
    assert vilu(f"{line} -o {tmp_path / 's'} --checkpoint {state}").code == 0
    assert state in kept
    assert not state.exists()


def test_the_card_is_filled_in(vilu, tmp_path):
    line = f"fit images.npy texts.npy --labels labels.npy --scorer mcm --logit-scale 5 -o {tmp_path / 's'}"
    assert vilu(f"{line} --backbone a/b --dataset digits --notes 'No X-rays.' --license mit").code == 0
    out = vilu(f"info {tmp_path / 's'}").out
    for part in ("a/b", "digits", "No X-rays.", "mit"):
        assert part in out


# --- score -----------------------------------------------------------------------------------------


def read_table(path):
    """The rows of a table as dicts of numbers and strings."""
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    if path.suffix == ".json":
        return json.loads(path.read_text())
    with path.open() as file:
        rows = list(csv.DictReader(file))
    numbers = {"row": int, "prediction": int, "uncertainty": float, "accepted": lambda text: text == "True"}
    return [{name: numbers.get(name, str)(text) for name, text in row.items()} for row in rows]


@pytest.mark.parametrize("piece_rows", [300, 10_000], ids=["three pieces", "one piece"])
@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_score_writes_what_python_computes(kind, piece_rows, vilu, fitted, digits, tmp_path):
    out = tmp_path / f"scores.{kind}"
    done = vilu(f"score {DATA} --names names.txt --scorer my-scorer -o {out} --piece-rows {piece_rows}")
    assert (done.code, done.out, done.err) == (0, "", f"vilu: 799 rows: {out}\n")
    rows = read_table(out)
    assert list(rows[0]) == ["row", "prediction", "uncertainty", "name"]
    assert [row["row"] for row in rows] == list(range(799))
    predicted = fitted.predict(digits.z_img_test, digits.z_txt)
    np.testing.assert_array_equal([row["prediction"] for row in rows], predicted)
    assert [row["name"] for row in rows] == [digits.class_names[k] for k in predicted]
    expected = fitted.predict_uncertainty(digits.z_img_test, digits.z_txt)
    np.testing.assert_allclose([row["uncertainty"] for row in rows], expected, rtol=1e-5, atol=1e-9)
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_npy_holds_the_uncertainty_alone(vilu, fitted, digits, tmp_path):
    for piece_rows in (300, 10_000):
        line = f"score {DATA} --scorer my-scorer -o {tmp_path / 'u.npy'} -q --piece-rows {piece_rows}"
        assert vilu(line).err == ""
        expected = fitted.predict_uncertainty(digits.z_img_test, digits.z_txt)
        np.testing.assert_allclose(np.load(tmp_path / "u.npy"), expected, rtol=1e-5, atol=1e-9)


def test_blocks_of_rows_go_together_whatever_their_size(vilu, tmp_path, monkeypatch):
    whole = vilu(f"score {DATA} --scorer my-scorer").out
    assert whole.startswith("row,prediction,uncertainty\n0,")
    monkeypatch.setattr("vilu_sdk.cli._score.CHUNK_ELEMENTS", 32 * 100)
    parts = vilu(f"score {DATA} --scorer my-scorer -o -").out
    assert [line.split(",")[:2] for line in parts.splitlines()] == [
        line.split(",")[:2] for line in whole.splitlines()
    ]
    assert vilu(f"score {DATA} --scorer my-scorer -o {tmp_path / 'u.npy'}").code == 0
    assert np.load(tmp_path / "u.npy").shape == (799,)
    assert [row["row"] for row in vilu(f"score {DATA} --scorer my-scorer --json").json] == [*range(799)]


def test_a_folder_is_gone_on_with_by_whoever_began_it(vilu, tmp_path):
    line = f"score {DATA} --scorer my-scorer --piece-rows 300 -o {tmp_path / 'scores'}"
    assert vilu(line).err == f"vilu: 799 rows in 3 files: {tmp_path / 'scores'}\n"
    parts = sorted((tmp_path / "scores").glob("*.parquet"))
    stamps = [part.stat().st_mtime_ns for part in parts]
    parts[1].unlink()
    assert vilu(line).code == 0
    assert [part.stat().st_mtime_ns == stamp for part, stamp in zip(parts, stamps, strict=True)] == [
        True,
        False,
        True,
    ]
    other = vilu(line.replace("my-scorer", "mcm"))
    assert other.code == 2
    assert "belongs to other work: it differs in scorer" in other.err


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_file_is_gone_on_with_where_its_pieces_are(kind, vilu, tmp_path, monkeypatch):
    """Interrupted after the first of three pieces, two are scored by the next run."""
    out = tmp_path / f"scores.{kind}"
    line = f"score {DATA} --scorer my-scorer --piece-rows 300 -o {out}"
    score_piece, scored = partition.score_piece, []

    def counted(piece, *rest):
        if len(scored) == 1:
            scored.append(None)
            raise KeyboardInterrupt
        score_piece(piece, *rest)
        scored.append(piece.first)

    monkeypatch.setattr(partition, "score_piece", counted)
    assert vilu(line).code == 130
    assert [path.name for path in tmp_path.iterdir()] == [f".{out.name}.pieces"]
    assert vilu(line).code == 0
    assert scored == [0, None, 300, 600]
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
    assert [row["row"] for row in read_table(out)] == list(range(799))


def test_other_columns_of_parquet_are_kept(vilu, digits, tmp_path):
    n = 50
    table = pa.table(
        {
            "path": [f"{i}.jpg" for i in range(n)],
            "z": list(digits.z_img_test[:n].astype(np.float16)),
            "taken": pa.array([None] * 30 + [7] * 20, pa.int32()),
        }
    )
    pq.write_table(table, tmp_path / "images.parquet", row_group_size=20)
    for kind, piece_rows in (("csv", 99), ("parquet", 99), ("parquet", 20)):
        out = tmp_path / f"out.{kind}"
        line = f"score {tmp_path}/images.parquet texts.npy --names names.txt --scorer my-scorer"
        assert vilu(f"{line} -o {out} --piece-rows {piece_rows}").code == 0
        rows = read_table(out)
        assert list(rows[0]) == ["path", "taken", "prediction", "uncertainty", "name"]
        assert [row["path"] for row in rows] == table["path"].to_pylist()
    assert [row["taken"] for row in rows] == table["taken"].to_pylist()
    assert pq.read_schema(out).field("taken").type == pa.int32()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--scorer vilu", "ViLUEstimator learns: fit it first with vilu fit"),
        ("--scorer my-scorer --set recipe=paper", "leave out --set"),
        ("--scorer my-scorer --logit-scale 3", "leave out --logit-scale"),
        ("--scorer my-scorer --scorer mcm", "takes one"),
        ("--scorer my-scorer -o scores.xls", "results are written to .csv, .json, .parquet, .npy or -"),
        ("--scorer my-scorer -o nowhere/scores.csv", "the folder nowhere does not exist"),
        ("--scorer my-scorer -o out --names names.txt", "leave out --names"),
        ("--scorer my-scorer --engine ray", "pass -o"),
        ("--scorer my-scorer --names new-labels.npy", "--names has 799 names but TEXTS has 10 rows"),
        ("--scorer my-scorer --piece-rows 0 -o x.csv", "piece_rows must be at least 1"),
        ("--scorer labels.npy", "is a file"),
    ],
)
def test_score_says_what_is_wrong(options, message, vilu, folder):
    before = sorted(folder.iterdir())
    done = vilu(f"score {DATA} -q {options}")
    assert done.code == 2
    assert message in done.err
    assert done.err.count("\n") == 1
    assert sorted(folder.iterdir()) == before


def test_rays_engine_gets_the_same_arguments(vilu, tmp_path, monkeypatch):
    called = {}

    def score_dataset(source, scorer, texts, **options):
        called.update(options, source=source, scorer=type(scorer).__name__)

    monkeypatch.setattr("vilu_sdk.ray.score_dataset", score_dataset)
    assert vilu(f"score {DATA} --scorer my-scorer --engine ray -o {tmp_path / 'out'}").code == 0
    assert (called["output"], called["scorer"]) == (tmp_path / "out", "ViLUEstimator")
    assert vilu(f"score {DATA} --scorer my-scorer --engine ray -o {tmp_path / 'u.csv'}").code == 0
    assert called["output"] == tmp_path / ".u.csv.pieces"


@pytest.mark.parametrize("kind", ["csv", "json", "npy", "parquet"])
def test_a_file_is_written_whole_or_not_at_all(kind, vilu, tmp_path, monkeypatch):
    out, left = tmp_path / f"scores.{kind}", tmp_path / f".scores.{kind}.{'0' * 32}"
    line = f"score {DATA} --scorer my-scorer -o {out} -q"
    assert vilu(line).code == 0
    before = out.read_bytes()
    left.touch()
    monkeypatch.setattr("vilu_sdk.cli._score.CHUNK_ELEMENTS", 32 * 100)
    blocks, score_partition = iter(range(3)), partition.score_partition

    def fails(*rest, **options):
        if next(blocks, None) is None:
            raise OSError("the disk has gone")
        return score_partition(*rest, **options)

    monkeypatch.setattr("vilu_sdk.cli._score.score_partition", fails)
    done = vilu(line)
    assert (done.code, done.err) == (2, "vilu: error: the disk has gone\n")
    assert out.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {out.name, left.name}
    os.utime(left, (0, 0))  # too old for a run that is still at work
    monkeypatch.setattr("vilu_sdk.cli._score.score_partition", score_partition)
    assert vilu(line).code == 0
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


# --- inputs ----------------------------------------------------------------------------------------


def test_all_formats_and_ways_to_write_labels_give_the_same(vilu, folder, digits, tmp_path):
    z_img, z_txt, labels = digits.z_img_test, digits.z_txt, digits.labels_test
    words = [digits.class_names[k] for k in labels]
    np.savez(tmp_path / "all.npz", z_img=z_img, z_txt=z_txt, labels=labels)
    save_file({"z_img": z_img, "z_txt": z_txt, "labels": labels}, tmp_path / "all.safetensors")
    table = pa.table({"z": list(z_img), "labels": labels, "word": pa.array(words).dictionary_encode()})
    pq.write_table(table, tmp_path / "all.parquet")
    with (tmp_path / "labels.csv").open("w") as file:
        file.writelines(["file,label,word\n", *(f"x,{k},{w}\n" for k, w in zip(labels, words, strict=True))])
    (tmp_path / "labels.tsv").write_text("\n".join(["label", *map(str, labels)]))
    (tmp_path / "words.txt").write_text("\n".join(words) + "\n")
    (tmp_path / "shards").mkdir()
    for number, rows in enumerate(np.array_split(np.arange(799), 12)):
        np.save(tmp_path / "shards" / f"img_{number}.npy", z_img[rows])
        pq.write_table(table.take(rows), tmp_path / f"part-{number}.parquet")
    (tmp_path / "parts").mkdir()
    for path in tmp_path.glob("part-*"):
        path.rename(tmp_path / "parts" / path.name)
    expected = evaluate(MCMScorer(logit_scale=SCALE), z_img, z_txt, labels)
    for images, texts, known in [
        ("all.npz::z_img", "all.npz::z_txt", "--labels all.npz::labels"),
        ("all.safetensors::z_img", "all.safetensors::z_txt", "--labels all.safetensors::labels"),
        ("all.parquet::z", f"{folder}/texts.npy", "--labels all.parquet::labels"),
        ("all.parquet::z", f"{folder}/texts.npy", f"--labels all.parquet::word --names {folder}/names.txt"),
        ("shards", f"{folder}/texts.npy", "--labels labels.csv::label"),
        ("shards", f"{folder}/texts.npy", f"--labels labels.csv::word --names {folder}/names.txt"),
        ("shards", f"{folder}/texts.npy", "--labels labels.tsv"),
        ("parts::z", f"{folder}/texts.npy", f"--labels words.txt --names {folder}/names.txt"),
        ("parts::z", f"{folder}/texts.npy", "--labels parts::labels"),
    ]:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(tmp_path)
            done = vilu(f"evaluate {images} {texts} {known} --scorer mcm --logit-scale {SCALE} --json")
        assert done.err == ""
        assert done.json == pytest.approx(expected, rel=1e-6)


def test_captions_and_clip_retrieval_folders(vilu, digits, tmp_path):
    rng = np.random.default_rng(0)
    z_img = digits.z_img_test[:120]
    z_txt = z_img + 0.1 * rng.normal(size=z_img.shape).astype(np.float32)
    for name, values in (("img_emb", z_img), ("text_emb", z_txt)):
        (tmp_path / name).mkdir()
        for number, part in enumerate(np.array_split(values, 3)):
            np.save(tmp_path / name / f"{name}_{number}.npy", part)
    both = f"{tmp_path} {tmp_path}"
    expected = evaluate(MCMScorer(logit_scale=9), z_img, z_txt, batch_size=60)
    options = "--scorer mcm --logit-scale 9 --batch-size 60 --json"
    for line in (f"evaluate {tmp_path} {options}", f"evaluate {both} --captions {options}"):
        assert vilu(line).json == pytest.approx(expected)
    assert vilu(f"fit {tmp_path} --scorer mcm -q -o {tmp_path / 'fitted'}").code == 0
    # Of such a folder the images are scored against classes, too.
    assert len(vilu(f"score {tmp_path} texts.npy --scorer my-scorer").out.splitlines()) == 121
    wrong = vilu(f"evaluate new-images.npy {options}")
    assert "TEXTS is missing" in wrong.err


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("labels.csv", "a,b\n1,2\n", "must have one column; say which one with"),
        ("labels.csv::c", "a,b\n1,2\n", "none is called 'c'. It has: a, b."),
        ("labels.csv", "a\n1\n\n", "labels has 1 entries"),
        ("labels.txt", "1\n\n2\n", "has no value in row 1"),
        ("labels.txt::x", "1\n", "has lines and no columns"),
        ("labels.txt", "cat\n", "has 'cat' in row 0, which is not in --names"),
        ("labels.doc", "1\n", "is of no known kind"),
    ],
)
def test_labels_that_cannot_be_read(name, text, message, vilu, tmp_path):
    (tmp_path / name.split("::")[0]).write_text(text)
    done = vilu(f"evaluate {DATA} --labels {tmp_path / name} --names names.txt --scorer my-scorer")
    assert done.code == 2
    assert message in done.err
    assert done.err.count("\n") == 1


def test_which_array_is_asked_for(vilu, digits, tmp_path):
    np.savez(tmp_path / "two.npz", a=digits.z_img_test, b=digits.z_txt)
    done = vilu(f"score {tmp_path}/two.npz texts.npy --scorer my-scorer")
    assert done.code == 2
    assert f"It has: a, b. Name it with {tmp_path}/two.npz::NAME." in done.err


def test_feedback_in_words_or_numbers(vilu, digits, tmp_path):
    right = MCMScorer().predict(digits.z_img_fit, digits.z_txt) == digits.labels_fit
    np.save(tmp_path / "right.npy", right)
    (tmp_path / "right.txt").write_text("\n".join(np.where(right, "True", "false")))
    (tmp_path / "right.csv").write_text("\n".join(["right", *np.where(right, "1", "0")]))
    (tmp_path / "wrong.txt").write_text("\n".join(["perhaps"] * 798))
    values = []
    for kind in ("npy", "txt", "csv"):
        line = f"fit images.npy texts.npy --correct {tmp_path}/right.{kind} --scorer relu -q"
        assert vilu(f"{line} -o {tmp_path / kind}").code == 0
        scorer = Scorer.from_pretrained(tmp_path / kind)
        values.append(scorer.decision_function(digits.z_img_test, digits.z_txt))
    np.testing.assert_array_equal(values[0], values[1])
    np.testing.assert_array_equal(values[0], values[2])
    line = f"fit images.npy texts.npy --correct {tmp_path}/wrong.txt -o {tmp_path / 'x'} -q"
    assert "'perhaps', expected true or false" in vilu(line).err


# --- evaluate, compare, report ---------------------------------------------------------------------


def test_evaluate_prints_and_writes_all_metrics(vilu, fitted, digits, tmp_path):
    expected = evaluate(fitted, digits.z_img_test, digits.z_txt, digits.labels_test)
    line = f"evaluate {LABELLED} --scorer my-scorer"
    assert vilu(f"{line} --json").json == pytest.approx(expected)
    lines = dict(line.split() for line in vilu(line).out.splitlines())
    assert float(lines["auc"]) == pytest.approx(expected["auc"], abs=1e-4)
    assert lines["n"] == "799"
    assert lines.keys() == expected.keys()
    assert vilu(f"{line} -o {tmp_path / 'm.csv'}").out == ""
    with (tmp_path / "m.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["auc"]) == expected["auc"]
    assert row["scorer"] == "my-scorer"


def test_compare_gives_the_table_in_every_form(vilu, fitted, digits, tmp_path):
    """A saved scorer lends its logit scale to those by name."""
    table = compare(
        {"MCM": MCMScorer(logit_scale=SCALE), "my-scorer": fitted},
        digits.z_img_test,
        digits.z_txt,
        digits.labels_test,
        fit=False,
        reference="MCM",
        random_state=0,
    )
    line = f"compare {LABELLED} --scorer MCM=mcm --scorer my-scorer --reference MCM"

    def without_times(text):
        return [row.split()[:7] for row in text.splitlines()]

    assert without_times(vilu(line).out) == without_times(str(table))
    rows = vilu(f"{line} --json").json
    assert [row["auc_p"] for row in rows] == [None, pytest.approx(table.rows[1]["auc_p"])]
    assert vilu(f"{line} --markdown").out.startswith("| scorer")
    for name, first in (
        ("t.csv", "scorer,auc"),
        ("t.md", "| scorer"),
        ("t.html", "<table>"),
        ("t.json", "["),
    ):
        assert vilu(f"{line} -o {tmp_path / name}").out == ""
        assert (tmp_path / name).read_text().startswith(first)
    assert vilu(f"{line} -o {tmp_path / 't.parquet'}").code == 0
    assert pq.read_table(tmp_path / "t.parquet").to_pylist()[1]["auc"] == table.rows[1]["auc"]
    assert "results are written to .csv" in vilu(f"{line} -o t.xls").err


def test_compare_fits_what_learns_and_tests_where_it_is_told(vilu, fitted, digits):
    fit = "compare images.npy texts.npy --labels labels.npy --scorer ViLU=vilu --scorer mcm"
    rows = vilu(f"{fit} --logit-scale {SCALE} --test new-images.npy new-labels.npy --json").json
    expected = evaluate(fitted, digits.z_img_test, digits.z_txt, digits.labels_test)
    assert rows[0]["scorer"] == "ViLU"
    assert rows[0]["auc"] == pytest.approx(expected["auc"])
    rows = vilu(f"{fit} --logit-scale {SCALE} --n-splits 2 --test-size 0.25 --json").json
    assert [row["n"] for row in rows] == [200, 200]
    assert rows[0]["auc_std"] > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--scorer mcm --scorer mcm", "two scorers are called 'MCMScorer'"),
        ("--scorer vilu --scorer my-scorer", "my-scorer is saved and would be fitted anew"),
        ("--scorer my-scorer --n-splits 3", "my-scorer is saved and would be fitted anew"),
        ("--scorer mcm --test new-images.npy", "--test takes two files"),
        ("--scorer mcm --reference ViLU", "reference must be one of ['MCMScorer']"),
    ],
)
def test_compare_says_what_is_wrong(options, message, vilu):
    done = vilu(f"compare {LABELLED} -q {options}")
    assert done.code == 2
    assert message in done.err
    assert done.err.count("\n") == 1


def test_a_setting_belongs_to_the_scorer_before_it(vilu):
    line = f"compare {LABELLED} --logit-scale 5 --scorer a=mcm --set logit_scale=1 --scorer b=mcm"
    rows = vilu(f"{line} --scorer c=mcm --set logit_scale=1 --json").json
    assert rows[0]["ece"] == rows[2]["ece"] != rows[1]["ece"]


def test_report_and_threshold_on_one_page(vilu, tmp_path):
    promise = f"threshold {LABELLED} --scorer my-scorer --risk 0.1 -o {tmp_path / 'promise'}"
    assert vilu(promise).code == 0
    page = tmp_path / "page.html"
    line = f"report {LABELLED} --names names.txt --scorer mcm --scorer 'the promise={tmp_path / 'promise'}'"
    done = vilu(f"{line} --title 'A title' --focus MCMScorer --top 2 -o {page}")
    assert (done.code, done.out) == (0, f"{page}\n")
    text = page.read_text()
    for part in ("<h1>A title</h1>", "the promise", "MCMScorer", "seven"):
        assert part in text
    assert "learns: fit it first" in vilu(f"report {LABELLED} --scorer vilu -o {page}").err


# --- threshold -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--risk 0.05", lambda scorer: SelectivePredictor(scorer, 0.05)),
        ("--risk 0.1 --method sgr --confidence 0.8", lambda s: SelectivePredictor(s, 0.1, 0.8, method="sgr")),
        ("--coverage 0.8 --per-class", lambda scorer: CoveragePredictor(scorer, 0.8, per_class=True)),
        ("--costs 10 1", lambda scorer: CostPredictor(scorer, 10, 1)),
    ],
)
def test_thresholds_are_those_of_the_package_and_are_saved(options, expected, vilu, fitted, digits, tmp_path):
    predictor = expected(fitted).fit(digits.z_img_test, digits.z_txt, digits.labels_test)
    done = vilu(f"threshold {LABELLED} --scorer my-scorer {options} -o {tmp_path / 't'}")
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{predictor.report_}\n"
    accepted = [
        line.split(",")[-1] for line in vilu(f"score {DATA} --scorer {tmp_path / 't'}").out.splitlines()
    ]
    assert accepted[0] == "accepted"
    expected_text = [str(value) for value in predictor.accept(digits.z_img_test, digits.z_txt)]
    assert accepted[1:] == expected_text
    assert str(predictor.report_) in vilu(f"info {tmp_path / 't'}").out


def test_no_threshold_is_a_no(vilu):
    done = vilu(f"threshold {LABELLED} --scorer my-scorer --risk 0.0001 --json")
    assert done.code == 1
    assert done.json["accepted"] == 0
    assert done.json["risk_bound"] is None
    assert done.json["threshold"] == -np.finfo(float).max
    assert "No threshold can promise it" in vilu(f"threshold {LABELLED} --scorer my-scorer --risk 0.0001").out


def test_thresholds_of_groups(vilu, fitted, digits, tmp_path):
    groups = np.where(np.arange(799) % 2, "left", "right")
    (tmp_path / "sites.csv").write_text("\n".join(["site", *groups]))
    predictor = CoveragePredictor(fitted, 0.7).fit(
        digits.z_img_test, digits.z_txt, digits.labels_test, groups=groups
    )
    line = f"threshold {LABELLED} --scorer my-scorer --coverage 0.7 --groups {tmp_path / 'sites.csv'}"
    assert vilu(line).out == f"{predictor.report_}\n"
    assert [part["group"] for part in vilu(f"{line} --json").json["groups"]] == ["left", "right"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "one of the arguments --risk --coverage --costs is required"),
        ("--risk 0.1 --coverage 0.5", "not allowed with argument"),
        ("--risk 7", "target_risk must be a number strictly between 0 and 1"),
        ("--costs 1 10", "error_cost must be above abstention_cost"),
    ],
)
def test_threshold_says_what_is_wrong(options, message, vilu):
    done = vilu(f"threshold {LABELLED} --scorer my-scorer {options}")
    assert done.code == 2
    assert message in done.err


# --- convert, info, push ---------------------------------------------------------------------------


def test_convert_saves_what_the_package_converts(vilu, tmp_path):
    from test_checkpoints import GOLDEN, convert, official_content, saved

    path = saved(tmp_path, official_content())
    done = vilu(f"convert {path} --logit-scale 10 --n-iter-freeze 4 --backbone a/b -o {tmp_path / 's'}")
    assert (done.code, done.out) == (0, f"ViLUEstimator for embeddings of width 8: {tmp_path / 's'}\n")
    scorer = Scorer.from_pretrained(tmp_path / "s")
    np.testing.assert_array_equal(
        scorer.decision_function(GOLDEN["z_img"], GOLDEN["z_txt"]),
        convert(path).decision_function(GOLDEN["z_img"], GOLDEN["z_txt"]),
    )
    assert scorer.card_.backbone == "a/b"
    torch.save({"weights": 3}, tmp_path / "other.ckpt")
    assert "is not a checkpoint of the authors" in vilu(f"convert {tmp_path}/other.ckpt -o {tmp_path}/x").err
    assert not (tmp_path / "x").exists()


def test_info_tells_what_a_file_or_a_scorer_is(vilu, digits, tmp_path):
    assert vilu("info new-images.npy").out == "new-images.npy  799 × 32  float32\n"
    facts = {"path": "new-images.npy", "shape": [799, 32], "dtype": "float32"}
    assert vilu("info new-images.npy --json").json == [facts]
    several = {"z": digits.z_txt, "labels": digits.labels_test, "names": np.array(digits.class_names)}
    np.savez(tmp_path / "all.npz", **several)
    save_file({"z": digits.z_txt, "labels": digits.labels_test}, tmp_path / "all.safetensors")
    table = pa.table({"z": list(digits.z_txt), "names": digits.class_names})
    pq.write_table(table, tmp_path / "all.parquet")
    shapes = {"z": "10 × 32  float32", "labels": "799  int64", "names": "10  <U5"}
    for kind, names in (("npz", "z labels names"), ("safetensors", "labels z"), ("parquet", "z names")):
        path = tmp_path / f"all.{kind}"
        lines = [f"{path}::{name}  {shapes[name]}" for name in names.split()]
        assert vilu(f"info {path}").out.splitlines() == lines
        assert vilu(f"info {path}::z").out == f"{path}::z  10 × 32  float32\n"
    facts = vilu("info my-scorer --json").json
    assert facts["scorer"] == "ViLUEstimator"
    assert facts["parameters"] == {"logit_scale": SCALE, "random_state": 0, "recipe": "auto"}
    assert facts["backbone"]["dimension"] == 32


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
def test_push_uploads_with_the_stored_token(server: FakeHub, vilu, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    done = vilu("push my-scorer owner/digits --private --revision v1 -q --message 'First try' --notes Hello")
    assert done.err == ""
    assert done.code == 0
    commit = server.branches["owner/digits"]["v1"]
    assert done.out == f"{server.url}/owner/digits/commit/{commit}\n"
    assert server.messages == ["First try"]
    assert server.private == {"owner/digits"}
    assert b"Hello" in server.commits[commit]["README.md"]
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert "Hello" in vilu("info owner/digits --revision v1").out
    monkeypatch.setenv("HF_TOKEN", "hf_bad")
    refused = vilu("push my-scorer owner/other")
    assert refused.code == 2
    assert refused.err.count("\n") == 1
    assert "there is no folder nowhere" in vilu("push nowhere owner/name").err


# --- help ------------------------------------------------------------------------------------------


def test_every_command_has_one_example_that_parses(capsys):
    parser = cli.build_parser()
    commands = parser._subparsers._group_actions[0].choices
    assert list(commands) == [
        *("demo", "fit", "score", "evaluate", "compare", "report", "threshold", "convert", "info", "push"),
        "completion",
    ]
    for name, command in commands.items():
        done = Run(f"{name} --help", capsys)
        assert done.code == 0
        example = command.get_default("example")
        assert done.out.endswith(f"example:\n  {example}\n")
        if name != "completion":
            assert parser.parse_args(example.split()[1:]).command == name
        if "--scorer" in done.out:
            assert "--logit-scale" in done.out
