"""What carries over to candidates never seen in training."""

import torch
from sklearn.cluster import KMeans
from torch import Tensor
from torch.nn.functional import normalize

from vilu_sdk.inputs.precision import working
from vilu_sdk.scorers.posterior.densities import TextDensities
from vilu_sdk.scorers.posterior.gaussians import ClassGaussians
from vilu_sdk.scorers.posterior.moments import Moments
from vilu_sdk.scorers.posterior.training_data import TrainingData
from vilu_sdk.scorers.posterior.weights import Outcomes, fit_weights

# Two texts of squared distance below this are one text that was stored at another precision.
SAME_TEXT = 2e-4
CLUSTERS = 3
# Elements of the array of images × classes on which the weight of new texts is chosen.
ELEMENTS = 4_000_000
# Gaussians of new texts: means by their texts alone, so a broad covariance and a strong prior.
SHRINKAGE, PRIOR_IMAGES = 0.6, 8.0
# Ceiling of their weight per nat of the base: what is gained within one set overstates it elsewhere.
MAX_WEIGHT = 0.02


def are_same(cosines: Tensor) -> Tensor:
    """Whether two texts are one, by their cosine."""
    return cosines > 1 - SAME_TEXT / 2


def match_texts(text: Tensor, known: Tensor) -> Tensor:
    """Return for each text (J, d) the row of `known` (K, d) that it is, or -1; equal ones in their order."""
    if torch.equal(text, known):
        return torch.arange(len(text))
    cosines = text @ known.T
    same = are_same(cosines)
    match = torch.full((len(text),), -1)
    taken = torch.zeros(len(known), dtype=torch.bool)
    for j in torch.nonzero(same.any(dim=1))[:, 0].tolist():
        options = torch.where(same[j], cosines[j], -torch.inf)
        fresh = torch.where(taken, -torch.inf, options)
        match[j] = (fresh if torch.isfinite(fresh).any() else options).argmax()
        taken[match[j]] = True
    return match


def text_keys(text: Tensor, key: Tensor) -> Tensor:
    """Return keys (J, m), of norm 1, by which texts (J, d) are told apart; see `match_texts`."""
    return normalize(text @ key, dim=1)


def transferred_weight(
    data: TrainingData,
    prior_images: float = PRIOR_IMAGES,
    shrinkage: float = SHRINKAGE,
    ceiling: float = MAX_WEIGHT,
) -> float:
    """Weight of the text-predicted Gaussians, relative to the base, among texts never seen."""
    x, base, labels, text, groups = data.x, data.base, data.labels, data.text, data.groups
    weights = data.weights
    n, k = base.shape
    if k < 2 * CLUSTERS or len(torch.unique(text, dim=0)) < CLUSTERS:
        return 0.0
    cap = max(1000, ELEMENTS // k)
    if n > cap:
        some = torch.linspace(0, n - 1, cap).long()
        x, base, labels, groups, weights = x[some], base[some], labels[some], groups[some], weights[some]
    clusters = torch.from_numpy(KMeans(CLUSTERS, n_init=3, random_state=0).fit_predict(text.double().numpy()))
    dtype = working()
    outcomes = []
    # Another class set looks like a cluster of similar texts that was left out, scored among itself.
    for cluster in range(CLUSTERS):
        out, rest = torch.nonzero(clusters == cluster)[:, 0], torch.nonzero(clusters != cluster)[:, 0]
        rows = (clusters == cluster)[labels]
        seen = ~rows & ~torch.isin(groups, groups[rows])
        if len(out) < 2 or rows.sum() < 2 or seen.sum() < 2:
            continue
        place = torch.empty(k, dtype=torch.int64)  # of each class among those of its side
        place[out], place[rest] = torch.arange(len(out)), torch.arange(len(rest))
        moments = Moments.gather([(x[seen], place[labels[seen]], weights[seen])], len(rest))
        fitted = ClassGaussians(moments, text[rest], prior_images).whiten(shrinkage)
        unknown = torch.full((len(out),), -1)
        scores = TextDensities.of(fitted).among(text[out], unknown)(x[rows].to(dtype))
        sources = [base[rows][:, out], scores.to(base)]
        outcomes.append(Outcomes.of(sources, place[labels[rows]], None, weights[rows]))
    if not outcomes:
        return 0.0
    (base_weight, weight), _ = fit_weights(outcomes, [1e-6, 1e-6])
    return min(float(weight / base_weight), ceiling)
