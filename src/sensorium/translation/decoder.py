"""What every decoder of text has in common, so that losses and searches need not know which one it is."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from sensorium.tokens import Tokens
from sensorium.types import InputError

PADDING, UNKNOWN, FIRST = 0, 1, 2  # ids of a text: padding, something unknown; words start at 2


class State(Protocol):
    """What a decoder remembers of the texts that it is writing; `step` changes it in place."""

    length: int  # ids taken so far

    def reorder(self, rows: Int[Tensor, " lines"]) -> None:
        """Let line i go on with the past of line `rows[i]`, which has the same memory."""


S = TypeVar("S", bound=State)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tree:
    """Texts that share beginnings, as one node for each beginning; a parent comes before its children."""

    ids: Int[Tensor, " node"]  # the last id of the beginning; node 0 is the empty one and holds `begin`
    parent: Int[Tensor, " node"]  # the node without that last id; 0 for node 0
    depth: Int[Tensor, " node"]  # ids before the last one; 0 for node 0


class Decoder(nn.Module, ABC):
    """Memory tokens -> the probability of each next id; the base of all decoders.

    `words` is the size of the text's own vocabulary with padding (0) and unknown (1). Two ids are added behind it:
    `begin` and `end`, so that ids keep the meaning that the text gave them, padding is never an answer, and what is
    unknown may still stand in a prompt. `vocabulary` counts all. Padding, unknown and `begin` can be read, never
    written: their logits are minus infinity.

    The output shares the embedding's weights (arXiv:1608.05859). To the memory one learned token is added that
    stands for nothing: a row without any valid token looks at it alone, and the decoder is then a plain language
    model; the maps of where it looks sum to 1 less what went to it.

    Raises InputError for a vocabulary without words and for texts of no length.
    """

    def __init__(self, words: int, dim: int, *, longest: int):
        super().__init__()
        if words <= FIRST:
            raise InputError("a vocabulary without a word", got=words, fix=f"give more than {FIRST} ids")
        if longest < 1:
            raise InputError("a text of no length", got=longest, fix="let `longest` be 1 or more")
        self.begin, self.end, self.vocabulary, self.longest = words, words + 1, words + 2, longest
        self.embedding = nn.Embedding(self.vocabulary, dim)
        self.bias, self.nothing = nn.Parameter(torch.zeros(self.vocabulary)), nn.Parameter(torch.zeros(dim))
        nn.init.normal_(self.embedding.weight, std=0.02)  # a word must not begin as its own successor
        nn.init.normal_(self.nothing, std=0.02)
        silent = torch.zeros(self.vocabulary)
        silent[[PADDING, UNKNOWN, self.begin]] = float("-inf")
        self.register_buffer("silent", silent, persistent=False)

    def forward(
        self, memory: Tokens, ids: Int[Tensor, "batch step"]
    ) -> Float[Tensor, "batch step vocabulary"]:
        """Return the logits of the id that follows each of `ids`, which start with `begin` (teacher forcing)."""
        return self.logits(self.follow(memory, ids))

    def logits(self, x: Float[Tensor, "*lead dim"]) -> Float[Tensor, "*lead vocabulary"]:
        """Turn what `follow` and `branches` return into logits; minus infinity for ids that are never written."""
        return F.linear(x, self.embedding.weight, self.bias + self.get_buffer("silent"))

    def seen(self, memory: Tokens) -> tuple[Float[Tensor, "batch see dim"], Bool[Tensor, "batch see"]]:
        """Return the memory with the token for nothing in front, and what of it may be looked at."""
        x = memory.x.masked_fill(~memory.valid[:, :, None], 0)  # a weight of zero does not silence NaN
        nothing = self.nothing.to(x.dtype).expand(len(x), 1, -1)
        return torch.cat([nothing, x], 1), F.pad(memory.valid, (1, 0), value=True)

    @abstractmethod
    def follow(self, memory: Tokens, ids: Int[Tensor, "batch step"]) -> Float[Tensor, "batch step dim"]:
        """Return a vector for what follows each of `ids`; only earlier ids and valid tokens are looked at."""

    @abstractmethod
    def with_looks(
        self, memory: Tokens, ids: Int[Tensor, "batch step"]
    ) -> tuple[Float[Tensor, "batch step vocabulary"], Float[Tensor, "batch step token"]]:
        """Return the logits, and how much each memory token was looked at for them (0..1, in sum at most 1)."""

    @abstractmethod
    def branches(self, memory: Tokens, tree: Tree) -> Float[Tensor, "batch node dim"]:
        """Return a vector for what follows each node of a tree; each node sees itself and its ancestors."""

    @abstractmethod
    def start(self, memory: Tokens, *, room: int, copies: int = 1) -> Any:
        """Return the state before `begin` of `copies` lines for each row (line = row * copies + copy).

        `room` is the most ids that will be taken. The memory is read once here and shared by the copies.
        """

    @abstractmethod
    def step(self, state: Any, ids: Int[Tensor, " lines"]) -> tuple[Float[Tensor, "lines vocabulary"], Any]:
        """Take one more id for each line; return the logits of the next one and the state, changed in place.

        Without gradients, and to be called in eval mode.
        """

    def check_room(self, steps: int) -> None:
        """Raise InputError where a text would be longer than this decoder was built for."""
        if steps > self.longest + 1:
            raise InputError(
                "a text longer than the decoder was made for",
                got=f"{steps - 1} ids",
                fix=f"ask for at most {self.longest}, or build the decoder with a larger `longest`",
            )
