"""How much each modality adds: exact Shapley values and pairwise interaction indices.

A modality's Shapley value is what it adds to a subset of the others, averaged over all orders in which modalities can
join (Shapley 1953). The interaction index of two is what they add together beyond what each adds without the other,
averaged alike (Grabisch & Roubens 1999). Values are given per row, so every index is a mean over rows, and its interval
comes from a bootstrap over rows.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import factorial

import numpy as np

from sensorium.measure.resample import Score, scored
from sensorium.types import InputError

MOST = 8  # modalities up to which every subset is evaluated: 256 of them

Subset = tuple[str, ...]
Values = Mapping[Subset, np.ndarray]


@dataclass(frozen=True, kw_only=True, slots=True)
class SampledScore:
    """A Shapley value from some of the orders: interval over rows, and the error that more orders would remove."""

    score: Score  # the bootstrap over rows, for the orders that were drawn
    error: float  # standard error of `score.value` over the drawn pairs of orders


def shapley(values: Values, names: Sequence[str], *, seed: int = 0) -> dict[str, Score]:
    """Compute each modality's exact Shapley value, with 95 % intervals by bootstrap over rows.

    values: what the model is worth on every row with only the modalities of a subset, (n,) per subset of `names` in any
    order, () included; for instance log2 of the probability of the truth (then the answers are bits), or 0/1 for
    wrong/right. The values add up to the mean of values[names] - values[()]. Raises InputError where a subset is
    missing, rows differ in number, a value is not finite, or there are over 8 names.
    """
    rows = _by_members(values, names)
    return _means({name: effects(rows, names, (name,)) for name in names}, seed)


def interaction_indices(
    values: Values, names: Sequence[str], *, seed: int = 0
) -> dict[tuple[str, str], Score]:
    """Compute the interaction index of every pair of modalities, with 95 % intervals; takes what `shapley` takes.

    Above zero: together they are worth more than apart (synergy). Below: what they say overlaps (redundancy).
    """
    rows = _by_members(values, names)
    return _means({pair: effects(rows, names, pair) for pair in combinations(names, 2)}, seed)


def sampled_shapley(
    value: Callable[[Subset], np.ndarray], names: Sequence[str], *, permutations: int, seed: int = 0
) -> dict[str, SampledScore]:
    """Estimate Shapley values from orders drawn at random, for more modalities than can be enumerated.

    value: subset of `names`, in their order -> (n,) row-wise values; asked once per subset. permutations: orders drawn,
    half of them at random and each followed by its reverse, which removes much of the noise (antithetic sampling,
    arXiv:2104.12199); an odd number is rounded up, and at least 4. The values add up as the exact ones do.
    """
    _check_names(names)
    if permutations < 4:
        raise InputError(
            "too few orders to tell their error", got=permutations, fix="permutations=100 or more"
        )
    rng, known, pairs = np.random.default_rng(seed), {}, (permutations + 1) // 2

    def worth(members: frozenset[str]) -> np.ndarray:
        if members not in known:
            known[members] = _row(value(tuple(n for n in names if n in members)), members)
        return known[members]

    total, means = dict.fromkeys(names, 0.0), {name: [] for name in names}
    for _ in range(pairs):
        order = [names[i] for i in rng.permutation(len(names))]
        there, back = _joining(worth, order), _joining(worth, order[::-1])
        for name in names:
            added = (there[name] + back[name]) / 2
            total[name] = total[name] + added
            means[name].append(added.mean())
    score = _means({name: rows / pairs for name, rows in total.items()}, seed)
    error = {name: float(np.std(m, ddof=1) / pairs**0.5) for name, m in means.items()}
    return {name: SampledScore(score=score[name], error=error[name]) for name in names}


def _joining(worth: Callable[[frozenset[str]], np.ndarray], order: Sequence[str]) -> dict[str, np.ndarray]:
    """What each modality adds, row by row, as they join in this order."""
    steps = [worth(frozenset(order[:i])) for i in range(len(order) + 1)]
    return {name: after - before for name, before, after in zip(order, steps[:-1], steps[1:], strict=True)}


def effects(rows: Mapping[frozenset[str], np.ndarray], names: Sequence[str], who: Subset) -> np.ndarray:
    """Average, over the subsets S of the others, the joint effect of `who` on S: alternating sums over parts of `who`.

    rows: every subset of `names` -> values of any one shape, which the result has, too. One modality in `who` gives its
    Shapley value (Shapley 1953), two their interaction index (Grabisch & Roubens 1999), elementwise.
    """
    others, players = [n for n in names if n not in who], len(names) - len(who) + 1
    total = 0.0
    for size in range(len(others) + 1):
        weight = factorial(size) * factorial(players - size - 1) / factorial(players)
        for subset in combinations(others, size):
            for count in range(len(who) + 1):
                sign = (-1) ** (len(who) - count)
                for part in combinations(who, count):
                    total = total + sign * weight * rows[frozenset(subset + part)]
    return total


def _means(per_row: Mapping, seed: int) -> dict:
    """Score the mean of each key's values (n,), all on the same bootstrap samples."""
    table = np.stack(list(per_row.values()), axis=1)
    figures = [str(i) for i in range(len(per_row))]

    def measure(weights: np.ndarray) -> dict[str, np.ndarray]:
        means = weights @ table / weights.sum(1, keepdims=True)
        return dict(zip(figures, means.T, strict=True))

    found = scored(measure, len(table), seed=seed)
    return {key: found[figure] for key, figure in zip(per_row, figures, strict=True)}


def _by_members(values: Values, names: Sequence[str]) -> dict[frozenset[str], np.ndarray]:
    _check_names(names)
    if len(names) > MOST:
        raise InputError(
            f"{len(names)} modalities have {2 ** len(names)} subsets",
            got=list(names),
            fix=f"up to {MOST} are enumerated; above, use sampled_shapley",
        )
    rows = {frozenset(k): _row(v, k) for k, v in values.items()}
    missing = [s for s in _subsets(names) if frozenset(s) not in rows]
    if missing:
        fix = f"give the values of all {2 ** len(names)} subsets of the modalities, () included"
        raise InputError("a subset has no values", got=f"none for {missing[:5]}", fix=fix)
    rows = {frozenset(s): rows[frozenset(s)] for s in _subsets(names)}
    if len({len(v) for v in rows.values()}) > 1:
        got = {tuple(sorted(k)): len(v) for k, v in rows.items()}
        raise InputError(
            "the subsets differ in their number of rows", got=got, fix="use the same rows for all"
        )
    return rows


def _check_names(names: Sequence[str]) -> None:
    if isinstance(names, str) or len(names) == 0 or len(set(names)) < len(names):
        fix = "give a list of at least one name, each once"
        raise InputError("the modalities have no proper names", got=names, fix=fix)


def _row(values: np.ndarray, members: Iterable[str]) -> np.ndarray:
    row = np.asarray(values, np.float64)
    if row.ndim != 1 or len(row) == 0 or not np.isfinite(row).all():
        raise InputError(
            f"the values of {tuple(sorted(members))} are not one finite number per row",
            got=f"shape {row.shape}, {int((~np.isfinite(row)).sum())} not finite",
            fix="give shape (n,); keep log probabilities finite by a floor such as 1e-6",
        )
    return row


def _subsets(names: Sequence[str]) -> list[Subset]:
    return [s for size in range(len(names) + 1) for s in combinations(names, size)]
