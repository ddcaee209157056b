"""Former name of `unknown`, by which pickles of fitted estimators and code outside ask for it."""

from vilu_sdk.scorers.base.unknown import LEAD, MOST, Background

__all__ = ["LEAD", "MOST", "Background"]
