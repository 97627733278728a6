"""Fusion: which token may look at which. Early, mid and late fusion are masks and a schedule, not three models."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from sensorium.nn import Attention, Block
from sensorium.tokens import SHARED, Tokens, join

SCHEDULES = {  # name -> who sees whom, layer by layer, stretched to the trunk's depth
    "early": ("early",),
    "mid": ("late", "bottleneck"),
    "late": ("late",),
}


def sight(tokens: Tokens, policy: str) -> Bool[Tensor, "batch token token"]:
    """Who sees whom, as [batch, looking token, seen token].

    `late`: own modality only. `bottleneck`: own modality and the SHARED tokens, which see all
    (Nagrani et al. 2021, arXiv:2107.00135, sec. 3.2). `early`: everything. An invalid token is never seen, so a
    missing modality needs no other code path; each token sees itself, which keeps the softmax of a padded row finite.
    """
    own = tokens.kind[:, :, None] == tokens.kind[:, None, :]
    shared = tokens.kind == SHARED
    hub = own | shared[:, :, None] | shared[:, None, :]
    seen = {"late": own, "bottleneck": hub, "early": torch.ones_like(own)}[policy]
    itself = torch.eye(own.shape[1], dtype=torch.bool, device=own.device)
    return seen & tokens.valid[:, None, :] | itself


class Trunk(nn.Module):
    """Transformer over the tokens of the available modalities plus a few SHARED ones, which are its readout.

    `schedule` names the policy of each layer, spread evenly over `depth` (SimBaMM's simple baseline with masks,
    arXiv:2512.22991). Returns the tokens with the SHARED ones in front.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        depth: int,
        schedule: Sequence[str],
        shared: int = 4,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.shared = nn.Parameter(torch.randn(shared, dim) * 0.02)
        self.blocks = nn.ModuleList(Block(dim, heads, dropout=dropout) for _ in range(depth))
        self.policies = [schedule[i * len(schedule) // depth] for i in range(depth)]
        self.norm = nn.RMSNorm(dim)

    def forward(self, tokens: Tokens) -> Tokens:
        batch, count = tokens.x.shape[0], self.shared.shape[0]
        readout = Tokens(
            x=self.shared.expand(batch, -1, -1),
            kind=tokens.kind.new_full((batch, count), SHARED),
            place=tokens.place.new_zeros(batch, count, 3),
            valid=tokens.valid.new_ones(batch, count),
        )
        everything = join([readout, tokens])
        # A weight of zero does not silence NaN or infinity, so what nobody may see is emptied first.
        x = everything.x.masked_fill(~everything.valid[:, :, None], 0)
        masks = {policy: sight(everything, policy) for policy in set(self.policies)}
        for block, policy in zip(self.blocks, self.policies, strict=True):
            x = block(x, masks[policy])
        return Tokens(x=self.norm(x), kind=everything.kind, place=everything.place, valid=everything.valid)


class LowRankFusion(nn.Module):
    """Low-rank tensor fusion: the product over modalities of a sum of rank-one maps of [z; 1].

    Liu et al. 2018, arXiv:1806.00064, eq. 7-9: h = prod_m sum_r W_m^(r) [z_m; 1]. An absent modality is left out
    of the product. The factors are parameters of this module: trained, moved and saved with it.
    """

    def __init__(self, modalities: int, dim: int, *, rank: int = 4):
        super().__init__()
        self.factors = nn.ParameterList(
            nn.Parameter(torch.randn(rank, dim + 1, dim) * dim**-0.5) for _ in range(modalities)
        )
        self.mix, self.bias = nn.Parameter(torch.ones(rank) / rank), nn.Parameter(torch.zeros(dim))

    def forward(
        self, z: Float[Tensor, "batch modality dim"], present: Bool[Tensor, "batch modality"]
    ) -> Float[Tensor, "batch dim"]:
        """Fuse one vector per modality; rows of `present` that are all False give the bias alone times one."""
        z = z.masked_fill(~present[:, :, None], 0)  # the gradient of what is left out stays finite, too
        one = torch.cat([z, z.new_ones(*z.shape[:2], 1)], -1)
        product = z.new_ones(z.shape[0], len(self.mix), z.shape[2])
        for m, factor in enumerate(self.factors):
            term = torch.einsum("bi,rio->bro", one[:, m], factor)
            product = product * torch.where(present[:, m, None, None], term, torch.ones_like(term))
        return torch.einsum("bro,r->bo", product, self.mix) + self.bias


class Products(nn.Module):
    """What two modalities tell only together: the products of their vectors, summed over all pairs at linear cost.

    h = out(((sum_m u_m)^2 - sum_m u_m^2) / 2 sqrt(pairs)), u_m = W_m v_m: a factorization machine (Rendle 2010, eq. 5)
    over modalities, with the maps of low-rank bilinear pooling (arXiv:1610.04325, sec. 3). Attention finds a product of
    small parts only at second order, after what one modality tells by itself has drowned them; here it is one step away.
    An absent modality is left out, and a modality alone gives exactly zero.
    """

    def __init__(self, modalities: int, wide: int, dim: int):
        super().__init__()
        self.maps = nn.Parameter(torch.randn(modalities, wide, dim) * wide**-0.5)
        self.out = nn.Parameter(torch.randn(dim, dim) * dim**-0.5)

    def forward(
        self, z: Float[Tensor, "batch modality wide"], present: Bool[Tensor, "batch modality"]
    ) -> Float[Tensor, "batch dim"]:
        """Fuse one vector per modality; each is brought to mean 0 and variance 1 first."""
        z = nn.functional.layer_norm(z.masked_fill(~present[:, :, None], 0), z.shape[-1:])
        u = torch.einsum("bmw,mwd->bmd", z, self.maps)
        count = present.sum(1, keepdim=True)
        pairs = (count * (count - 1) / 2).clamp(min=1)
        return (u.sum(1).square() - u.square().sum(1)) / (2 * pairs.sqrt()) @ self.out


class GatedVision(nn.Module):
    """Words that look at pictures, and a gate that decides for each number of a word how much of that it takes.

    Multimodal-CoT (arXiv:2302.00923, sec. 4.2): A = attention(query H, key and value V), lambda = sigmoid(W [H; A]),
    H' = (1 - lambda) H + lambda A, with one head as there. Queries and keys are normalised, as in every attention here.
    A row without pictures keeps its words to the bit: its lambda is exactly 0, not the gate's answer to an empty picture.
    """

    def __init__(self, dim: int, *, heads: int = 1):
        super().__init__()
        self.attention, self.gate = Attention(dim, heads), nn.Linear(2 * dim, dim)

    def forward(self, text: Tokens, vision: Tokens) -> tuple[Tokens, Float[Tensor, "batch word dim"]]:
        """Give the text's tokens with what they took from `vision`, of the same rows, and lambda in 0..1.

        Padding of either is not read, whatever it holds; padded words stay as they are, with a lambda of 0.
        """
        x = text.x.masked_fill(
            ~text.valid[:, :, None], 0
        )  # the gradient of what is left out stays finite, too
        seen = vision.x.masked_fill(~vision.valid[:, :, None], 0)
        there = vision.valid.any(1, keepdim=True)
        # A row without pictures looks at one empty token: a softmax over nothing has no value.
        seen = torch.cat([seen.new_zeros(len(seen), 1, seen.shape[2]), seen], 1)
        mask = torch.cat([~there, vision.valid], 1)[:, None]
        looked = self.attention(x, seen, mask)
        takes = (text.valid & there)[:, :, None]
        share = torch.where(takes, self.gate(torch.cat([x, looked], -1)).sigmoid(), 0.0)
        mixed = torch.where(takes, (1 - share) * x + share * looked, text.x)
        return Tokens(x=mixed, kind=text.kind, place=text.place, valid=text.valid), share


class Reasoning(nn.Module):
    """Steps of thought with the same weights: attend to words of a question, look at what is seen, change the memory.

    The MAC cell (arXiv:1803.03067, sec. 3.2): control c_i = attention over words, read r_i = attention over what is seen
    through its product with the memory, write m_i = W [r_i; m_{i-1}], gated by the control. Only the question's way into a
    step differs from step to step. `steps` may be set lower than it was trained with, to see what the later ones add.
    """

    def __init__(self, dim: int, *, steps: int):
        super().__init__()
        self.steps = steps
        self.control, self.memory = (nn.Parameter(torch.randn(dim) * 0.02) for _ in range(2))
        self.asked = nn.Sequential(
            nn.LayerNorm(2 * dim), nn.Linear(2 * dim, dim), nn.GELU(), nn.Linear(dim, dim)
        )
        self.turn = nn.ModuleList(nn.Linear(dim, dim) for _ in range(steps))
        self.ask, self.word = nn.Linear(2 * dim, dim), nn.Linear(dim, 1)
        self.from_memory, self.from_seen = nn.Linear(dim, dim), nn.Linear(dim, dim)
        # W [memory * keys; seen], in two parts: that of what is seen is the same in all steps.
        self.relate, self.alone = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim)
        self.look = nn.Linear(dim, 1)
        self.write, self.gate = nn.Linear(2 * dim, dim), nn.Linear(dim, 1)
        self.norm_words, self.norm_seen, self.norm_memory = (nn.LayerNorm(dim) for _ in range(3))
        nn.init.constant_(self.gate.bias, 1.0)

    def forward(
        self, question: Tokens, seen: Tokens, vector: Float[Tensor, "batch twice"]
    ) -> tuple[Float[Tensor, "batch dim"], list[tuple[Tensor, Tensor]]]:
        """Return the memory after the last step, and of each step the weights of words and of what is seen.

        `vector` is the question's pooled one. Weights sum to 1, to 0 in a row without any valid token.
        """
        words, view = self.norm_words(_emptied(question)), self.norm_seen(_emptied(seen))
        asked, keys, alone = self.asked(vector), self.from_seen(view), self.alone(view)
        control, memory = self.control.expand(len(view), -1), self.memory.expand(len(view), -1)
        trace = []
        for turn in self.turn[: self.steps]:
            wanted = self.ask(torch.cat([control, turn(asked)], -1))
            read = _weights(self.word(wanted[:, None] * words)[..., 0], question.valid)
            control = (read[:, None] @ words)[:, 0]
            related = F.elu(self.relate(self.from_memory(memory)[:, None] * keys) + alone)
            looked = _weights(self.look(F.elu(control[:, None] * related))[..., 0], seen.valid)
            new = self.write(torch.cat([(looked[:, None] @ view)[:, 0], memory], -1))
            keep = torch.sigmoid(self.gate(control))
            memory = self.norm_memory(keep * new + (1 - keep) * memory)
            trace.append((read, looked))
        return memory, trace


def _emptied(tokens: Tokens) -> Float[Tensor, "batch token dim"]:
    """A weight of zero does not silence NaN, so what is not valid is emptied."""
    return tokens.x.masked_fill(~tokens.valid[:, :, None], 0)


def _weights(
    score: Float[Tensor, "batch token"], valid: Bool[Tensor, "batch token"]
) -> Float[Tensor, "batch token"]:
    """Softmax over the valid tokens; zeros where there are none."""
    return score.masked_fill(~valid, -1e9).softmax(1) * valid.any(1, keepdim=True) * valid
