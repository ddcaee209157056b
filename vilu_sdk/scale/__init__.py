"""Scoring by many processes, piece by piece and with any engine, and fits that share their work."""

from vilu_sdk.compute.distributed import process_group, rank, world_size
from vilu_sdk.exceptions import ProcessDiedError
from vilu_sdk.scale.job import Scored, score_to_folder
from vilu_sdk.scale.partition import score_partition
from vilu_sdk.scale.ray import score_dataset

__all__ = [
    "ProcessDiedError",
    "Scored",
    "process_group",
    "rank",
    "score_dataset",
    "score_partition",
    "score_to_folder",
    "world_size",
]

for _name in __all__:
    globals()[_name].__module__ = __name__
del _name
