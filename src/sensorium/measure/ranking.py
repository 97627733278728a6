"""Figures of an order: area under the ROC curve and average precision, with their slopes in each row's weight.

The slopes (influence values) let a bootstrap sample be scored by one product instead of one sort: for row weights w near
one, figure(w) = figure + slope . w to first order, which is what DeLong's variance of the ROC area rests on too
(DeLong et al. 1988, Biometrics 44).
"""

from collections.abc import Iterable

import numpy as np

Ranked = tuple[
    float, np.ndarray
]  # the figure and its slope in the weight of each row, (n,), which sums to zero


def roc_area(score: np.ndarray, positive: np.ndarray) -> Ranked | None:
    """Probability that a positive row scores above a negative one, ties half, 0..1; None where there are not both.

    score: (n,) numbers; positive: (n,) bool.
    """
    high, low = score[positive], score[~positive]
    if not len(high) or not len(low):
        return None
    above = _below(high, low)  # share of the negatives under each positive
    area = float(above.mean())
    slope = np.empty(len(score))
    slope[positive] = (above - area) / len(high)
    slope[~positive] = (1 - _below(low, high) - area) / len(low)
    return area, slope


def _below(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Share of `others` under each value, ties half."""
    ordered = np.sort(others)
    return (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")) / (
        2 * len(others)
    )


def average_precision(score: np.ndarray, positive: np.ndarray) -> Ranked | None:
    """Mean precision at each positive row going down the scores, 0..1; rows of equal score stand together.

    score: (n,) numbers; positive: (n,) bool; None where no row is positive.
    """
    if not positive.any():
        return None
    order = np.argsort(-score, kind="stable")
    y = positive[order].astype(np.float64)
    last = np.r_[np.flatnonzero(np.diff(score[order])), len(y) - 1]  # last row of each group of equal scores
    sizes = np.diff(np.r_[-1, last])
    hits, seen, total = np.cumsum(y)[last], (last + 1).astype(np.float64), y.sum()
    own = np.diff(np.r_[0, hits])
    found = float((own * hits / seen).sum() / total)
    gain = np.cumsum((own / seen)[::-1])[::-1]  # what a further hit adds here and below
    cost = np.cumsum((own * hits / seen**2)[::-1])[::-1]  # what a further row takes
    precision, gain, cost = (np.repeat(v, sizes) for v in (hits / seen, gain, cost))
    slope = np.empty(len(y))
    slope[order] = (y * (precision + gain - found) - cost) / total
    return found, slope


def macro(found: Iterable[Ranked | None], rows: int) -> Ranked:
    """Mean of the figures that exist, and of their slopes; (NaN, zeros) where none does."""
    some = [f for f in found if f is not None]
    if not some:
        return float("nan"), np.zeros(rows)
    return float(np.mean([v for v, _ in some])), np.mean([s for _, s in some], axis=0)


def linear(value: float, moved: np.ndarray, top: float) -> np.ndarray:
    """The figure of each sample from its first-order move (samples,), kept within 0..top."""
    return np.clip(value + moved, 0.0, top) if np.isfinite(value) else np.full(len(moved), np.nan)
