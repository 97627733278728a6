"""Reading texts out of a decoder: the likeliest id each time, by lot, as a stream, or with a beam.

Everything here expects the decoder in eval mode. Log-probabilities are natural and those of the model, whatever
rules forbid; they count the words and the end, not the ids of a prompt. Equal scores go to the lower id and the
earlier line, so the same weights always write the same text.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sensorium.tokens import Tokens
from sensorium.translation.decoder import PADDING, UNKNOWN, Decoder
from sensorium.types import InputError

Choose = Callable[[Tensor], Tensor]  # logits (rows, vocabulary) -> ids (rows,)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """What a text may look like. Lengths are in ids, without `begin` and `end`, a prompt counted."""

    longest: int | None = None  # there only the end may follow; None: as long as the decoder can
    shortest: int = 0  # before that many ids the end may not follow
    no_repeat: int = 0  # no run of that many ids occurs twice; 0: anything may

    def limit(self, decoder: Decoder) -> int:
        """Return the most ids of a text; raise InputError for rules that nothing can follow."""
        longest = decoder.longest if self.longest is None else self.longest
        if longest < 1 or not 0 <= self.shortest <= longest or self.no_repeat < 0:
            raise InputError(
                "no text can follow these rules",
                got=f"longest={longest}, shortest={self.shortest}, no_repeat={self.no_repeat}",
                fix="let 0 <= shortest <= longest, 1 <= longest and 0 <= no_repeat",
            )
        decoder.check_room(longest + 1)
        return longest

    def forbid(self, scores: Tensor, past: Int[Tensor, "lines step"], *, end: int, longest: int) -> Tensor:
        """Set to minus infinity what may not follow `past`; where nothing is left, the end may follow.

        `scores` (lines, vocabulary) are logits or log-probabilities; a changed copy is returned.
        """
        at = past.shape[1]
        if at >= longest:
            only = torch.full_like(scores, float("-inf"))
            only[:, end] = scores[:, end]
            return only
        runs = 0 < self.no_repeat <= at
        if at >= self.shortest and not runs:
            return scores
        allowed = scores.clone()
        if at < self.shortest:
            allowed[:, end] = float("-inf")
        if not runs:
            return allowed
        allowed.scatter_(1, _repeats(past, self.no_repeat), float("-inf"))
        stuck = allowed.amax(1) == float("-inf")
        allowed[:, end] = torch.where(stuck, scores[:, end], allowed[:, end])
        return allowed


def _repeats(past: Tensor, size: int) -> Tensor:
    """(lines, runs) ids that would make the last `size` ids a run that was there; padding where none would."""
    runs = past.unfold(1, size, 1)
    last = past[:, past.shape[1] - size + 1 :]
    same = (runs[:, :, :-1] == last[:, None]).all(2)
    return torch.where(same, runs[:, :, -1], PADDING)


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """Texts of every row, the best first."""

    ids: Int[Tensor, "batch best step"]  # padding (0) behind the text; without `begin` and `end`
    length: Int[Tensor, "batch best"]  # ids of each text
    log_probability: Float[Tensor, "batch best"]  # minus infinity: there are no more texts than those before
    score: Float[Tensor, "batch best"]  # what they are sorted by


def likeliest(logits: Float[Tensor, "rows vocabulary"]) -> Int[Tensor, " rows"]:
    """Choose the likeliest id, the lowest of equals."""
    return logits.argmax(1)


def by_lot(generator: torch.Generator, *, temperature: float = 1.0, top_p: float = 1.0) -> Choose:
    """Return a way to draw ids: of the likeliest that together have `top_p` (arXiv:1904.09751, sec. 3.1).

    One number is drawn per row and step, so what a row gets does not depend on when others end. Raises InputError
    for a temperature that is not positive and a `top_p` outside (0, 1].
    """
    if not temperature > 0 or not 0 < top_p <= 1:
        raise InputError(
            "nothing can be drawn so",
            got=f"temperature={temperature}, top_p={top_p}",
            fix="let temperature > 0 and 0 < top_p <= 1; for the likeliest text use `greedy`",
        )

    def choose(logits: Tensor) -> Tensor:
        sure, order = (logits.double() / temperature).softmax(1).sort(dim=1, descending=True, stable=True)
        sure = sure.masked_fill(sure.cumsum(1) - sure >= top_p, 0)  # what comes after the share is full
        upto = sure.cumsum(1)
        drawn = torch.rand(len(logits), 1, generator=generator, dtype=torch.float64, device=generator.device)
        drawn = drawn.to(upto.device) * upto[:, -1:]
        rank = torch.searchsorted(upto, drawn, right=True).clamp(max=upto.shape[1] - 1)
        return order.gather(1, torch.minimum(rank, (sure > 0).sum(1, keepdim=True) - 1))[:, 0]

    return choose


def greedy(
    decoder: Decoder, memory: Tokens, *, rules: Rules = Rules(), prompt: Tensor | None = None
) -> Written:
    """Write one text per row, of the likeliest id each time. For `prompt` see `stream`."""
    return sample(decoder, memory, choose=likeliest, rules=rules, prompt=prompt)


def sample(
    decoder: Decoder,
    memory: Tokens,
    *,
    choose: Choose,
    rules: Rules = Rules(),
    prompt: Tensor | None = None,
) -> Written:
    """Write one text per row, each id chosen by `choose` (see `by_lot`); the score is the log-probability."""
    rows, steps = len(memory.x), list(_steps(decoder, memory, choose, rules, prompt))
    ids = torch.stack([s[0] for s in steps], 1) if steps else torch.zeros(rows, 1, dtype=torch.long)
    told = torch.stack([s[1] for s in steps], 1).sum(1) if steps else torch.zeros(rows)
    ids = ids.masked_fill(ids == decoder.end, PADDING)
    length = (ids != PADDING).sum(1)
    ids = ids[:, : max(1, int(length.max()) if rows else 1)]
    return Written(
        ids=ids[:, None], length=length[:, None], log_probability=told[:, None], score=told[:, None]
    )


def stream(
    decoder: Decoder,
    memory: Tokens,
    *,
    choose: Choose = likeliest,
    rules: Rules = Rules(),
    prompt: Tensor | None = None,
) -> Iterator[Int[Tensor, " batch"]]:
    """Yield the next id of every row as soon as it is known; padding (0) for rows that have ended.

    `prompt` (batch, ids), padded with 0 behind, is what the rows begin with: its ids are yielded first, and the
    rows go on from there, each as soon as its own prompt is over. Ids that the vocabulary does not have are read as
    unknown. Raises InputError for prompts that cannot be read or are longer than a text may be.
    """
    for ids, _ in _steps(decoder, memory, choose, rules, prompt):
        out = ids.masked_fill(ids == decoder.end, PADDING)
        if bool((out != PADDING).any()):
            yield out


def pieces(ids: Iterable[int], words: Callable[[list[int]], str]) -> Iterator[str]:
    """Turn the stream of one row into pieces of text, each as soon as no later id can change it.

    `words` turns ids into text, with U+FFFD for bytes that are not whole yet; such an end is held back.
    """
    so_far, told = [], ""
    for one in ids:
        so_far.append(int(one))
        text = words(so_far)
        sure = text.rstrip("\ufffd")
        if len(sure) > len(told) and sure.startswith(told):
            yield sure[len(told) :]
            told = sure
    text = words(so_far) if so_far else ""
    if len(text) > len(told):
        yield text[len(told) :]


def read_prompt(decoder: Decoder, prompt: Tensor | None, rows: int, longest: int) -> Int[Tensor, "batch ids"]:
    """Return a prompt that the decoder can read; (rows, 0) for None. For the errors see `stream`."""
    if prompt is None:
        return torch.zeros(rows, 0, dtype=torch.long, device=decoder.bias.device)
    if prompt.ndim != 2 or len(prompt) != rows or prompt.is_floating_point() or bool((prompt < 0).any()):
        raise InputError(
            "a prompt that cannot be read",
            got=f"{prompt.dtype} {tuple(prompt.shape)} for {rows} rows",
            fix="give ids from 0 upwards, one line per row, padded with 0 behind",
        )
    lengths = (prompt != PADDING).sum(1)
    if len(prompt) and (
        int(lengths.max()) > longest or bool((prompt[:, :-1] == 0).logical_and(prompt[:, 1:] != 0).any())
    ):
        raise InputError(
            "a prompt longer than a text may be, or with padding before its end",
            got=f"{int(lengths.max())} ids, at most {longest}",
            fix="cut it, and put the padding behind",
        )
    return prompt.long().to(decoder.bias.device).masked_fill(prompt >= decoder.begin, UNKNOWN)


@torch.no_grad()
def _steps(
    decoder: Decoder, memory: Tokens, choose: Choose, rules: Rules, prompt: Tensor | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield ids (batch,), `end` once and padding from then on, and their log-probabilities (0 where forced)."""
    rows, longest = len(memory.x), rules.limit(decoder)
    forced = read_prompt(decoder, prompt, rows, longest)
    if not rows:
        return
    state = decoder.start(memory, room=longest + 1)
    last = torch.full((rows,), decoder.begin, device=forced.device)
    past, done = forced[:, :0], torch.zeros_like(last, dtype=torch.bool)
    for at in range(longest + 1):
        logits, state = decoder.step(state, last)
        last = choose(rules.forbid(logits, past, end=decoder.end, longest=longest))
        told = logits.gather(1, last[:, None])[:, 0] - logits.logsumexp(1)
        if at < forced.shape[1]:
            given = forced[:, at] != PADDING
            last, told = torch.where(given, forced[:, at], last), told.masked_fill(given, 0)
        last, told = last.masked_fill(done, PADDING), told.masked_fill(done, 0)
        yield last, told
        done = done | (last == decoder.end)
        if bool(done.all()):
            return
        past = torch.cat([past, last[:, None]], 1)
