"""The floors that `fit` runs first, in seconds: majority, forests and linear models on simple statistics, tf-idf.

They are honest rows beside the network's in every report, and where one wins the report says so.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sensorium.measure.learners import (
    CHARACTERS,
    Columns,
    Forest,
    Linear,
    Terms,
    columns,
    counted,
    fit_forest,
    fit_linear,
    telling,
    vectorisers,
)
from sensorium.measure.scores import headline
from sensorium.types import InputError

SECONDS = 15.0  # all floors together, about
ROWS = 8000  # most rows that a floor is fitted on
LETTERS = 3_000_000  # most characters that a tf-idf is fitted on
LIFT = 0.7  # rarer classes weigh by their count to the minus this, in forests and tf-idf, where macro F1 is the figure
FOREST, LINEAR, TFIDF = 3.0, 1.0, 2.0  # shares of the time

Statistics = Mapping[str, np.ndarray]
Texts = Mapping[str, Sequence[str | None]]
Answer = Callable[[Statistics, Texts], np.ndarray]


@dataclass(frozen=True, kw_only=True, slots=True)
class Floor:
    """A fitted floor. `answer(statistics, texts)` gives (m, classes) probabilities or (m,) numbers."""

    name: str
    modality: str  # "" for one that looks at all of them, or at none
    answer: Answer
    seconds: float = 0.0
    share: tuple[float, ...] = ()  # of each class in the rows as it weighed them; () for labels and numbers


@dataclass(frozen=True, kw_only=True, slots=True)
class ByStatistics:
    """Answers from the statistics of one modality; rows without it get the prior."""

    modality: str
    ready: Columns
    some: np.ndarray  # which of the kept columns a linear model reads; empty for a forest, which reads all
    model: Forest | Linear
    prior: np.ndarray  # (classes,), or () in the target's unit
    centre: float = 0.0  # a linear model's numbers are multiplied by `spread`, and `centre` is added
    spread: float = 1.0

    def __call__(self, statistics: Statistics, texts: Texts) -> np.ndarray:
        matrix = statistics[self.modality]
        found = _present(matrix)
        out = np.tile(self.prior, (len(matrix), *[1] * self.prior.ndim)).astype(np.float64)
        if found.any():
            out[found] = self._answers(matrix[found]).reshape(-1, *self.prior.shape)
        return out

    def _answers(self, matrix: np.ndarray) -> np.ndarray:
        if isinstance(self.model, Forest):
            return self.model.answers(self.ready.filled(matrix))
        return self.model.answers(self.ready.standard(matrix)[:, self.some]) * self.spread + self.centre


@dataclass(frozen=True, kw_only=True, slots=True)
class ByText:
    """Answers from the words and letters of one text modality; rows without it get the prior."""

    modality: str
    terms: tuple[Terms, ...]
    model: Linear
    prior: np.ndarray
    centre: float = 0.0
    spread: float = 1.0

    def __call__(self, statistics: Statistics, texts: Texts) -> np.ndarray:
        found = np.array([_written(c) for c in texts[self.modality]], dtype=bool)
        out = np.tile(self.prior, (len(found), *[1] * self.prior.ndim)).astype(np.float64)
        if found.any():
            written = [str(c) for c in texts[self.modality] if _written(c)]
            said = self.model.answers(counted(self.terms, written)) * self.spread + self.centre
            out[found] = said.reshape(-1, *self.prior.shape)
        return out


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    """What all floors of one run share."""

    kind: str
    classes: int
    truth: np.ndarray  # (n,) or (n, classes)
    target: np.ndarray  # (n, c): one-hot, labels, or standardised numbers
    weight: np.ndarray | None  # (n,)
    prior: np.ndarray  # (classes,) or ()
    centre: float
    spread: float
    seed: int


def fit_floors(
    statistics: Statistics,
    texts: Texts,
    truth: np.ndarray,
    *,
    kind: str,
    classes: int,
    seed: int = 0,
    seconds: float = SECONDS,
) -> list[Floor]:
    """Fit every floor on training rows, within about `seconds`.

    statistics: modality -> (n, d), rows of NaN where absent; texts: modality -> n texts or None; truth: (n,) class
    numbers, (n, classes) labels, or (n,) numbers. Rows without the modality get the majority's answer. Where the headline
    figure is macro F1, rarer classes weigh more in forests and tf-idf (not in the linear model on statistics, which lost
    by it). A modality without a row, of constant statistics, or whose rows all have the same target gets no floor. Raises InputError without rows.
    """
    truth = np.asarray(truth)
    if not len(truth):
        raise InputError(
            "the floors have nothing to learn from", got="0 rows", fix="give rows whose target is filled"
        )
    job = _job(truth, kind, classes, seed)
    picked = np.sort(np.random.default_rng(seed).permutation(len(truth))[:ROWS])
    plans = _plans(job, statistics, texts, picked)
    floors = [
        Floor(
            name="mean" if kind == "number" else "majority",
            modality="",
            answer=_constant(job.prior),
            seconds=0.0,
        )
    ]
    until, left = time.monotonic() + seconds, sum(share for *_, share in plans)
    for name, modality, fit, share in plans:
        began = time.monotonic()
        answer = fit(max(0.05, (until - began) * share / left))
        left -= share
        if answer is not None:
            share = _share(job, weighed="+ linear" not in name or "tf-idf" in name)
            took = time.monotonic() - began
            floors.append(Floor(name=name, modality=modality, answer=answer, seconds=took, share=share))
    members = [f for f in floors[1:] if f.modality]
    if len({f.modality for f in members}) > 1:
        spent = sum(f.seconds for f in members)
        floors.append(
            Floor(name="late average", modality="", answer=_late(members, job.prior), seconds=spent)
        )
    return floors


def _share(job: _Job, *, weighed: bool) -> tuple[float, ...]:
    if job.kind != "category":
        return ()
    weight = job.weight if weighed and job.weight is not None else np.ones(len(job.truth))
    counts = np.bincount(job.truth, weights=weight, minlength=job.classes) + 1e-3
    return tuple((counts / counts.sum()).tolist())


def _plans(job: _Job, statistics: Statistics, texts: Texts, picked: np.ndarray) -> list[tuple]:
    """(name, modality, seconds -> answer or None, share of the time) of every floor to fit."""
    plans = []
    for name, matrix in statistics.items():
        rows = picked[_present(matrix)[picked]]
        if len(rows) > 1 and not _alike(job.truth[rows]):
            plans.append((f"{name}: statistics + forest", name, _forest(job, name, matrix, rows), FOREST))
            plans.append((f"{name}: statistics + linear", name, _linear(job, name, matrix, rows), LINEAR))
    for name, cells in texts.items():
        rows = _within(np.array([i for i in picked if _written(cells[i])], dtype=int), cells)
        if len(rows) > 1 and not _alike(job.truth[rows]):
            plans.append((f"{name}: tf-idf + linear", name, _tfidf(job, name, cells, rows), TFIDF))
    useful = {k: v for k, v in statistics.items() if _present(v).any()}
    if len(useful) > 1 and not _alike(job.truth[picked]):
        plans.append(("all statistics + forest", "", _joint(job, useful, picked), FOREST))
    return plans


def _job(truth: np.ndarray, kind: str, classes: int, seed: int) -> _Job:
    weight, centre, spread = None, 0.0, 1.0
    if kind == "number":
        centre, spread = float(truth.mean()), float(truth.std()) or 1.0
        prior, target = np.array(centre), ((truth - centre) / spread)[:, None]
    elif kind == "labels":
        prior, target = truth.mean(0), truth.astype(np.float64)
    else:
        counts = np.bincount(truth, minlength=classes)
        prior, target = counts / len(truth), np.eye(classes)[truth]
        if headline(kind, counts.tolist()) == "macro_f1":
            weight = counts[truth] ** -LIFT
            weight = weight / weight.mean()
    return _Job(
        kind=kind,
        classes=classes,
        truth=truth,
        target=target,
        weight=weight,
        prior=prior,
        centre=centre,
        spread=spread,
        seed=seed,
    )


def _forest(job: _Job, name: str, matrix: np.ndarray, rows: np.ndarray) -> Callable[[float], Answer | None]:
    def fit(seconds: float) -> Answer | None:
        ready = columns(matrix[rows])
        if not ready.keep.any():
            return None
        model = _trees(job, ready.filled(matrix[rows]), rows, seconds)
        return ByStatistics(
            modality=name, ready=ready, some=np.zeros(0, int), model=model, prior=np.asarray(job.prior)
        )

    return fit


def _trees(job: _Job, x: np.ndarray, rows: np.ndarray, seconds: float) -> Forest:
    return fit_forest(
        x,
        job.truth[rows],
        kind=job.kind,
        classes=job.classes,
        weight=_of(job.weight, rows),
        seconds=seconds,
        seed=job.seed,
    )


def _linear(job: _Job, name: str, matrix: np.ndarray, rows: np.ndarray) -> Callable[[float], Answer | None]:
    def fit(seconds: float) -> Answer | None:
        ready = columns(matrix[rows])
        if not ready.keep.any():
            return None
        x, target = ready.standard(matrix[rows]), job.target[rows]
        some = telling(x, target)
        model = fit_linear(x[:, some], target, kind=job.kind, weight=None, decay=50.0, seconds=seconds)
        return ByStatistics(
            modality=name,
            ready=ready,
            some=some,
            model=model,
            prior=np.asarray(job.prior),
            centre=job.centre,
            spread=job.spread,
        )

    return fit


def _tfidf(
    job: _Job, name: str, cells: Sequence[str | None], rows: np.ndarray
) -> Callable[[float], Answer | None]:
    def fit(seconds: float) -> Answer | None:
        written = [str(cells[i]) for i in rows]
        terms = vectorisers(written, most=int(np.clip(1e6 / max(1, job.classes), 2000, 50_000)))
        if not terms:
            return None
        x = counted(terms, written)
        model = fit_linear(
            x, job.target[rows], kind=job.kind, weight=_of(job.weight, rows), decay=1.0, seconds=seconds
        )
        prior = np.asarray(job.prior)
        return ByText(
            modality=name,
            terms=tuple(terms),
            model=model,
            prior=prior,
            centre=job.centre,
            spread=job.spread,
        )

    return fit


def _joint(job: _Job, statistics: Statistics, rows: np.ndarray) -> Callable[[float], Answer | None]:
    """A forest on all statistics side by side: holes filled with the median, with a column that says so."""
    names = list(statistics)

    def beside(found: Statistics) -> np.ndarray:
        return np.concatenate([found[n] for n in names] + [_present(found[n])[:, None] for n in names], 1)

    def fit(seconds: float) -> Answer | None:
        matrix = beside(statistics)[rows]
        ready = columns(matrix)
        if not ready.keep.any():
            return None
        model = _trees(job, ready.filled(matrix), rows, seconds)

        def answer(found: Statistics, texts: Texts) -> np.ndarray:
            said = model.answers(ready.filled(beside(found))).reshape(-1, *np.shape(job.prior))
            none = ~np.logical_or.reduce([_present(found[n]) for n in names])
            said[none] = job.prior
            return said

        return answer

    return fit


def _late(members: Sequence[Floor], prior: np.ndarray) -> Answer:
    """The mean over present modalities of the mean answer of each modality's floors."""
    names = list(dict.fromkeys(f.modality for f in members))

    def answer(statistics: Statistics, texts: Texts) -> np.ndarray:
        total, votes = np.zeros(1), np.zeros(1)
        for name in names:
            said = np.mean([f.answer(statistics, texts) for f in members if f.modality == name], axis=0)
            found = _here(name, statistics, texts).astype(float).reshape(-1, *[1] * prior.ndim)
            total, votes = total + said * found, votes + found
        return np.where(votes > 0, total / np.maximum(votes, 1), prior)

    return answer


def _here(name: str, statistics: Statistics, texts: Texts) -> np.ndarray:
    """Which rows have a modality, (n,) bool."""
    some = [_present(statistics[name])] if name in statistics else []
    some += [np.array([_written(c) for c in texts[name]], dtype=bool)] if name in texts else []
    return np.logical_or.reduce(some)


def _constant(prior: np.ndarray) -> Answer:
    def answer(statistics: Statistics, texts: Texts) -> np.ndarray:
        rows = len(next(iter([*statistics.values(), *texts.values()])))
        return np.tile(prior, (rows, *[1] * prior.ndim)).astype(np.float64)

    return answer


def _present(matrix: np.ndarray) -> np.ndarray:
    return np.isfinite(matrix).any(1)


def _written(cell: str | None) -> bool:
    return isinstance(cell, str) and bool(cell.strip())


def _within(rows: np.ndarray, cells: Sequence[str | None]) -> np.ndarray:
    """As many rows, evenly taken, as have about LETTERS characters together."""
    total = sum(min(CHARACTERS, len(str(cells[i]))) for i in rows)
    if total <= LETTERS:
        return rows
    return rows[np.linspace(0, len(rows) - 1, int(len(rows) * LETTERS / total)).astype(int)]


def _alike(truth: np.ndarray) -> bool:
    return bool((truth == truth[:1]).all())


def _of(weight: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
    return None if weight is None else weight[rows]
