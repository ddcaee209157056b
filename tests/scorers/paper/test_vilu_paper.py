"""ViLU as published and LVU: parity with the authors' module, and properties of the method."""

import json
import math
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from support.paths import GOLDEN
from vilu_sdk import LVUScorer, MCMScorer, PaperRecipe, ViLUEstimator
from vilu_sdk.inputs.precision import in_float64
from vilu_sdk.inputs.task import check_task
from vilu_sdk.scorers.paper.confidence import train_confidence
from vilu_sdk.scorers.paper.head import CrossAttention, ViLUHead
from vilu_sdk.scorers.paper.recipe import PaperModel
from vilu_sdk.training.sgd import SGD, bce_loss, failure_weights

# Outputs of the authors' module (github.com/ykrmm/ViLU, e4bf572) in float64.
GOLDEN = json.loads((GOLDEN / "vilu_official.json").read_text())
SCALE = 10.0
PRECISIONS = [(torch.float64, 1e-9), (torch.float32, 1e-5)]


@pytest.fixture(params=PRECISIONS, ids=["float64", "float32"])
def tolerance(request):
    dtype, tolerance = request.param
    with in_float64() if dtype == torch.float64 else nullcontext():
        yield tolerance


def golden_head(name="full", **options):
    official = {k: torch.tensor(v) for k, v in GOLDEN["forward"][name]["state_dict"].items()}
    head = ViLUHead(
        8,
        (16, 8, 4),
        attention_scale=SCALE if "in_proj_v.weight" in official else None,
        predicted=name in ("full", "visual_pred"),
        **options,
    )
    head.load_state_dict({k if "mlp" in k else f"attention.{k}": v for k, v in official.items()})
    return head.eval()


@pytest.mark.parametrize("name", ["full", "visual_only", "visual_pred", "visual_attention"])
@pytest.mark.parametrize("branch", ["identity", "projected"])
def test_forward_matches_the_official_module(tolerance, name, branch):
    head = golden_head(name)
    if head.attention is not None:
        head.attention.frozen = branch == "identity"
    estimator = ViLUEstimator(recipe="paper", logit_scale=SCALE)
    estimator.model_ = PaperModel(head, SCALE, 0.0, "correct", "adaptive", torch.empty(0))
    estimator.n_features_in_ = 8
    uncertainty = estimator.decision_function(GOLDEN["z_img"], GOLDEN["z_txt"])
    expected = GOLDEN["forward"][name][f"output_{branch}_branch"]
    np.testing.assert_allclose(-uncertainty, expected, rtol=0, atol=tolerance)


def golden_training(**options):
    recorded = GOLDEN["training"]
    head = golden_head(**options)
    head.load_state_dict(
        {f"attention.{k}": torch.tensor(v) for k, v in recorded["initial_state_dict"].items()}, strict=False
    )
    task = check_task(recorded["z_img"], GOLDEN["z_txt"], recorded["labels"])
    settings = SGD(
        epochs=recorded["epochs"],
        batch_size=recorded["batch_size"],
        learning_rate=recorded["base_lr"],
        momentum=recorded["momentum"],
        weight_decay=recorded["weight_decay"],
    )
    history = train_confidence(
        head, task, SCALE, settings, None, target="correct", weighting="adaptive",
        freeze_steps=recorded["n_iter_freeze_proj"],
    )  # fmt: skip
    return head, task, history


def test_training_matches_the_official_trajectory(tolerance):
    recorded = GOLDEN["training"]
    head, task, history = golden_training(legacy_freeze_decay=True)
    np.testing.assert_allclose(history, recorded["loss_per_step"], rtol=0, atol=tolerance)
    np.testing.assert_allclose(
        head.attention.in_proj_v.weight.detach(), recorded["final_in_proj_v"], rtol=0, atol=tolerance
    )
    z = task.images.read()
    confidence = head(z, task.text, SCALE * z @ task.text.T).detach()
    np.testing.assert_allclose(confidence, recorded["final_confidence_logits"], rtol=0, atol=tolerance)


def test_learning_rates_match_the_official_schedule():
    settings = SGD(epochs=4, batch_size=8, learning_rate=0.05)
    rates = [settings.rate(epoch) for epoch in range(4)]
    np.testing.assert_allclose(rates, GOLDEN["training"]["lr_per_epoch"], rtol=1e-15)
    long = SGD(epochs=800, batch_size=128, learning_rate=0.01)
    expected = [0.001, 0.0028, 0.0045999, 0.0063998, 0.0081995, 0.009999, 0.0099986]
    np.testing.assert_allclose([long.rate(e) for e in range(7)], expected, atol=5e-8)


def test_a_frozen_projection_decays_only_in_the_legacy_mode():
    def frozen_diagonal(legacy):
        head = ViLUHead(8, (4,), attention_scale=SCALE, legacy_freeze_decay=legacy)
        task = check_task(GOLDEN["training"]["z_img"], GOLDEN["z_txt"], GOLDEN["training"]["labels"])
        settings = SGD(epochs=3, batch_size=8, learning_rate=0.05)
        train_confidence(
            head, task, SCALE, settings, None, target="correct", weighting="static", freeze_steps=10**6
        )
        return head.attention.in_proj_v.weight.diagonal().detach()

    torch.testing.assert_close(frozen_diagonal(False), torch.ones(8))
    assert (frozen_diagonal(True) < 1).all()


def test_parameter_counts_of_the_published_head():
    def count(d):
        return sum(p.numel() for p in ViLUHead(d, attention_scale=100.0).parameters())

    assert count(512) == 1_475_585
    assert count(768) == 2_524_161
    lvu = ViLUHead(512, attention_scale=None, predicted=False)
    assert sum(p.numel() for p in lvu.parameters()) == 427_009


@pytest.mark.parametrize(
    ("right", "weight"), [(0, 0.0), (5, math.log(2)), (8, 1.609438), (9, 2.302585), (10, None)]
)
def test_adaptive_weight_is_minus_log_of_the_failure_rate(right, weight):
    correct = torch.arange(10) < right
    weights = failure_weights(correct, "adaptive")
    assert torch.isfinite(weights).all()
    assert (weights[correct] == 1).all()
    if weight is not None:
        torch.testing.assert_close(weights[~correct], torch.full((10 - right,), weight))


def test_swapping_targets_and_sign_gives_the_same_loss():
    logits, correct = torch.randn(50, generator=torch.Generator().manual_seed(0)), torch.arange(50) % 3 > 0
    torch.testing.assert_close(bce_loss(logits, correct, "static"), bce_loss(-logits, ~correct, "static"))


@pytest.mark.parametrize("weighting", ["static", "adaptive"])
def test_the_optimum_on_constant_features_is_the_weighted_failure_rate(weighting):
    correct = torch.arange(100) >= 20
    logit = torch.zeros((), requires_grad=True)
    optimiser = torch.optim.LBFGS([logit], line_search_fn="strong_wolfe", max_iter=100, tolerance_grad=1e-9)

    def closure():
        optimiser.zero_grad()
        loss = bce_loss(logit.expand(100), correct, weighting)
        loss.backward()
        return loss

    optimiser.step(closure)
    w = 1.0 if weighting == "static" else -math.log(0.2)
    expected = w * 0.2 / (w * 0.2 + 0.8)
    assert float(torch.sigmoid(-logit.detach())) == pytest.approx(expected, abs=1e-4)


def test_the_fresh_attention_reads_out_the_zero_shot_average():
    generator = torch.Generator().manual_seed(1)
    z = torch.nn.functional.normalize(torch.randn(9, 16, generator=generator))
    text = torch.nn.functional.normalize(torch.randn(5, 16, generator=generator))
    attention = CrossAttention(16, 20.0)
    torch.testing.assert_close(attention(z, text), torch.softmax(20 * z @ text.T, 1) @ text)


@pytest.fixture(scope="module")
def fitted(toy):
    recipe = PaperRecipe(epochs=3, batch_size=64, hidden=(32, 16), learning_rate=0.05)
    return ViLUEstimator(recipe=recipe, logit_scale=20.0, random_state=0).fit(
        toy.z_img, toy.z_txt, toy.labels
    )


def test_permuting_candidates_changes_nothing(fitted, toy):
    order = np.random.default_rng(0).permutation(len(toy.z_txt))
    np.testing.assert_allclose(
        fitted.decision_function(toy.z_img, toy.z_txt[order]),
        fitted.decision_function(toy.z_img, toy.z_txt),
        atol=1e-5,
    )


def test_a_score_does_not_depend_on_the_other_images(fitted, toy):
    whole = fitted.decision_function(toy.z_img, toy.z_txt)
    single = [fitted.decision_function(toy.z_img[i : i + 1], toy.z_txt)[0] for i in range(5)]
    np.testing.assert_allclose(single, whole[:5], atol=1e-5)


def test_duplicating_a_candidate_changes_the_score(fitted, toy):
    doubled = np.vstack([toy.z_txt, toy.z_txt[:1]])
    gap = fitted.decision_function(toy.z_img, doubled) - fitted.decision_function(toy.z_img, toy.z_txt)
    assert np.abs(gap).max() > 1e-4


def test_any_number_of_candidates_is_scored(fitted, toy):
    for k in (1, 2, 30):
        text = np.random.default_rng(k).normal(size=(k, toy.z_txt.shape[1]))
        assert np.isfinite(fitted.decision_function(toy.z_img, text)).all()


def test_fitting_is_deterministic_and_leaves_the_global_generators_alone(toy):
    recipe = PaperRecipe(epochs=2, hidden=(8,))
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002 - the legacy global state is what must not move
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    scores = [
        ViLUEstimator(recipe=recipe, random_state=3)
        .fit(toy.z_img, toy.z_txt, toy.labels)
        .decision_function(toy.z_img, toy.z_txt)
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*scores)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002


@pytest.mark.parametrize(
    "options",
    [
        {"attention": False},
        {"predicted": False},
        {"attention": False, "predicted": False},
        {"mcm_input": True},
        {"target": "tcp"},
        {"target": "tcp", "weighting": "static"},
        {"weighting": "static"},
        {"attention_scale": "sqrt_d"},
        {"tied_values": False},
        {"hidden": ()},
        {"hidden": (16, 16, 16, 16)},
        {"freeze_steps": 0},
        {"legacy_freeze_decay": True},
        {"calibrated": True},
    ],
    ids=str,
)
def test_every_variant_of_the_paper_trains(toy, options):
    recipe = PaperRecipe(**({"epochs": 2, "hidden": (16,)} | options))
    estimator = ViLUEstimator(recipe=recipe, random_state=0).fit(toy.z_img, toy.z_txt, toy.labels)
    assert np.isfinite(estimator.decision_function(toy.z_img, toy.z_txt)).all()
    assert torch.isfinite(estimator.model_.loss_curve).all()


def test_calibrating_moves_probabilities_and_not_the_ranking(toy):
    def fit(calibrated):
        recipe = PaperRecipe(epochs=2, hidden=(16,), calibrated=calibrated)
        return ViLUEstimator(recipe=recipe, logit_scale=20.0, random_state=0).fit(
            toy.z_img, toy.z_txt, toy.labels
        )

    plain, calibrated = fit(False), fit(True)
    gap = plain.decision_function(toy.z_img, toy.z_txt) - calibrated.decision_function(toy.z_img, toy.z_txt)
    failure_rate = np.mean(plain.predict(toy.z_img, toy.z_txt) != toy.labels)
    np.testing.assert_allclose(gap, math.log(-math.log(failure_rate)), atol=1e-4)


def test_captions_train_on_the_candidates_of_the_batch(toy):
    captions = toy.z_txt[toy.labels] + 0.3 * np.random.default_rng(0).normal(size=toy.z_img.shape)
    recipe = PaperRecipe(epochs=2, hidden=(16,), batch_size=64)
    estimator = ViLUEstimator(recipe=recipe, random_state=0).fit(toy.z_img, captions)
    assert np.isfinite(estimator.decision_function(toy.z_img[:50], captions[:50])).all()


@pytest.mark.parametrize("outcome", [True, False])
def test_all_right_and_all_wrong_feedback_stay_finite(toy, outcome):
    correct = np.full(len(toy.z_img), outcome)
    recipe = PaperRecipe(epochs=2, hidden=(8,), calibrated=True)
    estimator = ViLUEstimator(recipe=recipe, random_state=0).fit(toy.z_img, toy.z_txt, correct=correct)
    assert np.isfinite(estimator.decision_function(toy.z_img, toy.z_txt)).all()


@pytest.mark.parametrize("target", ["tcp", "correct"])
def test_lvu_sees_the_image_alone(toy, target):
    scorer = LVUScorer(target=target, epochs=2, hidden=(16,), random_state=0)
    scorer.fit(toy.z_img, toy.z_txt, toy.labels)
    np.testing.assert_array_equal(
        scorer.decision_function(toy.z_img, toy.z_txt), scorer.decision_function(toy.z_img, toy.z_txt[:1])
    )
    assert scorer.is_probability == (target == "correct")


def test_lvu_on_a_constant_target_learns_that_target():
    # Every image sits on its class text: the true-class probability is the same for all.
    z_txt = np.eye(4)
    labels = np.tile(np.arange(4), 32)
    scorer = LVUScorer(
        logit_scale=2.0, hidden=(16,), epochs=100, batch_size=16, learning_rate=0.5, weight_decay=0.0,
        random_state=0,
    ).fit(z_txt[labels], z_txt, labels)  # fmt: skip
    target = math.exp(2) / (math.exp(2) + 3)
    np.testing.assert_allclose(scorer.predict_uncertainty(z_txt, z_txt), 1 - target, atol=0.01)


def test_tcp_separates_right_from_wrong_at_the_extremes(toy):
    p = 1 - MCMScorer(logit_scale=20.0).predict_uncertainty(toy.z_img, toy.z_txt)
    wrong = MCMScorer().predict(toy.z_img, toy.z_txt) != toy.labels
    # A wrong image's true class has at most 1 - p, so a true-class probability above 1/2 means right.
    assert (1 - p[wrong] <= 1 - 1 / len(toy.z_txt)).all()


@pytest.mark.parametrize("scorer", [LVUScorer(), ViLUEstimator(recipe=PaperRecipe(target="tcp"))])
def test_regressing_on_the_true_class_needs_labels(toy, scorer):
    with pytest.raises(ValueError, match="regresses on the probability"):
        scorer.fit(toy.z_img, toy.z_txt, correct=toy.labels == 0)


@pytest.mark.parametrize(
    "options",
    [
        {"target": "right"}, {"weighting": "adaptative"}, {"attention_scale": 3}, {"epochs": 0},
        {"learning_rate": -1.0},
    ],
)  # fmt: skip
def test_a_wrong_option_is_named(toy, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        ViLUEstimator(recipe=PaperRecipe(**options)).fit(toy.z_img, toy.z_txt, toy.labels)


@pytest.mark.parametrize("scale", ["logit_scale", "sqrt_d"])
@pytest.mark.parametrize("tied", [True, False])
def test_training_and_scores_are_those_of_equation_5_in_plain_torch(toy, tied, scale):
    """With values of their own at 1/√d the attention is the paper's Equation 5."""
    with in_float64():
        z, text = (torch.nn.functional.normalize(torch.tensor(x).double()) for x in (toy.z_img, toy.z_txt))
        labels, d = torch.tensor(toy.labels), z.shape[1]
        factor = 20.0 if scale == "logit_scale" else d**-0.5
        torch.manual_seed(0)
        head = ViLUHead(d, (6,), attention_scale=factor, tied_values=tied)
        w_q, w_k = (torch.eye(d).requires_grad_() for _ in range(2))
        w_v = w_k if tied else torch.eye(d).requires_grad_()
        mlp = torch.nn.Sequential(torch.nn.Linear(3 * d, 6), torch.nn.ReLU(), torch.nn.Linear(6, 1))
        mlp.load_state_dict(head.mlp.state_dict())

        def plain(z):
            weights = torch.softmax(factor * (z @ w_q.T) @ (text @ w_k.T).T, dim=1)
            predicted = text[(z @ text.T).argmax(dim=1)]
            return mlp(torch.cat([z, weights @ (text @ w_v.T), predicted], dim=1))[:, 0]

        rows, settings = len(z) // 4, SGD(epochs=2, batch_size=len(z) // 4, learning_rate=0.05)
        leaves = [w_q, w_k, *([] if tied else [w_v]), *mlp.parameters()]
        optimiser = torch.optim.SGD(leaves, lr=1.0, momentum=0.9, weight_decay=5e-4)
        expected = []
        for step in range(8):
            batch = slice(step % 4 * rows, (step % 4 + 1) * rows)
            right = (z[batch] @ text.T).argmax(dim=1) == labels[batch]
            weight = torch.where(right, 1.0, -torch.log((~right).double().mean()))
            losses = torch.nn.functional.softplus(plain(z[batch]) * (1 - 2 * right.double()))
            optimiser.param_groups[0]["lr"] = settings.rate(step // 4)
            optimiser.zero_grad()
            (loss := (weight * losses).mean()).backward()
            optimiser.step()
            expected.append(float(loss.detach()))
        task = check_task(toy.z_img, toy.z_txt, toy.labels)
        history = train_confidence(
            head, task, 20.0, settings, None, target="correct", weighting="adaptive"
        )  # fmt: skip
        np.testing.assert_allclose(history, expected, rtol=1e-12)
        estimator = ViLUEstimator(recipe="paper", logit_scale=20.0)
        estimator.model_ = PaperModel(head, 20.0, 0.0, "correct", "adaptive", torch.empty(0))
        estimator.n_features_in_ = d
        with torch.no_grad():
            np.testing.assert_allclose(estimator.decision_function(z, text), -plain(z), atol=1e-12)


def test_a_bilinear_form_of_image_and_predicted_text_is_the_score_that_mcm_normalises(toy):
    """Supplement B.1: with M = I, zᵀ M t̂ is the largest cosine, and MCM is its softmax."""
    z, text = (torch.nn.functional.normalize(torch.tensor(x).double()) for x in (toy.z_img, toy.z_txt))
    form = torch.nn.Bilinear(z.shape[1], z.shape[1], 1, bias=False, dtype=torch.float64)
    with torch.no_grad():
        form.weight.copy_(torch.eye(z.shape[1])[None])
        mcm = MCMScorer(logit_scale=20.0)
        score = form(z, text[torch.tensor(mcm.predict(z, text))])[:, 0]
        cosines = z @ text.T
        u = 1 - torch.exp(20 * score - torch.logsumexp(20 * cosines, dim=1))
    torch.testing.assert_close(score, cosines.amax(dim=1))
    np.testing.assert_allclose(mcm.predict_uncertainty(toy.z_img, toy.z_txt), u, atol=1e-6)


def test_lvu_of_the_loss_learns_minus_log_p():
    z_txt = np.eye(4)
    labels = np.tile(np.arange(4), 32)
    scorer = LVUScorer(
        logit_scale=2.0, hidden=(16,), epochs=100, batch_size=16, learning_rate=0.2, weight_decay=0.0,
        target="loss", random_state=0,
    ).fit(z_txt[labels], z_txt, labels)  # fmt: skip
    np.testing.assert_allclose(
        scorer.predict_uncertainty(z_txt, z_txt), math.log(math.exp(2) + 3) - 2, atol=0.01
    )
    assert not scorer.is_probability
