"""What does a whole session look like?

Fit ViLU on labelled images, compare it with the usual score, look at the predictions that it trusts least,
and save it. Nothing is downloaded: the images are the handwritten digits that come with scikit-learn,
embedded by a tiny CLIP-like model.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from vilu_sdk import MCMScorer, ViLUEstimator
from vilu_sdk.datasets import load_digits_vlm
from vilu_sdk.evaluation import compare

# %% [markdown]
# ## The embeddings
#
# A scorer needs image embeddings, embeddings of the class names, and the model's logit scale. Load your
# own from files: `z_img = np.load("z_img.npy")`, or `z_img = np.load("mine.npz")["z_img"]`. Two more examples
# compute them with transformers and open_clip.

# %%
data = load_digits_vlm()
print(data)

# %% [markdown]
# ## Learn where the model fails
#
# `fit` takes labelled images. The comparison uses images that no scorer has seen.

# %%
vilu = ViLUEstimator(logit_scale=data.logit_scale, random_state=0)
vilu.fit(data.z_img_fit, data.z_txt, data.labels_fit)

mcm = MCMScorer(logit_scale=data.logit_scale)  # one minus the largest probability, learns nothing
table = compare({"MCM": mcm, "ViLU": vilu}, data.z_img_test, data.z_txt, data.labels_test, fit=False)
print(table.to_text(["auc", "fpr95", "ece", "answered_at_5"]))

# %% [markdown]
# MCM ranks predictions by the model's own confidence. ViLU ranks wrong predictions lower, so you can answer
# more images with at most 5 % errors.
#
# ## Act on it
#
# A person looks at the most uncertain images first. The upper row shows the predictions that ViLU is surest
# of, the lower row those that it trusts least, each with the probability that it is wrong. Wrong predictions
# are red.

# %%
uncertainty = vilu.predict_uncertainty(data.z_img_test, data.z_txt)
predicted = vilu.predict(data.z_img_test, data.z_txt)
order = np.argsort(uncertainty, kind="stable")

figure, axes = plt.subplots(2, 8, figsize=(6.8, 2.6), layout="constrained")
for ax, row in zip(axes.flat, [*order[:8], *order[::-1][:8]], strict=True):
    right = predicted[row] == data.labels_test[row]
    ax.imshow(-data.images_test[row], cmap="gray")
    ax.set_title(data.class_names[predicted[row]], size=9, color="tab:blue" if right else "tab:red")
    ax.set_xlabel(f"{100 * uncertainty[row]:.1f} %", size=9)
    ax.set(xticks=[], yticks=[])
plt.show()

# %% [markdown]
# ## Save it
#
# A scorer is saved into a folder: settings as JSON, arrays as safetensors, nothing pickled. The loaded scorer
# gives the same numbers.

# %%
with tempfile.TemporaryDirectory() as folder:
    vilu.save_pretrained(folder)
    print("saved:", ", ".join(sorted(path.name for path in Path(folder).iterdir())))
    again = ViLUEstimator.from_pretrained(folder)

first = data.z_img_test[:5]
classes, uncertainty = again.predict(first, data.z_txt), again.predict_uncertainty(first, data.z_txt)
for digit, wrong in zip(classes, uncertainty, strict=True):
    print(f"{data.class_names[digit]:6} wrong with a probability of {100 * wrong:.1f} %")
