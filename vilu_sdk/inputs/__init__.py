"""What comes in: embeddings, candidates and labels, in memory and in files, checked once."""

from vilu_sdk.inputs.shards import Shards, open_embeddings, open_pairs

__all__ = ["Shards", "open_embeddings", "open_pairs"]

for _name in __all__:
    globals()[_name].__module__ = __name__
del _name
