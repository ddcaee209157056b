"""Which parameters are best?

Search the logit scale of MCM and the recipe of ViLU with scikit-learn's `GridSearchCV`.
"""

import matplotlib.pyplot as plt
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from vilu_sdk import MCMScorer, PaperRecipe, ViLUEstimator
from vilu_sdk.datasets import load_digits_vlm
from vilu_sdk.evaluation import failure_auc_scorer, neg_aurc_scorer

# %%
data = load_digits_vlm()
folds = StratifiedKFold(3, shuffle=True, random_state=0)

# %% [markdown]
# ## A scale for MCM
#
# `bind` fixes the texts and gives a classifier of images. By default its score is the AUC of failure
# prediction; `scoring` changes that.

# %%
scales = [data.logit_scale * factor for factor in (0.01, 0.03, 0.1, 0.3, 1, 3, 10)]
mcm = GridSearchCV(MCMScorer().bind(data.z_txt), {"scorer__logit_scale": scales}, cv=folds)
mcm.fit(data.z_img_fit, data.labels_fit)
best = mcm.best_params_["scorer__logit_scale"]
print(f"the model's scale {data.logit_scale:.1f}, the best for MCM {best:.1f}")

figure, ax = plt.subplots(figsize=(3.3, 2.4), layout="constrained")
ax.plot(scales, 100 * mcm.cv_results_["mean_test_score"], "o-")
ax.set(xscale="log", xlabel="logit scale of MCM", ylabel="AUC of three folds, %")
plt.show()

# %% [markdown]
# ## A recipe for ViLU
#
# Two metrics are computed, and the recipe with the best AURC is fitted on all images.

# %%
vilu = ViLUEstimator(logit_scale=data.logit_scale, random_state=0).bind(data.z_txt)
recipes = {"default": "auto", "published, shortened": PaperRecipe(epochs=30, learning_rate=0.1)}
scoring = {"auc": failure_auc_scorer, "aurc": neg_aurc_scorer}
search = GridSearchCV(vilu, {"scorer__recipe": [*recipes.values()]}, cv=folds, scoring=scoring, refit="aurc")
search.fit(data.z_img_fit, data.labels_fit)

results = search.cv_results_
print(f"{'recipe':22}{'AUC %':>8}{'AURC %':>8}")
for row, name in enumerate(recipes):
    auc, aurc = results["mean_test_auc"][row], -results["mean_test_aurc"][row]
    print(f"{name:22}{100 * auc:8.1f}{100 * aurc:8.2f}{'  <- best' if row == search.best_index_ else ''}")

# %% [markdown]
# The result is a scorer again, for any texts.

# %%
scorer = search.best_estimator_.scorer_
uncertainty = scorer.predict_uncertainty(data.z_img_test, data.z_txt)
wrong = scorer.predict(data.z_img_test, data.z_txt) != data.labels_test
print(f"mean uncertainty of wrong predictions {100 * uncertainty[wrong].mean():.0f} %, ", end="")
print(f"of right ones {100 * uncertainty[~wrong].mean():.0f} %")
