"""Answers out of a closed set: each is scored as a whole, so no answer can come out that is not in the set."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sensorium.tokens import Tokens
from sensorium.translation.decoder import FIRST, Decoder, Tree
from sensorium.types import InputError

NODES = 1024  # most beginnings that one pass scores
NUMBERS = 2**24  # about the most numbers of one kind that one pass makes (64 MiB)


def constrained(
    decoder: Decoder, memory: Tokens, answers: Sequence[Sequence[int]]
) -> Float[Tensor, "batch answer"]:
    """Log-probability of each answer, given that the text is one of `answers` (ids without `begin` and `end`).

    That is the conditional distribution of whole texts, not a walk that is renormalised at every branch: a
    beginning that many answers share gains nothing from it. `exp` of a row sums to 1. Errors as in `joint`.
    """
    return joint(decoder, memory, answers).log_softmax(1)


def joint(
    decoder: Decoder, memory: Tokens, answers: Sequence[Sequence[int]]
) -> Float[Tensor, "batch answer"]:
    """Log-probability of each answer and its end among all texts, in nats.

    Beginnings that answers share are read once, in one pass for about `NODES` of them; gradients flow. Raises
    InputError for no answers, an empty or doubled one, ids that cannot be written, and answers that are too long.
    """
    asked = [tuple(int(i) for i in answer) for answer in answers]
    _check(decoder, asked)
    order = sorted(range(len(asked)), key=lambda i: asked[i])
    back = torch.tensor(order, device=memory.x.device).argsort()
    trees = [prefix_tree(decoder, group) for group in _groups([asked[i] for i in order])]
    each = max(decoder.vocabulary, memory.x[0:1].numel())  # of a node: its logits, or its way of looking
    rows = max(1, NUMBERS // (max(len(tree.ids) for tree, _ in trees) * each))
    parts = [_cut(memory, slice(at, at + rows)) for at in range(0, max(1, len(memory.x)), rows)]
    told = [torch.cat([_scored(decoder, part, *tree) for tree in trees], 1) for part in parts]
    return torch.cat(told)[:, back]


def _check(decoder: Decoder, asked: list[tuple[int, ...]]) -> None:
    empty = [i for i, answer in enumerate(asked) if not answer]
    if not asked or empty:
        raise InputError(
            "an answer without a word", got=f"{len(asked)} answers, empty: {empty[:5]}", fix="leave it out"
        )
    if len(set(asked)) < len(asked):
        twice = next(a for i, a in enumerate(asked) if a in asked[:i])
        raise InputError("the same answer twice", got=twice, fix="give each answer once")
    bad = [a for a in asked if min(a) < FIRST or max(a) >= decoder.begin]
    if bad:
        raise InputError(
            "an answer that cannot be written", got=bad[0], fix=f"use ids from {FIRST} to {decoder.begin - 1}"
        )
    decoder.check_room(max(map(len, asked)) + 1)


def _cut(memory: Tokens, rows: slice) -> Tokens:
    return Tokens(
        x=memory.x[rows], kind=memory.kind[rows], place=memory.place[rows], valid=memory.valid[rows]
    )


def _groups(ordered: list[tuple[int, ...]]) -> list[list[tuple[int, ...]]]:
    """Cut sorted answers where the tree would have more than `NODES` nodes; neighbours share the most."""
    groups, nodes, last = [], NODES, ()
    for answer in ordered:
        common = next((i for i, (a, b) in enumerate(zip(answer, last, strict=False)) if a != b), None)
        common = min(len(answer), len(last)) if common is None else common
        nodes += len(answer) - common
        if nodes > NODES or not groups:
            groups.append([])
            nodes = 1 + len(answer)
        groups[-1].append(answer)
        last = answer
    return groups


def prefix_tree(decoder: Decoder, answers: Sequence[tuple[int, ...]]) -> tuple[Tree, Int[Tensor, " answer"]]:
    """Return the tree of all beginnings, whole answers included, level by level, and the node of each answer."""
    found = {answer[:n] for answer in answers for n in range(len(answer) + 1)}
    nodes = sorted(found, key=lambda beginning: (len(beginning), beginning))
    number = {beginning: i for i, beginning in enumerate(nodes)}
    device = decoder.bias.device
    tree = Tree(
        ids=torch.tensor([b[-1] if b else decoder.begin for b in nodes], device=device),
        parent=torch.tensor([number[b[:-1]] for b in nodes], device=device),
        depth=torch.tensor([len(b) for b in nodes], device=device),
    )
    return tree, torch.tensor([number[a] for a in answers], device=device)


def _scored(decoder: Decoder, memory: Tokens, tree: Tree, leaf: Tensor) -> Tensor:
    """(batch, answers) log-probabilities out of one pass over their tree."""
    told = decoder.logits(decoder.branches(memory, tree)).float()
    whole = told.logsumexp(2)
    step = told[:, tree.parent, tree.ids.masked_fill(tree.depth == 0, decoder.end)] - whole[:, tree.parent]
    step = step.masked_fill(tree.depth == 0, 0)
    total, node = (told[:, :, decoder.end] - whole)[:, leaf], leaf
    for _ in range(int(tree.depth.max())):  # from the leaves to the root, which adds nothing
        total, node = total + step[:, node], tree.parent[node]
    return total
