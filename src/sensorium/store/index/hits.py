"""What a search gives, and how several rankings become one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

RRF = 60  # the constant of reciprocal rank fusion (Cormack, Clarke and Buettcher 2009)


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """One answer to one query."""

    id: str
    score: float  # cosine of centred vectors, -1..1; BM25 for words alone; sum of 1 / (60 + rank) for both
    modality: str  # through which it was found; "" where words alone found it
    row: Mapping[str, object]  # metadata of the item; None where it has none


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranking:
    """The best rows for each query, best first. -1 as key: there are no more."""

    scores: np.ndarray  # (m, k) float
    keys: np.ndarray  # (m, k) int64: numbers of rows
    by: np.ndarray  # (m, k) int: which modality, -1 for words


def best_of(rankings: Sequence[Ranking], k: int) -> Ranking:
    """An item counts once, by its best score among the rankings."""
    if len(rankings) == 1:
        return rankings[0]
    scores, keys, by = (
        np.concatenate([getattr(r, f) for r in rankings], axis=1) for f in ("scores", "keys", "by")
    )
    rows = []
    for query in range(len(scores)):
        order = np.lexsort((keys[query], -scores[query]))
        _, first = np.unique(keys[query][order], return_index=True)
        kept = order[np.sort(first)]
        rows.append(kept[keys[query][kept] >= 0][:k])
    return _cut(scores, keys, by, rows, k)


def fused(rankings: Sequence[Ranking], k: int) -> Ranking:
    """Reciprocal rank fusion: an item scores the sum of 1 / (60 + rank) over the rankings that hold it.

    The modality is that of the first ranking that holds it.
    """
    queries = len(rankings[0].keys)
    scores, keys, by = np.full((queries, k), -np.inf), np.full((queries, k), -1), np.full((queries, k), -1)
    for query in range(queries):
        points: dict[int, float] = {}
        through: dict[int, int] = {}
        for ranking in rankings:
            for rank, (key, modality) in enumerate(
                zip(ranking.keys[query], ranking.by[query], strict=True), 1
            ):
                if key >= 0:
                    points[int(key)] = points.get(int(key), 0.0) + 1 / (RRF + rank)
                    through.setdefault(int(key), int(modality))
        best = sorted(points, key=lambda key: (-points[key], key))[:k]
        scores[query, : len(best)] = [points[key] for key in best]
        keys[query, : len(best)] = best
        by[query, : len(best)] = [through[key] for key in best]
    return Ranking(scores=scores, keys=keys, by=by)


def _cut(scores: np.ndarray, keys: np.ndarray, by: np.ndarray, rows: Sequence[np.ndarray], k: int) -> Ranking:
    """Of each query the columns named in `rows`, at most `k`."""
    new = Ranking(
        scores=np.full((len(rows), k), -np.inf),
        keys=np.full((len(rows), k), -1),
        by=np.full((len(rows), k), -1),
    )
    for query, kept in enumerate(rows):
        new.scores[query, : len(kept)] = scores[query, kept]
        new.keys[query, : len(kept)] = keys[query, kept]
        new.by[query, : len(kept)] = by[query, kept]
    return new
