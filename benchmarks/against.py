"""The SDK beside what one would write or take instead: rate, memory, lines, on the same images in one run.

All score the same unit images among the same candidates on one thread, by turns; the medians of CPU seconds
over the rounds count. `numpy` is the softmax in four lines of numpy. `LogisticRegression` is scikit-learn's,
fitted on embeddings, of which the largest probability is taken. `faiss` finds the nearest candidate by an
exact index (pip install faiss-cpu), which is a prediction without an uncertainty. `module` is the published
network as a plain torch module, run as its equations say it, a batch of 1,024 at a time: its authors' code is
not at hand here. Memory is what the process holds at most
meanwhile, beyond what it held before (Linux). Lines are those of the function that is timed.

python benchmarks/against.py
"""

import argparse
import importlib.util
import inspect
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from growth import held, settled
from scoring import fitted, plain, unit
from sklearn.linear_model import LogisticRegression

from vilu_sdk import MCMScorer, set_progress

D = 512
MCM = MCMScorer()


def numpy_softmax(z: Any, text: Any) -> Any:
    logits = 100 * z @ text.T
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return p.argmax(axis=1), 1 - p.max(axis=1)


def mcm(z: Any, text: Any) -> Any:
    said = MCM.judge(z, text)
    return said.prediction, said.uncertainty


def faiss_nearest(z: Any, text: Any) -> Any:
    import faiss

    faiss.omp_set_num_threads(1)
    index = faiss.IndexFlatIP(text.shape[1])
    index.add(text)
    return index.search(z, 1)[1]


def ways(n: int, k: int) -> dict[str, tuple[Callable[[], Any], Any]]:
    """What is timed by its name, and the code that a user would write."""
    z, text = unit(n, D, 3).numpy(), unit(k, D, 4).numpy()
    some, labels = unit(2000, D, 5).numpy(), np.arange(2000) % min(k, 100)
    found: dict[str, tuple[Callable[[], Any], Any]] = {
        "numpy": (lambda: numpy_softmax(z, text), numpy_softmax),
        "MCM, predictions and uncertainties": (lambda: mcm(z, text), mcm),
        "MCM, uncertainties": (lambda: MCM.predict_uncertainty(z, text), None),
    }
    if importlib.util.find_spec("faiss"):
        found["faiss, predictions alone"] = (lambda: faiss_nearest(z, text), faiss_nearest)
        found["MCM, predictions alone"] = (lambda: MCM.predict(z, text), None)
    if k <= 100:
        model = LogisticRegression(max_iter=20).fit(some, labels)
        found["LogisticRegression"] = (lambda: model.predict_proba(z).max(axis=1), None)
    default, published = fitted(D)
    found["module, published network"] = (
        plain(published, torch.from_numpy(z), torch.from_numpy(text)),
        plain,
    )
    found["ViLU as published"] = (lambda: published.predict_uncertainty(z, text), None)
    found["ViLU, default recipe"] = (lambda: default.predict_uncertainty(z, text), None)
    return found


def memory(run: Callable[[], Any]) -> float:
    """Megabytes that a run holds at most, beyond what is held already."""
    before = settled()
    run()
    return max(0.0, held("VmHWM") - before)


def lines(code: Any) -> int:
    """Lines of a function without its head; one for a call of the SDK or of scikit-learn."""
    if code is None:
        return 1
    return sum(1 for line in inspect.getsource(code).splitlines()[1:] if line.strip() and '"""' not in line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=8192)
    parser.add_argument("--candidates", type=int, nargs="+", default=[10, 1000])
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(1)
    set_progress(False)
    warnings.simplefilter("ignore")
    print("| candidates | way | images a CPU second | spread of the rounds | memory, MB | lines |")
    print("|---:|---|---:|---|---:|---:|")
    for k in args.candidates:
        found = ways(args.images, k)
        times: dict[str, list[float]] = {name: [] for name in found}
        for _ in range(args.rounds + 1):
            for name, (run, _) in found.items():
                start = time.process_time()
                run()
                times[name].append(time.process_time() - start)
        for name, (run, code) in found.items():
            rates = args.images / np.array(times[name][1:])
            low, middle, high = np.percentile(rates, [25, 50, 75])
            print(
                f"| {k:,} | {name} | {middle:,.0f} | {low:,.0f} to {high:,.0f} | {memory(run):.0f} | "
                f"{lines(code)} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
