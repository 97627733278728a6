"""The cells of one row as parts with vectors in a shared space, and three ways to say which parts belong together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from sensorium.alignment.paths import dtw, monotonic_search
from sensorium.alignment.transport import sinkhorn
from sensorium.data import Row, collate
from sensorium.explain.places import clock
from sensorium.explain.words import spans_of, words
from sensorium.network import Network, key
from sensorium.types import Modality, Signal

WORDS, PATCHES, STEPS, PARTS = "words", "patches", "steps", "parts"
KINDS = {"text": WORDS, "image": PATCHES, "audio": STEPS, "video": STEPS, "series": STEPS}
BLUR = 0.1  # of the spread of the costs: how much entropy blurs a plan of transport
MOMENTS = 12  # pieces of a recording at most, where it is moved as a whole

Cells = list[tuple[int, int]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One cell: its tokens in the shared space, and the parts that people know, which they belong to."""

    name: str
    kind: str  # words, patches, steps or parts
    vectors: np.ndarray  # (tokens, width), of unit length
    owner: np.ndarray  # (tokens,) number of the part of each token
    parts: tuple[str, ...]  # what each part is called
    shape: tuple[int, int] = (0, 0)  # rows and columns of patches
    start_s: float = 0.0  # the middle of the first step
    step_s: float = 0.0  # from step to step; 0 where there is no clock

    @property
    def mass(self) -> np.ndarray:
        """(tokens,) shares of one: each part weighs the same, however many tokens it has."""
        count = np.bincount(self.owner, minlength=len(self.parts))
        share = 1 / count[self.owner]
        return share / share.sum()

    def members(self) -> np.ndarray:
        """(tokens, parts): 1 where a token belongs to a part."""
        return (self.owner[:, None] == np.arange(len(self.parts))).astype(np.float64)

    def seconds(self, step: float) -> float:
        """When a step is: in seconds, or its number where there is no clock."""
        return self.start_s + step * self.step_s if self.step_s > 0 else step


# --- from cells to sides -------------------------------------------------------------------------------------------


@torch.inference_mode()
def sides_of(
    network: Network, modalities: Sequence[Modality], row: Row, signals: Mapping[str, Signal]
) -> dict[str, Side]:
    """Bring every token of a row into the shared space, as the projection of a modality that held nothing else.

    signals: modality -> what was decoded, for texts as written and for clocks. The pooled vector of one token is the token
    twice, as its mean and its maximum.
    """
    network.eval()
    found = {}
    for m in modalities:
        if m.name not in row:
            continue
        tokens = network.encoders[key(m.name)](collate([row], [m]).parts[m.name])
        keep = tokens.valid[0]
        x, place = tokens.x[0][keep], tokens.place[0][keep]
        if m.carrier == "text":  # the first token is the bag of all
            x, place = x[1:], place[1:]
        vectors = network.space.project(m.name, torch.cat([x, x], -1)).numpy().astype(np.float64)
        found[m.name] = _side(
            m, vectors, place.numpy(), row[m.name][: max(m.longest, 1)], signals.get(m.name)
        )
    return found


def _side(
    m: Modality, vectors: np.ndarray, place: np.ndarray, patches: np.ndarray, signal: Signal | None
) -> Side:
    """Name the parts of a modality."""
    kind = STEPS if m.carrier == "points" and m.step_s > 0 else KINDS.get(m.carrier, PARTS)
    if kind == WORDS:
        owner, said = merged(m, patches, None if signal is None else str(signal.values[0]))
        return spoken(Side(name=m.name, kind=kind, vectors=vectors, owner=owner, parts=said))
    parts, rest = tuple(str(i + 1) for i in range(len(vectors))), {}
    if kind == PATCHES:
        rows = len(np.unique(place[:, 1].round(6)))
        rest["shape"] = (rows, len(vectors) // rows)
    elif kind == STEPS:
        start_s, step_s = clock(m, len(patches), signal)
        many = round(float(place[1, 0]) / m.step_s) if len(place) > 1 and m.step_s > 0 else 1
        if not m.step_s > 0:  # no token tells how many steps it holds
            many = len(patches) / len(vectors)
        middle = (
            step_s / 2 if m.carrier in ("series", "points") else 0.0
        )  # their steps are spans, others are moments
        rest |= {"start_s": start_s + middle, "step_s": step_s * max(1, many)}
    elif m.carrier == "table":
        fields: Sequence[Mapping[str, object]] = m.options.get("fields", ())  # type: ignore[assignment]
        here = np.flatnonzero(patches[:, 2] > 0)
        parts = tuple(str(fields[i]["name"]) if i < len(fields) else str(i + 1) for i in here)
    return Side(name=m.name, kind=kind, vectors=vectors, owner=np.arange(len(vectors)), parts=parts, **rest)


def merged(m: Modality, ids: np.ndarray, text: str | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Which word each token of a text belongs to, and the words. Tokens stand for words where the text is not known."""
    json, case = str(m.options.get("tokenizer", "")), bool(m.options.get("case", False))
    spans = None if text is None else spans_of(text, json, ids, case=case)
    found = words(np.zeros(len(ids)), m, ids, text)
    if spans is None:
        said = [str(w["text"]) for w in found] + ["?"] * (len(ids) - len(found))
        return np.arange(len(ids)), tuple(said)
    stops = np.array([int(w["stop"]) for w in found])  # type: ignore[call-overload]
    last = np.array([max(a, b - 1) for a, b in spans])
    owner = np.searchsorted(stops, last, side="right").clip(max=len(found) - 1)
    seen, owner = np.unique(owner, return_inverse=True)
    return owner.ravel(), tuple(str(found[i]["text"]) for i in seen)


def spoken(side: Side) -> Side:
    """A text without its punctuation, which belongs to nothing in particular; a text of nothing else stays."""
    kept = [i for i, part in enumerate(side.parts) if any(c.isalnum() for c in part)]
    if not kept:
        return side
    keep = np.isin(side.owner, kept)
    owner = np.searchsorted(kept, side.owner[keep])
    return replace(side, vectors=side.vectors[keep], owner=owner, parts=tuple(side.parts[i] for i in kept))


def moments(side: Side, most: int = MOMENTS) -> Side:
    """A recording in at most so many pieces of the same length, each a part of its own; other sides stay."""
    if side.kind != STEPS:
        return side
    count = min(most, len(side.vectors))
    owner = np.arange(len(side.vectors)) * count // len(side.vectors)
    cuts = [np.flatnonzero(owner == i)[[0, -1]] for i in range(count)]
    unit = "\u202fs" if side.step_s > 0 else ""
    named = [
        f"{max(0.0, side.seconds(a - 0.5)):.2f} \u2013 {side.seconds(b + 0.5):.2f}{unit}" for a, b in cuts
    ]
    if not side.step_s > 0:
        named = [f"steps {a + 1} to {b + 1}" for a, b in cuts]
    return replace(side, owner=owner, parts=tuple(named))


# --- what belongs together -----------------------------------------------------------------------------------------


def transported(a: Side, b: Side) -> tuple[np.ndarray, float, float]:
    """Move the mass of one side's parts onto the other's, at the least cost: the plan, its cost, and that of no plan.

    The plan (parts of a, parts of b) sums to one; each part of a side weighs the same. Costs are 1 - cos of tokens, 0..2: in the
    mean under the plan, and where each part is spread evenly over the other side.
    """
    cost = 1 - a.vectors @ b.vectors.T
    blur = max(BLUR * float(cost.std()), 1e-4)
    plan, paid = sinkhorn(
        torch.from_numpy(cost)[None], eps=blur, row_mass=torch.from_numpy(a.mass)[None], column_mass=torch.from_numpy(b.mass)[None],
    )  # fmt: skip
    even = float(a.mass @ cost @ b.mass)
    return a.members().T @ plan[0].numpy() @ b.members(), float(paid[0]), even


def likeness(a: Side, b: Side) -> np.ndarray:
    """Cosine (parts of a, parts of b) of what each part has beyond the mean of its side.

    What all parts of a side share says nothing about which of them is meant, and would draw every path to the part that
    is most like it.
    """
    return _beyond(a) @ _beyond(b).T


def _beyond(side: Side) -> np.ndarray:
    members = side.members()
    means = members.T @ side.vectors / members.sum(0)[:, None]
    rest = means - means.mean(0) if len(means) > 1 else means
    return rest / np.maximum(np.linalg.norm(rest, axis=1, keepdims=True), 1e-9)


def in_order(said: Side, steps: Side) -> tuple[list[tuple[int, int]], float, float]:
    """Lay parts over steps, all of them and in their order: (first, last + 1) step of each; cost; and of equal shares.

    The path of the largest summed likeness (arXiv:2005.11129, alg. 1). Costs are 1 - cos, in the mean over steps. Raises InputError where there are more parts
    than steps.
    """
    alike = likeness(said, steps)
    path, _ = monotonic_search(torch.from_numpy(alike.T.copy())[None])
    count, many = alike.shape
    own, equal = path[0].numpy(), np.arange(many) * count // many
    cuts = np.searchsorted(own, np.arange(count + 1))
    at = np.arange(many)
    return (
        [(int(i), int(j)) for i, j in zip(cuts, cuts[1:], strict=False)], float(1 - alike[own, at].mean()), float(1 - alike[equal, at].mean()),
    )  # fmt: skip


def warped(a: Side, b: Side) -> tuple[Cells, float, float]:
    """Warp two recordings onto each other: the cells of the path, its cost, and that of the straight path.

    Costs are 1 - cos, in the mean over the cells of a path.
    """
    cost = 1 - likeness(a, b)
    _, found = dtw(torch.from_numpy(cost)[None])
    cells = found[0].numpy()
    high, wide = cost.shape
    most = max(high, wide)
    straight = np.arange(most)[:, None] * np.array([high, wide]) // most
    return (
        [(int(i), int(j)) for i, j in cells],
        float(cost[tuple(cells.T)].mean()),
        float(cost[tuple(straight.T)].mean()),
    )
