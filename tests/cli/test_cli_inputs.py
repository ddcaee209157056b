"""All formats, and all ways to write labels and feedback, give the same."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from support.cli_tools import DATA, SCALE
from vilu_sdk import MCMScorer
from vilu_sdk.evaluation import evaluate
from vilu_sdk.scorers import Scorer


def test_all_formats_and_ways_to_write_labels_give_the_same(vilu, digits_folder, digits, tmp_path):
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
    texts, names = digits_folder / "texts.npy", f"--names {digits_folder}/names.txt"
    for images, candidates, known in [
        ("all.npz::z_img", "all.npz::z_txt", "--labels all.npz::labels"),
        ("all.safetensors::z_img", "all.safetensors::z_txt", "--labels all.safetensors::labels"),
        ("all.parquet::z", texts, "--labels all.parquet::labels"),
        (
            "all.parquet::z",
            texts,
            f"--labels all.parquet::word {names}",
        ),
        ("shards", texts, "--labels labels.csv::label"),
        (
            "shards",
            texts,
            f"--labels labels.csv::word {names}",
        ),
        ("shards", texts, "--labels labels.tsv"),
        ("parts::z", texts, f"--labels words.txt {names}"),
        ("parts::z", texts, "--labels parts::labels"),
    ]:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(tmp_path)
            done = vilu(f"evaluate {images} {candidates} {known} --scorer mcm --logit-scale {SCALE} --json")
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
        ("labels.csv", "a,b\n1,2\n", "It has: a, b. Name it with"),
        ("labels.csv::c", "a,b\n1,2\n", "none is called 'c'. It has: a, b."),
        ("labels.csv", "a\none\n\n", "labels.csv has 1 values but IMAGES has 799 rows"),
        ("labels.txt", "1\n\n2\n", "has no value in row 1"),
        ("labels.txt::x", "1\n", "has lines and no columns"),
        ("labels.txt", "cat\n", "has 'cat' in row 0, which is not in names.txt, whose first are 'zero'"),
        ("labels.doc", "1\n", "is of no known kind"),
    ],
)
def test_labels_that_cannot_be_read(name, text, message, vilu, tmp_path):
    (tmp_path / name.split("::")[0]).write_text(text)
    done = vilu(f"evaluate {DATA} --labels {tmp_path / name} --names names.txt --scorer my-scorer")
    assert done.code == 3
    assert message in done.err
    assert done.err.count("\n") == 1


def test_which_array_is_asked_for(vilu, digits, tmp_path):
    np.savez(tmp_path / "two.npz", a=digits.z_img_test, b=digits.z_txt)
    done = vilu(f"score {tmp_path}/two.npz texts.npy --scorer my-scorer")
    assert done.code == 3
    assert f"It has: a, b. Name it with {tmp_path}/two.npz::NAME." in done.err
    assert "pass column" not in done.err


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
    assert "'perhaps' in row 0; expected one of true" in vilu(line).err
