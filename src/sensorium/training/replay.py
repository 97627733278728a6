"""The gradient cache: a batch that the encoders could not hold at once, with the gradients as if they had.

A contrastive loss needs all vectors of a batch together, but not all activations. So the batch is encoded in pieces
without keeping any; the loss is taken on the vectors; and each piece is encoded again, with the same random draws, to
carry the vectors' gradients to the weights (GradCache, arXiv:2101.06983, sec. 3). It costs one more forward pass.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sensorium.alignment.contrastive import tile_bytes
from sensorium.nn import MaskedBatchNorm
from sensorium.tokens import Batch, Part
from sensorium.types import InputError

Vectors = dict[str, Tensor]  # a modality or a joint space -> (rows, width), zeros in rows without
Encode = Callable[[Batch], Vectors]


def replay(encode: Encode, loss: Callable[[Vectors], Tensor], batch: Batch, *, rows: int) -> Tensor:
    """Add the gradients of a loss of the whole batch to the weights; return the loss without its graph.

    `encode` gives the vectors of a part of the batch, by name; a name that no row has may be missing. Each row's vector
    must depend on that row alone (see `refuse_batch_norm`), and its random draws must come from torch. `loss` gets the
    vectors of all rows, and may have weights of its own, such as a temperature. `rows` is the most that is encoded
    at once. Gradients are added to `.grad`, as by `backward`. Raises InputError for rows below 1.
    """
    kept = encoded_in_pieces(encode, batch, rows=rows)
    value = loss(kept.vectors)
    if value.requires_grad:
        value.backward()
    kept.backward()
    return value.detach()


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """Vectors of a batch, encoded in pieces of which no activation was kept."""

    encode: Encode
    batch: Batch
    pieces: list[tuple[int, int, list[Tensor]]]  # rows a..b, and the generators' states before them
    vectors: Vectors  # leaves of the graph of the loss: its backward pass fills their .grad

    def backward(self) -> None:
        """Encode every piece again, as it was, and bring the vectors' gradients on to the weights.

        The generators are left as they were found. Nothing is done for vectors that got no gradient.
        """
        grads = {n: v.grad for n, v in self.vectors.items() if v.grad is not None}
        if not grads:
            return
        for a, b, states in self.pieces:
            piece = rows_of(self.batch, a, b)
            with _drawn_again(piece, states), torch.enable_grad():
                made = self.encode(piece)
            pulled = [n for n, v in made.items() if n in grads and v.requires_grad]
            if pulled:
                torch.autograd.backward([made[n] for n in pulled], [grads[n][a:b] for n in pulled])


def encoded_in_pieces(encode: Encode, batch: Batch, *, rows: int) -> Kept:
    """Encode a batch in pieces of at most so many rows, keeping vectors and the states of the generators.

    The vectors' rows are in the batch's order. Raises InputError for rows below 1.
    """
    if rows < 1:
        raise InputError("a piece of a batch needs a row", got=rows, fix="rows=1 or more")
    vectors: Vectors = {}
    pieces = []
    for a in range(0, batch.rows, rows):
        b = min(a + rows, batch.rows)
        piece = rows_of(batch, a, b)
        states = _states(piece)
        with torch.no_grad():
            made = encode(piece)
        pieces.append((a, b, states))
        for name, found in made.items():
            if name not in vectors:
                vectors[name] = found.new_zeros(batch.rows, *found.shape[1:])
            vectors[name][a:b] = found
    leaves = {n: v.requires_grad_() for n, v in vectors.items()}
    return Kept(encode=encode, batch=batch, pieces=pieces, vectors=leaves)


def rows_of(batch: Batch, a: int, b: int) -> Batch:
    """Rows a..b of a batch, without the padding that only other rows need."""
    parts = {}
    for name, shared in batch.parts.items():
        part = shared.own()
        keep = (part.row >= a) & (part.row < b)
        if bool(keep.any()):
            length = part.length[keep]
            values = part.values[keep][:, : max(1, int(length.max()))]
            parts[name] = Part(values=values, length=length, row=part.row[keep] - a)
    cut = {
        f: {n: v[a:b] for n, v in getattr(batch, f).items()} for f in ("targets", "known", "weight", "taught")
    }
    group = None if batch.group is None else batch.group[a:b]
    return replace(batch, parts=parts, rows=b - a, group=group, **cut)


def refuse_batch_norm(network: nn.Module) -> None:
    """Raise InputError where a layer in training mode mixes the rows of a batch, so that pieces differ from the whole."""
    for name, layer in network.named_modules():
        if layer.training and isinstance(layer, (nn.modules.batchnorm._BatchNorm, MaskedBatchNorm)):
            raise InputError(
                "a memory budget cannot be kept with batch norm: its statistics are those of the whole batch",
                got=f"{type(layer).__name__} at {name or 'the top'}",
                fix="leave the budget out, lock that encoder (layers that do not train are fine), or use another norm",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunks:
    """How many rows to treat at once."""

    encoder: int  # rows of a piece
    loss: int  # rows of a tile of the table of similarities


def chunks_for(budget: int, *, rows: int, row_bytes: int, width: int, names: int, columns: int = 0) -> Chunks:
    """Divide a memory budget between what a step of `replay` holds; the batch itself and the weights are not counted.

    Vectors, their gradients and the losses' copies of both are held throughout: 4 tables of (columns, width) float32 for
    each name. What is left goes to the tiles of a loss first, then, when these are gone, to the activations of a
    piece: each gets all of it.

    Args:
        budget: bytes.
        rows: of the batch.
        row_bytes: activations of one row, see `activation_bytes`.
        width: numbers of a vector.
        names: how many vectors a row has.
        columns: rows of all processes together; 0: the same as `rows`.

    Raises InputError where the budget does not do for one row at a time.
    """
    columns = columns or rows
    held = 4 * 4 * columns * width * names
    tile = tile_bytes(columns)
    least = held + max(tile, row_bytes)
    if budget < least:
        raise InputError(
            f"the memory budget is too small for batches of {rows} rows",
            got=f"{budget} bytes",
            fix=f"give at least {least} bytes, or make the batch smaller",
        )
    left = budget - held
    return Chunks(encoder=min(max(1, rows), left // max(1, row_bytes)), loss=min(max(1, rows), left // tile))


def activation_bytes(encode: Encode, batch: Batch, *, rows: int = 8) -> int:
    """Measure how many bytes one row of a batch leaves behind for its backward pass, on any device.

    Twice `rows` rows are encoded, and `rows` of them: what is the same in both, such as weights, cancels. Rows count
    with the padding they have in the batch, so the longest decide. Leaves generators and gradients as they were.
    """
    few = max(1, min(rows, batch.rows // 2))
    many = min(2 * few, batch.rows)
    states = _states(batch)
    with _drawn_again(batch, states):
        small, large = (_saved(encode, _longest(batch, n)) for n in (few, many))
    return max(1, large // many if many == few else -(-(large - small) // (many - few)))


def average_gradients(parameters: Iterable[Tensor], across: dist.ProcessGroup) -> None:
    """Replace every gradient by its mean over all processes, with one all-reduce for all of them of one type.

    A weight without a gradient counts as one with zeros, so that every process sends the same. To be called once for
    each step, after the last backward pass; all processes must name the same parameters in the same order.
    """
    trained = [p for p in parameters if p.requires_grad]
    for kind in dict.fromkeys((p.dtype, p.device) for p in trained):
        same = [p for p in trained if (p.dtype, p.device) == kind]
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in same])
        dist.all_reduce(flat, group=across)
        flat /= dist.get_world_size(across)
        for p, mean in zip(same, flat.split([p.numel() for p in same]), strict=True):
            p.grad = mean.view_as(p).clone()


def _longest(batch: Batch, count: int) -> Batch:
    """A batch of the `count` rows with the most steps over all modalities."""
    steps = torch.zeros(batch.rows, dtype=torch.int64)
    parts = {name: part.own() for name, part in batch.parts.items()}
    for part in parts.values():
        steps.index_add_(0, part.row.cpu(), part.length.cpu())
    chosen = steps.argsort(descending=True, stable=True)[:count]
    place = torch.full((batch.rows,), -1)
    place[chosen] = torch.arange(count)
    longest = {}
    for name, part in parts.items():
        row = place.to(part.row.device)[part.row]
        keep = row >= 0
        if bool(keep.any()):
            longest[name] = Part(values=part.values[keep], length=part.length[keep], row=row[keep])
    return Batch(parts=longest, rows=count)


def _saved(encode: Encode, batch: Batch) -> int:
    """Bytes that a forward pass keeps for the backward pass, each storage once."""
    found: dict[int, int] = {}
    alive: list[Tensor] = []  # an address is told apart from a later one only while it is in use

    def pack(t: Tensor) -> Tensor:
        storage = t.untyped_storage()
        found[storage.data_ptr()] = storage.nbytes()
        alive.append(t)
        return t

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        encode(batch)
    return sum(found.values())


def _devices(batch: Batch) -> Iterator[torch.device]:
    """Accelerators that a batch lies on."""
    yield from {p.values.device for p in batch.parts.values() if p.values.device.type != "cpu"}


def _states(batch: Batch) -> list[Tensor]:
    """States of the generators that encoding this batch may draw from."""
    states = [torch.get_rng_state()]
    return states + [torch.get_device_module(d).get_rng_state(d) for d in _ordered(batch)]


def _ordered(batch: Batch) -> list[torch.device]:
    return sorted(_devices(batch), key=str)


@contextmanager
def _drawn_again(batch: Batch, states: list[Tensor]) -> Iterator[None]:
    """Draw from given states of the generators, and go on afterwards as if nothing had been drawn."""
    before = _states(batch)
    _restore(batch, states)
    try:
        yield
    finally:
        _restore(batch, before)


def _restore(batch: Batch, states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    for device, state in zip(_ordered(batch), states[1:], strict=True):
        torch.get_device_module(device).set_rng_state(state, device)
