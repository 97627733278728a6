"""What is fixed before the first step: how long and how to train, and on what."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from sensorium.data import Row, collate
from sensorium.tasks import Task
from sensorium.tokens import Batch


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How long and how to train: fixed before the first step and saved, so that a resumed run takes the same steps."""

    steps: int
    batch: int
    rate: float = 2e-3  # highest learning rate
    warmup: int = 30  # steps
    decay: float = 0.05  # weight decay of matrices
    average: float = 0.99  # of the weights, per step
    clip: float = 2.0
    drop: float = 0.3  # share of the rows whose joint head sees a random subset of the modalities
    augment: float = 1.0  # highest strength
    check: int = 100  # steps between validations
    patience: int = 0  # validations without progress before the schedule is cut short; 0: never
    seed: int = 0
    threads: int = 0  # of one step, the faster of one and all cores when the pace was measured; 0: all
    own: float = 1.0  # weight of each modality's own head in the loss; the joint head has 1
    balance: str = "uniform"  # how the heads' losses become gradients: a word of BALANCES
    matching: str = "softmax"  # the loss of pairs where modalities are matched: a word of MATCHINGS
    memory: int = 0  # bytes that a step may hold of activations and similarities; 0: the batch at once


@dataclass(frozen=True, kw_only=True, slots=True)
class Examples:
    """Rows in memory with their targets."""

    rows: Sequence[Row]
    targets: Mapping[str, Sequence[np.ndarray | np.generic | None]]
    weight: Mapping[str, np.ndarray] = field(default_factory=dict)  # column -> weight of each row in the loss
    taught: Mapping[str, np.ndarray] = field(
        default_factory=dict
    )  # column -> (n, width) a teacher's answers, NaN for none
    group: np.ndarray | None = None  # (n,) rows of equal number match each other; None: each only itself

    def batch(
        self,
        task: Task,
        index: Sequence[int] | np.ndarray,
        rows: Sequence[Row] | None = None,
        rng: np.random.Generator | None = None,
    ) -> Batch:
        """Collate the rows numbered `index` with their targets; `rows` stands in for them where given.

        rng: chooses among several texts of one cell; without it the first is taken.
        """
        made = collate([self.rows[i] for i in index] if rows is None else rows, task.modalities, once=True)
        targets, known, weight = {}, {}, {}
        for target in task.targets:
            cells = [self.targets[target.column][i] for i in index]
            column = self.targets[target.column]  # a batch may hold rows without any target
            if target.kind == "text":
                targets[target.column] = torch.from_numpy(texts(cells, rng))
            else:
                filler = np.zeros_like(next((c for c in column if c is not None), np.zeros(())))
                stacked = np.stack([filler if c is None else c for c in cells])
                targets[target.column] = torch.from_numpy(stacked)
            known[target.column] = torch.tensor([c is not None for c in cells])
            w = self.weight.get(target.column)
            weight[target.column] = (
                torch.ones(len(index)) if w is None else torch.from_numpy(w[list(index)]).float()
            )
        taught = {k: torch.from_numpy(v[list(index)]) for k, v in self.taught.items()}
        group = None if self.group is None else torch.from_numpy(self.group[list(index)])
        return replace(made, targets=targets, known=known, weight=weight, taught=taught, group=group)


def texts(cells: Sequence[np.ndarray | np.generic | None], rng: np.random.Generator | None) -> np.ndarray:
    """One text of each cell, (rows, ids) int64 padded with 0 behind; a row without a target is all padding."""
    lines = [
        np.zeros(0, np.int64) if c is None else c[0 if rng is None else int(rng.integers(len(c)))]
        for c in cells
    ]
    found = np.zeros((len(lines), max(1, *(int((line > 0).sum()) for line in lines))), np.int64)
    for row, line in zip(found, lines, strict=True):
        row[: int((line > 0).sum())] = line[line > 0]
    return found


def schedule(step: int, plan: Plan, steps: int) -> float:
    """Learning rate at a step: linear warm-up, then half a cosine to zero at `steps`."""
    warmup = min(plan.warmup, max(1, steps // 10))
    if step < warmup:
        return plan.rate * (step + 1) / warmup
    share = min(1.0, (step - warmup) / max(1, steps - warmup))
    return plan.rate * 0.5 * (1 + math.cos(math.pi * share))
