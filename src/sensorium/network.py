"""Encoders -> trunk -> heads, built from a Task. The only place that puts the model rooms together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sensorium.encoders import ENCODERS
from sensorium.fusion import SCHEDULES, GatedVision, LowRankFusion, Products, Reasoning, Trunk
from sensorium.nn import ConvBlock, MaskedBatchNorm
from sensorium.representation import Head, Space, Spotter, Summary
from sensorium.tasks import Task, Wording
from sensorium.tokens import SHARED, Batch, Tokens, compact, join, pooled, shared
from sensorium.translation import AttentiveDecoder, Decoder, TextDecoder
from sensorium.types import InputError, Modality

JOINT = ""  # the key of the fused head among the modalities' own
STEPS = 4  # of reasoning about a question
DETAIL = 96  # most tokens that one modality hands to a trunk whose tokens a decoder reads one by one


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """How big a network is; one word chooses all of it."""

    dim: int
    heads: int
    depth: int
    width: int  # channels of the first convolution
    tokens: int  # most tokens that one modality hands to the trunk, its summary not counted
    space: int  # numbers of a vector in a shared space
    dropout: float = 0.1


SIZES = {
    "nano": Shape(dim=96, heads=4, depth=2, width=24, tokens=12, space=128),
    "small": Shape(dim=256, heads=8, depth=4, width=48, tokens=24, space=256),
    "base": Shape(dim=640, heads=10, depth=10, width=96, tokens=64, space=512),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoded:
    """One modality of a batch after its encoder, spread over all rows of the batch."""

    tokens: Tokens  # few tokens for the trunk; invalid in rows without the modality
    vector: Float[Tensor, "batch twice"]  # pooled over all tokens, for the modality's own head
    present: Bool[Tensor, " batch"]
    detail: Tokens | None = None  # all tokens, where something reads them one by one


@dataclass(frozen=True, kw_only=True, slots=True)
class Fused:
    """What the modalities of a batch tell together."""

    joint: Float[Tensor, "batch twice"] | None  # for the joint heads; None for late fusion
    tokens: Tokens  # of all modalities, for decoders
    share: Float[Tensor, "batch token dim"] | None = None  # 0..1 that each token took from pictures, if gated


def condense(tokens: Tokens, most: int) -> Tokens:
    """Average neighbouring tokens so that at most `most` remain; their places are averaged too."""
    steps = tokens.x.shape[1]
    if steps <= most:
        return tokens
    length = tokens.valid.sum(1, keepdim=True).clamp(min=1)
    rank = tokens.valid.long().cumsum(1) - 1
    segment = torch.where(
        tokens.valid, (rank * most).div(length, rounding_mode="floor"), rank.new_tensor(most)
    )
    share = nn.functional.one_hot(segment, most + 1)[..., :most].to(tokens.x.dtype).transpose(1, 2)
    count = share.sum(2, keepdim=True)
    share = share / count.clamp(min=1)
    valid = count[..., 0] > 0
    x = tokens.x.masked_fill(~tokens.valid[:, :, None], 0)  # a share of zero would keep NaN
    return Tokens(x=share @ x, kind=valid.long(), place=share @ tokens.place, valid=valid)


def spread(tokens: Tokens, row: Tensor, rows: int, kind: int) -> Tokens:
    """Put the tokens of the rows that have a modality into a batch of all rows; the others get invalid ones."""

    def wide(x: Tensor) -> Tensor:
        return x.new_zeros(rows, *x.shape[1:]).index_copy(0, row, x)

    valid = wide(tokens.valid)
    return Tokens(x=wide(tokens.x), kind=valid.long() * kind, place=wide(tokens.place), valid=valid)


def encoder(modality: Modality, shape: Shape, *, fine: bool = False) -> nn.Module:
    """Build the encoder of one modality; `fine`: its tokens are read one by one, so there should be many."""
    options = {k: v for k, v in modality.options.items() if k == "vocabulary"}
    return ENCODERS[modality.carrier](
        modality.item,
        dim=shape.dim,
        heads=shape.heads,
        width=shape.width,
        step_s=modality.step_s,
        fields=modality.longest,
        fine=fine,
        **options,
    )


def writer(wording: Wording, shape: Shape) -> Decoder:
    """Build the decoder of a text target."""
    if wording.decoder == "classic":
        return AttentiveDecoder(wording.vocabulary, shape.dim, longest=wording.longest, dropout=shape.dropout)
    return TextDecoder(
        wording.vocabulary, shape.dim, heads=shape.heads, depth=shape.depth, longest=wording.longest,
        dropout=shape.dropout,
    )  # fmt: skip


def heads_of(task: Task, names: Sequence[str], shape: Shape) -> nn.ModuleDict:
    """Build target -> modality (or JOINT) -> head, for the targets that are not written."""
    return nn.ModuleDict(
        {
            key(target.column): nn.ModuleDict(
                {key(name): Head(shape.dim, target.width, dropout=shape.dropout) for name in names}
            )
            for target in task.targets
            if target.wording is None
        }
    )


def spotters_of(task: Task, names: Sequence[str], dim: int) -> nn.ModuleDict:
    """Build target -> modality -> spotter, for the targets that are written.

    What is to be written is shown by the inputs: to find it there is the shortest way to learn what to look for.
    """
    return nn.ModuleDict(
        {
            key(t.column): nn.ModuleDict({key(n): Spotter(dim, t.wording.vocabulary) for n in names})
            for t in task.targets
            if t.wording is not None
        }
    )


class Network(nn.Module):
    """One network for any columns in and any column out; a modality that a row lacks is not computed for it."""

    def __init__(
        self, task: Task, shape: Shape, *, fusion: str = "early", norm: Callable[[int], nn.Module] = MaskedBatchNorm, steps: int = STEPS,
        gated: bool = False,
    ):  # fmt: skip
        """gated: words take from pictures through a gate before they meet all else (`GatedVision`)."""
        super().__init__()
        if fusion not in (*SCHEDULES, "tensor"):
            raise InputError("no such fusion", got=fusion, fix="use auto, early, mid, late or tensor")
        self.names = [m.name for m in task.modalities]
        written = [t for t in task.targets if t.wording is not None]
        self.columns = [t.column for t in task.targets if t.wording is None]
        self.written = [t.column for t in written]
        self.shape, self.fusion = shape, fusion
        self.most = DETAIL if written else shape.tokens
        self.locked: tuple[str, ...] = ()
        dim = shape.dim
        self.encoders = nn.ModuleDict(
            {key(m.name): encoder(m, shape, fine=bool(written or task.question)) for m in task.modalities}
        )
        for block in self.encoders.modules():
            if isinstance(block, ConvBlock):
                block.norm = norm(block.conv.out_channels)
        joint = fusion != "late"
        self.summaries = nn.ModuleDict({key(n): Summary(dim) for n in self.names} if joint else {})
        self.kinds = nn.Embedding(len(self.names) + 1, dim) if joint else None
        if self.kinds is not None:
            nn.init.normal_(self.kinds.weight, std=0.02)
        self.trunk = (
            Trunk(dim, shape.heads, depth=shape.depth, schedule=SCHEDULES[fusion], dropout=shape.dropout)
            if fusion in ("early", "mid")
            else None
        )
        both = self.trunk is not None and len(self.names) > 1
        self.products = Products(len(self.names), 2 * dim, dim) if both else None
        reasons = bool(task.question) and steps > 0 and self.trunk is not None
        self.question = task.question if reasons else ""
        self.reasoning = Reasoning(dim, steps=steps) if reasons else None
        self.tensor = LowRankFusion(len(self.names), dim) if fusion == "tensor" else None
        self.texts = [i for i, m in enumerate(task.modalities, 1) if m.carrier == "text"]
        self.sights = [i for i, m in enumerate(task.modalities, 1) if m.carrier in ("image", "video")]
        looks = gated and self.trunk is not None and bool(self.texts and self.sights)
        self.gate = GatedVision(dim) if looks else None
        self.heads = heads_of(task, [JOINT, *self.names] if joint else self.names, shape)
        self.writers = nn.ModuleDict({key(t.column): writer(t.wording, shape) for t in written if t.wording})
        self.gist = nn.Linear(2 * dim, dim) if written and joint else None
        self.spotters = spotters_of(task, self.names, dim)
        senders = [*task.match, *([JOINT] if joint else [])]
        self.space = Space(senders, dim, shape.space, dropout=shape.dropout) if task.match else None

    def lock(self, names: Sequence[str]) -> None:
        """Train the encoders of these modalities no further, nor their running averages (LiT, arXiv:2111.07991, sec. 4)."""
        self.locked = tuple(names)
        for name in names:
            self.encoders[key(name)].requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Network":
        """Turn training on or off; locked encoders stay as they answer."""
        super().train(mode)
        for name in self.locked:
            self.encoders[key(name)].eval()
        return self

    def encode(self, batch: Batch) -> dict[str, Encoded]:
        """Run each encoder on the rows that have its modality."""
        encoded = {}
        for number, name in enumerate(self.names, 1):
            part = batch.parts.get(name)
            if part is None or len(part.row) == 0:
                continue
            tokens = self.encoders[key(name)](part)
            vector, few = self._few(name, number, tokens)
            few = spread(shared(few, part.source), part.row, batch.rows, number)
            vector = vector if part.source is None else vector[part.source]
            detail = None
            if self.spotters or self.reasoning is not None:
                every = self._named(condense(tokens, DETAIL), number)
                detail = spread(shared(every, part.source), part.row, batch.rows, number)
            present = torch.zeros(batch.rows, dtype=torch.bool, device=vector.device)
            present[part.row] = True
            whole = vector.new_zeros(batch.rows, vector.shape[1]).index_copy(0, part.row, vector)
            encoded[name] = Encoded(tokens=few, vector=whole, present=present, detail=detail)
        return encoded

    def _few(self, name: str, number: int, tokens: Tokens) -> tuple[Tensor, Tokens]:
        """The pooled vector of a modality, and the few tokens of it that the trunk will see: a summary, then detail."""
        short = condense(tokens, self.most)
        if self.kinds is None:
            return pooled(tokens), short
        vector, token = self.summaries[key(name)](tokens)
        one = tokens.valid.new_ones(len(token), 1)
        first = Tokens(x=token[:, None], kind=one.long(), place=token.new_zeros(len(token), 1, 3), valid=one)
        return vector, self._named(join([first, short]), number)

    def _named(self, tokens: Tokens, number: int) -> Tokens:
        """Tokens that know which modality they belong to."""
        return tokens if self.kinds is None else replace(tokens, x=tokens.x + self.kinds.weight[number])

    def fuse(
        self, encoded: Mapping[str, Encoded], keep: Mapping[str, Bool[Tensor, " batch"]] | None = None
    ) -> Float[Tensor, "batch twice"] | None:
        """Return the joint vector of each row from the modalities that `keep` leaves.

        None for late fusion, and where no row has anything: then there is nothing to answer from.
        """
        found = self.read(encoded, keep)
        return None if found is None else found.joint

    def read(
        self, encoded: Mapping[str, Encoded], keep: Mapping[str, Bool[Tensor, " batch"]] | None = None
    ) -> Fused | None:
        """Return what the modalities that `keep` leaves tell together; None where no row has anything."""
        if not encoded:
            return None
        seen = {n: e.present if keep is None else e.present & keep[n] for n, e in encoded.items()}
        tokens = compact(
            join([replace(e.tokens, valid=e.tokens.valid & seen[n][:, None]) for n, e in encoded.items()])
        )
        if self.tensor is not None:
            fused = self.tensor(*self._table(seen, {n: e.tokens.x[:, 0] for n, e in encoded.items()}))
            return Fused(joint=torch.cat([fused, fused], -1), tokens=tokens)
        if self.trunk is None:
            return Fused(joint=None, tokens=tokens)
        tokens, share = self._gated(tokens)
        thought = self.trunk(tokens)
        front = self.trunk.shared.shape[0]
        readout = thought.x[:, :front].mean(1)
        if self.products is not None:
            readout = readout + self.products(*self._table(seen, {n: e.vector for n, e in encoded.items()}))
        if self.reasoning is not None:
            readout = readout + self._reasoned(encoded, seen)
        own = thought.valid[:, front:, None]
        body = (thought.x[:, front:] * own).sum(1) / own.sum(1).clamp(min=1)
        return Fused(joint=torch.cat([readout, body], -1), tokens=thought, share=share)

    def _gated(self, tokens: Tokens) -> tuple[Tokens, Tensor | None]:
        """Let words take from pictures; all other tokens stay, and so do the words of a row without a picture."""
        if self.gate is None:
            return tokens, None
        of = [
            tokens.valid & torch.isin(tokens.kind, tokens.kind.new_tensor(kinds))
            for kinds in (self.texts, self.sights)
        ]
        mixed, share = self.gate(*(replace(tokens, valid=v) for v in of))
        return replace(mixed, valid=tokens.valid), share

    def load_state_dict(self, state_dict: Mapping[str, Tensor], *args, **kwargs):
        """Take weights over; those of a gate tell that this network has one."""
        if self.gate is None and any(name.startswith("gate.") for name in state_dict):
            self.gate = GatedVision(self.shape.dim)
        return super().load_state_dict(state_dict, *args, **kwargs)

    def _reasoned(
        self, encoded: Mapping[str, Encoded], seen: Mapping[str, Tensor]
    ) -> Float[Tensor, "batch dim"] | float:
        """What the steps of thought end with; zeros in rows without the question, or without anything else."""
        found = self.thoughts(encoded, seen)
        if found is None:
            return 0.0
        question, view, vector = found
        assert self.reasoning is not None, "a network that reasons"
        memory, _ = self.reasoning(question, view, vector)
        return memory * (question.valid.any(1) & view.valid.any(1))[:, None]

    def thoughts(
        self, encoded: Mapping[str, Encoded], seen: Mapping[str, Tensor] | None = None
    ) -> tuple[Tokens, Tokens, Float[Tensor, "batch twice"]] | None:
        """The question's tokens, those of all else, and the question's vector; None where no row has both."""
        details = {n: e.detail for n, e in encoded.items() if e.detail is not None}
        if self.question not in details or len(details) < 2:
            return None
        if seen is not None:
            details = {n: replace(d, valid=d.valid & seen[n][:, None]) for n, d in details.items()}
        question = details.pop(self.question)
        return question, compact(join(list(details.values()))), encoded[self.question].vector

    def spot(self, encoded: Mapping[str, Encoded], text: str) -> dict[str, Float[Tensor, "batch word"]]:
        """Modality -> log probability that it shows no trace of each word of a text's vocabulary (see `Spotter`)."""
        spotters = self.spotters[key(text)]
        return {
            n: spotters[key(n)](e.detail) for n, e in encoded.items() if key(n) in spotters and e.detail is not None
        }  # fmt: skip

    def memory(self, fused: Fused) -> Tokens:
        """What the decoders look at: the tokens of all modalities, behind one for what they tell together.

        A classic decoder looks at the same; where there is no joint vector, at the tokens alone.
        """
        if self.gist is None or fused.joint is None:
            return fused.tokens
        x = self.gist(fused.joint)[:, None]
        one = torch.ones(len(x), 1, dtype=torch.bool, device=x.device)
        place = x.new_zeros(len(x), 1, 3)
        first = Tokens(x=x, kind=torch.full_like(one, SHARED, dtype=torch.long), place=place, valid=one)
        return join([first, fused.tokens])

    def _table(self, seen: Mapping[str, Tensor], vectors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """One vector of each modality in their order, (batch, modality, width), and which of them may be seen."""
        one = next(iter(vectors.values()))
        z = one.new_zeros(len(one), len(self.names), one.shape[1])
        present = torch.zeros(z.shape[:2], dtype=torch.bool, device=z.device)
        for i, name in enumerate(self.names):
            if name in vectors:
                z[:, i], present[:, i] = vectors[name], seen[name]
        return z, present

    def answer(
        self, encoded: Mapping[str, Encoded], joint: Float[Tensor, "batch twice"] | None
    ) -> dict[str, dict[str, Float[Tensor, "batch answers"]]]:
        """Return target column -> head (a modality, or JOINT) -> answers; absent rows of a modality mean nothing."""
        answers: dict[str, dict[str, Tensor]] = {}
        for column in self.columns:
            heads = self.heads[key(column)]
            found = {n: heads[key(n)](e.vector) for n, e in encoded.items()}
            if joint is not None:
                found[JOINT] = heads[key(JOINT)](joint)
            answers[column] = found
        return answers

    def place(self, encoded: Mapping[str, Encoded]) -> dict[str, Float[Tensor, "batch width"]]:
        """Bring each matched modality into the shared space: unit vectors, zeros in rows without it.

        Nothing for a task that matches no modalities.
        """
        if self.space is None:
            return {}
        return {
            n: self.space.project(n, e.vector) * e.present[:, None]
            for n, e in encoded.items()
            if n in self.space.names
        }

    def place_joint(
        self, encoded: Mapping[str, Encoded], keep: Mapping[str, Bool[Tensor, " batch"]] | None = None
    ) -> Float[Tensor, "batch width"] | None:
        """Bring what the modalities that `keep` leaves tell together into the space; zeros in rows without any.

        None where `fuse` gives None, and for a task that matches nothing.
        """
        joint = self.fuse(encoded, keep)
        if joint is None or self.space is None:
            return None
        kept = [e.present if keep is None else e.present & keep[n] for n, e in encoded.items()]
        return self.space.project(JOINT, joint) * torch.stack(kept).any(0)[:, None]

    def forward(self, batch: Batch) -> dict[str, dict[str, Float[Tensor, "batch answers"]]]:
        """Answer a batch with everything that its rows have; texts are written by `memory` and `writers`."""
        encoded = self.encode(batch)
        return self.answer(encoded, self.fuse(encoded))


def key(name: str) -> str:
    """Make a column's name fit for a module's name: torch allows no dot and no empty one."""
    return "c_" + "".join(c if c.isalnum() and c.isascii() else f"_{ord(c):x}_" for c in name)
