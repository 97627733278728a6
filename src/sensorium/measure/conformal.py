"""Split conformal prediction: sets of classes, or ranges of numbers, that hold the truth as often as promised.

One threshold for each pattern of present modalities (Mondrian), because a threshold learned on complete rows promises
too much where a modality is missing (Vovk et al. 2005, ch. 4.5; the score 1 - p of the true class: Sadinle et al. 2019,
arXiv:1609.00451).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

LEVEL = 0.9  # share of the sets that shall hold the truth
ENOUGH = 100  # rows of its own from which a pattern gets its own threshold
Pattern = frozenset[str]  # modalities that a row has


@dataclass(frozen=True, kw_only=True, slots=True)
class Conformal:
    """Thresholds on how odd the truth may be, learned on held-out rows."""

    level: float = LEVEL
    thresholds: Mapping[Pattern, float] = field(default_factory=dict)
    pooled: float = math.inf  # of patterns that have no own one; infinite: everything is possible

    def threshold(self, pattern: Pattern) -> float:
        """Highest score that belongs to the set of a row with these modalities."""
        return self.thresholds.get(pattern, self.pooled)

    def classes(self, probabilities: np.ndarray, patterns: Sequence[Pattern]) -> np.ndarray:
        """Which classes each row's set holds, (n, classes) bool; never none, the likeliest is always in it."""
        limit = np.array([self.threshold(p) for p in patterns])
        held = class_scores(probabilities) <= limit[:, None]
        held[np.arange(len(held)), probabilities.argmax(1)] = True
        return held

    def ranges(self, numbers: np.ndarray, patterns: Sequence[Pattern]) -> np.ndarray:
        """Lowest and highest number that each row's range holds, (n, 2); infinite where nothing is promised."""
        half = np.array([self.threshold(p) for p in patterns])
        return np.stack([numbers - half, numbers + half], 1)


def class_scores(probabilities: np.ndarray) -> np.ndarray:
    """How odd each class would be as the truth, 0..1, rounded so that equal answers stay equal."""
    return np.round(1.0 - probabilities, 9)


def quantile(scores: np.ndarray, level: float) -> float:
    """The ceil((n + 1) level)-th lowest score; infinite where n is too small to promise anything."""
    rank = math.ceil((len(scores) + 1) * level)
    return math.inf if rank > len(scores) else float(np.sort(scores)[rank - 1])


def fit_conformal(
    scores: Mapping[Pattern, np.ndarray], *, pooled: np.ndarray, level: float = LEVEL, enough: int = ENOUGH
) -> Conformal:
    """Learn a threshold for each pattern with at least `enough` scores; all others share that of `pooled`.

    scores: pattern -> (n,) scores of the truth of held-out rows with that pattern; pooled: (n,) scores of all rows.
    """
    found = {p: quantile(s, level) for p, s in scores.items() if len(s) >= enough}
    return Conformal(level=level, thresholds=found, pooled=quantile(pooled, level))


@dataclass(frozen=True, kw_only=True, slots=True)
class Selective:
    """When to say nothing: how confidence and mistakes went together on held-out rows."""

    confidence: tuple[float, ...] = ()  # falling
    risk: tuple[float, ...] = ()  # share of wrong answers among those at least so confident
    coverage: tuple[float, ...] = ()  # share of rows that are at least so confident

    def least_confidence(self, risk: float) -> float:
        """The lowest confidence above which at most `risk` of the held-out answers were wrong; above 1 for none."""
        fine = [c for c, r in zip(self.confidence, self.risk, strict=True) if r <= risk]
        return fine[-1] if fine else math.inf


def fit_selective(confidence: np.ndarray, right: np.ndarray, *, points: int = 100) -> Selective:
    """The risk-coverage curve (El-Yaniv & Wiener 2010) at about `points` confidences that rows have.

    confidence: (n,) probability of the answer; right: (n,) bool. Equal confidences are one point.
    """
    order = np.argsort(-confidence, kind="stable")
    sure = np.round(confidence[order], 6)
    last = np.flatnonzero(np.append(sure[1:] != sure[:-1], True)) if len(sure) else np.zeros(0, int)
    last = last[np.unique(np.linspace(0, len(last) - 1, points).round().astype(int))] if len(last) else last
    wrong = np.cumsum(~right[order].astype(bool))
    return Selective(
        confidence=tuple(sure[last].tolist()),
        risk=tuple((wrong[last] / (last + 1)).round(6).tolist()),
        coverage=tuple(((last + 1) / max(1, len(sure))).round(6).tolist()),
    )
