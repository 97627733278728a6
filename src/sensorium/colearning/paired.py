"""Is one way of answering better than another on the same rows? An exact test, for one training or several."""

from dataclasses import dataclass

import numpy as np

from sensorium.types import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Paired:
    """What a paired comparison found."""

    gain: float  # share of rows that the first is right on, less that of the second: -1..1
    gains: tuple[float, ...]  # the same of each training
    p: float  # two-sided: how often rows that favour either alike would show such a gain


def paired_test(first: np.ndarray, second: np.ndarray) -> Paired:
    """Exact sign-flip permutation test over rows; for a single training it is McNemar's exact test (1947).

    first, second: (rows,) or (trainings, rows) bool, whether each answer was right, on the same rows from the same
    trainings (seeds, or draws of labelled rows). The rows are what chance drew: a row's difference is summed over the
    trainings, and its sign is flipped as a whole, because answers to one row are alike. The distribution of the sum is
    computed, not sampled. The p-value speaks for these trainings; whether others would do as well is what `gains`
    shows. Raises InputError where shapes differ or nothing is there.
    """
    a, b = np.atleast_2d(np.asarray(first, bool)), np.atleast_2d(np.asarray(second, bool))
    if a.shape != b.shape or a.ndim != 2 or not a.size:
        raise InputError(
            "both must answer the same rows",
            got=[np.shape(first), np.shape(second)],
            fix="give (trainings, rows) twice",
        )
    apart = a.astype(np.int64) - b
    each = apart.sum(0)
    return Paired(
        gain=float(apart.mean()),
        gains=tuple(apart.mean(1).tolist()),
        p=_flips(np.abs(each), int(abs(each.sum()))),
    )


def _flips(sizes: np.ndarray, seen: int) -> float:
    """Probability that the sum of the sizes under random signs is as far from zero as `seen`."""
    from scipy.stats import binom

    chance, reach = np.ones(1), 0  # chance[i] is that of a sum of i - reach
    for size, count in enumerate(np.bincount(sizes)):
        if size and count:
            step = np.zeros(2 * size * count + 1)
            step[:: 2 * size] = binom.pmf(np.arange(count + 1), count, 0.5)
            chance, reach = np.convolve(chance, step), reach + size * int(count)
    sums = np.abs(np.arange(len(chance)) - reach)
    return float(min(1.0, chance[sums >= seen].sum()))
