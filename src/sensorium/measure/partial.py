"""What two sources say about a target: shared, one's own, or only together.

The partial information decomposition of Bertschinger, Rauh, Olbrich, Jost and Ay (arXiv:1311.2852, "BROJA"). Among all
tables q(x1, x2, y) that keep p(x1, y) and p(x2, y), the one with the least information I_q(X1 X2; Y) has no synergy.
That least value I* is the union information, and redundancy = I1 + I2 - I*, unique = I* - the other source's
information, synergy = I(X1 X2; Y) - I*.

I* is found from its dual, a concave problem in one number per (x1, y) and one per (x2, y):

    maximise  sum p(x1, y) a(x1, y) + sum p(x2, y) b(x2, y)
    where     sum_y exp(a(x1, y) + b(x2, y)) <= 1   for every x1, x2

(the conic dual, arXiv:1709.06653, reduced). Newton steps along its logarithmic barrier take some thirty small linear
systems; the primal table that comes with every centre proves how far from the optimum the value can still be.
"""

from dataclasses import dataclass

import numpy as np

from sensorium.types import InputError

GAP = 1e-6  # largest proven distance from the optimum, in nats
COLDER = 0.05  # factor of the barrier's weight from one centre to the next
STEPS = 60  # most Newton steps per centre
TINY = 1e-14  # probabilities below this are taken as zero


@dataclass(frozen=True, kw_only=True, slots=True)
class Atoms:
    """The four parts of I(X1 X2; Y), in bits; none is negative."""

    redundancy: float  # either source alone would tell it
    unique_first: float  # only the first source tells it
    unique_second: float
    synergy: float  # only both together tell it

    @property
    def first(self) -> float:
        """I(X1; Y) in bits."""
        return self.redundancy + self.unique_first

    @property
    def second(self) -> float:
        """I(X2; Y) in bits."""
        return self.redundancy + self.unique_second

    @property
    def both(self) -> float:
        """I(X1 X2; Y) in bits."""
        return self.redundancy + self.unique_first + self.unique_second + self.synergy


@dataclass(frozen=True, kw_only=True, slots=True)
class Union:
    """The least information that two sources with the given tables can hold together, in nats."""

    value: float  # I*, between the proven bounds `value` - `gap` and `value`
    gap: float
    a: np.ndarray  # (x1, y) dual variable: how I* moves with p(x1, y); -inf where p(x1, y) is zero
    b: np.ndarray  # (x2, y)


def decompose_table(joint: np.ndarray) -> Atoms:
    """Decompose an exact table p(x1, x2, y), shape (a, b, y), into four atoms in bits.

    The table is divided by its sum, so counts will do (without any correction for being a sample). Raises InputError
    where it has not three axes, is empty, sums to zero, or holds a negative or non-finite number.
    """
    p = _checked(joint)
    first, second = information(p.sum(1)), information(p.sum(0))
    both = information(p.reshape(-1, p.shape[2]))
    union = union_information(p.sum(1), p.sum(0)).value
    return atoms(first, second, union, both)


def atoms(first: float, second: float, union: float, both: float) -> Atoms:
    """Turn I1, I2, I* and I12 in nats into atoms in bits.

    I* is brought inside its true bounds max(I1, I2) <= I* <= I1 + I2, which rounding may leave; where the estimate of
    I12 is below I*, the synergy is zero.
    """
    union = min(max(union, first, second), first + second)
    parts = (first + second - union, union - second, union - first, max(0.0, both - union))
    r, u1, u2, s = (max(0.0, float(v / np.log(2))) for v in parts)
    return Atoms(redundancy=r, unique_first=u1, unique_second=u2, synergy=s)


def information(table: np.ndarray) -> float:
    """Mutual information in nats between the axes of a table p(x, y), shape (x, y), that sums to one."""
    independent = table.sum(1, keepdims=True) * table.sum(0, keepdims=True)
    some = table > 0
    return float((table[some] * np.log(table[some] / independent[some])).sum())


def union_information(first: np.ndarray, second: np.ndarray, *, gap: float = GAP) -> Union:
    """Find I*, the least I_q(X1 X2; Y) over the tables q that have the marginals p(x1, y) and p(x2, y).

    first: (x1, y) and second: (x2, y), each summing to one, with equal sums over x for every y. gap: nats. The answer
    says how far it is proven to be from the optimum; that is at most `gap` but for tables at the limits of rounding.
    """
    seen = first.sum(0) > TINY  # classes without mass have nothing to say
    dual = _Dual.over(first[:, seen], second[:, seen])
    point, weight, last = dual.begin(), 1 / dual.pairs, gap / dual.pairs
    while weight > last:
        point = dual.centre(point, weight, near=0.3)
        weight *= COLDER
    point = dual.centre(point, last, near=1e-9)
    value, missing = dual.proof(point, last)
    a, b = (np.full(t.shape, -np.inf) for t in (first, second))
    a[:, seen], b[:, seen] = point
    entropy = -float((dual.classes * np.log(dual.classes)).sum())
    return Union(value=value + entropy, gap=missing, a=a, b=b)


def _checked(joint: np.ndarray) -> np.ndarray:
    fix = "give p(x1, x2, y) or counts as an array with three axes: first source, second source, target"
    table = np.asarray(joint)
    if table.ndim != 3 or table.size == 0:
        raise InputError("a decomposition needs a table with three axes", got=table.shape, fix=fix)
    if not (np.issubdtype(table.dtype, np.number) or table.dtype == bool) or np.iscomplexobj(table):
        raise InputError("the table holds something that is no real number", got=table.dtype, fix=fix)
    table = table.astype(np.float64)
    if not np.isfinite(table).all() or (table < 0).any():
        wrong = table[~np.isfinite(table) | (table < 0)][:5]
        raise InputError("a probability is negative or not finite", got=wrong.tolist(), fix=fix)
    if table.sum() <= 0:
        raise InputError("the table sums to zero", got=table.shape, fix=fix)
    return table / table.sum()


Point = tuple[np.ndarray, np.ndarray]  # a (x1, y), b (x2, y)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Dual:
    """The dual problem over tables first (A, Y) and second (B, Y), and its barrier.

    The barrier's optimum at a weight w has q(x1, x2, y) = w exp(a + b) / (1 - sum_y exp(a + b)) with exactly the
    marginals asked for, and lies at most w * A * B below the dual optimum.
    """

    first: np.ndarray
    second: np.ndarray
    classes: np.ndarray  # (Y,) their shared p(y)
    free: (
        np.ndarray
    )  # (A * Y + B * Y,) which variables move; one per class is held, as a + c, b - c is the same

    @classmethod
    def over(cls, first: np.ndarray, second: np.ndarray) -> "_Dual":
        some = np.concatenate([(first > TINY).ravel(), (second > TINY).ravel()])
        held = first.argmax(0) * first.shape[1] + np.arange(first.shape[1])
        some[held] = False
        return cls(first=first, second=second, classes=first.sum(0), free=some)

    @property
    def pairs(self) -> int:
        return len(self.first) * len(self.second)

    def begin(self) -> Point:
        """Give a strictly feasible point: every sum is at most a half.

        The answer for a table nearby would be no better start: it lies too close to the walls to move on from.
        """
        middle = (np.log(self.classes) - np.log(2)) / 2
        a, b = (np.where(t > TINY, middle, -np.inf) for t in (self.first, self.second))
        return a, b

    def objective(self, point: Point, weight: float) -> float:
        """The barrier's function, to be made small; infinite outside the feasible set."""
        inside = 1 - _exp(point).sum(2)
        if inside.min() <= 0:
            return np.inf
        return -self.value(point) - weight * float(np.log(inside).sum())

    def value(self, point: Point) -> float:
        return sum(float((t[t > TINY] * x[t > TINY]).sum()) for t, x in zip(self.tables, point, strict=True))

    @property
    def tables(self) -> Point:
        return self.first, self.second

    def centre(self, point: Point, weight: float, *, near: float) -> Point:
        """Follow Newton steps to the barrier's optimum at this weight, until their length is `near` to none."""
        for _ in range(STEPS):
            step, decrement = self.newton(point, weight)
            if decrement <= weight * near:
                break
            now, size = self.objective(point, weight), 1.0
            while size > 1e-10:
                moved = (point[0] + size * step[0], point[1] + size * step[1])
                if self.objective(moved, weight) <= now - 0.1 * size * decrement:
                    break
                size /= 2
            else:
                break  # rounding: no step makes it smaller
            point = moved
        return point

    def newton(self, point: Point, weight: float) -> tuple[Point, float]:
        """Solve for the step and its squared length in the barrier's own metric."""
        (rows, classes), columns = self.first.shape, len(self.second)
        e = _exp(point)
        w = e / (1 - e.sum(2, keepdims=True))
        cut, size = rows * classes, (rows + columns) * classes
        h = np.zeros((size, size))
        _blocks(h[:cut, :cut], w.transpose(0, 2, 1) @ w, w.sum(1))
        wt = w.transpose(1, 2, 0)
        _blocks(h[cut:, cut:], wt @ wt.transpose(0, 2, 1), w.sum(0))
        cross = w.transpose(0, 2, 1)[:, :, :, None] * w[:, None, :, :]
        y = np.arange(classes)
        cross[:, y, :, y] += w.transpose(2, 0, 1)
        h[:cut, cut:] = cross.reshape(cut, columns * classes)
        h[cut:, :cut] = h[:cut, cut:].T
        slope = np.concatenate(
            [(self.first - weight * w.sum(1)).ravel(), (self.second - weight * w.sum(0)).ravel()]
        )[self.free]
        h = h[np.ix_(self.free, self.free)]
        scale = 1 / np.sqrt(np.maximum(h.diagonal(), 1e-300))
        h *= scale[:, None] * scale
        h.flat[:: len(h) + 1] += 1e-12
        move = scale * np.linalg.solve(h, scale * slope) / weight
        full = np.zeros(size)
        full[self.free] = move
        return (full[:cut].reshape(rows, classes), full[cut:].reshape(columns, classes)), float(move @ slope)

    def proof(self, point: Point, weight: float) -> tuple[float, float]:
        """Give sum q log q(y | x1, x2) of the primal table that comes with a centre, and its excess over the dual."""
        e = _exp(point)
        q = _fitted(weight * e / (1 - e.sum(2, keepdims=True)), self.first, self.second)
        pair, some = np.broadcast_to(q.sum(2, keepdims=True), q.shape), q > 0
        value = float((q[some] * np.log(q[some] / pair[some])).sum())
        return value, value - self.value(point)


def _exp(point: Point) -> np.ndarray:
    """exp(a + b), (A, B, Y); far outside the feasible set it stays finite."""
    return np.exp(np.minimum(point[0][:, None] + point[1][None], 50.0))


def _blocks(into: np.ndarray, dense: np.ndarray, diagonal: np.ndarray) -> None:
    """Write (n, y, y) blocks, each plus its own diagonal (n, y), along the diagonal of a matrix."""
    y = diagonal.shape[1]
    own = np.arange(y)
    for i, block in enumerate(dense):
        here = into[i * y : (i + 1) * y, i * y : (i + 1) * y]
        here[...] = block
        here[own, own] += diagonal[i]


def _fitted(q: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Scale a table (A, B, Y) until it has both marginals (Sinkhorn); it has them nearly already."""
    for _ in range(500):
        q = q * _ratio(first, q.sum(1))[:, None]
        q = q * _ratio(second, q.sum(0))[None]
        if np.abs(q.sum(1) - first).max() < 1e-13:
            break
    return q


def _ratio(wanted: np.ndarray, held: np.ndarray) -> np.ndarray:
    return np.divide(wanted, held, out=np.zeros_like(wanted), where=held > 0)
