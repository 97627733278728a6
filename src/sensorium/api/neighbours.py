"""Training rows that resemble a new one: their texts are candidates beside those that the decoder finds.

A decoder that has seen few rows writes what is likely anyway. What people wrote for the rows most alike is written well and
often fits; of all candidates the one is taken that the decoder finds likely and the neighbours' texts agree with most
(consensus, arXiv:1505.04467, sec. 3.3). How much each counts is chosen on validation rows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sensorium.api.blend import Blend, fit_blend
from sensorium.api.heads import Rows
from sensorium.data import Row
from sensorium.measure.consensus import Phrases, agreement
from sensorium.modalities import CARRIERS
from sensorium.tasks import Task
from sensorium.types import InputError, Modality, Signal

NEAR = 40  # neighbours whose texts are looked at
OFFERED = 6  # of their texts become candidates
FEWEST = 200  # training rows below which neighbours are too far away to tell anything
TEXTS = 5  # most texts of one row that are kept
SHARES = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 1000.0)  # of the agreement beside the log-probability of a word
Chosen = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Candidates:
    """Texts that one row may get, with how likely the decoder finds a word of them and how much neighbours agree."""

    texts: Chosen
    likely: np.ndarray  # natural log-probability per id
    agreed: np.ndarray  # 0..1

    def best(self, share: float) -> str:
        """The text with the highest sum; the first of equals."""
        return self.texts[int(np.argmax(self.likely + share * self.agreed))]


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighbours:
    """Training rows in a space of linear correlations between the inputs and the texts, with those texts."""

    blend: Blend
    vectors: np.ndarray  # (n, k) float32
    texts: tuple[Chosen, ...]
    phrases: Phrases
    share: float = 0.0  # of the agreement in the choice; 0: candidates of the decoder alone

    def near(self, rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
        """(m, NEAR) numbers of the training rows most alike, and their similarities, at least 0."""
        found = self.blend.linear(Rows(patches=rows))
        query = sum(_unit(v) for name, v in found.items() if name != TARGET)
        like = np.asarray(query) @ self.vectors.T
        order = np.argsort(-like, axis=1, kind="stable")[:, :NEAR]
        return order, np.maximum(np.take_along_axis(like, order, 1), 0)

    def offered(
        self, rows: Sequence[Row], own: Sequence[Chosen], likely: Callable[[Sequence[Chosen]], list[np.ndarray]]
    ) -> list[Candidates]:  # fmt: skip
        """The candidates of each row: `own` ones, and the neighbours' texts that the neighbourhood agrees with most.

        likely: says for texts of each row how likely the decoder finds a word of them.
        """
        order, like = self.near(rows)
        texts, agreed = [], []
        for mine, at, weight in zip(own, order, like, strict=True):
            theirs = [t for i in at for t in self.texts[i]]
            vectors = self.phrases([*mine, *theirs])
            each = np.repeat(weight + 1e-6, [len(self.texts[i]) for i in at])
            fits = agreement(vectors, vectors[len(mine) :], each)
            best = len(mine) + np.argsort(-fits[len(mine) :], kind="stable")[:OFFERED]
            chosen = dict.fromkeys([*mine, *(theirs[i - len(mine)] for i in best)])
            value = dict(zip([*mine, *theirs], fits, strict=True))
            texts.append(tuple(chosen))
            agreed.append(np.array([value[t] for t in chosen]))
        return [Candidates(*c) for c in zip(texts, likely(texts), agreed, strict=True)]

    def packed(self) -> tuple[dict[str, object], dict[str, np.ndarray]]:
        """As JSON and arrays, for saving."""
        told, arrays = self.blend.packed()
        vectors = {"vectors": self.vectors.astype(np.float16)}
        return {"blend": told, "texts": [list(t) for t in self.texts], "share": self.share}, arrays | vectors

    @classmethod
    def unpacked(cls, told: Mapping, arrays: Mapping[str, np.ndarray], task: Task) -> "Neighbours":
        """What `packed` described, for the task of the run."""
        rest = {k: v for k, v in arrays.items() if k != "vectors"}
        texts = tuple(tuple(t) for t in told["texts"])
        named = Task(modalities=(*task.modalities, _text([" ".join(t) for t in texts[:50]])))
        return cls(
            blend=Blend.unpacked(told["blend"], rest, named), vectors=arrays["vectors"].astype(np.float32), texts=texts,
            phrases=Phrases([t for many in texts for t in many]), share=float(told["share"]),
        )  # fmt: skip


TARGET = "\ntext"  # the name of the written text among the inputs: no column is called so


def _text(texts: Sequence[str]) -> Modality:
    signals = [Signal(values=np.array([t or "-"], dtype=object)) for t in texts]
    carrier = CARRIERS["text"]
    return carrier.define(TARGET, TARGET, **carrier.survey(signals))


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def fit_neighbours(
    task: Task, rows: Sequence[Row], texts: Sequence[Sequence[str]], *, seed: int
) -> Neighbours | None:
    """Learn from training rows where new ones stand among them; None where there are too few, or nothing correlates."""
    wording = task.target.wording
    asks = any(
        m.carrier in ("text", "table") for m in task.modalities
    )  # a question is not answered by resemblance
    if wording is None or wording.answers or asks or len(rows) < FEWEST:
        return None
    kept = [tuple(wording.plain(t) for t in many[:TEXTS]) for many in texts]
    told = _text([" ".join(t) for t in kept])
    names = (*(m.name for m in task.modalities), TARGET)
    match = Task(modalities=(*task.modalities, told), match=names)
    patches = [{**row, TARGET: np.ones(1, np.int32)} for row in rows]
    said = {m: [" ".join(t) if m == TARGET else None for t in kept] for m in (TARGET,)}
    blend = fit_blend(match, Rows(patches=patches, texts=said), np.arange(len(rows)), {}, seed=seed)
    if blend.space is None or TARGET not in blend.views:
        return None
    vectors = sum(_unit(v) for v in blend.linear(Rows(patches=patches, texts=said)).values())
    phrases = Phrases([t for many in kept for t in many])
    return Neighbours(
        blend=replace(blend, share=0.0), vectors=np.asarray(vectors, np.float32), texts=tuple(kept), phrases=phrases
    )  # fmt: skip


def weighed(
    near: Neighbours, found: Sequence[Candidates], figure: Callable[[list[str]], float]
) -> tuple[Neighbours, list[dict[str, float]]]:
    """The neighbours with the share that is best on validation rows, and what each share gives.

    `figure` measures one text for each row. Near-equal shares: the smaller, which trusts the decoder more.
    """
    tried = [{"share": s, "score": round(figure([c.best(s) for c in found]), 4)} for s in SHARES]
    most = max(t["score"] for t in tried)
    best = next(t["share"] for t in tried if t["score"] >= most - 0.005 * abs(most))
    return replace(near, share=best), tried


def must_hold(told: object) -> Mapping:
    """The saved description. Raises InputError where it is damaged."""
    if not isinstance(told, Mapping) or not {"blend", "texts", "share"} <= set(told):
        raise InputError("the neighbours of the run are damaged", got=type(told).__name__, fix="fit again")
    return told
