"""What the authors' trainer saves, made small from golden values."""

import json

import numpy as np
import torch

from support import paths
from vilu_sdk.scorers.official import convert_official_checkpoint

GOLDEN = json.loads((paths.GOLDEN / "vilu_official.json").read_text())
SCALE, D = 10.0, 8
FREEZE = 4
NAMES = ["full", "visual_only", "visual_pred", "visual_attention"]


def official_content(name="full", steps=FREEZE + 1):
    """What the authors' trainer saves, numpy numbers in the meters included."""
    state = {key: torch.tensor(value) for key, value in GOLDEN["forward"][name]["state_dict"].items()}
    return {
        "epoch": 299,
        "train_meter": {"loss": 0.2, "fpr": np.float32(0.5), "auc": np.float64(0.9)},
        "state_dict": {"iteration_count": torch.tensor(steps), **state},
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.0, "momentum": 0.9}]},
        "scheduler": {"_last_lr": [0.0]},
    }


def saved(folder, content):
    path = folder / "model.ckpt"
    torch.save(content, path)
    return path


def convert(path, **options):
    return convert_official_checkpoint(path, **{"logit_scale": SCALE, "n_iter_freeze": FREEZE, **options})
