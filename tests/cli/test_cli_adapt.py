"""`vilu adapt` saves what Python adapts, from nothing, from a saved scorer and from a head."""

from contextlib import nullcontext

import numpy as np
import pytest

from support.cli_tools import SCALE
from vilu_sdk import ViLUEstimator
from vilu_sdk.scorers import Scorer

LINE = "adapt images.npy texts.npy -q"


def decisions(scorer, digits):
    return scorer.decision_function(digits.z_img_test, digits.z_txt)


@pytest.mark.parametrize("said", [None, "balanced", "estimated", "file"])
def test_from_nothing_it_gives_the_scorer_that_python_gives(said, vilu, digits, tmp_path):
    shares = np.bincount(digits.labels_fit, minlength=10) ** 2
    np.savetxt(tmp_path / "shares.txt", shares)
    word = str(tmp_path / "shares.txt") if said == "file" else said
    told = f" --frequencies {word}" if said else ""
    with pytest.warns(match="frequencies") if said == "estimated" else nullcontext():
        expected = ViLUEstimator(logit_scale=SCALE, random_state=0)
        expected.adapt(digits.z_img_fit, digits.z_txt, frequencies=shares if said == "file" else said)
        done = vilu(f"{LINE} --logit-scale {SCALE} -o {tmp_path / 's'}{told}")
    assert done.code == 0
    assert done.out.startswith("ViLUEstimator adapted to 798 images without labels and 10 texts")
    found = decisions(Scorer.from_pretrained(tmp_path / "s"), digits)
    np.testing.assert_array_equal(found, decisions(expected, digits))


def test_it_is_told_the_groups(vilu, digits, tmp_path):
    groups = np.arange(798) // 3
    np.savetxt(tmp_path / "groups.txt", groups, fmt="video %d")
    line = f"{LINE} --logit-scale {SCALE} -o {tmp_path / 's'} --groups {tmp_path / 'groups.txt'}"
    assert vilu(line).code == 0
    expected = ViLUEstimator(logit_scale=SCALE, random_state=0)
    expected.adapt(digits.z_img_fit, digits.z_txt, groups=groups)
    found = decisions(Scorer.from_pretrained(tmp_path / "s"), digits)
    np.testing.assert_array_equal(found, decisions(expected, digits))


def test_a_saved_scorer_is_moved_and_stays_as_it_was(vilu, fitted, digits, tmp_path):
    fitted.save_pretrained(tmp_path / "before")
    first = f"{LINE} --scorer {tmp_path / 'before'} -o {tmp_path / 'after'} --frequencies balanced --json"
    done = vilu(first)
    assert (done.json["images"], done.json["texts"], done.json["d"]) == (798, 10, 32)
    expected = Scorer.from_pretrained(tmp_path / "before")
    expected.adapt(digits.z_img_fit, digits.z_txt, frequencies="balanced")
    after = Scorer.from_pretrained(tmp_path / "after")
    np.testing.assert_array_equal(decisions(after, digits), decisions(expected, digits))
    again = Scorer.from_pretrained(tmp_path / "before")
    np.testing.assert_array_equal(decisions(again, digits), decisions(fitted, digits))
    line = f"adapt new-images.npy texts.npy --labels new-labels.npy -q --scorer {tmp_path / 'after'}"
    assert "799 labelled images" in vilu(f"{line} -o {tmp_path / 'last'}").out
    expected.adapt(digits.z_img_test, digits.z_txt, digits.labels_test)
    last = Scorer.from_pretrained(tmp_path / "last")
    np.testing.assert_array_equal(decisions(last, digits), decisions(expected, digits))


@pytest.mark.filterwarnings("ignore:adapt leaves the ranking as it is")
def test_a_head_is_moved(vilu, tmp_path):
    head = ViLUEstimator.from_pretrained("clip-b32-imagenet")
    rng = np.random.default_rng(0)
    for name, mean, n in (("i", head.seen_.images.mean, 300), ("t", head.seen_.texts.mean, 12)):
        rows = mean.numpy() + 0.03 * rng.normal(size=(n, 512))
        np.save(tmp_path / f"{name}.npy", rows.astype(np.float32))
    files = f"{tmp_path / 'i.npy'} {tmp_path / 't.npy'}"
    line = f"adapt {files} --scorer clip-b32-imagenet -q -o {tmp_path / 's'}"
    assert vilu(line).code == 0
    found = Scorer.from_pretrained(tmp_path / "s")
    z_img, z_txt = np.load(tmp_path / "i.npy"), np.load(tmp_path / "t.npy")
    expected = head.adapt(z_img, z_txt)
    np.testing.assert_array_equal(
        found.decision_function(z_img, z_txt), expected.decision_function(z_img, z_txt)
    )


@pytest.mark.parametrize(
    ("told", "code", "message"),
    [
        ("--scorer mcm", 2, "MCMScorer does not adapt; ViLUEstimator does"),
        ("--scorer ViLU --scorer mcm", 2, "adapt takes one"),
        ("--set recipe=paper", 3, "adapts a fitted estimator with labels"),
        ("--frequencies nowhere.txt", 3, "neither a file nor a folder nowhere.txt"),
        ("--frequencies new-labels.npy", 3, "candidates has 10"),
        ("--labels new-labels.npy --frequencies balanced", 2, "not allowed with"),
        ("--labels new-labels.npy", 3, "799 values but IMAGES has 798"),
    ],
)
def test_what_cannot_be_done_is_said(told, code, message, vilu, tmp_path):
    done = vilu(f"{LINE} --logit-scale {SCALE} -o {tmp_path / 's'} {told}")
    assert (done.code, message in done.err) == (code, True), done.err
    assert not (tmp_path / "s").exists()


def test_what_keeps_a_promise_is_not_moved(vilu, tmp_path):
    known = "new-images.npy texts.npy --labels new-labels.npy"
    line = f"threshold {known} --scorer mcm --logit-scale {SCALE} --coverage 0.5 -q -o {tmp_path / 't'}"
    assert vilu(line).code == 0
    done = vilu(f"{LINE} --scorer {tmp_path / 't'} -o {tmp_path / 's'}")
    assert (done.code, "holds a promise, which is lost" in done.err) == (2, True)


def test_a_network_is_moved_by_labels_alone(vilu, tmp_path):
    known = "new-images.npy texts.npy --labels new-labels.npy"
    line = f"fit {known} --scorer lvu --set epochs=1 --logit-scale {SCALE} -q -o {tmp_path / 'lvu'}"
    assert vilu(line).code == 0
    scorer = f"-q --scorer {tmp_path / 'lvu'} -o {tmp_path / 's'}"
    assert vilu(f"adapt {known} {scorer}").code == 0
    done = vilu(f"adapt {known} {scorer} --groups new-labels.npy")
    assert (done.code, "adapts to labels alone; leave out --groups" in done.err) == (2, True)
    done = vilu(f"adapt new-images.npy texts.npy {scorer}")
    assert (done.code, "labels" in done.err) == (3, True)
