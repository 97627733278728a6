"""The bootstrap: how much a figure would move had other rows been drawn."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

DRAWS = 1000  # bootstrap samples
WORK = 20_000_000  # most rows drawn in all; above, fewer samples (never under FEWEST)
FEWEST = 200
CHUNK = 250_000  # rows drawn at a time: what fits a processor's cache

Statistics = Mapping[str, np.ndarray]  # figure -> (samples,)


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """A figure and its 95 % interval; both ends are the figure itself where one row cannot tell."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """As plain numbers, four decimals or five digits, whichever is finer."""
        return {"value": _short(self.value), "low": _short(self.low), "high": _short(self.high)}


def _short(value: float) -> float:
    return round(value, 4) if abs(value) >= 1 else float(f"{value:.5g}")


def weights(rows: int, *, seed: int = 0) -> Iterator[np.ndarray]:
    """Yield (samples, rows) counts: how often each row stands in each bootstrap sample."""
    left = int(np.clip(WORK // rows, FEWEST, DRAWS))
    rng, size = np.random.default_rng(seed), max(1, CHUNK // rows)
    while left > 0:
        count = min(size, left)
        index = rng.integers(0, rows, (count, rows), dtype=np.int64)
        index += np.arange(count)[:, None] * rows
        yield np.bincount(index.ravel(), minlength=count * rows).reshape(count, rows).astype(np.float64)
        left -= count


def scored(measure: Callable[[np.ndarray], Statistics], rows: int, *, seed: int = 0) -> dict[str, Score]:
    """Turn a weighted measure into scores with intervals.

    `measure` maps row weights (samples, rows) to each figure's value per sample; weights of one give the figure itself,
    those of `weights` its bootstrap distribution. A figure that is undefined (NaN) for the rows is left out, such as
    r2 where the truth is constant.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        exact = {k: float(v[0]) for k, v in measure(np.ones((1, rows))).items()}
        parts = [measure(w) for w in weights(rows, seed=seed)] if rows > 1 else []
    found = {}
    for name, value in exact.items():
        if np.isfinite(value):
            drawn = np.concatenate([p[name] for p in parts]) if parts else np.array([value])
            drawn = drawn[np.isfinite(drawn)]
            low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) else (value, value)
            found[name] = Score(value=value, low=float(min(low, value)), high=float(max(high, value)))
    return found


def share(score: Score, rows: int) -> Score:
    """Give a share of the rows the wider of its bootstrap interval and Wilson's (1927).

    A bootstrap of rows that are all right is sure of 100 %, be they ten; Wilson's interval is not.
    """
    z2 = 1.96**2 / rows
    middle = (score.value + z2 / 2) / (1 + z2)
    half = (score.value * (1 - score.value) * z2 + z2**2 / 4) ** 0.5 / (1 + z2)
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return Score(value=score.value, low=min(score.low, low), high=max(score.high, high))
