"""Few-shot: a handful of labelled rows and what the shared space already knows of the classes' names."""

import numpy as np

from sensorium.colearning.controls import strangers
from sensorium.colearning.probes import Probe, checked, held, numbered, solve, units
from sensorium.colearning.prompts import class_vectors
from sensorium.types import InputError

DECAY = 0.1  # precision of the prior of the weights, for vectors of unit length
NAME = 2.0  # labelled rows that a class's name counts for


def few_shot(
    vectors: np.ndarray, labels: np.ndarray, texts: np.ndarray, *,
    captions: np.ndarray | None = None, caption_labels: np.ndarray | None = None,
) -> Probe:  # fmt: skip
    """Cross-modal linear probe: names, captions and labelled rows are all samples of one classifier (arXiv:2301.06267).

    vectors: (n, d) rows of the modality that is asked about; labels: (n,) class numbers, -1 for none; texts: (classes,
    templates, d) of the names (`prompts`); captions: (m, d) other text vectors with caption_labels (m,), such as the
    texts of the same rows. Vectors are brought to unit length, and rows of zeros are left out; the probe answers
    vectors of unit length. Classes may lack rows, and without any row the names answer alone.

    The name is the prior: it pulls its class's weight as NAME rows of the class would, strongly beside one row and
    hardly beside twenty. NAME and DECAY are fixed; they were set on planted spaces and one learned one, and matter
    little within a factor of three. A Gaussian prior around the zero-shot classifier pulls for ever: with names of
    middling quality it fell below the probe without names from two labels on. Raises InputError.
    """
    names = class_vectors(texts)
    classes, width = names.shape
    parts = [(names, np.arange(classes)), _samples(vectors, labels, width=width, classes=classes)]
    if captions is not None:
        parts.append(_samples(captions, caption_labels, width=width, classes=classes))
    x, y = (np.concatenate(p) for p in zip(*parts, strict=True))
    weight = np.ones(len(x))
    weight[:classes] = NAME
    return _solved(x, y, classes=classes, weight=weight)


def one_modality(vectors: np.ndarray, labels: np.ndarray, *, classes: int) -> Probe:
    """The same probe without names: what they must beat.

    vectors: (n, d); labels: (n,) class numbers, -1 for none. Raises InputError, also where no row is labelled.
    """
    x, y = _samples(vectors, labels, width=np.shape(vectors)[-1], classes=classes)
    if not len(x):
        raise InputError(
            "no row to learn from", got=len(vectors), fix="give labelled rows that hold a vector"
        )
    return _solved(x, y, classes=classes, weight=np.ones(len(x)))


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


def _solved(x: np.ndarray, y: np.ndarray, *, classes: int, weight: np.ndarray) -> Probe:
    width = x.shape[1]
    found = solve(x, y, classes=classes, decay=np.full(width, DECAY), weight=weight)
    return Probe(weights=found, centre=np.zeros(width), start=np.zeros(classes))
