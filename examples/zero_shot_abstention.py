"""Where should I draw the line between answering and abstaining?

Answer with the predicted class where it can be trusted, and leave the other images to people. There are three
ways to draw the line: guarantee an error rate, fix the share of images to answer, or weigh the cost of an
error against that of an abstention.
"""

import matplotlib.pyplot as plt

from vilu_sdk import MCMScorer, ViLUEstimator
from vilu_sdk.datasets import load_digits_vlm
from vilu_sdk.displays import RiskCoverageDisplay
from vilu_sdk.selective import CostPredictor, CoveragePredictor, SelectivePredictor

# %% [markdown]
# ## Three parts of the data
#
# The first part fits the scorer, the second finds the threshold, and the third stands for later use. Do not
# find a threshold on images that the scorer was fitted on: it would promise too much.

# %%
data = load_digits_vlm()
z_txt = data.z_txt
z_calibration, labels_calibration = data.z_img_test[:400], data.labels_test[:400]
z_new, labels_new = data.z_img_test[400:], data.labels_test[400:]

mcm = MCMScorer(logit_scale=data.logit_scale)
vilu = ViLUEstimator(logit_scale=data.logit_scale, random_state=0).fit(data.z_img_fit, z_txt, data.labels_fit)
right = (vilu.predict(z_new, z_txt) == labels_new).mean()
print(f"{len(z_new)} new images, of which the model classifies {100 * right:.1f} % correctly")

# %% [markdown]
# ## Three rules
#
# Each rule is tried with MCM, which learns nothing, and with ViLU. `predict` returns a class, or -1 for an
# abstention.

# %%
results = {}
print(f"{'scorer':8}{'rule':32}{'answered':>10}{'of them wrong':>16}")
for name, scorer in {"MCM": mcm, "ViLU": vilu}.items():
    rules = {
        "at most 5 % errors, guaranteed": SelectivePredictor(scorer, target_risk=0.05, confidence=0.95),
        "answer 80 %": CoveragePredictor(scorer, target_coverage=0.8),
        "an error costs 10 abstentions": CostPredictor(scorer, error_cost=10, abstention_cost=1),
    }
    for rule, predictor in rules.items():
        predictor.fit(z_calibration, z_txt, labels_calibration)
        answer = predictor.predict(z_new, z_txt)
        answered = answer != -1
        wrong = (answer != labels_new)[answered].mean()
        results[name, rule] = answered.mean(), wrong
        print(f"{name:8}{rule:32}{100 * answered.mean():8.1f} %{100 * wrong:14.1f} %")

# %% [markdown]
# The better ranking pays off with every rule. With the same guarantee, ViLU answers twice as many images.
#
# ## What is guaranteed
#
# The report of a threshold shows the guarantee and the data behind it. The guarantee holds with 95 %
# confidence for new images like those of the calibration set. The star in the picture is the threshold.

# %%
guaranteed = SelectivePredictor(vilu, target_risk=0.05).fit(z_calibration, z_txt, labels_calibration)
print(guaranteed.report_)

display = RiskCoverageDisplay.from_estimator(mcm, z_new, z_txt, labels_new, name="MCM")
RiskCoverageDisplay.from_estimator(guaranteed, z_new, z_txt, labels_new, name="ViLU", ax=display.ax_)
plt.show()
