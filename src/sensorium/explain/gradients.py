"""Integrated gradients: how much each element of a row's inputs moved the answer (arXiv:1703.01365, sec. 3)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sensorium.data import Row
from sensorium.explain.outputs import Outputs
from sensorium.explain.paths import Line, per_unit, still
from sensorium.network import Encoded, Network
from sensorium.tasks import Task

TOLERANCE = 0.01  # of |f(input) - f(baseline)|, which the attributions may miss
MOST = 512  # steps at which refining ends
CHUNK = 16  # points of the path that are computed at a time
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
    steps: int  # points of the path

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
    tells nothing (`paths.BASELINES`; embeddings from zero), by Gauss-Legendre's rule with `steps` points, doubled up
    to `most` until the sum misses by less than `tolerance`. The network keeps its modes and gradients.
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
        return Attribution(
            parts={}, output=best, value=blank_value, baseline=blank_value, error=0.0, steps=0
        )
    ends = ends_of(line, value)
    chosen = int(ends[1].argmax()) if chosen is None else chosen
    first, last = float(ends[0, chosen]), float(ends[1, chosen])
    while True:
        parts = path_integral(line, value, chosen, steps)
        missed = abs(sum(float(p.sum()) for p in parts.values()) - (last - first))
        error = missed / max(abs(last - first), TINY)
        if error < tolerance or 2 * steps > most:
            break
        steps *= 2
    return Attribution(
        parts=parts, output=chosen, value=last, baseline=first, error=error, steps=steps
    )


@torch.no_grad()
def ends_of(line: Line, value: Value) -> Float[Tensor, "2 answers"]:
    """The outputs at the baseline and at the input."""
    both = torch.tensor([0.0, 1.0])
    encoded, _ = line.encode({m.name: both for m in line.modalities}, slopes=False)
    return value(encoded)


def path_integral(line: Line, value: Value, chosen: int, steps: int) -> dict[str, np.ndarray]:
    """Gap times mean slope of output `chosen` over the path, for every element: modality -> array (*grid)."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    places, weights = (nodes + 1) / 2, weights / 2
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
    return {
        m.name: _like(line.row[m.name], total[m.name].float().numpy(), cut=len(line.patches[m.name]))
        for m in line.modalities
    }


def _like(patches: np.ndarray, found: np.ndarray, *, cut: int) -> np.ndarray:
    """Lengthen attributions by zeros for steps that no encoder is given."""
    if len(patches) == cut:
        return found
    rest = np.zeros((len(patches) - cut, *found.shape[1:]), found.dtype)
    return np.concatenate([found, rest])
