"""Text: token embeddings with convolution and attention, beside a bag of hashed 1-2-grams (as fastText has)."""

import torch
from torch import nn

from sensorium.encoders.series import Timeline
from sensorium.nn import ConvStem, within
from sensorium.tokens import Part, Tokens, join


class TextEncoder(nn.Module):
    """(n, tokens) ids -> one token each, and one that holds the mean of the hashed bigrams.

    The bag (Joulin et al. 2016, arXiv:1607.01759) is what a linear model on word counts would see; it learns in a
    few steps where the sequence needs many.
    """

    BINS = 8192

    def __init__(self, item: tuple[int, ...], *, dim: int, heads: int, vocabulary: int = 4096, **_: object):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, dim, padding_idx=0)
        self.pairs = nn.Embedding(self.BINS, dim)
        nn.init.normal_(self.embed.weight, std=0.5)
        nn.init.normal_(self.pairs.weight, std=0.2)
        self.stem = ConvStem(dim, [(dim, 3, (1,)), (dim, 3, (1,))])
        self.time = Timeline(dim, heads)
        self.bag = nn.Linear(2 * dim, dim)

    def forward(self, part: Part) -> Tokens:
        """Encode the texts of a batch; places are token numbers / 10, as if one were a tenth of a second."""
        ids = part.values.long()
        real = within(part.length, ids.shape[1])[..., None]
        single = self.embed(ids) * real
        x, length = self.stem(single.transpose(1, 2), part.length)
        tokens = self.time(x.transpose(1, 2), length, step_s=0.1)
        both = real[:, 1:] & real[:, :-1]
        pair = self.pairs((ids[:, 1:] * 31337 + ids[:, :-1] * 7919) % self.BINS) * both
        count = part.length[:, None].clamp(min=1)
        bag = self.bag(torch.cat([single.sum(1), pair.sum(1)], -1) / count.sqrt())[:, None]
        one = torch.ones(len(ids), 1, dtype=torch.bool, device=ids.device)
        return join([Tokens(x=bag, kind=one.long(), place=bag.new_zeros(len(ids), 1, 3), valid=one), tokens])
