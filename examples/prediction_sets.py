"""Which few candidates hold the right one?

If a single answer would be wrong too often, name two or three candidates: a set that holds the right one for
99 % of the images, guaranteed. A person, a second model or a search then chooses among the few.
"""

import matplotlib.pyplot as plt
import numpy as np

from vilu_sdk import MCMScorer, SetPredictor, ViLUEstimator
from vilu_sdk.datasets import load_digits_vlm
from vilu_sdk.displays import SetSizeDisplay

# %% [markdown]
# ## Sets with a guarantee
#
# The sets are calibrated on labelled images that the scorer was not fitted on. The guarantee holds for any
# scorer; a better scorer makes smaller sets.

# %%
data = load_digits_vlm()
z_txt = data.z_txt
z_new, labels_new = data.z_img_test[500:], data.labels_test[500:]
mcm = MCMScorer(logit_scale=data.logit_scale)
vilu = ViLUEstimator(logit_scale=data.logit_scale, random_state=0).fit(data.z_img_fit, z_txt, data.labels_fit)

members = {}
print("scorer  digits on average   one digit alone   right one inside")
for name, scorer in {"MCM": mcm, "ViLU": vilu}.items():
    sets = SetPredictor(scorer, coverage=0.99).fit(data.z_img_test[:500], z_txt, data.labels_test[:500])
    members[name] = sets.predict_sets(z_new, z_txt)  # (N, 10), True where a digit is in the set
    size, inside = members[name].sum(axis=1), members[name][np.arange(len(z_new)), labels_new]
    print(f"{name:8}{size.mean():18.1f}{100 * (size == 1).mean():16.0f} %{100 * inside.mean():17.1f} %")

# %% [markdown]
# Both keep the guarantee, as far as 299 images can show it: one image is 0.3 %.
#
# ## What is guaranteed

# %%
print(sets.report_)

# %% [markdown]
# ## What a user sees
#
# The names in a set are ordered by probability. Here are the images with the largest sets; above each image
# is the true digit.

# %%
names = sets.predict_names(z_new, z_txt, names=data.class_names)
largest = np.argsort(-members["ViLU"].sum(axis=1), kind="stable")[:10]
figure, axes = plt.subplots(2, 5, figsize=(5, 2.9), layout="constrained")
for ax, row in zip(axes.flat, largest, strict=True):
    ax.imshow(-data.images_test[500 + row], cmap="gray")
    ax.set_title(data.class_names[labels_new[row]], size=9)
    ax.set_xlabel(" ".join(names[row]), size=7)
    ax.set(xticks=[], yticks=[])
plt.show()

# %% [markdown]
# ## How large the sets are, and how often they are right
#
# Bars show how many images have a set of this size. Points show how many of these sets hold the right digit.

# %%
SetSizeDisplay.from_estimator(sets, z_new, z_txt, labels_new, name="ViLU")
plt.show()
