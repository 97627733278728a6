"""Pictures: a strided convolutional stem (arXiv:2106.14881: early convolutions help small transformers)."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from sensorium.nn import Block, ConvStem, PlaceEmbedding
from sensorium.tokens import Part, Tokens


def raster(rows: int, columns: int, *, device: torch.device) -> Float[Tensor, "place 3"]:
    """Places of a grid in reading order: seconds 0, centres of the cells as y and x in 0..1."""
    y = (torch.arange(rows, device=device) + 0.5) / rows
    x = (torch.arange(columns, device=device) + 0.5) / columns
    yx = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2)
    return torch.cat([torch.zeros(rows * columns, 1, device=device), yx], 1)


def scaled(
    pixels: UInt8[Tensor, "*shape channels"] | Float[Tensor, "*shape channels"],
) -> Float[Tensor, "*shape channels"]:
    """Pixels 0..255 as numbers around zero with a spread near one; fractions are what explanations ask for."""
    return (pixels.float() - 127.5) / 64.0


class ImageEncoder(nn.Module):
    """(n, side, side, channels) pixels -> (side / 16)^2 tokens, or (side / 8)^2 where `fine` and the side is 64 at most."""

    FINE = 64  # pixels of a side, up to which a token for 8 x 8 of them is affordable

    def __init__(
        self,
        item: tuple[int, ...],
        *,
        dim: int,
        heads: int,
        width: int = 32,
        fields: int = 0,
        fine: bool = False,
        **_: object,
    ):
        super().__init__()
        w = width
        stages = [
            (w, 3, (2, 2)),
            (2 * w, 3, (2, 2)),
            (2 * w, 3, (1, 1)),
            (3 * w, 3, (2, 2)),
            (3 * w, 3, (1, 1)),
        ]
        last = (1, 1) if fine and fields <= self.FINE else (2, 2)  # `fields`: rows of pixels
        self.stem = ConvStem(item[-1], [*stages, (4 * w, 3, last), (4 * w, 3, (1, 1))])
        self.project = nn.Linear(4 * w, dim)
        self.place = PlaceEmbedding(dim)
        self.block = Block(dim, heads)

    def forward(self, part: Part) -> Tokens:
        """Encode the pictures of a batch; every token is valid."""
        x = scaled(part.values).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        x, _ = self.stem(x, part.length)
        place = raster(x.shape[2], x.shape[3], device=x.device).expand(x.shape[0], -1, -1)
        x = self.project(x.flatten(2).transpose(1, 2)) + self.place(place)
        valid = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        x = self.block(x, valid[:, None])
        return Tokens(x=x, kind=valid.long(), place=place, valid=valid)
