"""Linear canonical correlations of two or more modalities, in closed form: the baseline that is hard to beat.

Hotelling (1936) for two modalities; for more, the largest sum of correlations under one constraint (Kettenring 1971,
Biometrika 58: MAXVAR and SUMCOR kin), which is one symmetric eigenproblem: each modality is whitened by its own rows,
and block (i, j) holds the cross-covariance of the rows that have both. Blocks of modalities that never meet are zero, so
that modalities which each meet a third are bound through it. Projections are weighed by a power of their correlations
(arXiv:1212.4522) and brought to unit length, so that a dot product says how well two things go together.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from sensorium.measure.retrieval import best_ranks
from sensorium.types import InputError

DIMS = 256  # most components
DENSE = 1024  # up to so many columns in all the whole spectrum is computed, above only its top
SHRINKAGES = (0.003, 0.03, 0.1, 0.3, 0.6)  # tried for each modality
SPARE = 32  # more columns than wanted, for the accuracy of the last ones
DEPTH = 6  # powers of the matrix that are looked at
POWERS = (0.5, 1.0, 1.5, 2.0, 3.0)
HELD = 0.2  # share of the groups that a choice is measured on
MOST_HELD = 500  # groups

Vectors = Mapping[str, np.ndarray]  # modality -> (things, d)
Places = Mapping[str, np.ndarray]  # modality -> (rows,) which of its things a row has, -1 for none


@dataclass(frozen=True, kw_only=True, slots=True)
class Projection:
    """What one modality's vectors are turned by."""

    mean: np.ndarray  # (d,)
    basis: np.ndarray  # (d, k): components of variance one over the training rows
    strength: np.ndarray  # (k,) 0..1: correlation with the modalities that it meets, mean over those


@dataclass(frozen=True, kw_only=True, slots=True)
class Correlations:
    """A fitted space. `vectors` brings any rows of a modality into it."""

    projections: Mapping[str, Projection]
    roots: np.ndarray  # (k,) eigenvalues; with two modalities the canonical correlations, falling
    shrinkage: Mapping[str, float]  # modality -> 0..1
    power: float

    def vectors(self, name: str, x: np.ndarray) -> np.ndarray:
        """(n, d) of the modality `name` -> (n, k) float32 of length one; a row in the very middle is zero."""
        side = self.projections[name]
        found = (np.asarray(x, np.float64) - side.mean) @ side.basis * side.strength**self.power
        length = np.sqrt((found**2).sum(1, keepdims=True))
        return (found / np.where(length > 0, length, 1)).astype(np.float32)

    def packed(self) -> tuple[dict[str, object], dict[str, np.ndarray]]:
        """As (a JSON description, arrays by name), for saving."""
        told = {"names": list(self.projections), "shrinkage": dict(self.shrinkage), "power": self.power}
        arrays = {"roots": self.roots}
        for number, side in enumerate(self.projections.values()):
            arrays |= {f"{number}/{k}": getattr(side, k) for k in Projection.__dataclass_fields__}
        return told, {k: np.array(v, order="C") for k, v in arrays.items()}

    @classmethod
    def unpacked(cls, told: Mapping, arrays: Mapping[str, np.ndarray]) -> "Correlations":
        """What `packed` described."""
        sides = {
            str(name): Projection(**{k: arrays[f"{number}/{k}"] for k in Projection.__dataclass_fields__})
            for number, name in enumerate(told["names"])
        }
        return cls(
            projections=sides, roots=arrays["roots"], shrinkage=dict(told["shrinkage"]), power=float(told["power"])
        )  # fmt: skip


def fit_cca(
    vectors: Vectors, places: Places | None = None, *, shrinkage: float | Mapping[str, float] = 0.01,
    power: float = 1.0, dims: int = DIMS,
) -> Correlations:  # fmt: skip
    """Fit the space of two or more modalities.

    vectors: modality -> (things, d), finite; places: modality -> (rows,) which thing a row has, -1 for none. Without
    places row i of every modality belongs together. A thing that stands in several rows (a picture beside each of its
    captions) is kept once and counted as often.
    shrinkage: from 0 to below 1, one or by modality: the covariance C becomes (1 - s) C + s m I, m its mean eigenvalue,
    and cross-covariances lose as much. Zero is the textbook's and needs more rows than columns. power: of the
    correlations by which components are weighed. dims: most components.
    Raises InputError for fewer than two modalities, vectors that are not finite, a modality that meets no other one, or a
    covariance that cannot be inverted.
    """
    moments = _Moments.of(vectors, _places(vectors, places))
    each = shrinkage if isinstance(shrinkage, Mapping) else dict.fromkeys(moments.mean, shrinkage)
    return _solved(moments, each, power, dims)


def choose_cca(
    vectors: Vectors, places: Places | None = None, *, group: np.ndarray | None = None, dims: int = DIMS,
    shrinkages: Sequence[float] = SHRINKAGES, powers: Sequence[float] = POWERS, seed: int = 0,
) -> Correlations:  # fmt: skip
    """`fit_cca` with shrinkage, one for each modality, and power chosen on training rows that are held out.

    group: (rows,) which rows belong together; a group is held out as a whole, and a right answer is one of the group.
    The choice has the lowest mean logarithm of the rank of the best right answer among the held-out things, over all
    pairs of modalities that meet, both ways. Shrinkage is searched modality by modality, from the middle. The space is
    then fitted on all rows. Where fewer than eight groups have two modalities, or a modality would meet no other one
    without those held out, nothing can be chosen: the strongest shrinkage and power one are taken. Raises InputError as
    `fit_cca`.
    """
    places = _places(vectors, places)
    rows = len(next(iter(places.values())))
    group = np.arange(rows) if group is None else group
    held = _held_out(places, group, seed)
    middle = sorted(shrinkages)[len(shrinkages) // 2]
    kept = {n: p[~held] for n, p in places.items()}
    check = _Check.of(vectors, {n: p[held] for n, p in places.items()}, group[held])
    if not check.pairs or any(lonely(kept)):
        return fit_cca(vectors, places, shrinkage=max(shrinkages), dims=dims)
    moments = _Moments.of(vectors, kept)
    best = _solved(moments, dict.fromkeys(moments.mean, middle), powers[0], dims)
    cost, best = _best_power(best, check, powers)
    for name in moments.mean:
        for value in shrinkages:
            if value != middle:
                tried = _solved(moments, {**best.shrinkage, name: value}, best.power, dims)
                found, tried = _best_power(tried, check, powers)
                cost, best = (found, tried) if found < cost else (cost, best)
    return fit_cca(vectors, places, shrinkage=best.shrinkage, power=best.power, dims=dims)


def lonely(places: Places) -> list[str]:
    """Modalities that no row has beside another one."""
    here = np.stack([p >= 0 for p in places.values()])
    return [name for name, own in zip(places, here, strict=True) if not (here.sum(0)[own] > 1).any()]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Moments:
    """First and second moments of every modality, and between those that meet."""

    mean: Mapping[str, np.ndarray]  # (d,)
    own: Mapping[str, np.ndarray]  # (d, d)
    cross: Mapping[tuple[str, str], np.ndarray]  # (d, d') for each pair that some row has

    @classmethod
    def of(cls, vectors: Vectors, places: Places) -> "_Moments":
        mean, own, cross = {}, {}, {}
        if alone := lonely(places):
            raise InputError(
                "a modality never stands beside another one",
                got=alone,
                fix="give rows that have both, or leave it out",
            )
        for name, x in vectors.items():
            often = np.bincount(places[name][places[name] >= 0], minlength=len(x)).astype(np.float64)
            mean[name] = often @ x / often.sum()
            centred = (x - mean[name]) * np.sqrt(often / often.sum())[:, None]
            own[name] = centred.T @ centred
        for a, b in combinations(vectors, 2):
            both = (places[a] >= 0) & (places[b] >= 0)
            if both.any():
                cross[a, b] = _cross(vectors[a], vectors[b], places[a][both], places[b][both])
        return cls(mean=mean, own=own, cross=cross)


def _cross(a: np.ndarray, b: np.ndarray, at: np.ndarray, to: np.ndarray) -> np.ndarray:
    """Cross-covariance over rows that pair thing `at` of a with thing `to` of b, (d, d')."""
    from scipy.sparse import csr_matrix

    meets = csr_matrix((np.full(len(at), 1 / len(at)), (at, to)), shape=(len(a), len(b)))
    first, second = np.asarray(meets.sum(1)).ravel() @ a, np.asarray(meets.sum(0)).ravel() @ b
    return a.T @ (meets @ b) - np.outer(first, second)


def _solved(moments: _Moments, shrinkage: Mapping[str, float], power: float, dims: int) -> Correlations:
    """Whiten, find the leading eigenvectors of the blocks, and turn them back."""
    roots = {name: _root(name, own, shrinkage[name]) for name, own in moments.own.items()}
    blocks = {(a, b): _whitened(c, roots[a], roots[b]) for (a, b), c in moments.cross.items()}
    widths = {name: len(mean) for name, mean in moments.mean.items()}
    value, vector = _leading(blocks, widths, dims)
    parts = dict(zip(widths, np.split(vector, np.cumsum(list(widths.values()))[:-1]), strict=True))
    parts = {n: p / np.maximum(np.sqrt((p**2).sum(0)), 1e-12) for n, p in parts.items()}
    sides = {
        name: Projection(
            mean=moments.mean[name], basis=_solve(roots[name].T, part, lower=False),
            strength=_strength(name, parts, blocks),
        )
        for name, part in parts.items()
    }  # fmt: skip
    return Correlations(projections=sides, roots=value, shrinkage=dict(shrinkage), power=power)


def _root(name: str, own: np.ndarray, shrinkage: float) -> np.ndarray:
    """Lower Cholesky factor of a shrunk covariance."""
    ready = own.copy()  # (1 - s) C + s m I, but for the factor 1 - s, which the cross-covariances share
    mean = np.trace(own) / len(own) or 1.0  # a modality that never varies gets vectors of zero
    ready[np.diag_indices(len(own))] += shrinkage / (1 - shrinkage) * mean
    try:
        return np.linalg.cholesky(ready)
    except np.linalg.LinAlgError as error:
        raise InputError(
            "the columns of a modality depend on each other",
            got=f"{name}: {len(own)} columns, shrinkage {shrinkage}",
            fix="give a shrinkage above zero, or fewer columns",
        ) from error


def _solve(factor: np.ndarray, right: np.ndarray, *, lower: bool = True) -> np.ndarray:
    from scipy.linalg import solve_triangular

    return solve_triangular(factor, right, lower=lower, check_finite=False)


def _whitened(cross: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return _solve(second, _solve(first, cross).T).T


def _leading(
    blocks: Mapping[tuple[str, str], np.ndarray], widths: Mapping[str, int], dims: int
) -> tuple[np.ndarray, np.ndarray]:
    """Largest positive eigenvalues of the symmetric matrix of the blocks, (k,), and their vectors, (all, k)."""
    from scipy.linalg import eigh

    total, begin = sum(widths.values()), 0
    place = {}
    for name, width in widths.items():
        place[name] = slice(begin, begin + width)
        begin += width
    most = min(dims, total - max(widths.values()))

    def times(x: np.ndarray) -> np.ndarray:
        out = np.zeros((total, x.shape[1]))
        for (a, b), block in blocks.items():
            out[place[a]] += block @ x[place[b]]
            out[place[b]] += block.T @ x[place[a]]
        return out

    if total <= DENSE:
        value, vector = eigh(times(np.eye(total)), subset_by_index=(total - most, total - 1))
    else:
        space = _subspace(times, total, most + SPARE)
        value, turned = np.linalg.eigh(space.T @ times(space))
        value, vector = value[-most:], space @ turned[:, -most:]
    order = np.argsort(-value, kind="stable")
    order = order[value[order] > 1e-9]
    vector = vector[:, order]
    turn = np.sign(vector[np.abs(vector).argmax(0), np.arange(len(order))])
    return value[order], vector * turn


def _subspace(times: Callable[[np.ndarray], np.ndarray], total: int, width: int) -> np.ndarray:
    """Orthonormal (total, m) that holds the leading eigenvectors: block Krylov (arXiv:1504.05477, algorithm 2)."""
    block = np.linalg.qr(np.random.default_rng(0).normal(size=(total, width)))[0]
    blocks = [block]
    while len(blocks) < DEPTH and (len(blocks) + 1) * width <= total:
        block = times(block)
        for _ in range(2):  # once leaves rounding errors
            for other in blocks:
                block -= other @ (other.T @ block)
        block = np.linalg.qr(block)[0]
        blocks.append(block)
    return np.linalg.qr(np.concatenate(blocks, 1))[0]


def _strength(
    name: str, parts: Mapping[str, np.ndarray], blocks: Mapping[tuple[str, str], np.ndarray]
) -> np.ndarray:
    """Mean correlation of a modality's components with those of the modalities that it meets, (k,) 0..1."""
    met = [(parts[a] * (block @ parts[b])).sum(0) for (a, b), block in blocks.items() if name in (a, b)]
    return np.clip(np.mean(met, axis=0), 0, 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Check:
    """Held-out things: their vectors and groups, and which modalities are compared."""

    vectors: Vectors
    group: Mapping[str, np.ndarray]
    pairs: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, vectors: Vectors, places: Places, group: np.ndarray) -> "_Check":
        some, groups = {}, {}
        for name, place in places.items():
            things, first = np.unique(place, return_index=True)
            some[name], groups[name] = vectors[name][things[things >= 0]], group[first[things >= 0]]
        pairs = tuple(
            (a, b) for a, b in combinations(vectors, 2) if np.intersect1d(groups[a], groups[b]).size > 1
        )
        return cls(vectors=some, group=groups, pairs=pairs)

    def cost(self, space: Correlations) -> float:
        """Mean logarithm of the ranks of the best right answers, over both directions of all pairs."""
        ready = {name: space.vectors(name, x) for name, x in self.vectors.items() if len(x)}
        costs = []
        for a, b in (*self.pairs, *((b, a) for a, b in self.pairs)):
            asked = np.isin(self.group[a], self.group[b])
            ranks = best_ranks(ready[a][asked], ready[b], self.group[a][asked], self.group[b])
            costs.append(np.log(ranks).mean())
        return float(np.mean(costs))


def _best_power(space: Correlations, check: _Check, powers: Sequence[float]) -> tuple[float, Correlations]:
    tried = [replace(space, power=p) for p in powers]
    costs = [check.cost(s) for s in tried]
    return min(costs), tried[int(np.argmin(costs))]


def _held_out(places: Places, group: np.ndarray, seed: int) -> np.ndarray:
    """Which rows a choice is measured on, (rows,) bool; none where too few groups have two modalities."""
    pair = np.stack([p >= 0 for p in places.values()]).sum(0) > 1
    useful = np.unique(group[pair])
    count = min(MOST_HELD, round(HELD * len(useful)))
    if len(useful) < 8:
        return np.zeros(len(group), bool)
    return np.isin(group, np.random.default_rng(seed).permutation(useful)[:count])


def _places(vectors: Vectors, places: Places | None) -> dict[str, np.ndarray]:
    """Check what was given; without places row i of every modality belongs together."""
    shapes = {n: x.shape for n, x in vectors.items()}
    if len(vectors) < 2:
        raise InputError("correlations need two modalities", got=list(vectors), fix="give two or more")
    if any(len(s) != 2 or not s[1] for s in shapes.values()):
        raise InputError(
            "vectors are no (n, d) arrays", got=shapes, fix="one row per thing, at least one column"
        )
    bad = [n for n, x in vectors.items() if not np.isfinite(x).all()]
    if bad:
        raise InputError("a vector holds what is no number", got=bad, fix="fill holes first")
    if places is None:
        if len({s[0] for s in shapes.values()}) > 1:
            raise InputError(
                "modalities differ in their rows", got=shapes, fix="say by `places` which belong together"
            )
        return {n: np.arange(len(x)) for n, x in vectors.items()}
    given = {n: np.asarray(places[n]) for n in vectors if n in places}
    sizes = {n: (len(p), int(p.max(initial=-1))) for n, p in given.items()}
    if len(given) < len(vectors) or len({rows for rows, _ in sizes.values()}) > 1:
        raise InputError(
            "places differ in their rows", got=sizes, fix="give one number per row for every modality"
        )
    if any(top >= len(vectors[n]) for n, (_, top) in sizes.items()):
        raise InputError(
            "a row names a thing that is not there", got=sizes, fix="numbers from 0, -1 for none"
        )
    return given
