"""Small learners that the floors are made of: forests by scikit-learn, linear models that stop at a time."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

TREES = 300
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


def fit_forest(
    x: np.ndarray, truth: np.ndarray, *, kind: str, weight: np.ndarray | None, seconds: float, seed: int
):
    """Fit a forest with as many trees as the seconds allow, 10 to 300. Returns the scikit-learn model."""
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
    return model


def forest_answers(model, x: np.ndarray, *, kind: str, classes: int) -> np.ndarray:
    """(n, classes) probabilities or (n,) numbers of a fitted forest."""
    if kind == "number":
        return model.predict(x)
    if kind == "labels":
        each = zip(model.predict_proba(x), model.classes_, strict=True)
        return np.stack([p[:, 1] if p.shape[1] > 1 else np.full(len(p), float(c[0])) for p, c in each], 1)
    out = np.zeros((len(x), classes))
    out[:, model.classes_] = model.predict_proba(x)
    return out


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


def vectorisers(texts: Sequence[str], *, most: int) -> list:
    """Fitted tf-idf of 1-2 words and of 3-5 letters within words; those that find nothing to count are left out."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    rare = 2 if len(texts) > 50 else 1
    words = {"ngram_range": (1, 2), "token_pattern": r"(?u)\w+|[^\w\s]", "max_features": most}
    letters = {"analyzer": "char_wb", "ngram_range": (3, 5), "max_features": most}
    found = []
    for options in (words, letters):
        maker = TfidfVectorizer(sublinear_tf=True, min_df=rare, dtype=np.float64, **options)
        try:
            found.append(maker.fit([t[:CHARACTERS] for t in texts]))
        except ValueError:  # an empty vocabulary: every text is blank or unlike all others
            continue
    return found


def counted(makers: Sequence, texts: Sequence[str]):
    """Sparse (n, terms) of texts."""
    from scipy.sparse import hstack

    return hstack([m.transform([t[:CHARACTERS] for t in texts]) for m in makers], format="csr")
