"""Every head's answer to some rows: the network's and the floors', brought to one scale."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sensorium.api.answers import truths
from sensorium.data import Row
from sensorium.measure.baselines import ByText, Floor, fit_floors
from sensorium.measure.experts import JOINT
from sensorium.measure.scores import headline
from sensorium.network import Network
from sensorium.tasks import Target, Task
from sensorium.training import answer_all

SMOOTH = 0.02  # of a floor's answer goes to the prior: a forest may say zero, which no product forgives


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """Decoded rows, and their texts as written, which floors on words and letters read."""

    patches: Sequence[Row]
    texts: Mapping[str, Sequence[str | None]] = field(default_factory=dict)  # text modality -> one per row

    def take(self, index: Sequence[int]) -> "Rows":
        """The rows numbered `index`."""
        return Rows(
            patches=[self.patches[i] for i in index],
            texts={k: [v[i] for i in index] for k, v in self.texts.items()},
        )


def weighs(target: Target) -> bool:
    """Whether rarer classes weigh more in training: where the headline figure is macro F1."""
    return target.kind == "category" and headline(target.kind, target.counts) == "macro_f1"


def weighed(target: Target) -> np.ndarray:
    """What weighing rows by one over the root of their class's share takes off a head's logits, (width,)."""
    return (
        (0.5 * np.log(target.prior())).astype(np.float32)
        if weighs(target)
        else np.zeros(target.width, np.float32)
    )


def statistics(task: Task, rows: Rows, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Statistics of each modality (or of `names`), (n, d), with rows of NaN where absent."""
    found = {}
    for m in task.modalities:
        if names is not None and m.name not in names:
            continue
        each = [m.statistics(r[m.name]) if m.name in r else None for r in rows.patches]
        width = next((len(f) for f in each if f is not None), 1)
        found[m.name] = np.stack([np.full(width, np.nan, np.float32) if f is None else f for f in each])
    return found


def everyone(heads: Mapping[str, np.ndarray], present: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Who may vote: the joint head in every row that has anything."""
    return (
        {**present, JOINT: np.logical_or.reduce(list(present.values()))} if JOINT in heads else dict(present)
    )


def all_heads(
    network: Network,
    task: Task,
    floors: Sequence[Floor],
    rows: Rows,
    *,
    subsets: Sequence[tuple[str, ...]] = (),
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[tuple[str, ...], np.ndarray]]:
    """Head -> (n, width) answers, head -> (n,) present, and subset -> (n, width) of the joint head.

    Logits of a category are brought to the frequency of the classes in training, whatever weights a head was
    trained with; numbers stay standardised.
    """
    heads, present, fewer = answer_all(network, task, rows.patches, subsets=subsets)
    target = task.target
    if weighs(target):
        shift = weighed(target)
        heads = {k: v + shift for k, v in heads.items()}
        fewer = {k: v + shift for k, v in fewer.items()}
    if not floors:
        return heads, present, fewer
    read = {f.modality for f in floors if not isinstance(f.answer, ByText)}
    numbers = statistics(task, rows, tuple(read))
    for floor in floors:
        here = present[floor.modality]
        heads[floor.name] = np.zeros((len(here), target.width), np.float32)
        if here.any():
            some = np.flatnonzero(here)
            said = floor.answer(
                {k: v[some] for k, v in numbers.items()},
                {k: [v[i] for i in some] for k, v in rows.texts.items()},
            )
            heads[floor.name][some] = logits(said, target, floor)
        present[floor.name] = here
    return heads, present, fewer


def logits(said: np.ndarray, target: Target, floor: Floor) -> np.ndarray:
    """A floor's answers on the scale of the network's heads: (n, width)."""
    if target.kind == "number":
        return ((said - target.mean) / target.spread)[:, None]
    if target.kind == "labels":
        share = np.clip(said, 0.01, 0.99)
        return np.log(share / (1 - share))
    seen = np.asarray(floor.share)
    return np.log((1 - SMOOTH) * said + SMOOTH * seen) - np.log(seen) + np.log(target.prior())


def floors_of(
    task: Task, rows: Rows, cells: Sequence[np.ndarray | np.generic | None], *, seed: int
) -> list[Floor]:
    """Simple models learned from the rows whose target is known; `cells` are encoded."""
    target = task.target
    known = [i for i, c in enumerate(cells) if c is not None]
    some = rows.take(known)
    truth = truths(target, [cells[i] for i in known])
    return fit_floors(
        statistics(task, some), some.texts, truth, kind=target.kind, classes=len(target.classes), seed=seed
    )  # fmt: skip
