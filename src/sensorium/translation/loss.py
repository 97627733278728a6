"""What a decoder of text is trained on."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from sensorium.translation.decoder import FIRST, PADDING, Decoder


def lesson(
    decoder: Decoder, words: Int[Tensor, "batch word"]
) -> tuple[Int[Tensor, "batch step"], Int[Tensor, "batch step"]]:
    """Shift texts (ids, padded with 0 behind) by one: what the decoder is given, and what it shall say next.

    `[a b 0]` gives `[begin a b 0]`, cut to one more than the longest text, and `[a b end 0]`; a row without a
    word is a row without a target: it gives no end to learn either.
    """
    length = (words != PADDING).sum(1)
    steps = int(length.max()) + 1 if len(words) else 1
    words = F.pad(words, (0, 1), value=PADDING)[:, :steps]
    given = torch.cat([words.new_full((len(words), 1), decoder.begin), words[:, : steps - 1]], 1)
    ends = F.one_hot(length, steps).bool() & (length > 0)[:, None]
    return given, words.masked_fill(ends, decoder.end)


def taught(targets: Int[Tensor, "batch step"]) -> Bool[Tensor, "batch step"]:
    """Where there is something to learn: not in padding, and not where the true word is unknown."""
    return targets >= FIRST


def row_losses(
    logits: Float[Tensor, "batch step vocabulary"],
    targets: Int[Tensor, "batch step"],
    *,
    smoothing: float = 0.1,
) -> Float[Tensor, " batch"]:
    """Cross-entropy in nats, the mean over the real positions of each row; 0 for a row without any.

    `smoothing` (0..1) spreads that share of the target evenly over all ids that can be written
    (arXiv:1512.00567, sec. 7).
    """
    real = taught(targets)
    each = _each(logits, targets, real, smoothing)
    return each.sum(1) / real.sum(1).clamp(min=1)


def token_loss(
    logits: Float[Tensor, "batch step vocabulary"],
    targets: Int[Tensor, "batch step"],
    *,
    smoothing: float = 0.1,
) -> Float[Tensor, ""]:
    """As `row_losses`, the mean over all real positions of the batch; 0 where there is none."""
    real = taught(targets)
    return _each(logits, targets, real, smoothing).sum() / real.sum().clamp(min=1)


def _each(logits: Tensor, targets: Tensor, real: Tensor, smoothing: float) -> Tensor:
    """(batch, step) losses, 0 outside `real`."""
    told = logits.float().log_softmax(-1)
    hit = -told.gather(2, targets.masked_fill(~real, FIRST)[:, :, None])[:, :, 0]
    if smoothing:
        silent = told.isinf()  # ids that are never written take no share
        every = -told.masked_fill(silent, 0).sum(-1) / (~silent).sum(-1)
        hit = (1 - smoothing) * hit + smoothing * every
    return hit.masked_fill(~real, 0)


def unevenness(
    looks: Float[Tensor, "batch step token"],
    real: Bool[Tensor, "batch step"],
    valid: Bool[Tensor, "batch token"],
) -> Float[Tensor, " batch"]:
    """How unevenly the tokens of each row were looked at: sum over tokens of (1 - sum over words of alpha)^2.

    The doubly stochastic regularisation of arXiv:1502.03044, sec. 4.2.1, up to its factor. There words and tokens
    are about as many; here the wanted sum of a token is words / tokens in place of 1, so that a short text is not
    asked for the impossible.
    """
    looks = looks * real[:, :, None]
    wanted = looks.sum((1, 2)) / valid.sum(1).clamp(min=1)
    gap = (wanted[:, None] - looks.sum(1)).masked_fill(~valid, 0)
    return gap.square().sum(1)
