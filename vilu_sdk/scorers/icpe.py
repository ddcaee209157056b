"""ICPE: how dense the images of the predicted class are where an image lies."""

from dataclasses import replace

import torch
from torch import Tensor

from vilu_sdk.compute.distributed import add_up, own_slices
from vilu_sdk.compute.posterior import Posterior
from vilu_sdk.compute.progress import track
from vilu_sdk.compute.softmax import mean_log_odds
from vilu_sdk.compute.tiles import Logits
from vilu_sdk.inputs.precision import working
from vilu_sdk.inputs.task import Task
from vilu_sdk.inputs.values import positive, whole
from vilu_sdk.scorers.base.among import Among, Chunk
from vilu_sdk.scorers.of_classes import ClassScorer, inverse_root, moments_of

# Share of the shared covariance that is spread evenly over all directions.
SHRINKAGE = 1e-3


class ICPEScorer(ClassScorer):
    r"""ICPE: the zero-shot probability of the prediction, and that by densities of images of the classes.

    .. math::
        u = 1 - \tfrac12 (p_{\hat\jmath} + q_{\hat\jmath}), \qquad
        q = \mathrm{softmax}_c \log \mathcal N(P x; \mu_c, \Sigma_c)

    with p the zero-shot softmax, :math:`\hat\jmath` its largest, P the first principal components of all
    images, and one Gaussian a class.

    Parameters
    ----------
    components : int
        How many principal components, at least 1; at most the width of embeddings are used.
    strength : float
        How many images the covariance within all classes counts for in that of each, above 0: a class of
        fewer images than components has none of its own that can be inverted.
    logit_scale : float
        The model's learnt scale s: 100 for CLIP.

    Attributes
    ----------
    centre_, components_ : Tensor of shape (d,) and (q, d)
        Mean of all images, and their principal components.
    means_, roots_ : Tensor of shape (K, q) and (K, q, q)
        Of the Gaussians, along the components: mean, and inverse Cholesky root of the covariance. A class
        without images has the Gaussian of all images.

    Notes
    -----
    It learns from labels; images of the label -1 are left out. Weighted images count, beside `strength`, for
    as many as they are worth (Kish's effective sample size). Scoring takes N K q² multiplications, memory and
    what is saved K q² numbers, 66 MB for 1,000 classes.

    References
    ----------
    Lin et al., "Intra-Class Probabilistic Embeddings for Uncertainty Estimation in Vision-Language Models",
    WACV 2026.

    Examples
    --------
    >>> import numpy as np
    >>> from vilu_sdk import ICPEScorer
    >>> rng = np.random.default_rng(0)
    >>> z_txt = np.eye(4)
    >>> labels = rng.integers(4, size=200)
    >>> z_img = z_txt[labels] + 0.1 * rng.normal(size=(200, 4))
    >>> scorer = ICPEScorer().fit(z_img, z_txt, labels)
    >>> sure, doubtful = scorer.predict_uncertainty(np.array([[1.0, 0, 0, 0], [0.6, 0.5, 0, 0]]), z_txt)
    >>> bool(doubtful > sure)
    True
    """

    has_posterior = True

    def __init__(self, *, components: int = 128, strength: float = 10.0, logit_scale: float = 100.0) -> None:
        self.components = components
        self.strength = strength
        self.logit_scale = logit_scale

    def _learn(self, task: Task) -> None:
        labels, weights = self._known(task)
        strength, q = (
            positive(self.strength, "strength"),
            min(whole(self.components, "components", 1), task.images.d),
        )
        moments = moments_of(task, labels, self.k_, weights)
        along = torch.linalg.eigh(moments.scatter).eigenvectors[:, -q:].flip(1)
        along = along * along.gather(0, along.abs().argmax(dim=0)[None]).sign()  # which is free otherwise
        n, counts = moments.counts.sum(), moments.counts
        means = (moments.sums / counts.clamp_min(1e-300)[:, None]) @ along
        within = along.T @ moments.within() @ along / n
        whole_scatter = along.T @ moments.scatter @ along
        own = torch.zeros(self.k_, q, q, dtype=torch.float64)  # sums of squares about the class's mean
        for rows in track(own_slices(task.images), "fitting Gaussians"):
            y = (task.images.read(rows).double() - moments.centre) @ along - means[labels[rows]]
            for c in torch.unique(labels[rows][weights[rows] > 0]):
                of_class = labels[rows] == c
                own[c] += (weights[rows][of_class, None] * y[of_class]).T @ y[of_class]
        add_up(own)
        dtype = working()
        self.centre_, self.components_, self.means_ = (x.to(dtype) for x in (moments.centre, along.T, means))
        self.roots_ = torch.stack(
            [
                inverse_root(
                    (own[c] + strength * within) / (counts[c] + strength)
                    if counts[c] > 0
                    else whole_scatter / n,
                    SHRINKAGE,
                ).to(dtype)
                for c in range(self.k_)
            ]
        )

    def _among(self, text: Tensor) -> Among:
        self._require_classes(text)
        log_dets = self.roots_.diagonal(dim1=1, dim2=2).log().sum(dim=1)

        def log_densities(z: Tensor) -> Tensor:
            y = (z - self.centre_) @ self.components_.T
            found = y.new_empty(len(y), len(text))
            for c, (mean, root) in enumerate(zip(self.means_, self.roots_, strict=True)):
                found[:, c] = log_dets[c] - 0.5 * ((y - mean) @ root.T).square().sum(dim=1)
            return found

        def decide(chunk: Chunk) -> Tensor:
            densities = Posterior(lambda: log_densities(chunk.z))
            return mean_log_odds(chunk.log_odds, densities.log_odds(chunk.prediction))

        logits = Logits.zero_shot(text, self.softmax_scale)
        among = Among.linear(text, logits, decision=decide, top_is_prediction=True)
        return replace(among, width=len(text))
