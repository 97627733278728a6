"""Does 80 % sure mean right in 80 % of the rows? Reliability, calibration error and temperature."""

import numpy as np

BINS = 15
COLDEST, HOTTEST = 0.05, 20.0  # bounds of the temperature


def bin_of(confidence: np.ndarray, bins: int) -> np.ndarray:
    """Number of the equal-width bin of (0, 1] that holds each confidence, (n,) -> (n,)."""
    return np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)


def ece(probabilities: np.ndarray, truth: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error of the top answer, 0..1, in equal-width bins (arXiv:1706.04599, eq. 3).

    probabilities: (n, classes); truth: (n,) class numbers.
    """
    top, right = probabilities.max(1), probabilities.argmax(1) == truth
    gaps = np.bincount(bin_of(top, bins), top - right, bins)
    return float(np.abs(gaps).sum() / max(1, len(truth)))


def reliability(probabilities: np.ndarray, truth: np.ndarray, bins: int = 10) -> list[dict[str, float]]:
    """Mean confidence, accuracy and count of the rows in each bin of confidence that holds any, for a plot.

    probabilities: (n, classes) against (n,) class numbers, or (n, classes) against (n, classes) labels, where every
    label of every row counts as one answer with its own probability.
    """
    if truth.ndim == 2:
        sure, right = probabilities.ravel(), truth.ravel() > 0.5
    else:
        sure, right = probabilities.max(1), probabilities.argmax(1) == truth
    where = bin_of(sure, bins)
    found = (np.bincount(where, v, bins) for v in (sure, right, np.ones(len(sure))))
    return [
        {"confidence": float(s / n), "accuracy": float(r / n), "count": int(n)}
        for s, r, n in zip(*found, strict=True)
        if n
    ]


def temperature(logits: np.ndarray, truth: np.ndarray) -> float:
    """The number to divide logits by so that the probabilities fit held-out rows best (arXiv:1706.04599, sec. 4.2).

    logits: (n, classes) with truth (n,) class numbers (softmax), or with truth (n, classes) labels (sigmoid).
    Golden section on the summed negative log-likelihood, which has one minimum in log T, plus (log T)^2 / 2: the weight of
    about one row, so that a handful of rows that are all right does not make every answer certain. 1.0 without rows.
    """
    logits, truth = np.asarray(logits, np.float64), np.asarray(truth)
    if len(truth) == 0:
        return 1.0

    def loss(log_t: float) -> float:
        return _nll(logits / np.exp(log_t), truth) + log_t**2 / 2

    return float(np.exp(_golden(loss, np.log(COLDEST), np.log(HOTTEST))))


def _nll(logits: np.ndarray, truth: np.ndarray) -> float:
    if truth.ndim == 2:
        return float(np.logaddexp(0, np.where(truth > 0.5, -logits, logits)).sum())
    shifted = logits - logits.max(1, keepdims=True)
    return float((np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(truth)), truth]).sum())


def _golden(loss, low: float, high: float, *, rounds: int = 40) -> float:
    """Minimum of a function with one valley between two numbers."""
    share = (5**0.5 - 1) / 2
    left, right = high - share * (high - low), low + share * (high - low)
    at_left, at_right = loss(left), loss(right)
    for _ in range(rounds):
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - share * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + share * (high - low)
            at_right = loss(right)
    return (low + high) / 2
