"""The nouns every room shares. Imports numpy and nothing of sensorium."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np


class InputError(ValueError):
    """A mistake the caller can fix: what is wrong, what was received, what to do next."""

    def __init__(self, wrong: str, *, got: object, fix: str):
        shown = repr(got)
        super().__init__(
            f"{wrong}\n  got: {shown if len(shown) <= 300 else shown[:300] + '...'}\n  fix: {fix}"
        )
        self.wrong, self.got, self.fix = wrong, got, fix

    def __reduce__(self):
        """Survive the trip between processes with all three parts."""
        return _input_error, (self.wrong, self.got, self.fix)


def _input_error(wrong: str, got: object, fix: str) -> InputError:
    return InputError(wrong, got=got, fix=fix)


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """The most that one cell may hold; a file beyond it is refused before it is unpacked."""

    bytes: int = 2_000_000_000  # size of one file, packed or unpacked
    pixels: int = 64_000_000  # width x height of one picture or one video frame
    samples: int = 400_000_000  # sound samples over all channels (2.5 h of stereo at 22 kHz)
    frames: int = 1_000_000  # frames of one video
    numbers: int = 400_000_000  # values of one series, one point cloud
    characters: int = 10_000_000  # characters of one text


@dataclass(frozen=True, kw_only=True, slots=True)
class Media:
    """What one cell names, before decoding: bytes of a file, or a value that Python handed over."""

    content: object  # bytes of a file; str; np.ndarray; for a table row: dict of column -> cell
    name: str = ""  # file name or description, for messages and for the format where bytes do not tell
    span_s: tuple[float, float] | None = None  # the part asked for by `#t=start,stop`, in seconds
    rate_hz: float | None = None  # samples per second where the content is a bare array
    beside: Callable[[str], bytes] | None = None  # reads a sibling file (the .dat beside a WFDB .hea)


@dataclass(frozen=True, kw_only=True, slots=True)
class Signal:
    """One decoded observation from one sensor."""

    values: np.ndarray  # (steps, channels), (H, W, C), (T, H, W, C), (points, dims), (steps,) of ids
    unit: str = ""  # SI or field unit of `values`: "mV", "m/s", "" for none
    rate_hz: float | None = None  # steps per second; None if not a regular series
    start_s: float = 0.0  # offset from the sample's time zero, in seconds
    times_s: np.ndarray | None = None  # (steps,) seconds, rising, where the steps are irregular
    channels: tuple[str, ...] = ()  # names along the channel axis, () where the file has none

    def cut(self, start_s: float, stop_s: float) -> "Signal":
        """Return the part from `start_s` to `stop_s` (seconds); its time zero is `start_s`.

        Raises InputError where the span is empty, lies outside the recording or has no clock.
        """
        if self.times_s is not None:
            keep = (self.times_s >= start_s) & (self.times_s < stop_s)
            if not keep.any():
                raise _outside(start_s, stop_s, f"times {self.times_s[:1]}..{self.times_s[-1:]}")
            return replace(self, values=self.values[keep], times_s=self.times_s[keep] - start_s, start_s=0.0)
        if self.rate_hz is None:
            raise InputError(
                "a time span was asked for, but the samples per second are not known",
                got=f"#t={start_s},{stop_s}",
                fix="give the rate: --column NAME=series:rate=360",
            )
        first = round(start_s * self.rate_hz)
        last = round(min(stop_s * self.rate_hz, len(self.values)))  # the stop may be infinite: to the end
        if not 0 <= first < min(last, len(self.values)):
            raise _outside(start_s, stop_s, f"{len(self.values) / self.rate_hz:.3f} s at {self.rate_hz:g} Hz")
        return replace(self, values=self.values[first:last], start_s=0.0)


def _outside(start_s: float, stop_s: float, holds: str) -> InputError:
    return InputError(
        "the time span lies outside the recording",
        got=f"#t={start_s},{stop_s} of a recording that holds {holds}",
        fix="give start and stop in seconds inside the recording, start before stop",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One row of a dataset. A modality that was not recorded is absent, never zero-filled."""

    id: str
    signals: Mapping[str, Signal]  # keyed by modality name
    targets: Mapping[str, object] = field(default_factory=dict)  # keyed by column; a missing one is absent


@dataclass(frozen=True, kw_only=True, slots=True)
class Modality:
    """How one sensor's signal becomes what an encoder eats. A value, not a base class."""

    name: str  # the name users see: the column's, or `column.audio` for the sound of a video
    column: str  # the column whose cells hold it
    carrier: str  # text image video audio series points table
    options: Mapping[str, object]  # JSON: `define(name, column, **options)` rebuilds this value
    patches: Callable[[Signal], np.ndarray]  # -> (steps, *item), deterministic, small enough to keep
    augment: Callable[
        [np.ndarray, np.random.Generator, float], np.ndarray
    ]  # strength 0..1; shape kept but steps
    statistics: Callable[[np.ndarray], np.ndarray]  # patches -> (n,) float32 of fixed n, for the floors
    item: tuple[int, ...]  # shape of one step
    longest: int  # most steps that one row may hand to an encoder
    step_s: float = 0.0  # seconds from step to step; 0 where steps are not time


@dataclass(frozen=True, kw_only=True, slots=True)
class Carrier:
    """One family of file formats and the arrays in them: bytes -> Signal -> patches."""

    name: str
    suffixes: frozenset[str]  # lower case, with the dot
    decode: Callable[[Media, Limits], Signal | None]  # None: the file holds no such signal (a silent video)
    survey: Callable[..., dict[str, object]]  # (training signals, **given) -> options for `define`
    define: Callable[..., Modality]  # (name, column, **options) -> Modality
    preview: Callable[[Signal], dict[str, object]]  # a small JSON picture of the signal for people
    # name -> (signal, rng, severity 0..5) -> the signal as a failing sensor gives it; 0 changes nothing
    corruptions: Mapping[str, Callable[[Signal, np.random.Generator, int], Signal]] = field(
        default_factory=dict
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """One row's answer. Exactly one of `value` and `error` says something."""

    id: str
    value: object = None  # class name, tuple of class names (several labels) or float
    set: tuple[
        object, ...
    ] = ()  # what the truth is promised to be among: classes, or (low, high); () if not asked
    probabilities: Mapping[str, float] = field(default_factory=dict)  # class -> 0..1; empty for numbers
    error: str = ""  # why this row has no answer; empty when fine
