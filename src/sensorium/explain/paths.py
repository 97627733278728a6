"""Inputs between a baseline, which tells nothing, and what a row holds: where attributions are measured."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from sensorium.data import Row
from sensorium.network import Encoded, Network, key
from sensorium.tokens import Batch, Part
from sensorium.types import Modality


def mean_colour(pixels: np.ndarray) -> np.ndarray:
    """A surface of the picture's (or clip's) own mean colour: no shape, no motion; training covers parts with it."""
    channels = pixels.shape[-1]
    mean = pixels.reshape(-1, channels).mean(0, dtype=np.float64)
    return np.broadcast_to(mean, pixels.shape).astype(np.float32)


def quietest(mel: np.ndarray) -> np.ndarray:
    """The quietest frame of the clip for its whole length: the room without the sound."""
    return np.broadcast_to(mel[mel.mean(1).argmin()], mel.shape).astype(np.float32)


def nothing(values: np.ndarray) -> np.ndarray:
    """Zeros: of a series the mean of training, of framed points an empty frame, of a cloud its own centre."""
    return np.zeros(values.shape, np.float32)


def no_number(fields: np.ndarray) -> np.ndarray:
    """The same fields with numbers at the centre of training; a category goes with its embedding."""
    return fields * np.array([0, 1, 1], np.float32)


BASELINES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "image": mean_colour,
    "video": mean_colour,
    "audio": quietest,
    "series": nothing,
    "points": nothing,
    "table": no_number,
}  # of text the embeddings begin at zero, and ids stay as they are


@dataclass(frozen=True, kw_only=True, slots=True)
class Leaf:
    """A tensor that gradients are taken at, and how far the input lies from the baseline there."""

    name: str  # of the modality
    at: Tensor  # (k, *shape)
    gap: Tensor  # (*shape) or (k, *shape): input minus baseline


class Line:
    """The straight lines from the baselines of one row's modalities to what the row holds."""

    def __init__(self, network: Network, modalities: Sequence[Modality], row: Row):
        self.network, self.row = network, row
        self.modalities = [m for m in modalities if m.name in row]
        self.patches = {m.name: np.array(row[m.name][: max(m.longest, 1)]) for m in self.modalities}
        self.starts = {
            m.name: torch.from_numpy(BASELINES[m.carrier](self.patches[m.name]))
            for m in self.modalities
            if m.carrier != "text"
        }

    def grid(self, modality: Modality) -> tuple[int, ...]:
        """Shape of a modality's attributions: a number per token or field, else per element of its patches."""
        shape = self.patches[modality.name].shape
        return shape[:1] if modality.carrier in ("text", "table") else shape

    def encode(
        self, share: Mapping[str, Float[Tensor, "k ..."]], *, slopes: bool = True
    ) -> tuple[dict[str, Encoded], list[Leaf]]:
        """Encode k points of the lines, and return where gradients can be taken.

        share: modality -> (k,) or (k, *grid), 0 at the baseline, 1 at the input. `slopes`: whether the points
        are leaves of the graph.
        """
        parts, leaves = {}, []
        for m in self.modalities:
            values, gap = self._values(m, share[m.name])
            count, steps = values.shape[:2]
            if gap is not None and slopes:
                values = values.requires_grad_()
                leaves.append(Leaf(name=m.name, at=values, gap=gap))
            length, rows = torch.full((count,), steps), torch.arange(count)
            parts[m.name] = Part(values=values, length=length, row=rows)
        batch = Batch(parts=parts, rows=count if parts else 1)
        with _embeddings(self.network, share, leaves, slopes=slopes):
            return self.network.encode(batch), leaves

    def _values(
        self, m: Modality, share: Float[Tensor, "k ..."]
    ) -> tuple[Shaped[Tensor, "k ..."], Tensor | None]:
        """Points of a line as an encoder takes them, and input minus baseline; ids have no gap of their own."""
        end = torch.from_numpy(self.patches[m.name])
        if m.carrier == "text":
            return end.expand(len(share), *end.shape), None
        start = self.starts[m.name]
        gap = end.float() - start
        wide = share.reshape(*share.shape, *[1] * (gap.ndim + 1 - share.ndim))
        return start + wide * gap, gap


@contextmanager
def _embeddings(
    network: Network, share: Mapping[str, Tensor], leaves: list[Leaf], *, slopes: bool
) -> Iterator[None]:
    """Scale what the encoders' embeddings of ids and codes give: from zero, which tells nothing, to all of it."""

    def hook(name: str) -> Callable[[nn.Module, tuple, Tensor], Tensor]:
        def scale(_module: nn.Module, _given: tuple, full: Tensor) -> Tensor:
            full = full.detach()
            point = _per_position(share[name], full.shape[1])[:, :, None] * full
            if slopes:
                point = point.requires_grad_()
                leaves.append(Leaf(name=name, at=point, gap=full))
            return point

        return scale

    handles = [
        module.register_forward_hook(hook(name))
        for name in share
        for module in network.encoders[key(name)].modules()
        if isinstance(module, nn.Embedding)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _per_position(share: Float[Tensor, "k ..."], count: int) -> Float[Tensor, "k _"]:
    """Shares (k,) or (k, steps) for `count` positions; a pair of neighbours has the smaller share of the two."""
    if share.ndim == 1:
        return share[:, None]
    return share if share.shape[1] == count else torch.minimum(share[:, 1:], share[:, :-1])


def per_unit(leaf: Leaf, product: Float[Tensor, "..."], grid: tuple[int, ...]) -> Float[Tensor, "..."]:
    """Sum a leaf's attributions (*shape) to the modality's grid; pairs of tokens give half to each of the two."""
    if product.shape == grid:
        return product
    each = product.sum(-1)
    if len(each) == grid[0]:
        return each
    whole = each.new_zeros(grid)
    whole[:-1] += each / 2
    whole[1:] += each / 2
    return whole


@contextmanager
def still(network: Network) -> Iterator[None]:
    """Let the network answer as it does in use, with gradients on; its modes are put back as they were."""
    was = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for module, training in was:
            module.training = training
