"""`convert`, `info` and `push`, and the help of every command."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import save_file

from support.cli_tools import SCALE, Run
from support.fake_hub import TOKEN, FakeHub
from support.official import GOLDEN, convert, official_content, saved
from vilu_sdk import cli
from vilu_sdk.scorers import Scorer


def test_convert_saves_what_the_package_converts(vilu, tmp_path):
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
    shapes = {"z": "10 × 32  float32", "labels": "799  int64", "names": "10  text"}
    for kind, names in (("npz", "z labels names"), ("safetensors", "labels z"), ("parquet", "z names")):
        path = tmp_path / f"all.{kind}"
        lines = [f"{path}::{name}  {shapes[name]}" for name in names.split()]
        assert vilu(f"info {path}").out.splitlines() == lines
        assert vilu(f"info {path}::z").out == f"{path}::z  10 × 32  float32\n"
    facts = vilu("info my-scorer --json").json
    assert facts["scorer"] == "ViLUEstimator"
    assert facts["parameters"] == {
        "logit_scale": SCALE,
        "random_state": 0,
        "recipe": "auto",
        "predicts": "zero-shot",
        "unknown_rate": None,
    }
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
    assert refused.code == 4
    assert refused.err.count("\n") == 1
    assert "there is no folder nowhere" in vilu("push nowhere owner/name").err


def test_every_command_has_one_example_that_parses(capsys):
    parser = cli.build_parser()
    commands = parser._subparsers._group_actions[0].choices
    assert list(commands) == [
        *("demo", "examples", "fit", "adapt", "score", "evaluate", "compare", "benchmark", "report"),
        *("threshold", "sets", "decide", "labels", "serve", "export", "convert", "info", "push"),
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
