"""The prose of the page."""

COMPARISON = """\
All scorers see the same images and the same failures: rows whose zero-shot prediction, the most similar
candidate, is wrong. AUC: how often a wrong prediction gets a higher uncertainty than a right one. FPR95:
wrong predictions accepted when 95 % of the right ones are. AURC and AUGRC: errors among what is kept,
averaged over all thresholds. ECE: how far the uncertainty is from a probability. ↑ higher is better, ↓
lower is better."""

ROC = "Marks: where 95 % of the right predictions are accepted."
NOT_ALL = " Only the scorers with the highest AUC and the one they are compared with."
RISK = "Errors among the predictions that are kept, over the share kept, the most certain first."
STAR = " A star marks a threshold with a guarantee, the bar above it what is guaranteed."
RELIABILITY = """\
Failure rate of predictions with similar uncertainty. On the diagonal it is a probability. Bars: 95 %
intervals."""
DISTRIBUTION = "The less both overlap, the better."

THRESHOLDS = """\
A threshold on the decision function of {focus} decides which predictions are accepted; the others go, for
instance, to a person. The table counts what it would have done on the rows of this report."""
BOUND = """\
“At most” is the upper end of the one-sided 95 % interval of the error rate (Clopper and Pearson). It holds
for each threshold by itself, if it was fixed before these labels were seen; “keep 95 % of the right ones”
and “catch 95 % of the errors” look at the labels, so there it is only a guide."""
GUARANTEE = """\
These thresholds were found on a calibration set, and their guarantees hold for images from the same source.
The counts are those of the rows of this report, where the errors can exceed the guarantee by chance."""

EXAMPLES = """\
Rows count from 0, in the order in which the images were given. A person would look at the most uncertain
predictions first; the most certain mistakes are the last that a threshold would catch."""

UNKNOWN = """\
{n} images ({share}) have the label -1: they show none of the candidates. The novelty of {focus} ranks them
above the others {auc} of the time (AUC), and lets {fpr95} of them pass where 95 % of the others do (FPR95).
The uncertainty ranks them above the others {by} of the time."""
NOVELTY = "The less both overlap, the better images of no candidate are found."

CLASSES = """\
In brackets the number of images. Where the mean uncertainty is far from the failure rate, the scorer
misjudges the class. Bars: 95 % intervals."""
CONFUSIONS = "Flagged: less certain than 95 % of the right predictions."

REPRODUCTION = "Scorers were used as fitted before; the page does not record the data of their fit."
SNIPPET = """\
from vilu_sdk.report import report

# scorers: a dict of the fitted scorers above, by name; the arrays as above, in the same order
report(
    scorers,
    z_img,
    z_txt,
    {labels},
    {path!r}{options},
)"""
