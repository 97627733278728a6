"""The two currencies of the model rooms: Batch before the encoders, Tokens after. First file that knows torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

SHARED = 0  # `kind` of a token that belongs to no modality: a fusion bottleneck, a readout


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One modality of a batch: only the rows that have it, so an absent cell costs nothing."""

    values: Shaped[Tensor, "things steps *item"]  # patches, padded behind `length`
    length: Int[Tensor, " things"]  # steps that are real
    row: Int[Tensor, " present"]  # the rows of the batch that have it
    source: Int[Tensor, " present"] | None = (
        None  # which of the things each of them has; None: one each, in order
    )

    def own(self) -> "Part":
        """The same with a thing of its own for each row."""
        if self.source is None:
            return self
        return Part(values=self.values[self.source], length=self.length[self.source], row=self.row)


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Some rows of a table, ready for a network."""

    parts: Mapping[str, Part]  # keyed by modality name; a modality that no row has is not a key
    rows: int
    targets: Mapping[str, Tensor] = field(default_factory=dict)  # keyed by column, (rows, ...)
    known: Mapping[str, Bool[Tensor, " rows"]] = field(
        default_factory=dict
    )  # False: no such target in that row
    weight: Mapping[str, Float[Tensor, " rows"]] = field(default_factory=dict)  # of each row in the loss
    taught: Mapping[str, Float[Tensor, "rows width"]] = field(
        default_factory=dict
    )  # a teacher's answers, keyed by column, as heads give them; not numbers in rows that it has none for
    group: Int[Tensor, " rows"] | None = None  # rows of one group match each other; None: each only itself

    def without(self, names: set[str]) -> "Batch":
        """Return the batch as if the modalities in `names` had never been sent."""
        return replace(self, parts={k: v for k, v in self.parts.items() if k not in names})


@dataclass(frozen=True, kw_only=True, slots=True)
class Tokens:
    """A padded batch in which every modality is already the same kind of thing."""

    x: Float[Tensor, "batch token dim"]
    kind: Int[Tensor, "batch token"]  # which modality, from 1; SHARED for none
    place: Float[
        Tensor, "batch token 3"
    ]  # seconds from the sample's time zero; y and x in 0..1 from the top left
    valid: Bool[Tensor, "batch token"]  # False: padding, or a modality this sample lacks


def shared(tokens: Tokens, source: Int[Tensor, " present"] | None) -> Tokens:
    """The tokens of every row that has them, where several rows have the same (`Part.source`)."""
    if source is None:
        return tokens
    return Tokens(
        x=tokens.x[source], kind=tokens.kind[source], place=tokens.place[source], valid=tokens.valid[source]
    )


def join(pieces: list[Tokens]) -> Tokens:
    """Put the tokens of several modalities of the same rows side by side."""
    return Tokens(
        x=torch.cat([p.x for p in pieces], 1),
        kind=torch.cat([p.kind for p in pieces], 1),
        place=torch.cat([p.place for p in pieces], 1),
        valid=torch.cat([p.valid for p in pieces], 1),
    )


def compact(tokens: Tokens) -> Tokens:
    """Move valid tokens to the front, in order, and cut the columns that no row uses.

    A row that lacks a modality then pays for no place of it, but for the padding up to the fullest row.
    """
    most = max(1, int(tokens.valid.sum(1).max())) if tokens.valid.numel() else 1
    if most == tokens.valid.shape[1]:
        return tokens
    order = torch.argsort(tokens.valid.to(torch.int8), dim=1, descending=True, stable=True)[:, :most]
    wide = order[:, :, None]
    return Tokens(
        x=tokens.x.gather(1, wide.expand(-1, -1, tokens.x.shape[2])),
        kind=tokens.kind.gather(1, order),
        place=tokens.place.gather(1, wide.expand(-1, -1, 3)),
        valid=tokens.valid.gather(1, order),
    )


def pooled(tokens: Tokens) -> Float[Tensor, "batch twice"]:
    """Mean and maximum over the valid tokens, side by side: (batch, 2 * dim); zeros for a row without any."""
    keep = tokens.valid[:, :, None]
    count = keep.sum(1).clamp(min=1)
    mean = tokens.x.masked_fill(~keep, 0).sum(1) / count  # not times zero, which keeps NaN
    top = tokens.x.masked_fill(~keep, float("-inf")).amax(1)
    return torch.cat([mean, torch.where(keep.any(1), top, torch.zeros_like(top))], -1)
