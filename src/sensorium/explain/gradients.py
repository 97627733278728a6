"""Integrated gradients: how much each element of a row's inputs moved the answer (arXiv:1703.01365, sec. 3)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from sensorium.data import Row
from sensorium.explain.outputs import Outputs
from sensorium.explain.paths import Line, per_unit, still
from sensorium.network import Encoded, Network
from sensorium.tasks import Task

TOLERANCE = 0.01  # of |f(input) - f(baseline)|, which the attributions may miss
MOST = 512  # steps at which refining ends
CHUNK = 16  # points of the path that are computed at a time
PANELS, POINTS = 8, 8  # pieces of the path where refining begins, and points in each piece
NOISE = 1e-6  # of an output, by rounding: no piece is halved for less
TINY = 1e-6  # a change of the output below it has no share to be compared with

Value = Callable[[Mapping[str, Encoded]], Float[Tensor, "k answers"]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Attribution:
    """What each input of one row added to one output, in the unit of that output."""

    parts: Mapping[str, np.ndarray]  # modality -> like its patches; text: (tokens,); table: (fields,)
    output: int  # which class or label; 0 for numbers
    value: float  # the output at the row as it is
    baseline: float  # the output where every present modality tells nothing
    error: float  # |sum of the parts - (value - baseline)| as a share of |value - baseline|
    steps: int  # points of the path at which slopes were taken

    @property
    def totals(self) -> dict[str, float]:
        """What each present modality added; they sum to value - baseline but for `error`."""
        return {name: float(part.sum()) for name, part in self.parts.items()}


def integrated_gradients(
    network: Network,
    task: Task,
    rows: Sequence[Row],
    outputs: Outputs,
    *,
    which: Sequence[int] | None = None,
    steps: int = 64,
    most: int = MOST,
    tolerance: float = TOLERANCE,
) -> list[Attribution]:
    """Attribute an output of each row to every element of the inputs that the row has.

    which: number of the output per row; the largest one where not given. The path is straight, from a baseline that
    tells nothing (`paths.BASELINES`; embeddings from zero), with `steps` points of Gauss and Legendre's rule; where
    the sum misses by `tolerance` or more, pieces of the path are halved up to about `most` points. What the network
    answers without any sign (its default class) needs no input, and no input gets it. The network keeps its modes
    and gradients.
    """
    found = []
    with still(network):
        for number, row in enumerate(rows):
            line = Line(network, task.modalities, row)
            chosen = None if which is None else int(which[number])
            value = _explained(network, outputs)
            found.append(attribute(line, value, outputs.blank, chosen, steps, most, tolerance))
    return found


def _explained(network: Network, outputs: Outputs) -> Value:
    return lambda encoded: outputs.answer(network, encoded)


def attribute(
    line: Line,
    value: Value,
    blank: np.ndarray,
    chosen: int | None,
    steps: int,
    most: int = MOST,
    tolerance: float = TOLERANCE,
) -> Attribution:
    """Attribute `value` (encoded points -> (k, outputs)) along one row's line; the caller keeps the network still.

    A row without any modality has no parts, and the value of `blank` at both ends.
    """
    if not line.modalities:
        best = int(np.argmax(blank)) if chosen is None else chosen
        blank_value = float(blank[best])
        return Attribution(parts={}, output=best, value=blank_value, baseline=blank_value, error=0.0, steps=0)
    ends = values_at(line, value, [0.0, 1.0])
    chosen = int(ends[1].argmax()) if chosen is None else chosen
    first, last = float(ends[0, chosen]), float(ends[1, chosen])
    parts, taken = path_integral(line, value, chosen, (0.0, 1.0), steps), steps
    if _missed(parts, last - first) >= tolerance and 2 * steps <= most:
        allowed = max(tolerance * abs(last - first) / PANELS, NOISE * max(1.0, abs(last), abs(first)))
        parts, taken = _refined(line, value, chosen, allowed, most - steps)
        taken += steps
    error = _missed(parts, last - first)
    whole = {m.name: _like(line.row[m.name], parts[m.name].astype(np.float32)) for m in line.modalities}
    return Attribution(parts=whole, output=chosen, value=last, baseline=first, error=error, steps=taken)


def _missed(parts: Mapping[str, np.ndarray], change: float) -> float:
    """How far the sum of the parts lies from the change of the output, as a share of it."""
    return abs(sum(float(p.sum()) for p in parts.values()) - change) / max(abs(change), TINY)


def _refined(
    line: Line, value: Value, chosen: int, allowed: float, most: int
) -> tuple[dict[str, np.ndarray], int]:
    """Integrate over short pieces of the path, and halve those that miss the output's change by over `allowed`.

    Maxima make slopes jump at some points of a path: there, and only there, more points are needed. Returns the
    parts and the points taken, at most about `most`.
    """
    total = {m.name: np.zeros(line.grid(m)) for m in line.modalities}
    pieces = [(i / PANELS, (i + 1) / PANELS) for i in range(PANELS)]
    taken = 0
    while pieces:
        edges = values_at(line, value, [e for piece in pieces for e in piece])[:, chosen].reshape(-1, 2)
        taken += POINTS * len(pieces)
        rough: list[tuple[float, float]] = []
        for (low, high), (before, after) in zip(pieces, edges.tolist(), strict=True):
            parts = path_integral(line, value, chosen, (low, high), POINTS)
            missed = abs(sum(float(p.sum()) for p in parts.values()) - (after - before))
            if missed > allowed and taken + 2 * POINTS * (len(rough) // 2 + 1) <= most:
                rough += [(low, (low + high) / 2), ((low + high) / 2, high)]
            else:
                for name, part in parts.items():
                    total[name] += part
        pieces = rough
    return total, taken


@torch.no_grad()
def values_at(line: Line, value: Value, places: Sequence[float]) -> Float[Tensor, "k answers"]:
    """The outputs at places of the path, 0 the baseline and 1 the input."""
    found = []
    for some in torch.tensor(places).split(CHUNK):
        encoded, _ = line.encode({m.name: some for m in line.modalities}, slopes=False)
        found.append(value(encoded))
    return torch.cat(found)


def path_integral(
    line: Line, value: Value, chosen: int, piece: tuple[float, float], steps: int
) -> dict[str, Float64[np.ndarray, "..."]]:
    """Gap times integral of the slope of output `chosen` over a piece of the path: modality -> (*grid).

    By Gauss and Legendre's rule with `steps` points.
    """
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    low, high = piece
    places, weights = low + (high - low) * (nodes + 1) / 2, (high - low) * weights / 2
    grids = {m.name: line.grid(m) for m in line.modalities}
    total = {name: torch.zeros(grid, dtype=torch.float64) for name, grid in grids.items()}
    for start in range(0, steps, CHUNK):
        at = torch.from_numpy(places[start : start + CHUNK]).float()
        weight = torch.from_numpy(weights[start : start + CHUNK]).float()
        encoded, leaves = line.encode({m.name: at for m in line.modalities})
        goal = value(encoded)[:, chosen].sum()
        slopes = torch.autograd.grad(goal, [leaf.at for leaf in leaves], allow_unused=True)
        for leaf, slope in zip(leaves, slopes, strict=True):
            if slope is None:  # a modality whose heads have no say
                continue
            weighed = slope * weight.reshape(-1, *[1] * (slope.ndim - 1)) * leaf.gap
            total[leaf.name] += per_unit(leaf, weighed.sum(0), grids[leaf.name])
    return {name: part.numpy() for name, part in total.items()}


def _like(patches: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Lengthen attributions by zeros for steps that no encoder is given."""
    rest = np.zeros((len(patches) - len(found), *found.shape[1:]), found.dtype)
    return np.concatenate([found, rest])
