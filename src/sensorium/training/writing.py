"""Targets that are written: their losses, and what decoders look at for many rows at once."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from sensorium.data import Row
from sensorium.network import JOINT, Encoded, Fused, Network, key
from sensorium.representation import spot_losses
from sensorium.tasks import Task
from sensorium.tokens import Batch, Tokens
from sensorium.training.answers import Held, encode_all
from sensorium.training.losses import Named, told
from sensorium.training.plan import Examples, texts
from sensorium.translation.loss import lesson, row_losses

BLIND = 0.05  # share of the rows of which the decoder sees nothing: so that it knows what is likely anyway


def blinded(
    keep: Mapping[str, Tensor] | None, encoded: Mapping[str, Encoded], rng: np.random.Generator
) -> dict[str, Tensor]:
    """What may be seen of each modality, less everything of a few rows."""
    if not encoded:
        return {}
    rows = len(next(iter(encoded.values())).present)
    seeing = torch.from_numpy(rng.random(rows) >= BLIND)
    return {n: (e.present if keep is None else keep[n]) & seeing for n, e in encoded.items()}


def write_losses(network: Network, fused: Fused, batch: Batch, task: Task) -> dict[Named, Tensor]:
    """Mean loss of each text target over the rows that have it: cross-entropy of each next id (teacher forcing), in nats."""
    memory, found = network.memory(fused), {}
    for target in task.targets:
        if target.wording is None:
            continue
        decoder, column = network.writers[key(target.column)], target.column
        given, wanted = lesson(decoder, batch.targets[column])
        each = row_losses(decoder(memory, given), wanted)
        weight = batch.weight[column] * batch.known[column]
        found[column, JOINT] = (each * weight).sum() / weight.sum().clamp(min=1e-6)
    return found


def spotted(network: Network, encoded: Mapping[str, Encoded], batch: Batch) -> dict[Named, Tensor]:
    """Mean loss of finding in each modality the words that are to be written."""
    found: dict[Named, Tensor] = {}
    for text in network.written:
        for name, absent in network.spot(encoded, text).items():
            rows = batch.known[text] & encoded[name].present
            each = spot_losses(absent, batch.targets[text])
            found[text, name] = (each * rows).sum() / rows.sum().clamp(min=1)
    return found


@torch.inference_mode()
def memories(
    network: Network, task: Task, rows: Sequence[Row], *, batch: int = 64, but: Sequence[str] = ()
) -> Iterator[tuple[list[int], Tokens]]:
    """What the decoders look at: (row numbers, tokens), in batches of rows of similar length.

    `but`: modalities that are not seen. A row that has none of the others gives one token that is not valid.
    """
    for index, encoded in encode_all(network, task, rows, batch=batch):
        kept = {n: e for n, e in encoded.items() if n not in but}
        fused = network.read(kept)
        yield index, _blind(network, len(index)) if fused is None else network.memory(fused)


def _blind(network: Network, rows: int) -> Tokens:
    """What the decoders look at where nothing is there: as in training, where a few rows see nothing (`blinded`)."""
    dim, none = network.shape.dim, torch.zeros(rows, dtype=torch.bool)
    tokens = Tokens(
        x=torch.zeros(rows, 1, dim), kind=torch.zeros(rows, 1).long(), place=torch.zeros(rows, 1, 3), valid=none[:, None]
    )  # fmt: skip
    absent = Encoded(tokens=tokens, vector=torch.zeros(rows, 2 * dim), present=none)
    fused = network.read({network.names[0]: absent})
    assert fused is not None, "there is a modality"
    return network.memory(fused)


@torch.inference_mode()
def held_texts(network: Network, task: Task, examples: Examples) -> Held:
    """Losses of the asked target, a text, on held-out rows: those of the first text of each cell."""
    target = task.target
    cells = examples.targets.get(target.column, ())
    known = [i for i, c in enumerate(cells) if c is not None]
    decoder, each = network.writers[key(target.column)], torch.zeros(len(known))
    for index, memory in memories(network, task, [examples.rows[i] for i in known]):
        words = torch.from_numpy(texts([cells[known[i]] for i in index], None))
        given, wanted = lesson(decoder, words)
        each[index] = row_losses(decoder(memory, given), wanted).float()
    name = told((target.column, JOINT))
    if not known:
        return Held(common=0.0, heads={})
    return Held(common=float(each.mean()), heads={name: float(each.mean())}, rows={name: each})
