"""Points: lidar and radar, one plain cloud or timed frames."""

from collections.abc import Sequence

import numpy as np

from sensorium.modalities import clouds, damage, options
from sensorium.types import Carrier, InputError, Limits, Media, Modality, Signal

BINS = 16  # of the histogram of each dimension in a frame
MOST = 768  # points of a plain cloud that an encoder is given
FAR = 1e15  # beyond it a number is as good as broken, and its square would overflow
FRAMES = 1024  # frames of a recording that are kept


def decode(media: Media, limits: Limits) -> Signal | None:
    """Decode one cloud to (points, dims) float32; `times_s` (points,) where there are frames.

    Points without a place are left out; another number that is missing counts as 0. Raises InputError where
    the file is damaged, holds more than `limits.numbers`, or no point is left.
    """
    found = clouds.load(media, limits)
    values, times = found.values, found.times_s
    if values.size > limits.numbers:
        raise clouds.arrays.too_big(media.name, what="numbers", size=values.size, limit=limits.numbers)
    with np.errstate(over="ignore", invalid="ignore"):  # beyond float32 is infinite, and thrown out below
        values = values.astype(np.float32, copy=False)
    keep = (np.abs(values[:, :3]) < FAR).all(1)
    if times is not None:
        keep &= np.isfinite(times)
    if not keep.any():
        raise InputError(
            "the cloud holds no finite point", got=media.name or values.shape, fix="leave the cell empty"
        )
    if not keep.all():
        values, times = values[keep], None if times is None else times[keep]
    if not (np.abs(values) < FAR).all():
        values = np.where(np.abs(values) < FAR, values, 0)
    if times is None:
        return Signal(values=values, unit="m", channels=found.channels)
    order = np.argsort(times, kind="stable")
    return _cut(
        Signal(
            values=values[order], times_s=times[order] - times[order[0]], unit="m", channels=found.channels
        ),
        media,
    )


def _cut(signal: Signal, media: Media) -> Signal:
    return signal.cut(*media.span_s) if media.span_s is not None else signal


def survey(signals: Sequence[Signal], **given: object) -> dict[str, object]:
    """Learn options: dimensions, frames or not, quantile edges, centre and spread, seconds a frame."""
    told = options.checked(given, {"longest": options.whole(1, 100_000)}, carrier="points")
    if not signals:
        raise InputError(
            "no training row holds these points", got=0, fix="leave the column out, or fill some cells"
        )
    width = min(s.values.shape[1] for s in signals)
    framed = sum(s.times_s is not None for s in signals) > len(signals) / 2
    sample = np.concatenate([s.values[:: max(1, len(s.values) // 400), :width] for s in signals]).astype(
        np.float64
    )
    edges = np.quantile(sample, np.linspace(0, 1, BINS + 1)[1:-1], axis=0).T
    centred = sample[:, :3] - np.median(sample[:, :3], 0)
    spread = np.concatenate(
        [
            np.full(min(3, width), max(1e-6, float(np.percentile(np.abs(centred), 90)))),
            sample[:, 3:].std(0) + 1e-6,
        ]
    )
    gaps = np.concatenate(
        [np.diff(np.unique(s.times_s)) for s in signals if s.times_s is not None] or [np.zeros(0)]
    )
    counts = [len(np.unique(s.times_s)) for s in signals if s.times_s is not None]
    longest = MOST if not framed else max(8, min(int(np.percentile(counts, 95)), FRAMES))
    return {
        "dims": width,
        "framed": framed,
        "edges": [[round(float(v), 6) for v in e] for e in edges],
        "mean": [round(float(v), 6) for v in sample.mean(0)],
        "spread": [round(float(v), 6) for v in spread],
        "longest": longest,
        "step_s": round(float(np.median(gaps)), 4) if framed and len(gaps) else 0.1 if framed else 0.0,
        **told,
    }


def frames(
    signal: Signal, *, edges: np.ndarray, mean: np.ndarray, spread: np.ndarray, longest: int
) -> np.ndarray:
    """Each frame as marginal histograms, log count, mean and spread: (frames, 16 d + 2 d + 1)."""
    dims = len(edges)
    values = signal.values[:, :dims]
    times = signal.times_s if signal.times_s is not None else np.zeros(len(values))
    _, number = np.unique(times, return_inverse=True)
    count = int(number.max()) + 1
    if count > longest:
        number, count = number * longest // count, longest
    size = np.bincount(number, minlength=count).astype(np.float32)
    pieces = []
    for d in range(dims):
        where = number * BINS + np.searchsorted(edges[d], values[:, d])
        pieces.append(np.log1p(np.bincount(where, minlength=count * BINS).reshape(count, BINS)))
    scaled = (values - mean) / spread
    sums = (
        np.stack([np.bincount(number, scaled[:, d], count) for d in range(dims)], 1)
        / np.maximum(size, 1)[:, None]
    )
    squares = (
        np.stack([np.bincount(number, scaled[:, d] ** 2, count) for d in range(dims)], 1)
        / np.maximum(size, 1)[:, None]
    )
    width = np.sqrt(np.maximum(squares - sums**2, 0))
    return np.concatenate(
        [*pieces, np.log1p(size)[:, None] / 2, np.clip(sums, -8, 8), np.clip(width, 0, 8)], 1
    ).astype(np.float32)


def cloud(signal: Signal, *, dims: int, mean: np.ndarray, spread: np.ndarray, most: int) -> np.ndarray:
    """A repeatable choice of points, centred on their own median, scaled as in training: (points, dims)."""
    values = signal.values[:, :dims]
    if len(values) > most:
        values = values[np.random.default_rng(0).permutation(len(values))[:most]]
    centre = np.concatenate([np.median(values[:, :3], 0), mean[3:]])
    return np.clip((values - centre) / spread, -8, 8).astype(np.float32)


def augment_frames(x: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """A random window of a long recording (always), thinner or denser points, a little noise."""
    if len(x) > 48:
        most = len(x) if len(x) <= 96 else 160
        steps = min(len(x), int(rng.integers(48, most + 1)))
        first = int(rng.integers(0, len(x) - steps + 1))
        x = x[first : first + steps]
    if strength <= 0:
        return x
    out = x * (1 + rng.normal(0, 0.1 * strength)) + rng.normal(0, 0.05 * strength, x.shape)
    out[rng.random(len(out)) < 0.05 * strength] = 0
    return out.astype(np.float32)


def augment_cloud(x: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """A small turn about the vertical, another scale, jitter, and points left out."""
    if strength <= 0:
        return x
    angle = rng.uniform(-0.3, 0.3) * strength
    out = x[rng.random(len(x)) >= 0.3 * strength * rng.random()] if len(x) > 8 else x.copy()
    out = out.copy() if len(out) else x.copy()
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], np.float32)
    out[:, :2] = out[:, :2] @ turn.T
    out[:, :3] *= 1 + rng.uniform(-0.15, 0.15) * strength
    return (out + rng.normal(0, 0.01 * strength, out.shape)).astype(np.float32)


def statistics(x: np.ndarray) -> np.ndarray:
    """Levels, spreads, percentiles and lagged changes of every number over frames or points."""
    delta = np.diff(x, axis=0) if len(x) > 1 else np.zeros_like(x)
    lag = x[8:] - x[:-8] if len(x) > 8 else np.zeros_like(x)
    found = [
        x.mean(0),
        x.std(0),
        *np.percentile(x, [5, 25, 75, 95], axis=0),
        np.abs(delta).mean(0),
        np.abs(lag).mean(0),
    ]
    return np.concatenate([*found, [len(x)]]).astype(np.float32)


def preview(signal: Signal) -> dict[str, object]:
    """At most 500 points from above."""
    index = np.linspace(0, len(signal.values) - 1, min(500, len(signal.values))).astype(int)
    return {"dots": [[round(float(a), 3), round(float(b), 3)] for a, b in signal.values[index, :2]]}


def define(name: str, column: str, **options: object) -> Modality:
    """Define a lidar or radar from the options that `survey` learned."""
    o = options
    edges, mean, spread = (np.array(o[k], np.float64) for k in ("edges", "mean", "spread"))
    dims, longest, framed = int(o["dims"]), int(o["longest"]), bool(o["framed"])  # type: ignore[call-overload]

    def patches(signal: Signal) -> np.ndarray:
        if signal.values.shape[1] < dims:
            raise InputError(
                "fewer numbers per point than in training", got=signal.values.shape[1], fix=f"give {dims}"
            )
        if framed:
            return frames(signal, edges=edges, mean=mean, spread=spread, longest=longest)
        return cloud(signal, dims=dims, mean=mean, spread=spread, most=longest)

    return Modality(
        name=name,
        column=column,
        carrier="points",
        options=options,
        patches=patches,
        augment=augment_frames if framed else augment_cloud,
        statistics=statistics,
        item=((BINS + 2) * dims + 1,) if framed else (dims,),
        longest=longest,
        step_s=float(o["step_s"]),  # type: ignore[arg-type]
    )


CARRIER = Carrier(
    name="points",
    suffixes=frozenset({".ply", ".pcd", ".las", ".laz", ".bin", ".xyz"}),
    decode=decode,
    survey=survey,
    define=define,
    preview=preview,
    corruptions=damage.POINTS,
)
