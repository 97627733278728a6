"""Shapley values of modalities: how the answer grows as modalities join, over every order in which they may."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import factorial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sensorium.data import Row, collate
from sensorium.explain.outputs import Outputs
from sensorium.explain.paths import still
from sensorium.network import Encoded, Network
from sensorium.tasks import Task
from sensorium.types import InputError

Subset = tuple[str, ...]
MOST = 10  # modalities of a row: 2^10 answers of the trunk
BATCH = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Shares:
    """How one row's outputs come about from its modalities."""

    values: Mapping[str, np.ndarray]  # present modality -> (outputs,) Shapley values
    subsets: Mapping[Subset, np.ndarray]  # every subset of the present modalities -> (outputs,)

    @property
    def full(self) -> np.ndarray:
        """The outputs from all that the row has, (outputs,); blank plus the sum of the values."""
        return self.subsets[tuple(self.values)]


def modality_shapley(network: Network, task: Task, rows: Sequence[Row], outputs: Outputs) -> list[Shares]:
    """Exact Shapley values of each row's modalities for every output.

    The value of a subset is what the model answers when only it is present, under the model's own mask; that of no
    modality is `outputs.blank`. Encoders run once. Raises InputError for rows of more than `MOST` modalities.
    """
    shares: list[Shares] = []
    names = [m.name for m in task.modalities]
    most = max((len(r) for r in rows), default=0)
    if most > MOST:
        raise InputError(
            "too many modalities for exact Shapley values", got=most, fix=f"leave all but {MOST} out"
        )
    with still(network), torch.no_grad():
        for start in range(0, len(rows), BATCH):
            some = rows[start : start + BATCH]
            encoded = network.encode(collate(some, task.modalities))
            values = _by_subset(network, outputs, encoded, len(some))
            for i, row in enumerate(some):
                here = [n for n in names if n in row]
                own = {s: values[s][i] for s in _subsets(here)}
                shares.append(Shares(values=shapley(own, here), subsets=own))
    return shares


def _subsets(names: Sequence[str]) -> list[Subset]:
    return [s for k in range(len(names) + 1) for s in combinations(names, k)]


def _by_subset(
    network: Network, outputs: Outputs, encoded: Mapping[str, Encoded], rows: int
) -> dict[Subset, np.ndarray]:
    """Outputs of each row from every subset of the modalities that some row has: subset -> (rows, outputs).

    Only rows that have the whole subset are computed; the others hold NaN, and are not asked for.
    """
    found: dict[Subset, np.ndarray] = {(): np.tile(outputs.blank, (rows, 1))}
    for subset in _subsets(list(encoded))[1:]:
        have = torch.stack([encoded[n].present for n in subset]).all(0)
        found[subset] = np.full((rows, outputs.width), np.nan)
        if have.any():
            where = have.nonzero()[:, 0]
            left = {n: taken(encoded[n], where) for n in subset}
            found[subset][where.numpy()] = outputs.answer(network, left).double().numpy()
    return found


def taken(encoded: Encoded, rows: Tensor) -> Encoded:
    """The encodings of the rows numbered `rows`, in that order."""
    tokens = encoded.tokens
    few = replace(
        tokens, x=tokens.x[rows], kind=tokens.kind[rows], place=tokens.place[rows], valid=tokens.valid[rows]
    )
    return replace(encoded, tokens=few, vector=encoded.vector[rows], present=encoded.present[rows])


def shapley(
    values: Mapping[Subset, Float[np.ndarray, " outputs"]], names: Sequence[str]
) -> dict[str, Float[np.ndarray, " outputs"]]:
    """Shapley values of `names` from the value of every subset, keyed in the order of `names`.

    phi_m = sum over subsets S without m of |S|! (M - |S| - 1)! / M! (v(S + m) - v(S)); they sum to v(all) - v(()).
    """
    count, found = len(names), {}
    for name in names:
        total = np.zeros_like(values[()])
        for subset in _subsets([n for n in names if n != name]):
            weight = factorial(len(subset)) * factorial(count - len(subset) - 1) / factorial(count)
            more = tuple(n for n in names if n in subset or n == name)
            total = total + weight * (values[more] - values[subset])
        found[name] = total
    return found
