"""Sound: 2-D convolutions over log-mel frames; a few frequency rows are kept until the projection."""

import torch
from torch import nn

from sensorium.encoders.series import Timeline
from sensorium.nn import ConvStem
from sensorium.tokens import Part, Tokens


class AudioEncoder(nn.Module):
    """(n, frames, bands) log-mel -> frames / 4 tokens; keeping rows of frequency tells levels from pitch."""

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
        w = width
        stages = [
            (w, 3, (2, 2)),
            (2 * w, 3, (2, 2)),
            (2 * w, 3, (1, 1)),
            (3 * w, 3, (1, 2)),
            (3 * w, 3, (1, 2)),
        ]
        self.stem = ConvStem(1, stages)
        rows = item[0]
        for _stage in range(4):
            rows = (rows + 1) // 2
        self.project = nn.Linear(rows * 3 * w, dim)
        self.time = Timeline(dim, heads)
        self.step_s = 4 * step_s

    def forward(self, part: Part) -> Tokens:
        """Encode the sounds of a batch; tokens behind a sound's end are invalid."""
        x = part.values.float()[:, None].contiguous(memory_format=torch.channels_last)
        x, length = self.stem(x, part.length)
        return self.time(self.project(x.permute(0, 2, 3, 1).flatten(2)), length, step_s=self.step_s)
