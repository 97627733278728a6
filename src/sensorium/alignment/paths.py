"""Which step of one sequence belongs to which step of another: time warping, and left-to-right search.

Warping (`dtw`, `soft_dtw`) lets both sequences wait; the search (`monotonic_search`, `ctc_path`) gives every frame of
the long one a single state of the short one, in order. All are batched and padded: what lies behind a row's own length
never changes its result.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from sensorium.types import InputError

FAR = 1e30  # the cost of a cell that no path may enter; sums of it stay finite in single precision
NOT_SAID = -1  # of `ctc_path`: a blank, or padding

Lengths = Int[Tensor, " batch"] | Sequence[int] | None


# --- both may wait -------------------------------------------------------------------------------------------------


def dtw(
    cost: Float[Tensor, "batch rows columns"], *, rows: Lengths = None, columns: Lengths = None
) -> tuple[Float[Tensor, " batch"], list[Int[Tensor, "steps 2"]]]:
    """Find the cheapest warping path: its summed cost, and for each item its cells (row, column) in order.

    A path goes from (0, 0) to the last cell by steps (1, 0), (0, 1) and (1, 1), and pays each cell that it enters
    (Sakoe and Chiba 1978). rows, columns: own lengths, 1 and more; without them all of `cost` counts. Raises InputError for lengths outside and
    for cells that are NaN.
    """
    high, wide = _lengths(rows, cost, 1), _lengths(columns, cost, 2)
    with torch.no_grad():
        skewed = _skewed(cost, high, wide)
        reached, came = [], []
        before, last = torch.full_like(skewed[:, 0], FAR), None
        for k in range(skewed.shape[1]):
            best, way = _earlier(before, last, k).min(-1)
            last, before = (best + skewed[:, k]).clamp(max=FAR), before if last is None else last
            reached.append(last)
            came.append(way)
        value = torch.stack(reached, 1)[torch.arange(len(cost)), high + wide - 2, high - 1]
        ways = torch.stack(came, 1).cpu().numpy()
    return value, [
        _walked(w, int(n), int(m)).to(cost.device) for w, n, m in zip(ways, high, wide, strict=True)
    ]


def _walked(ways, high: int, wide: int) -> Tensor:
    """The cells of one path, found from its end."""
    i, j, cells = high - 1, wide - 1, [(high - 1, wide - 1)]
    while i or j:
        way = ways[i + j, i]
        i, j = i - (way != 2), j - (way != 1)
        cells.append((i, j))
    return torch.tensor(cells[::-1])


def soft_dtw(
    cost: Float[Tensor, "batch rows columns"],
    gamma: float = 1.0,
    *,
    rows: Lengths = None,
    columns: Lengths = None,
) -> Float[Tensor, " batch"]:
    """Sum up all warping paths: -gamma log sum exp(-cost of a path / gamma), which may be below zero.

    Towards gamma = 0 it is `dtw`. The gradient is exact: the share of all paths, by weight, that enter each cell
    (arXiv:1703.01541, alg. 1 and 2); there is no second derivative. gamma > 0 in the unit of `cost`; rows, columns
    as in `dtw`. Raises InputError for another gamma and for lengths outside.
    """
    if not gamma > 0:
        raise InputError("soft-DTW needs a gamma above zero", got=gamma, fix="use `dtw` for the hard minimum")
    return _SoftPaths.apply(cost, _lengths(rows, cost, 1), _lengths(columns, cost, 2), float(gamma))


class _SoftPaths(torch.autograd.Function):
    """Forward over anti-diagonals, and back over the same by the weights that each cell gave its predecessors."""

    @staticmethod
    def forward(ctx, cost: Tensor, high: Tensor, wide: Tensor, gamma: float) -> Tensor:
        skewed = _skewed(cost, high, wide)
        reached, weights = [], []
        before, last = torch.full_like(skewed[:, 0], FAR), None
        for k in range(skewed.shape[1]):
            earlier = _earlier(before, last, k)
            least = earlier.amin(-1, keepdim=True)
            share = torch.exp((least - earlier) / gamma)  # the largest is 1: nothing overflows
            total = share.sum(-1, keepdim=True)
            best = (least - gamma * total.log())[..., 0]
            last, before = (best + skewed[:, k]).clamp(max=FAR), before if last is None else last
            reached.append(last)
            weights.append(share / total)
        ctx.save_for_backward(torch.stack(weights, 1), high, wide)
        ctx.columns = cost.shape[2]
        return torch.stack(reached, 1)[torch.arange(len(cost)), high + wide - 2, high - 1]

    @staticmethod
    @once_differentiable
    def backward(ctx, grown: Tensor) -> tuple[Tensor | None, ...]:
        weights, high, wide = ctx.saved_tensors
        batch, diagonals, rows, _ = weights.shape
        seed = weights.new_zeros(batch, diagonals, rows)
        seed[torch.arange(batch), high + wide - 2, high - 1] = grown
        nothing = weights.new_zeros(batch, rows)
        one, two = [nothing] * 3, nothing  # parts handed back by the next diagonal, and by the one after it
        entered = []
        for k in range(diagonals - 1, -1, -1):
            here = seed[:, k] + _up(one[1]) + one[2] + _up(two)
            entered.append(here)
            two, one = one[0], [here * weights[:, k, :, way] for way in range(3)]
        return _straight(torch.stack(entered[::-1], 1), ctx.columns), None, None, None


def _earlier(before: Tensor, last: Tensor | None, k: int) -> Tensor:
    """What reaches the cells of diagonal k: [batch, rows, 3], from across, from the row above, from the left.

    Ties go to the first, so to the diagonal step. `last` is diagonal k - 1 and `before` is k - 2.
    """
    if last is None:  # the first cell is reached from nowhere, for nothing
        start = torch.full((*before.shape, 3), FAR, dtype=before.dtype, device=before.device)
        start[:, 0, 0] = 0
        return start
    return torch.stack([_down(before), _down(last), last], -1)


def _down(x: Tensor) -> Tensor:
    """Entry i becomes entry i + 1; FAR comes in."""
    return F.pad(x, (1, 0), value=FAR)[:, :-1]


def _up(x: Tensor) -> Tensor:
    """Entry i + 1 becomes entry i; zero comes in."""
    return F.pad(x, (0, 1))[:, 1:]


def _skewed(cost: Tensor, high: Tensor, wide: Tensor) -> Tensor:
    """Cell (i, j) moves to (i + j, i): [batch, rows + columns - 1, rows], FAR where there is no cell."""
    batch, rows, columns = cost.shape
    i, j = torch.arange(rows, device=cost.device), torch.arange(columns, device=cost.device)
    inside = (i[:, None] < high[:, None, None]) & (j < wide[:, None, None])
    if bool((cost.isnan() & inside).any()):
        raise InputError("a cost is NaN", got=f"shape {tuple(cost.shape)}", fix="mask it by its length")
    padded = F.pad(
        torch.where(inside, cost.clamp(max=FAR), FAR), (0, rows), value=FAR
    )  # [.., columns + rows]
    flat = padded.flatten(1)[:, : rows * (columns + rows - 1)]  # one cell less a row: each row moves right
    return flat.view(batch, rows, columns + rows - 1).transpose(1, 2)


def _straight(skewed: Tensor, columns: int) -> Tensor:
    """Cell (i + j, i) moves back to (i, j)."""
    batch, diagonals, rows = skewed.shape
    flat = F.pad(skewed.transpose(1, 2).flatten(1), (0, rows))
    return flat.view(batch, rows, diagonals + 1)[:, :, :columns]


# --- every frame in one state, in order ----------------------------------------------------------------------------


def monotonic_search(
    scores: Float[Tensor, "batch frames states"],
    *,
    frames: Lengths = None,
    states: Lengths = None,
    optional: Bool[Tensor, "batch states"] | None = None,
) -> tuple[Int[Tensor, "batch frames"], Float[Tensor, " batch"]]:
    """Find the best way through all states from the first to the last: each frame's state, and the summed score.

    Each state holds one frame or more, and none is left out, but for single `optional` ones (a pause between
    words). This is the monotonic alignment search of Glow-TTS (arXiv:2005.11129, alg. 1). scores: usually log
    probabilities; frames, states: own lengths. Behind its frames a row's state is -1. Raises InputError where there are fewer frames than states that must be met,
    or where two states in a row may be left out.
    """
    long, short = _lengths(frames, scores, 1), _lengths(states, scores, 2)
    may_go = torch.zeros_like(scores[:, 0], dtype=torch.bool) if optional is None else optional
    known = torch.arange(scores.shape[2], device=scores.device) < short[:, None]
    if bool((may_go[:, 1:] & may_go[:, :-1] & known[:, 1:]).any()):
        raise InputError(
            "two optional states follow each other", got=may_go.tolist(), fix="make them one state"
        )
    needed = (known & ~may_go).sum(1).clamp(min=1)
    _enough(long, needed)
    with torch.no_grad():
        best, ways = _searched(scores, long, may_go)
    return _best_end(best, ways, long, short, may_go)


def _searched(scores: Tensor, long: Tensor, may_go: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The best score of each state at the last frame, and for each frame how many states back it came from."""
    batch, frames, states = scores.shape
    never = float("-inf")
    jumps = F.pad(may_go, (1, 0))[:, :states]  # the state before may be left out
    best = torch.full_like(scores[:, 0], never)
    best[:, 0] = scores[:, 0, 0]
    if states > 1:
        best[:, 1] = torch.where(may_go[:, 0], scores[:, 0, 1], never)
    ways = []
    for t in range(1, frames):
        one, two = (F.pad(best, (n, 0), value=never)[:, :states] for n in (1, 2))
        most, way = torch.stack([best, one, two.masked_fill(~jumps, never)], -1).max(-1)
        going = (t < long)[:, None]
        best = torch.where(going, most + scores[:, t], best)
        ways.append(torch.where(going, way, 0))
    return best, ways


def _best_end(
    best: Tensor, ways: list[Tensor], long: Tensor, short: Tensor, may_go: Tensor
) -> tuple[Tensor, Tensor]:
    """Walk back from the last state, or from the one before where the last is optional and not worth it."""
    last = (short - 1)[:, None]
    early = (last - 1).clamp(min=0)
    at_end, at_early = best.gather(1, last), best.gather(1, early)
    stops = may_go.gather(1, last) & (last > 0) & (at_early > at_end)
    score, state = torch.where(stops, at_early, at_end)[:, 0], torch.where(stops, early, last)
    found = [state]
    for way in reversed(ways):
        state = state - way.gather(1, state)
        found.append(state)
    path = torch.cat(found[::-1], 1)
    return path.masked_fill(torch.arange(path.shape[1], device=path.device) >= long[:, None], -1), score


def ctc_path(
    logp: Float[Tensor, "batch frames symbols"],
    labels: Int[Tensor, "batch labels"],
    *,
    frames: Lengths = None,
    lengths: Lengths = None,
    blank: int = 0,
) -> tuple[Int[Tensor, "batch frames"], Float[Tensor, " batch"]]:
    """Align frames to a known label sequence by the most probable CTC path (Graves 2006, sec. 3; Viterbi).

    Gives for each frame the index into `labels` of what is said there, -1 where it is a blank or padding; and the
    log probability of the path. logp: log probabilities of the symbols with `blank`; labels: symbols without blanks,
    padded behind `lengths`; a repeated label needs a blank between. Raises InputError where the frames are too few.
    """
    batch, many = labels.shape
    long = _lengths(frames, logp, 1)
    count = torch.full_like(long, many) if lengths is None else torch.as_tensor(lengths, device=logp.device)
    inside = torch.arange(many, device=logp.device) < count[:, None]
    symbols = torch.where(inside, labels, blank)
    if bool((inside & (symbols == blank)).any()) or bool(
        (symbols < 0).any() | (symbols >= logp.shape[2]).any()
    ):
        raise InputError(
            "labels are no symbols", got=f"{labels.tolist()} of {logp.shape[2]} symbols, blank {blank}",
            fix="give numbers of symbols without the blank",
        )  # fmt: skip
    extended = torch.full((batch, 2 * many + 1), blank, device=logp.device)
    extended[:, 1::2] = symbols
    may_go = torch.zeros_like(extended, dtype=torch.bool)
    may_go[:, ::2] = True
    if many > 1:
        may_go[:, 2:-1:2] = symbols[:, 1:] != symbols[:, :-1]
    states = 2 * count + 1
    may_go.scatter_(1, (states - 1)[:, None], True)  # behind the last label of a shorter row
    scores = logp.gather(2, extended[:, None].expand(-1, logp.shape[1], -1))
    path, score = monotonic_search(scores, frames=long, states=states, optional=may_go)
    return torch.where(path % 2 == 1, path // 2, NOT_SAID), score


def spans(path: Int[Tensor, " frames"], count: int) -> list[tuple[int, int] | None]:
    """Turn one row of a path into (first, last + 1) frames of each of `count` states; None where none is there."""
    places = [(path == state).nonzero()[:, 0] for state in range(count)]
    return [(int(p[0]), int(p[-1]) + 1) if len(p) else None for p in places]


def _enough(long: Tensor, needed: Tensor) -> None:
    """Refuse rows whose frames cannot hold their states."""
    if bool((long < needed).any()):
        row = int((long < needed).nonzero()[0, 0])
        raise InputError(
            "more states than frames", got=f"{int(needed[row])} states, {int(long[row])} frames in row {row}",
            fix="use a shorter step between frames, or leave the row out",
        )  # fmt: skip


def _lengths(given: Lengths, x: Tensor, axis: int) -> Tensor:
    """Own lengths along an axis as [batch]; all of it where none are given."""
    if given is None:
        given = [x.shape[axis]] * len(x)
    found = torch.as_tensor(given, device=x.device)
    if found.shape != x.shape[:1] or bool((found < 1).any() | (found > x.shape[axis]).any()):
        raise InputError(
            "lengths do not fit", got=f"{found.tolist()} for shape {tuple(x.shape)}, axis {axis}",
            fix="give one whole number from 1 to the padded length for each row",
        )  # fmt: skip
    return found
