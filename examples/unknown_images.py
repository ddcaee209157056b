"""What about images that show none of my classes?

A model predicts one of its candidates for any image, even for one that shows none of them, and it is often
confident. Find such images, and teach the scorer what they look like.
"""

import matplotlib.pyplot as plt
import numpy as np

from vilu_sdk import MCMScorer, ViLUEstimator
from vilu_sdk.datasets import load_digits_vlm
from vilu_sdk.displays import NoveltyDisplay
from vilu_sdk.evaluation import evaluate

# %% [markdown]
# ## Five candidates, ten digits
#
# The candidates are zero to four. Images of five to nine show none of them: they have the label -1, and any
# prediction for them is wrong.

# %%
data = load_digits_vlm()
few = data.z_txt[:5]
labels_fit = np.where(data.labels_fit < 5, data.labels_fit, -1)
labels_test = np.where(data.labels_test < 5, data.labels_test, -1)
print(f"{(labels_test == -1).sum()} of {len(labels_test)} test images show none of the candidates")

# %% [markdown]
# ## With and without examples of unknown images
#
# One scorer is fitted on images of the five candidates only. Another is fitted on these and on nines with the
# label -1. Both know nothing of five to eight.

# %%
known, nines = labels_fit >= 0, data.labels_fit == 9
settings = {"logit_scale": data.logit_scale, "random_state": 0}
scorers = {
    "MCM": MCMScorer(logit_scale=data.logit_scale),
    "ViLU": ViLUEstimator(**settings).fit(data.z_img_fit[known], few, labels_fit[known]),
    "ViLU, shown nines": ViLUEstimator(**settings).fit(
        data.z_img_fit[known | nines], few, labels_fit[known | nines]
    ),
}
print(f"{'':20}failures   unknown   novelty      ECE   answered at 5 %")
for name, scorer in scorers.items():
    found = evaluate(scorer, data.z_img_test, few, labels_test)
    values = [100 * found[key] for key in ("auc", "unknown_auc", "novelty_auc", "ece", "answered_at_5")]
    print("{:18}{:10.1f}{:10.1f}{:10.1f}{:9.1f}{:18.1f}".format(name, *values))

# %% [markdown]
# All values are percentages. "Failures" is the AUC of finding wrong predictions of any kind. "Unknown" and
# "novelty" are AUCs of telling images of no candidate from all others, by the uncertainty and by `novelty`,
# the score made for this.
#
# ## The novelty of known and unknown images
#
# Where the two histograms overlap, no threshold separates them.

# %%
NoveltyDisplay.from_estimator(
    scorers["ViLU, shown nines"], data.z_img_test, few, labels_test, name="ViLU, shown nines"
)
plt.show()

# %% [markdown]
# ## Confident mistakes
#
# The first scorer takes many nines for one of its candidates, with an uncertainty below 1 %. The picture
# shows ten of them with the prediction above and, below, the uncertainty without and with nines in the fit.

# %%
rows = np.flatnonzero(data.labels_test == 9)
before, after = (
    scorers[name].predict_uncertainty(data.z_img_test[rows], few) for name in ("ViLU", "ViLU, shown nines")
)
predicted = scorers["ViLU"].predict(data.z_img_test[rows], few)
sure = np.flatnonzero(before < 0.01)
print(f"{len(sure)} of {len(rows)} nines are confident mistakes, ", end="")
print(f"of which {(after[sure] > 0.5).sum()} are more likely wrong than right after seeing nines")

figure, axes = plt.subplots(2, 5, figsize=(5, 2.9), layout="constrained")
for ax, k in zip(axes.flat, sure, strict=False):
    ax.imshow(-data.images_test[rows[k]], cmap="gray")
    ax.set_title(data.class_names[predicted[k]], size=9, color="tab:red")
    ax.set_xlabel(f"{100 * before[k]:.0f} → {100 * after[k]:.0f} %", size=9)
    ax.set(xticks=[], yticks=[])
plt.show()
