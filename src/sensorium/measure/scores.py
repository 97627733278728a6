"""Task metrics with 95 % bootstrap intervals, for categories, several labels per row, and numbers."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from sensorium.measure.calibration import BINS, bin_of, ece, reliability
from sensorium.measure.ranking import average_precision, linear, macro, roc_area
from sensorium.measure.resample import Score, Statistics, scored, share
from sensorium.types import InputError

TINY = float(
    np.finfo(np.float32).eps
)  # a probability below counts as this: one certain mistake costs 15.9 nats
LOWER_IS_BETTER = frozenset({"nll", "brier", "ece", "mae", "rmse"})

__all__ = [
    "LOWER_IS_BETTER", "SCORERS", "Score", "category_scores", "confusion", "ece", "headline", "label_scores", "macro_f1",
    "number_scores", "reliability",
]  # fmt: skip


def category_scores(probabilities: np.ndarray, truth: np.ndarray, *, seed: int = 0) -> dict[str, Score]:
    """Score (n, classes) probabilities against (n,) class numbers; -1 is a class that training never saw.

    accuracy, macro_f1 and balanced_accuracy (both over the classes that the truth holds), nll (nats), brier (summed over
    classes, 0..2), ece (0..1) and auroc (one against the rest, mean over classes; left out where there is one class).
    A row of an unseen class counts as wrong with a probability of zero. Raises InputError.
    """
    answers, truth = _pair(probabilities, truth, dims=2)
    classes, rows = answers.shape[1], len(truth)
    truth = _known(truth, classes)
    said, top = answers.argmax(1), answers.max(1)
    right, own = said == truth, np.where(truth >= 0, answers[np.arange(rows), truth], 0.0)
    area, area_slope = macro(
        (roc_area(answers[:, c], truth == c) for c in np.unique(truth[truth >= 0])), rows
    )
    wrong = (answers**2).sum(1) + (truth >= 0) * (1 - 2 * own) + (truth < 0)
    flat = np.stack([right, -np.log(np.maximum(own, TINY)), wrong, area_slope], 1)
    bins, labels = (
        _onehot(bin_of(top, BINS), BINS),
        np.unique(np.concatenate([truth, said]), return_inverse=True)[1],
    )
    gap = bins * (right - top)[:, None]

    def measure(w: np.ndarray) -> Statistics:
        mean = w @ flat / rows
        f1, recall = _f1_and_recall(w, labels[:rows], labels[rows:])
        return {
            "accuracy": mean[:, 0], "macro_f1": f1, "balanced_accuracy": recall, "nll": mean[:, 1], "brier": mean[:, 2],
            "ece": np.abs(w @ gap).sum(1) / rows, "auroc": linear(area, mean[:, 3] * rows, 1.0),
        }  # fmt: skip

    found = scored(measure, rows, seed=seed)
    return found | {"accuracy": share(found["accuracy"], rows)}


def label_scores(probabilities: np.ndarray, truth: np.ndarray, *, seed: int = 0) -> dict[str, Score]:
    """Score (n, classes) probabilities against (n, classes) labels; a label is given at .5 and above.

    micro_f1, macro_f1, mean_average_precision and auroc (the last three over the labels that the truth holds),
    subset_accuracy (every label of the row right), nll (nats per label). Raises InputError.
    """
    answers, truth = _pair(probabilities, truth, dims=2)
    if truth.shape != answers.shape:
        raise InputError(
            "answers and truth differ in their labels",
            got=(answers.shape, truth.shape),
            fix="one column per label",
        )
    truth, rows = truth > 0.5, len(truth)
    said, held = answers >= 0.5, [c for c in range(truth.shape[1]) if truth[:, c].any()]
    area, area_slope = macro((roc_area(answers[:, c], truth[:, c]) for c in held), rows)
    precision, precision_slope = macro((average_precision(answers[:, c], truth[:, c]) for c in held), rows)
    loss = -np.log(np.maximum(np.where(truth, answers, 1 - answers), TINY)).mean(1)
    flat = np.stack([(said == truth).all(1), loss, area_slope, precision_slope], 1)
    hit, both = (said & truth).astype(float), said.astype(float) + truth

    def measure(w: np.ndarray) -> Statistics:
        mean, hits, boths, trues = w @ flat / rows, w @ hit, w @ both, w @ truth.astype(float)
        f1 = np.where(trues > 0, 2 * hits / np.maximum(boths, 1), np.nan)
        return {
            "micro_f1": 2 * hits.sum(1) / np.maximum(boths.sum(1), 1), "macro_f1": _mean(f1), "subset_accuracy": mean[:, 0],
            "mean_average_precision": linear(precision, mean[:, 3] * rows, 1.0),
            "auroc": linear(area, mean[:, 2] * rows, 1.0), "nll": mean[:, 1],
        }  # fmt: skip

    found = scored(measure, rows, seed=seed)
    return found | {"subset_accuracy": share(found["subset_accuracy"], rows)}


def number_scores(predicted: np.ndarray, truth: np.ndarray, *, seed: int = 0) -> dict[str, Score]:
    """Score (n,) numbers: r2, mae and rmse (in the truth's unit), pearson and spearman (-1..1). Raises InputError.

    r2 and the correlations are left out where the truth is constant, the correlations also where the answers are.
    Ranks for spearman are those of all rows, in the bootstrap too.
    """
    predicted, truth = _pair(predicted, truth, dims=1)
    error, rows = predicted - truth, len(truth)
    flat = np.stack([np.abs(error), error**2], 1)
    pairs = [_moments(predicted, truth), _moments(ranks(predicted), ranks(truth))]
    scale = float(truth.std()) ** 2 or np.inf

    def measure(w: np.ndarray) -> Statistics:
        mean = w @ flat / rows
        (spread, pearson), (_, spearman) = (_correlation(w @ columns / rows) for columns in pairs)
        return {
            "r2": 1 - mean[:, 1] / np.where(spread > 1e-12, spread * scale, np.nan), "mae": mean[:, 0],
            "rmse": np.sqrt(mean[:, 1]), "pearson": pearson, "spearman": spearman,
        }  # fmt: skip

    return scored(measure, rows, seed=seed)


SCORERS: Mapping[str, Callable[[np.ndarray, np.ndarray], dict[str, Score]]] = {
    "category": category_scores, "labels": label_scores, "number": number_scores,
}  # fmt: skip


def headline(kind: str, counts: Sequence[int] | Mapping[str, int] = ()) -> str:
    """The figure to select and compare by; all of them are better when higher.

    Numbers: r2. Several labels: micro_f1. A category: accuracy, or macro_f1 where `counts` (rows per class) are lopsided:
    the commonest class holds over three times its fair share of the rows, or over 1.5 times with up to four classes.
    """
    if kind == "number":
        return "r2"
    if kind == "labels":
        return "micro_f1"
    sizes = list(counts.values()) if isinstance(counts, Mapping) else list(counts)
    share = max(sizes) / sum(sizes) * len(sizes) if sum(sizes) else 1.0
    return "macro_f1" if share > (1.5 if len(sizes) <= 4 else 3.0) else "accuracy"


def macro_f1(said: np.ndarray, truth: np.ndarray) -> float:
    """Mean F1 of the classes that the truth holds, 0..1; both (n,) class numbers."""
    labels = np.unique(np.concatenate([truth, said]), return_inverse=True)[1]
    return float(_f1_and_recall(np.ones((1, len(truth))), labels[: len(truth)], labels[len(truth) :])[0][0])


def confusion(said: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    """Rows counted by (truth, answer), (classes, classes); rows of a class that training never saw (-1) are left out."""
    known = truth >= 0
    return np.bincount(truth[known] * classes + said[known], minlength=classes**2).reshape(classes, classes)


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, ties sharing their mean, (n,) -> (n,)."""
    ordered = np.sort(values)
    return (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right") + 1) / 2


def _f1_and_recall(w: np.ndarray, truth: np.ndarray, said: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    size = int(max(truth.max(), said.max())) + 1
    hits = _group_sums(w * (truth == said), truth, size)
    true, answered = _group_sums(w, truth, size), _group_sums(w, said, size)
    held = true > 0
    f1 = np.where(held, 2 * hits / np.maximum(true + answered, 1), np.nan)
    return _mean(f1), _mean(np.where(held, hits / np.maximum(true, 1), np.nan))


def _group_sums(w: np.ndarray, group: np.ndarray, size: int) -> np.ndarray:
    """Sums of (samples, n) weights within each group, (samples, size)."""
    if size <= 64:
        return w @ _onehot(group, size)
    order, sums = np.argsort(group, kind="stable"), np.zeros((len(w), size))
    held, starts = np.unique(group[order], return_index=True)
    sums[:, held] = np.add.reduceat(w[:, order], starts, axis=1)
    return sums


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is not NaN; NaN where there is nothing."""
    have = ~np.isnan(values)
    return np.where(have, values, 0).sum(1) / np.where(have.any(1), have.sum(1), np.nan)


def _moments(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Columns whose weighted means give variances and covariance: a, b, a2, b2, ab; (n,) x (n,) -> (n, 5)."""
    a, b = _standard(a), _standard(b)
    return np.stack([a, b, a * a, b * b, a * b], 1)


def _standard(values: np.ndarray) -> np.ndarray:
    if np.ptp(values) == 0:
        return np.zeros(len(values))
    return (values - values.mean()) / values.std()


def _correlation(mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(samples, 5) means of `_moments` -> the second variable's variance and the correlation, NaN where constant."""
    a, b = mean[:, 2] - mean[:, 0] ** 2, mean[:, 3] - mean[:, 1] ** 2
    both = np.where((a > 1e-12) & (b > 1e-12), a * b, np.nan)
    return b, np.clip((mean[:, 4] - mean[:, 0] * mean[:, 1]) / np.sqrt(both), -1, 1)


def _onehot(group: np.ndarray, size: int) -> np.ndarray:
    return (group[:, None] == np.arange(size)).astype(np.float64)


def _pair(answers: np.ndarray, truth: np.ndarray, *, dims: int) -> tuple[np.ndarray, np.ndarray]:
    answers, truth = np.asarray(answers, np.float64), np.asarray(truth)
    if len(truth) == 0:
        raise InputError(
            "there is nothing to score", got="0 rows with a target", fix="give rows whose target is filled"
        )
    if answers.ndim != dims or len(answers) != len(truth):
        raise InputError(
            "answers and truth do not match up",
            got=f"{answers.shape} and {truth.shape}",
            fix=f"give one answer per row, {dims} axes",
        )
    if not np.isfinite(answers).all():
        raise InputError(
            "an answer is not a finite number",
            got=f"{(~np.isfinite(answers)).sum()} of them",
            fix="train again",
        )
    return answers, truth if dims == 2 else truth.astype(np.float64)


def _known(truth: np.ndarray, classes: int) -> np.ndarray:
    if truth.ndim != 1 or truth.max() >= classes:
        raise InputError(
            "a class number has no probability",
            got=truth.max(),
            fix=f"class numbers run from 0 to {classes - 1}",
        )
    return truth.astype(np.int64)
