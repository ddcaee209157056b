"""What `vilu fit` saves is what Python fits, and it says in one line what is wrong."""

import numpy as np
import pytest

import vilu_sdk
from support.cli_tools import SCALE
from vilu_sdk import EntropyScorer, LVUScorer, MCMScorer, PaperRecipe, ViLUEstimator
from vilu_sdk.cli import _scorers
from vilu_sdk.persistence import storage
from vilu_sdk.scorers import Scorer


def test_fit_gives_the_scorer_that_python_gives(fitted, digits):
    expected = ViLUEstimator(logit_scale=SCALE, random_state=0)
    expected.fit(digits.z_img_fit, digits.z_txt, digits.labels_fit)
    np.testing.assert_array_equal(
        fitted.decision_function(digits.z_img_test, digits.z_txt),
        expected.decision_function(digits.z_img_test, digits.z_txt),
    )


@pytest.mark.parametrize("kind", [".txt", ".npy"])
def test_fit_is_told_the_weights(kind, digits, vilu, tmp_path):
    weights, file = np.arange(798) % 3 / 2, tmp_path / f"weights{kind}"
    (np.save if kind == ".npy" else np.savetxt)(file, weights)
    line = f"fit images.npy texts.npy --labels labels.npy --logit-scale {SCALE} -o {tmp_path / 's'}"
    assert vilu(f"{line} --weights {file}").code == 0
    expected = ViLUEstimator(logit_scale=SCALE, random_state=0)
    expected.fit(digits.z_img_fit, digits.z_txt, digits.labels_fit, sample_weight=weights)
    np.testing.assert_allclose(
        Scorer.from_pretrained(tmp_path / "s").decision_function(digits.z_img_test, digits.z_txt),
        expected.decision_function(digits.z_img_test, digits.z_txt),
        rtol=1e-6,
    )
    done = vilu(f"{line} --weights {file} --scorer lvu")
    assert (done.code, "takes no weights" in done.err) == (2, True)
    (tmp_path / "bad.txt").write_text("1\n" * 797 + "heavy\n")
    done = vilu(f"{line} --weights {tmp_path / 'bad.txt'}")
    assert (done.code, "has 'heavy' in row 797; expected a number" in done.err) == (3, True)
    (tmp_path / "bad.txt").write_text("1\n" * 797 + "-1\n")
    done = vilu(f"{line} --weights {tmp_path / 'bad.txt'}")
    assert (done.code, "not negative, but row 797 is -1" in done.err) == (3, True)


def test_fit_is_told_the_groups(digits, vilu, tmp_path):
    groups = np.arange(798) // 3
    np.savetxt(tmp_path / "groups.txt", groups, fmt="video %d")
    line = f"fit images.npy texts.npy --labels labels.npy --logit-scale {SCALE} -o {tmp_path / 's'}"
    assert vilu(f"{line} --groups {tmp_path / 'groups.txt'}").code == 0
    expected = ViLUEstimator(logit_scale=SCALE, random_state=0)
    expected.fit(digits.z_img_fit, digits.z_txt, digits.labels_fit, groups=groups)
    np.testing.assert_allclose(
        Scorer.from_pretrained(tmp_path / "s").decision_function(digits.z_img_test, digits.z_txt),
        expected.decision_function(digits.z_img_test, digits.z_txt),
        rtol=1e-6,
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
        assert repr(scorer).startswith(repr(expected.set_params(logit_scale=SCALE)))
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
            assert _scorers.BY_NAME[short.lower()] is cls


@pytest.mark.parametrize(
    ("usage", "options", "message"),
    [
        (True, "", "pass --labels, --correct or --captions"),
        (True, "--labels labels.npy --set epocs=3", "has no parameter 'epocs'"),
        (True, "--labels labels.npy --scorer lvu --set epocs=3", "Did you mean epochs?"),
        (True, "--labels labels.npy --scorer lvu --set epochs=many", "takes something like 300, got 'many'"),
        (True, "--labels labels.npy --scorer lvu --set epochs", "--set takes NAME=VALUE"),
        (True, "--labels labels.npy --scorer lvu --scorer mcm", "several times"),
        (True, "--labels labels.npy --scorer my-scorer", "is a saved scorer"),
        (False, "--labels labels.npy --scorer nothing", "Scorers by name are BayesVLMScorer"),
        (False, "--labels nowhere.npy", "neither a file nor a folder nowhere.npy"),
        (False, "--labels images.npy", "expected one value for each row"),
        (False, "--labels new-labels.npy", "new-labels.npy has 799 values but IMAGES has 798 rows"),
        (False, "--labels names.txt", "pass --names"),
        (True, "--labels labels.npy --correct labels.npy", "not allowed with argument"),
        (False, "--captions", "z_img has 798 rows and z_txt 10"),
        (True, "--labels labels.npy --logit-scale -1", "argument --logit-scale: must be above 0, got -1"),
    ],
)
def test_fit_says_what_is_wrong_and_writes_nothing(usage, options, message, vilu, tmp_path):
    done = vilu(f"fit images.npy texts.npy -o {tmp_path / 's'} -q {options}")
    assert done.code == (2 if usage else 3)
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
    assert vilu(line.replace("scale 5", "scale 6")).code == 0
    assert MCMScorer.from_pretrained(tmp_path).logit_scale == 6
    assert (tmp_path / "photos.txt").read_text() == "mine"
    assert "is a file" in vilu(line.replace(str(tmp_path), "names.txt")).err


def test_the_default_logit_scale_is_told(vilu, tmp_path):
    line = f"fit images.npy texts.npy --labels labels.npy --scorer mcm -o {tmp_path / 's'}"
    assert vilu(line).err == (
        "vilu: the logit scale of MCMScorer is 100, CLIP's; for another model pass its own as --logit-scale\n"
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

    monkeypatch.setattr("vilu_sdk.training.resume.EVERY_SECONDS", 0.0)
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


def test_a_checkpoint_of_other_labels_is_refused(vilu, digits, tmp_path, monkeypatch):
    np.save(tmp_path / "labels.npy", digits.labels_fit)
    line = f"fit images.npy texts.npy --labels {tmp_path}/labels.npy --logit-scale {SCALE} --scorer lvu"
    line += f" --set epochs=2 -q -o {tmp_path}/lvu --checkpoint {tmp_path}/state"
    write = storage.write_folder

    def interrupted(*given, **options):
        write(*given, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("vilu_sdk.training.resume.EVERY_SECONDS", 0.0)
        patch.setattr(storage, "write_folder", interrupted)
        assert vilu(line).code == 130
    labels = digits.labels_fit.copy()
    labels[3] = (labels[3] + 1) % 10
    np.save(tmp_path / "labels.npy", labels)
    done = vilu(line)
    assert done.code == 3
    assert "belongs to another fit: labels has changed since: row 3 differs" in done.err
    np.save(tmp_path / "labels.npy", digits.labels_fit)
    assert vilu(line).code == 0
