"""Few-shot: a handful of labelled rows and what the shared space already knows of the classes' names."""

import numpy as np

from sensorium.colearning.controls import strangers
from sensorium.colearning.probes import Probe, checked, held, numbered, solve, units
from sensorium.colearning.prompts import class_vectors
from sensorium.types import InputError


def few_shot(
    vectors: np.ndarray, labels: np.ndarray, texts: np.ndarray, *, scale: float,
    captions: np.ndarray | None = None, caption_labels: np.ndarray | None = None,
) -> Probe:  # fmt: skip
    """Cross-modal linear probe: names, captions and labelled rows are all samples of one classifier (arXiv:2301.06267).

    vectors: (n, d) rows of the modality that is asked about; labels: (n,) class numbers, -1 for none; texts: (classes,
    templates, d) of the names (`prompts`); captions: (m, d) other text vectors with caption_labels (m,), such as the
    texts of the same rows; scale: that of the space. Vectors are brought to unit length; rows of zeros are left out.
    Classes may lack rows, and without any row the names answer alone.

    Each sample is a row of logistic regression with the prior w ~ N(0, scale^2 / d), which leaves nothing to tune, and
    a name counts as one labelled row of its class. That is the prior of the text: each class's weight is pulled to its
    name, half as strongly once a second row is there, and hardly from eight on. A Gaussian around the zero-shot
    classifier pulls for ever, and in planted worlds with names of middling quality it fell below the probe without
    names from two labels on. The gap between the modalities is taken off first: the mean over classes of (rows -
    name). Raises InputError.
    """
    names = class_vectors(texts)
    classes, width = names.shape
    whole = names.mean(0)
    parts = [(names - whole, np.arange(classes))]
    x, y = _samples(vectors, labels, width=width, classes=classes)
    centre = whole + _gap(x, y, names)
    parts.append((x - centre, y))
    if captions is not None:
        said, which = _samples(captions, caption_labels, width=width, classes=classes)
        parts.append((said - whole - _gap(said, which, names), which))
    rows, which = (np.concatenate(p) for p in zip(*parts, strict=True))
    return _solved(rows, which, classes=classes, centre=centre, scale=scale)


def one_modality(vectors: np.ndarray, labels: np.ndarray, *, classes: int, scale: float) -> Probe:
    """The same probe without names: what they must beat.

    vectors: (n, d); labels: (n,) class numbers, -1 for none. Raises InputError, also where no row is labelled.
    """
    x, y = _samples(vectors, labels, width=np.shape(vectors)[-1], classes=classes)
    if not len(x):
        raise InputError(
            "no row to learn from", got=len(vectors), fix="give labelled rows that hold a vector"
        )
    centre = _gap(x, y, np.zeros((classes, x.shape[1])))  # the classes' mean
    return _solved(x - centre, y, classes=classes, centre=centre, scale=scale)


def shuffled_names(texts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The control: the vectors of the names (classes, templates, d) dealt out anew, none to its own class."""
    return np.asarray(texts)[strangers(len(texts), rng)]


def _samples(
    vectors: np.ndarray, labels: np.ndarray | None, *, width: int, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows that hold a vector and a label, at unit length, with their class numbers."""
    x = checked(vectors, width=width)
    if labels is None:
        raise InputError("captions have no labels", got=None, fix="give the class number of each")
    y = numbered(labels, rows=len(x), classes=classes)
    some = held(x) & (y >= 0)
    return units(x[some]), y[some]


def _gap(x: np.ndarray, y: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Where rows lie beside their names, (d,): each class that has rows counts once.

    Shrunk as the classes disagree (James and Stein 1961): a mean of few noisy rows is not taken for a gap. Zeros where
    fewer than two classes have rows, for then nothing tells a gap from a class.
    """
    found = np.array([x[y == c].mean(0) - names[c] for c in np.unique(y)])
    count = len(found)
    if count < 2:
        return np.zeros(names.shape[1])
    mean = found.mean(0)
    noise = float(((found - mean) ** 2).sum()) / (count * (count - 1))
    return mean * max(0.0, 1 - noise / max(float(mean @ mean), 1e-12))


def _solved(x: np.ndarray, y: np.ndarray, *, classes: int, centre: np.ndarray, scale: float) -> Probe:
    if not scale > 0:
        raise InputError("the scale must be above zero", got=scale, fix="give that of the trained space")
    width = x.shape[1]
    found = solve(x, y, classes=classes, decay=np.full(width, width / scale**2))
    return Probe(weights=found, centre=centre, start=np.zeros(classes))
