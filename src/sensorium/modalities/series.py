"""Series: ECG, EEG, IMU, skeletons, GPS tracks. Signal.values is (steps, channels), NaN where missing."""

import functools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from sensorium.modalities import arrays, damage, options, recordings
from sensorium.types import Carrier, InputError, Limits, Media, Modality, Signal

SUFFIXES = frozenset({".npy", ".npz", ".csv", ".tsv", ".parquet", ".edf", ".bdf", ".hea", ".gpx"})
_USUAL = """
1 2 4 5 8 10 16 20 25 30 32 40 50 60 64 75 80 90 100 120 125 128 150 160 173.61 180 200 240 250 256 300
320 360 400 480 500 512 600 720 800 1000 1024 1200 1250 1280 1600 2000 2048 2400 2500 3200 4000 4096 5000
5120 6000 6400 8000 8192 10000 11025 12000 12800 16000 16384 20000 22050 24000 25600 32000 44100 48000
50000 51200 65536 96000
"""
RATES = tuple(float(rate) for rate in _USUAL.split())  # samples per second that devices have
BIG = 1e30  # readings beyond it are as good as broken, and their squares would overflow
STILL = 0.25  # spread of training below which a channel of one recording is not blown up to one
CLIP = 10.0  # most standard deviations that a patch shows


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How recordings of one column become patches. Its fields are the options of `define`."""

    channels: int
    names: tuple[str, ...]  # of the channels; () where the files have none
    mean: tuple[float, ...]  # per channel, robust
    std: tuple[float, ...]
    longest: int  # most steps of one recording
    whole: bool  # stretch or shrink every recording to `longest` steps
    pool: int  # else average this many samples into one step
    turned: bool  # the files hold (channels, steps)
    missing: bool  # some readings are missing: a mask goes along
    irregular: bool  # steps are not equally far apart: the gaps go along
    texture: bool  # the spread inside each step goes along, for steps that average many samples
    rate: float | None  # samples per second; None where no file tells
    step_s: float  # seconds from step to step, 0 where not known

    @property
    def width(self) -> int:
        """Numbers per step."""
        return self.channels * (2 + self.missing + 2 * self.texture) + self.irregular


def decode(media: Media, limits: Limits) -> Signal:
    """Decode one recording, cut to `media.span_s`; infinite readings count as missing.

    Raises InputError for damaged or oversized files and where no finite reading is left.
    """
    signal = recordings.read(media, limits)
    if signal.values.size > limits.numbers:
        raise arrays.too_big(media.name, what="numbers", size=signal.values.size, limit=limits.numbers)
    if media.span_s is not None:
        signal = signal.cut(media.span_s[0], min(media.span_s[1], _end_s(signal)))
    return replace(signal, values=_finite(signal.values, media.name))


def _end_s(signal: Signal) -> float:
    """Return a second behind the last reading; infinite where there is no clock."""
    if signal.times_s is not None:
        return float(signal.times_s[-1]) + 1.0
    return len(signal.values) / signal.rate_hz if signal.rate_hz else math.inf


def _finite(values: np.ndarray, name: str) -> np.ndarray:
    if values.dtype.kind in "iu":
        return values
    good = np.isfinite(values)
    if not good.any():
        raise InputError(
            "the recording holds no finite number", got=name or values.shape, fix="leave the cell empty"
        )
    return values if good.all() else np.where(good, values, np.nan)  # one kind of NaN, which warns of nothing


def survey(signals: Sequence[Signal], **given: object) -> dict[str, object]:
    """Learn the options of `define` from training signals; what is `given` wins.

    A user may give: rate (Hz), channels, names (a|b|c), longest, whole, turned, missing, irregular.
    """
    told = options.checked(given, _KNOWN, carrier="series")
    if not signals:
        raise InputError(
            "no training row holds this series", got=0, fix="leave the column out, or fill some cells"
        )
    turned = bool(told.get("turned", _turned(signals)))
    names, channels = _columns(signals, turned, told)
    draft = Plan(
        channels=channels, names=names, mean=(0.0,) * channels, std=(1.0,) * channels,
        longest=1, whole=False, pool=1, turned=turned,
        missing=False, irregular=False, texture=False, rate=None, step_s=0.0,
    )  # fmt: skip
    tables = _sampled(signals, draft)
    mean, std = _scale(tables)
    irregular = bool(told.get("irregular", sum(s.times_s is not None for s in signals) * 2 > len(signals)))
    missing = bool(told.get("missing", _has_gaps(signals, tables)))
    rate = told.get("rate") or _common_rate(signals)
    plan = replace(draft, mean=mean, std=std, missing=missing, irregular=irregular, rate=rate)
    return _jsonable(_paced(plan, signals, told))


def _jsonable(plan: Plan) -> dict[str, object]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(plan).items()}


_KNOWN: Mapping[str, options.Check] = {
    "rate": options.number(0, 1e7),
    "channels": options.whole(1, 100_000),
    "names": options.names,
    "longest": options.whole(1, 100_000),
    "whole": options.flag,
    "turned": options.flag,
    "missing": options.flag,
    "irregular": options.flag,
}


def _paced(plan: Plan, signals: Sequence[Signal], told: Mapping[str, Any]) -> Plan:
    """Choose the number of steps: segments of like length are stretched to one, long tracks are averaged."""
    lengths = np.array([_span(s, plan) for s in signals])
    low, high = np.percentile(lengths, 5), np.percentile(lengths, 95)
    longest = int(told.get("longest") or min(max(1, math.ceil(high)), 256))
    whole = bool(told.get("whole", high <= 4 * longest and high <= 3 * low))
    pool = 1 if whole else max(1, math.ceil(high / longest))
    texture = pool >= 8 or bool(whole and high >= 8 * longest)
    step_s = 0.0
    if plan.rate:
        step_s = float(np.median(lengths)) / longest / plan.rate if whole else pool / plan.rate
    elif plan.irregular:
        gaps = [
            float(np.median(np.diff(s.times_s)))
            for s in signals
            if s.times_s is not None and len(s.times_s) > 1
        ]
        step_s = float(np.median(gaps)) * pool if gaps else 0.0
    return replace(plan, longest=longest, whole=whole, pool=pool, texture=texture, step_s=round(step_s, 9))


def _span(signal: Signal, plan: Plan) -> float:
    """Count the steps of a signal at the rate of the plan."""
    steps = signal.values.shape[1 if plan.turned else 0]
    return steps * plan.rate / signal.rate_hz if plan.rate and signal.rate_hz else steps


def _common_rate(signals: Sequence[Signal]) -> float | None:
    rates = Counter(s.rate_hz for s in signals if s.rate_hz)
    return max(rates, key=lambda r: (rates[r], r)) if rates else None


def _turned(signals: Sequence[Signal]) -> bool:
    """Whether bare arrays hold (channels, steps): the second axis alone varies, or is long and smooth."""
    if any(s.channels or s.times_s is not None for s in signals):
        return False
    rows, columns = {s.values.shape[0] for s in signals}, {s.values.shape[1] for s in signals}
    few, many = max(rows), min(columns)
    if len(rows) > 1 or few > 512 or many < 4 * few or many < 64:
        return False
    return len(columns) > 1 or all(_smooth(s.values.T) > max(0.5, _smooth(s.values)) for s in signals[:20])


def _smooth(values: np.ndarray) -> float:
    """Mean correlation of a reading with the next one along the first axis."""
    x = _plain(values[:5000])
    x = np.nan_to_num(x - np.nan_to_num(_quiet(np.nanmean, x)))
    power = float((x * x).sum())
    return float((x[1:] * x[:-1]).sum()) / power if power and len(x) > 1 else 0.0


def _columns(signals: Sequence[Signal], turned: bool, told: Mapping[str, Any]) -> tuple[tuple[str, ...], int]:
    """Agree on the channels: those of most files, by name where they have names."""
    counts = Counter((s.channels, s.values.shape[0 if turned else 1]) for s in signals)
    (names, channels), _ = counts.most_common(1)[0]
    asked = told.get("names")
    if asked:
        names, channels = tuple(asked), len(asked)
    elif "channels" in told and told["channels"] != channels:
        names, channels = (), int(told["channels"])
    if any(n and not n.strip() for n in names) or len(set(names)) != len(names):
        names = ()
    return names, channels


def _sampled(signals: Sequence[Signal], plan: Plan) -> list[np.ndarray]:
    """Read evenly chosen steps, about four million numbers in all, of recordings that have the channels."""
    every = max(1, sum(s.values.size for s in signals) // 4_000_000)
    tables = []
    for signal in signals:
        some = signal.values[:, ::every] if plan.turned else signal.values[::every]
        try:
            tables.append(_matched(replace(signal, values=some, times_s=None), plan))
        except InputError:
            continue  # its row is told when it is read for training
    if not tables:
        raise InputError(
            "no recording has the channels asked for",
            got=plan.names or plan.channels,
            fix="correct the option `names` or `channels`",
        )
    return tables


def _has_gaps(signals: Sequence[Signal], tables: Sequence[np.ndarray]) -> bool:
    whole = (s.values for s in signals if s.values.dtype.kind == "f")
    return any(bool(np.isnan(t).any()) for t in tables) or any(bool(np.isnan(v).any()) for v in whole)


def _plain(values: np.ndarray) -> np.ndarray:
    """Copy readings as floats that can be squared without overflow."""
    kind = np.float32 if values.dtype.kind in "iu" and values.dtype.itemsize <= 2 else np.float64
    with np.errstate(over="ignore", invalid="ignore"):  # the too large are clipped, NaN stays
        return np.clip(values.astype(kind), -BIG, BIG) if values.dtype.kind == "f" else values.astype(kind)


def _matched(signal: Signal, plan: Plan) -> np.ndarray:
    """Return (steps, plan.channels); a channel that the file lacks is NaN.

    Raises InputError where the channels can be told neither by name nor by number.
    """
    values = _plain(signal.values.T if plan.turned else signal.values)
    if signal.channels == plan.names or not (signal.channels and plan.names):
        if values.shape[1] == plan.channels:
            return values
        raise _foreign(signal, plan, values)
    known = [signal.channels.index(n) if n in signal.channels else -1 for n in plan.names]
    if max(known) < 0:
        if values.shape[1] == plan.channels:
            return values
        raise _foreign(signal, plan, values)
    wide = np.column_stack([values, np.full(len(values), np.nan, values.dtype)])
    return wide[:, known]


def _foreign(signal: Signal, plan: Plan, values: np.ndarray) -> InputError:
    return InputError(
        f"the recording has other channels than the {plan.channels} that were expected",
        got=signal.channels or f"{values.shape[1]} channels",
        fix=f"record the channels {', '.join(plan.names) or plan.channels}; name them where some are missing",
    )


def _scale(tables: Sequence[np.ndarray]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Robust mean and spread of each channel, by quartiles; the plain ones where quartiles are equal."""
    sample = np.concatenate(tables).astype(np.float64)
    low, middle, high = (_quiet(np.nanpercentile, sample, q) for q in (25, 50, 75))
    spread = (high - low) / 1.349
    plain = _quiet(np.nanstd, sample)
    tiny = ~(spread > 1e-3 * plain)
    middle = np.where(tiny, _quiet(np.nanmean, sample), middle)
    spread = np.where(tiny, plain, np.maximum(spread, 0.2 * plain))
    spread = np.where(np.isfinite(spread) & (spread > 1e-12), spread, 1.0)
    return tuple(np.nan_to_num(middle).tolist()), tuple(spread.tolist())


def _quiet(function: Callable[..., np.ndarray], values: np.ndarray, *rest: object) -> np.ndarray:
    """Call a NaN-aware reduction down the first axis; NaN, and no warning, for a channel without any."""
    empty = np.isnan(values).all(0)
    filled = np.where(empty, 0.0, values)
    return np.where(empty, np.nan, function(filled, *rest, axis=0))


def resampled(values: np.ndarray, steps: int) -> np.ndarray:
    """Stretch (n, channels) to (steps, channels): linear between readings, or the average where n > steps.

    A step is NaN where most of what it covers is missing. The average over fractional edges is exact.
    """
    n = len(values)
    if n == steps:
        return values
    lost = np.isnan(values)
    if lost.any():
        weight = resampled(np.where(lost, 0.0, 1.0), steps)
        total = resampled(np.where(lost, 0.0, values), steps)
        return np.where(weight >= 0.5, total / np.maximum(weight, 1e-9), np.nan)
    if n > steps:
        total = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, 0, dtype=np.float64)])
        return np.diff(_between(total, np.linspace(0, n, steps + 1)), axis=0) * (steps / n)
    return _between(values, np.linspace(0, n - 1, steps) if n > 1 else np.zeros(steps))


def _between(rows: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Read rows at fractional indices."""
    first = np.clip(at.astype(np.int64), 0, max(0, len(rows) - 2))
    part = (at - first)[:, None]
    return rows[first] * (1 - part) + rows[np.minimum(first + 1, len(rows) - 1)] * part


def patches(signal: Signal, *, plan: Plan) -> np.ndarray:
    """Turn one recording into (steps <= longest, width) float32.

    Columns: each channel scaled by training, each scaled by this recording, then (where the plan says so) the
    spread and the roughness inside each step, a mask of what was observed, and the gap before each step.
    """
    values = _matched(signal, plan)
    if not len(values) or np.isnan(values).all():
        raise InputError(
            "the recording holds no reading of the channels in use", got=signal.channels, fix="check it"
        )
    steps = _steps(_span(signal, plan), plan)
    scaled = np.clip((values - np.array(plan.mean)) / np.array(plan.std), -1e4, 1e4)
    coarse = resampled(scaled, steps)
    own = coarse - np.nan_to_num(_quiet(np.nanmean, coarse))
    spread = np.nan_to_num(_quiet(np.nanstd, coarse))
    parts = [np.clip(coarse, -CLIP, CLIP), np.clip(own / np.maximum(spread, STILL), -CLIP, CLIP)]
    if plan.texture:
        parts += _texture(scaled, coarse, steps)
    parts = [np.nan_to_num(p) for p in parts]
    if plan.missing:
        parts.append(~np.isnan(coarse))
    if plan.irregular:
        parts.append(_gaps(signal, steps, len(values)))
    return np.concatenate(parts, 1, dtype=np.float32)


def _steps(length: float, plan: Plan) -> int:
    if plan.whole:
        return plan.longest if length * 4 >= plan.longest else max(1, round(length))
    return max(1, min(plan.longest, round(length / plan.pool)))


def _texture(scaled: np.ndarray, coarse: np.ndarray, steps: int) -> list[np.ndarray]:
    """Log spread and log roughness of the samples that each step averages."""
    square = np.maximum(resampled(scaled * scaled, steps) - coarse * coarse, 0)
    moved = np.diff(scaled, axis=0, prepend=scaled[:1])
    rough = np.maximum(resampled(moved * moved, steps), 0)
    return [0.25 * np.log(part + 1e-4) + 1 for part in (square, rough)]


def _gaps(signal: Signal, steps: int, length: int) -> np.ndarray:
    """Seconds before each step as log1p, (steps, 1)."""
    if signal.times_s is not None and len(signal.times_s) == length:
        times = resampled(signal.times_s[:, None].astype(np.float64), steps)
        return np.log1p(np.maximum(np.diff(times, axis=0, prepend=times[:1]), 0))
    return np.full((steps, 1), math.log1p(length / steps / signal.rate_hz) if signal.rate_hz else 0.0)


def augment(x: np.ndarray, rng: np.random.Generator, strength: float, *, plan: Plan) -> np.ndarray:
    """Crop to 80-100 %, change the speed by up to 20 %, scale and drop channels, add noise, lose a span of time."""
    c = plan.channels
    kept = len(x) * (1 - 0.2 * strength * rng.random())
    speed = 1 + 0.2 * strength * rng.uniform(-1, 1)
    steps = max(1, min(plan.longest, round(len(x) if plan.whole else kept / speed)))
    start = rng.uniform(0, len(x) - kept)
    at = np.linspace(start, max(start, start + kept - 1), steps)
    if plan.whole:  # the length is fixed, so the speed changes along the way
        at = _warp(at, (speed - 1) * rng.choice([0.5, 1.0]))
    x = _between(x, np.clip(at, 0, len(x) - 1)).astype(np.float32)
    live = x[:, : 2 * c].reshape(len(x), 2, c)
    gain = np.exp(rng.normal(0, 0.15 * strength, c))
    gain *= rng.random(c) >= (0.1 * strength if c > 1 else 0.0)
    noise = rng.normal(0, 0.05 * strength, live.shape)
    live[:] = (live + noise) * gain
    wide = int(rng.integers(0, round(0.15 * strength * len(x)) + 1))
    start = int(rng.integers(0, len(x) - wide + 1))
    live[start : start + wide] = 0
    if plan.missing:
        mask = x[:, -c - plan.irregular : x.shape[1] - plan.irregular]
        mask[:] = (mask > 0.5) & (gain > 0)
        mask[start : start + wide] = 0
        live *= mask[:, None]
    return x


def _warp(at: np.ndarray, bend: float) -> np.ndarray:
    """Bend rising positions: faster at first and slower later, or the reverse; the ends stay."""
    if len(at) < 2:
        return at
    share = np.linspace(0, 1, len(at))
    return at[0] + (at[-1] - at[0]) * (share + bend * share * (1 - share))


def statistics(x: np.ndarray, *, plan: Plan) -> np.ndarray:
    """Describe a recording by a fixed number (below 1,700) of numbers, for forests and linear models."""
    c = plan.channels
    main = x[:, :c].astype(np.float64)
    if plan.missing:
        seen = x[:, -c - plan.irregular : x.shape[1] - plan.irregular] > 0.5
        main = np.where(seen, main, np.nan)
        main = np.where(seen, main, np.nan_to_num(_quiet(np.nanmean, main)))
    parts = [_describe(main)]
    rest = x[:, 2 * c :]
    told = [rest.mean(0), rest.std(0)] if rest.shape[1] <= 200 else [rest.mean(0)[:200]]
    return np.concatenate([*parts, *told, [math.log1p(len(x))]]).astype(np.float32)


def _describe(main: np.ndarray) -> np.ndarray:
    """Describe a course by numbers; how many depends on its channels alone, below about 1,400."""
    c = main.shape[1]
    if c > 250:
        main = np.stack([part.mean(1) for part in np.array_split(main, 250, axis=1)], 1)
    parts = [main.mean(0), main.std(0), main.min(0), main.max(0), _rough(main)]
    if c <= 60:
        parts += [
            *np.percentile(main, [10, 25, 50, 75, 90], axis=0),
            *_halves(main),
            *_echo(main),
            *_bands(main),
        ]
    if c <= 36:
        parts += [*resampled(main, 12)] if len(main) > 1 else [main[0]] * 12
    if 1 < c <= 12:
        parts.append(_together(main))
    return np.concatenate([np.ravel(part) for part in parts])


def _rough(x: np.ndarray) -> np.ndarray:
    return np.abs(np.diff(x, axis=0)).mean(0) if len(x) > 1 else np.zeros(x.shape[1])


def _halves(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return x[: (len(x) + 1) // 2].mean(0), x[len(x) // 2 :].mean(0)


def _echo(x: np.ndarray) -> list[np.ndarray]:
    """Autocorrelation at one and five steps."""
    centred = x - x.mean(0)
    power = np.maximum((centred**2).sum(0), 1e-9)
    return [(centred[lag:] * centred[: max(0, len(x) - lag)]).sum(0) / power for lag in (1, 5)]


def _bands(x: np.ndarray, count: int = 8) -> np.ndarray:
    """Log energy of `count` bands of the spectrum, each twice as wide as the one below: (count, channels)."""
    power = np.abs(np.fft.rfft(x - x.mean(0), axis=0)) ** 2 / len(x)
    edges = np.unique(np.geomspace(1, max(2, len(power)), count + 1).astype(int))
    sums = [power[a:b].sum(0) for a, b in pairwise(edges)]
    sums += [np.zeros(x.shape[1])] * (count - len(sums))
    return np.log(np.stack(sums) + 1e-6)


def _together(x: np.ndarray) -> np.ndarray:
    """Correlation of each pair of channels."""
    centred = x - x.mean(0)
    unit = centred / np.maximum(np.sqrt((centred**2).sum(0)), 1e-9)
    return (unit.T @ unit)[np.triu_indices(x.shape[1], 1)]


def infer_rate(asked: Sequence[tuple[int, float]]) -> float | None:
    """Tell the rate of arrays that have none from (samples in the file, last second that a cell asks for).

    The largest usual rate (1 Hz .. 96 kHz) at which every span lies inside its file. None where nothing was
    asked for, or where no usual rate makes some file full to 90 %: then the spans tell too little.
    """
    asked = [(samples, stop) for samples, stop in asked if stop > 0]
    if not asked:
        return None
    most = min(samples / stop for samples, stop in asked) * (1 + 1e-6)
    rate = max((r for r in RATES if r <= most), default=None)
    return rate if rate is not None and rate >= 0.9 * most else None


def preview(signal: Signal) -> dict[str, object]:
    """Give at most 6 channels as lines of at most 200 numbers (None: missing), for people."""
    few = _plain(signal.values[:, :6]).astype(np.float64)
    lines = resampled(few, min(200, len(few))).T
    seconds = len(few) / signal.rate_hz if signal.rate_hz else None
    if signal.times_s is not None and len(signal.times_s):
        seconds = float(signal.times_s[-1] - signal.times_s[0])
    return {
        "lines": [[None if np.isnan(v) else float(f"{v:.5g}") for v in line] for line in lines.tolist()],
        "unit": signal.unit,
        "names": list(signal.channels[:6]),
        "channels": int(signal.values.shape[1]),
        "seconds": seconds,
    }


def define(name: str, column: str, **learned: Any) -> Modality:
    """Build the modality of one column from the options that `survey` returned (JSON lists are fine)."""
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in learned.items()}
    plan = Plan(**fields)
    return Modality(
        name=name,
        column=column,
        carrier="series",
        options=_jsonable(plan),
        patches=functools.partial(patches, plan=plan),
        augment=functools.partial(augment, plan=plan),
        statistics=functools.partial(statistics, plan=plan),
        item=(plan.width,),
        longest=plan.longest,
        step_s=plan.step_s,
    )


CARRIER = Carrier(
    name="series",
    suffixes=SUFFIXES,
    decode=decode,
    survey=survey,
    define=define,
    preview=preview,
    corruptions=damage.SERIES,
)
