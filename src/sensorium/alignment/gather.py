"""Rows of one process -> rows of all processes, with gradients that come back; and small figures of every process."""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor


def gather(x: Shaped[Tensor, "row ..."], across: dist.ProcessGroup | None) -> Shaped[Tensor, "every ..."]:
    """Return the rows of every process in the order of their ranks; each may have another number of them.

    The gradient of a row is the sum of what every process makes of it. So where each process takes the loss of its own
    rows, averaging the parameters' gradients over the processes gives those of the mean loss. (Where every process
    takes one and the same loss of all rows, that average is too large by the number of processes.) `across` None: `x`.
    """
    if across is None or dist.get_world_size(across) == 1:
        return x
    sizes = stacked(torch.tensor(len(x), device=x.device), across).tolist()
    return _Gather.apply(x, sizes, across)


def offset(rows: int, across: dist.ProcessGroup | None, device: torch.device) -> int:
    """How many rows the processes of lower ranks have: where the own ones begin in what `gather` returns."""
    if across is None:
        return 0
    sizes = stacked(torch.tensor(rows, device=device), across)
    return int(sizes[: dist.get_rank(across)].sum())


def stacked(figures: Shaped[Tensor, "..."], across: dist.ProcessGroup | None) -> Shaped[Tensor, "rank ..."]:
    """Put the figures of all processes one under the other, without gradients; all must have the same shape."""
    if across is None:
        return figures[None]
    found = [torch.empty_like(figures) for _ in range(dist.get_world_size(across))]
    dist.all_gather(found, figures.contiguous(), group=across)
    return torch.stack(found)


class _Gather(torch.autograd.Function):
    """All-gather of rows, padded to the most that one process has; its gradient is a reduce-scatter."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, sizes: list[int], across: dist.ProcessGroup) -> Tensor:
        ctx.sizes, ctx.across, ctx.mine = sizes, across, dist.get_rank(across)
        padded = x.new_zeros(max(sizes), *x.shape[1:])
        padded[: len(x)] = x
        return torch.cat([part[:n] for part, n in zip(stacked(padded, across), sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        most, parts = max(ctx.sizes), []
        for part in grad.split(ctx.sizes):
            padded = grad.new_zeros(most, *grad.shape[1:])
            padded[: len(part)] = part
            parts.append(padded)
        mine = torch.empty_like(parts[0])
        dist.reduce_scatter(mine, parts, group=ctx.across)
        return mine[: ctx.sizes[ctx.mine]], None, None
