"""What may be promised of answers: sets that hold the truth, and confidence below which to say nothing."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from sensorium.api.answers import Subset, left
from sensorium.api.choice import Halves, crossed
from sensorium.api.heads import everyone
from sensorium.measure.baselines import Floor
from sensorium.measure.conformal import (
    ENOUGH,
    Conformal,
    Pattern,
    Selective,
    class_scores,
    fit_conformal,
    fit_selective,
)
from sensorium.measure.resample import Score, share
from sensorium.tasks import Target
from sensorium.types import InputError

LEVELS = (0.8, 0.9, 0.95)
USUAL = 0.9


@dataclass(frozen=True, kw_only=True, slots=True)
class Promises:
    """Learned on validation rows by cross-fitting, so that no answer was judged by weights that saw its row."""

    sets: tuple[Conformal, ...] = ()  # one for each of LEVELS; () where the target allows none
    selective: Selective = field(default_factory=Selective)

    def at(self, level: float) -> Conformal:
        """The sets of one level. Raises InputError where there are none."""
        found = next((c for c in self.sets if math.isclose(c.level, level)), None)
        if found is None:
            levels = ", ".join(f"{c.level:g}" for c in self.sets)
            raise InputError(
                "no sets were learned for this level", got=level,
                fix=f"one of {levels}" if levels else "sets need validation rows, and a category or a number as target",
            )  # fmt: skip
        return found

    def to_json(self) -> dict[str, object]:
        """As plain numbers; an infinite threshold is null."""
        sets = [
            {
                "level": c.level, "pooled": _finite(c.pooled),
                "thresholds": [[sorted(p), _finite(t)] for p, t in c.thresholds.items()],
            }
            for c in self.sets
        ]  # fmt: skip
        return {"sets": sets, "selective": asdict(self.selective)}

    @staticmethod
    def from_json(told: Mapping) -> "Promises":
        """What `to_json` wrote."""
        sets = tuple(
            Conformal(
                level=c["level"],
                pooled=_number(c["pooled"]),
                thresholds={frozenset(p): _number(t) for p, t in c["thresholds"]},
            )
            for c in told.get("sets", ())
        )
        curve = told.get("selective") or {}
        return Promises(sets=sets, selective=Selective(**{k: tuple(v) for k, v in curve.items()}))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _number(value: float | None) -> float:
    return math.inf if value is None else float(value)


def patterns_of(names: Sequence[str], present: Mapping[str, np.ndarray]) -> list[Pattern]:
    """Which modalities each row has."""
    have = np.stack([present[n] for n in names], 1)
    return [frozenset(n for n, here in zip(names, row, strict=True) if here) for row in have]


def fit_promises(
    target: Target,
    names: Sequence[str],
    halves: Halves,
    heads: Mapping[str, np.ndarray],
    present: Mapping[str, np.ndarray],
    fewer: Mapping[Subset, np.ndarray],
    truth: np.ndarray,
    floors: Sequence[Floor],
) -> Promises:
    """Learn thresholds for every pattern of present modalities.

    A pattern that is rare among the rows is practised on all rows that have at least its modalities, with the others
    left out: nothing need be known of what will be missing later.
    """
    if target.kind == "labels":
        return Promises()
    rows = len(truth)
    whole = crossed(halves, target, heads, everyone(heads, present), rows)
    patterns = patterns_of(names, present)
    scores: dict[Pattern, np.ndarray] = {}
    for subset in fewer:
        pattern = frozenset(subset)
        own = np.array([p == pattern for p in patterns])
        if own.sum() >= ENOUGH:
            scores[pattern] = _scores(target, whole, truth)[own]
            continue
        part, have = left(heads, present, fewer, subset, floors)
        able = np.logical_and.reduce([have[n] for n in subset])
        if able.any():
            said = crossed(halves, target, part, everyone(part, have), rows)
            scores[pattern] = _scores(target, said, truth)[able]
    pooled = _scores(target, whole, truth)
    sets = tuple(fit_conformal(scores, pooled=pooled, level=level) for level in LEVELS)
    if target.kind == "number":
        return Promises(sets=sets)
    return Promises(sets=sets, selective=fit_selective(whole.max(1), whole.argmax(1) == truth))


def _scores(target: Target, said: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """How odd the truth was: one minus its probability, or its distance from the number. An unseen class is oddest."""
    if target.kind == "number":
        return np.abs(said - truth)
    own = class_scores(said)[np.arange(len(truth)), truth]
    return np.where(truth >= 0, own, np.inf)


def kept_promises(
    promises: Promises,
    names: Sequence[str],
    present: Mapping[str, np.ndarray],
    said: np.ndarray,
    truth: np.ndarray,
) -> list[dict[str, object]]:
    """How often the sets held the truth, and how large they were, for each pattern of these rows and for all."""
    if not promises.sets or not len(truth):
        return []
    usual, patterns = promises.at(USUAL), patterns_of(names, present)
    if said.ndim == 1:
        low, high = usual.ranges(said, patterns).T
        held, size = (low <= truth) & (truth <= high), high - low
    else:
        inside = usual.classes(said, patterns)
        held = np.where(truth >= 0, inside[np.arange(len(truth)), truth], False)
        size = inside.sum(1)
    found = []
    for pattern in [*sorted(set(patterns), key=lambda p: (-len(p), sorted(p))), None]:
        rows = np.array([pattern in (None, p) for p in patterns])
        value = float(held[rows].mean())
        wide = float(size[rows].mean())
        found.append({
            "modalities": None if pattern is None else [n for n in names if n in pattern], "rows": int(rows.sum()),
            "level": usual.level, "coverage": share(Score(value=value, low=value, high=value), int(rows.sum())).to_json(),
            "size": round(wide, 4) if math.isfinite(wide) else None,
        })  # fmt: skip
    return found


def sets_of(
    promised: Conformal, classes: Sequence[str], said: np.ndarray, patterns: Sequence[Pattern]
) -> list[tuple[object, ...]]:
    """Each row's set: names of classes, the likeliest first, or the lowest and the highest number."""
    if said.ndim == 1:
        return [(float(low), float(high)) for low, high in promised.ranges(said, patterns)]
    inside = promised.classes(said, patterns)
    order = np.argsort(-said, 1, kind="stable")
    return [tuple(classes[c] for c in row if held[c]) for row, held in zip(order, inside, strict=True)]


def least_confidence(promises: Promises, target: Target, risk: float | None) -> float:
    """The confidence that an answer needs so that at most a share `risk` of them is wrong; 0 where none was asked.

    Raises InputError for a risk that is no share, for a target without classes, and where no confidence was enough.
    """
    if risk is None:
        return 0.0
    if target.kind != "category" or not promises.selective.confidence:
        raise InputError(
            "this run cannot say when it is sure", got=f"a target of kind {target.kind}",
            fix="abstention needs validation rows and a category as target",
        )  # fmt: skip
    if not 0 <= risk < 1:
        raise InputError("the risk is a share of the answers", got=risk, fix="such as .05")
    found = promises.selective.least_confidence(risk)
    if math.isinf(found):
        lowest = min(promises.selective.risk)
        raise InputError(
            "no confidence was enough on validation rows", got=risk, fix=f"allow at least {lowest:.3f}"
        )
    return found
