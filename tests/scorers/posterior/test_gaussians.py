"""Class Gaussians of the default recipe: moments, exact leave-one-out scores, densities, kernel."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from support.data import draw_task
from vilu_sdk import MCMScorer
from vilu_sdk.compute.tiles import Logits
from vilu_sdk.inputs.precision import in_float64
from vilu_sdk.inputs.task import check_task
from vilu_sdk.scorers.posterior.classes import learn_blend
from vilu_sdk.scorers.posterior.densities import TextDensities
from vilu_sdk.scorers.posterior.gaussians import ClassGaussians, try_gaussians
from vilu_sdk.scorers.posterior.kernel import nystroem_root, times_upper
from vilu_sdk.scorers.posterior.moments import Moments
from vilu_sdk.scorers.posterior.parts import WIDTH, KernelLogits, rbf_kernel

K, D, N = 5, 4, 40
SHRINKAGE, PRIOR_IMAGES = 0.3, 2.0


@pytest.fixture(scope="module")
def data():
    """Class 3 has no image and class 4 a single one."""
    rng = np.random.default_rng(0)
    text = rng.normal(size=(K, D))
    labels = rng.integers(3, size=N)
    labels[7] = 4
    x = 0.5 * text[labels] + rng.normal(size=(N, D)) + 3.0
    return SimpleNamespace(text=torch.tensor(text), labels=torch.tensor(labels), x=torch.tensor(x))


def gaussians(data, shared_prior=0.5, text=True):
    moments = Moments.gather([(data.x, data.labels)], K)
    fitted = ClassGaussians(moments, data.text if text else None, PRIOR_IMAGES, shared_prior)
    return fitted.whiten(SHRINKAGE)


def left_out(fitted, data):
    return fitted.leave_groups_out(data.x, data.labels, torch.arange(N), torch.ones(N))


def up_to_a_row_constant(scores):
    scores = np.asarray(scores)
    return scores - scores[:, :1]


# --- moments ---------------------------------------------------------------------------------------


def test_moments_equal_numpy_and_do_not_depend_on_the_chunks(data):
    x, labels = data.x.numpy(), data.labels.numpy()
    centred = x - x.mean(axis=0)
    for cuts in ([N], [1, N - 1], [13, 13, 14]):
        chunks = zip(data.x.split(cuts), data.labels.split(cuts), strict=True)
        moments = Moments.gather(chunks, K)
        np.testing.assert_allclose(moments.centre, x.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(moments.counts, np.bincount(labels, minlength=K), rtol=1e-12)
        sums = [centred[labels == c].sum(axis=0) for c in range(K)]
        np.testing.assert_allclose(moments.sums, sums, atol=1e-12)
        np.testing.assert_allclose(moments.scatter, centred.T @ centred, rtol=1e-12, atol=1e-12)


def test_one_hot_assignments_are_labels(data):
    hard = Moments.gather([(data.x, data.labels)], K)
    one_hot = torch.nn.functional.one_hot(data.labels, K).double()
    soft = Moments.gather([(data.x[:9], one_hot[:9]), (data.x[9:], one_hot[9:])], K)
    for name in ("centre", "counts", "sums", "scatter"):
        torch.testing.assert_close(getattr(soft, name), getattr(hard, name), rtol=1e-12, atol=1e-12)


def test_single_precision_survives_a_mean_far_from_the_origin(data):
    far = data.x.float() + 1000
    moments = Moments.gather([(far[:20], data.labels[:20]), (far[20:], data.labels[20:])], K)
    exact = Moments.gather([(far.double(), data.labels)], K)
    assert moments.scatter.dtype == torch.float32
    np.testing.assert_allclose(moments.scatter, exact.scatter, rtol=1e-4, atol=1e-3)


# --- means -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared_prior", [0.0, 0.5, 0.9])
def test_a_class_without_images_has_the_mean_its_text_predicts(data, shared_prior):
    fitted = gaussians(data, shared_prior)
    predicted = (data.text[3] - fitted.text_centre) @ fitted.text_map
    torch.testing.assert_close(fitted.means[3], predicted, rtol=1e-10, atol=1e-10)
    assert fitted.variance_of_means[3] > fitted.variance_of_means[4] > fitted.variance_of_means[0]


def test_the_text_scale_is_found_and_never_negative(data):
    labels = torch.arange(K).repeat(6)
    for factor, expected in ((0.7, 0.7), (-0.7, 0.0)):
        moments = Moments.gather([(factor * data.text[labels], labels)], K)
        fitted = ClassGaussians(moments, data.text, PRIOR_IMAGES, shared_prior=0.0)
        torch.testing.assert_close(fitted.text_map, expected * torch.eye(D).double())


def test_many_images_overrule_the_text(data):
    x, labels = data.x.repeat(500, 1), data.labels.repeat(500)
    fitted = ClassGaussians(Moments.gather([(x, labels)], K), data.text, PRIOR_IMAGES)
    for c in (0, 1, 2, 4):
        torch.testing.assert_close(
            fitted.centre + fitted.means[c], data.x[data.labels == c].mean(dim=0), rtol=0, atol=0.02
        )


def test_no_shared_prior_is_a_limit_of_shared_ones(data):
    limit, unshared = gaussians(data, shared_prior=1e-9), gaussians(data, shared_prior=0.0)
    torch.testing.assert_close(limit.means, unshared.means, rtol=0, atol=1e-6)
    torch.testing.assert_close(limit.within, unshared.within, rtol=0, atol=1e-6)
    scores = [left_out(g, data) for g in (limit, unshared)]
    torch.testing.assert_close(*scores, rtol=0, atol=1e-5)


# --- scores ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize("shared_prior", [0.0, 0.5])
def test_scores_are_log_densities_up_to_a_row_constant(data, shared_prior, text):
    fitted = gaussians(data, shared_prior, text)
    covariance = (1 - SHRINKAGE) * fitted.within.numpy()
    covariance += SHRINKAGE * np.diag(fitted.within).mean() * np.eye(D)
    means = (fitted.centre + fitted.means).numpy()
    expected = [multivariate_normal(mean, covariance).logpdf(data.x.numpy()) for mean in means]
    with in_float64():
        scores = fitted.density(data.x)
    np.testing.assert_allclose(
        up_to_a_row_constant(scores), up_to_a_row_constant(np.transpose(expected)), atol=1e-9
    )
    np.testing.assert_allclose(fitted.precision, np.linalg.inv(covariance), rtol=1e-9, atol=1e-10)


def test_densities_of_texts_use_learned_means_where_known_and_predicted_ones_elsewhere(data):
    fitted = gaussians(data)
    densities = TextDensities.of(fitted)
    rng = np.random.default_rng(1)
    new = torch.tensor(rng.normal(size=(2, D)))
    text = torch.cat([new[:1], data.text[[2, 0]], new[1:]]).float()
    scores = densities.among(text, torch.tensor([-1, 2, 0, -1]))(data.x.float())
    covariance = np.linalg.inv(fitted.precision.numpy())
    predicted = (new - fitted.text_centre) @ fitted.text_map
    means = torch.stack([predicted[0], fitted.means[2], fitted.means[0], predicted[1]]) + fitted.centre
    # Half the expected squared distance that an unsure mean adds.
    spread = 0.5 * float((fitted.precision * fitted.within).sum())
    variances = [1 / PRIOR_IMAGES, fitted.variance_of_means[2], fitted.variance_of_means[0], 1 / PRIOR_IMAGES]
    expected = [
        multivariate_normal(mean, covariance).logpdf(data.x.numpy()) + spread * float(variance)
        for mean, variance in zip(means.numpy(), variances, strict=True)
    ]
    np.testing.assert_allclose(
        up_to_a_row_constant(scores), up_to_a_row_constant(np.transpose(expected)), atol=1e-3
    )


# --- leave groups out ------------------------------------------------------------------------------


def refit_without(rows, data, fitted, shared_prior, weights=None):
    """Means and covariance by penalised least squares on all rows but some, the plain way."""
    kept = ~np.isin(np.arange(N), rows)
    x = (data.x - fitted.centre).numpy()[kept]
    member = np.eye(K)[data.labels.numpy()[kept]]
    weights = np.ones(N) if weights is None else weights.numpy()
    n, w = weights.sum(), weights[kept, None]
    prior = np.zeros((K, D))
    kernel = np.eye(K)
    if shared_prior is not None:
        text = (data.text - fitted.text_centre).numpy()
        # The scale of texts stays what it was with all rows.
        moments = Moments.gather([(data.x, data.labels, torch.tensor(weights))], K)
        unshared = ClassGaussians(moments, data.text, PRIOR_IMAGES, 0.0)
        prior = float(unshared.text_map[0, 0]) * text
        gram = text @ text.T
        kernel = (1 - shared_prior) * np.eye(K) + shared_prior * gram / np.diag(gram).mean()
    precision = PRIOR_IMAGES * np.linalg.inv(kernel)
    means = np.linalg.solve(member.T @ (w * member) + precision, member.T @ (w * x) + precision @ prior)
    residual, shift = x - member @ means, means - prior
    # Divided by all n, and shrunk towards the size with all rows in.
    within = (residual.T @ (w * residual) + shift.T @ precision @ shift) / n
    size = float(fitted.within.diagonal().mean())
    return means, (1 - SHRINKAGE) * within + SHRINKAGE * size * np.eye(D)


GROUPS = {
    "each row by itself": lambda rng: np.arange(N),
    "pairs": lambda rng: np.arange(N) // 2,
    "of any size and classes": lambda rng: np.unique(rng.integers(12, size=N), return_inverse=True)[1],
    "more rows than dimensions": lambda rng: np.arange(N) // 16,
}


@pytest.mark.parametrize("groups", GROUPS.values(), ids=GROUPS)
@pytest.mark.parametrize("shared_prior", [None, 0.0, 0.5, 0.9])
@pytest.mark.parametrize("weighted", [False, True])
def test_left_out_scores_equal_refitting_without_the_group(data, shared_prior, groups, weighted):
    rng = np.random.default_rng(0)
    groups = torch.tensor(groups(rng))
    weights = torch.tensor(rng.uniform(0.2, 2.0, size=N)) if weighted else torch.ones(N).double()
    moments = Moments.gather([(data.x, data.labels, weights)], K)
    fitted = ClassGaussians(
        moments, None if shared_prior is None else data.text, PRIOR_IMAGES, shared_prior or 0.0
    ).whiten(SHRINKAGE)
    scores = fitted.leave_groups_out(data.x, data.labels, groups, weights).numpy()
    x = (data.x - fitted.centre).numpy()
    for group in range(int(groups.max()) + 1):
        rows = np.flatnonzero(groups == group)
        means, covariance = refit_without(rows, data, fitted, shared_prior, weights)
        directions = np.linalg.solve(covariance, means.T)
        expected = x[rows] @ directions - 0.5 * (means.T * directions).sum(axis=0)
        np.testing.assert_allclose(scores[rows], expected, rtol=1e-8, atol=1e-8)


def test_leave_one_out_is_close_to_refitting_everything():
    # Centre, text scale and covariance size move too, which the closed form leaves out.
    rng = np.random.default_rng(0)
    text = torch.tensor(rng.normal(size=(6, 8)))
    labels = torch.tensor(rng.integers(6, size=200))
    x = text[labels] + torch.tensor(rng.normal(size=(200, 8)))

    def fit(rows):
        return ClassGaussians(Moments.gather([(x[rows], labels[rows])], 6), text).whiten(SHRINKAGE)

    everything = fit(slice(None))
    closed = torch.softmax(everything.leave_groups_out(x, labels, torch.arange(200), torch.ones(200)), dim=1)
    in_sample = torch.softmax(everything.density(x.float()), dim=1)
    error = optimism = 0.0
    for row in range(0, 200, 5):
        rest = fit(torch.arange(200) != row)
        literal = torch.softmax(rest.density(x[row].float()[None]), dim=1)[0]
        error = max(error, float((closed[row] - literal).abs().max()))
        optimism = max(optimism, float((in_sample[row] - literal).abs().max()))
    assert error < 0.03 < optimism


@pytest.mark.parametrize("known", ["labels", "correct"])
@pytest.mark.parametrize(("n", "spread"), [(60, 0.9), (98, 0.9), (102, 0.3)])
def test_few_labels_are_not_asked_for_directions(known, n, spread):
    task = draw_task(n=n, k=20)
    predicted = MCMScorer().predict(task.z_img, task.z_txt)
    given = {known: task.labels if known == "labels" else predicted == task.labels}
    blend = learn_blend(check_task(task.z_img, task.z_txt, **given), 20.0, torch.Generator().manual_seed(0))
    tried = [fitted.gaussians.shrinkage for fitted in try_gaussians(blend)]
    assert min(tried) == (spread if known == "labels" else 0.3)
    assert 0.9 in tried


def test_a_lonely_image_left_out_scores_as_its_text_predicts(data):
    lonely = gaussians(data, shared_prior=0.0)
    own = left_out(lonely, data)[7, 4]
    prior = float(lonely.text_map[0, 0]) * (data.text[4] - lonely.text_centre)
    means, covariance = refit_without(7, data, lonely, 0.0)
    np.testing.assert_allclose(means[4], prior, atol=1e-12)
    x = (data.x[7] - lonely.centre).numpy()
    direction = np.linalg.solve(covariance, means[4])
    assert float(own) == pytest.approx(x @ direction - 0.5 * means[4] @ direction)


# --- kernel ----------------------------------------------------------------------------------------


def test_the_kernel_is_gaussian(data):
    centre, spread = data.x.mean(dim=0), 1.7
    near = rbf_kernel(data.x[:9], centre, spread)(data.x)
    distances = (data.x[:, None] - data.x[None, :9]).square().sum(dim=2)
    torch.testing.assert_close(near, torch.exp(-0.5 * WIDTH**2 * distances / spread**2))


def test_nystroem_features_reproduce_the_kernel(data):
    centre, spread = data.x.mean(dim=0), 1.7
    near = rbf_kernel(data.x, centre, spread)(data.x)
    features = near @ nystroem_root(data.x, centre, spread)
    torch.testing.assert_close(features @ features.T, near, rtol=0, atol=2e-4)


def test_kernel_scores_are_gaussians_in_those_features(data):
    centre, spread = data.x.mean(dim=0), 1.7
    landmarks = data.x[:12]
    root = nystroem_root(landmarks, centre, spread)
    features = rbf_kernel(landmarks, centre, spread)(data.x) @ root
    fitted = ClassGaussians(Moments.gather([(features, data.labels)], K), None).whiten(0.1)
    linear = fitted.density
    folded = Logits(root.float() @ linear.directions, linear.offsets)
    kernel = KernelLogits(landmarks.float(), centre.float(), torch.tensor(spread), folded)
    columns = torch.tensor([2, 0])
    torch.testing.assert_close(
        kernel.among(columns)(data.x.float()),
        linear.among(columns)(features.float()),
        rtol=1e-3,
        atol=1e-3,
    )


@pytest.mark.parametrize("d", [3, 256, 300, 600])
def test_moments_of_any_width_are_those_of_whole_products(d):
    generator = torch.Generator().manual_seed(d)
    x = torch.randn(40, d, dtype=torch.float64, generator=generator)
    weights = torch.rand(40, dtype=torch.float64, generator=generator)
    found = Moments.gather([(x, torch.arange(40) % 4, weights)], 4)
    away = x - (weights @ x) / weights.sum()
    torch.testing.assert_close(found.scatter, (weights[:, None] * away).T @ away)
    assert torch.equal(found.scatter, found.scatter.T)


@pytest.mark.parametrize("m", [5, 256, 700])
def test_a_triangular_product_leaves_out_zeros_alone(m):
    values = torch.randn(30, m, dtype=torch.float64, generator=torch.Generator().manual_seed(m))
    upper = torch.randn(m, m, dtype=torch.float64, generator=torch.Generator().manual_seed(m + 1)).triu()
    torch.testing.assert_close(times_upper(values, upper), values @ upper)
