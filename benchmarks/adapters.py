"""Few-shot classifiers upon CLIP beside the answers of the default recipe, as a Markdown table.

    python benchmarks/adapters.py --embeddings FOLDER [--sets dtd,imagenet] [--shots 1,4,all] [--seeds 3]

FOLDER holds .npz files as `benchmarks/_sets.py` reads them. Fitted on so many train images a class (fewer
where a class has fewer), drawn anew for each seed, measured on test rows: accuracy and expected calibration
error, in percent, and seconds with tuning. Written from the formulas of the papers, on the same embeddings:

- GDA blend: Wang et al., "A Hard-to-Beat Baseline for Training-free CLIP-based Adaptation", ICLR 2024.
- Tip-Adapter, without training: Zhang et al., ECCV 2022.
- Linear probe: logistic regression from the zero-shot weights, drawn towards them by an L2 penalty.

Their settings are those most accurate in three folds of the train images (two at two images a class). Where
these leave a class without what an adapter needs, its setting is one of the middle: Tip-Adapter and the probe
at one image a class; the GDA blend, which needs a covariance within classes, at two, and at one not at all.
Ours is `predicts="posterior"` as it is.
"""

import time
import warnings
from collections.abc import Callable
from itertools import product
from typing import Any

import _sets
import numpy as np
import torch
from _sets import EmbeddingSet, open_sets
from scipy.optimize import minimize
from sklearn.model_selection import StratifiedKFold

from vilu_sdk import ViLUEstimator
from vilu_sdk.evaluation import expected_calibration_error

SETS = ("dtd", "ucf101_objects", "caltech101", "stanford_cars", "imagenet", "sun397")
HEAD = ("set", "images a class", "zero-shot", "ours", "GDA blend", "Tip-Adapter", "linear probe")
#: From images (n, d) to logits (n, K).
Classifier = Callable[[torch.Tensor], torch.Tensor]


def gda(x: Any, y: Any, text: Any, scale: float, alpha: float) -> Classifier:
    """s·xᵀt + α (xᵀPμ − ½ μᵀPμ), with P = d [(n − 1) Σ + tr(Σ) I]⁻¹ of the covariance within classes."""
    n, d = x.shape
    one_hot = torch.nn.functional.one_hot(y, len(text)).to(x)
    counts = one_hot.sum(dim=0)
    means = one_hot.T @ x / counts.clamp_min(1)[:, None]
    within = torch.cov((x - means[y]).T)
    precision = d * torch.linalg.inv((n - 1) * within + within.trace() * torch.eye(d))
    weights = means @ precision
    offsets = -0.5 * (weights * means).sum(dim=1)
    offsets[counts == 0] = offsets[counts > 0].mean()  # of a class that a fold has not seen
    return lambda z: scale * z @ text.T + alpha * (z @ weights.T + offsets)


def tip(x: Any, y: Any, text: Any, scale: float, alpha: float, beta: float) -> Classifier:
    """s·xᵀt + α Σ_i exp(−β (1 − xᵀx_i)) onehot(y_i)."""
    one_hot = torch.nn.functional.one_hot(y, len(text)).to(x)
    return lambda z: scale * z @ text.T + alpha * torch.exp(beta * (z @ x.T - 1)) @ one_hot


def probe(x: Any, y: Any, text: Any, scale: float, penalty: float) -> Classifier:
    """s·xᵀw, with the mean cross-entropy and penalty · ‖w − t‖² least, by L-BFGS."""

    def loss(flat: Any) -> tuple[float, Any]:
        w = torch.tensor(flat, dtype=x.dtype).view_as(text).requires_grad_()
        value = torch.nn.functional.cross_entropy(scale * x @ w.T, y) + penalty * (w - text).square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        assert w.grad is not None
        return value.item(), w.grad.double().numpy().ravel()

    found = minimize(loss, text.numpy().ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 40})
    w = torch.tensor(found.x, dtype=x.dtype).view_as(text)
    return lambda z: scale * z @ w.T


#: Each adapter, its settings, the one where too little can be held out, and the images a class that it needs.
ADAPTERS: dict[str, tuple[Any, list[tuple[float, ...]], tuple[float, ...], int]] = {
    "GDA blend": (gda, [(a,) for a in (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)], (0.01,), 2),
    "Tip-Adapter": (
        tip,
        list(product((0.3, 1.0, 3.0, 10.0, 30.0), (1.0, 5.5, 10.0, 20.0, 50.0))),
        (1.0, 5.5),
        1,
    ),
    "linear probe": (probe, [(p,) for p in (0.01, 0.1, 1.0, 10.0)], (1.0,), 1),
}


def most_accurate(adapter: Any, settings: Any, x: Any, y: Any, text: Any, scale: float, cv: int) -> Any:
    """Return the setting that is right most often on images left out."""
    right = dict.fromkeys(settings, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes with fewer images than folds
        folds = list(StratifiedKFold(cv, shuffle=True, random_state=0).split(x, y))
    for setting, (kept, out) in product(settings, folds):
        predicted = adapter(x[kept], y[kept], text, scale, *setting)(x[out]).argmax(dim=1)
        right[setting] += int((predicted == y[out]).sum())
    return max(settings, key=right.__getitem__)


def measure(data: EmbeddingSet, shots: int | None, seed: int) -> dict[str, list[float]]:
    z_img, z_txt, labels = data.train
    test, _, known = data.test
    order = np.random.default_rng(seed).permutation(len(labels))
    place = np.empty(len(labels), dtype=int)  # of each image in its class
    for number in np.unique(labels):
        own = order[labels[order] == number]
        place[own] = np.arange(len(own))
    rows = np.flatnonzero(place < (len(labels) if shots is None else shots))
    x, text, z = (
        torch.nn.functional.normalize(torch.tensor(part), dim=1) for part in (z_img[rows], z_txt, test)
    )
    y, scale = torch.tensor(labels[rows]), data.logit_scale

    def judged(fit: Callable[[], Any]) -> list[float]:
        start = time.perf_counter()
        p = fit()
        wrong = p.argmax(axis=1) != known
        seconds = time.perf_counter() - start
        return [100 * (1 - wrong.mean()), 100 * expected_calibration_error(1 - p.max(axis=1), wrong), seconds]

    def softmax(logits: torch.Tensor) -> Any:
        return torch.softmax(logits.double(), dim=1).numpy()

    def ours() -> Any:
        est = ViLUEstimator(predicts="posterior", logit_scale=scale, random_state=seed)
        return est.fit(z_img[rows], z_txt, labels[rows]).predict_proba(test, z_txt)

    found = {"zero-shot": judged(lambda: softmax(scale * z @ text.T)), "ours": judged(ours)}
    most = int(np.bincount(labels[rows]).max())
    cv = min(3, most)
    for name, (adapter, settings, default, needs) in ADAPTERS.items():
        tuned = most - -(-most // cv) >= needs

        def adapted(adapter: Any = adapter, settings: Any = settings, best: Any = default) -> Any:
            if tuned:  # noqa: B023, called at once
                best = most_accurate(adapter, settings, x, y, text, scale, cv)
            return softmax(adapter(x, y, text, scale, *best)(z))

        found[name] = judged(adapted) if most >= needs else [np.nan] * 3
    return found


def main() -> None:
    parser = _sets.parser(__doc__, SETS)
    parser.add_argument("--shots", default="1,2,4,8,16,all", help="images a class, comma separated")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    print("accuracy (ECE), seconds\n")
    print("| " + " | ".join(HEAD) + " |\n|" + "---|" * len(HEAD))
    for name, data in open_sets(arguments.embeddings, arguments.sets).items():
        for size in arguments.shots.split(","):
            shots = None if size == "all" else int(size)
            runs = [measure(data, shots, seed) for seed in range(arguments.seeds)]
            cells = []
            for column in HEAD[2:]:
                accuracy, ece, seconds = np.mean([run[column] for run in runs], axis=0)
                took = "" if column == "zero-shot" else f", {seconds:.1f} s"
                cells.append("–" if np.isnan(accuracy) else f"{accuracy:.1f} ({ece:.1f}){took}")
            print(f"| {name} | {size} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
