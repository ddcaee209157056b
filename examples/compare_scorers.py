"""Is this better than the score that I have?

Put a confidence score of your own beside the scorers of this package: once in `compare`, which says which
differences are real, and once in a scikit-learn pipeline under cross-validation.
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
# Here it is how much the best cosine leads the second. These four verbs are all that `compare` asks for.


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
# Half of the images is fitted, the other half scored.

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
# MCM and the entropy cannot be told apart from the score one has; ViLU can. The curves show why: at any share
# of right predictions that raise a false alarm, it finds more of the wrong ones.

# %%
ax = None
for name, scores in table.scores.items():
    ax = ROCDisplay.from_scores(scores, table.failure, name=name, ax=ax).ax_
plt.show()

# %% [markdown]
# ## In scikit-learn
#
# `bind` fixes the texts. What is left is a classifier of images, the last step of any pipeline, and the
# scores of failure prediction see through the pipeline.

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
