"""What tells wrong answers from right ones beside their probability, as a Markdown table.

    python benchmarks/answer_errors.py --embeddings FOLDER [--sets dtd,imagenet] [--seeds 3]

AUC of the errors of the posterior's answers, in percent, on 40 % of the train images, of an estimator fitted
on the others: by one minus the probability of the answer; and the change by a logistic regression on its
log-odds and one more thing, or all, learned from the left-out scores of the fit. Means of seeds.
FOLDER holds .npz files as `benchmarks/_sets.py` reads them.
"""

from typing import Any

import _sets
import numpy as np
from _sets import EmbeddingSet, open_sets
from numpy.typing import NDArray
from scipy.special import logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from vilu_sdk import MCMScorer, ViLUEstimator
from vilu_sdk.inputs.task import check_task

SETS = ("dtd", "stanford_cars", "ucf101_objects", "sun397", "imagenet")
FEATURES = ("margin", "entropy", "agreement", "zero-shot p of the answer", "zero-shot max p")
FIT_SHARE = 0.6


def features(log_p: NDArray[Any], zero_shot: NDArray[Any]) -> NDArray[np.float64]:
    """Log-odds of an error, and `FEATURES`, of log-probabilities (n, K) by the posterior and by the model."""
    log_p = np.asarray(log_p, dtype=np.float64)
    ordered, answer, rows = np.sort(log_p, axis=1), log_p.argmax(axis=1), np.arange(len(log_p))
    return np.stack(
        [
            -logit(np.exp(ordered[:, -1]).clip(1e-12, 1 - 1e-12)),
            ordered[:, -1] - ordered[:, -2],
            -(np.exp(log_p) * log_p).sum(axis=1),
            zero_shot.argmax(axis=1) == answer,
            zero_shot[rows, answer],
            zero_shot.max(axis=1),
        ],
        axis=1,
    )


def measure(data: EmbeddingSet, seed: int) -> list[float]:
    z_img, z_txt, labels = data.train
    order = np.random.default_rng(seed).permutation(len(labels))
    fit, new = np.split(order, [round(FIT_SHARE * len(order))])
    estimator = ViLUEstimator(logit_scale=data.logit_scale, random_state=seed)
    zero_shot = MCMScorer(logit_scale=data.logit_scale)

    def described(rows: NDArray[Any], log_p: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        wrong = log_p.argmax(axis=1) != labels[rows]
        return features(log_p, zero_shot.predict_log_proba(z_img[rows], z_txt)), wrong

    left_out = np.empty((len(fit), len(z_txt)))
    for rows, log_p in estimator._left_out(check_task(z_img[fit], z_txt, labels[fit])) or ():
        left_out[rows.numpy()] = log_p.numpy()
    known, known_wrong = described(fit, left_out)
    estimator.fit(z_img[fit], z_txt, labels[fit])
    found, wrong = described(new, estimator.predict_log_proba(z_img[new], z_txt))
    alone = 100 * float(roc_auc_score(wrong, found[:, 0]))

    def change(*columns: int) -> float:
        model = make_pipeline(StandardScaler(), LogisticRegression()).fit(known[:, columns], known_wrong)
        return 100 * float(roc_auc_score(wrong, model.decision_function(found[:, columns]))) - alone

    each = [change(0, column) for column in range(1, len(FEATURES) + 1)]
    return [alone, *each, change(*range(len(FEATURES) + 1))]


def main() -> None:
    parser = _sets.parser(__doc__, SETS)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    head = ("set", "1 - p", *FEATURES, "all")
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for name, data in open_sets(arguments.embeddings, arguments.sets).items():
        alone, *changes = np.mean([measure(data, seed) for seed in range(arguments.seeds)], axis=0)
        print(f"| {name} | {alone:.1f} | {' | '.join(f'{value:+.1f}' for value in changes)} |", flush=True)


if __name__ == "__main__":
    main()
