"""Transfer through the shared space: labels of one modality, answers for another that nobody has labelled."""

from dataclasses import replace

import numpy as np

from sensorium.colearning.probes import SCALE, Probe, checked, fit_probe, held
from sensorium.types import InputError


def transfer(
    source: np.ndarray, labels: np.ndarray, target: np.ndarray, *, classes: int, scale: float = SCALE
) -> Probe:
    """A probe that was trained on vectors of one modality and answers those of another in the same space.

    source: (n, d) with labels (n,), -1 for none; target: (m, d) of the other modality, without labels and of any rows.
    Modalities lie apart in such a space, each around a mean of its own, and the gap between them says nothing of the
    classes (arXiv:2203.02053, sec. 2; removed in the same way in arXiv:2302.04269, sec. 3); so each is centred on its
    own mean. Rows of zeros are left out. In a space where the two were never paired this is chance. Raises InputError.
    """
    x, z = checked(source), checked(target, width=np.shape(source)[-1])
    if not held(x).any() or not held(z).any():
        raise InputError(
            "a modality without vectors has no mean",
            got=[len(x), len(z)],
            fix="give rows of both, with or without labels",
        )
    probe = fit_probe(x, labels, classes=classes, centre=x[held(x)].mean(0), scale=scale)
    return replace(probe, centre=z[held(z)].mean(0))
