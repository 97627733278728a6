"""The floors that `fit` runs first, in seconds: majority, forests and linear models on simple statistics, tf-idf.

They are honest rows beside the network's in every report, and where one wins the report says so.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sensorium.measure.learners import (
    CHARACTERS,
    columns,
    counted,
    fit_forest,
    fit_linear,
    forest_answers,
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
    seconds: float


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

    def in_unit(self, answers: np.ndarray) -> np.ndarray:
        """Numbers of a linear model back in the target's unit."""
        return answers * self.spread + self.centre if self.kind == "number" else answers


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
            floors.append(
                Floor(name=name, modality=modality, answer=answer, seconds=time.monotonic() - began)
            )
    members = [f for f in floors[1:] if f.modality]
    if len({f.modality for f in members}) > 1:
        spent = sum(f.seconds for f in members)
        floors.append(
            Floor(name="late average", modality="", answer=_late(members, job.prior), seconds=spent)
        )
    return floors


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
        weight = _of(job.weight, rows)
        model = fit_forest(
            ready.filled(matrix[rows]),
            job.truth[rows],
            kind=job.kind,
            weight=weight,
            seconds=seconds,
            seed=job.seed,
        )
        return _where_present(
            job, name, lambda m: forest_answers(model, ready.filled(m), kind=job.kind, classes=job.classes)
        )

    return fit


def _linear(job: _Job, name: str, matrix: np.ndarray, rows: np.ndarray) -> Callable[[float], Answer | None]:
    def fit(seconds: float) -> Answer | None:
        ready = columns(matrix[rows])
        if not ready.keep.any():
            return None
        x, target = ready.standard(matrix[rows]), job.target[rows]
        some = telling(x, target)
        model = fit_linear(x[:, some], target, kind=job.kind, weight=None, decay=50.0, seconds=seconds)
        return _where_present(job, name, lambda m: job.in_unit(model.answers(ready.standard(m)[:, some])))

    return fit


def _tfidf(
    job: _Job, name: str, cells: Sequence[str | None], rows: np.ndarray
) -> Callable[[float], Answer | None]:
    def fit(seconds: float) -> Answer | None:
        written = [str(cells[i]) for i in rows]
        makers = vectorisers(written, most=int(np.clip(1e6 / max(1, job.classes), 2000, 50_000)))
        if not makers:
            return None
        x = counted(makers, written)
        model = fit_linear(
            x, job.target[rows], kind=job.kind, weight=_of(job.weight, rows), decay=1.0, seconds=seconds
        )

        def answer(statistics: Statistics, texts: Texts) -> np.ndarray:
            found = np.array([_written(c) for c in texts[name]], dtype=bool)
            out = np.tile(job.prior, (len(found), *[1] * job.prior.ndim))
            if found.any():
                out[found] = job.in_unit(
                    model.answers(counted(makers, [str(c) for c in texts[name] if _written(c)]))
                )
            return out

        return answer

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
        weight = _of(job.weight, rows)
        model = fit_forest(
            ready.filled(matrix),
            job.truth[rows],
            kind=job.kind,
            weight=weight,
            seconds=seconds,
            seed=job.seed,
        )

        def answer(found: Statistics, texts: Texts) -> np.ndarray:
            said = forest_answers(model, ready.filled(beside(found)), kind=job.kind, classes=job.classes)
            none = ~np.logical_or.reduce([_present(found[n]) for n in names])
            said[none] = job.prior
            return said

        return answer

    return fit


def _where_present(job: _Job, name: str, answers: Callable[[np.ndarray], np.ndarray]) -> Answer:
    def answer(statistics: Statistics, texts: Texts) -> np.ndarray:
        matrix = statistics[name]
        found = _present(matrix)
        out = np.tile(job.prior, (len(matrix), *[1] * job.prior.ndim)).astype(np.float64)
        if found.any():
            out[found] = answers(matrix[found])
        return out

    return answer


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
