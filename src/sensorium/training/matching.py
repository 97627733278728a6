"""Pairs of one row -> losses of the shared space: which vectors meet, and by which loss."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from sensorium.alignment import info_nce, sigmoid
from sensorium.data import Row
from sensorium.network import JOINT, Encoded, Network
from sensorium.representation import Space
from sensorium.tasks import Task
from sensorium.tokens import Batch
from sensorium.training.answers import encode_all
from sensorium.training.losses import Named, told
from sensorium.training.plan import Examples
from sensorium.types import InputError

MATCH = "match"  # stands for the target's column in the names of these losses
LEFT, RIGHT = "\0left", "\0right"  # a row's modalities cut in two: the vector of each side

Vectors = Mapping[str, Tensor]  # modality, LEFT or RIGHT -> (rows, width), zeros where a row has none


class Matching(ABC):
    """The loss of one pair of senders. Immutable."""

    @abstractmethod
    def begin(self, space: Space, batch: int) -> None:
        """Set the first temperatures and biases of a space for batches of so many rows."""

    @abstractmethod
    def loss(
        self, x: Tensor, y: Tensor, space: Space, pair: tuple[str, str], batch: Batch, chunk: int | None
    ) -> Tensor:
        """Loss of the rows that have both; x, y: (rows, width) unit vectors, zeros in rows without. chunk: rows of a tile."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Softmax(Matching):
    """InfoNCE, both ways: which of the batch belongs to this one (CLIP, arXiv:2103.00020, sec. 2.3)."""

    def begin(self, space: Space, batch: int) -> None:
        """Temperature .07, no bias."""
        with torch.no_grad():
            space.heat.fill_(math.log(1 / 0.07))
            space.bias.zero_()

    def loss(
        self, x: Tensor, y: Tensor, space: Space, pair: tuple[str, str], batch: Batch, chunk: int | None
    ) -> Tensor:
        """Mean over rows and directions, in nats."""
        return info_nce(x, y, space.scale(*pair), groups=batch.group, present=here(x, y), chunk=chunk)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sigmoid(Matching):
    """SigLIP: is this pair one of those that belong together, each pair for itself (arXiv:2303.15343, sec. 3.2)."""

    def begin(self, space: Space, batch: int) -> None:
        """Scale 10, and the bias at which one pair in a row of the batch is right."""
        with torch.no_grad():
            space.heat.fill_(math.log(10))
            space.bias.fill_(-math.log(max(1, batch - 1)))

    def loss(
        self, x: Tensor, y: Tensor, space: Space, pair: tuple[str, str], batch: Batch, chunk: int | None
    ) -> Tensor:
        """Sum over the pairs of a row, mean over rows, in nats."""
        return sigmoid(
            x, y, space.scale(*pair), space.shift(*pair), groups=batch.group, present=here(x, y), chunk=chunk
        )


MATCHINGS: dict[str, Matching] = {"softmax": Softmax(), "sigmoid": Sigmoid()}


def matching_of(word: str) -> Matching:
    """The loss that a word of the plan names. Raises InputError for another word."""
    if word not in MATCHINGS:
        raise InputError("no such loss of pairs", got=word, fix=f"one of {', '.join(MATCHINGS)}")
    return MATCHINGS[word]


def here(x: Tensor, y: Tensor) -> Tensor:
    """Rows that have both: a sender that a row lacks is all zeros there. (rows,) bool."""
    return (x.detach() != 0).any(1) & (y.detach() != 0).any(1)


def match_vectors(network: Network, encoded: Mapping[str, Encoded]) -> dict[str, Tensor]:
    """Every vector of a batch that a loss compares: each modality's own, and those of two sides of each row.

    The modalities that a row has are cut in two at random; what the trunk makes of one side has to find what it makes of
    the other. So the joint space is trained for every combination, and never on a modality that finds itself.
    """
    vectors = network.place(encoded)
    for side, keep in zip((LEFT, RIGHT), halves(encoded), strict=True):
        joint = network.place_joint(encoded, keep) if len(encoded) > 1 else None
        if joint is not None:
            vectors[side] = joint
    return vectors


def halves(encoded: Mapping[str, Encoded]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Cut the modalities of each row in two, neither side empty where the row has two or more.

    Drawn from torch's generator, so that a replay of the forward pass draws the same.
    """
    names = list(encoded)
    present = torch.stack([encoded[n].present for n in names], 1)
    draw = torch.rand(present.shape, device=present.device).masked_fill(~present, -1)
    order = draw.argsort(1, descending=True)
    coin = torch.rand(present.shape, device=present.device) < 0.5
    left = coin.scatter(1, order[:, :1], True)
    if len(names) > 1:
        left = left.scatter(1, order[:, 1:2], False)
    left = left & present
    return (
        {n: left[:, i] for i, n in enumerate(names)},
        {n: ~left[:, i] & present[:, i] for i, n in enumerate(names)},
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Placed:
    """Vectors of many rows, of unit length; zeros in rows without."""

    own: dict[str, np.ndarray]  # modality -> (n, width) in the coordinated space
    lone: dict[str, np.ndarray]  # modality -> (n, width) in the joint space, of this modality alone
    joint: np.ndarray  # (n, width) in the joint space, of all that a row has


@torch.inference_mode()
def vectors_of(network: Network, task: Task, rows: Sequence[Row]) -> Placed:
    """Bring many rows into both spaces. The joint one is all zeros for a network without a trunk."""

    def blank() -> np.ndarray:
        return np.zeros((len(rows), network.shape.space), np.float32)

    found = Placed(own={n: blank() for n in task.match}, lone={n: blank() for n in task.match}, joint=blank())
    for index, encoded in encode_all(network, task, rows):
        if not encoded:
            continue
        for name, vectors in network.place(encoded).items():
            found.own[name][index] = vectors.numpy()
        for name in encoded:
            alone = network.place_joint({name: encoded[name]})
            if alone is not None:
                found.lone[name][index] = alone.numpy()
        together = network.place_joint(encoded)
        if together is not None:
            found.joint[index] = together.numpy()
    return found


@torch.inference_mode()
def held_matches(
    network: Network, task: Task, examples: Examples, matching: Matching
) -> tuple[float, dict[str, float]]:
    """Losses on held-out rows, all compared with all: the mean over pairs of modalities, and each by its name."""
    vectors: dict[str, Tensor] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the same halves at every check
        for index, encoded in encode_all(network, task, examples.rows):
            for name, made in match_vectors(network, encoded).items() if encoded else ():
                if name not in vectors:
                    vectors[name] = made.new_zeros(len(examples.rows), made.shape[1])
                vectors[name][index] = made
    group = None if examples.group is None else torch.from_numpy(examples.group)
    batch = Batch(parts={}, rows=len(examples.rows), group=group)
    found = match_losses(vectors, network.space, batch, matching)
    pairs = [float(v) for (_, head), v in found.items() if head != JOINT]
    return sum(pairs) / max(1, len(pairs)), {told(k): float(v) for k, v in found.items()}


def match_losses(
    vectors: Vectors, space: Space, batch: Batch, matching: Matching, *, chunk: int | None = None
) -> dict[Named, Tensor]:
    """Loss of every pair of modalities that at least two rows have together, and of the joint space.

    Named (MATCH, `a ~ b`), and (MATCH, JOINT) for the two sides. Rows of one group count as belonging together.
    """
    found: dict[Named, Tensor] = {}
    names = sorted(n for n in vectors if n in space.names)
    for a, b in combinations(names, 2):
        if int(here(vectors[a], vectors[b]).sum()) > 1:
            found[MATCH, f"{a} ~ {b}"] = matching.loss(vectors[a], vectors[b], space, (a, b), batch, chunk)
    if LEFT in vectors and int(here(vectors[LEFT], vectors[RIGHT]).sum()) > 1:
        pair = (JOINT, JOINT)
        found[MATCH, JOINT] = matching.loss(vectors[LEFT], vectors[RIGHT], space, pair, batch, chunk)
    return found
