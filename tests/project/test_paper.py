"""The reproduction of the paper: what is found, measured and printed, on tiny folders in its layout."""

import contextlib
import io
import json
import re
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from support.paths import ROOT
from vilu_sdk import MCMScorer, ViLUEstimator, set_progress
from vilu_sdk.compute import progress
from vilu_sdk.evaluation import evaluate

PAPER = ROOT / "benchmarks" / "paper"
sys.path.insert(0, str(PAPER))

from run import main  # noqa: E402
from tables import _draw  # noqa: E402

FIGURES = json.loads((PAPER / "figures.json").read_text(encoding="utf-8"))
ENTRIES = [f"table{i}" for i in range(1, 10)] + [f"figure{i}" for i in range(3, 10)]
D, SCALE = 16, 8.0


def class_set(rng, k=6, n_train=160, n_test=120):
    """Classes around their texts, predicted right about three times in four."""
    z_txt = rng.normal(size=(k, D)) + 1
    arrays = {"z_txt": z_txt, "logit_scale": SCALE, "class_names": [f"class {i}" for i in range(k)]}
    for part, n in (("train", n_train), ("test", n_test)):
        labels = rng.integers(k, size=n)
        if n:
            arrays[f"z_img_{part}"] = (z_txt[labels] + 1.4 * rng.normal(size=(n, D))).astype(np.float16)
            arrays[f"labels_{part}"] = labels
    return arrays


def pairs(rng, n):
    z_txt = rng.normal(size=(n, D)) + 1
    return (z_txt + 0.9 * rng.normal(size=(n, D))).astype(np.float16), z_txt.astype(np.float16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Class sets, a domain without train rows, captions with and without a split, another backbone."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("embeddings")
    for name in ("cifar10", "imagenet", "dtd"):
        np.savez(path / f"{name}.npz", **class_set(rng))
    domain = class_set(rng, n_train=0)
    np.savez(path / "imagenet_v2.npz", **domain)
    (path / "clip-vit-l14").mkdir()
    np.savez(path / "clip-vit-l14" / "cifar10.npz", **class_set(rng))
    # As .npy files in a folder, which are mapped into memory.
    (path / "cc12m").mkdir()
    for part, n in (("train", 160), ("test", 140)):
        for side, rows in zip(("img", "txt"), pairs(rng, n), strict=True):
            np.save(path / "cc12m" / f"z_{side}_{part}.npy", rows)
    z_img, z_txt = pairs(rng, 120)
    np.savez(path / "cc3m.npz", z_img=z_img, z_txt=z_txt, logit_scale=SCALE)
    return path


def run(folder, *arguments):
    """Return what is printed."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        main([*arguments, "--embeddings", str(folder)])
    return out.getvalue()


def test_progress_can_be_silenced(folder, capsys):
    try:
        main(["table1", "--embeddings", str(folder), "--scorers", "mcm", "--sets", "dtd", "--quiet"])
        assert not progress._enabled
    finally:
        set_progress(True)
    assert capsys.readouterr().err == ""


@pytest.fixture(scope="module")
def results(folder):
    """All entries, measured with two epochs."""
    found = json.loads(run(folder, "all", "--epochs", "2", "--json"))
    return {entry["entry"]: entry for entry in found}


def row(results, entry, **wanted):
    """The only row with these values."""
    (found,) = [one for one in results[entry]["rows"] if wanted.items() <= one.items()]
    return found


# --- the paper's figures ------------------------------------------------------------------------------------


@pytest.mark.real
def test_the_data_file_holds_the_figures_of_the_tables():
    source = ROOT.parent / "shared" / "paper_tables.json"
    if not source.exists():
        pytest.skip("no collected tables beside the project")
    metrics = {"AUC": "auc", "FPR95": "fpr95", "accuracy": "accuracy"}

    def setting(record):
        if record["table"] == 6:
            return f"{record['batch_size']} captions"
        if record["table"] == 7:
            return record["backbone"]
        if record["table"] == 8:
            return f"{record['shots_per_class']} shots" if record["trained_on"] else ""
        return f"trained on {record['trained_on']}" if record.get("trained_on") else ""

    expected = {
        (
            f"table{record['table']}",
            record["dataset"],
            record["method"].removeprefix("ViLU ablation: "),
            setting(record),
            metrics[record["metric"]],
        ): record["value"]
        for record in json.loads(source.read_text())["records"]
    }
    found = {
        (entry, *key, metric): value
        for entry, content in FIGURES["entries"].items()
        if entry.startswith("table")
        for *key, values in content["rows"]
        for metric, value in values.items()
    }
    assert found == expected
    assert len(found) == 491


def test_no_figure_is_there_twice_and_all_are_percentages():
    for content in FIGURES["entries"].values():
        keys = [tuple(key) for *key, _ in content["rows"]]
        assert len(keys) == len(set(keys))
        assert all(0 < value < 100 for *_, values in content["rows"] for value in values.values())


# --- every entry --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", ENTRIES)
def test_rows_stand_beside_the_figures_of_the_data_file(results, entry):
    source = {"figure4": "table6", "figure9": "table2"}
    source |= {f"figure{i}": "table1" for i in (3, 5, 6, 8)}
    printed = FIGURES["entries"][source.get(entry, entry)]["rows"]
    compared = 0
    for found in results[entry]["rows"]:
        paper = {key: found[f"{key}_paper"] for key in ("auc", "fpr95") if found.get(f"{key}_paper")}
        if paper:
            assert any(
                paper.items() <= values.items() for name, *_, values in printed if name == found["data"]
            )
            for key, value in paper.items():
                assert found[f"{key}_difference"] == pytest.approx(found[key] - value)
            compared += 1
    assert compared


@pytest.mark.parametrize("entry", ENTRIES)
def test_entries_say_how_they_are_measured_and_what_is_missing(results, entry):
    assert any(len(text) > 40 for text in results[entry]["measured"])
    assert all("test rows" in text for text in results[entry]["data"])
    present = {"CIFAR-10", "ImageNet-1k", "DTD", "IN-V2", "CC3M", "CC12M"}
    printed = {name for name, *_ in FIGURES["entries"].get(entry, {"rows": []})["rows"]}
    missing = ". ".join(results[entry].get("missing", []))
    assert all(name in missing for name in printed - present - {"Average"})


def test_metrics_are_those_of_the_sdk(results, folder):
    with np.load(folder / "dtd.npz") as data:
        expected = evaluate(
            MCMScorer(logit_scale=SCALE), data["z_img_test"], data["z_txt"], data["labels_test"]
        )
    found = row(results, "table1", data="DTD", method="MCM")
    assert found["auc"] == pytest.approx(100 * expected["auc"])
    assert found["fpr95"] == pytest.approx(100 * expected["fpr95"])


def test_the_same_model_has_the_same_figures_in_all_entries(results):
    published = "ViLU, published recipe"
    same = [
        row(results, "table1", data="CIFAR-10", method=published),
        row(results, "table3", data="CIFAR-10", method="z_v, z_t̂, z_α"),
        row(results, "table4", data="CIFAR-10", method="BCE w/ weighting (ViLU)"),
        row(results, "figure5", data="CIFAR-10", method=published, setting="100 % of the labels"),
        row(results, "figure6", data="CIFAR-10", method=published),
        row(results, "figure7", data="CIFAR-10", setting="4 layers"),
    ]
    assert {found["auc"] for found in same} == {same[0]["auc"]}
    for table, figure in zip(results["table6"]["rows"], results["figure4"]["rows"], strict=True):
        assert (table["setting"], table["auc"]) == (figure["setting"], figure["auc"])


def test_variants_differ(folder):
    entries = run(folder, "table3", "table4", "figure7", "--epochs", "10", "--sets", "cifar10", "--json")
    for entry in json.loads(entries):
        values = [found["auc"] for found in entry["rows"]]
        assert len(values) > 3
        assert len(set(values)) == len(values)


def test_heads_are_varied_on_the_sets_that_are_named_too(folder, results):
    assert {one["data"] for one in results["figure7"]["rows"]} == {"CIFAR-10", "ImageNet-1k"}
    asked = run(
        folder, "table3", "table4", "figure7", "--epochs", "2", "--sets", "dtd", "--scorers", "vilu", "--json"
    )
    for entry, rows in zip(json.loads(asked), (4, 4, 5), strict=True):
        assert [(one["data"], one["auc_paper"]) for one in entry["rows"]] == [("DTD", None)] * rows


def test_all_test_pairs_are_the_candidates_where_there_are_fewer_than_a_batch(results):
    for method in ("MCM", "ViLU, our default"):
        whole = row(results, "table6", data="CC12M", method=method, setting="140 captions")
        assert whole["auc"] == row(results, "table2", data="CC12M", method=method)["auc"]


def test_fewer_captions_are_an_easier_task(results):
    auc = [found["auc"] for found in results["table6"]["rows"] if found["method"] == "MCM"]
    assert auc[0] > auc[-1]


def test_uncertainty_of_wrong_predictions_is_higher(results):
    found = row(results, "figure6", data="DTD", method="ViLU, our default")
    assert found["wrong_50"] > found["right_50"]
    assert found["right_10"] <= found["right_50"] <= found["right_90"]


def test_disagreements_are_among_the_wrong_predictions(results):
    for found in results["figure3"]["rows"]:
        assert found["found"] <= found["missed"] <= found["wrong"]
        assert found["lost"] <= found["refused"] <= found["wrong"] - found["missed"]


def test_figure_8_has_the_accuracy_of_each_set_and_is_drawn(folder, results, tmp_path):
    found = row(results, "figure8", data="DTD", method="MCM")
    with np.load(folder / "dtd.npz") as data:
        right = MCMScorer().predict(data["z_img_test"], data["z_txt"]) == data["labels_test"]
    assert found["accuracy"] == pytest.approx(100 * right.mean())
    assert found["auc"] == row(results, "table1", data="DTD", method="MCM")["auc"]
    printed = run(folder, "figure8", "--scorers", "mcm", "--pictures", str(tmp_path / "new" / "pictures"))
    assert "figure8_auc.pdf" in printed
    drawn = {path.name for path in (tmp_path / "new" / "pictures").iterdir()}
    assert drawn == {"figure8_auc.pdf", "figure8_fpr95.pdf"}


def test_table_9_learns_from_the_pairs_of_all_sets_and_the_transfer_from_the_others(
    folder, tmp_path, monkeypatch
):
    for name in ("cifar10", "dtd"):
        shutil.copy(folder / f"{name}.npz", tmp_path)
    fits, fit = [], ViLUEstimator.fit

    def recorded(self, z_img, z_txt, labels=None):
        fits.append((len(z_img), len(z_txt), labels is None))
        return fit(self, z_img, z_txt, labels)

    monkeypatch.setattr(ViLUEstimator, "fit", recorded)
    arguments = ("--epochs", "2", "--scorers", "vilu", "--json")
    (table,) = json.loads(run(tmp_path, "table9", *arguments))
    assert [one["data"] for one in table["rows"]] == ["CIFAR-10", "DTD"]
    assert all(one["fpr95_paper"] for one in table["rows"])
    assert fits == [(320, 320, True)]  # once for all, pairs of both sets
    (transfer,) = json.loads(run(tmp_path, "transfer", *arguments))
    assert [one["data"] for one in transfer["rows"]] == ["CIFAR-10", "DTD"]
    assert not any(one["fpr95_paper"] for one in transfer["rows"])
    assert fits[1:] == [(160, 6, False)] * 2
    (tmp_path / "cifar10.npz").unlink()
    (transfer,) = json.loads(run(tmp_path, "transfer", *arguments))
    assert not transfer["rows"]


def test_captions_of_classes_are_read_where_a_file_has_them(folder, tmp_path):
    with np.load(folder / "dtd.npz") as data:
        arrays = dict(data)
    found = []
    for z_caption in (arrays["z_txt"], -arrays["z_txt"]):
        np.savez(tmp_path / "dtd.npz", **arrays, z_caption=z_caption)
        (table,) = json.loads(run(tmp_path, "table9", "--epochs", "5", "--scorers", "vilu", "--json"))
        found.append(table["rows"][-1]["fpr95"])
    assert found[0] != found[1]


def test_a_random_share_of_pairs_is_held_out(folder):
    (four,), (share,) = (
        json.loads(run(folder, "table2", "--sets", "cc3m", "--scorers", "mcm", "--json", *more))
        for more in ([], ["--hold-out", "0.25"])
    )
    assert "120 test rows" in four["data"][0]
    assert "90 train rows" in share["data"][0]
    assert "30 test rows" in share["data"][0]


def test_the_grid_chooses_rate_and_batch_on_train_rows(folder, monkeypatch):
    import _fits

    monkeypatch.setattr(_fits, "RATES", (1e-9, 0.1))
    monkeypatch.setattr(_fits, "BATCHES", (32, 64))
    arguments = ("table1", "--sets", "dtd", "--scorers", "vilu", "--epochs", "20", "--json")
    (plain,), (chosen,) = (
        json.loads(run(folder, *arguments, *more)) for more in (["--learning-rate", "1e-9"], ["--grid"])
    )
    assert chosen["rows"][0]["auc"] != plain["rows"][0]["auc"]
    assert "chosen on train rows" in " ".join(chosen["measured"])


def test_noise_is_an_option(folder):
    arguments = ("table1", "--sets", "dtd", "--scorers", "lvu,vilu", "--epochs", "2", "--json")
    (plain,), (noisy,) = (json.loads(run(folder, *arguments, *more)) for more in ([], ["--view-noise", "1"]))
    assert len({one["auc"] for found in (plain, noisy) for one in found["rows"]}) == 4


def test_means_are_over_sets_that_can_be_compared(folder):
    table = run(folder, "table1", "--epochs", "1", "--scorers", "mcm")
    cells = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if "| MCM" in line
    ]
    *sets, mean = cells
    assert [name for name, *_ in cells] == [
        "CIFAR-10 (K = 6, 10 in the paper)",
        "ImageNet-1k (K = 6, 1,000 in the paper)",
        "DTD (K = 6, 47 in the paper)",
        "mean of 3 sets",
    ]
    assert float(mean[3]) == pytest.approx(np.mean([float(one[3]) for one in sets]), abs=0.05)


def test_images_of_the_adaptation_are_at_most_half_of_a_class():
    labels = np.repeat(np.arange(4), [1, 4, 10, 30])
    rows = _draw(labels, 5, seed=0)
    assert np.bincount(labels[rows]).tolist() == [1, 2, 5, 5]
    assert len(set(rows)) == len(rows)


def test_seeds_are_averaged(folder):
    arguments = ("table1", "--epochs", "1", "--scorers", "mcm,vilu", "--sets", "dtd", "--json")
    ((one,), (two,)) = (json.loads(run(folder, *arguments, "--seeds", n)) for n in ("1", "2"))
    assert row({"": one}, "", method="MCM") == row({"": two}, "", method="MCM")
    found = row({"": two}, "", method="ViLU, published recipe")
    assert found["auc_std"] > 0
    assert found["auc"] != row({"": one}, "", method="ViLU, published recipe")["auc"]


# --- the folder ---------------------------------------------------------------------------------------------


def test_stand_ins_have_no_difference(folder, tmp_path):
    shutil.copy(folder / "cc3m.npz", tmp_path / "flickr8k_pairs.npz")
    (found,) = json.loads(run(tmp_path, "table2", "--scorers", "mcm", "--json"))
    (only,) = found["rows"]
    assert only["data"] == "flickr8k_pairs (for CC12M)"
    assert only["auc_paper"] == 88.8
    assert only["auc_difference"] is None
    assert "Not the paper's data set" in found["data"][0]


def test_the_paper_s_own_set_goes_before_a_stand_in(folder, tmp_path):
    shutil.copy(folder / "cifar10.npz", tmp_path)
    shutil.copy(folder / "dtd.npz", tmp_path / "cifar10_tower.npz")
    table = run(tmp_path, "table1", "--scorers", "mcm")
    assert "| CIFAR-10 (K = 6, 10 in the paper) | MCM |" in table
    assert "cifar10_tower" not in table


def test_differences_to_the_paper_s_rows_are_named(results):
    (dtd,) = [text for text in results["table1"]["data"] if text.startswith("DTD")]
    assert re.search(r"160 train rows \(2,820 in the paper\), 120 test rows \(1,692 in the paper\)", dtd)


def test_captions_of_another_model_are_not_transferred(folder, tmp_path):
    shutil.copy(folder / "dtd.npz", tmp_path)
    shutil.copy(folder / "cc3m.npz", tmp_path / "flickr8k_pairs.npz")
    (found,) = json.loads(run(tmp_path, "table5", "--epochs", "1", "--json"))
    assert {one["method"] for one in found["rows"]} == {"MCM"}
    assert any("no captions embedded by CLIP" in text for text in found["missing"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "holds none of the paper's data sets"),
        (["--scorers", "mcm,magic"], "no scorer is called magic"),
        (["--sets", "mnist"], "no data set is called mnist"),
        (["--epochs", "0"], "at least 1"),
    ],
)
def test_refusals(tmp_path, capsys, arguments, message):
    np.savez(tmp_path / "something.npz", z=np.eye(2))
    with pytest.raises(SystemExit) as stopped:
        main(["table1", "--embeddings", str(tmp_path), *arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_there_is_no_such_folder(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["table1", "--embeddings", str(tmp_path / "nowhere")])
    assert "there is no folder" in capsys.readouterr().err


def test_a_file_that_lacks_arrays_is_refused_by_name(tmp_path):
    np.savez(tmp_path / "dtd.npz", z_txt=np.eye(3))
    with pytest.raises(SystemExit, match=r"dtd\.npz lacks z_img_test, labels_test"):
        run(tmp_path, "table1")


def test_scorers_that_must_learn_are_missing_without_train_rows(folder, tmp_path):
    with np.load(folder / "dtd.npz") as data:
        np.savez(tmp_path / "dtd.npz", **{key: data[key] for key in data.files if "train" not in key})
    (found,) = json.loads(run(tmp_path, "table1", "--scorers", "mcm,relu", "--json"))
    assert [one["method"] for one in found["rows"]] == ["MCM"]
    assert any("DTD, Rel-U" in text and "no train rows" in text for text in found["missing"])


def test_the_extraction_of_the_docs_makes_a_file_that_runs(tmp_path, monkeypatch):
    """The block of docs/reproduction.md, with an open_clip of random projections."""
    colours = {"red": (200, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 200)}
    rng, split = np.random.default_rng(0), {"train": [], "test": [], "val": []}
    (tmp_path / "dtd" / "images").mkdir(parents=True)
    (tmp_path / "embeddings").mkdir()
    for part in ("train", "test"):
        for i, name in enumerate(sorted(colours, reverse=part == "test") * 8):
            pixels = np.clip(rng.normal(colours[name], 120, (1, 1, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "dtd" / "images" / f"{part}{i}.png")
            split[part].append([f"{part}{i}.png", i % 3, name])
    (tmp_path / "split_zhou_DescribableTextures.json").write_text(json.dumps(split))
    model = SimpleNamespace(
        eval=lambda: None,
        logit_scale=torch.tensor(20.0).log(),
        encode_image=lambda images: images,
        encode_text=lambda texts: (
            torch.tensor([colours[text.split()[-1].rstrip(".")] for text in texts]) / 255
        ),
    )
    open_clip = SimpleNamespace(
        create_model_from_pretrained=lambda name, pretrained: (
            model,
            lambda image: torch.tensor(np.array(image)[0, 0] / 255, dtype=torch.float32),
        ),
        get_tokenizer=lambda name: list,
    )
    monkeypatch.setitem(sys.modules, "open_clip", open_clip)
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "reproduction.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(import json\n.*?)```", page, flags=re.DOTALL)
    exec(compile(code, "reproduction.md", "exec"), {})
    table = run(tmp_path / "embeddings", "table1", "--scorers", "mcm")
    accuracy = float(re.search(r"DTD: zero-shot accuracy (\S+) %", table)[1])
    assert accuracy > 60  # a third, if train and test disagreed on the order of the classes


@pytest.mark.real
def test_the_real_sets_run_as_they_are():
    embeddings = ROOT.parent / "shared" / "embeddings"
    if not embeddings.is_dir():
        pytest.skip("no real embeddings beside the project")
    (found,) = json.loads(run(embeddings, "table1", "--scorers", "mcm", "--json"))
    assert row({"": found}, "", data="DTD")["auc"] == pytest.approx(74.87, abs=0.05)
    assert row({"": found}, "", data="DTD")["auc_paper"] == 77.4
    assert row({"": found}, "", data="cifar10_tower (for CIFAR-10)")["auc_difference"] is None
