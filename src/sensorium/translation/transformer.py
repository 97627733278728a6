"""The transformer decoder (arXiv:1706.03762) with a cache of keys and values."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from sensorium.nn import Attention
from sensorium.tokens import Tokens
from sensorium.translation.decoder import Decoder, Tree
from sensorium.types import InputError

TINY = 1e-12  # what a length is never below, so that a vector of zeros stays one


class Glance(Attention):
    """The attention of the house, in two halves: the keys and values are made once and looked at often."""

    def remember(
        self, seen: Float[Tensor, "batch see dim"]
    ) -> tuple[Float[Tensor, "batch head see part"], Float[Tensor, "batch head see part"]]:
        """Return normalised keys and values."""
        key, value = self.pair(seen).unflatten(-1, (2 * self.heads, -1)).transpose(1, 2).chunk(2, dim=1)
        return self.norm_key(key), value

    def ask(self, x: Float[Tensor, "batch look dim"]) -> Float[Tensor, "batch head look part"]:
        """Return normalised queries."""
        return self.norm_query(self.query(x).unflatten(-1, (self.heads, -1))).transpose(1, 2)

    def look(
        self,
        x: Float[Tensor, "batch look dim"],
        pair: tuple[Tensor, Tensor],
        mask: Bool[Tensor, "*batch look_or_1 see"] | None,
    ) -> Float[Tensor, "batch look dim"]:
        """Mix remembered values into `x`; `mask` is True where it may look, None: everywhere."""
        mixed = F.scaled_dot_product_attention(self.ask(x), *pair, attn_mask=mask)
        return self.out(mixed.transpose(1, 2).flatten(2))

    def weights(
        self, x: Float[Tensor, "batch look dim"], key: Float[Tensor, "batch head see part"], mask: Tensor
    ) -> Float[Tensor, "batch look see"]:
        """Return how much each position is looked at, the mean over the heads; sums to 1."""
        q = self.ask(x)
        score = q @ key.transpose(2, 3) * q.shape[-1] ** -0.5
        return score.masked_fill(~mask, float("-inf")).softmax(-1).mean(1)


class DecoderBlock(nn.Module):
    """Pre-norm: look back at the own text, look at the memory, think."""

    def __init__(self, dim: int, heads: int, *, dropout: float, wide: int = 3):
        super().__init__()
        self.past, self.scene = Glance(dim, heads), Glance(dim, heads)
        self.norm_past, self.norm_scene, self.norm_mlp = (nn.RMSNorm(dim) for _ in range(3))
        self.mlp = nn.Sequential(nn.Linear(dim, wide * dim), nn.GELU("tanh"), nn.Linear(wide * dim, dim))
        self.dropout = nn.Dropout(dropout)

    def back(self, x: Float[Tensor, "batch step dim"], mask: Tensor) -> Float[Tensor, "batch step dim"]:
        """Look at the own text where `mask` (step, step) is True."""
        y = self.norm_past(x)
        return x + self.dropout(self.past.look(y, self.past.remember(y), mask))

    def out(
        self, x: Float[Tensor, "batch step dim"], pair: tuple[Tensor, Tensor], mask: Tensor | None
    ) -> Float[Tensor, "batch step dim"]:
        """Look at the memory, whose keys and values are `pair`, and think about it."""
        x = x + self.dropout(self.scene.look(self.norm_scene(x), pair, mask))
        return x + self.dropout(self.mlp(self.norm_mlp(x)))

    def packed(self) -> "Packed":
        """Return the weights as `Packed.step` wants them; later changes of the block are not seen."""
        past, scene = self.past, self.scene
        heads, part = past.heads, len(past.norm_key.weight)
        long = self.norm_past.weight * len(self.norm_past.weight) ** 0.5
        gain = past.norm_query.weight * past.norm_key.weight * part**0.5
        first, _, second = self.mlp
        return Packed(
            heads=heads,
            triple=torch.cat([past.query.weight, past.pair.weight]) * long,
            gain=gain.expand(heads, part),
            out=past.out.weight.T,
            ask=scene.query.weight * (self.norm_scene.weight * long.numel() ** 0.5),
            gain_scene=(scene.norm_query.weight * part**0.5).expand(heads, part),
            out_scene=scene.out.weight.T,
            first=(first.weight * (self.norm_mlp.weight * long.numel() ** 0.5), first.bias),
            second=(second.weight, second.bias),
        )


def unit(x: Float[Tensor, "*lead part"]) -> Float[Tensor, "*lead part"]:
    """Scale to length one: an RMS norm but for its gain and the root of the size, in a fifth of the time."""
    return x / torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(TINY)


@dataclass(frozen=True, kw_only=True, slots=True)
class Packed:
    """A block for one position at a time: the gains of norms and all roots are folded into the matrices behind them.

    At batch 1 a step is a hundred small operations, and their number is what it costs.
    """

    heads: int
    triple: Float[Tensor, "three dim"]  # query, key and value of the own text
    gain: Float[Tensor, "head part"]  # of the query and of the key
    out: Float[Tensor, "dim dim"]
    ask: Float[Tensor, "dim dim"]  # query of the memory
    gain_scene: Float[Tensor, "head part"]
    out_scene: Float[Tensor, "dim dim"]
    first: tuple[Tensor, Tensor]  # weight and bias
    second: tuple[Tensor, Tensor]

    def step(
        self,
        x: Float[Tensor, "lines dim"],
        cache: Float[Tensor, "lines twice room part"],
        at: int,
        scene: tuple[Tensor, Tensor],
        mask: Tensor | None,
    ) -> Float[Tensor, "lines dim"]:
        """Do `back` and `out` for position `at` of each line; its key and value go into `cache`."""
        (lines, dim), heads, rows = x.shape, self.heads, len(scene[0])
        triple = F.linear(unit(x), self.triple).view(lines, 3 * heads, -1)
        both = triple[:, : 2 * heads]
        both /= torch.linalg.vector_norm(both, dim=-1, keepdim=True).clamp_min(TINY)
        cache[:, :, at] = triple[:, heads:]
        q = triple[:, :heads] * self.gain
        filled = cache[:, :, : at + 1]
        mixed = F.scaled_dot_product_attention(q[:, :, None], filled[:, :heads], filled[:, heads:], scale=1.0)
        x = torch.addmm(x, mixed.reshape(lines, dim), self.out)
        q = unit(F.linear(unit(x), self.ask).view(rows, -1, heads, dim // heads)) * self.gain_scene
        mixed = F.scaled_dot_product_attention(q.transpose(1, 2), *scene, attn_mask=mask)
        x = torch.addmm(x, mixed.transpose(1, 2).reshape(lines, dim), self.out_scene)
        return x + F.linear(F.gelu(F.linear(unit(x), *self.first), approximate="tanh"), *self.second)


@dataclass(kw_only=True, slots=True)
class Cache:
    """Keys and values of what was written so far, and those of the memory."""

    blocks: list[Packed]
    past: Float[
        Tensor, "layer lines twice room part"
    ]  # keys, then values, of all heads; filled up to `length`
    scene: list[tuple[Tensor, Tensor]]  # keys and values of the memory for each layer
    mask: Bool[Tensor, "batch 1 1 see"] | None  # of the memory; None: all of it may be looked at
    bias: Float[Tensor, " vocabulary"]  # of the logits
    length: int = 0

    def reorder(self, rows: Int[Tensor, " lines"]) -> None:
        """Let line i go on with the past of line `rows[i]`, which has the same memory."""
        filled = self.past[:, :, :, : self.length]
        filled.copy_(filled[:, rows])


class TextDecoder(Decoder):
    """Causal self-attention over the own text, cross-attention to the memory, learned positions.

    Queries and keys are normalised as everywhere in the house (arXiv:2302.05442, sec. 2). In eval mode `step` gives
    the same bits whenever the same ids are taken in the same number of lines; `forward` multiplies matrices of
    another shape, so it agrees with `step` up to rounding only.
    """

    def __init__(
        self, words: int, dim: int, *, heads: int, depth: int, longest: int = 128, dropout: float = 0.1
    ):
        super().__init__(words, dim, longest=longest)
        self.positions = nn.Parameter(torch.randn(longest + 1, dim) * 0.02)
        self.blocks = nn.ModuleList(DecoderBlock(dim, heads, dropout=dropout) for _ in range(depth))
        self.norm_memory, self.norm = nn.RMSNorm(dim), nn.RMSNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def follow(self, memory: Tokens, ids: Int[Tensor, "batch step"]) -> Float[Tensor, "batch step dim"]:
        """Return a vector for what follows each of `ids`; only earlier ids and valid tokens are looked at."""
        self.check_room(ids.shape[1])
        order = torch.arange(ids.shape[1], device=ids.device)
        return self._read(memory, ids, order, order[:, None] >= order)[0]

    def with_looks(
        self, memory: Tokens, ids: Int[Tensor, "batch step"]
    ) -> tuple[Float[Tensor, "batch step vocabulary"], Float[Tensor, "batch step token"]]:
        """Return the logits, and the cross-attention as the mean over heads and layers, (batch, step, token)."""
        self.check_room(ids.shape[1])
        order = torch.arange(ids.shape[1], device=ids.device)
        x, looks = self._read(memory, ids, order, order[:, None] >= order, watch=True)
        return self.logits(x), torch.stack(looks).mean(0)[:, :, 1:]

    def branches(self, memory: Tokens, tree: Tree) -> Float[Tensor, "batch node dim"]:
        """Return a vector for what follows each node, all nodes in one pass with a mask of ancestors."""
        self.check_room(int(tree.depth.max()) + 1)
        ids = tree.ids.expand(len(memory.x), -1)
        return self._read(memory, ids, tree.depth, ancestors(tree))[0]

    def _read(
        self, memory: Tokens, ids: Tensor, position: Tensor, sight: Tensor, *, watch: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """Run all layers over whole texts; `watch` also returns the cross-attention of each layer."""
        scenes, valid = self._remember(memory)
        mask, looks = valid[:, None, None, :], []
        x = self.dropout((self.embedding(ids) + self.positions[position]) * self._scale)
        for block, pair in zip(self.blocks, scenes, strict=True):
            x = block.back(x, sight)
            if watch:
                looks.append(block.scene.weights(block.norm_scene(x), pair[0], mask))
            x = block.out(x, pair, mask)
        return self.norm(x), looks

    def _remember(self, memory: Tokens) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
        x, valid = self.seen(memory)
        x = self.norm_memory(x)
        return [block.scene.remember(x) for block in self.blocks], valid

    @property
    def _scale(self) -> float:
        return self.embedding.embedding_dim**0.5

    @torch.no_grad()
    def start(self, memory: Tokens, *, room: int, copies: int = 1) -> Cache:
        """Return an empty cache for `room` ids of `copies` lines for each row."""
        self.check_room(room)
        scenes, valid = self._remember(memory)
        rows, heads, _, part = scenes[0][0].shape
        return Cache(
            blocks=[block.packed() for block in self.blocks],
            past=scenes[0][0].new_empty(len(self.blocks), rows * copies, 2 * heads, room, part),
            scene=[(key.contiguous(), value.contiguous()) for key, value in scenes],
            mask=None if bool(valid.all()) else valid[:, None, None, :],
            bias=self.bias + self.get_buffer("silent"),
        )

    @torch.no_grad()
    def step(
        self, state: Cache, ids: Int[Tensor, " lines"]
    ) -> tuple[Float[Tensor, "lines vocabulary"], Cache]:
        """Take one id for each line. See `Decoder.step`."""
        at = state.length
        if at >= state.past.shape[3]:
            raise InputError("the cache is full", got=f"{at} ids", fix="give `start` more room")
        x = (F.embedding(ids, self.embedding.weight) + self.positions[at]) * self._scale
        for block, past, scene in zip(state.blocks, state.past, state.scene, strict=True):
            x = block.step(x, past, at, scene, state.mask)
        state.length = at + 1
        return F.linear(self.norm(x), self.embedding.weight, state.bias), state


def ancestors(tree: Tree) -> Bool[Tensor, "node node"]:
    """Whether the second node is the first one or stands on its way to the root."""
    count = len(tree.parent)
    sight = torch.eye(count, dtype=torch.bool, device=tree.parent.device)
    above = torch.arange(count, device=tree.parent.device)
    for _ in range(int(tree.depth.max())):
        above = tree.parent[above]
        sight = sight.scatter(1, above[:, None], True)  # the root is its own parent
    return sight
