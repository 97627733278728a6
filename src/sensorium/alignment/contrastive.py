"""Vectors x vectors -> contrastive losses: exact, in tiles, with memory in proportion to the batch.

The similarities of a batch are a table of rows x columns that is never built. Tiles of it are made in the forward pass
for its sums, thrown away, and made again in the backward pass for the gradients: four matrix products for both
directions together, where a dense loss takes six and holds several such tables.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from sensorium.alignment.gather import gather, offset, stacked
from sensorium.types import InputError

ROWS = 512  # of one tile, where that is not too much for TILE
TILE = 1 << 26  # bytes of one tile
ALIVE = 5  # tiles that are alive at once, with their masks

Mask = Bool[Tensor, "tile column"]
Alike = Callable[[Mask, Mask], tuple[Mask, Mask]]


def group_positive(same: Mask, own: Mask) -> tuple[Mask, Mask]:
    """Every column of a row's group is a right answer of it, to be found like its own."""
    return same, torch.ones_like(same)


def group_ignored(same: Mask, own: Mask) -> tuple[Mask, Mask]:
    """A row's own column is its only right answer; the others of its group are left out, as neither right nor wrong."""
    return own, ~same | own


def info_nce(
    x: Float[Tensor, "row width"],
    y: Float[Tensor, "column width"],
    scale: Float[Tensor, ""] | float,
    *,
    groups: Tensor | tuple[Tensor, Tensor] | None = None,
    present: Tensor | tuple[Tensor, Tensor] | None = None,
    alike: Alike = group_positive,
    smoothing: float = 0.0,
    first: int = 0,
    chunk: int | None = None,
    across: dist.ProcessGroup | None = None,
) -> Float[Tensor, ""]:
    """Softmax loss of finding y from x and x from y (CLIP, arXiv:2103.00020, sec. 2.3), in nats.

    Row i belongs to column `first + i`. Further columns are hard negatives: wrong for every row. The logits are
    `scale * x @ y.T`; bring vectors to unit length before. The loss is the mean over rows that have a right column,
    plus the mean over columns that have a right row, halved.

    With several right answers a row's loss is the mean of their negative log-probabilities (L_out of SupCon,
    arXiv:2004.11362, sec. 3.2), not the negative logarithm of their summed probability: that one is content as
    soon as a single one of them is found, and then stops pulling at the others.

    Args:
        x: one side, of any floating type; computed in float32, or in float64 where it is given.
        y: the other side; at least as many as `first` + rows, unless `groups` is a pair.
        scale: inverse temperature, above 0.
        groups: (rows,) integers, rows of equal number belong together; or a pair of them for rows and columns.
        present: (rows,) False leaves out a row and its column; or a pair of masks for rows and columns: then a row
            without its column is still a wrong answer for the other columns. What is left out may hold anything.
        alike: what equal groups mean: `group_positive`, `group_ignored`, or a function of (same group, own pair) that
            gives (right answers, answers that count at all).
        first: the column of row 0.
        smoothing: share of each row's target that is spread evenly over all answers, 0..1 (arXiv:1512.00567, sec. 7).
        chunk: rows of one tile; None: as many as suit a processor.
        across: processes that each hold some rows of the batch. Everyone gets the loss of the whole batch, and
            gradients whose *average* over the processes are the gradients of that loss.

    Raises InputError for a chunk below 1, for lengths that do not fit, and when it is differentiated twice.
    """
    x, y, cells = _sides(x, y, groups, present, alike, first, across)
    chunk = _rows(chunk, y)
    return _Softmax.apply(x, y, _number(scale, x), cells, chunk, float(smoothing), across)


def sigmoid(
    x: Float[Tensor, "row width"],
    y: Float[Tensor, "column width"],
    scale: Float[Tensor, ""] | float,
    bias: Float[Tensor, ""] | float,
    *,
    groups: Tensor | tuple[Tensor, Tensor] | None = None,
    present: Tensor | tuple[Tensor, Tensor] | None = None,
    alike: Alike = group_positive,
    first: int = 0,
    chunk: int | None = None,
    across: dist.ProcessGroup | None = None,
) -> Float[Tensor, ""]:
    """Loss of telling for each pair alone whether it belongs together (SigLIP, arXiv:2303.15343, sec. 3.2), in nats.

    The sum over all pairs of the logistic loss of `scale * x @ y.T + bias`, divided by the number of rows. Everything
    else is as in `info_nce`, except that hard negatives count like other columns.
    """
    x, y, cells = _sides(x, y, groups, present, alike, first, across)
    chunk = _rows(chunk, y)
    return _Sigmoid.apply(x, y, _number(scale, x), _number(bias, x), cells, chunk, across)


def tile_bytes(columns: int, itemsize: int = 4) -> int:
    """Bytes of working memory that one row of a tile takes while a loss is computed."""
    return ALIVE * itemsize * max(1, columns)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Cells:
    """What each cell of the table of similarities means."""

    own: Int[Tensor, " row"]  # the column of each row, -1 for none
    columns: int
    groups: tuple[Tensor, Tensor] | None  # of rows and of columns
    alike: Alike

    def masks(self, a: int, b: int) -> tuple[Tensor, Tensor]:
        """Which cells of rows a..b are right answers, and which count at all."""
        assert self.groups is not None
        same = self.groups[0][a:b, None] == self.groups[1][None]
        own = self.own[a:b, None] == torch.arange(self.columns, device=same.device)
        return self.alike(same, own)

    def pairs(self, a: int, b: int) -> tuple[Tensor, Tensor]:
        """Rows (counted from a) and columns of the right answers, where there are no groups."""
        own = self.own[a:b]
        row = (own >= 0).nonzero()[:, 0]
        return row, own[row]


def _sides(
    x: Tensor,
    y: Tensor,
    groups: Tensor | tuple[Tensor, Tensor] | None,
    present: Tensor | tuple[Tensor, Tensor] | None,
    alike: Alike,
    first: int,
    across: dist.ProcessGroup | None,
) -> tuple[Tensor, Tensor, _Cells]:
    """Take out what is absent, put the columns of all processes together, and number the pairs."""
    _fit(x, y, groups, present, first)
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    rows, columns = len(x), len(y)
    number = torch.arange(rows, device=x.device) + first
    own = torch.where(number < columns, number, -1)
    sides = None if groups is None else _both_groups(groups, columns, offset(columns, across, x.device))
    if present is not None:
        keep_x, keep_y = present if isinstance(present, tuple) else (present, _padded(present, columns))
        place = torch.where(keep_y, keep_y.cumsum(0) - 1, -1)
        own = torch.where(own >= 0, place[own], -1)[keep_x]
        x, y = x[keep_x], y[keep_y]
        sides = sides and (sides[0][keep_x], sides[1][keep_y])
    own = torch.where(own >= 0, own + offset(len(y), across, x.device), -1)
    y = gather(y.to(wide), across)
    sides = sides and (sides[0], gather(sides[1], across))
    return x.to(wide), y, _Cells(own=own, columns=len(y), groups=sides, alike=alike)


def _fit(x: Tensor, y: Tensor, groups: object, present: object, first: int) -> None:
    """Raise InputError where lengths do not fit one another."""
    pair = isinstance(groups, tuple)
    if not pair and (len(y) < len(x) + first or first < 0 or (first and groups is not None)):
        raise InputError(
            "the columns do not hold one for each row",
            got=f"{len(x)} rows, {len(y)} columns, the first row's column is {first}",
            fix="give a column for each row, or say what belongs together by groups=(of rows, of columns)",
        )
    for name, given in (("groups", groups), ("present", present)):
        sides = given if isinstance(given, tuple) else (given,)
        for side, vectors in zip(sides, (x, y), strict=False):
            if isinstance(side, Tensor) and side.shape != (len(vectors),):
                raise InputError(
                    f"{name} does not fit the vectors",
                    got=f"shape {tuple(side.shape)} for {len(vectors)} vectors",
                    fix=f"give one element of {name} for each vector",
                )


def _both_groups(groups: Tensor | tuple[Tensor, Tensor], columns: int, before: int) -> tuple[Tensor, Tensor]:
    """Groups of rows and of columns; a hard negative is a group of its own."""
    if isinstance(groups, tuple):
        return groups
    groups = groups.long()
    lone = torch.arange(len(groups), columns, device=groups.device) + before
    return groups, torch.cat([groups, lone + torch.iinfo(torch.int64).min])


def _padded(present: Tensor, columns: int) -> Tensor:
    """The rows' mask for their columns; hard negatives are there."""
    return torch.cat([present, present.new_ones(columns - len(present))])


def _rows(chunk: int | None, y: Tensor) -> int:
    """Rows of one tile. Raises InputError below 1."""
    if chunk is None:
        return max(1, min(ROWS, TILE // (y.element_size() * max(1, len(y)))))
    if chunk < 1:
        raise InputError("a tile needs a row", got=chunk, fix="chunk=1 or more, or None")
    return chunk


def _number(value: Tensor | float, like: Tensor) -> Tensor:
    return torch.as_tensor(value, device=like.device).to(like.dtype).reshape(())


def _spans(rows: int, chunk: int) -> Iterator[tuple[int, int]]:
    for a in range(0, rows, chunk):
        yield a, min(a + chunk, rows)


def _once() -> None:
    """Raise InputError inside a backward pass that is itself to be differentiated."""
    if torch.is_grad_enabled():
        raise InputError(
            "tiled contrastive losses have no second derivative",
            got="create_graph=True",
            fix="differentiate once, or write the loss as a dense table of similarities for this purpose",
        )


# Of the answers of a row: the largest logit, the sum of exponentials shifted by it; sum and number of the right logits,
# and of all that count.
TOP, TOTAL, HIT, HITS, SUM, COUNT = range(6)


def _statistics(
    x: Tensor, y: Tensor, scale: Tensor, cells: _Cells, chunk: int
) -> tuple[Float[Tensor, "6 row"], Float[Tensor, "6 column"]]:
    """TOP, TOTAL, HIT, HITS, SUM, COUNT of the logits along each row and each column of the table."""
    rows, columns = x.new_zeros(6, len(x)), x.new_zeros(6, len(y))
    rows[TOP], columns[TOP] = -math.inf, -math.inf
    for a, b in _spans(len(x) if len(y) else 0, chunk):
        logits = (x[a:b] * scale) @ y.T
        if cells.groups is None:
            row, column = cells.pairs(a, b)
            hit = logits[row, column]
            rows[HIT, a + row], rows[HITS, a + row] = hit, 1
            columns[HIT, column] += hit
            columns[HITS, column] += 1
            rows[COUNT, a:b] = len(y)
            columns[COUNT] += b - a
        else:
            right, counts = cells.masks(a, b)
            for mask, total, number in ((right, HIT, HITS), (counts, SUM, COUNT)):
                found = logits.masked_fill(~mask, 0)
                rows[total, a:b], rows[number, a:b] = found.sum(1), mask.sum(1)
                columns[total] += found.sum(0)
                columns[number] += mask.sum(0)
            del found
            logits.masked_fill_(~counts, -math.inf)
        rows[TOP, a:b] = logits.amax(1)
        rows[TOTAL, a:b] = (logits - _finite(rows[TOP, a:b, None])).exp_().sum(1)
        top = logits.amax(0)
        total = logits.sub_(_finite(top)).exp_().sum(0)
        both = torch.stack([columns[:2], torch.stack([top, total])])
        columns[:2] = _summed(both)
    if cells.groups is None:  # sums over all answers need no table
        rows[SUM] = (x * scale) @ y.sum(0)
        columns[SUM] = y @ (x.sum(0) * scale)
    return rows, columns


def _finite(top: Tensor) -> Tensor:
    """A shift that leaves rows without any answer at exponentials of zero."""
    return top.masked_fill(top == -math.inf, 0)


def _summed(parts: Float[Tensor, "part 2 row"]) -> Float[Tensor, "2 row"]:
    """TOP and TOTAL over the parts of each row."""
    top = parts[:, TOP].amax(0)
    return torch.stack([top, (parts[:, TOTAL] * (parts[:, TOP] - _finite(top)).exp()).sum(0)])


def _merged(columns: Tensor, across: dist.ProcessGroup | None) -> Tensor:
    """Statistics of the columns over the rows of all processes."""
    if across is None:
        return columns
    every = stacked(columns, across)
    return torch.cat([_summed(every[:, :2]), every[:, 2:].sum(0)])


def _shares(found: Tensor, smoothing: float) -> Tensor:
    """Loss of each row that has a right answer, and 0 of the others."""
    right, spread = found[HIT] / found[HITS].clamp(min=1), found[SUM] / found[COUNT].clamp(min=1)
    gap = (1 - smoothing) * (found[TOP] - right) + (smoothing * (found[TOP] - spread) if smoothing else 0)
    return torch.where(found[HITS] > 0, gap + found[TOTAL].log(), 0)


def _pulls(found: Tensor, weight: Tensor, smoothing: float) -> Float[Tensor, "4 row"]:
    """What a gradient needs of each row: shift and weight of its exponentials, pull of a right answer and of any.

    Shift and sum are kept apart: their rounded sum would drown the small gradients of pairs that are already found.
    """
    counted = torch.where(found[HITS] > 0, weight, 0)
    share = torch.where(found[HITS] > 0, counted / found[TOTAL], 0)
    right = counted * (1 - smoothing) / found[HITS].clamp(min=1)
    return torch.stack([_finite(found[TOP]), share, right, counted * smoothing / found[COUNT].clamp(min=1)])


class _Softmax(torch.autograd.Function):
    """Keeps x, y, the scale, and four numbers of each row and each column."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        y: Tensor,
        scale: Tensor,
        cells: _Cells,
        chunk: int,
        smoothing: float,
        across: dist.ProcessGroup | None,
    ) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            rows, columns = _statistics(x, y, scale, cells, chunk)
        columns = _merged(columns, across)
        shares = torch.stack([_shares(rows, smoothing).sum(), (rows[HITS] > 0).sum()])
        totals = stacked(shares, across)
        lost, many = totals.sum(0)
        wide, most = _shares(columns, smoothing).sum(), (columns[HITS] > 0).sum().to(x.dtype)
        many, most = many.clamp(min=1), most.clamp(min=1)
        ranks = len(totals)  # gradients are averaged over so many processes
        ctx.save_for_backward(
            x,
            y,
            scale,
            _pulls(rows, ranks / (2 * many), smoothing),
            _pulls(columns, ranks / (2 * most), smoothing),
        )
        ctx.cells, ctx.chunk, ctx.smoothing = cells, chunk, smoothing
        return (lost / many + wide / most) / 2

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        _once()
        x, y, scale, rows, columns = ctx.saved_tensors
        cells, smoothing = ctx.cells, ctx.smoothing

        def pull(logits: Tensor, a: int, b: int) -> Tensor:
            row = rows[:, a:b, None]
            if cells.groups is not None:
                right, counts = cells.masks(a, b)
                logits.masked_fill_(~counts, -math.inf)
            p = (logits - row[0]).exp_().mul_(row[1])
            p.addcmul_(logits.sub_(columns[0]).exp_(), columns[1])
            if cells.groups is None:
                i, j = cells.pairs(a, b)
                p[i, j] -= rows[2, a + i] + columns[2, j]
            else:
                p -= (row[2] + columns[2]).mul_(right)
            if smoothing:
                spread = row[3] + columns[3]
                p -= spread if cells.groups is None else spread.mul_(counts)
            return p

        dx, dy, ds, _ = _gradients(x, y, scale, None, ctx.chunk, pull, grad, ctx.needs_input_grad)
        return dx, dy, ds, None, None, None, None


class _Sigmoid(torch.autograd.Function):
    """Keeps x, y, the scale and the bias."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        y: Tensor,
        scale: Tensor,
        bias: Tensor,
        cells: _Cells,
        chunk: int,
        across: dist.ProcessGroup | None,
    ) -> Tensor:
        total = torch.zeros((), dtype=torch.float64, device=x.device)
        with torch.autocast(x.device.type, enabled=False):
            for a, b in _spans(len(x) if len(y) else 0, chunk):
                logits = ((x[a:b] * scale) @ y.T).add_(bias)
                if cells.groups is None:
                    i, j = cells.pairs(a, b)
                    logits[i, j] *= -1
                else:
                    right, counts = cells.masks(a, b)
                    logits = torch.where(right, -logits, logits).masked_fill_(~counts, -math.inf)
                total += F.softplus(logits).sum(dtype=torch.float64)
        totals = stacked(torch.stack([total, total.new_tensor(len(x))]), across)
        lost, many = totals.sum(0)
        many = many.clamp(min=1)
        ctx.save_for_backward(x, y, scale, bias)
        ctx.cells, ctx.chunk, ctx.weight = cells, chunk, float(len(totals) / many)
        return (lost / many).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        _once()
        x, y, scale, bias = ctx.saved_tensors
        cells = ctx.cells

        def pull(logits: Tensor, a: int, b: int) -> Tensor:
            p = logits.sigmoid_()
            if cells.groups is None:
                i, j = cells.pairs(a, b)
                p[i, j] -= 1
                return p
            right, counts = cells.masks(a, b)
            return p.sub_(right.to(p.dtype)).masked_fill_(~counts, 0)

        needs = ctx.needs_input_grad
        dx, dy, ds, db = _gradients(x, y, scale, bias, ctx.chunk, pull, grad * ctx.weight, needs)
        return dx, dy, ds, db if needs[3] else None, None, None, None


def _gradients(
    x: Tensor,
    y: Tensor,
    scale: Tensor,
    bias: Tensor | None,
    chunk: int,
    pull: Callable[[Tensor, int, int], Tensor],
    grad: Tensor,
    needs: tuple[bool, ...],
) -> tuple[Tensor | None, Tensor | None, Tensor, Tensor]:
    """Make each tile of logits again and add up the gradients of x, y, scale and bias.

    `pull` turns the logits of rows a..b, which it may overwrite, into the derivative of the loss by them.
    """
    dx, dy = (torch.zeros_like(v) if need else None for v, need in zip((x, y), needs, strict=False))
    ds, db = scale.new_zeros(()), scale.new_zeros(())
    with torch.autocast(x.device.type, enabled=False):
        for a, b in _spans(len(x) if len(y) else 0, chunk):
            rows = x[a:b] * scale
            logits = rows @ y.T
            p = pull(logits if bias is None else logits.add_(bias), a, b)
            if dx is not None or needs[2]:
                mixed = p @ y
                ds += (mixed * x[a:b]).sum()
                if dx is not None:
                    torch.mul(mixed, scale * grad, out=dx[a:b])
            if dy is not None:
                dy.addmm_(p.T, rows)
            if bias is not None:
                db += p.sum()
            del logits, p
    return dx, dy if dy is None else dy.mul_(grad), ds * grad, db * grad
