"""Which of my labels are wrong?

Rank the labels of a data set by how likely they are wrong, so that a person checks forty images instead of
eight hundred. Each label is checked against the other images.
"""

import matplotlib.pyplot as plt
import numpy as np

from vilu_sdk import ViLUEstimator
from vilu_sdk.datasets import load_digits_vlm
from vilu_sdk.labels import find_label_issues

# %% [markdown]
# ## Labels with mistakes
#
# The labels of the digits are right, so this example changes 40 of the 799 to another digit.

# %%
data = load_digits_vlm()
rng = np.random.default_rng(0)
changed = rng.choice(len(data.labels_test), 40, replace=False)
labels = data.labels_test.copy()
labels[changed] = (labels[changed] + rng.integers(1, 10, 40)) % 10

# %% [markdown]
# ## The suspects
#
# One fit is enough. Each label is judged by a posterior that has not seen it. The table shows the most
# suspicious labels.

# %%
vilu = ViLUEstimator(logit_scale=data.logit_scale, random_state=0)
issues = find_label_issues(data.z_img_test, data.z_txt, labels, scorer=vilu, names=data.class_names)
print("\n".join(str(issues).splitlines()[:12]))

# %% [markdown]
# A simpler rule is to suspect each label that differs from the model's prediction. But one in seven
# predictions of this model is wrong, so most of these suspects are mistakes of the model.

# %%
suspects = np.argsort(issues.rank)[:40]
disagree = np.flatnonzero(
    vilu.fit(data.z_img_fit, data.z_txt, data.labels_fit).predict(data.z_img_test, data.z_txt) != labels
)
for name, rows in {"first 40 of the ranking": suspects, "predicted otherwise": disagree}.items():
    found = np.isin(changed, rows).sum()
    print(f"{name:24} {len(rows):3} images to look at, {found} of the 40 wrong labels among them")

# %% [markdown]
# ## Look at them
#
# Above each image is its label, in red if it was changed, and below it the suggestion.

# %%
figure, axes = plt.subplots(2, 5, figsize=(5, 2.9), layout="constrained")
for ax, row in zip(axes.flat, suspects, strict=False):
    ax.imshow(-data.images_test[row], cmap="gray")
    ax.set_title(data.class_names[labels[row]], size=9, color="tab:red" if row in changed else "tab:blue")
    ax.set_xlabel(f"{data.class_names[issues.suggested[row]]}?", size=9)
    ax.set(xticks=[], yticks=[])
plt.show()
