"""Layers that two rooms share: norms, masked convolutions, attention, positions."""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F


def within(length: Int[Tensor, " n"], steps: int) -> Bool[Tensor, "n steps"]:
    """True where a step is real, False where it is padding behind `length`."""
    return torch.arange(steps, device=length.device)[None] < length[:, None]


class MaskedBatchNorm(nn.Module):
    """Batch norm of (n, channels, *space) over real positions only (arXiv:1502.03167, sec. 3).

    In training the statistics are those of the batch, padding left out; answers use their running averages, so a
    row's answer depends neither on its neighbours nor on its padding. Small convolutional networks learn from few
    rows several times faster with it than with a norm inside each sample.
    """

    def __init__(self, channels: int, *, momentum: float = 0.05):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))
        self.momentum = momentum

    def forward(self, x: Tensor, keep: Tensor | None) -> Tensor:
        """`keep` is 1 where a position is real, 0 in padding, (n, 1, *space) or less wide; None: all are real."""
        mean, variance = self.get_buffer("mean"), self.get_buffer("variance")
        if keep is None or not self.training:
            many = self.training and x[:, 0].numel() > 1  # one value has no spread
            return F.batch_norm(x, mean, variance, self.weight, self.bias, many, self.momentum, 1e-5)
        axes, wide = (0, *range(2, x.ndim)), (1, -1, *[1] * (x.ndim - 2))
        count = (keep.sum() * (x[:, 0].numel() // keep.numel())).clamp(min=1)
        now = (x * keep).sum(axes) / count
        gap = (x - now.view(wide)) * keep
        spread = (gap * gap).sum(axes) / count
        with torch.no_grad():
            mean.lerp_(now, self.momentum)
            variance.lerp_(spread, self.momentum)
        return gap * ((spread + 1e-5).rsqrt() * self.weight).view(wide) + self.bias.view(wide)


class SampleNorm(nn.Module):
    """Norm of (n, channels, *space) inside each sample, over its channels and real positions (arXiv:1803.08494, one group).

    A row's value depends on that row alone, so a batch may be encoded in pieces. Learns slower than `MaskedBatchNorm`.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, keep: Tensor | None) -> Tensor:
        """`keep` is 1 where a position is real, 0 in padding, (n, 1, *space) or less wide; None: all are real."""
        axes, wide = tuple(range(1, x.ndim)), (1, -1, *[1] * (x.ndim - 2))
        if keep is None:
            gap = x - x.mean(axes, keepdim=True)
            spread = (gap * gap).mean(axes, keepdim=True)
        else:
            count = keep.expand(len(x), 1, *x.shape[2:]).sum(axes, keepdim=True).clamp(min=1) * x.shape[1]
            gap = (x - (x * keep).sum(axes, keepdim=True) / count) * keep
            spread = (gap * gap).sum(axes, keepdim=True) / count
        return gap * (spread + 1e-5).rsqrt() * self.weight.view(wide) + self.bias.view(wide)


class ConvBlock(nn.Module):
    """Convolution, norm, GELU; with a skip where input and output have the same shape."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int, stride: Sequence[int]):
        super().__init__()
        # The two classes differ only in the axes of their kernels.
        make: Callable[..., nn.Module] = {1: nn.Conv1d, 2: nn.Conv2d}[len(stride)]
        self.conv = make(inputs, outputs, kernel, stride=tuple(stride), padding=kernel // 2, bias=False)
        self.norm: nn.Module = MaskedBatchNorm(outputs)
        self.skip = inputs == outputs and all(s == 1 for s in stride)

    def forward(self, x: Tensor, keep: Tensor | None) -> Tensor:
        """`keep` masks the positions of the output, as in `MaskedBatchNorm`; padding comes out as zero."""
        y = F.gelu(self.norm(self.conv(x), keep))
        y = y if keep is None else y * keep
        return x + y if self.skip else y


class ConvStem(nn.Module):
    """A stack of strided convolutions over (n, channels, steps[, width]) in which padding stays zero.

    `stages` lists (outputs, kernel, stride...) per block. The first axis of space is the one with padding: every
    block masks it, so a padded row gives what it would give alone.
    """

    def __init__(self, inputs: int, stages: Sequence[tuple[int, int, Sequence[int]]]):
        super().__init__()
        widths = [inputs, *(s[0] for s in stages)]
        self.blocks = nn.ModuleList(
            ConvBlock(i, o, kernel=k, stride=s) for i, (o, k, s) in zip(widths, stages, strict=False)
        )
        self.strides = [s[2][0] for s in stages]

    def forward(self, x: Tensor, length: Int[Tensor, " n"]) -> tuple[Tensor, Int[Tensor, " n"]]:
        """Return the features and their lengths: ceil(length / stride) after each block."""
        steps, padded = x.shape[2], bool((length < x.shape[2]).any())
        if padded:  # a kernel at the end of a row looks behind it
            x = x.masked_fill(~within(length, steps).view(len(x), 1, steps, *[1] * (x.ndim - 3)), 0)
        for block, stride in zip(self.blocks, self.strides, strict=True):
            length = (length + stride - 1) // stride
            steps = (steps + stride - 1) // stride
            keep = within(length, steps).to(x.dtype).view(len(x), 1, steps, *[1] * (x.ndim - 3))
            x = block(x, keep if padded else None)
        return x, length


class Attention(nn.Module):
    """Multi-head attention with normalised queries and keys (arXiv:2302.05442, sec. 2) and a boolean mask."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query, self.pair = nn.Linear(dim, dim, bias=False), nn.Linear(dim, 2 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        self.norm_query, self.norm_key = nn.RMSNorm(dim // heads), nn.RMSNorm(dim // heads)

    def forward(
        self,
        x: Float[Tensor, "batch look dim"],
        seen: Float[Tensor, "batch see dim"],
        mask: Bool[Tensor, "batch look see"] | Bool[Tensor, "batch 1 see"],
    ) -> Float[Tensor, "batch look dim"]:
        """Mix `seen` into every looking position; `mask` is True where it may look. A row of False is an error."""
        q = self.norm_query(self.query(x).unflatten(-1, (self.heads, -1)))
        key, v = self.pair(seen).unflatten(-1, (2 * self.heads, -1)).chunk(2, dim=2)
        q, k, v = (t.transpose(1, 2) for t in (q, self.norm_key(key), v))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None])
        return self.out(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Pre-norm transformer block; whom a token may see is its caller's decision (a mask)."""

    def __init__(self, dim: int, heads: int, *, dropout: float = 0.0, wide: int = 3):
        super().__init__()
        self.attention = Attention(dim, heads)
        self.norm_attention, self.norm_mlp = nn.RMSNorm(dim), nn.RMSNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, wide * dim), nn.GELU(), nn.Linear(wide * dim, dim))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "batch token dim"], mask: Bool[Tensor, "batch ..."]
    ) -> Float[Tensor, "batch token dim"]:
        y = self.norm_attention(x)
        x = x + self.dropout(self.attention(y, y, mask))
        return x + self.dropout(self.mlp(self.norm_mlp(x)))


class PlaceEmbedding(nn.Module):
    """Where a token stands, as numbers a network can use: sines of seconds, y and x at rising frequencies.

    Positions are in physical units (seconds; fractions of the picture), so two sensors with different rates
    agree on what "at the same time" means.
    """

    def __init__(self, dim: int, *, waves: int = 8):
        super().__init__()
        self.register_buffer("waves", 2.0 ** torch.arange(waves) * math.pi / 8, persistent=False)
        self.linear = nn.Linear(3 * 2 * waves, dim)

    def forward(self, place: Float[Tensor, "batch token 3"]) -> Float[Tensor, "batch token dim"]:
        angle = (place[..., None] * self.get_buffer("waves")).flatten(-2)
        return self.linear(torch.cat([angle.sin(), angle.cos()], -1))


def self_mask(valid: Bool[Tensor, "batch token"]) -> Bool[Tensor, "batch token token"]:
    """Every token sees the valid ones and itself, which keeps the softmax of an all-padding row finite."""
    eye = torch.eye(valid.shape[1], dtype=torch.bool, device=valid.device)
    return valid[:, None, :] | eye
