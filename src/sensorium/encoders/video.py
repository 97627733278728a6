"""Clips: a small picture stem per frame, which also sees what changed since the frame before, then time."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sensorium.encoders.image import scaled
from sensorium.encoders.series import Timeline
from sensorium.nn import ConvStem, within
from sensorium.tokens import Part, Tokens

PART = 4  # of the channels one in so many comes from the frame before, and as many from the frame after


def shifted(
    x: Float[Tensor, "frame channel high wide"], first: Bool[Tensor, " frame"], last: Bool[Tensor, " frame"]
) -> Float[Tensor, "frame channel high wide"]:
    """Frames one behind the other, some of whose channels come from the neighbours: zeros before a clip and behind it.

    Temporal shift (arXiv:1811.08383, sec. 3.2): the next convolution then sees what moved where, for no multiplication.
    """
    few = x.shape[1] // PART
    before = torch.roll(x[:, :few], 1, 0).masked_fill(first[:, None, None, None], 0)
    after = torch.roll(x[:, few : 2 * few], -1, 0).masked_fill(last[:, None, None, None], 0)
    return torch.cat([before, after, x[:, 2 * few :]], 1)


class VideoEncoder(nn.Module):
    """(n, frames, side, side, channels) pixels -> one token a frame."""

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
        w = width // 2 if item[0] > 32 else width  # small frames are cheap
        stages = [
            (w, 3, (2, 2)),
            (2 * w, 3, (2, 2)),
            (3 * w, 3, (2, 2)),
            (4 * w, 3, (2, 2)),
            (4 * w, 3, (1, 1)),
        ]
        self.stem = ConvStem(2 * item[-1], stages)
        rows = (item[0] + 15) // 16
        self.project = nn.Linear(rows * rows * 4 * w, dim)
        self.after = ConvStem(dim, [(dim, 3, (1,))])
        self.time = Timeline(dim, heads)
        self.step_s = step_s

    def forward(self, part: Part) -> Tokens:
        """Encode the clips of a batch, only their real frames; tokens behind a clip's end are invalid."""
        frames = scaled(part.values)
        change = torch.cat([torch.zeros_like(frames[:, :1]), frames[:, 1:] - frames[:, :-1]], 1)
        real = within(part.length, frames.shape[1])
        x = torch.cat([frames, 2 * change], -1)[real]
        x = x.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        place = torch.arange(real.shape[1], device=x.device)
        first = (place == 0).expand_as(real)[real]
        last = (place == part.length[:, None] - 1)[real]
        for number, block in enumerate(self.stem.blocks):
            x = block(shifted(x, first, last) if number else x, None)
        packed = self.project(x.flatten(1))
        tokens = packed.new_zeros(*real.shape, packed.shape[1]).masked_scatter(real[..., None], packed)
        tokens, length = self.after(tokens.transpose(1, 2), part.length)
        return self.time(tokens.transpose(1, 2), length, step_s=self.step_s)
