"""Is this better than the score that I have?

Compare a confidence score of your own with the scorers of this package: once with `compare`, which says which
differences are significant, and once in a scikit-learn pipeline with cross-validation.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from vilu_sdk import EntropyScorer, MCMScorer, ViLUEstimator
from vilu_sdk.datasets import load_digits_vlm
from vilu_sdk.displays import ROCDisplay
from vilu_sdk.evaluation import compare, failure_auc_scorer, neg_aurc_scorer

# %% [markdown]
# ## Your own score
#
# Here the score is the margin between the two best cosines. `compare` needs only these four methods.


# %%
class Lead(BaseEstimator):
    def fit(self, z_img, z_txt, labels=None):
        return self

    def predict(self, z_img, z_txt):
        return self._cosines(z_img, z_txt).argmax(axis=1)

    def predict_uncertainty(self, z_img, z_txt):
        second, best = np.sort(self._cosines(z_img, z_txt), axis=1)[:, -2:].T
        return second - best  # higher is more likely wrong

    decision_function = predict_uncertainty

    def _cosines(self, z_img, z_txt):
        unit = Normalizer().transform
        return unit(np.float32(z_img)) @ unit(np.float32(z_txt)).T


# %% [markdown]
# ## On the same images
#
# Scorers are fitted on half of the images and scored on the other half.

# %%
data = load_digits_vlm()
z_img, z_txt, labels = data.z_img_test, data.z_txt, data.labels_test
ours = {
    "MCM": MCMScorer(logit_scale=data.logit_scale),
    "entropy": EntropyScorer(logit_scale=data.logit_scale),
    "ViLU": ViLUEstimator(logit_scale=data.logit_scale, random_state=0),
}
table = compare({"my score": Lead(), **ours}, z_img, z_txt, labels, reference="my score", random_state=0)
print(table.to_text(["auc", "fpr95", "aurc", "answered_at_5"]))

# %% [markdown]
# MCM and the entropy cannot be distinguished from your own score; ViLU can. The curves show why: whatever
# share of wrong predictions you accept, ViLU lets you accept more of the right ones.

# %%
ax = None
for name, scores in table.scores.items():
    ax = ROCDisplay.from_scores(scores, table.failure, name=name, ax=ax).ax_
plt.show()

# %% [markdown]
# ## In scikit-learn
#
# `bind` fixes the texts and gives a classifier of images, which can be the last step of any pipeline. The
# scoring functions of failure prediction work on the whole pipeline.

# %%
folds = {}
print("five folds   AUC              AURC")
for name, scorer in ours.items():
    pipeline = make_pipeline(Normalizer(), scorer.bind(z_txt))
    scoring = {"auc": failure_auc_scorer, "aurc": neg_aurc_scorer}
    found = cross_validate(pipeline, z_img, labels, cv=5, scoring=scoring)
    auc, aurc = found["test_auc"], -found["test_aurc"]
    folds[name] = auc.mean()
    print(f"{name:12} {auc.mean():.3f} ± {auc.std():.3f}    {aurc.mean():.4f} ± {aurc.std():.4f}")
