"""A network's answers, losses and inner vectors for many rows at once."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from sensorium.data import Row, collate
from sensorium.network import JOINT, Network
from sensorium.tasks import Target, Task
from sensorium.training.losses import SMOOTHING, row_losses, told
from sensorium.training.plan import Examples

Heads = dict[str, dict[str, np.ndarray]]  # column -> head -> (n, width) answers
Subset = tuple[str, ...]

FEW = 10  # rows; of fewer nobody can say how much chance there is in their mean


@torch.inference_mode()
def encode_all(
    network: Network, task: Task, rows: Sequence[Row], *, batch: int = 64
) -> Iterator[tuple[list[int], dict]]:
    """Encode rows in batches of similar length; yields (row numbers, encoded modalities)."""
    network.eval()
    lengths = np.array([sum(len(a) for a in row.values()) for row in rows])
    order = np.argsort(lengths, kind="stable")
    for start in range(0, len(order), batch):
        index = order[start : start + batch].tolist()
        yield index, network.encode(collate([rows[i] for i in index], task.modalities, once=True))


@torch.inference_mode()
def _answers(
    network: Network, task: Task, rows: Sequence[Row], subsets: Sequence[Subset] = ()
) -> tuple[Heads, dict[str, np.ndarray], dict[Subset, np.ndarray]]:
    """Answers of every head to every target, who is present, and the joint head's to the asked one by subset."""
    names = [m.name for m in task.modalities]
    wanted = [*names, JOINT] if network.fusion != "late" else names
    spoken = [t for t in task.targets if t.wording is None]
    heads = {t.column: {n: np.zeros((len(rows), t.width), np.float32) for n in wanted} for t in spoken}
    present = {n: np.zeros(len(rows), bool) for n in names}
    asked = task.target.column
    fewer = {s: np.zeros((len(rows), task.target.width), np.float32) for s in subsets}
    for index, encoded in encode_all(network, task, rows):
        if not encoded:
            continue
        for column, found in network.answer(encoded, network.fuse(encoded)).items():
            for name, logits in found.items():
                heads[column][name][index] = logits.numpy()
        for name, piece in encoded.items():
            present[name][index] = piece.present.numpy()
        for subset in subsets if JOINT in heads[asked] else ():
            inside = {n: e for n, e in encoded.items() if n in subset}
            if inside:
                logits = network.answer(inside, network.fuse(inside))[asked][JOINT]
                fewer[subset][index] = logits.numpy()
    return heads, present, fewer


def answer_all(
    network: Network, task: Task, rows: Sequence[Row], *, subsets: Sequence[Subset] = ()
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[Subset, np.ndarray]]:
    """Answers to the asked target for many rows, encoded once.

    Returns head -> (n, width) from everything a row has, modality -> (n,) who is present, and subset -> (n, width)
    of the joint head when only that subset is left. Rows without any modality hold zeros.
    """
    heads, present, fewer = _answers(network, task, rows, subsets)
    return heads[task.target.column], present, fewer


@torch.inference_mode()
def vectors_all(
    network: Network, task: Task, rows: Sequence[Row]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What each encoder learned of many rows: its pooled vector, that the modality's own head reads.

    Returns modality -> (n, 2 * dim) float32, zeros where a row lacks it, and modality -> (n,) who is present.
    """
    names, wide = [m.name for m in task.modalities], 2 * network.shape.dim
    vectors = {n: np.zeros((len(rows), wide), np.float32) for n in names}
    present = {n: np.zeros(len(rows), bool) for n in names}
    for index, encoded in encode_all(network, task, rows):
        for name, piece in encoded.items():
            vectors[name][index] = piece.vector.numpy()
            present[name][index] = piece.present.numpy()
    return vectors, present


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """What held-out rows say of a network. Heads as `told` names them; a head without a row is not a key."""

    common: float  # mean loss of the heads' votes on the asked target, of which the joint head has two
    heads: Mapping[str, float]  # mean loss of each
    rows: Mapping[str, torch.Tensor] = field(
        default_factory=dict
    )  # (n,) losses of the rows with target and modality


def means(rows: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """Head -> mean of its rows."""
    return {k: float(v.mean()) for k, v in rows.items()}


def held_rows(network: Network, task: Task, examples: Examples) -> Held:
    """Measure every head of every target that the rows hold, with weights as they are."""
    heads, present, _ = _answers(network, task, examples.rows)
    each = {t.column: _each(heads[t.column], present, examples, t) for t in task.targets if t.wording is None}
    loss, votes = torch.zeros(1), torch.zeros(1)
    for name, (rows, here) in each[task.target.column].items():
        weight = 2.0 if name == JOINT else 1.0
        loss, votes = loss + weight * here * rows, votes + weight * here
    alone = {
        told((column, name)): rows[here > 0]
        for column, found in each.items()
        for name, (rows, here) in found.items()
        if here.any()
    }
    return Held(common=float((loss / votes.clamp(min=1e-6)).mean()), heads=means(alone), rows=alone)


def held_losses(network: Network, task: Task, examples: Examples) -> tuple[float, dict[str, float]]:
    """Losses on held-out rows, of weights as they are: of the heads' common answer, and of each head (see `Held`)."""
    found = held_rows(network, task, examples)
    return found.common, dict(found.heads)


def blank_rows(task: Task, train: Examples, examples: Examples) -> dict[str, torch.Tensor]:
    """Losses of the constant answer that is best on training rows: head, as `told` names it -> (n,), as `Held` has them."""
    found = {}
    for target in task.targets:
        if target.wording is not None:
            continue
        known = [c for c in train.targets.get(target.column, ()) if c is not None]
        cells = examples.targets.get(target.column, ())
        rows = [i for i, c in enumerate(cells) if c is not None]
        if not known or not rows:
            continue
        answer = torch.from_numpy(_constant(target, np.stack(known))).expand(len(rows), -1)
        loss = row_losses(answer, torch.from_numpy(np.stack([cells[i] for i in rows])), target)
        for name in (JOINT, *(m.name for m in task.modalities)):
            here = torch.tensor([name == JOINT or name in examples.rows[i] for i in rows])
            if here.any():
                found[told((target.column, name))] = loss[here]
    return found


def blank_losses(task: Task, train: Examples, examples: Examples) -> dict[str, float]:
    """Mean loss on held-out rows of the best constant answer, for each head (see `blank_rows`)."""
    return means(blank_rows(task, train, examples))


def noise_of(losses: Mapping[str, torch.Tensor], blank: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """Standard error of what each head gains over a constant answer on the same rows; none of fewer than FEW rows."""
    gains = {k: blank[k] - v for k, v in losses.items() if k in blank and len(v) >= FEW}
    return {k: float(g.std()) / len(g) ** 0.5 for k, g in gains.items()}


def _constant(target: Target, known: np.ndarray) -> np.ndarray:
    """The answer without input whose loss (`row_losses`) is least, (width,): log shares, log odds, or a number."""
    if target.kind == "number":
        return np.array([_centre(known)], np.float32)
    if target.kind == "labels":
        share = np.clip(known.mean(0), 1e-3, 1 - 1e-3)
        return np.log(share / (1 - share)).astype(np.float32)
    share = np.bincount(known, minlength=len(target.classes)) / len(known)
    return np.log((1 - SMOOTHING) * share + SMOOTHING / len(share)).astype(np.float32)


def _centre(known: np.ndarray) -> float:
    """The number with the least smooth L1 loss: from the mean on, rows further off than 1 count by their direction."""
    centre = float(known.mean())
    for _ in range(20):
        centre += float(np.clip(known - centre, -1, 1).mean())
    return centre


def _each(
    heads: Mapping[str, np.ndarray], present: Mapping[str, np.ndarray], examples: Examples, target: Target
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Head -> loss of each row whose target is known, (known,), and 1 where the head's modality is there."""
    cells = examples.targets.get(target.column, ())
    known = [i for i, c in enumerate(cells) if c is not None]
    if not known:
        return {}
    truth = torch.from_numpy(np.stack([cells[i] for i in known]))
    found = {}
    for name, logits in heads.items():
        here = torch.ones(len(known)) if name == JOINT else torch.from_numpy(present[name][known]).float()
        found[name] = (row_losses(torch.from_numpy(logits[known]), truth, target), here)
    return found
