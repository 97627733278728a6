"""Is a modality starved? Linear probes on what its encoder learned, and which heads overfit.

A strong modality can answer for all, and the encoders of the others then stop learning (arXiv:1905.12681 sec. 1,
arXiv:2203.15332). Two signs: an encoder from which a linear model answers worse than a model of that modality
alone does, and a head whose training loss runs away from its held-out loss.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sensorium.measure.learners import columns, fit_linear
from sensorium.measure.resample import Score, scored, share
from sensorium.types import InputError

DECAYS = (3.0, 30.0, 300.0)  # of the probe; the best on a fifth of the training rows is taken
ROWS = 4000  # most training rows of a probe
SECONDS = 10.0  # most for one fit
MARGIN = 0.02  # a gap below is no matter: two points, or so much of the variance
FIGURES = {"category": "accuracy", "labels": "share of the labels right", "number": "r2"}

Answers = Mapping[str, np.ndarray]  # modality -> (n, classes) logits or (n, 1) numbers


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """Some rows with a known target as the encoders of a trained network see them."""

    vectors: Mapping[str, np.ndarray]  # modality -> (n, d), anything where absent
    present: Mapping[str, np.ndarray]  # modality -> (n,) bool
    truth: np.ndarray  # (n,) class numbers, (n, classes) labels, or (n,) numbers


def linear_probe(
    train: np.ndarray, truth: np.ndarray, held: np.ndarray, *, kind: str, classes: int, seed: int = 0
) -> np.ndarray:
    """Fit a linear model on (n, d) vectors and answer (m, d) others: (m, classes) log odds, or (m, 1) numbers.

    `truth` is (n,) class numbers, (n, classes) labels or (n,) numbers, as `kind` says. Softmax, sigmoids or ridge; the
    decay is chosen on a fifth of the training rows. Log odds of a category are log probabilities. Raises
    InputError for fewer than five rows.
    """
    if len(train) < 5:
        raise InputError("a probe needs at least five rows", got=len(train), fix="give more training rows")
    order = np.random.default_rng(seed).permutation(len(train))[:ROWS]
    x, target = train[order], _target(truth[order], kind, classes)
    cut = max(1, len(x) // 5)
    worth = [_loss(_fit(x[cut:], target[cut:], x[:cut], kind, d), target[:cut], kind) for d in DECAYS]
    return _fit(x, target, held, kind, DECAYS[int(np.argmin(worth))])


def _target(truth: np.ndarray, kind: str, classes: int) -> np.ndarray:
    if kind == "category":
        return np.eye(classes)[truth.astype(int)]
    return truth.astype(np.float64).reshape(len(truth), -1)


def _fit(x: np.ndarray, target: np.ndarray, held: np.ndarray, kind: str, decay: float) -> np.ndarray:
    ready = columns(x)
    centre, spread = (target.mean(0), target.std(0) + 1e-9) if kind == "number" else (0.0, 1.0)
    made = fit_linear(
        ready.standard(x), (target - centre) / spread, kind=kind, weight=None, decay=decay, seconds=SECONDS
    )
    return (ready.standard(held) @ made.slope + made.start) * spread + centre


def _loss(logits: np.ndarray, target: np.ndarray, kind: str) -> float:
    if kind == "number":
        return float(((logits - target) ** 2).mean())
    if kind == "labels":
        return float((np.logaddexp(0, logits) - target * logits).mean())
    top = logits.max(1)
    logs = top + np.log(np.exp(logits - top[:, None]).sum(1))
    return float((logs - (target * logits).sum(1)).mean())


def row_figures(logits: np.ndarray, truth: np.ndarray, *, kind: str) -> np.ndarray:
    """What each row adds to a figure, (n,); the mean over the rows is the accuracy, share of labels right, or r2.

    logits: (n, classes) for a category, (n, classes) above zero where a label is said, or (n, 1) numbers.
    """
    if kind == "category":
        return (logits.argmax(1) == truth).astype(float)
    if kind == "labels":
        return ((logits > 0) == (truth > 0.5)).mean(1)
    spread = float(np.var(truth)) or 1.0
    return 1 - (logits[:, 0] - truth) ** 2 / spread


def _mean(rows: np.ndarray, seed: int) -> Score:
    """The mean of (n,) numbers with its bootstrap interval."""
    return scored(lambda w: {"mean": w @ rows / w.sum(1)}, len(rows), seed=seed)["mean"]


def _figure(rows: np.ndarray, kind: str, seed: int) -> Score:
    found = _mean(rows, seed)
    return share(found, len(rows)) if kind == "category" else found


def probe_gap(best: np.ndarray, learned: np.ndarray, *, seed: int = 0) -> Score:
    """How much better one answers than the other on the same rows: mean of best - learned, paired, with interval.

    Both are (n,) of `row_figures`. Above zero: the modality alone tells more than the encoder kept.
    """
    return _mean(best - learned, seed)


def overfitting(history: Sequence[Mapping], head: str) -> dict[str, float] | None:
    """How a head's held-out loss fell and how far its training loss ran ahead, first to last validation.

    arXiv:1905.12681 sec. 3: with O the growth of the held-out loss over the training loss, and G the fall of the
    held-out loss, `ratio` is (O / G)^2, low where learning carries over. Training losses are means over the history
    since the validation before, under augmentation and dropout, so O may be below zero. `ratio` is left out where G is not
    above zero. None where fewer than two validations have the head.
    """
    checks, since = [], []
    for row in history:
        if head in row.get("losses", {}):
            since.append(row["losses"][head])
        if head in row.get("valid_losses", {}) and since:
            checks.append((float(np.mean(since)), row["valid_losses"][head]))
            since = []
    if len(checks) < 2:
        return None
    (train, valid), (train_end, valid_end) = checks[0], checks[-1]
    gained, grown = valid - valid_end, (valid_end - train_end) - (valid - train)
    found = {"generalised": round(gained, 4), "overfitted": round(grown, 4)}
    return found | ({"ratio": round((grown / gained) ** 2, 4)} if gained > 0 else {})


def diagnose(
    train: Seen, valid: Seen, own: Answers, *, kind: str, classes: int, reference: Answers | None = None,
    history: Sequence[Mapping] = (), column: str = "", seed: int = 0,
) -> list[dict[str, object]]:  # fmt: skip
    """Tell of each modality whether its encoder learned what there is to learn; JSON-able, one dict per modality.

    own: answers of the modality's own head on the valid rows; reference: answers of a model of that modality alone on
    the same rows (a specialist, a simple model), on the scale of the heads. Without a reference the own head is the measure,
    which is fair only where own heads trained the encoders. history: rows of history.jsonl; column: the target.

    Each dict holds `modality`, `rows`, `figure` (what is compared, 0..1), `own`, `probe`, `reference` and `gap` (value, low,
    high; gap: reference, or else the own head, minus the better of own head and probe on the same rows; two points
    count), `under_used` (true, false, or null where the rows are too few to tell), `learning` (of `overfitting`, or
    null) and `words`. A modality with fewer than five training rows or without a valid row is left out.
    """
    found = []
    for name in own:
        here, there = train.present[name], valid.present[name]
        if here.sum() < 5 or not there.any():
            continue
        truth = valid.truth[there]
        said = linear_probe(
            train.vectors[name][here], train.truth[here], valid.vectors[name][there],
            kind=kind, classes=classes, seed=seed,
        )  # fmt: skip
        alone = None if reference is None or name not in reference else reference[name][there]
        rows = {"own": own[name][there], "probe": said} | ({} if alone is None else {"reference": alone})
        each = {k: row_figures(v, truth, kind=kind) for k, v in rows.items()}
        found.append(_told(name, each, kind, overfitting(history, f"{column}/{name}"), seed))
    return found


def _told(
    name: str, each: Mapping[str, np.ndarray], kind: str, learning: Mapping[str, float] | None, seed: int
) -> dict[str, object]:
    figures = {k: _figure(v, kind, seed) for k, v in each.items()}
    learned = each["own"] if "reference" in each and each["own"].mean() > each["probe"].mean() else each["probe"]  # fmt: skip
    gap = probe_gap(each.get("reference", each["own"]), learned, seed=seed)
    starved = _starved(gap)
    return {
        "modality": name, "rows": len(each["own"]), "figure": FIGURES[kind],
        **{k: s.to_json() for k, s in figures.items()}, "gap": gap.to_json(), "under_used": starved,
        "learning": None if learning is None else dict(learning), "words": _words(name, figures, gap, kind, starved),
    }  # fmt: skip


def _starved(gap: Score) -> bool | None:
    """Above two points and surely above zero: yes. Below two points, or surely not above: no. Else nobody knows."""
    if gap.value > MARGIN:
        return True if gap.low > 0 else None
    return False


def _words(name: str, figures: Mapping[str, Score], gap: Score, kind: str, starved: bool | None) -> str:
    def spoken(score: Score) -> str:
        return f"R2 {score.value:.2f}" if kind == "number" else f"{100 * score.value:.0f} %"

    said = (
        f"the own head of {name} answers {spoken(figures['own'])}, "
        f"a probe on what the joint model's encoder learned {spoken(figures['probe'])}"
    )
    if "reference" in figures:
        said += f", a model of {name} alone {spoken(figures['reference'])}"
    if starved is None:
        return f"{said}: too few rows to tell whether it is starved"
    return (
        f"{said}: {'starved, it knows more than the joint model takes from it' if starved else 'not starved'}"
    )
