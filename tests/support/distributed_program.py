"""What the processes of test_distributed.py do: `torchrun distributed_program.py fit|die FOLDER`."""

import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from vilu_sdk import (
    BayesVLMScorer,
    DeltaKNNScorer,
    DeltaMDSScorer,
    EntropyScorer,
    ICPEScorer,
    LVUScorer,
    MCMScorer,
    PaperRecipe,
    ProbVLMScorer,
    RelUScorer,
    SoftmaxHeadScorer,
    TemperatureScaledMCMScorer,
    TrustVLMScorer,
    ViLUEstimator,
)
from vilu_sdk.compute.distributed import ProcessDiedError, from_all, own_rows, process_group, rank
from vilu_sdk.inputs.rows import Rows
from vilu_sdk.inputs.shards import Shards, open_embeddings, open_pairs
from vilu_sdk.inputs.task import check_task
from vilu_sdk.persistence.encoding import encode
from vilu_sdk.scorers import CalibratedScorer
from vilu_sdk.scorers.base.scorer import Scorer
from vilu_sdk.scorers.posterior import classes
from vilu_sdk.training import feed, resume

# The second of two processes owns the last two files, so that many a batch has none of its rows.
FILES = (600, 20, 20)
SCALE = 10.0
PAPER = PaperRecipe(epochs=3, batch_size=16, hidden=(8,), warmup_epochs=1, freeze_steps=20)


def write(root: Path) -> None:
    """Write six classes in 16 dimensions, right about three times in four, and a caption for each image."""
    rng = np.random.default_rng(0)
    z_txt = rng.normal(size=(6, 16)).astype(np.float32)
    labels = rng.integers(6, size=sum(FILES))
    z_img = (z_txt[labels] + 1.8 * rng.normal(size=(len(labels), 16))).astype(np.float32)
    captions = (z_txt[labels] + rng.normal(size=z_img.shape)).astype(np.float32)
    np.savez(root / "known.npz", z_txt=z_txt, labels=labels, z_img=z_img, captions=captions)
    bad = z_img.copy()
    bad[630] = np.nan
    for name, whole in (("img_emb", z_img), ("text_emb", captions), ("bad", bad)):
        (root / name).mkdir()
        for i, part in enumerate(np.split(whole, np.cumsum(FILES)[:-1])):
            np.save(root / name / f"{name}_{i}.npy", part)


def small_buffers() -> None:
    """Stream rows on disk through buffers of 64 rows in blocks of 4, and sample 300 of the classes' rows."""
    feed.BUFFER_ELEMENTS, feed.BLOCK_ELEMENTS = 64 * 16, 4 * 16
    classes.SAMPLE, classes.SAMPLE_ELEMENTS = 300, 300 * 6


def cases(root: Path) -> Iterator[tuple[str, Scorer, tuple[Any, ...], dict[str, Any]]]:
    """Yield fits: name, scorer, arguments."""
    known = np.load(root / "known.npz")
    z_txt, labels, z_img, captions = (known[name] for name in ("z_txt", "labels", "z_img", "captions"))
    images, pairs = open_embeddings(root / "img_emb"), open_pairs(root)
    right = {"correct": MCMScorer().predict(z_img, z_txt) == labels}
    weights = {"sample_weight": np.linspace(0.5, 2, len(labels))}
    seeded = {"logit_scale": SCALE, "random_state": 0}
    paper = ViLUEstimator(PAPER, **seeded)
    mse = PaperRecipe(epochs=2, batch_size=16, hidden=(8,), target="tcp", weighting="static", mcm_input=True)
    calibrated = PaperRecipe(epochs=2, batch_size=24, hidden=(8,), calibrated=True)
    lvu = LVUScorer(epochs=3, batch_size=16, hidden=(8,), **seeded)
    prob, auto = ProbVLMScorer(hidden=4, epochs=2, **seeded), ViLUEstimator(**seeded)
    bayes = BayesVLMScorer(batch_size=100, **seeded)
    yield "ViLU, labels", paper, (z_img, z_txt, labels), {}
    yield "ViLU, captions in files", paper, pairs, {}
    yield "ViLU, feedback", ViLUEstimator(calibrated, **seeded), (images, z_txt), right
    yield "ViLU, squared error", ViLUEstimator(mse, **seeded), (images, z_txt, labels), {}
    noise = PaperRecipe(epochs=2, batch_size=16, hidden=(8,), view_noise=0.5)
    yield "ViLU, noise", ViLUEstimator(noise, **seeded), (images, z_txt, labels), {}
    yield "LVU, labels, files", lvu, (images, z_txt, labels), {}
    yield "LVU, captions", lvu, (z_img, captions), {}
    yield "ProbVLM, captions in files", prob, pairs, {}
    yield "auto, labels, files", auto, (images, z_txt, labels), {}
    yield "auto, feedback", auto, (z_img, z_txt), right
    yield "auto, captions in files", auto, pairs, {}
    yield "BayesVLM, labels", bayes, (images, z_txt, labels), {}
    yield "BayesVLM, feedback", bayes, (z_img, z_txt), right
    yield "BayesVLM, captions in files", bayes, pairs, {}
    yield "Rel-U, weights", RelUScorer(logit_scale=SCALE, lam=0.5), (images, z_txt, labels), weights
    yield "temperature", TemperatureScaledMCMScorer(logit_scale=SCALE), (images, z_txt, labels), weights
    ece = TemperatureScaledMCMScorer(logit_scale=SCALE, objective="ece")
    yield "temperature, ECE", ece, (images, z_txt, labels), {}
    entropy = CalibratedScorer(EntropyScorer(logit_scale=SCALE), random_state=0)
    yield "entropy, calibrated", entropy, (images, z_txt, labels), {}
    yield "softmax head", SoftmaxHeadScorer(logit_scale=SCALE), (images, z_txt, labels), weights
    yield "softmax head, captions in files", SoftmaxHeadScorer(logit_scale=SCALE), pairs, {}
    yield "TrustVLM", TrustVLMScorer(logit_scale=SCALE), (images, z_txt, labels), weights
    yield "ICPE", ICPEScorer(logit_scale=SCALE, components=4), (images, z_txt, labels), weights
    yield "Δ-KNN", DeltaKNNScorer(logit_scale=SCALE, max_images=40), (images, z_txt, labels), {}
    yield "Δ-MDS", DeltaMDSScorer(logit_scale=SCALE), (images, z_txt, labels), weights
    yield "MCM", MCMScorer(logit_scale=SCALE), (images, z_txt, labels), {}


def learned(scorer: Scorer) -> dict[str, torch.Tensor]:
    """Every array of a fitted scorer; of roots, which are unique up to a rotation, the square."""
    tensors: dict[str, torch.Tensor] = {}
    encode(scorer, "", tensors)
    return {name: t @ t.T if name.endswith("_root_") else t for name, t in tensors.items()}


def outcome(scorer: Scorer, args: tuple[Any, ...]) -> dict[str, torch.Tensor]:
    """What was learned, and the scores of some rows."""
    return learned(scorer) | {"scores": torch.tensor(scorer.decision_function(args[0][:99], args[1][:99]))}


def log_reads() -> list[tuple[str, np.ndarray]]:
    """Keep which rows of which folder are read."""
    log, read = [], Shards._read

    def logged(shards: Shards, rows: np.ndarray) -> np.ndarray:
        log.append((shards.path.name, rows))
        return read(shards, rows)

    Shards._read = logged
    return log


def raised(function: Callable[[], Any]) -> str:
    """Return the error that a function raises."""
    try:
        function()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def fit(root: Path) -> None:
    """Fit all cases, and everything else that two processes can show in one start; save it by rank."""
    small_buffers()
    found: dict[str, Any] = {"reads": {}}
    log = log_reads()
    for name, scorer, args, more in cases(root):
        log.clear()
        with process_group(timeout=60):
            scorer.fit(*args, **more)
            own = own_rows(Rows(args[0], "z_img"))
        others = [(folder, np.setdiff1d(rows, np.arange(own.start, own.stop))) for folder, rows in log]
        found["reads"][name] = [(folder, len(rows)) for folder, rows in others if len(rows)]
        found[name] = outcome(scorer, args)

    (_, paper, args, _), (_, _, pairs, _), *_ = cases(root)
    with process_group(timeout=60):
        found["resumed"] = outcome(paper.fit(*pairs, checkpoint=root / "state"), pairs)
        paper.set_params(random_state=None)._learn(check_task(*args))
        found["before the end"] = from_all(learned(paper))
        with warnings.catch_warnings(record=True) as caught:
            ViLUEstimator().fit(args[0][:5], args[1], args[2][:5])
        found["warnings"] = len(caught)
        paper.set_params(random_state=0).fit(*args)
        paper.save_pretrained(root / "saved")  # both, at the same time
        found["saved"] = outcome(paper, args)
        found["adapted"] = outcome(paper.adapt(args[0][:99], args[1], args[2][:99]), args)
        found["moved"] = outcome(ViLUEstimator(random_state=0).adapt(*args[:2]), args)
        moved = args[0].copy()
        moved[7] += rank()
        found["other data"] = raised(lambda: paper.fit(moved, *args[1:]))
        found["other settings"] = raised(lambda: RelUScorer(lam=0.1 * (1 + rank())).fit(*args))
        found["on its own"] = MCMScorer().predict(*args[:2]) if rank() else None

    torch.distributed.init_process_group("gloo")
    with process_group(timeout=60):
        found["joined"] = outcome(paper.fit(*args), args)
    torch.distributed.destroy_process_group()

    def bad_row() -> None:
        with process_group(timeout=60):
            MCMScorer().fit(open_embeddings(root / "bad"), *args[1:])

    def silence() -> None:
        with process_group(timeout=1):
            if rank():
                time.sleep(5)
            else:
                RelUScorer().fit(*args)

    found["bad row"], found["silence"] = raised(bad_row), raised(silence)
    torch.save(found, root / f"found_{rank()}.pt")


def die(root: Path) -> None:
    """Let the second process die in the middle of a fit."""
    small_buffers()
    resume.EVERY_SECONDS = 0.0
    steps = []

    def step(*_: Any) -> None:
        steps.append(1)
        if rank() == 1 and len(steps) == 50:
            os.kill(os.getpid(), signal.SIGKILL)

    register_optimizer_step_post_hook(step)
    _, (_, paper, pairs, _), *_ = cases(root)
    with process_group(timeout=60):
        try:
            paper.fit(*pairs, checkpoint=root / "state")
        except ProcessDiedError as error:
            print(error, flush=True)
            raise


if __name__ == "__main__":
    {"fit": fit, "die": die}[sys.argv[1]](Path(sys.argv[2]))
