"""Does a model use interactions at all? Its best additive approximation, and how much of it that explains.

The empirical multimodally-additive projection (EMAP, arXiv:2010.06572, sec. 4): with f~(i) = sum over m of
(the mean of f with modality m from row i and the others from all rows) less M - 1 grand means, f~ is the additive
function nearest to f on the product of the modalities' marginals. Where f~ answers as well as f, whatever interactions
the model computes do not help it.
"""

from collections.abc import Sequence

import numpy as np

from sensorium.types import InputError


def additive(grids: Sequence[np.ndarray]) -> np.ndarray:
    """Project a model's outputs to the additive part, (n, classes).

    grids: one (n, n, classes) array per modality, two or more; grids[m][i, j] is the output (logits, or a number) with
    modality m taken from row i and all others from row j. For two modalities the second grid is the first with its row
    axes swapped. The diagonals all hold the model's ordinary outputs. Raises InputError where the shapes, the number of
    grids, or the diagonals do not fit.
    """
    tables = _checked(grids)
    means = [t.mean(1) for t in tables]
    # For two modalities all grids hold the same cells and this is the paper's formula. For more, each grid averages
    # over mixtures of its own kind (one row against another), so the grand mean is taken over all of them.
    return sum(means) - (len(means) - 1) * np.mean(means, axis=(0, 1))


def explained(full: np.ndarray, projected: np.ndarray) -> float:
    """Share of the variance of a model's outputs over rows that others reproduce (r2), 1 for all of it, may be below 0.

    full, projected: (n, classes); squares are summed over the columns, each about its mean. 1.0 where the outputs do
    not vary and are reproduced, 0.0 where they are not.
    """
    if full.ndim != 2 or full.shape != projected.shape:
        got = f"{full.shape} and {projected.shape}"
        raise InputError("the outputs have not the same two axes", got=got, fix="give (n, classes) twice")
    rest, all_of_it = ((full - projected) ** 2).sum(), ((full - full.mean(0)) ** 2).sum()
    if all_of_it == 0:
        return float(rest == 0)
    return float(1 - rest / all_of_it)


def _checked(grids: Sequence[np.ndarray]) -> list[np.ndarray]:
    tables = [np.asarray(g, np.float64) for g in grids]
    shapes = [t.shape for t in tables]
    square = all(t.ndim == 3 and t.shape[0] == t.shape[1] and t.size for t in tables)
    if len(tables) < 2 or len(set(shapes)) != 1 or not square:
        fix = "give two or more arrays (n, n, classes) of the same shape, one per modality"
        raise InputError("the grids do not belong together", got=shapes, fix=fix)
    own = [np.einsum("iic->ic", t) for t in tables]
    scale = 1 + np.abs(own[0]).max()
    off = max(np.abs(o - own[0]).max() for o in own)
    if not off <= 1e-3 * scale:
        raise InputError(
            "the grids' diagonals differ, or hold what is no number",
            got=f"largest difference {off:.4g}",
            fix="grids[m][i, i] is the model's ordinary output for row i, whatever m",
        )
    return tables
