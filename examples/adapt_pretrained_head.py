"""Move a pretrained head to classes of your own with five labelled images of each.

    python examples/adapt_pretrained_head.py
    python examples/adapt_pretrained_head.py --files z_img.npy z_txt.npy labels.npy

The files hold embeddings by OpenAI's CLIP ViT-B/32, for which the head `clip-b32-imagenet` comes with the
package. Without files the head is fitted here, on five of the ten digits, and moved to all ten.

Prints how well failures are found, on the other images, by MCM, by the head as it is, by what the few images
teach alone, and by the head moved to them.
"""

import argparse
import copy
import warnings
from typing import Any

import numpy as np

from vilu_sdk import MCMScorer, ViLUEstimator
from vilu_sdk.datasets import load_digits_vlm
from vilu_sdk.evaluation import ComparisonTable, compare


def main(
    head: ViLUEstimator, z_img: Any, z_txt: Any, labels: Any, *, per_class: int = 5, random_state: int = 0
) -> ComparisonTable:
    order = np.random.default_rng(random_state).permutation(len(labels))
    few = np.concatenate([order[labels[order] == k][:per_class] for k in range(len(z_txt))])
    others = np.setdiff1d(order, few)

    scale = head.logit_scale
    # `adapt` changes the estimator, so adapt a copy. (`sklearn.clone` would copy the settings alone.)
    adapted = copy.deepcopy(head).adapt(z_img[few], z_txt, labels[few])
    with warnings.catch_warnings():
        # Of so few images hardly one may be wrong: then it says so, and keeps to MCM.
        warnings.filterwarnings("ignore", message="ViLUEstimator learned nothing", category=UserWarning)
        alone = ViLUEstimator(logit_scale=scale, random_state=0).fit(z_img[few], z_txt, labels[few])

    scorers = {
        "MCM": MCMScorer(logit_scale=scale),
        "head": head,
        f"{len(few)} labels alone": alone,
        "head, adapted": adapted,
    }
    # Nothing is fitted any more.
    table = compare(scorers, z_img[others], z_txt, labels[others], fit=False, reference="MCM")
    print(table)
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Adapt a pretrained head with a few images a class.")
    parser.add_argument("--files", nargs=3, metavar=("IMAGES", "TEXTS", "LABELS"), help=".npy files")
    parser.add_argument("--head", default="clip-b32-imagenet", help="pretrained head for the files")
    parser.add_argument("--per-class", type=int, default=5, help="labelled images of each class")
    options = parser.parse_args()
    if options.files:
        pretrained = ViLUEstimator.from_pretrained(options.head)
        main(pretrained, *map(np.load, options.files), per_class=options.per_class)
    else:
        data = load_digits_vlm()
        known = data.labels_fit < 5
        pretrained = ViLUEstimator(logit_scale=data.logit_scale, random_state=0)
        pretrained.fit(data.z_img_fit[known], data.z_txt[:5], data.labels_fit[known])
        main(pretrained, data.z_img_test, data.z_txt, data.labels_test, per_class=options.per_class)
