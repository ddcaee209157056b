"""Find the caption of an image among several, and say when the one found is likely wrong.

    python examples/caption_retrieval.py
    python examples/caption_retrieval.py --files z_img.npy z_captions.npy --logit-scale 100

Row i of the images belongs to row i of the captions, and nothing else is known: no classes, no labels. The
candidates of an image are the captions of its gallery, none of which `fit` has to have seen.
"""

import argparse
from typing import Any

import numpy as np

from vilu_sdk import MCMScorer, ViLUEstimator
from vilu_sdk.datasets import load_digits_vlm
from vilu_sdk.evaluation import ComparisonTable, compare


def main(z_img: Any, z_captions: Any, logit_scale: float, gallery: int) -> ComparisonTable:
    # The first half of the pairs teaches which pairs the model confuses, the second is searched.
    half = len(z_img) // 2 // gallery * gallery
    mcm = MCMScorer(logit_scale=logit_scale)
    vilu = ViLUEstimator(logit_scale=logit_scale, random_state=0)
    vilu.fit(z_img[:half], z_captions[:half])  # without labels: pairs

    # A retrieval is wrong if another caption of the gallery is more similar than the image's own.
    z_img, z_captions = z_img[half:], z_captions[half:]
    table = compare({"MCM": mcm, "ViLU": vilu}, z_img, z_captions, fit=False, batch_size=gallery)
    print(table)

    # Searching: one gallery, its captions as the candidates of its images.
    images, captions = z_img[:gallery], z_captions[:gallery]
    found = vilu.predict(images, captions)
    uncertainty = vilu.predict_uncertainty(images, captions)
    # The nearest competitors, for those who want to show a second caption where the first is unsure.
    second = vilu.explain(images, captions, top_k=1).competitors[:, 0]
    print(f"\nThe most uncertain of {len(images)} images:\n\nimage  caption  uncertainty  or else")
    for row in np.argsort(-uncertainty)[:3]:
        print(f"{row:5}  {found[row]:7}  {uncertainty[row]:11.2f}  {second[row]:7}")

    # One caption for the surer half, two for the other half.
    failure, order = table.failure, np.argsort(table.scores["ViLU"])
    sure, unsure = np.array_split(order, 2)
    print(f"\nwrong among the surer half {100 * failure[sure].mean():.1f} %, ", end="")
    print(f"among the other half {100 * failure[unsure].mean():.1f} %")
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Caption retrieval that knows when it is unsure.")
    parser.add_argument("--files", nargs=2, metavar=("IMAGES", "CAPTIONS"), help=".npy files")
    parser.add_argument("--logit-scale", type=float, default=100.0, help="of the model behind the files")
    parser.add_argument("--gallery", type=int, default=100, help="captions to choose from")
    options = parser.parse_args()
    if options.files:
        main(*map(np.load, options.files), options.logit_scale, options.gallery)
    else:
        # The caption of a digit is its name. Galleries of ten images, one of each digit, in random order.
        data = load_digits_vlm()
        digits = np.concatenate([data.labels_fit, data.labels_test])
        rng = np.random.default_rng(0)
        of_each = [
            rng.permutation(np.flatnonzero(digits == k))[: np.bincount(digits).min()] for k in range(10)
        ]
        rows = rng.permuted(np.stack(of_each, axis=1), axis=1).ravel()
        images = np.concatenate([data.z_img_fit, data.z_img_test])[rows]
        main(images, data.z_txt[digits[rows]], data.logit_scale, gallery=10)
