"""Controls that must fail: the same learning, told what belongs to somebody else."""

import numpy as np

from sensorium.types import InputError


def strangers(rows: int, rng: np.random.Generator, *, within: np.ndarray | None = None) -> np.ndarray:
    """For each of so many rows the number of another one, (rows,); each is taken once, and no row keeps its own.

    within: (rows,) groups, such as classes; a row then gets one of its own group, so that a teacher or a name loses
    what it says of the row and keeps what it says of the group. Rows that are alone in their group change places among
    themselves, and one that is alone altogether with any other. Raises InputError for fewer than two rows.
    """
    if rows < 2:
        raise InputError("one row cannot change places", got=rows, fix="give two rows or more")
    group = np.zeros(rows, int) if within is None else np.unique(within, return_inverse=True)[1]
    counts = np.bincount(group)
    group = np.where(counts[group] == 1, -1, group)
    found = np.arange(rows)
    for one in np.unique(group):
        order = rng.permutation(np.flatnonzero(group == one))
        found[order] = np.roll(order, 1)
    for row in np.flatnonzero(found == np.arange(rows)):  # at most one, alone altogether
        other = (row + rng.integers(1, rows)) % rows
        found[[row, other]] = found[[other, row]]
    return found
