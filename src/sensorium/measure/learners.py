"""Small learners that the floors are made of: forests by scikit-learn, linear models that stop at a time."""

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

TREES = 150  # more are hardly better, and a run keeps those that have a say
DIMS = 512  # most columns of a linear model
CHARACTERS = 1000  # of a text that the tf-idf reads


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """Statistics made ready: holes filled with the training median, constant columns dropped, standardised."""

    keep: np.ndarray  # (d,) bool
    middle: np.ndarray  # (d,)
    mean: np.ndarray  # (kept,)
    spread: np.ndarray  # (kept,)

    def filled(self, matrix: np.ndarray) -> np.ndarray:
        """(n, d) -> (n, kept) without holes."""
        whole = np.where(np.isfinite(matrix), matrix, self.middle)[:, self.keep]
        return np.clip(whole, -1e30, 1e30)

    def standard(self, matrix: np.ndarray) -> np.ndarray:
        """(n, d) -> (n, kept), about -8..8."""
        return np.clip((self.filled(matrix) - self.mean) / self.spread, -8, 8)


def columns(matrix: np.ndarray) -> Columns:
    """Learn from (n, d) training rows how to make statistics ready."""
    finite = np.isfinite(matrix)
    some = finite.any(0)
    middle = np.zeros(matrix.shape[1])
    middle[some] = np.nanmedian(np.where(finite, matrix, np.nan)[:, some], axis=0)
    whole = np.clip(np.where(finite, matrix, middle), -1e30, 1e30)
    spread = whole.std(0, dtype=np.float64)
    keep = spread > 1e-9 * (1 + np.abs(middle))
    return Columns(keep=keep, middle=middle, mean=whole.mean(0, dtype=np.float64)[keep], spread=spread[keep])


def telling(x: np.ndarray, target: np.ndarray, most: int = DIMS) -> np.ndarray:
    """Numbers of the columns of (n, d) that go best with a column of (n, c), at most `most`, in order."""
    if x.shape[1] <= most:
        return np.arange(x.shape[1])
    strength = np.abs((x - x.mean(0)).T @ (target - target.mean(0))) / (target.std(0) + 1e-9)
    return np.sort(np.argsort(-strength.max(1), kind="stable")[:most])


@dataclass(frozen=True, kw_only=True, slots=True)
class Forest:
    """The trees of a scikit-learn forest as arrays, so that a run folder holds numbers and never a pickle."""

    root: np.ndarray  # (trees,) number of each tree's first node
    column: np.ndarray  # (nodes,) which column a node asks, -1 in a leaf
    bound: np.ndarray  # (nodes,) go left where the column is at most this
    left: np.ndarray  # (nodes,)
    right: np.ndarray  # (nodes,)
    value: np.ndarray  # (nodes, c) float32: probabilities, a probability per label, or one number

    def answers(self, x: np.ndarray) -> np.ndarray:
        """(n, d) -> (n, c): the mean over the trees."""
        x = x.astype(np.float32)  # as scikit-learn compares
        out = np.empty((len(x), self.value.shape[1]))
        size = max(1, 2_000_000 // len(self.root))  # rows at a time, for the memory's sake
        for first in range(0, len(x), size):
            out[first : first + size] = self._block(x[first : first + size])
        return out

    def _block(self, x: np.ndarray) -> np.ndarray:
        node = np.repeat(self.root[None], len(x), 0)
        rows = np.arange(len(x))[:, None]
        while ((asked := self.column[node]) >= 0).any():
            goes = x[rows, np.maximum(asked, 0)] <= self.bound[node]
            node = np.where(asked < 0, node, np.where(goes, self.left[node], self.right[node]))
        return self.value[node].mean(1, dtype=np.float64)


def fit_forest(
    x: np.ndarray, truth: np.ndarray, *, kind: str, classes: int, weight: np.ndarray | None, seconds: float, seed: int
) -> Forest:  # fmt: skip
    """Fit a forest by scikit-learn with as many trees as the seconds allow, 10 to TREES."""
    from sklearn.ensemble import ExtraTreesRegressor, RandomForestClassifier

    few = 10
    if kind == "number":
        model = ExtraTreesRegressor(
            few, min_samples_leaf=2, max_features=0.3, random_state=seed, n_jobs=1, warm_start=True
        )
    else:
        model = RandomForestClassifier(few, max_features="sqrt", random_state=seed, n_jobs=1, warm_start=True)
    began = time.monotonic()
    model.fit(x, truth, sample_weight=weight)
    pace = (time.monotonic() - began) / few
    more = int(min(TREES, seconds / max(pace, 1e-6)))
    if more > few:
        model.set_params(n_estimators=more)
        model.fit(x, truth, sample_weight=weight)
    return _arrays(model, kind, classes)


def _arrays(model, kind: str, classes: int) -> Forest:
    trees = [e.tree_ for e in model.estimators_]
    start = np.cumsum([0, *(t.node_count for t in trees)])
    shift = np.repeat(start[:-1], np.diff(start))
    column = np.concatenate([t.feature for t in trees])
    return Forest(
        root=start[:-1].astype(np.int32),
        column=np.where(column < 0, -1, column).astype(np.int32),
        bound=_down(np.concatenate([t.threshold for t in trees])),
        left=(np.concatenate([t.children_left for t in trees]) + shift).astype(np.int32),
        right=(np.concatenate([t.children_right for t in trees]) + shift).astype(np.int32),
        value=np.concatenate([_values(t.value, model, kind, classes) for t in trees]).astype(np.float32),
    )


def _down(bound: np.ndarray) -> np.ndarray:
    """The largest float32 at or below each bound: for float32 columns every comparison stays as it was."""
    near = bound.astype(np.float32)
    return np.where(near > bound, np.nextafter(near, np.float32(-np.inf)), near).astype(np.float32)


def _values(value: np.ndarray, model, kind: str, classes: int) -> np.ndarray:
    """(nodes, outputs, most classes) of scikit-learn -> (nodes, c)."""
    if kind == "number":
        return value[:, 0, :1]
    share = value / np.maximum(value.sum(2, keepdims=True), 1e-12)
    if kind == "labels":
        known = model.classes_ if isinstance(model.classes_, list) else [model.classes_]
        return np.stack([_yes(share[:, i], c) for i, c in enumerate(known)], 1)
    out = np.zeros((len(value), classes))
    out[:, model.classes_] = share[:, 0, : len(model.classes_)]
    return out


def _yes(share: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The probability of a label; one that never varied in training keeps its value."""
    return share[:, 1] if len(known) > 1 else np.full(len(share), float(known[0]))


@dataclass(frozen=True, kw_only=True, slots=True)
class Linear:
    """A linear model over dense or sparse columns."""

    slope: np.ndarray  # (d, c)
    start: np.ndarray  # (c,)
    kind: str

    def answers(self, x) -> np.ndarray:
        """(n, d) -> (n, c) probabilities or (n,) numbers."""
        logits = x @ self.slope + self.start
        if self.kind == "number":
            return logits[:, 0]
        return np.exp(_log_probabilities(logits, self.kind)[0])


def fit_linear(
    x, target: np.ndarray, *, kind: str, weight: np.ndarray | None, decay: float, seconds: float
) -> Linear:
    """Minimise the summed loss + decay |slope|^2 / 2 by L-BFGS until it converges or the seconds are over.

    x: (n, d) dense or sparse; target: (n, c) one-hot rows, labels, or numbers. Softmax for a category, a sigmoid per
    label, squares for numbers: scikit-learn's LogisticRegression and Ridge with C = 1 / decay, where time allows.
    Stopping early is itself a regulariser: the search starts at zero.
    """
    from scipy.optimize import minimize

    (rows, dims), width = x.shape, target.shape[1]
    weight = np.ones(rows) if weight is None else weight
    until, best = time.monotonic() + seconds, [np.zeros((dims + 1) * width)]
    best[0][dims * width :] = _offset(target, weight, kind)

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        slope, start = flat[: dims * width].reshape(dims, width), flat[dims * width :]
        cost, gap = _loss(x @ slope + start, target, kind)
        gap *= weight[:, None]
        total = float(weight @ cost) + decay * float((slope**2).sum()) / 2
        return total / rows, np.concatenate(
            [np.asarray(x.T @ gap + decay * slope).ravel(), gap.sum(0)]
        ) / rows

    def watch(flat: np.ndarray) -> None:
        best[0] = flat.copy()
        if time.monotonic() > until:
            raise StopIteration

    try:
        minimize(
            loss, best[0], jac=True, method="L-BFGS-B", callback=watch, options={"maxiter": 300, "ftol": 1e-8}
        )
    except StopIteration:  # older versions of scipy hand it on
        pass
    return Linear(
        slope=best[0][: dims * width].reshape(dims, width), start=best[0][dims * width :], kind=kind
    )


def _offset(target: np.ndarray, weight: np.ndarray, kind: str) -> np.ndarray:
    """Where the intercepts start: what fits best without any column."""
    mean = weight @ target / weight.sum()
    if kind == "number":
        return mean
    share = np.clip(mean, 1e-4, 1 - 1e-4)
    return np.log(share) if kind == "category" else np.log(share / (1 - share))


def _log_probabilities(logits: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Logarithms of the probability and, for labels, of its complement."""
    if kind == "labels":
        return -np.logaddexp(0, -logits), -np.logaddexp(0, logits)
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True)), shifted


def _loss(logits: np.ndarray, target: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Loss per row (n,) and its slope in the logits (n, c)."""
    if kind == "number":
        return ((logits - target) ** 2).sum(1) / 2, logits - target
    yes, no = _log_probabilities(logits, kind)
    cost = -(target * yes + (1 - target) * no).sum(1) if kind == "labels" else -(target * yes).sum(1)
    return cost, np.exp(yes) - target


@dataclass(frozen=True, kw_only=True)
class Terms:
    """A tf-idf over words or over letters: what scikit-learn learned, as plain values."""

    letters: bool  # 3-5 letters within words; else 1-2 words
    vocabulary: tuple[str, ...]  # in the order of the columns
    idf: np.ndarray  # (terms,)

    def counted(self, texts: Sequence[str]):
        """Sparse (n, terms) of texts."""
        return self._maker.transform([t[:CHARACTERS] for t in texts])

    @functools.cached_property
    def _maker(self):
        maker = _vectoriser(self.letters, vocabulary=self.vocabulary)
        maker.idf_ = self.idf
        return maker


def _vectoriser(letters: bool, **options: object):
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = {"ngram_range": (1, 2), "token_pattern": r"(?u)\w+|[^\w\s]"}
    kind = {"analyzer": "char_wb", "ngram_range": (3, 5)} if letters else words
    return TfidfVectorizer(sublinear_tf=True, dtype=np.float64, **kind, **options)


def vectorisers(texts: Sequence[str], *, most: int) -> list[Terms]:
    """Learn a tf-idf of 1-2 words and of 3-5 letters; one that finds nothing to count is left out."""
    rare = 2 if len(texts) > 50 else 1
    found = []
    for letters in (False, True):
        maker = _vectoriser(letters, min_df=rare, max_features=most)
        try:
            maker.fit([t[:CHARACTERS] for t in texts])
        except ValueError:  # an empty vocabulary: every text is blank or unlike all others
            continue
        names = tuple(str(n) for n in maker.get_feature_names_out())
        found.append(Terms(letters=letters, vocabulary=names, idf=np.asarray(maker.idf_, dtype=np.float64)))
    return found


def counted(terms: Sequence[Terms], texts: Sequence[str]):
    """Sparse (n, terms) of texts."""
    from scipy.sparse import hstack

    return hstack([t.counted(texts) for t in terms], format="csr")
