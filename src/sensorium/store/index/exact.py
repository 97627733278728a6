"""Exact search: matrix products over blocks of vectors, with a running list of the best.

A block's product is compared with each query's worst kept score; only what lies above is looked at, which after a few
blocks is nearly nothing. So the cost is that of the product. What is kept is scored again in double precision, one
vector at a time: a query's answer does not depend on which others are asked beside it, and equal vectors score the same.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

BLOCK = 1 << 20  # scores held at a time: they stay in the processor's cache
SPARE = 8  # more are kept than asked, because the last digits of a product depend on the block's shape
QUERIES = 256  # asked at a time
SPARSE = 0.5  # where fewer rows than this are allowed, they are gathered first


@dataclass(frozen=True, kw_only=True, eq=False)
class Space:
    """The vectors of one modality, in segments, as they are searched: less the mean, and of unit length again."""

    name: str
    vectors: tuple[np.ndarray, ...]  # (p, d) float32 each, as added; mapped from the files
    keys: np.ndarray  # (n,) int64, ascending: which row of the index each vector belongs to
    mean: np.ndarray  # (d,) float32; zeros where nothing is taken off
    scales: tuple[np.ndarray, ...]  # (p,) float32 each: 1 / length of what is left; 0 where nothing is left

    def __len__(self) -> int:
        return len(self.keys)

    @cached_property
    def starts(self) -> np.ndarray:
        """(segments + 1,) where each segment's vectors start among all."""
        return np.cumsum([0, *map(len, self.vectors)])

    @cached_property
    def centred(self) -> bool:
        """Whether a mean is taken off."""
        return bool(self.mean.any())

    def gather(self, positions: np.ndarray) -> np.ndarray:
        """(m, d) float32: vectors as added, by position among all of the modality."""
        out = np.empty((len(positions), len(self.mean)), np.float32)
        segment = np.searchsorted(self.starts, positions, side="right") - 1
        for number in np.unique(segment):
            mine = segment == number
            out[mine] = self.vectors[number][positions[mine] - self.starts[number]]
        return out

    @cached_property
    def scale(self) -> np.ndarray:
        """(n,) float32: the scales of all vectors."""
        return np.concatenate([*self.scales, np.zeros(0, np.float32)])


def scales(vectors: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """(n,) float32: 1 / length of each vector less the mean; 0 where less than a millionth is left."""
    lengths = np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), 8192):
        left = vectors[start : start + 8192] - mean
        lengths[start : start + 8192] = np.sqrt(np.einsum("nd,nd->n", left, left))
    return np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 1e-6)


def centre(vectors: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """(n, d) float32: vectors less the mean, of unit length; a vector with nothing left becomes zeros."""
    return ((vectors - mean) * scales(vectors, mean)[:, None]).astype(np.float32)


def nearest(
    space: Space, queries: np.ndarray, k: int, allowed: np.ndarray | None = None, start: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The `k` vectors nearest to each query by cosine, best first; equal ones by the order in which they were added.

    queries: (m, d) float32, centred and of unit length; allowed: (n,) whether each vector of the space may answer;
    start: vectors before this one are left out. Returns scores (m, k) float32 and positions (m, k) int64; where there
    are fewer than `k`, the rest is -inf and -1.
    """
    found = [
        rescored(space, part, _candidates(space, part, k + SPARE, allowed, start), k)
        for part in (queries[i : i + QUERIES] for i in range(0, len(queries), QUERIES))
    ]
    return np.concatenate([f[0] for f in found]), np.concatenate([f[1] for f in found])


def rescored(
    space: Space, queries: np.ndarray, positions: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Score candidates exactly and keep the best `k`.

    positions: (m, c) int64, -1 for none. Returns what `nearest` does.
    """
    scores = np.full((len(queries), max(k, positions.shape[1])), -np.inf, np.float32)
    places = np.full(scores.shape, -1, np.int64)
    for start in range(0, len(queries), 32):
        rows, columns = np.nonzero(positions[start : start + 32] >= 0)
        asked = positions[start + rows, columns]
        mine = queries[start + rows].astype(np.float64)
        left = space.gather(asked).astype(np.float64) - space.mean
        cosine = np.einsum("nd,nd->n", left, mine) * space.scale[asked]
        scores[start + rows, columns], places[start + rows, columns] = cosine, asked
    order = np.lexsort((places, -scores), axis=1)[:, :k]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(places, order, 1)


def _candidates(
    space: Space, queries: np.ndarray, keep: int, allowed: np.ndarray | None, start: int
) -> np.ndarray:
    """(m, keep) positions of the best by single-precision products; -1 where there are fewer."""
    best = _Best(len(queries), keep)
    across = np.ascontiguousarray(queries.T)
    offset = queries @ space.mean if space.centred else None
    height = int(np.clip(BLOCK // max(1, len(queries)), 1024, 16384))
    for number, vectors in enumerate(space.vectors):
        base = int(space.starts[number])
        for first in range(max(0, start - base), len(vectors), height):
            rows = np.arange(first, min(first + height, len(vectors)))
            may = None if allowed is None else allowed[base + rows]
            if may is not None and may.all():
                may = None
            if may is not None and may.mean() < SPARSE:
                rows, may = rows[may], None
                block = vectors[rows]
            else:
                block = vectors[first : first + height]
            if not len(block):
                continue
            scores = block @ across
            if offset is not None:
                scores -= offset
                scores *= space.scales[number][rows, None]
            if may is not None:
                scores[~may] = -np.inf
            best.update(scores, base + rows)
    return best.positions


class _Best:
    """The best positions of each query so far."""

    def __init__(self, queries: int, keep: int):
        self.scores = np.full((queries, keep), -np.inf, np.float32)
        self.positions = np.full((queries, keep), -1, np.int64)

    def update(self, scores: np.ndarray, positions: np.ndarray) -> None:
        """Take in a block: scores (rows, queries), positions (rows,) ascending and above those seen before."""
        keep = self.scores.shape[1]
        worst = self.scores[:, -1]
        if (
            len(scores) > 4 * keep and not np.isfinite(worst).all()
        ):  # the first block: no scores to compare with yet
            first = np.partition(scores, len(scores) - keep, axis=0)[len(scores) - keep]
            above = (scores > worst) & (scores >= first)
        else:
            above = scores > worst
        row, query = _where(above)
        if not len(row):
            return
        queries, best = np.arange(len(worst)), self.scores.size
        who = np.concatenate([np.repeat(queries, keep), query])
        value = np.concatenate([self.scores.ravel(), scores[row, query]])
        where = np.concatenate([self.positions.ravel(), positions[row]])
        came = np.concatenate([np.arange(best) % keep, keep + row])  # equal scores: who came first stays
        order = np.lexsort((came, -value, who))
        take = order[np.searchsorted(who[order], queries)[:, None] + np.arange(keep)]
        self.scores, self.positions = value[take], where[take]


def _where(above: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`np.nonzero` of a matrix with few true cells, which looks at eight cells at a time."""
    flat = above.reshape(-1)
    whole = len(flat) // 8 * 8
    words = np.flatnonzero(flat[:whole].view(np.uint64))
    word, byte = np.nonzero(flat[:whole].reshape(-1, 8)[words])
    found = np.concatenate([words[word] * 8 + byte, whole + np.flatnonzero(flat[whole:])])
    return np.divmod(found, above.shape[1])
