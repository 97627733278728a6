"""Point clouds: framed ones are a series of histograms; plain ones a shared network over points (PointNet)."""

import torch
from torch import nn

from sensorium.encoders.series import SeriesEncoder
from sensorium.nn import within
from sensorium.tokens import Part, Tokens


class CloudEncoder(nn.Module):
    """(n, points, dims) -> 8 tokens, each the maximum over the points that a learned gate gives it.

    Shared layers and a symmetric maximum make the answer independent of the points' order (Qi et al. 2017,
    arXiv:1612.00593, sec. 4.2).
    """

    def __init__(self, item: tuple[int, ...], *, dim: int, heads: int, slots: int = 8, **_: object):
        super().__init__()
        self.lift = nn.Sequential(
            nn.Linear(item[0], 64), nn.GELU(), nn.Linear(64, dim), nn.LayerNorm(dim), nn.GELU()
        )
        self.mix = nn.Sequential(nn.Linear(2 * dim, dim), nn.LayerNorm(dim), nn.GELU(), nn.Linear(dim, dim))
        self.slots = nn.Linear(dim, slots * 32)
        self.project = nn.Linear(32, dim)
        self.names = nn.Parameter(torch.randn(slots, dim) * 0.02)

    def forward(self, part: Part) -> Tokens:
        """Encode the clouds of a batch; every token is valid."""
        real = within(part.length, part.values.shape[1])[..., None]
        x = self.lift(part.values.float())
        whole = x.masked_fill(~real, float("-inf")).amax(1, keepdim=True).expand_as(x)
        x = self.mix(torch.cat([x, whole], -1))
        top = self.slots(x).masked_fill(~real, float("-inf")).amax(1).unflatten(-1, (len(self.names), -1))
        x = self.project(top) + self.names
        valid = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        return Tokens(x=x, kind=valid.long(), place=x.new_zeros(*x.shape[:2], 3), valid=valid)


class PointsEncoder(nn.Module):
    """Choose by `step_s`: frames that follow each other in time, or one plain cloud."""

    def __init__(
        self,
        item: tuple[int, ...],
        *,
        dim: int,
        heads: int,
        width: int = 32,
        step_s: float = 0.0,
        **_: object,
    ):
        super().__init__()
        kind = SeriesEncoder if step_s > 0 else CloudEncoder
        self.inner = kind(item, dim=dim, heads=heads, width=width, step_s=step_s)

    def forward(self, part: Part) -> Tokens:
        """Encode the clouds or timed frames of a batch."""
        return self.inner(part)
