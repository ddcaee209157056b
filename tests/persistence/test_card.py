import copy
import math
from pathlib import Path

import pytest
import yaml
from sklearn.base import clone

from support.toy_scorer import ToyScorer
from vilu_sdk import MCMScorer, PaperRecipe, ViLUEstimator, cli
from vilu_sdk.evaluation import evaluate
from vilu_sdk.persistence import storage
from vilu_sdk.scorers import Card, Scorer
from vilu_sdk.selective import (
    CostPredictor,
    CoveragePredictor,
    RiskMonitor,
    SelectivePredictor,
    SetPredictor,
    ShiftMonitor,
)

CARD = Card(
    backbone="openai/clip-vit-base-patch32",
    dataset="a | b",
    metrics={"test": {"auc": 0.91234, "n": 799, "ece": math.nan}, "other": {"auc": 0.5}},
    notes="Not for **X-rays**.",
    license="Apache-2.0",
)


def readme(folder: Path) -> str:
    return (folder / storage.README_FILE).read_text()


def test_a_card_survives_saving_and_saving_again(tmp_path, toy):
    scorer = ToyScorer().fit(toy.z_img, toy.z_txt, toy.labels)
    scorer.save_pretrained(tmp_path / "a", card=CARD)
    assert scorer.card_ == Card()  # saving changes nothing
    loaded = Scorer.from_pretrained(tmp_path / "a")
    loaded.save_pretrained(tmp_path / "b")
    again = Scorer.from_pretrained(tmp_path / "b")
    for card in (loaded.card_, again.card_, copy.deepcopy(again).card_):
        assert repr(card) == repr(CARD)  # a NaN is not equal to itself
    again.save_pretrained(tmp_path / "b", card=Card(notes="another"))
    assert Scorer.from_pretrained(tmp_path / "b").card_ == Card(notes="another")


def test_the_model_card_tells_what_is_known(tmp_path, toy):
    ViLUEstimator(logit_scale=14.25).fit(toy.z_img, toy.z_txt, toy.labels).save_pretrained(
        tmp_path / "head", card=CARD
    )
    _, front, body = readme(tmp_path / "head").split("---\n", 2)
    data = yaml.safe_load(front)
    assert data.pop("tags")[0] == "vilu-sdk"
    (index,) = data.pop("model-index")
    assert data == {
        "library_name": "vilu-sdk",
        "license": "apache-2.0",
        "base_model": CARD.backbone,
        "pipeline_tag": "zero-shot-image-classification",
    }
    assert index["name"] == "head"
    results = {result["dataset"]["name"]: result["metrics"] for result in index["results"]}
    given = {
        name: {k: round(v, 4) for k, v in values.items() if math.isfinite(v)}
        for name, values in CARD.metrics.items()
    }
    assert {name: {m["type"]: m["value"] for m in metrics} for name, metrics in results.items()} == given
    for part in (
        "# head\n",
        "Learned vision-language uncertainty",
        "ViLUEstimator(logit_scale=14.25)",
        'ViLUEstimator.from_pretrained("head")',
        "| fitted on | a \\| b |",
        "| width d of its embeddings | 16 |",
        "| its logit scale | 14.25 |",
        "| rows | scaled to length 1",
        "|  | test | other |",
        "| auc | 0.9123 | 0.5000 |",
        "| n | 799 | – |",
        "| ece | – | – |",
        "Not for **X-rays**.",
    ):
        assert part in body, part


def test_a_data_set_of_the_hub_is_named_in_the_model_card(tmp_path):
    for dataset, named in (("tanganke/dtd", ["tanganke/dtd"]), ("2,000 images of mine", None)):
        MCMScorer().save_pretrained(tmp_path, card=Card(dataset=dataset))
        assert yaml.safe_load(readme(tmp_path).split("---\n", 2)[1]).get("datasets") == named


def test_a_model_card_without_a_card_claims_nothing(tmp_path):
    MCMScorer().save_pretrained(tmp_path, card=Card(backbone="my own model"))
    _, front, body = readme(tmp_path).split("---\n", 2)
    assert yaml.safe_load(front).keys() == {"library_name", "tags", "pipeline_tag"}
    assert "| fitted on | not recorded |" in body
    assert "| backbone | my own model |" in body
    assert "## Metrics" not in body


CARDS = {
    "scorer": lambda toy: MCMScorer(logit_scale=20.0),
    "threshold": lambda toy: SelectivePredictor(MCMScorer(), 0.5).fit(toy.z_img, toy.z_txt, toy.labels),
    "coverage": lambda toy: CoveragePredictor(MCMScorer(), 0.5).fit(toy.z_img, toy.z_txt, toy.labels),
    "costs": lambda toy: CostPredictor(MCMScorer(), 1.0, 0.2).fit(toy.z_img, toy.z_txt, toy.labels),
    "sets": lambda toy: SetPredictor(MCMScorer(), 0.8).fit(toy.z_img, toy.z_txt, toy.labels),
    "shift": lambda toy: ShiftMonitor(MCMScorer(), random_state=0).fit(toy.z_img, toy.z_txt),
    "risk": lambda toy: RiskMonitor(0.1),
}


@pytest.mark.parametrize("kind", CARDS)
def test_the_code_of_a_model_card_runs(kind, tmp_path, toy, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    saved = CARDS[kind](toy)
    saved.save_pretrained("head")
    card = readme(tmp_path / "head")
    code = card.split("```python\n")[1].split("```")[0]
    names = {"z_img": toy.z_img, "z_txt_set": toy.z_txt, "correct": [True, False]}
    exec(code, names)
    expected = {
        "u": lambda: saved.predict_uncertainty(toy.z_img, toy.z_txt),
        "answer": lambda: saved.predict(toy.z_img, toy.z_txt),
    }
    for name in expected.keys() & names.keys():
        assert (names[name] == expected[name]()).all()
    assert (kind in ("shift", "risk")) == bool(capsys.readouterr().out)
    # The guarantee stands there as it prints.
    if hasattr(saved, "report_"):
        assert str(saved.report_).splitlines()[0] in card.split("## What it guarantees")[1]


def test_what_evaluate_returns_goes_into_a_card(toy):
    metrics = evaluate(MCMScorer(), toy.z_img, toy.z_txt, toy.labels)
    assert Card(metrics={"toy": metrics}).metrics["toy"] == pytest.approx(metrics, nan_ok=True)


def test_a_readme_of_the_users_own_stays(tmp_path):
    MCMScorer(logit_scale=1.0).save_pretrained(tmp_path)
    MCMScorer(logit_scale=2.0).save_pretrained(tmp_path)
    assert "logit_scale=2.0" in readme(tmp_path)
    own = readme(tmp_path).replace(storage.GENERATED, "") + "and what I think of it"
    (tmp_path / storage.README_FILE).write_text(own)
    MCMScorer(logit_scale=3.0).save_pretrained(tmp_path)
    assert readme(tmp_path) == own
    assert MCMScorer.from_pretrained(tmp_path).logit_scale == 3.0
    (tmp_path / storage.README_FILE).unlink()
    assert MCMScorer.from_pretrained(tmp_path).logit_scale == 3.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"notes": 3}, "notes of a card must be a string, got int"),
        ({"backbone": Path("x")}, "backbone of a card must be a string"),
        ({"metrics": {"auc": 0.9}}, 'metrics .* as in {"test": {"auc": 0.9}}'),
        ({"metrics": {"test": {"auc": "high"}}}, "metrics of a card must map"),
        ({"metrics": 3}, "metrics of a card must map"),
    ],
)
def test_what_is_no_card_is_refused(arguments, message):
    with pytest.raises(TypeError, match=message):
        Card(**arguments)


def test_a_dict_is_no_card_and_nothing_is_written(tmp_path):
    with pytest.raises(TypeError, match=r"card must be a vilu_sdk\.scorers\.Card, got dict"):
        MCMScorer().save_pretrained(tmp_path / "x", card={"notes": "x"})
    assert not (tmp_path / "x").exists()


@pytest.fixture
def bars(monkeypatch):
    monkeypatch.setattr("vilu_sdk.compute.progress._enabled", True)


@pytest.mark.usefixtures("bars")
def test_info_prints_the_card(tmp_path, capsys):
    MCMScorer().save_pretrained(tmp_path, card=CARD)
    assert cli.main(["info", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"# {tmp_path}\n")
    assert "Not for **X-rays**." in out
    assert err == ""


@pytest.mark.usefixtures("bars")
def test_info_says_in_one_line_what_is_wrong(tmp_path, capsys):
    (tmp_path / storage.CONFIG_FILE).write_text("{}")
    for name, message in [("nothing-like-it", "Nothing is called"), (str(tmp_path), "no format_version")]:
        assert cli.main(["info", name]) == 3
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("vilu: error: ")
        assert message in err
        assert err.count("\n") == 1


@pytest.mark.filterwarnings("ignore::vilu_sdk.exceptions.ViLUWarning")
@pytest.mark.parametrize("recipe", ["auto", PaperRecipe(epochs=1, hidden=(4,))])
def test_a_fitted_or_loaded_scorer_says_what_it_wants_and_was_fitted_on(recipe, toy, tmp_path):
    names = ["cat", "<b>", "c", "d", "e", "f"]
    z_txt = {name: [z, 2 * z + 0.1] for name, z in zip(names, toy.z_txt, strict=True)}
    scorer = ViLUEstimator(recipe, logit_scale=14.25, random_state=0)
    call = repr(scorer)
    scorer.fit(toy.z_img, z_txt, toy.labels)
    scorer.save_pretrained(tmp_path, card=Card(backbone="a/b", prompts=["a photo of a {}.", "a {}."]))
    loaded = ViLUEstimator.from_pretrained(tmp_path)
    assert repr(scorer).startswith(f"{call}\n")
    assert repr(loaded) != repr(scorer)
    facts = (
        "14.25",
        "16",
        "a/b",
        "6: cat, <b>, c, d, e, …; up to 2 prompts each",
        "640",
        "a photo of a {}., a {}.",
    )
    for fact in facts:
        assert fact in repr(loaded)
        assert fact.replace("<b>", "&lt;b>") in readme(tmp_path)
        for html in (loaded._repr_html_(), loaded._repr_mimebundle_()["text/html"]):
            assert fact.replace("<b>", "&lt;b&gt;") in html
            assert "<b>," not in html
    assert (repr(clone(loaded)), clone(loaded).card_) == (call, Card())
    assert scorer.fit(toy.z_img[:320], toy.z_img[320:]).names_ is None
    assert "captions" in repr(scorer)


def test_a_card_is_always_there(toy, tmp_path):
    scorer = MCMScorer()
    assert scorer.card_ == scorer.fit(toy.z_img, toy.z_txt, toy.labels).card_ == Card()
    scorer.save_pretrained(tmp_path)
    assert Scorer.from_pretrained(tmp_path).card_ == Card()
    assert Card(prompts="a {}").prompts == ("a {}",)
    with pytest.raises(TypeError, match="prompts of a card must be a string, got int"):
        Card(prompts=[3])
