"""Tokens -> vectors: pooling, and the heads that turn vectors into answers."""

from jaxtyping import Float
from torch import Tensor, nn

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
