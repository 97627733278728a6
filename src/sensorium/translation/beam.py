"""Beam search with length control (arXiv:1609.08144, sec. 7)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sensorium.tokens import Tokens
from sensorium.translation.decoder import PADDING, Decoder
from sensorium.translation.search import Rules, Written, read_prompt
from sensorium.types import InputError

NEVER = float("-inf")


def length_penalty(length: Tensor, alpha: float) -> Tensor:
    """((5 + length) / 6) ** alpha, with the end counted as one more id (arXiv:1609.08144, eq. 14)."""
    return ((5.0 + length) / 6.0) ** alpha


@dataclass(kw_only=True, slots=True)
class Lines:
    """The texts that are still being written: `width` of each row, the best first."""

    ids: Int[Tensor, "batch width step"]
    told: Float[Tensor, "batch width"]  # log-probability so far; minus infinity: no such text


@dataclass(kw_only=True, slots=True)
class Finished:
    """The best texts that have ended: `width` places of each row, the best first."""

    ids: Int[Tensor, "batch width longest"]
    length: Int[Tensor, "batch width"]
    told: Float[Tensor, "batch width"]
    score: Float[Tensor, "batch width"]  # minus infinity: the place is free

    def add(self, ids: Tensor, told: Tensor, alpha: float, here: Tensor) -> None:
        """Put in `ids` (batch, width, step) where `here` (batch, width) is True, and keep the best."""
        length = torch.full_like(self.length, ids.shape[2])
        score = (told / length_penalty(length + 1, alpha)).masked_fill(~here, NEVER)
        padded = torch.nn.functional.pad(ids, (0, self.ids.shape[2] - ids.shape[2]), value=PADDING)
        score, order = torch.cat([self.score, score], 1).sort(dim=1, descending=True, stable=True)
        order = order[:, : self.score.shape[1]]
        self.score = score[:, : self.score.shape[1]]
        self.told = torch.cat([self.told, told], 1).gather(1, order)
        self.length = torch.cat([self.length, length], 1).gather(1, order)
        self.ids = torch.cat([self.ids, padded], 1).gather(1, order[:, :, None].expand_as(self.ids))


def best(
    scores: Float[Tensor, "batch choice"], count: int
) -> tuple[Float[Tensor, "batch count"], Int[Tensor, "batch count"]]:
    """As `topk`, but equals come in the order of their places, on every device and for every size."""
    values, places = scores.topk(count, 1)
    edge = values[:, -1:]
    if bool(((scores == edge).sum(1) != (values == edge).sum(1)).any()):  # topk had to choose among equals
        values, places = scores.sort(dim=1, descending=True, stable=True)
        return values[:, :count], places[:, :count]
    places = places.sort(dim=1).values
    values, order = scores.gather(1, places).sort(dim=1, descending=True, stable=True)
    return values, places.gather(1, order)


@torch.no_grad()
def beam(
    decoder: Decoder,
    memory: Tokens,
    *,
    width: int = 4,
    alpha: float = 0.6,
    rules: Rules = Rules(),
    prompt: Tensor | None = None,
) -> Written:
    """Write the `width` best texts per row that a beam of that width finds.

    The score is log-probability / ((5 + length) / 6) ** alpha: 0 favours short texts, 1 is about the mean per id.
    An ending counts if it is among the `width` best continuations of its row; a row is ready when `width` texts
    have ended, so a beam of one writes what `greedy` writes, and one at least as wide as there are texts is
    exhaustive. Where there are fewer texts than `width`, the last places have a log-probability of minus infinity.
    For `prompt` see `search.stream`. Raises InputError for a width below 1 and a negative `alpha`.
    """
    if width < 1 or not alpha >= 0:
        raise InputError(
            "no beam", got=f"width={width}, alpha={alpha}", fix="let width be 1 or more, alpha 0 or more"
        )
    rows, longest = len(memory.x), rules.limit(decoder)
    forced = read_prompt(decoder, prompt, rows, longest)
    lines, ended = _empty(memory, forced, width, longest)
    state = decoder.start(memory, room=longest + 1, copies=width) if rows else None
    last = torch.full((rows * width,), decoder.begin, device=forced.device)
    for at in range(longest + 1 if rows else 0):
        logits, state = decoder.step(state, last)
        given = forced[:, at] if at < forced.shape[1] else torch.zeros_like(forced[:, :1].sum(1))
        parent = _advance(decoder, lines, ended, logits, given, alpha=alpha, rules=rules, longest=longest)
        ready = (ended.score[:, -1] > NEVER) | (lines.told[:, 0] == NEVER)
        if at == longest or bool(ready.all()):
            break
        lines.told = lines.told.masked_fill(ready[:, None], NEVER)
        state.reorder((parent + torch.arange(rows, device=parent.device)[:, None] * width).flatten())
        last = lines.ids[:, :, -1].flatten()
    told = ended.told.masked_fill(ended.score == NEVER, NEVER)
    used = max(1, int(ended.length.max()) if rows else 1)
    return Written(ids=ended.ids[:, :, :used], length=ended.length, log_probability=told, score=ended.score)


def _empty(memory: Tokens, forced: Tensor, width: int, longest: int) -> tuple[Lines, Finished]:
    rows = len(memory.x)
    told = memory.x.new_full((rows, width), NEVER)
    whole = forced.new_full((rows, width, longest), PADDING)
    ended = Finished(ids=whole, length=whole[:, :, 0], told=told, score=told)
    first = told.clone()
    first[:, :1] = 0  # all copies are alike before the first word
    return Lines(ids=whole[:, :, :0], told=first), ended


def _advance(
    decoder: Decoder,
    lines: Lines,
    ended: Finished,
    logits: Tensor,
    given: Tensor,
    *,
    alpha: float,
    rules: Rules,
    longest: int,
) -> Tensor:
    """Let every row take one more id; return which line each new line goes on from, (batch, width)."""
    rows, width, at = lines.ids.shape
    told = logits.log_softmax(1)
    told = rules.forbid(told, lines.ids.flatten(0, 1), end=decoder.end, longest=longest)
    told = told.view(rows, width, -1)
    prompted = (given != PADDING)[:, None]
    only = torch.full_like(told, NEVER).scatter(2, given[:, None, None].expand(-1, width, 1), 0.0)
    told = torch.where(prompted[:, :, None], only, told) + lines.told[:, :, None]
    values, places = best(told.flatten(1), 2 * width)
    parent, chosen = places // told.shape[2], places % told.shape[2]
    end = (chosen == decoder.end) & (values > NEVER)
    here = end[:, :width] & (ended.score[:, -1:] == NEVER)
    before = lines.ids.gather(1, parent[:, :width, None].expand(-1, -1, at))
    ended.add(before, values[:, :width], alpha, here)
    # Of the 2 * width best at most `width` end, so enough are left to go on; sorting False first keeps their order.
    on = end.sort(dim=1, stable=True).indices[:, :width]
    parent, chosen, lines.told = (t.gather(1, on) for t in (parent, chosen, values))
    past = lines.ids.gather(1, parent[:, :, None].expand(-1, -1, at))
    lines.ids = torch.cat([past, chosen[:, :, None]], 2)
    return parent
