"""What an answer would be with the wrong input: frames out of order, one frame only, or what another row has.

A good figure alone does not say that the order of frames was looked at, or that an input was looked at at all: a scene
may tell the action, and a question its answer (arXiv:1612.00837, sec. 1; arXiv:1902.09513, sec. 1). So the same rows are
asked again with something wrong, and what is not lost was not needed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sensorium.api.heads import Rows
from sensorium.api.saying import Say, silent
from sensorium.measure.resample import Score
from sensorium.types import Modality

MOST, FITTED = 600, 300  # most rows that are asked again, and at the end of a fit
SHUFFLED, ANOTHER = "shuffled", "another row's"
TIMED = frozenset({"video", "audio", "series"})  # carriers whose steps follow each other in time
FEW = 0.1  # share of changed answers from which on something is used, if not to any good
Answers = np.ndarray | list[str]  # one a row: (n, classes), (n,) or texts
Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def single_frame(clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The middle step of (steps, *item) as often as there are steps, so that the length tells nothing new."""
    return np.repeat(clip[len(clip) // 2][None], len(clip), axis=0)


def shuffled(clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(steps, *item) in any order but the one it has; a single step stays."""
    still = np.arange(len(clip))
    order = rng.permutation(len(clip))
    while len(clip) > 1 and (order == still).all():
        order = rng.permutation(len(clip))
    return clip[order]


def backwards(clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(steps, *item) from the last to the first."""
    return np.ascontiguousarray(clip[::-1])


ORDERS: Mapping[str, Change] = {"single frame": single_frame, SHUFFLED: shuffled, "reversed": backwards}


@dataclass(frozen=True, kw_only=True, slots=True)
class Judge:
    """A model that answers, and how its answers are measured."""

    answer: Callable[[Rows], Answers]
    figure: Callable[[Answers, Sequence[int]], Score | None]  # of answers, and the numbers of their rows
    differ: Callable[[Answers, Answers], np.ndarray]  # (n,) bool


def controls(
    modalities: Sequence[Modality], rows: Rows, judge: Judge, *, seed: int = 0, most: int = MOST, say: Say = silent
) -> list[dict[str, object]]:  # fmt: skip
    """Ask the same rows again with something wrong, and measure what is lost.

    Of every modality whose steps are time: the middle frame alone, frames shuffled, frames reversed, on the rows that
    have two steps or more. Of every modality that has another beside it: what another row has. At most `most` rows of
    each, drawn by `seed`. Rows that share an array share what becomes of it, too.

    Returns {name, modality, rows, score, everything, changed} of each: the headline figure with its interval (0..1 or as
    the metric has it), that of the same rows unharmed, and the share of rows whose answer changed, 0..1. A figure
    that is not defined for these rows has no entry.
    """
    order = np.random.default_rng(seed).permutation(len(rows.patches)).tolist()
    asked = _Unharmed(rows=rows, answer=judge.answer, known={})
    jobs = [(name, m) for m in modalities if timed(m) for name in ORDERS]
    jobs += [(ANOTHER, m) for m in modalities if len(modalities) > 1]
    found = []
    for number, (name, modality) in enumerate(jobs):
        say("controls", number / len(jobs), f"{modality.name}: {name}")
        least = 1 if name == ANOTHER else 2
        index = [i for i in order if _steps(rows, i, modality) >= least][:most]
        rng = np.random.default_rng([seed, number])
        wrong = harmed(rows.take(index), modality, name, rng) if len(index) > 1 else None
        if wrong is not None:
            about = {"name": name, "modality": modality.name}
            found += _measured(judge, index, wrong, asked.of(index), about)
    return found


def timed(modality: Modality) -> bool:
    """Whether the steps of a modality follow each other in time."""
    return modality.carrier in TIMED or modality.step_s > 0


def harmed(rows: Rows, modality: Modality, name: str, rng: np.random.Generator) -> Rows | None:
    """All rows, each of which has the modality, with that of one of `ORDERS` or of another row; None where all have the same."""
    mine = [row[modality.name][: max(modality.longest, 1)] for row in rows.patches]
    if name != ANOTHER:
        arrays: dict[int, np.ndarray] = {}
        for row, clip in zip(rows.patches, mine, strict=True):
            if id(row[modality.name]) not in arrays:
                arrays[id(row[modality.name])] = ORDERS[name](clip, rng)
        given = [arrays[id(row[modality.name])] for row in rows.patches]
        return replace(rows, patches=_with(rows, modality, given))
    givers = donors(mine, rng)
    if givers is None:
        return None
    texts = dict(rows.texts)
    if modality.name in texts:
        texts[modality.name] = [texts[modality.name][i] for i in givers]
    given = [rows.patches[i][modality.name] for i in givers]
    return Rows(patches=_with(rows, modality, given), texts=texts)


def donors(arrays: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray | None:
    """(n,) the row whose array each row gets: every row gives once, none to itself; None where all arrays are equal.

    No row gets an array equal to its own, unless more than half of the rows have the same; then as few as possible do.
    """
    number: dict[tuple, int] = {}
    kind = np.array([number.setdefault((a.shape, a.tobytes()), len(number)) for a in arrays], dtype=int)
    if len(number) < 2:
        return None
    order, turn = rng.permutation(len(kind)), rng.permutation(len(number))
    order = order[np.argsort(turn[kind[order]], kind="stable")]  # equal ones side by side
    found = np.empty(len(kind), dtype=int)
    found[order] = np.roll(order, -np.bincount(kind).max())
    return found


def _with(rows: Rows, modality: Modality, given: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
    return [row | {modality.name: array} for row, array in zip(rows.patches, given, strict=True)]


def _steps(rows: Rows, row: int, modality: Modality) -> int:
    found = rows.patches[row].get(modality.name)
    return 0 if found is None else min(len(found), max(modality.longest, 1))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Unharmed:
    """Answers of rows as they are, each asked for once."""

    rows: Rows
    answer: Callable[[Rows], Answers]
    known: dict[int, object]

    def of(self, index: Sequence[int]) -> list:
        """The answers of some rows."""
        new = [i for i in index if i not in self.known]
        if new:
            self.known.update(zip(new, self.answer(self.rows.take(new)), strict=True))
        return [self.known[i] for i in index]


def _measured(
    judge: Judge, index: Sequence[int], wrong: Rows, before: list, about: Mapping[str, object]
) -> list[dict[str, object]]:
    after = judge.answer(wrong)
    as_is = np.stack(before) if isinstance(after, np.ndarray) else before
    score, whole = judge.figure(after, index), judge.figure(as_is, index)
    if score is None or whole is None:
        return []
    changed = float(np.mean(judge.differ(as_is, after)))
    told = {"rows": len(index), "score": score.to_json(), "everything": whole.to_json()["value"]}
    return [{**about, **told, "changed": round(changed, 4)}]


def unused(found: Sequence[Mapping]) -> list[str]:
    """What the controls say against a model: an order that is not needed, inputs that are not used; a sentence each.

    Something is needed where its loss is more than chance, that is, where the unharmed figure lies above the interval.
    """
    vain = [c for c in found if c["everything"] <= c["score"]["high"]]
    lines = []
    for c in vain:
        if c["name"] == SHUFFLED:
            said = "is hardly used" if c["changed"] < FEW else "has not been shown to matter"
            lines.append(
                f"Shuffled frames of {c['modality']} lose only {_lost(c)} and change {c['changed']:.0%} of the answers: "
                f"the order of frames {said}."
            )
    others = [c for c in vain if c["name"] == ANOTHER]
    none = [c["modality"] for c in others if not c["changed"]]
    if none:
        lines.append(f"Not used: {', '.join(none)}. What another row has there changes no answer.")
    few = [c for c in others if 0 < c["changed"] < FEW]
    rest = [c for c in others if c["changed"] >= FEW]
    for said, some in (("Hardly used", few), ("Not shown to help", rest)):
        told = "; ".join(f"{c['modality']} ({c['changed']:.0%}, {_lost(c)} lost)" for c in some)
        if told:
            lines.append(f"{said}, by the answers that change with what another row has: {told}.")
    return lines


def _lost(found: Mapping) -> str:
    return f"{max(0.0, found['everything'] - found['score']['value']):.3f}"
