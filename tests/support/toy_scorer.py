"""A scorer with everything in it that can be saved."""

import numpy as np
import torch

from vilu_sdk.scorers import Among, Scorer


class ToyScorer(Scorer):
    """Has a parameter and a learned attribute of every kind that is stored."""

    def __init__(self, *, bias=None, random_state=None):
        self.bias = bias
        self.random_state = random_state

    def _learn(self, task):
        self.weight_ = torch.arange(4.0)[::2]
        self.array_ = np.asfortranarray(np.arange(6, dtype=">f8").reshape(2, 3))
        self.flags_ = np.array([True, False])
        self.scalar_array_ = np.array(2.5)
        self.mixed_ = [np.float32(1.5), None, "x", True, 2, (1, {"a": torch.ones(2)}), float("-inf")]
        self.dtype_ = torch.bfloat16
        self.device_ = torch.device("cpu")
        self._scratch_ = object()

    def _among(self, text):
        return Among(text, decision=lambda chunk: chunk.z @ text.mean(dim=0))
