"""The field's table: who finds wrong predictions, on sets of classes, as Markdown.

    python benchmarks/field.py --embeddings FOLDER [--sets dtd,imagenet] [--keep CELLS]

FOLDER holds .npz files as `benchmarks/_sets.py` reads them. Scorers that learn are fitted on train rows and
all are measured on test rows: means over sets with all labels; mean AUC with 100, 500 and all; AUC and FPR95
on each set. With `--keep` it goes on where it was killed. Scorers that ask for images of no candidate come
last. Those that take minutes a set (LVU, ProbVLM, ViLU as published) are in `benchmarks/probabilistic.py` and
`benchmarks/paper`.
"""

from pathlib import Path

import _sets
import torch

from vilu_sdk import (
    BayesVLMScorer,
    DeltaKNNScorer,
    DeltaMDSScorer,
    DoctorScorer,
    EnergyScorer,
    EntropyScorer,
    ICPEScorer,
    MahalanobisScorer,
    MarginScorer,
    MaxLogitScorer,
    MCMScorer,
    NeighbourScorer,
    RelUScorer,
    SoftmaxHeadScorer,
    TemperatureScaledMCMScorer,
    TrustVLMScorer,
    ViLUEstimator,
)
from vilu_sdk.evaluation import benchmark

SETS = ("dtd", "stanford_cars", "imagenet", "cifar10_tower", "sun397", "caltech101", "ucf101_objects")
SCORERS = {
    "MCM": MCMScorer(),
    "margin": MarginScorer(),
    "margin of logits": MarginScorer(of="logits"),
    "entropy": EntropyScorer(),
    "DOCTOR": DoctorScorer(),
    "TS+MCM": TemperatureScaledMCMScorer(),
    "softmax head": SoftmaxHeadScorer(),
    "Rel-U": RelUScorer(),
    "BayesVLM": BayesVLMScorer(random_state=0),
    "TrustVLM": TrustVLMScorer(),
    "TrustVLM*": TrustVLMScorer(readout="softmax"),
    "ICPE": ICPEScorer(),
    "Δ-KNN": DeltaKNNScorer(),
    "Δ-KNN-RLog": DeltaKNNScorer(margin_weight=0.1),
    "Δ-MDS": DeltaMDSScorer(),
    "Δ-MDS-RLog": DeltaMDSScorer(margin_weight=0.2),
    "ViLU": ViLUEstimator(random_state=0),
    "MaxLogit": MaxLogitScorer(),
    "energy": EnergyScorer(),
    "Mahalanobis": MahalanobisScorer(),
    "relative Mahalanobis": MahalanobisScorer(relative=True),
    "neighbour": NeighbourScorer(),
}
COLUMNS = ("accuracy", "auc", "fpr95", "aurc", "answered_at_5", "ece", "fit_seconds")
LABELS = (100, 500, "all")


if __name__ == "__main__":
    parser = _sets.parser(__doc__, SETS)
    parser.add_argument("--keep", type=Path, metavar="CELLS", help="keep finished cells in this folder")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    paths = {name: arguments.embeddings / f"{name}.npz" for name in arguments.sets.split(",")}
    sets = {name: path for name, path in paths.items() if path.exists()}
    found = benchmark(SCORERS, sets, labels=LABELS, folder=arguments.keep)
    print(found.to_markdown(COLUMNS, layout="means", digits=1))
    curves = found.learning_curves("auc")
    print("\n| mean AUC |", " | ".join(map(str, LABELS)), "|\n|---|" + "---:|" * len(LABELS))
    for name, curve in found.learning_curves("auc").items():
        print(f"| {name} |", " | ".join(f"{100 * auc:.1f}" for _, auc in curve), "|")
    for metric in ("auc", "fpr95"):
        print("\n" + found.to_markdown([metric], layout="scorers", digits=1).partition("\n\n")[0])
