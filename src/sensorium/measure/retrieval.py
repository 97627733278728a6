"""Is what belongs together found? Recall at k and ranks among vectors, with intervals and beside chance.

The rank of a query is that of its best right answer: a picture with five captions is right where any of them is found.

Ties: answers that score strictly above the best right one stand before it. Wrong answers that tie with it (up to
rounding) come in random order, so each counts as its chance of standing before the first right one: with t wrong and
p right answers tied, t / (p + 1) of a rank. Vectors that are all alike therefore find nothing, instead of everything.
"""

from collections.abc import Callable, Mapping

import numpy as np

from sensorium.measure.resample import Score, Statistics, scored, share
from sensorium.types import InputError

TOP = (1, 5, 10)  # of recall at k
CELLS = 4_000_000  # similarities held at a time: 32 MB
ROUNDING = 1e-10  # scores that differ by less of the largest possible score are tied


def best_ranks(
    queries: np.ndarray, answers: np.ndarray, asked: np.ndarray, held: np.ndarray, *, chunk: int | None = None
) -> np.ndarray:
    """Rank of each query's best right answer by dot product, (m,) float64 from 1; the ties' part may be a fraction.

    queries: (m, d); answers: (n, d); asked: (m,) and held: (n,) group numbers: a right answer has the group of the
    query, and a group below zero belongs to nothing. chunk: queries compared at a time; the ranks do not depend on it.
    Raises InputError where shapes differ, a number is not finite, or a query has no right answer.
    """
    queries, answers = _checked(queries, answers, asked, held)
    size = chunk or max(1, CELLS // len(answers))
    longest = np.sqrt((answers**2).sum(1).max())
    ranks = np.empty(len(queries))
    for first in range(0, len(queries), size):
        part = slice(first, first + size)
        score = queries[part] @ answers.T
        right = asked[part, None] == held[None]
        near = ROUNDING * longest * np.sqrt((queries[part] ** 2).sum(1, keepdims=True))
        best = np.where(right, score, -np.inf).max(1, keepdims=True)
        above, level = score > best + near, np.abs(score - best) <= near
        tied = (level & ~right).sum(1) / ((level & right).sum(1) + 1)
        ranks[part] = 1 + (above & ~right).sum(1) + tied
    return ranks


def retrieval_scores(
    queries: np.ndarray, answers: np.ndarray, asked: np.ndarray, held: np.ndarray, *, seed: int = 0
) -> dict[str, Score]:
    """Recall at 1, 5 and 10 (0..1), mean and median rank (from 1), and what a blind order would give.

    Arguments as for `best_ranks`. Keys: r@1, r@5, r@10, mean_rank, median_rank; chance@1, chance@5, chance@10,
    chance_mean_rank and chance_median_rank are exact. Intervals of 95 % come from drawing groups, not queries: the
    five captions of a picture are found or missed together. Raises InputError.
    """
    return _scores(queries, answers, asked, held, drawn=asked, seed=seed)


def class_scores(
    queries: np.ndarray, answers: np.ndarray, asked: np.ndarray, held: np.ndarray, *, seed: int = 0
) -> dict[str, Score]:
    """The figures of `retrieval_scores` where a right answer is any of the query's class, and `precision@k` beside.

    asked, held: class numbers. precision@k (0..1) is the share of right answers among the first k, or among all where
    there are fewer; its chance is the share of right answers overall, `chance_precision`. The classes are given, so
    queries are drawn for the intervals. Raises InputError.
    """
    each = np.arange(len(queries))
    found = _scores(queries, answers, asked, held, drawn=each, seed=seed)
    shares = _precision(np.asarray(queries, np.float64), np.asarray(answers, np.float64), asked, held)
    chance = float((_rights(asked, held) / len(held)).mean())
    told = {f"precision@{k}": column for k, column in zip(TOP, shares.T, strict=True)}
    found |= _drawn(lambda w: {n: w @ v / w.sum(1) for n, v in told.items()}, each, seed)
    return found | {"chance_precision": _exactly(chance)}


def both_ways(
    first: np.ndarray, second: np.ndarray, first_group: np.ndarray, second_group: np.ndarray, *, seed: int = 0
) -> tuple[dict[str, Score], dict[str, Score]]:
    """`retrieval_scores` from the first to the second and back; queries without a right answer are left out.

    first: (m, d); second: (n, d); groups: (m,) and (n,). Raises InputError where nothing belongs together.
    """
    there, back = np.isin(first_group, second_group), np.isin(second_group, first_group)
    there, back = there & (first_group >= 0), back & (second_group >= 0)
    return (
        retrieval_scores(first[there], second, first_group[there], second_group, seed=seed),
        retrieval_scores(second[back], first, second_group[back], first_group, seed=seed),
    )


def chance(rights: np.ndarray, answers: int) -> dict[str, float]:
    """What a random order of the answers would give queries with so many right answers each.

    rights: (m,) from 1 to `answers`. Recall at k is 1 - C(n - p, k) / C(n, k), the mean rank (n + 1) / (p + 1), and the
    median that of all queries' ranks together.
    """
    held, often = np.unique(rights, return_counts=True)
    weight = often / often.sum()
    missed = sum(w * _all_missed(int(p), answers) for p, w in zip(held, weight, strict=True))
    assert isinstance(missed, np.ndarray)
    found = {f"chance@{k}": float(1 - missed[min(k, answers)]) for k in TOP}
    median = float(np.argmax(missed <= 0.5 + 1e-12))
    mean = float((weight * (answers + 1) / (held + 1)).sum())
    return found | {"chance_mean_rank": mean, "chance_median_rank": median}


def _all_missed(rights: int, answers: int) -> np.ndarray:
    """Chance that none of the first 0, 1, ..., n answers is right, (n + 1,)."""
    before = np.arange(answers)
    return np.concatenate([[1.0], np.cumprod(np.maximum(answers - rights - before, 0) / (answers - before))])


def _scores(
    queries: np.ndarray,
    answers: np.ndarray,
    asked: np.ndarray,
    held: np.ndarray,
    *,
    drawn: np.ndarray,
    seed: int,
) -> dict[str, Score]:
    ranks = best_ranks(queries, answers, asked, held)
    order = np.argsort(ranks, kind="stable")
    hits = {f"r@{k}": (ranks <= k).astype(np.float64) for k in TOP}

    def measure(w: np.ndarray) -> Statistics:
        total = w.sum(1)
        found = {name: w @ hit / total for name, hit in hits.items()}
        return found | {"mean_rank": w @ ranks / total, "median_rank": _medians(ranks[order], w[:, order])}

    found = _drawn(measure, drawn, seed)
    units = len(np.unique(drawn))
    found |= {name: share(found[name], units) for name in hits}
    blind = chance(_rights(asked, held), len(answers))
    return found | {name: _exactly(value) for name, value in blind.items()}


def _drawn(measure: Callable[[np.ndarray], Statistics], drawn: np.ndarray, seed: int) -> dict[str, Score]:
    """Scores with intervals where all queries of one number in `drawn` (m,) are drawn together."""
    numbers, unit = np.unique(drawn, return_inverse=True)
    return scored(lambda w: measure(w[:, unit]), len(numbers), seed=seed)


def _medians(ordered: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Medians of (m,) sorted numbers under (samples, m) weights, (samples,)."""
    reached = np.cumsum(w, 1)
    half = reached[:, -1:] / 2
    return (ordered[np.argmax(reached >= half, 1)] + ordered[np.argmax(reached > half, 1)]) / 2


def _precision(queries: np.ndarray, answers: np.ndarray, asked: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Share of right answers among the first k, (m, k's); ties by the answers' order."""
    size, shares = max(1, CELLS // len(answers)), []
    for first in range(0, len(queries), size):
        part = slice(first, first + size)
        top = np.argsort(-(queries[part] @ answers.T), 1, kind="stable")[:, : max(TOP)]
        right = asked[part, None] == held[top]
        shares.append(np.stack([right[:, :k].mean(1) for k in TOP], 1))
    return np.concatenate(shares)


def _rights(asked: np.ndarray, held: np.ndarray) -> np.ndarray:
    """How many right answers each query has, (m,)."""
    ordered = np.sort(held)
    return np.searchsorted(ordered, asked, "right") - np.searchsorted(ordered, asked, "left")


def _exactly(value: float) -> Score:
    return Score(value=value, low=value, high=value)


def _checked(
    queries: np.ndarray, answers: np.ndarray, asked: np.ndarray, held: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    queries, answers = np.asarray(queries, np.float64), np.asarray(answers, np.float64)
    shapes: Mapping[str, object] = {
        "queries": queries.shape,
        "answers": answers.shape,
        "groups": (asked.shape, held.shape),
    }
    if queries.ndim != 2 or answers.ndim != 2 or queries.shape[1:] != answers.shape[1:]:
        raise InputError(
            "queries and answers are no vectors of one space", got=shapes, fix="give (m, d) and (n, d)"
        )
    if asked.shape != queries.shape[:1] or held.shape != answers.shape[:1]:
        raise InputError(
            "groups and vectors do not match up", got=shapes, fix="give one group number per vector"
        )
    if not len(queries) or not len(answers):
        raise InputError("there is nothing to find", got=shapes, fix="give at least one query and one answer")
    if not (np.isfinite(queries).all() and np.isfinite(answers).all()):
        raise InputError(
            "a vector holds what is no number",
            got="NaN or infinity",
            fix="train again, or leave such rows out",
        )
    lost = int((~np.isin(asked, held) | (asked < 0)).sum())
    if lost:
        raise InputError(
            "queries have no right answer", got=f"{lost} of {len(asked)}", fix="leave those queries out"
        )
    return queries, answers
