"""Checks that an explanation must pass before anybody believes it; their numbers go into the report."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from sensorium.data import Row
from sensorium.explain.gradients import Attribution, integrated_gradients
from sensorium.explain.outputs import Outputs
from sensorium.explain.paths import Line, still
from sensorium.network import Network
from sensorium.tasks import Task
from sensorium.types import InputError, Modality

CELLS = {  # size along the axes of a patch of what is taken away at a time, as far as it is told
    "image": (8, 8),
    "video": (1, 8, 8),
    "audio": (4, 8),
    "series": (4,),
    "points": (1,),
    "text": (1,),
    "table": (1,),
}
POINTS = 10  # shares of the cells at which the output is read, beside none


@dataclass(frozen=True, kw_only=True, slots=True)
class Sanity:
    """Figures over the checked rows. Outputs are in their own unit, above that of the baseline."""

    rows: int
    completeness_median: float  # |sum of parts - change| as a share of the change of the output
    completeness_most: float
    deletion: float  # mean output while the cells that speak for it most are taken away first; low is good
    random: float  # the same in random order: what `deletion` must stay below
    random_spread: float  # standard deviation over the draws of the random order
    redrawn: float | None  # mean rank correlation with the parts of a network with redrawn weights; about 0
    redrawn_size: (
        float | None
    )  # of their sizes, which share the input itself and so are seldom 0; None: too few parts

    def to_json(self) -> dict[str, float | None]:
        """As plain numbers, rounded."""
        return {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in asdict(self).items()}


def sanity(
    network: Network,
    task: Task,
    rows: Sequence[Row],
    outputs: Outputs,
    *,
    attributions: Sequence[Attribution] | None = None,
    draws: int = 5,
    seed: int = 0,
) -> Sanity:
    """Check the attributions of some rows (made here where not given); a few dozen rows are enough.

    Completeness: arXiv:1703.01365, sec. 3. Deletion: the area under the explained output as cells are replaced by
    the baseline, the most important first, against `draws` random orders. Redrawn: weights as before any training
    must give other attributions (arXiv:1810.03292, sec. 3.1), `draws` times. Raises InputError without rows.
    """
    have = [i for i, row in enumerate(rows) if any(m.name in row for m in task.modalities)]
    if not have:
        raise InputError("there is no row to check", got=len(rows), fix="give rows that have some modality")
    known = [rows[i] for i in have]
    found = (
        integrated_gradients(network, task, known, outputs)
        if attributions is None
        else [attributions[i] for i in have]
    )
    errors = [a.error for a in found]
    falls = deletion(network, task, known, outputs, found, draws=draws, seed=seed)
    signed, sizes = redrawn_correlation(network, task, known, outputs, found, draws=draws, seed=seed)
    return Sanity(
        rows=len(known),
        completeness_median=float(np.median(errors)),
        completeness_most=float(np.max(errors)),
        deletion=float(falls[:, 0].mean()),
        random=float(falls[:, 1:].mean()),
        random_spread=float(falls[:, 1:].mean(0).std()),
        redrawn=float(np.mean(signed)) if len(signed) else None,
        redrawn_size=float(np.mean(sizes)) if len(sizes) else None,
    )


def cells(modality: Modality, grid: tuple[int, ...]) -> np.ndarray:
    """Number the cells of a modality's grid: (*grid) of int64, from 0 without gaps."""
    number = np.zeros(grid, np.int64)
    for axis, size in enumerate(CELLS[modality.carrier]):
        place = np.arange(grid[axis]) // size
        number = number * (int(place[-1]) + 1) + place.reshape(-1, *[1] * (len(grid) - axis - 1))
    return number


def deletion(
    network: Network,
    task: Task,
    rows: Sequence[Row],
    outputs: Outputs,
    attributions: Sequence[Attribution],
    *,
    draws: int,
    seed: int,
) -> np.ndarray:
    """Mean output above the baseline while cells go, (rows, 1 + draws): by attribution, then in random orders."""
    rng = np.random.default_rng(seed)
    found = []
    with still(network), torch.no_grad():
        for row, attribution in zip(rows, attributions, strict=True):
            line = Line(network, task.modalities, row)
            labels = _numbered(line)
            scores = _scores(attribution, labels)
            orders = [
                np.argsort(-scores, kind="stable"),
                *(rng.permutation(len(scores)) for _ in range(draws)),
            ]
            found.append([_fall(line, outputs, attribution, labels, order) for order in orders])
    return np.array(found)


def _numbered(line: Line) -> dict[str, np.ndarray]:
    """Cells of all modalities of a row with numbers that follow each other."""
    labels, first = {}, 0
    for m in line.modalities:
        labels[m.name] = cells(m, line.grid(m)) + first
        first = int(labels[m.name].max()) + 1
    return labels


def _scores(attribution: Attribution, labels: Mapping[str, np.ndarray]) -> np.ndarray:
    """Sum of the attributions of each cell, (cells,)."""
    count = max(int(number.max()) for number in labels.values()) + 1
    total = np.zeros(count)
    for name, number in labels.items():
        part = attribution.parts[name][: len(number)]
        total += np.bincount(number.ravel(), part.ravel().astype(np.float64), count)
    return total


def _fall(
    line: Line,
    outputs: Outputs,
    attribution: Attribution,
    labels: Mapping[str, np.ndarray],
    order: np.ndarray,
) -> float:
    """Mean of the explained output, above the baseline's, as ever more cells in `order` go to the baseline."""
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    gone = np.linspace(0, len(order), POINTS + 1)
    share: dict[str, Tensor] = {
        name: torch.from_numpy(
            (rank[number][None] >= gone.reshape(-1, *[1] * number.ndim)).astype(np.float32)
        )
        for name, number in labels.items()
    }
    encoded, _ = line.encode(share, slopes=False)
    said = outputs.answer(line.network, encoded)[:, attribution.output]
    above = said.double().numpy() - attribution.baseline
    return float((above[1:] + above[:-1]).mean() / 2)


def redrawn(network: Network, task: Task, *, seed: int) -> Network:
    """A network of the same build with weights as before any training; the global generator stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network(task, network.shape, fusion=network.fusion).eval()


def redrawn_correlation(
    network: Network,
    task: Task,
    rows: Sequence[Row],
    outputs: Outputs,
    attributions: Sequence[Attribution],
    *,
    draws: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Spearman's rank correlations with the attributions of redrawn networks, per draw, row and modality.

    Returns those of the attributions and those of their sizes, each (n,); modalities of one element are left out.
    """
    signed, sizes = [], []
    which = [a.output for a in attributions]
    for draw in range(draws):
        other = redrawn(network, task, seed=seed + draw)
        theirs = integrated_gradients(other, task, rows, outputs, which=which, steps=16, most=16)
        for one, two in zip(attributions, theirs, strict=True):
            for name in one.parts:
                a, b = one.parts[name].ravel(), two.parts[name].ravel()
                if len(a) > 2:
                    signed.append(spearman(a, b))
                    sizes.append(spearman(np.abs(a), np.abs(b)))
    return np.array(signed), np.array(sizes)


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Rank correlation of two arrays (n,), -1..1, ties at their mean rank; 0 where one of them never varies."""
    from scipy.stats import rankdata

    a, b = rankdata(first), rankdata(second)
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else 0.0
