"""What about images that show none of my classes?

A model predicts one of its candidates for any image, also for one that shows none of them, and often it is
sure. Find such images, and teach the scorer what they look like.
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
# The candidates are zero to four. Images of five to nine show none of them: their label is -1. Whatever is
# predicted for them is wrong.

# %%
data = load_digits_vlm()
few = data.z_txt[:5]
labels_fit = np.where(data.labels_fit < 5, data.labels_fit, -1)
labels_test = np.where(data.labels_test < 5, data.labels_test, -1)
print(f"{(labels_test == -1).sum()} of {len(labels_test)} test images show none of the candidates")

# %% [markdown]
# ## Seen some, or none
#
# One fit sees images of the five candidates alone. The other sees, beside them, the nines as images of the
# label -1; five to eight stay unknown to both.

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
# In percent: the AUC for failures of any kind, and for images of no candidate against all others, by the
# uncertainty and by the score that `novelty` makes for them alone.
#
# ## Known and unknown images by their novelty
#
# Where the two overlap, no threshold tells them apart.

# %%
NoveltyDisplay.from_estimator(
    scorers["ViLU, shown nines"], data.z_img_test, few, labels_test, name="ViLU, shown nines"
)
plt.show()

# %% [markdown]
# ## Sure mistakes
#
# Nines that the fit on the candidates alone takes for one of them, with an uncertainty below 1 %. The picture
# shows ten: what each is taken for, and how uncertain the two fits are, without nines and with them.

# %%
rows = np.flatnonzero(data.labels_test == 9)
before, after = (
    scorers[name].predict_uncertainty(data.z_img_test[rows], few) for name in ("ViLU", "ViLU, shown nines")
)
predicted = scorers["ViLU"].predict(data.z_img_test[rows], few)
sure = np.flatnonzero(before < 0.01)
print(f"{len(sure)} of {len(rows)} nines are sure mistakes, ", end="")
print(f"of which {(after[sure] > 0.5).sum()} are more likely wrong than right once nines were shown")

figure, axes = plt.subplots(2, 5, figsize=(5, 2.9), layout="constrained")
for ax, k in zip(axes.flat, sure, strict=False):
    ax.imshow(-data.images_test[rows[k]], cmap="gray")
    ax.set_title(data.class_names[predicted[k]], size=9, color="tab:red")
    ax.set_xlabel(f"{100 * before[k]:.0f} → {100 * after[k]:.0f} %", size=9)
    ax.set(xticks=[], yticks=[])
plt.show()
