"""Fit ViLU on a data set that needs no download, compare it with MCM, act on it, save it.

python examples/quickstart.py
"""

import tempfile

import numpy as np

from vilu_sdk import MCMScorer, ViLUEstimator
from vilu_sdk.datasets import load_digits_vlm
from vilu_sdk.evaluation import compare


def main() -> None:
    # Embeddings of real images by a tiny CLIP-like model; embed_with_transformers.py makes them of yours.
    data = load_digits_vlm()
    print(data)

    # Learn where the model fails, from images whose class is known.
    vilu = ViLUEstimator(logit_scale=data.logit_scale, random_state=0)
    vilu.fit(data.z_img_fit, data.z_txt, data.labels_fit)

    # Compare on images that no scorer has seen.
    mcm = MCMScorer(logit_scale=data.logit_scale)
    print(compare({"MCM": mcm, "ViLU": vilu}, data.z_img_test, data.z_txt, data.labels_test, fit=False))

    # Act: a person looks at the most uncertain images first.
    uncertainty = vilu.predict_uncertainty(data.z_img_test, data.z_txt)
    predicted = vilu.predict(data.z_img_test, data.z_txt)
    for row in np.argsort(-uncertainty)[:5]:
        names = data.class_names[predicted[row]], data.class_names[data.labels_test[row]]
        print("uncertainty {:.2f}: predicted {}, true {}".format(uncertainty[row], *names))

    # Keep it: settings as JSON, weights as safetensors, nothing pickled.
    with tempfile.TemporaryDirectory() as folder:
        vilu.save_pretrained(folder)
        again = ViLUEstimator.from_pretrained(folder)
    same = np.array_equal(again.predict_uncertainty(data.z_img_test, data.z_txt), uncertainty)
    print(f"the same after saving and loading: {same}")


if __name__ == "__main__":
    main()
