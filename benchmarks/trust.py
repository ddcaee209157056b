"""What happens where data, files or settings are not as they should be, as Markdown tables.

    python benchmarks/trust.py [--draws 500] [--embeddings FOLDER]

1. Cases: what each gives, on small inputs that are drawn here.
2. Guarantees: draws in which a quarter of the images are one frame; how often a guarantee of 5 % is broken
   if images are scored in one batch or one per call, and the share accepted, with and without the second
   scoring of images near the threshold.
3. Rows of the fit that are recognised: among test rows (alarms), and among train rows in other types and
   orders, of the .npz files in FOLDER, which `benchmarks/_sets.py` describes.
"""

import contextlib
import io
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import _sets
import numpy as np
import torch
from _sets import open_sets

from vilu_sdk import MCMScorer, ViLUEstimator
from vilu_sdk.cli import main as vilu
from vilu_sdk.compute.progress import track
from vilu_sdk.evaluation import evaluate
from vilu_sdk.inputs.rows import Rows
from vilu_sdk.scale import score_to_folder
from vilu_sdk.scorers.base.fit_rows import FitRows
from vilu_sdk.selective import SelectivePredictor, ShiftMonitor

SETS = ("dtd", "stanford_cars", "imagenet")
MCM = MCMScorer(logit_scale=20.0)
CASES: dict[str, Callable[[SimpleNamespace], str]] = {}


def case(name: str) -> Callable[[Callable[[SimpleNamespace], str]], Callable[[SimpleNamespace], str]]:
    def keep(function: Callable[[SimpleNamespace], str]) -> Callable[[SimpleNamespace], str]:
        CASES[name] = function
        return function

    return keep


def draw(n: int = 400, k: int = 10, d: int = 32, seed: int = 0) -> SimpleNamespace:
    rng = np.random.default_rng(seed)
    z_txt = rng.normal(size=(k, d)).astype(np.float32)
    labels = rng.integers(k, size=n)
    z_img = (z_txt[labels] + 2.0 * rng.normal(size=(n, d))).astype(np.float32)
    return SimpleNamespace(z_img=z_img, z_txt=z_txt, labels=labels, rng=rng)


def outcome(call: Callable[[], Any]) -> str:
    """Return the first warning or error of a call, or that there was none."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            call()
        except Exception as error:
            return f"{type(error).__name__}: {error}"
    return f"{caught[0].category.__name__}: {caught[0].message}" if caught else "nothing is said"


def shell(line: str) -> str:
    """Return the exit code of a command, and what it said last."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            code = vilu(line.split())
        except SystemExit as stopped:
            code = stopped.code
    last = said.getvalue().strip().splitlines()
    return f"exit {code or 0}{': ' + last[-1].removeprefix('vilu: error: ') if last else ''}"


@case("`-o` is a file that the command reads")
def overwriting(data: SimpleNamespace) -> str:
    return shell("score images.npy texts.npy --scorer mcm -o images.npy")


@case("two texts of one name")
def equal_names(data: SimpleNamespace) -> str:
    Path("names.txt").write_text("\n".join(["cat", "dog", "cat", *map(str, range(7))]))
    return shell("evaluate images.npy texts.npy --labels labels.npy --names names.txt --scorer mcm")


@case("labels that count from 1, in range")
def from_one(data: SimpleNamespace) -> str:
    some = data.labels < 9
    return outcome(lambda: evaluate(MCM, data.z_img[some], data.z_txt, data.labels[some] + 1))


@case("texts in another order than the labels")
def reordered(data: SimpleNamespace) -> str:
    return outcome(lambda: evaluate(MCM, data.z_img, data.z_txt[::-1].copy(), data.labels))


@case("a threshold on the rows of the fit")
def fit_rows(data: SimpleNamespace) -> str:
    est = ViLUEstimator(logit_scale=20.0, random_state=0).fit(data.z_img, data.z_txt, data.labels)
    return outcome(lambda: SelectivePredictor(est, 0.1).fit(data.z_img, data.z_txt, data.labels))


@case("the logarithm in the place of the logit scale")
def logarithm(data: SimpleNamespace) -> str:
    scale = torch.nn.Parameter(torch.tensor(4.6052))
    return outcome(lambda: MCMScorer(logit_scale=scale).decision_function(data.z_img, data.z_txt))


@case("autocast, no_grad, inference mode, another default type and device: largest change of a score")
def torch_state(data: SimpleNamespace) -> str:
    def fit_and_score() -> Any:
        est = ViLUEstimator(logit_scale=20.0, random_state=0).fit(data.z_img, data.z_txt, data.labels)
        return est.decision_function(data.z_img, data.z_txt)

    expected, changes = fit_and_score(), []
    states: list[Any] = [torch.autocast("cpu"), torch.no_grad(), torch.inference_mode(), torch.device("meta")]
    for state in states:
        with state:
            changes.append(np.abs(fit_and_score() - expected).max())
    for dtype in (torch.bfloat16, torch.float64):
        torch.set_default_dtype(dtype)
        changes.append(np.abs(fit_and_score() - expected).max())
    torch.set_default_dtype(torch.float32)
    return f"{max(changes):.1g}"


@case("two equal texts: predictions that are not the first")
def twins(data: SimpleNamespace) -> str:
    texts = np.concatenate([data.z_txt, data.z_txt])
    alone = [int(MCM.predict(image[None], texts)[0]) for image in data.z_img]
    return str(int((np.array([*MCM.predict(data.z_img, texts), *alone]) >= len(data.z_txt)).sum()))


@case("a source embedded anew, into the same folder of scores")
def stale(data: SimpleNamespace) -> str:
    np.save("source.npy", data.z_img)
    score_to_folder("source.npy", "scores", MCM, data.z_txt)
    times = os.stat("source.npy")
    np.save("source.npy", data.z_img[::-1].copy())
    os.utime("source.npy", ns=(times.st_atime_ns, times.st_mtime_ns))
    return outcome(lambda: score_to_folder("source.npy", "scores", MCM, data.z_txt))


@case("a parquet file whose first row is null")
def null_row(data: SimpleNamespace) -> str:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"z": [None, *data.z_img[1:].tolist()]}), "null.parquet")
    return shell("score null.parquet texts.npy --scorer mcm")


@case("a masked embedding")
def masked(data: SimpleNamespace) -> str:
    images = np.ma.masked_array(data.z_img, np.zeros(data.z_img.shape, bool))
    images[7, 3] = np.ma.masked
    return outcome(lambda: MCM.decision_function(images, data.z_txt))


@case("texts that are not embedded")
def strings(data: SimpleNamespace) -> str:
    return outcome(lambda: MCM.decision_function(data.z_img, ["a cat", "a dog"]))


@case("four views of each image, without `groups`")
def views(data: SimpleNamespace) -> str:
    noise = 0.2 * data.rng.normal(size=(4 * len(data.z_img), data.z_img.shape[1]))
    images, labels = data.z_img.repeat(4, axis=0) + noise, data.labels.repeat(4)
    return outcome(lambda: ViLUEstimator(logit_scale=20.0, random_state=0).fit(images, data.z_txt, labels))


@case("a third of a stream is one frame: alarms of a monitor at 5 %")
def frames(data: SimpleNamespace) -> str:
    alarms = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        images = data.z_img[rng.permutation(len(data.z_img))].copy()
        images[rng.random(len(images)) < 0.3] = data.z_img[2]
        monitor = ShiftMonitor(MCM, alpha=0.1, n_permutations=39, random_state=seed)
        alarms += bool(monitor.fit(images[:200], data.z_txt).check(images[200:]).scores_moved)
    return f"{alarms} of 40"


def show_cases() -> None:
    print("| case | what it gives |\n|---|---|")
    data = draw()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for name, array in (("images", data.z_img), ("texts", data.z_txt), ("labels", data.labels)):
            np.save(f"{name}.npy", array)
        for name, function in CASES.items():
            print(f"| {name} | {function(data)} |", flush=True)


def show_promises(draws: int) -> None:
    """Broken promises and accepted share, by how images are scored."""
    rng = np.random.default_rng(0)
    k, d = 47, 128
    z_txt = rng.normal(size=(k, d)).astype(np.float32)

    def stream(n: int, frame: Any) -> tuple[Any, Any]:
        labels = rng.integers(k, size=n)
        images = (z_txt[labels] + 1.5 * rng.normal(size=(n, d))).astype(np.float32)
        images[rng.random(n) < 0.25] = frame
        return images, labels

    found: dict[tuple[str, str], list[tuple[bool, float]]] = {}
    for _ in track(range(draws), "promises"):
        frame = (2 * z_txt.mean(axis=0) + rng.normal(size=d)).astype(np.float32)
        images, labels = stream(600, frame)
        chosen = SelectivePredictor(MCM, 0.05).fit(images, z_txt, labels)
        images, labels = stream(10_000, frame)
        wrong, block = MCM.predict(images, z_txt) != labels, (images == frame).all(axis=1)
        threshold = chosen.report_.threshold
        looks: dict[str, Callable[[Any], Any]] = {
            "without": lambda z, at=threshold: MCM.decision_function(z, z_txt) <= at,
            "with": lambda z, by=chosen: by.accept(z, z_txt),
        }
        ways = {}
        for look, accept in looks.items():
            ways["one batch", look] = accept(images)
            # What is scored with it matters to the frame alone, whose value lies at the threshold.
            ways["one per call", look] = np.where(block, accept(frame[None]), ways["one batch", look])
        for way, accepted in ways.items():
            risk = wrong[accepted].mean() if accepted.any() else 0.0
            found.setdefault(way, []).append((risk > 0.05, accepted.mean()))
    print("\n| scored | second scoring | risk above 5 % | accepted |\n|---|---|---|---|")
    for way, values in found.items():
        broken, share = np.mean(values, axis=0)
        print(f"| {' | '.join(way)} | {broken:.1%} | {share:.2%} |")


def show_fit_rows(folder: Path, names: str) -> None:
    print("\n| set | test rows | alarms | train rows | recognised: as they are, float32, float16, shuffled |")
    print("|---|---|---|---|---|")
    for name, data in open_sets(folder, names).items():
        assert data.test is not None
        train, test = data.train[0], data.test[0]
        known = FitRows.of(Rows(train, "z_img"))
        unit = train / np.linalg.norm(train, axis=1, keepdims=True)
        kinds = (train, unit.astype(np.float32), unit.astype(np.float16), 3.7 * train[::-1])
        hits = ", ".join(str(known.count(Rows(rows, "z_img"))) for rows in kinds)
        print(f"| {name} | {len(test)} | {known.count(Rows(test, 'z_img'))} | {len(train)} | {hits} |")
    rows = np.random.default_rng(0).normal(size=(1_000_000, 512)).astype(np.float32)
    start = time.perf_counter()
    known = FitRows.of(Rows(rows, "z_img"))
    size = known.hashes.nbytes / len(rows)
    print(f"\n{size:.0f} bytes a row; a million rows of width 512 take {time.perf_counter() - start:.1f} s.")


def main() -> None:
    parser = _sets.parser(__doc__, SETS)
    parser.add_argument("--draws", type=int, default=100)
    arguments = parser.parse_args()
    show_cases()
    show_promises(arguments.draws)
    if arguments.embeddings.is_dir():
        show_fit_rows(arguments.embeddings, arguments.sets)


if __name__ == "__main__":
    main()
