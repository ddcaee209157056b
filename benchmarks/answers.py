"""How often the posterior's answers are right, and how many images can be answered, as a Markdown table.

    python benchmarks/answers.py --embeddings FOLDER [--sets dtd,imagenet] [--labels 100,all] [--seeds 5]

FOLDER holds .npz files as `benchmarks/_sets.py` reads them. Fitted on train rows (`--labels` of them, drawn
anew for each seed), measured on test rows, in percent:

- accuracy of the zero-shot prediction and of the answer, and the expected calibration error of the answer's
  uncertainty;
- answered: the largest share of images of which 5 % (10 %) are wrong, with the threshold that the test rows
  themselves give: by MCM, by the estimator's warnings about the zero-shot prediction, by its answers.
"""

from typing import Any

import _sets
import numpy as np
from _sets import EmbeddingSet, by_labels

from vilu_sdk import MCMScorer, ViLUEstimator
from vilu_sdk.evaluation import expected_calibration_error, risk_coverage_curve

SETS = ("dtd", "stanford_cars", "imagenet", "ucf101_objects", "sun397", "caltech101", "cifar10_tower")
BY = ("MCM", "ViLU", "answers")
HEAD = (
    "set",
    "labels",
    "zero-shot",
    "answer",
    "ECE",
    *(f"{by} at {risk} %" for risk in (5, 10) for by in BY),
)


def answered(uncertainty: Any, wrong: Any, risk: float) -> float:
    """Largest share of the surest images of which no more than `risk` are wrong."""
    coverage, risks, *_ = risk_coverage_curve(uncertainty, wrong)
    kept = coverage[risks <= risk]
    return float(kept.max()) if len(kept) else 0.0


def measure(data: EmbeddingSet, n: int | None, seed: int) -> list[float]:
    z_img, z_txt, labels = data.train
    rows = np.random.default_rng(seed).permutation(len(labels))[:n]
    test, text, known = data.test
    judged = (
        ViLUEstimator(logit_scale=data.logit_scale, random_state=seed)
        .fit(z_img[rows], z_txt, labels[rows])
        .judge(test, text)
    )
    mcm = MCMScorer(logit_scale=data.logit_scale).decision_function(test, text)
    wrong, answer_wrong = judged.prediction != known, judged.answer != known
    found = [1 - wrong.mean(), 1 - answer_wrong.mean()]
    found.append(expected_calibration_error(judged.answer_uncertainty, answer_wrong))
    for risk in (0.05, 0.1):
        found.append(answered(mcm, wrong, risk))
        found.append(answered(judged.uncertainty, wrong, risk))
        found.append(answered(judged.answer_uncertainty, answer_wrong, risk))
    return found


def main() -> None:
    parser = _sets.parser(__doc__, SETS)
    for name, size, runs in by_labels(parser, HEAD, measure, labels="100,200,500,all", seeds=5):
        cells = [f"{100 * value:.1f}" for value in np.mean(runs, axis=0)]
        print(f"| {name} | {size} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
