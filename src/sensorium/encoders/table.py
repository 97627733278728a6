"""The row's own numbers and categories: one token a field, absent fields left out."""

import torch
from torch import nn

from sensorium.nn import Block, self_mask
from sensorium.tokens import Part, Tokens


class TableEncoder(nn.Module):
    """(n, fields, 3) of [z-score, category code, present] -> one token a field (arXiv:2106.11959, sec. 3.1)."""

    CODES = 256

    def __init__(self, item: tuple[int, ...], *, dim: int, heads: int, fields: int = 1, **_: object):
        super().__init__()
        self.scale = nn.Parameter(torch.randn(fields, dim) * 0.5)
        self.name = nn.Parameter(torch.randn(fields, dim) * 0.2)
        self.codes = nn.Embedding(fields * self.CODES, dim)
        nn.init.normal_(self.codes.weight, std=0.3)
        self.bend = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim))
        self.block = Block(dim, heads)

    def forward(self, part: Part) -> Tokens:
        """Encode the fields of a batch; a field that the row lacks gives an invalid token."""
        number, code, present = part.values.float().unbind(-1)
        valid = present > 0
        number = number.masked_fill(~valid, 0)  # a weight of zero in attention would keep NaN
        field = torch.arange(number.shape[1], device=number.device)
        known = code.long().clamp(0, self.CODES - 1)
        symbol = self.codes(known + field * self.CODES) * (known > 0)[..., None]
        x = number[..., None] * self.scale + self.name + symbol
        x = self.block(x + self.bend(x), self_mask(valid))
        return Tokens(x=x, kind=valid.long(), place=x.new_zeros(*x.shape[:2], 3), valid=valid)
