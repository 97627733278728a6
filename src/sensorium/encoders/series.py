"""Series: 1-D convolutions over time, then attention. Framed points come here too: a frame is a step."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sensorium.nn import Block, ConvStem, PlaceEmbedding, self_mask, within
from sensorium.tokens import Part, Tokens

UNKNOWN_STEP_S = 0.04  # of recordings whose rate nobody told: their steps still follow each other


class Timeline(nn.Module):
    """Features that follow each other in time -> tokens with places in seconds, mixed by attention."""

    def __init__(self, dim: int, heads: int, *, depth: int = 1):
        super().__init__()
        self.place = PlaceEmbedding(dim)
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))

    def forward(self, x: Float[Tensor, "n step dim"], length: Int[Tensor, " n"], *, step_s: float) -> Tokens:
        """Return one token a step; `step_s` is the time between two of them in seconds."""
        valid = within(length, x.shape[1])
        place = x.new_zeros(*x.shape[:2], 3)
        place[..., 0] = torch.arange(x.shape[1], device=x.device) * step_s
        x = x + self.place(place)
        mask = self_mask(valid)
        for block in self.blocks:
            x = block(x, mask)
        return Tokens(x=x, kind=valid.long(), place=place, valid=valid)


class SeriesEncoder(nn.Module):
    """(n, steps, features) -> about steps / 4 tokens."""

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
        w = 2 * width
        stages = [(w, 7, (2,)), (w, 5, (1,)), (2 * w, 5, (2,)), (2 * w, 3, (1,))]
        self.stem = ConvStem(item[0], stages)
        self.project = nn.Linear(2 * w, dim)
        self.time = Timeline(dim, heads)
        self.step_s = 4 * (step_s or UNKNOWN_STEP_S)

    def forward(self, part: Part) -> Tokens:
        """Encode the recordings of a batch; tokens behind a recording's end are invalid."""
        x, length = self.stem(part.values.float().transpose(1, 2), part.length)
        return self.time(self.project(x.transpose(1, 2)), length, step_s=self.step_s)
