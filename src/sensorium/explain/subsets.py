"""Shapley values of modalities: how the answer grows as modalities join, over every order in which they may."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sensorium.data import Row, collate
from sensorium.explain.outputs import Outputs
from sensorium.explain.paths import still
from sensorium.measure.shapley import effects
from sensorium.network import Encoded, Network
from sensorium.tasks import Task

Subset = tuple[str, ...]
MOST = 8  # modalities of a row up to which every subset is asked: 2^8 answers of the trunk
ORDERS = 60  # orders of joining that are drawn for a row of more
BATCH = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Shares:
    """How one row's outputs come about from its modalities."""

    values: Mapping[str, np.ndarray]  # present modality -> (outputs,) Shapley values
    subsets: Mapping[
        Subset, np.ndarray
    ]  # subset of the present modalities -> (outputs,): every one, unless drawn
    error: float = 0.0  # largest standard error of the values where orders were drawn

    @property
    def full(self) -> np.ndarray:
        """The outputs from all that the row has, (outputs,); blank plus the sum of the values."""
        return self.subsets[tuple(self.values)]


def modality_shapley(
    network: Network, task: Task, rows: Sequence[Row], outputs: Outputs, *, seed: int = 0
) -> list[Shares]:
    """Shapley values of each row's modalities for every output: exact, but for rows of more than `MOST` modalities.

    The value of a subset is what the model answers when only it is present, under the model's own mask; that of no
    modality is `outputs.blank`. Encoders run once. Of a row with more modalities `ORDERS` orders of joining are drawn, each with its
    reverse; `Shares.error` then tells how far that may be off, and only some subsets are there.
    """
    shares: list[Shares] = []
    names = [m.name for m in task.modalities]
    with still(network), torch.no_grad():
        for start in range(0, len(rows), BATCH):
            some = rows[start : start + BATCH]
            encoded = network.encode(collate(some, task.modalities))
            few = [i for i, row in enumerate(some) if len(row) <= MOST]
            values = _by_subset(network, outputs, encoded, some, few)
            for i, row in enumerate(some):
                here = [n for n in names if n in row]
                if i in few:
                    own = {s: values[s][i] for s in _subsets(here)}
                    shares.append(Shares(values=shapley(own, here), subsets=own))
                else:
                    one = {n: taken(encoded[n], torch.tensor([i])) for n in here}
                    shares.append(_by_orders(network, outputs, one, here, seed))
    return shares


def _by_orders(
    network: Network, outputs: Outputs, row: Mapping[str, Encoded], names: Sequence[str], seed: int
) -> Shares:
    """Estimate one row's Shapley values from drawn orders of joining, each with its reverse (antithetic)."""
    rng, pairs = np.random.default_rng(seed), []
    found: dict[frozenset[str], np.ndarray] = {frozenset(): outputs.blank}
    for _ in range(ORDERS // 2):
        order = [names[i] for i in rng.permutation(len(names))]
        effects = dict.fromkeys(names, 0.0)
        for one in (order, order[::-1]):
            chain = [frozenset(one[:k]) for k in range(len(one) + 1)]
            fresh = [c for c in chain if c not in found]
            found |= dict(zip(fresh, _kept(network, outputs, row, fresh), strict=True))
            for name, less, more in zip(one, chain, chain[1:], strict=False):
                effects[name] = effects[name] + (found[more] - found[less]) / 2
        pairs.append(np.stack([effects[n] for n in names]))
    drawn = np.stack(pairs)
    ordered = {tuple(n for n in names if n in s): v for s, v in found.items()}
    single = {(n,): _kept(network, outputs, row, [frozenset([n])])[0] for n in names}
    return Shares(
        values=dict(zip(names, drawn.mean(0), strict=True)),
        subsets={(): outputs.blank} | single | {tuple(names): ordered[tuple(names)]},
        error=float(drawn.std(0, ddof=1).max() / len(drawn) ** 0.5),
    )


def _kept(
    network: Network, outputs: Outputs, row: Mapping[str, Encoded], subsets: Sequence[frozenset[str]]
) -> np.ndarray:
    """Outputs of one row from each of these subsets, (subsets, outputs)."""
    if not subsets:
        return np.zeros((0, outputs.width))
    many = {n: taken(e, torch.zeros(len(subsets), dtype=torch.long)) for n, e in row.items()}
    keep = {n: torch.tensor([n in s for s in subsets]) for n in row}
    return outputs.answer(network, many, keep).double().numpy()


def _subsets(names: Sequence[str]) -> list[Subset]:
    return [s for k in range(len(names) + 1) for s in combinations(names, k)]


def _by_subset(
    network: Network,
    outputs: Outputs,
    encoded: Mapping[str, Encoded],
    rows: Sequence[Row],
    asked: Sequence[int],
) -> dict[Subset, np.ndarray]:
    """Outputs of the rows `asked` from every subset of the modalities that one of them has: subset -> (rows, outputs).

    Only rows that have the whole subset are computed; the others hold NaN, and are not asked for.
    """
    found: dict[Subset, np.ndarray] = {(): np.tile(outputs.blank, (len(rows), 1))}
    kinds = {tuple(n for n in encoded if n in rows[i]) for i in asked}
    for subset in dict.fromkeys(s for kind in sorted(kinds) for s in _subsets(kind)[1:]):
        where = [i for i in asked if all(n in rows[i] for n in subset)]
        found[subset] = np.full((len(rows), outputs.width), np.nan)
        left = {n: taken(encoded[n], torch.tensor(where)) for n in subset}
        found[subset][where] = outputs.answer(network, left).double().numpy()
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
    """Shapley values of `names` for every output, from the value of every subset, keyed in the order of `names`.

    They sum to v(all) - v(()).
    """
    members = {frozenset(subset): value for subset, value in values.items()}
    return {name: effects(members, names, (name,)) for name in names}
