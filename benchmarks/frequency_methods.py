"""Ways to estimate class frequencies from unlabelled images, side by side, as a Markdown table.

    python benchmarks/frequency_methods.py --embeddings FOLDER [--sets dtd,imagenet] [--labels 500,all]

FOLDER holds .npz files as `benchmarks/_sets.py` reads them. An estimator is fitted on train rows and adapted
to test rows of some of the classes, as in `frequencies.py` beside it, each time with the frequencies that
another method estimates. Change of the AUC of failures in points, seeds averaged, the worst in brackets;
"EM, gate" is the column of `frequencies.py`.

- EM: the estimate of `adapt(frequencies="estimated")`, 3 pseudo-images a class, without and with a gate.
- MLLS: the likeliest frequencies, no prior (Saerens et al. 2002), and after bias-corrected temperature
  scaling, BCTS, on scores left out of the fit (Alexandari, Kundaje & Shrikumar, ICML 2020).
- BBSE: the confusion matrix C of predictions left out, solved for w in C w = mu, the predictions on the
  images; negative w are 0 (Lipton, Wang & Smola, ICML 2018). Soft: the same of mean posteriors.
- RLLS: w = 1 + theta, theta the least of |C theta - (mu - C 1)| + delta |theta| (Azizzadenesheli et al.,
  ICLR 2019), here with squares, which has the same path; delta falls with the root of the labels.
"""

import copy
from collections.abc import Callable
from functools import partial
from unittest import mock

import _sets
import numpy as np
import torch
from _sets import EmbeddingSet, by_labels
from frequencies import PRESENT, rows_of
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.metrics import roc_auc_score

from vilu_sdk import ViLUEstimator
from vilu_sdk.compute.random import seeded
from vilu_sdk.inputs.task import check_task
from vilu_sdk.scorers.posterior import adapt
from vilu_sdk.scorers.posterior.frequencies import LEAST_GAIN, estimate
from vilu_sdk.scorers.posterior.left_out import left_out

SETS = ("dtd", "stanford_cars", "imagenet", "cifar10_tower")
METHODS = ("EM", "EM, gate", "MLLS", "MLLS, BCTS", "BBSE", "BBSE, soft", "RLLS")
HEAD = ("set", "labels", "classes present", "AUC before", *METHODS)
# Ridge of the biases of BCTS, of which there are as many as classes; steps of its descent.
RIDGE, STEPS = 1.0, 100
LEAST = 1e-6

Array = NDArray[np.float64]
Ways = Callable[[Array], dict[str, Array]]


def bcts(log_p: Array, labels: NDArray[np.int64]) -> tuple[float, Array]:
    """Scale and biases (K,) under which labels (n,) are likeliest."""
    logits, known = torch.from_numpy(log_p), torch.from_numpy(labels)
    scale = torch.ones(1, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(logits.shape[1], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([scale, bias], max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        found = torch.nn.functional.cross_entropy(scale * logits + bias, known, reduction="sum")
        found = found + 0.5 * RIDGE * bias.square().sum()
        found.backward()  # type: ignore[no-untyped-call]
        return found

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    return float(scale.detach()), bias.detach().numpy()


def confusion(said: Array, labels: NDArray[np.int64]) -> Array:
    """Joint frequencies (K, K) of what is said, in rows, and what is true."""
    matrix = np.zeros((said.shape[1], said.shape[1]))
    np.add.at(matrix.T, labels, said)
    return matrix / len(labels)


def weights_of(log_p: Array, labels: NDArray[np.int64], stream: Array) -> dict[str, Array]:
    """Logarithms of weights (K,) by each way, from left-out posteriors (n, K) and those of the stream."""
    k = log_p.shape[1]

    def likeliest(logits: Array, prior: float | None) -> tuple[Array, float]:
        q = torch.from_numpy(logits)
        log_share, gain = estimate(q) if prior is None else estimate(q, prior=prior)
        return log_share.numpy(), gain

    em, gain = likeliest(stream, None)
    scale, bias = bcts(log_p, labels)
    hard = [np.eye(k)[values.argmax(axis=1)] for values in (log_p, stream)]
    soft = [np.exp(values) for values in (log_p, stream)]
    found = {
        "EM": em,
        "EM, gate": em if gain >= LEAST_GAIN else np.zeros(k),
        "MLLS": likeliest(stream, 0.0)[0],
        "MLLS, BCTS": likeliest(log_softmax(scale * stream + bias, axis=1), 0.0)[0] + bias,
    }
    for name, (there, here) in (("BBSE", hard), ("BBSE, soft", soft)):
        matrix = confusion(there, labels)
        solved = np.linalg.lstsq(matrix, here.mean(axis=0), rcond=None)[0]
        found[name] = np.log(np.clip(solved, LEAST, None))
    matrix = confusion(hard[0], labels)
    rest = hard[1].mean(axis=0) - matrix.sum(axis=1)
    size = np.square(np.linalg.norm(matrix, 2)) / len(labels) ** 0.5
    theta = np.linalg.solve(matrix.T @ matrix + size * np.eye(k), matrix.T @ rest)
    return found | {"RLLS": np.log(np.clip(1 + theta, LEAST, None))}


def change(fitted: ViLUEstimator, images: Array, z_txt: Array, wrong: NDArray[np.bool_], ways: Ways) -> Array:
    """Change of the AUC by each method (M,), where `adapt` takes the frequencies that it estimates."""
    before, found = roc_auc_score(wrong, fitted.decision_function(images, z_txt)), []
    for name in METHODS:

        def intercepts(q: torch.Tensor, _: object, sharpness: float, name: str = name) -> torch.Tensor:
            weights = ways(log_softmax(sharpness * q.double().numpy(), axis=1))[name]
            return torch.from_numpy((weights - weights.mean()) / sharpness).to(q)

        with mock.patch.object(adapt, "intercepts", intercepts):
            moved = copy.copy(fitted).adapt(images, z_txt, frequencies="estimated")
        found.append(roc_auc_score(wrong, moved.decision_function(images, z_txt)) - before)
    return np.array([before, *found])


def measure(data: EmbeddingSet, n: int | None, seed: int) -> dict[str, Array]:
    (z_img, z_txt, labels), (test, _, known) = data.train, data.test
    rows = np.random.default_rng(seed).permutation(len(labels))[:n]
    images, labels = z_img[rows], labels[rows]
    fitted = ViLUEstimator(logit_scale=data.logit_scale, random_state=seed).fit(images, z_txt, labels)
    task = check_task(images, z_txt, labels)
    parts = list(left_out(task, data.logit_scale, seeded(seed)))
    left = np.concatenate([part.numpy() for _, part in parts])
    true = labels[np.concatenate([part.numpy() for part, _ in parts])]
    found = {}
    for kind in PRESENT:
        chosen = rows_of(kind, known, len(z_txt), seed)
        wrong = fitted.predict(test[chosen], z_txt) != known[chosen]
        found[kind] = change(fitted, test[chosen], z_txt, wrong, partial(weights_of, left, true))
    return found


def main() -> None:
    parser = _sets.parser(__doc__, SETS)
    for name, size, runs in by_labels(parser, HEAD, measure, labels="500,all", seeds=2):
        for kind in PRESENT:
            values = 100 * np.array([run[kind] for run in runs])
            cells = [
                f"{mean:+.1f} ({worst:+.1f})"
                for mean, worst in zip(values.mean(axis=0)[1:], values.min(axis=0)[1:], strict=True)
            ]
            row = " | ".join([name, size, kind, f"{values[:, 0].mean():.1f}", *cells])
            print(f"| {row} |", flush=True)


if __name__ == "__main__":
    main()
