"""Tables whose columns show the same hidden thing: for tests of matching and search."""

import numpy as np

from sensorium.store import Table


def sights(hidden: np.ndarray, seed: int, *, noise: float = 0.1) -> list[np.ndarray]:
    """What one sensor shows of hidden things (n, d): a series of 8 steps and 6 channels each, by a map of its own."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(hidden.shape[1], 48)) / hidden.shape[1] ** 0.5
    seen = np.tanh(hidden @ mix).reshape(len(hidden), 8, 6)
    return list((seen + noise * rng.normal(size=seen.shape)).astype(np.float32))


def world(rows: int, *, seed: int = 0, hidden: int = 6) -> dict[str, list]:
    """Three sensors, a, b and p, of the same hidden thing."""
    z = np.random.default_rng(seed).normal(size=(rows, hidden))
    return {name: sights(z, 100 + i, noise=0.1) for i, name in enumerate("apb")}


def pivot(rows: int, *, seed: int = 0) -> Table:
    """Rows that hold a and p, or b and p, and never a and b."""
    cells = world(rows, seed=seed)
    half = rows // 2
    return Table(data={
        "a": [*cells["a"][:half], *[None] * (rows - half)], "p": cells["p"], "b": [*[None] * half, *cells["b"][half:]],
    })  # fmt: skip


def whole(rows: int, *, seed: int = 0) -> Table:
    """Rows that hold all three."""
    return Table(data=world(rows, seed=seed))
