"""However users hold images, texts and labels, the scores are those of plain arrays to the last bit."""

import numpy as np
import pytest
from sklearn.base import clone

from support.all_scorers import EXAMPLES
from support.held import NAMES, PLAIN, TASK, WAYS
from vilu_sdk.evaluation import evaluate
from vilu_sdk.labels import find_label_issues
from vilu_sdk.scale import score_partition
from vilu_sdk.selective import CoveragePredictor, SetPredictor, ShiftMonitor

NEW = slice(60, 120)


def said(scorer, z_img, z_txt, labels, *, issues):
    """All that can be asked of a scorer, fitted on the one half and asked about the other."""
    scorer = clone(scorer).fit(z_img[0], z_txt, labels[0])
    new, known = z_img[1], labels[1]
    verbs = ["predict", "predict_uncertainty", "decision_function", "novelty"]
    verbs += [verb for verb in ("predict_proba", "predict_log_proba") if hasattr(scorer, verb)]
    found = {verb: getattr(scorer, verb)(new, z_txt) for verb in verbs}
    judgement = scorer.judge(new, z_txt)
    found |= {field: getattr(judgement, field) for field in ("answer", "answer_uncertainty", "novelty")}
    if hasattr(scorer, "explain"):
        explained = scorer.explain(new, z_txt, 2)
        found |= {"competitors": explained.competitors, "contributions": [*explained.contributions.values()]}
    bound = scorer.bind(z_txt)
    found |= {"ranked": bound.rank_uncertainty(TASK.z_img[NEW]), "columns": bound.predict_proba(TASK.z_img)}
    found["failures"] = bound.find_failures(TASK.z_img[NEW], known)
    again = clone(scorer).bind(z_txt).fit(TASK.z_img[:60], labels[0])
    found["bound"] = again.rank_uncertainty(TASK.z_img[NEW])
    half = CoveragePredictor(scorer, 0.5).fit(new, z_txt, known)
    found |= {"accepted": half.accept(new, z_txt), "kept or not": half.predict(new, z_txt)}
    found["auc"] = [evaluate(scorer, new, z_txt, known)["auc"]]
    if hasattr(scorer, "predict_proba"):
        found["sets"] = SetPredictor(scorer, 0.8).fit(new, z_txt, known).predict_sets(new, z_txt)
    monitor = ShiftMonitor(scorer, n_permutations=39, random_state=0).fit(new, z_txt)
    found["monitor"] = monitor.decision_
    scored = score_partition({"z": TASK.z_img[NEW]}, scorer, z_txt)
    found |= {"partition": scored["uncertainty"], "rows": scored["prediction"]}
    if issues and hasattr(scorer, "predict_proba"):
        found["labels"] = find_label_issues(z_img[0], z_txt, labels[0], scorer=scorer).score
    return found


def halves(hold, values):
    return hold(values[:60]), hold(values[NEW])


KNOWN = {}


def expected(scorer, plain, issues):
    key = repr(scorer), plain, issues
    if key not in KNOWN:
        arrays = halves(lambda values: values, TASK.z_img), PLAIN[plain], halves(lambda y: y, TASK.labels)
        KNOWN[key] = said(scorer, *arrays, issues=issues)
    return KNOWN[key]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("scorer", EXAMPLES)
def test_scores_are_the_same_to_the_last_bit(scorer, way):
    held = WAYS[way]
    issues = way in ("a mapping, names in a list", "columns of a data set")
    found = said(
        scorer,
        halves(held.images, TASK.z_img),
        held.texts(TASK.z_txt),
        halves(held.labels, TASK.labels),
        issues=issues,
    )
    for what, values in expected(scorer, held.plain, issues).items():
        np.testing.assert_array_equal(found[what], values, err_msg=what)


@pytest.mark.parametrize("scorer", EXAMPLES)
def test_names_come_out_and_a_fitted_head_keeps_them(scorer, tmp_path):
    z_txt = dict(zip(NAMES, TASK.z_txt, strict=True))
    labels = [NAMES[label] for label in TASK.labels]
    scorer = clone(scorer).fit(TASK.z_img, z_txt, labels)
    predicted = [NAMES[row] for row in scorer.predict(TASK.z_img, TASK.z_txt)]
    assert [row["prediction"] for row in scorer.judge(TASK.z_img, z_txt).to_dicts()] == predicted
    assert [row["prediction"] for row in scorer.judge(TASK.z_img, TASK.z_txt).to_dicts()] != predicted
    bound = scorer.bind(z_txt)
    assert bound.classes_.tolist() == NAMES
    assert bound.predict(TASK.z_img).tolist() == predicted
    assert clone(scorer).bind(z_txt).fit(TASK.z_img, labels).predict(TASK.z_img).tolist() == predicted
    assert score_partition({"z": TASK.z_img}, scorer, z_txt)["name"].tolist() == predicted
    scorer.save_pretrained(tmp_path)
    again = type(scorer).from_pretrained(tmp_path)
    assert again.names_ == scorer.names_ == (NAMES if scorer.learns else None)
    if scorer.learns:
        assert scorer.fit(TASK.z_img, TASK.z_txt, TASK.labels).names_ is None


@pytest.mark.parametrize("scorer", [one for one in EXAMPLES if one.values[0].fixed_candidates])
def test_who_knows_the_candidates_of_the_fit_alone_knows_them_by_name(scorer):
    z_txt = dict(zip(NAMES, TASK.z_txt, strict=True))
    scorer = clone(scorer).fit(TASK.z_img, z_txt, TASK.labels)
    swapped = dict(zip(NAMES[::-1], TASK.z_txt[::-1], strict=True))
    with pytest.raises(ValueError, match="'owl' in row 0, where the fit had 'cat'"):
        scorer.predict_uncertainty(TASK.z_img, swapped)
