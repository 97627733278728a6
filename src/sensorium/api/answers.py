"""From heads to answers: which heads are left of a subset, what they say together, and how good that is."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from sensorium.measure.baselines import Floor
from sensorium.measure.experts import JOINT, Experts, average
from sensorium.measure.scores import macro_f1
from sensorium.tasks import Target

Subset = tuple[str, ...]


def subsets_of(names: Sequence[str]) -> list[Subset]:
    """Every non-empty subset up to five modalities; above, each alone, all, and all but one."""
    if len(names) <= 5:
        return [s for k in range(1, len(names) + 1) for s in combinations(names, k)]
    return [*((n,) for n in names), *(tuple(m for m in names if m != n) for n in names), tuple(names)]


def answers(
    experts: Experts, target: Target, heads: Mapping[str, np.ndarray], present: Mapping[str, np.ndarray]
) -> np.ndarray:
    """(n, classes) probabilities or (n,) numbers in the target's own unit."""
    if target.kind == "category":
        return np.exp(experts.combine(heads, present))
    mean = average(experts.weights, heads, present)
    if target.kind == "number":
        return mean[:, 0] * target.spread + target.mean
    return 1 / (1 + np.exp(-np.clip(mean, -50, 50)))


def truths(target: Target, cells: Sequence[np.ndarray | np.generic | None]) -> np.ndarray:
    """Encoded cells as one array, numbers in their own unit; -1 for a class that training never saw."""
    if target.kind == "category":
        return np.array([-1 if c is None else int(c) for c in cells])
    found = np.stack([c for c in cells if c is not None])
    return found * target.spread + target.mean if target.kind == "number" else found


def value_of(target: Target, answer: np.ndarray | np.generic) -> tuple[object, dict[str, float]]:
    """One row's answer as people read it, and the probability of each class."""
    if target.kind == "number":
        return float(answer), {}
    probabilities = {c: float(p) for c, p in zip(target.classes, answer, strict=True)}
    if target.kind == "labels":
        return tuple(c for c, p in probabilities.items() if p >= 0.5), probabilities
    return target.classes[int(answer.argmax())], probabilities


def standard(target: Target, truth: np.ndarray) -> np.ndarray:
    """Truths as the heads answer: numbers standardised, all else as it is."""
    return (truth - target.mean) / target.spread if target.kind == "number" else truth


def figure(target: Target, said: np.ndarray, truth: np.ndarray, metric: str) -> tuple[float, float]:
    """(headline figure, mean loss)."""
    if target.kind == "category":
        given = np.where(truth >= 0, said[np.arange(len(truth)), truth], 0.0)
        loss = float(-np.log(np.maximum(given, 1e-9)).mean())
        right = (
            macro_f1(said.argmax(1), truth)
            if metric == "macro_f1"
            else float((said.argmax(1) == truth).mean())
        )
        return right, loss
    if target.kind == "labels":
        hit = (said >= 0.5) & (truth > 0.5)
        loss = float(-np.log(np.maximum(np.where(truth > 0.5, said, 1 - said), 1e-9)).mean())
        return float(2 * hit.sum() / max(1, (said >= 0.5).sum() + (truth > 0.5).sum())), loss
    square = float(((said - truth) ** 2).mean())
    return 1 - square / max(1e-12, float(truth.var())), square


def left(
    heads, present, fewer: Mapping[Subset, np.ndarray], subset: Subset, floors: Sequence[Floor]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The heads that are left, and who is present, when only `subset` is sent."""
    names = [*subset, *(f.name for f in floors if f.modality in subset)]
    part = {n: heads[n] for n in names}
    if JOINT in heads:
        part[JOINT] = fewer[subset]
    return part, {n: present[n] for n in names}


def rows_of(arrays: Mapping[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
    """Some rows of every array."""
    return {k: v[rows] for k, v in arrays.items()}
