"""Which caption belongs to the image, and when is that unsure?

Find the caption of an image among several, and say when it is likely wrong. All you know is that row i of the
images belongs to row i of the captions: there are no classes and no labels. The captions to choose from can
be new.
"""

import matplotlib.pyplot as plt
import numpy as np

from vilu_sdk import MCMScorer, ViLUEstimator
from vilu_sdk.datasets import load_digits_vlm
from vilu_sdk.evaluation import compare

# %% [markdown]
# ## Pairs of images and captions
#
# The caption of a digit is its name. You search in a gallery: here ten images, one of each digit, in random
# order, with their ten captions.

# %%
data = load_digits_vlm()
rng = np.random.default_rng(0)


def galleries(labels):
    """Return rows of images, ten after the other with one of each digit."""
    each = [rng.permutation(np.flatnonzero(labels == digit)) for digit in range(10)]
    rows = np.stack([rows[: min(map(len, each))] for rows in each], axis=1)
    return rng.permuted(rows, axis=1).ravel()


fitted, searched = galleries(data.labels_fit), galleries(data.labels_test)
z_img, z_captions = data.z_img_test[searched], data.z_txt[data.labels_test[searched]]

# %% [markdown]
# ## Learn from pairs
#
# Without labels, `fit` takes row i of the captions as the right one for image i. A retrieval is wrong if
# another caption of the gallery is more similar than the image's own.

# %%
mcm = MCMScorer(logit_scale=data.logit_scale)
vilu = ViLUEstimator(logit_scale=data.logit_scale, random_state=0)
vilu.fit(data.z_img_fit[fitted], data.z_txt[data.labels_fit[fitted]])

table = compare({"MCM": mcm, "ViLU": vilu}, z_img, z_captions, fit=False, batch_size=10)
print(table.to_text(["auc", "fpr95", "aurc", "answered_at_5"]))

# %% [markdown]
# ## Search
#
# The candidates of an image are the captions of its gallery. If the first caption is uncertain, you can show
# a second one: `explain` names the nearest competitors.

# %%
first, second, unsure = [], [], []
for start in range(0, len(z_img), 10):
    images, captions = z_img[start : start + 10], z_captions[start : start + 10]
    first += [*(start + vilu.predict(images, captions))]
    second += [*(start + vilu.explain(images, captions, top_k=1).competitors[:, 0])]
    unsure += [*vilu.predict_uncertainty(images, captions)]
first, second, unsure = map(np.array, (first, second, unsure))

own = np.arange(len(z_img))
wrong = first != own
both = wrong & (second != own)
surer, other = np.array_split(np.argsort(unsure, kind="stable"), 2)
print(f"wrong among the surer half  {100 * wrong[surer].mean():5.1f} %")
print(f"wrong among the other half  {100 * wrong[other].mean():5.1f} %")
print(f"... with a second caption   {100 * both[other].mean():5.1f} %")

# %% [markdown]
# These are the ten most uncertain images, with the first caption above and the second below. The first
# caption is red if it is wrong.

# %%
caption = np.array(data.class_names)[data.labels_test[searched]]
figure, axes = plt.subplots(2, 5, figsize=(5, 2.9), layout="constrained")
for ax, row in zip(axes.flat, np.argsort(-unsure, kind="stable"), strict=False):
    ax.imshow(-data.images_test[searched[row]], cmap="gray")
    ax.set_title(caption[first[row]], size=9, color="tab:red" if wrong[row] else "tab:blue")
    ax.set_xlabel(f"or {caption[second[row]]}", size=9)
    ax.set(xticks=[], yticks=[])
plt.show()
