"""ProbVLM's adapter: an embedding in, a generalised Gaussian for each coordinate out."""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self

import torch
from torch import Tensor, nn

from vilu_sdk.compute.random import seeded_init
from vilu_sdk.inputs.rows import check_layers, check_square
from vilu_sdk.persistence.encoding import storable
from vilu_sdk.training.loop import descend, require_finite
from vilu_sdk.training.resume import FitState

Likelihood = Literal["exact", "official"]
ReadPairs = Callable[[Tensor], tuple[Tensor, Tensor]]  # from numbers of pairs to their embeddings

# The constants of the authors' code: an offset that keeps 1/α and β off zero in the loss, the range of the
# likelihood's distance term, and the ranges of α and β where variances are read out.
LOSS_EPSILON = 1e-4
DISTANCE_RANGE = (1e-4, 1e3)
SCALE_RANGE = (1e-4, 5.0)
SHAPE_RANGE = (0.1, 5.0)


class GeneralisedGaussian(NamedTuple):
    """Independent coordinates of density β / (2 α Γ(1/β)) exp(-(|x - μ| / α)^β), all three (n, d)."""

    mean: Tensor
    inverse_scale: Tensor  # 0 or more, like `shape`, as the heads return them
    shape: Tensor


def negative_log_likelihood(
    residual: Tensor, inverse_scale: Tensor, shape: Tensor, likelihood: Likelihood
) -> Tensor:
    """Elementwise -log density (n, d) of a generalised Gaussian, for 1/α and β above 0."""
    term = distance(residual, inverse_scale, shape, likelihood)
    normaliser = torch.lgamma(1 / shape) - torch.log(inverse_scale) - torch.log(shape)
    # The authors' code has no ln 2.
    return term + (normaliser if likelihood == "official" else normaliser + math.log(2))


def distance(residual: Tensor, inverse_scale: Tensor, shape: Tensor, likelihood: Likelihood) -> Tensor:
    """Return the term of `negative_log_likelihood` that depends on the residual."""
    low, high = DISTANCE_RANGE
    scaled = residual.abs() * inverse_scale
    if likelihood == "official":  # the authors' code has a product in place of the power
        return (scaled * shape).clamp(low, high)
    # Cut as a logarithm: the power itself overflows, and has no finite gradient at 0.
    log_power = shape * torch.log(scaled.clamp_min(torch.finfo(scaled.dtype).tiny))
    return log_power.clamp(math.log(low), math.log(high)).exp()


def log_variance(inverse_scale: Tensor, shape: Tensor) -> Tensor:
    """Elementwise log α²Γ(3/β)/Γ(1/β), the log-variance; as a logarithm since it reaches 6e26 at β = 0.1."""
    return torch.lgamma(3 / shape) - torch.lgamma(1 / shape) - 2 * torch.log(inverse_scale)


def aleatoric_log_variance(outputs: GeneralisedGaussian) -> Tensor:
    """Return the log-variance of each coordinate (n, d), with α and β in the authors' ranges."""
    scale = (1 / (outputs.inverse_scale + 1e-5)).clamp(*SCALE_RANGE)
    return log_variance(1 / scale, (outputs.shape + SHAPE_RANGE[0]).clamp(*SHAPE_RANGE))


@storable
class ProbVLMAdapter(nn.Module):
    """Residual perceptron with heads for mean, inverse scale and shape."""

    def __init__(self, d: int, hidden: int, dropout: float) -> None:
        super().__init__()
        check_square(d)
        check_layers([d, hidden, hidden, d], "hidden")
        self.config = {"d": d, "hidden": hidden, "dropout": dropout}
        self.trunk = nn.Sequential(
            nn.Linear(d, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, d),
        )
        self.mean = nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Linear(d, d))
        self.inverse_scale = nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Linear(d, d), nn.ReLU())
        self.shape = nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Linear(d, d), nn.ReLU())

    def forward(self, z: Tensor) -> GeneralisedGaussian:
        """Return the distribution of each row (n, d)."""
        inner = z + self.trunk(z)
        return GeneralisedGaussian(self.mean(inner), self.inverse_scale(inner), self.shape(inner))

    def to_state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return the settings and tensors of this adapter."""
        return dict(self.config), dict(self.state_dict())

    @classmethod
    def from_state(cls, config: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        """Rebuild an adapter from `to_state`."""
        with torch.device("meta"):  # shapes only: the weights are those of the file, if it has that many
            adapter = cls(**config)
        adapter.load_state_dict(tensors, strict=True, assign=True)
        return adapter.eval()


@dataclass(frozen=True)
class AdapterTraining:
    """Settings of the adapters' training; see `ProbVLMScorer` for each."""

    likelihood: Likelihood
    hidden: int
    dropout: float
    mae_weight: float
    likelihood_weight: float
    cross_weight: float
    learning_rate: float
    epochs: int
    batch_size: int
    batches_per_epoch: int

    def loss(self, outputs: GeneralisedGaussian, z: Tensor) -> Tensor:
        """Weighted sum of mean absolute error and negative log-likelihood of embeddings z (n, d)."""
        residual = outputs.mean - z
        nll = negative_log_likelihood(
            residual, outputs.inverse_scale + LOSS_EPSILON, outputs.shape + LOSS_EPSILON, self.likelihood
        )
        return self.mae_weight * residual.abs().mean() + self.likelihood_weight * nll.mean()

    def pair_loss(self, image: ProbVLMAdapter, text: ProbVLMAdapter, z_img: Tensor, z_txt: Tensor) -> Tensor:
        """Loss of pairs: each side explains itself and, weakly, the other."""
        from_image, from_text = image(z_img), text(z_txt)
        own = self.loss(from_image, z_img) + self.loss(from_text, z_txt)
        return own + self.cross_weight * (self.loss(from_image, z_txt) + self.loss(from_text, z_img))


def train_adapters(
    d: int,
    train: Tensor,
    validation: Tensor,
    read: ReadPairs,
    settings: AdapterTraining,
    generator: torch.Generator,
    fit: FitState | None = None,
) -> tuple[ProbVLMAdapter, ProbVLMAdapter, list[float]]:
    """Train adapters on pairs (m,); return those best on others (v,), and the mean loss of every epoch."""
    # Dropout draws from the global generator only, so that all of the training is seeded, then undone.
    with seeded_init(generator):
        image, text = (ProbVLMAdapter(d, settings.hidden, settings.dropout) for _ in range(2))
        latest = nn.ModuleList([image, text])
        best, smallest_error = copy.deepcopy(latest), torch.tensor(math.inf, dtype=torch.float64)
        module = nn.ModuleDict({"latest": latest, "best": best})
        module.register_buffer("smallest_error", smallest_error)
        batches = _PairBatches(train, read, settings)

        def select() -> None:
            module.eval()
            error = _mean_error((image, text), validation, read, settings.batch_size)
            if error <= smallest_error:
                smallest_error.fill_(error)
                best.load_state_dict(latest.state_dict())
            module.train()

        losses = descend(
            module,
            batches,
            lambda pair, step: settings.pair_loss(image, text, *pair),
            torch.optim.Adam(latest.parameters(), lr=settings.learning_rate),
            fit or FitState(),
            on_epoch=select,
            what="training ProbVLM",
        )
    if smallest_error < math.inf:
        latest.load_state_dict(best.state_dict())
    require_finite(latest, "training ProbVLM")
    steps = batches.steps
    return image, text, [math.fsum(losses[i : i + steps]) / steps for i in range(0, len(losses), steps)]


class _PairBatches:
    """The batches of all epochs, in an order drawn from torch's global generator, as dropout is."""

    shared = False

    def __init__(self, pairs: Tensor, read: ReadPairs, settings: AdapterTraining) -> None:
        self._pairs, self._read, self._settings = pairs, read, settings
        self.steps = min(math.ceil(len(pairs) / settings.batch_size), settings.batches_per_epoch)
        self._done = 0
        self._epoch_state = self._state = torch.get_rng_state()

    def __len__(self) -> int:
        return self._settings.epochs * self.steps - self._done

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        first, skip = divmod(self._done, self.steps)
        for _ in range(first, self._settings.epochs):
            self._epoch_state = torch.get_rng_state()
            order = self._pairs[torch.randperm(len(self._pairs))]
            if skip:  # the order was drawn as before; go on drawing where the last step was
                torch.set_rng_state(self._state)
            for pairs in torch.split(order, self._settings.batch_size)[skip : self.steps]:
                yield self._read(pairs)
            skip = 0

    def state(self) -> dict[str, Tensor]:
        """Return the states of the generator when the epoch under way began, and now."""
        return {"epoch": self._epoch_state, "now": torch.get_rng_state()}

    def go_on(self, done: int, state: dict[str, Tensor]) -> None:
        """Leave out the batches that were `done` when `state` was kept."""
        self._done, self._state = done, state["now"]
        torch.set_rng_state(state["epoch" if done % self.steps else "now"])


@torch.no_grad()
def _mean_error(
    adapters: tuple[ProbVLMAdapter, ProbVLMAdapter], pairs: Tensor, read: ReadPairs, batch_size: int
) -> float:
    """Sum over both sides of the mean absolute error of the means on pairs (v,); 0 without any."""
    total = 0.0
    for some in torch.split(pairs, batch_size) if len(pairs) else ():
        for adapter, z in zip(adapters, read(some), strict=True):
            total += float((adapter(z).mean - z).abs().mean(dim=1).sum())
    return total / max(1, len(pairs))
