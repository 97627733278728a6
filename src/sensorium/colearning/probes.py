"""Linear probes on vectors: what everything here that learns from few rows is made of.

Logistic regression with a Gaussian prior on its weights of a fixed strength: few rows leave none to tune it on.
"""

from dataclasses import dataclass

import numpy as np

from sensorium.types import InputError

SCALE = 10.0  # spread of the logits of vectors of unit length, before any row was seen
LIFT = 0.1  # decay of the intercepts: classes may differ in frequency by factors of ten and more
STEPS = 500  # of L-BFGS; the loss has one minimum


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """A linear classifier of vectors, as arrays that can be saved."""

    weights: np.ndarray  # (classes, d)
    centre: np.ndarray  # (d,) taken off the vectors first: the mean of their modality, or zeros
    start: np.ndarray  # (classes,) intercepts

    def answer(self, vectors: np.ndarray) -> np.ndarray:
        """Log-probabilities (n, classes) of vectors (n, d); a row of zeros holds nothing and gets the intercepts'.

        Raises InputError for vectors of another width or with numbers that are not finite.
        """
        x = checked(vectors, width=self.weights.shape[1])
        logits = np.where(held(x)[:, None], (x - self.centre) @ self.weights.T, 0.0) + self.start
        return log_softmax(logits)


def held(vectors: np.ndarray) -> np.ndarray:
    """Which rows hold a vector at all, (n,) bool: what a row lacks is all zeros."""
    return (vectors != 0).any(1)


def units(vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., d) at length one; zeros stay zeros."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length > 0, length, 1.0)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Logits (n, classes) -> log-probabilities."""
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def checked(vectors: np.ndarray, *, width: int | None = None) -> np.ndarray:
    """Vectors as (n, d) float64. Raises InputError for another shape or width and for numbers that are not finite."""
    x = np.asarray(vectors, np.float64)
    if x.ndim != 2 or (width is not None and x.shape[1] != width):
        raise InputError(
            "vectors are rows of numbers of one space",
            got=x.shape,
            fix=f"give (rows, {'width' if width is None else width})",
        )
    if not np.isfinite(x).all():
        raise InputError(
            "a vector is not finite", got=np.argwhere(~np.isfinite(x))[0].tolist(), fix="leave the row out"
        )
    return x


def numbered(labels: np.ndarray, *, rows: int, classes: int) -> np.ndarray:
    """Class numbers (rows,) as int64, -1 for rows without one. Raises InputError for other numbers."""
    found = np.asarray(labels)
    whole = found.shape == (rows,) and (rows == 0 or np.issubdtype(found.dtype, np.integer))
    if not whole or (rows and not -1 <= found.min() <= found.max() < classes):
        raise InputError(
            "labels are one class number for each row",
            got=found.tolist(),
            fix=f"{rows} of 0..{classes - 1}, -1 for none",
        )
    return found.astype(np.int64)


def solve(
    x: np.ndarray, labels: np.ndarray, *, classes: int, decay: np.ndarray, weight: np.ndarray | None = None
) -> np.ndarray:
    """Weights (classes, d) with the least of sum_i weight_i CE(x_i W^T, label_i) + sum_j decay_j |W_j|^2 / 2.

    x: (n, d); labels: (n,) of 0..classes-1; decay: (d,) the prior's precision of each column, above zero; weight: (n,),
    ones where not given. The loss is strictly convex: what is found depends on nothing else.
    """
    from scipy.optimize import minimize

    target = np.eye(classes)[labels]
    each = np.ones(len(x)) if weight is None else weight

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(classes, -1)
        said = log_softmax(x @ weights.T)
        cost = -float(each @ (target * said).sum(1)) + float((decay * weights**2).sum()) / 2
        gap = (np.exp(said) - target) * each[:, None]
        return cost, (gap.T @ x + decay * weights).ravel()

    start = np.zeros(classes * x.shape[1])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": STEPS, "gtol": 1e-6})
    return found.x.reshape(classes, -1)


def fit_probe(
    vectors: np.ndarray, labels: np.ndarray, *, classes: int, centre: np.ndarray, scale: float = SCALE,
) -> Probe:  # fmt: skip
    """A probe with intercepts from vectors (n, d) alone; labels (n,), -1 for rows that are left out, as rows of zeros are.

    centre: (d,) is taken off. What is left is brought to a mean squared length of one, and the weights have the prior
    N(0, scale^2 / d). Raises InputError for shapes that do not fit and for no labelled row.
    """
    x = checked(vectors)
    y = numbered(labels, rows=len(x), classes=classes)
    rows = np.flatnonzero((y >= 0) & held(x))
    if not len(rows):
        raise InputError(
            "no row to learn from", got=f"{len(x)} rows", fix="give labelled rows that hold a vector"
        )
    some = x[rows] - centre
    spread = float(np.sqrt((some**2).sum(1).mean())) or 1.0
    width = x.shape[1]
    found = solve(
        np.hstack([some / spread, np.ones((len(rows), 1))]), y[rows], classes=classes,
        decay=np.r_[np.full(width, width / scale**2), LIFT],
    )  # fmt: skip
    return Probe(weights=found[:, :-1] / spread, centre=np.asarray(centre, np.float64), start=found[:, -1])
