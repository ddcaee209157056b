"""How much any method could accept that keeps its promise in every world.

Of a world whose error rate grows with the score, a method accepts at least the share s no more often than the
best test of level delta tells this world from one where all who accept that much break the promise (Neyman
and Pearson). In the nearest such world the most certain share s errs at the target, and so does whatever
behind it errs less. The mean accepted share is the integral of these probabilities.
"""

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

POINTS, SIMULATED = 40, 4000


def most_accepted(decision: NDArray, wrong: NDArray, target: float, rows: int, delta: float) -> float:
    """Return the largest mean share that can be accepted with the promise kept, of so many labelled rows."""
    rate = IsotonicRegression().fit_transform(
        np.arange(len(wrong)), wrong[np.argsort(decision)].astype(float)
    )
    jumps = np.append(np.flatnonzero(np.diff(rate)) + 1, len(rate))
    ends = np.unique(np.append(jumps, np.linspace(0, len(rate), POINTS + 1)[1:].astype(np.int64)))
    sizes, errors = np.diff(ends, prepend=0) / len(rate), np.add.reduceat(rate, np.append(0, ends[:-1]))
    rates, risks = errors / np.diff(ends, prepend=0), np.cumsum(errors) / ends
    rng, total, chance = np.random.default_rng(0), 0.0, 1.0
    for j, end in enumerate(ends):
        if risks[j] > target:
            break
        total += sizes[j] * chance
        behind = np.flatnonzero((rates < target) & (np.arange(len(ends)) > j))
        here, shares = np.append(risks[j], rates[behind]), np.append(end / len(rate), sizes[behind])
        chance = min(chance, power(here, shares, target, rows, delta, rng))
    return total


def power(
    rates: NDArray, shares: NDArray, target: float, rows: int, delta: float, rng: np.random.Generator
) -> float:
    """Return how often the best test rejects "these shares err at the target" where they err at the rates."""

    def evidence(rates_drawn: NDArray) -> NDArray:
        """Return logarithms of the likelihood ratio, of error rates of the target to those here."""
        split = np.append(shares, max(0.0, 1 - shares.sum()))
        n = rng.multinomial(rows, split / split.sum(), size=SIMULATED)[:, :-1]
        wrong = rng.binomial(n, rates_drawn)
        with np.errstate(divide="ignore", invalid="ignore"):
            of_wrong = np.where(wrong > 0, wrong * np.log(target / rates), 0.0)
        return (of_wrong + (n - wrong) * np.log((1 - target) / (1 - rates))).sum(axis=1)

    there, here = evidence(np.full(len(rates), target)), evidence(rates)
    limit = np.quantile(there, delta, method="inverted_cdf")
    surely, perhaps = (there < limit).mean(), (there == limit).mean()
    # At the limit itself the test draws lots, so that its level is used up.
    lot = (delta - surely) / perhaps
    return float((here < limit).mean() + lot * (here == limit).mean())
