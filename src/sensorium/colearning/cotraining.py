"""Two modalities that label rows for each other (Blum and Mitchell 1998, COLT, table 1)."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sensorium.colearning.controls import strangers
from sensorium.colearning.probes import SCALE, Probe, checked, fit_probe, held, log_softmax, numbered
from sensorium.types import InputError

SURE = 0.95  # probability from which an answer may stand for a label, arXiv:2001.07685, sec. 2.3
ROUNDS = 10  # of labelling each other; each round may label a larger share of the rows
MOST = 0.8  # share of the unlabelled rows that the last round may label

# (probabilities of the first, of the second, rows that may be labelled, most of each class) -> labels for each of them
Exchange = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def pseudo_labels(
    probabilities: np.ndarray, *, least: float = SURE, most: np.ndarray | None = None
) -> np.ndarray:
    """The likeliest class of each row where it is sure enough, -1 elsewhere: (n,) int64.

    probabilities: (n, classes), best calibrated ones; rows that are not numbers get -1. least: 0..1, the threshold of
    FixMatch (arXiv:2001.07685, eq. 4). most: (classes,) how many rows a class gets at most, its surest ones, so that
    the class which is learned first does not take the others' rows. Raises InputError.
    """
    said = np.asarray(probabilities, np.float64)
    if said.ndim != 2 or (most is not None and np.shape(most) != said.shape[1:]):
        raise InputError(
            "probabilities are rows x classes",
            got=[said.shape, np.shape(most)],
            fix="give (n, classes) and (classes,)",
        )
    whole = np.isfinite(said).all(1)
    said = np.where(whole[:, None], said, -1.0)
    label, sure = said.argmax(1), said.max(1)
    found = np.where(whole & (sure >= least), label, -1)
    for one, count in enumerate(() if most is None else most):
        rows = np.flatnonzero(found == one)
        found[rows[np.argsort(-sure[rows], kind="stable")[int(count) :]]] = -1
    return found.astype(np.int64)


def exchanged(
    first: np.ndarray, second: np.ndarray, free: np.ndarray, most: np.ndarray, *, least: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Labels for the first from the second and for the second from the first, (n,) each, -1 for none.

    first, second: (n, classes) probabilities of each modality's classifier, not numbers where a row lacks it; free:
    (n,) bool, rows that may be labelled; most: (classes,) of each class, its surest rows; least: 0..1, what counts as sure.
    Rows of which both are sure, each of another class, are labelled for neither. No threshold by default: probes of a few
    rows are never as sure as .95, and the surest rows of each class are what counts. That both must then name the same
    class costs some labels; without it, a modality that tells little spoils one that tells much. Raises InputError.
    """
    left, right = (pseudo_labels(np.where(free[:, None], p, np.nan), least=least) for p in (first, second))
    clash = (left >= 0) & (right >= 0) & (left != right)
    calm = (free & ~clash)[:, None]
    of_first, of_second = (
        pseudo_labels(np.where(calm, p, np.nan), least=least, most=most) for p in (first, second)
    )
    return of_second, of_first


def shuffled_exchange(rng: np.random.Generator, exchange: Exchange = exchanged) -> Exchange:
    """The control: the same rows are chosen, but each is given another chosen row's label."""

    def dealt(first: np.ndarray, second: np.ndarray, free: np.ndarray, most: np.ndarray):
        return tuple(_dealt(labels, rng) for labels in exchange(first, second, free, most))

    return dealt  # type: ignore[return-value]


def _dealt(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    rows, found = np.flatnonzero(labels >= 0), labels.copy()
    if len(rows) > 1:
        found[rows] = labels[rows][strangers(len(rows), rng)]
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """A probe for each of two modalities, and what both say together."""

    first: Probe
    second: Probe
    prior: np.ndarray  # (classes,) log of how often each class stands among the labels

    def answer(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Log-probabilities (n, classes) from vectors of both, (n, d) each, zeros where a row lacks one.

        The product of the two over the prior: right where the modalities are independent given the class, as
        co-training supposes. A row that has neither gets the prior. Raises InputError.
        """
        said = self.prior + np.zeros((len(first), len(self.prior)))
        for probe, vectors in ((self.first, first), (self.second, second)):
            said += np.where(held(np.asarray(vectors))[:, None], probe.answer(vectors) - self.prior, 0.0)
        return log_softmax(said)


def co_train(
    first: np.ndarray, second: np.ndarray, labels: np.ndarray, *, classes: int, scale: float = SCALE, rounds: int = ROUNDS,
    exchange: Exchange = exchanged,
) -> Pair:  # fmt: skip
    """Two probes from few labelled rows and many unlabelled ones that hold both modalities.

    first (n, d1), second (n, d2): vectors, zeros where a row lacks one; labels: (n,) class numbers, -1 for none. In each
    round either probe labels rows for the other, of each class in proportion to its share among the labels, and both
    are trained anew; with the rounds more rows may be labelled, up to MOST, and an earlier round's labels are not kept, so
    that a mistake may be taken back (curriculum labelling, arXiv:2001.06001, sec. 3). rounds = 0 is training on labels
    alone. exchange: who labels what; `shuffled_exchange` is the control. Raises InputError.
    """
    views = [checked(first), checked(second)]
    y = numbered(labels, rows=len(views[0]), classes=classes)
    if len(views[1]) != len(y):
        raise InputError("both modalities are of the same rows", got=len(views[1]), fix=f"give {len(y)} rows")
    here = [held(x) for x in views]
    centres = [x[h].mean(0) if h.any() else x.sum(0) for x, h in zip(views, here, strict=True)]
    counts = np.bincount(y[y >= 0], minlength=classes) + 1.0
    prior, free = counts / counts.sum(), (y < 0) & here[0] & here[1]

    def fitted(view: int, extra: np.ndarray) -> Probe:
        told = np.where(y >= 0, y, extra)
        return fit_probe(views[view], told, classes=classes, centre=centres[view], scale=scale)

    none = np.full(len(y), -1)
    probes = [fitted(0, none), fitted(1, none)]
    for turn in range(rounds):
        most = np.array([math.ceil(MOST * (turn + 1) / rounds * free.sum() * p) for p in prior])
        said = [
            np.where(h[:, None], np.exp(p.answer(x)), np.nan)
            for p, x, h in zip(probes, views, here, strict=True)
        ]
        probes = [fitted(v, extra) for v, extra in enumerate(exchange(*said, free, most))]
    return Pair(first=probes[0], second=probes[1], prior=np.log(prior))
