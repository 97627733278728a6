"""What two modalities say about the target: redundancy, uniqueness and synergy of a fitted model, from held-out rows.

Redundancy and uniqueness depend on p(x1, y) and p(x2, y) alone (arXiv:1311.2852), and a posterior p(y | x1) keeps all
that x1 tells of y. So each head's posterior is grouped into cells, which makes two small tables; `partial` finds the
union information of the two. Synergy is what the joint head knows beyond it. How:

1. Each head is tempered towards the class shares, fitted on one half of the rows and applied to the other, so that
   H(Y) less its cross-entropy is information that the head provably gives on rows it was not fitted on.
2. Cells are quantiles of p(y) for two classes, else k-means under the Kullback-Leibler divergence, which loses the
   least information of all groupings with as many cells.
3. A cell's row of the table is the mean posterior in it, not a count, so that a table has no noise of small counts.
   Then each table is fitted: to the rows per cell, the class shares, and, by one exponent, to exactly the
   information of step 1. It makes up for overconfidence and for what the cells have lost.

All of it is a lower bound: a weak joint head, for one, shows too little synergy. Clusters of the features show too
much; less their null they are a second opinion, too low where a table of counts is thin (many classes, few rows).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sensorium.measure.partial import Atoms, Union, atoms, information, union_information
from sensorium.measure.resample import Score
from sensorium.types import InputError

DRAWS = 100  # bootstrap samples
NULLS = 20  # shuffles of the truth
FEWEST, MOST = 8, 20  # cells per head
WIDTH = 200  # cells x classes per head, at most: the solver's work grows with its cube
ROWS = 100  # fewest rows of all
PER_ENTRY = 1  # fewest rows for each entry of the smallest table, cells x classes
FINE, COARSE = 1e-5, 1e-3  # gaps of the solver in nats: for the figure, for each shuffle of its null
FLOOR = 1e-9  # least probability that a head may give
STEEPEST = 8.0  # bound of exponents
NAMES = ("redundancy", "unique_first", "unique_second", "synergy")


@dataclass(frozen=True, kw_only=True, slots=True)
class Null:
    """What a figure comes to when the truth is shuffled, through the same steps: bits."""

    mean: float
    high: float  # 95 % of the shuffles lie below


@dataclass(frozen=True, kw_only=True, slots=True)
class Interactions:
    """How two modalities share what they say about the target; bits, each with a 95 % interval over rows."""

    redundancy: Score  # either alone tells it
    unique_first: Score  # only the first tells it
    unique_second: Score
    synergy: Score  # only both together tell it: a lower bound, no more than the joint head has learned
    synergy_clustered: Score | None  # a second opinion from clustered features, less its null; None without
    first: Score  # I1, redundancy + unique_first: what the first head is shown to know
    second: Score
    joint: Score  # I12 of the joint head; may be less than I1 where that head is worse than a single one
    entropy: Score  # H(Y), all there is to know
    null: Mapping[str, Null]  # per atom by name, and synergy_clustered where there is one
    rows: int  # rows that were used
    cells: tuple[int, int]  # cells of each head's table
    dominant: str  # name of the largest atom; "" where its interval is not above its null

    def to_json(self) -> dict[str, object]:
        """As plain values."""
        named = (*NAMES, "synergy_clustered", "first", "second", "joint", "entropy")
        found = {k: getattr(self, k).to_json() for k in named if getattr(self, k) is not None}
        null = {k: {"mean": round(v.mean, 5), "high": round(v.high, 5)} for k, v in self.null.items()}
        return {
            **found,
            "null": null,
            "rows": self.rows,
            "cells": list(self.cells),
            "dominant": self.dominant,
        }


def decompose(
    first: np.ndarray,
    second: np.ndarray,
    joint: np.ndarray,
    truth: np.ndarray,
    *,
    prior: np.ndarray | None = None,
    features: tuple[np.ndarray, np.ndarray] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interactions:
    """Decompose what a fitted model's heads know of the target, from rows that it was not fitted on.

    first, second, joint: (n, classes) probabilities p(y | x1), p(y | x2), p(y | x1, x2); truth: (n,) class numbers, -1
    where the class is not one of them (such rows are left out). prior: (classes,) the class shares that the heads'
    answers assume, for instance equal ones where training weighed classes; None: those of the rows. features: two
    arrays (n, d) of encoder outputs, for the second opinion on synergy. draws: bootstrap samples.

    Raises InputError where shapes do not fit, something is no probability, only one class occurs, or there are too few
    rows: under 100, or under 1 per entry of the smallest table (8 cells x the classes that occur).
    """
    heads, truth, features = _checked((first, second, joint), truth, features)
    classes, truth = np.unique(truth, return_inverse=True)
    heads = [np.log(h[:, classes] / h[:, classes].sum(1, keepdims=True)) for h in heads]
    shares = None if prior is None else _shares(np.asarray(prior, np.float64), first.shape[1])[classes]
    rng = np.random.default_rng(seed)
    found = _knowledge(heads, truth, shares, rng)
    value, union = found.decompose(FINE)
    weights = _samples(len(truth), draws, rng)
    drawn = found.resampled(weights, union)
    shuffled = [
        _knowledge(heads, rng.permutation(truth), shares, rng).decompose(COARSE)[0] for _ in range(NULLS)
    ]
    score = {
        k: _score(getattr(value, k), [getattr(d, k) for d in drawn]) for k in (*NAMES, "first", "second")
    }
    null = {k: _null([getattr(s, k) for s in shuffled]) for k in NAMES}
    clustered = None
    if features is not None:
        clustered, null["synergy_clustered"] = _clustered(features, truth, draws, rng)
    top = max(NAMES, key=lambda k: score[k].value)
    return Interactions(
        **score,
        synergy_clustered=clustered,
        joint=_mean(found.gains[2], weights, least=0.0),
        entropy=_mean(-np.log(found.shares)[truth], weights),
        null=null,
        rows=len(truth),
        cells=(len(found.cells[0].ratio), len(found.cells[1].ratio)),
        dominant=top if score[top].low > null[top].high else "",
    )


def binned(values: np.ndarray, bins: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Turn numbers (n,) into classes of about equally many rows: class numbers (n,) and the edges between them.

    Not a number becomes class -1. Edges are rising and each begins its class; equal values stay together, so there may
    be fewer than `bins` classes. Raises InputError where there are not two different numbers, or under two bins.
    """
    values = np.asarray(values, np.float64)
    known = values[np.isfinite(values)]
    if bins < 2 or len(known) == 0 or known.min() == known.max():
        got = f"{bins} bins for {len(np.unique(known))} different numbers"
        raise InputError(
            "there is nothing to tell apart", got=got, fix="give two bins and two different numbers or more"
        )
    cuts = np.unique(np.quantile(known, np.arange(1, bins) / bins, method="higher"))
    cuts = cuts[cuts > known.min()]
    edges = cuts if len(cuts) else np.array([known[known > known.min()].min()])
    return np.where(np.isfinite(values), np.searchsorted(edges, values, side="right"), -1), edges


def posteriors_of_numbers(mean: np.ndarray, truth: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Turn predicted numbers (n,) into the probabilities (n, bins) of the classes that `binned` made.

    Each row has a Gaussian around its predicted number; its spread is the root mean square error of the predictions in
    the other half of the rows, so that no row judges itself. truth (n,) may hold NaN, edges: (bins - 1,).
    """
    mean, truth = np.asarray(mean, np.float64), np.asarray(truth, np.float64)
    if mean.shape != truth.shape or mean.ndim != 1 or not np.isfinite(mean).all():
        got = f"{mean.shape} predictions, {truth.shape} truths"
        raise InputError(
            "there is not one predicted number per row", got=got, fix="give two finite arrays of shape (n,)"
        )
    errors, half = (truth - mean) ** 2, np.arange(len(mean)) % 2 == 0
    if not (np.isfinite(errors[half]).any() and np.isfinite(errors[~half]).any()):
        got = f"{int(np.isfinite(errors).sum())} rows with a truth"
        raise InputError(
            "no error can be measured in one half of the rows", got=got, fix="give more rows with a truth"
        )
    spread = np.where(half, np.sqrt(np.nanmean(errors[~half])), np.sqrt(np.nanmean(errors[half])))
    spread = np.maximum(spread, 1e-9 * (1 + np.abs(mean).max()))
    below = _gaussian((edges[None] - mean[:, None]) / spread[:, None])
    below = np.concatenate([np.zeros((len(mean), 1)), below, np.ones((len(mean), 1))], axis=1)
    return np.maximum(np.diff(below, axis=1), 0.0)


def _gaussian(z: np.ndarray) -> np.ndarray:
    from scipy.special import ndtr

    return ndtr(z)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Cells:
    """One head's cells: which cell a row is in, and how much likelier each class is there than anywhere."""

    of: np.ndarray  # (n,) cell numbers
    ratio: np.ndarray  # (cells, classes) p(y | cell) / p(y)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Knowledge:
    """What the heads know of each row's truth, and the cells of the two single heads."""

    gains: (
        np.ndarray
    )  # (3, n) log p(truth | x) - log p(truth) in nats, held out; the mean over rows is information
    cells: tuple[_Cells, _Cells]
    truth: np.ndarray  # (n,)
    shares: np.ndarray  # (classes,) of the rows

    def decompose(self, gap: float) -> tuple[Atoms, Union | None]:
        """Decompose what all the rows tell; without a solver where one head knows nothing, as then nothing is open."""
        everyone = np.ones((1, len(self.truth)))
        one, two, both = (part[0] for part in self.tables(everyone))
        first, second = information(one), information(two)
        union = union_information(one, two, gap=gap) if min(first, second) > gap else None
        return atoms(first, second, max(first, second) if union is None else union.value, float(both)), union

    def resampled(self, weights: np.ndarray, union: Union | None) -> list[Atoms]:
        """Decompose samples of the rows, given as counts (samples, n).

        The union information of each comes from its slopes in the tables, at the tables of all rows: right to first
        order, and below by as little as a second solution would differ.
        """
        tables = self.tables(weights)
        shares = tables[0].sum(1)
        entropy = -(shares * np.log(np.where(shares > 0, shares, 1))).sum(1)
        found = []
        for one, two, both, least in zip(*tables, entropy, strict=True):
            first, second = information(one), information(two)
            value = max(first, second)
            if union is not None:
                value = least + _along(one, union.a) + _along(two, union.b)
            found.append(atoms(first, second, value, float(both)))
        return found

    def tables(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Make both tables (samples, cells, classes) and the joint head's information in nats (samples,)."""
        shares = _sums(weights, self.truth, len(self.shares)) / len(self.truth)
        known = np.maximum(weights @ self.gains.T / len(self.truth), 0.0)
        one, two = (_tables(c, weights, shares, known[:, i]) for i, c in enumerate(self.cells))
        return one, two, known[:, 2]


def _along(table: np.ndarray, slopes: np.ndarray) -> float:
    return float((table * np.where(np.isfinite(slopes), slopes, 0)).sum())


def _knowledge(
    heads: Sequence[np.ndarray], truth: np.ndarray, prior: np.ndarray | None, rng: np.random.Generator
) -> _Knowledge:
    """Calibrate three heads, given as log probabilities (n, classes), and group the answers of the first two."""
    shares = np.bincount(truth) / len(truth)
    half = _halves(truth, rng)
    logs = [_tempered(h, truth, half, prior) for h in heads]
    row = np.arange(len(truth))
    gains = np.stack([h[row, truth] for h in logs]) - np.log(shares)[truth]
    most = min(MOST, WIDTH // len(shares), len(truth) // (PER_ENTRY * len(shares)))
    cells = [_cells(np.exp(h), shares, max(FEWEST, most), rng) for h in logs[:2]]
    return _Knowledge(gains=gains, cells=(cells[0], cells[1]), truth=truth, shares=shares)


def _halves(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw half of the rows, (n,) bool, with half of each class."""
    order = rng.permutation(len(truth))
    order = order[np.argsort(truth[order], kind="stable")]
    half = np.zeros(len(truth), bool)
    half[order[::2]] = True
    return half


def _tempered(logs: np.ndarray, truth: np.ndarray, half: np.ndarray, prior: np.ndarray | None) -> np.ndarray:
    """Give calibrated log probabilities (n, classes); each half of the rows is fitted on the other."""
    found = np.empty_like(logs)
    for fit, use in ((half, ~half), (~half, half)):
        counts = np.bincount(truth[fit], minlength=logs.shape[1]) + 0.5
        shares = np.log(counts / counts.sum())
        evidence = logs - (shares if prior is None else np.log(prior))
        weight = _weight(evidence[fit], shares, truth[fit])
        found[use] = _log_softmax(shares + weight * evidence[use])
    return found


def _weight(evidence: np.ndarray, shares: np.ndarray, truth: np.ndarray) -> float:
    """How far to trust evidence (n, classes), log p(y | x) / p(y): the exponent 0..8 with the least loss.

    One over the temperature; at 0 the answer is the class shares. Bisection on the slope of the log-likelihood, which
    is concave, plus -(weight - 1)^2 / 2: what about one row says.
    """
    right = evidence[np.arange(len(truth)), truth].sum()
    low, high = 0.0, STEEPEST
    for _ in range(24):
        middle = (low + high) / 2
        p = np.exp(_log_softmax(shares + middle * evidence))
        rising = right - (p * evidence).sum() - (middle - 1) > 0
        low, high = (middle, high) if rising else (low, middle)
    return (low + high) / 2 if low > 0 else 0.0


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def _cells(posterior: np.ndarray, shares: np.ndarray, count: int, rng: np.random.Generator) -> _Cells:
    """Group rows by what a head answers, posterior (n, classes)."""
    if posterior.shape[1] == 2:
        cuts = np.unique(np.quantile(posterior[:, 1], np.arange(1, count) / count))
        of = np.unique(np.searchsorted(cuts, posterior[:, 1], side="right"), return_inverse=True)[1]
    else:
        of = _grouped(posterior, count, _kullback_leibler, rng)
    inside = _sums(posterior.T, of, int(of.max()) + 1).T
    return _Cells(of=of, ratio=inside / inside.sum(1, keepdims=True) / shares)


Divergence = Callable[[np.ndarray, np.ndarray], np.ndarray]  # rows (n, d), centres (k, d) -> (n, k)


def _kullback_leibler(rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    rows, centres = np.maximum(rows, FLOOR), np.maximum(centres, FLOOR)
    return (rows * np.log(rows)).sum(1, keepdims=True) - rows @ np.log(centres).T


def _squared(rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    return (rows**2).sum(1, keepdims=True) - 2 * rows @ centres.T + (centres**2).sum(1)


def _grouped(
    rows: np.ndarray, count: int, divergence: Divergence, rng: np.random.Generator, *, rounds: int = 20
) -> np.ndarray:
    """Group rows (n, d) by k-means with a Bregman divergence, begun with k-means++; numbers (n,) without gaps."""
    centres = rows[rng.integers(len(rows))][None]
    nearest = np.maximum(divergence(rows, centres)[:, 0], 0)
    while len(centres) < count and nearest.sum() > 1e-9 * len(rows):
        new = rows[rng.choice(len(rows), p=nearest / nearest.sum())][None]
        centres = np.concatenate([centres, new])
        nearest = np.minimum(nearest, np.maximum(divergence(rows, new)[:, 0], 0))
    of = divergence(rows, centres).argmin(1)
    for _ in range(rounds):
        of = np.unique(of, return_inverse=True)[1]
        centres = (_sums(rows.T, of, int(of.max()) + 1) / np.bincount(of)).T
        before, of = of, divergence(rows, centres).argmin(1)
        if (of == before).all():
            break
    return np.unique(of, return_inverse=True)[1]


def _sums(weights: np.ndarray, of: np.ndarray, count: int) -> np.ndarray:
    """Sum weights (samples, n) over the rows with each number: (samples, count)."""
    return weights @ (of[:, None] == np.arange(count)).astype(np.float64)


def _tables(cells: _Cells, weights: np.ndarray, shares: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Make tables p(cell, y), (samples, cells, classes), with given class shares and given information in nats.

    The tables u(cell) v(y) ratio^s of an exponent s have rising information in s, from none; where even s = 8 holds
    less than is known, that is taken.
    """
    mass = _sums(weights, cells.of, len(cells.ratio)) / weights.sum(1, keepdims=True)
    logs = np.log(np.maximum(cells.ratio, FLOOR))
    low, high = np.zeros(len(weights)), np.full(len(weights), STEEPEST)
    for _ in range(22):
        middle = (low + high) / 2
        short = _held(_raked(middle, logs, mass, shares)) < known
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    exponent = np.where(known > 0, (low + high) / 2, 0.0)
    return _raked(exponent, logs, mass, shares, rounds=200)


def _raked(
    exponent: np.ndarray, logs: np.ndarray, mass: np.ndarray, shares: np.ndarray, *, rounds: int = 12
) -> np.ndarray:
    """Scale ratio^exponent until rows sum to the cells' mass and, exactly, columns to the class shares."""
    powers = exponent[:, None, None] * logs
    table = np.exp(powers - powers.max(2, keepdims=True)) * mass[:, :, None] * shares[:, None]
    for _ in range(rounds):
        rows = table.sum(2)
        table = table * np.divide(mass, rows, out=np.zeros_like(mass), where=rows > 0)[:, :, None]
        columns = table.sum(1)
        table = table * np.divide(shares, columns, out=np.zeros_like(shares), where=columns > 0)[:, None]
        if np.abs(columns - shares).max() < 1e-10:
            break
    return table


def _held(tables: np.ndarray) -> np.ndarray:
    """Mutual information of each table (samples, cells, classes), in nats."""
    independent = tables.sum(2, keepdims=True) * tables.sum(1, keepdims=True)
    inside = np.where(tables > 0, tables / np.where(independent > 0, independent, 1), 1)
    return (tables * np.log(inside)).sum((1, 2))


def _clustered(
    features: tuple[np.ndarray, np.ndarray], truth: np.ndarray, draws: int, rng: np.random.Generator
) -> tuple[Score, Null]:
    """Estimate synergy from counts of clusters of both modalities' features, less what shuffled truth comes to."""
    count = int(np.clip((len(truth) / 10) ** 0.5, 4, MOST))
    groups = [_grouped(_standard(f), count, _squared, rng) for f in features]
    value, per_row = _pointwise(*groups, truth, FINE)
    shuffled = [_pointwise(*groups, rng.permutation(truth), COARSE)[0] for _ in range(NULLS)]
    null = _null(shuffled)
    drawn = _samples(len(truth), draws, rng) @ per_row / len(truth)
    corrected = np.maximum(np.array([value, *drawn]) - null.mean, 0.0)
    return _score(corrected[0], corrected[1:]), null


def _pointwise(one: np.ndarray, two: np.ndarray, truth: np.ndarray, gap: float) -> tuple[float, np.ndarray]:
    """Synergy of a table of counts, and each row's part in it, both in bits.

    The dual variables of the union information are its slopes in the tables, so the mean of the rows' parts moves as
    the synergy does, to first order.
    """
    counts = np.zeros((one.max() + 1, two.max() + 1, truth.max() + 1))
    np.add.at(counts, (one, two, truth), 1 / len(truth))
    union = union_information(counts.sum(1), counts.sum(0), gap=gap)
    given_both = np.log(counts[one, two, truth] / counts.sum(2)[one, two])
    per_row = (given_both - union.a[one, truth] - union.b[two, truth]) / np.log(2)
    return float(max(0.0, per_row.mean())), per_row


def _standard(features: np.ndarray) -> np.ndarray:
    """Columns of mean zero and spread one; columns that do not vary are dropped to zero."""
    centred = features - features.mean(0)
    spread = centred.std(0)
    return centred / np.where(spread > 1e-12, spread, np.inf)


def _samples(rows: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Draw how often each row stands in each bootstrap sample: (draws, rows)."""
    return np.stack([np.bincount(rng.integers(0, rows, rows), minlength=rows) for _ in range(draws)]).astype(
        float
    )


def _mean(per_row: np.ndarray, weights: np.ndarray, *, least: float = -np.inf) -> Score:
    """Score the mean of nats (n,) in bits."""
    drawn = np.maximum(weights @ per_row / len(per_row), least) / np.log(2)
    return _score(max(float(per_row.mean()), least) / np.log(2), drawn)


def _score(value: float, drawn: Sequence[float] | np.ndarray) -> Score:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Score(value=float(value), low=float(min(low, value)), high=float(max(high, value)))


def _null(values: Sequence[float]) -> Null:
    return Null(mean=float(np.mean(values)), high=float(np.quantile(values, 0.95)))


def _shares(prior: np.ndarray, classes: int) -> np.ndarray:
    if prior.shape != (classes,) or not np.isfinite(prior).all() or (prior <= 0).any():
        fix = "give one positive share per class"
        raise InputError("the prior does not fit the classes", got=prior.tolist(), fix=fix)
    return prior / prior.sum()


def _checked(
    heads: Sequence[np.ndarray], truth: np.ndarray, features: tuple[np.ndarray, np.ndarray] | None
) -> tuple[list[np.ndarray], np.ndarray, tuple[np.ndarray, np.ndarray] | None]:
    """Return the rows whose class is known: probabilities above a floor, class numbers, features."""
    heads = [np.asarray(h, np.float64) for h in heads]
    truth = np.asarray(truth)
    shapes = [h.shape for h in heads]
    if heads[0].ndim != 2 or len(set(shapes)) > 1 or truth.shape != heads[0].shape[:1]:
        fix = "give three arrays (n, classes) and the truth (n,)"
        raise InputError("the heads and the truth do not fit", got=f"{shapes}, {truth.shape}", fix=fix)
    if truth.dtype.kind not in "iu" or truth.max(initial=-1) >= shapes[0][1]:
        got = f"{truth.dtype}, largest {truth.max(initial=-1)}, for {shapes[0][1]} classes"
        raise InputError(
            "the truth is no class number", got=got, fix="give whole numbers below the number of classes"
        )
    known = truth >= 0
    heads, truth = [h[known] for h in heads], truth[known]
    for head in heads:
        if not np.isfinite(head).all() or (head < 0).any() or (np.abs(head.sum(1) - 1) > 1e-3).any():
            fix = "give probabilities: none negative, each row with the sum one"
            raise InputError("a head's answers are no probabilities", got=head[:3].tolist(), fix=fix)
    _enough(truth)
    if features is not None:
        features = _described(features, known)
    return [np.maximum(h, FLOOR) for h in heads], truth.astype(np.int64), features


def _described(features: tuple[np.ndarray, np.ndarray], known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    both = [np.asarray(f, np.float64) for f in features]
    if any(f.ndim != 2 or len(f) != len(known) or not np.isfinite(f).all() for f in both):
        got = [f.shape for f in both]
        raise InputError("the features do not fit the rows", got=got, fix="give two finite arrays (n, d)")
    return both[0][known], both[1][known]


def _enough(truth: np.ndarray) -> None:
    classes = len(np.unique(truth))
    needed = max(ROWS, PER_ENTRY * FEWEST * classes)
    if len(truth) < needed:
        raise InputError(
            f"too few rows to tell interactions from chance: {classes} classes need {needed}",
            got=f"{len(truth)} rows with a known class",
            fix=f"give {needed} held-out rows or more, or fewer classes",
        )
    if classes < 2:
        raise InputError(
            "all rows have the same class",
            got=np.unique(truth).tolist(),
            fix="give rows of two classes or more",
        )
