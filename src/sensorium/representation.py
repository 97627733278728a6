"""Tokens -> vectors: pooling, and the heads that turn vectors into answers."""

import math
from collections.abc import Sequence
from itertools import combinations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from sensorium.tokens import Tokens, pooled


class Head(nn.Module):
    """Mean and maximum of the tokens -> norm -> dropout -> answers (logits, or one standardised number)."""

    def __init__(self, dim: int, answers: int, *, dropout: float = 0.1):
        super().__init__()
        self.layers = nn.Sequential(nn.LayerNorm(2 * dim), nn.Dropout(dropout), nn.Linear(2 * dim, answers))

    def forward(self, vector: Float[Tensor, "batch twice"]) -> Float[Tensor, "batch answers"]:
        return self.layers(vector)


class Summary(nn.Module):
    """The pooled vector of one modality, as one more token of it: all that a simple fusion needs."""

    def __init__(self, dim: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(2 * dim), nn.Linear(2 * dim, dim), nn.GELU(), nn.Linear(dim, dim)
        )

    def forward(self, tokens: Tokens) -> tuple[Float[Tensor, "batch twice"], Float[Tensor, "batch dim"]]:
        """Return the pooled vector (for the modality's own head) and its token (for the trunk)."""
        vector = pooled(tokens)
        return vector, self.layers(vector)


class Projection(nn.Module):
    """Pooled tokens -> a unit vector of the shared space."""

    def __init__(self, dim: int, width: int, *, dropout: float = 0.1):
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(2 * dim), nn.Dropout(dropout), nn.Linear(2 * dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, width)
        )  # fmt: skip

    def forward(self, vector: Float[Tensor, "batch twice"]) -> Float[Tensor, "batch width"]:
        return F.normalize(self.layers(vector), dim=-1)


class Space(nn.Module):
    """One space for several senders: a projection of each to unit length, and a temperature for each pair of them.

    A pair's similarity is `scale * cos + bias`. The scale is the exponential of a number that stays between 0 and
    ln 100 (arXiv:2103.00020, sec. 2.5); the bias is for the sigmoid loss (arXiv:2303.15343, sec. 3.2). One temperature
    for each pair, since a picture and its caption may agree more closely than a picture and its sound.
    """

    WARMEST, COLDEST = 0.0, math.log(100)

    def __init__(self, names: Sequence[str], dim: int, width: int, *, dropout: float = 0.1):
        super().__init__()
        self.names = list(names)
        self.projections = nn.ModuleList(Projection(dim, width, dropout=dropout) for _ in self.names)
        self.pairs = [*combinations(sorted(self.names), 2), *((n, n) for n in self.names)]
        self.heat = nn.Parameter(torch.full((len(self.pairs),), math.log(1 / 0.07)))
        self.bias = nn.Parameter(torch.zeros(len(self.pairs)))

    def project(self, name: str, vector: Float[Tensor, "batch twice"]) -> Float[Tensor, "batch width"]:
        """Bring the pooled vectors of one sender into the space."""
        return self.projections[self.names.index(name)](vector)

    def scale(self, a: str, b: str) -> Float[Tensor, ""]:
        """What the cosine of a pair is multiplied with, 1..100; the order of the two does not matter."""
        return self.heat[self._number(a, b)].exp()

    def shift(self, a: str, b: str) -> Float[Tensor, ""]:
        """What is added to the similarity of a pair; the order of the two does not matter."""
        return self.bias[self._number(a, b)]

    def _number(self, a: str, b: str) -> int:
        return self.pairs.index((min(a, b), max(a, b)))

    @torch.no_grad()
    def hold(self) -> None:
        """Bring the scales back between 1 and 100: to be called after every step."""
        self.heat.clamp_(self.WARMEST, self.COLDEST)


class Spotter(nn.Module):
    """Which words are to be found in tokens of another kind: each token may show a word, and one is enough.

    Noisy-or over the tokens (arXiv:1411.4952, sec. 3.1), so what shows a word is found without being told where it is.
    """

    RARE = -6.0  # log odds of a word in a token before anything is learned

    def __init__(self, dim: int, words: int):
        super().__init__()
        self.linear = nn.Linear(dim, words)
        nn.init.constant_(self.linear.bias, self.RARE)

    def forward(self, tokens: Tokens) -> Float[Tensor, "batch word"]:
        """Log probability that no valid token shows a word; just below 0 at most."""
        absent = F.logsigmoid(-self.linear(tokens.x.masked_fill(~tokens.valid[:, :, None], 0)))
        return absent.masked_fill(~tokens.valid[:, :, None], 0).sum(1).clamp(max=-1e-6)


def spot_losses(
    absent: Float[Tensor, "batch word"], words: Int[Tensor, "batch step"]
) -> Float[Tensor, " batch"]:
    """Binary cross-entropy of the words of a text (ids, 0 and 1 aside) and of all others, per word that there is; (batch,)."""
    there = torch.zeros_like(absent).scatter(1, words, 1.0)[:, 2:]
    absent = absent[:, 2:]
    each = -(there * torch.log(-torch.expm1(absent)) + (1 - there) * absent)
    return each.sum(1) / there.sum(1).clamp(min=1)
