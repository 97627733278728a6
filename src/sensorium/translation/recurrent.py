"""The classic twin: additive attention and a gated recurrent unit (Show, Attend and Tell, arXiv:1502.03044)."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sensorium.tokens import Tokens
from sensorium.translation.decoder import Decoder, Tree


@dataclass(kw_only=True, slots=True)
class Thought:
    """The hidden state of every line, and the memory that it looks at."""

    hidden: Float[Tensor, "batch copy wide"]
    memory: Float[Tensor, "batch see dim"]
    keys: Float[Tensor, "batch see part"]  # the memory's share of the additive score
    valid: Bool[Tensor, "batch see"]
    length: int = 0

    def reorder(self, rows: Int[Tensor, " lines"]) -> None:
        """Let line i go on with the past of line `rows[i]`, which has the same memory."""
        self.hidden = self.hidden.flatten(0, 1)[rows].view_as(self.hidden)


class AttentiveDecoder(Decoder):
    """Soft attention over the memory (arXiv:1409.0473, eq. 6; arXiv:1502.03044, sec. 4.2), gate beta, GRU.

    The start is a small network of the memory's mean, the output is the deep one of arXiv:1502.03044, eq. 7, its
    last layer shared with the embedding, and the cell is a GRU in place of their LSTM. `wide` is the size of the
    hidden state, twice `dim` where it is None. How evenly all tokens must be looked at over a text is a loss
    (`loss.unevenness`), not a part of the network.
    """

    def __init__(
        self, words: int, dim: int, *, longest: int = 128, wide: int | None = None, dropout: float = 0.1
    ):
        super().__init__(words, dim, longest=longest)
        wide = 2 * dim if wide is None else wide
        self.norm_memory = nn.RMSNorm(dim)
        self.first = nn.Sequential(nn.Linear(dim, wide), nn.Tanh())
        self.key, self.query = nn.Linear(dim, dim), nn.Linear(wide, dim, bias=False)
        self.score = nn.Linear(dim, 1, bias=False)
        self.gate = nn.Linear(wide, dim)
        self.cell = nn.GRUCell(2 * dim, wide)
        self.out_hidden, self.out_seen = nn.Linear(wide, dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.norm, self.dropout = nn.LayerNorm(dim), nn.Dropout(dropout)

    def follow(self, memory: Tokens, ids: Int[Tensor, "batch step"]) -> Float[Tensor, "batch step dim"]:
        """Return a vector for what follows each of `ids`; only earlier ids and valid tokens are looked at."""
        return self._read(memory, ids)[0]

    def with_looks(
        self, memory: Tokens, ids: Int[Tensor, "batch step"]
    ) -> tuple[Float[Tensor, "batch step vocabulary"], Float[Tensor, "batch step token"]]:
        """Return the logits, and the attention weights alpha of each step."""
        x, looks = self._read(memory, ids)
        return self.logits(x), looks

    def branches(self, memory: Tokens, tree: Tree) -> Float[Tensor, "batch node dim"]:
        """Return a vector for what follows each node: one pass for all nodes of the same depth."""
        state = self.start(memory, room=int(tree.depth.max()) + 1)
        hidden, first, found = None, 0, []
        for depth in range(int(tree.depth.max()) + 1):
            level = (tree.depth == depth).nonzero()[:, 0]
            before = state.hidden if hidden is None else hidden[:, tree.parent[level] - first]
            x, hidden, _ = self._advance(state, before, tree.ids[level].expand(len(memory.x), -1))
            first = int(level[0])  # nodes of one depth stand together
            found.append(x)
        return torch.cat(found, 1)

    def _read(self, memory: Tokens, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Run over whole texts; return the vectors and the looks, (batch, step, ...)."""
        state = self.start(memory, room=ids.shape[1])
        hidden, found, looks = state.hidden, [], []
        for at in range(ids.shape[1]):
            x, hidden, look = self._advance(state, hidden, ids[:, at : at + 1])
            found.append(x)
            looks.append(look[:, :, 1:])
        return torch.cat(found, 1), torch.cat(looks, 1)

    def _advance(self, state: Thought, hidden: Tensor, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(batch, copy, wide) and (batch, copy) ids -> vectors, hidden states, where each one looked."""
        word = self.dropout(self.embedding(ids) * self.embedding.embedding_dim**0.5)
        mixed = torch.tanh(state.keys[:, None] + self.query(hidden)[:, :, None])
        score = self.score(mixed)[..., 0].masked_fill(~state.valid[:, None], float("-inf"))
        look = score.softmax(-1)
        seen = torch.sigmoid(self.gate(hidden)) * (look @ state.memory)
        inputs = torch.cat([word, seen], -1)
        hidden = self.cell(inputs.flatten(0, 1), hidden.flatten(0, 1)).view_as(hidden)
        told = word + self.out_hidden(self.dropout(hidden)) + self.out_seen(seen)
        return self.norm(told), hidden, look

    def start(self, memory: Tokens, *, room: int, copies: int = 1) -> Thought:
        """Return the state of lines that have read the memory's mean and nothing else."""
        self.check_room(room)
        x, valid = self.seen(memory)
        x = self.norm_memory(x)
        mean = (x * valid[:, :, None]).sum(1) / valid.sum(1, keepdim=True)
        hidden = self.first(mean)[:, None].expand(-1, copies, -1)
        return Thought(hidden=hidden, memory=x, keys=self.key(x), valid=valid)

    @torch.no_grad()
    def step(
        self, state: Thought, ids: Int[Tensor, " lines"]
    ) -> tuple[Float[Tensor, "lines vocabulary"], Thought]:
        """Take one id for each line. See `Decoder.step`."""
        x, state.hidden, _ = self._advance(state, state.hidden, ids.view(len(state.hidden), -1))
        state.length += 1
        return self.logits(x.flatten(0, 1)), state
