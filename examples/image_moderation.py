"""Can I decide automatically, with a guaranteed error rate?

Allow or block images without a person, with at most 5 % of these decisions wrong, and show the rest to
people. The classes are what images may show, and some of them are blocked. Only wrong decisions matter: a
wrong class that leads to the right decision does no harm.
"""

import matplotlib.pyplot as plt
import numpy as np

from vilu_sdk import ViLUEstimator
from vilu_sdk.datasets import load_digits_vlm
from vilu_sdk.selective import SelectivePredictor, ShiftMonitor

# %% [markdown]
# ## The policy
#
# Zeros, sixes and eights stand for what must not be shown.

# %%
data = load_digits_vlm()
z_txt, blocked = data.z_txt, [0, 6, 8]
vilu = ViLUEstimator(logit_scale=data.logit_scale, random_state=0).fit(data.z_img_fit, z_txt, data.labels_fit)


def decision_of(classes):
    return np.where(np.isin(classes, blocked), "block", "allow")


# %% [markdown]
# ## A threshold for each decision
#
# Calibrate on images that the scorer was not fitted on and for which people have decided. `correct` says
# whether the decision, not the class, is right. Each kind of decision gets its own threshold, and the
# guarantee holds for both together.

# %%
z_calibration = data.z_img_test[:400]
truth = decision_of(data.labels_test[:400])
decision = decision_of(vilu.predict(z_calibration, z_txt))

policy = SelectivePredictor(vilu, target_risk=0.05, confidence=0.95, simultaneous=True)
policy.fit(z_calibration, z_txt, correct=decision == truth, groups=decision)
print(policy.report_)

# %% [markdown]
# ## A new day

# %%
z_new, truth_new = data.z_img_test[400:], decision_of(data.labels_test[400:])
decision = decision_of(vilu.predict(z_new, z_txt))
automatic = policy.accept(z_new, z_txt, groups=decision)

results = {}
print(f"{len(z_new)} new images")
for kind in ("allow", "block"):
    mine = automatic & (decision == kind)
    errors = (decision != truth_new)[mine].sum()
    results[kind] = mine.mean(), errors / mine.sum()
    print(f"  {kind} automatically {100 * mine.mean():5.1f} %, {errors} of {mine.sum()} wrongly")
print(f"  shown to people     {100 * (1 - automatic.mean()):5.1f} %")

# %% [markdown]
# These are some of the images that people see, with the decision that the model would have made. It is red if
# it would have been wrong.

# %%
figure, axes = plt.subplots(2, 5, figsize=(5, 2.5), layout="constrained")
for ax, row in zip(axes.flat, np.flatnonzero(~automatic), strict=False):
    ax.imshow(-data.images_test[400 + row], cmap="gray")
    ax.set_title(decision[row], size=9, color="tab:blue" if decision[row] == truth_new[row] else "tab:red")
    ax.set(xticks=[], yticks=[])
plt.show()

# %% [markdown]
# ## Is today like the calibration set?
#
# The guarantee holds for images like those of the calibration set. A monitor compares each day with them. It
# finds nothing unusual about the new day, and it notices a day on which only images to be blocked arrive.

# %%
monitor = ShiftMonitor(vilu, alpha=0.01, random_state=0).fit(z_calibration, z_txt)
print("Today:", monitor.check(z_new))
print("\nUploads to be blocked:", monitor.check(z_new[truth_new == "block"]))
