"""How sensors fail in the world: a few corruptions for each carrier, in five severities.

A corruption is a pure function `(signal, rng, severity) -> Signal`. Severity 0 returns the signal as it is, 1 is hard
to notice, 5 leaves little. The input is never changed, the result is one that the carrier's `patches` accept, and
the same `rng` state draws the same damage at every severity, so that curves differ by severity alone. The idea is
that of arXiv:1903.12261, section 3; the levels, named at each function, are our own.
"""

import functools
import io
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from PIL import Image, ImageFilter

from sensorium.modalities.grid import resized, squeezed
from sensorium.types import InputError, Signal

Corruption = Callable[[Signal, np.random.Generator, int], Signal]
Graded = Callable[[Signal, np.random.Generator, float], Signal]
SEVERITIES = (0, 1, 2, 3, 4, 5)
GRAIN = (
    128  # pixels of the short side from which on neighbours share their noise: finer noise is averaged away
)
PACKED = 256, 2048  # most pixels of the short and the long side when a picture is compressed
BIG = 1e30  # readings beyond it would overflow when squared


def graded(*levels: float) -> Callable[[Graded], Corruption]:
    """Turn a function of one level into a corruption: severity 1..5 chooses among five `levels`, 0 does nothing.

    The corruption raises InputError for any other severity.
    """

    def wrapped(change: Graded) -> Corruption:
        @functools.wraps(change)
        def corruption(signal: Signal, rng: np.random.Generator, severity: int) -> Signal:
            if severity not in SEVERITIES:
                raise InputError("no such severity", got=severity, fix="give a whole number from 0 to 5")
            return signal if severity == 0 else change(signal, rng, levels[severity - 1])

        return corruption

    return wrapped


def lost(rng: np.random.Generator, count: int, share: float, *, wide: int = 1) -> np.ndarray:
    """Draw which of `count` steps are lost, in blocks of `wide`: (count,) bool; one block at least stays.

    What is lost at a smaller share is lost at a larger one, too.
    """
    chance = rng.random(-(-count // wide))
    gone = chance < share
    gone[chance.argmax()] = False
    return np.repeat(gone, wide)[:count]


def span(rng: np.random.Generator, count: int, share: float) -> slice:
    """Draw one span of `share` of `count` steps, one step at least."""
    wide = min(count, max(1, round(share * count)))
    start = int(rng.random() * (count - wide + 1))
    return slice(start, start + wide)


# --- pictures and clips: (H, W, C) or (frames, H, W, C) uint8 --------------------------------------------------------


def _each(pixels: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Apply a change of (H, W, C) to a picture or to every frame of a clip."""
    return change(pixels) if pixels.ndim == 3 else np.stack([change(frame) for frame in pixels])


@graded(12.0, 24.0, 40.0, 64.0, 96.0)
def sensor_noise(signal: Signal, rng: np.random.Generator, spread: float) -> Signal:
    """Add Gaussian noise of `spread` grey levels (of 255), new for each pixel, colour and frame.

    Above 128 pixels on the short side neighbours share theirs, so that a large photo is damaged as a small one is.
    """

    def noisy(frame: np.ndarray) -> np.ndarray:
        high, wide, channels = frame.shape
        coarse = -(-min(high, wide) // GRAIN)
        noise = rng.standard_normal((-(-high // coarse), -(-wide // coarse), channels), dtype=np.float32)
        if coarse > 1:
            noise = noise.repeat(coarse, 0).repeat(coarse, 1)[:high, :wide]
        return np.clip(np.rint(frame + np.float32(spread) * noise), 0, 255).astype(np.uint8)

    return replace(signal, values=_each(signal.values, noisy))


@graded(0.01, 0.02, 0.035, 0.06, 0.1)
def blur(signal: Signal, rng: np.random.Generator, share: float) -> Signal:
    """Defocus: a Gaussian with a spread of `share` of the short side."""

    def blurred(frame: np.ndarray) -> np.ndarray:
        soft = ImageFilter.GaussianBlur(share * min(frame.shape[:2]))
        return np.asarray(Image.fromarray(squeezed(frame)).filter(soft)).reshape(frame.shape)

    return replace(signal, values=_each(signal.values, blurred))


@graded(0.7, 0.45, 0.25, 0.12, 0.05)
def low_light(signal: Signal, rng: np.random.Generator, light: float) -> Signal:
    """Leave the share `light` of the brightness, and so of the contrast; eight bits keep what they can."""
    shades = np.rint(np.arange(256) * light).astype(np.uint8)
    return replace(signal, values=shades[signal.values])


@graded(0.05, 0.12, 0.22, 0.35, 0.55)
def occlusion(signal: Signal, rng: np.random.Generator, share: float) -> Signal:
    """Cover `share` of the area by one rectangle of one random grey, at the same place in every frame."""
    high, wide = signal.values.shape[-3:-1]
    rows, columns = (span(rng, size, math.sqrt(share)) for size in (high, wide))
    values = signal.values.copy()
    values[..., rows, columns, :] = rng.integers(0, 256)
    return replace(signal, values=values)


@graded(40, 20, 10, 5, 2)
def compression(signal: Signal, rng: np.random.Generator, quality: float) -> Signal:
    """Save as JPEG of a low `quality` (0..100); a large picture is shrunk to 256 pixels for it, as for sending."""

    def packed(frame: np.ndarray) -> np.ndarray:
        high, wide = frame.shape[:2]
        scale = min(1.0, PACKED[0] / min(high, wide), PACKED[1] / max(high, wide))
        small = resized(frame, max(1, round(wide * scale)), max(1, round(high * scale)))
        file = io.BytesIO()
        Image.fromarray(squeezed(small)).save(file, "JPEG", quality=int(quality))
        return resized(np.asarray(Image.open(file)).reshape(small.shape), wide, high)

    return replace(signal, values=_each(signal.values, packed))


@graded(0.1, 0.25, 0.45, 0.65, 0.85)
def lost_frames(signal: Signal, rng: np.random.Generator, share: float) -> Signal:
    """Lose `share` of the frames of a clip, each by itself; one at least stays."""
    keep = ~lost(rng, len(signal.values), share)
    times = signal.times_s
    return replace(signal, values=signal.values[keep], times_s=None if times is None else times[keep])


@graded(0.2, 0.4, 0.6, 0.8, 1.0)
def frozen_frames(signal: Signal, rng: np.random.Generator, share: float) -> Signal:
    """Let the picture stand still for `share` of the clip while the clock runs on."""
    part = span(rng, len(signal.values), share)
    values = signal.values.copy()
    values[part] = values[part.start]
    return replace(signal, values=values)


# --- sound: (samples, 1) float32 -------------------------------------------------------------------------------------


@graded(20.0, 15.0, 10.0, 5.0, 0.0)
def white_noise(signal: Signal, rng: np.random.Generator, snr_db: float) -> Signal:
    """Add white noise `snr_db` decibels below the mean power of the sound; silence stays silent."""
    noise = rng.standard_normal(signal.values.shape, dtype=np.float32)
    gain = math.sqrt(_power(signal.values) / max(_power(noise), 1e-30) / 10 ** (snr_db / 10))
    return replace(signal, values=signal.values + np.float32(gain) * noise)


def _power(x: np.ndarray) -> float:
    return float(np.square(x, dtype=np.float64).mean())


@graded(0.15, 0.3, 0.6, 1.0, 1.8)
def reverberation(signal: Signal, rng: np.random.Generator, seconds: float) -> Signal:
    """Play in a hall whose echo falls by 60 dB in `seconds` and holds `2 * seconds` the energy of the direct sound.

    The echo is noise that decays exponentially; power and length of the sound stay.
    """
    from scipy.signal import fftconvolve  # loads when first used

    samples = signal.values[:, 0]
    fade = seconds * (signal.rate_hz or 16000.0)
    steps = np.arange(min(len(samples), max(1, round(fade))))
    echo = rng.standard_normal(len(steps), dtype=np.float32) * (10 ** (-3 * steps / fade)).astype(np.float32)
    echo *= np.float32(math.sqrt(2 * seconds / max(float((echo**2).sum()), 1e-30)))
    echo[0] += 1.0
    heard = fftconvolve(samples, echo)[: len(samples)]
    gain = math.sqrt(_power(samples) / max(_power(heard), 1e-30))
    return replace(signal, values=(gain * heard).astype(np.float32)[:, None])


@graded(1.2, 0.8, 0.5, 0.25, 0.1)
def clipping(signal: Signal, rng: np.random.Generator, level: float) -> Signal:
    """Overload the microphone: no sample goes beyond `level` times the root mean square."""
    most = np.float32(level * math.sqrt(_power(signal.values)))
    return replace(signal, values=np.clip(signal.values, -most, most))


@graded(5000.0, 3400.0, 2000.0, 1000.0, 500.0)
def band_limit(signal: Signal, rng: np.random.Generator, hz: float) -> Signal:
    """Let through what lies below `hz` (3400 is a telephone), with the edge of an eighth-order Butterworth filter."""
    count = len(signal.values)
    bins = np.fft.rfftfreq(count, 1 / (signal.rate_hz or 16000.0))
    through = 1 / np.sqrt(1 + (bins / hz) ** 16)
    heard = np.fft.irfft(np.fft.rfft(signal.values[:, 0]) * through, count)
    return replace(signal, values=heard.astype(np.float32)[:, None])


@graded(0.1, 0.2, 0.35, 0.5, 0.7)
def lost_sound(signal: Signal, rng: np.random.Generator, share: float) -> Signal:
    """Silence `share` of the packets of 50 ms; in a shorter sound, of its eighths."""
    count = len(signal.values)
    wide = max(1, min(round(0.05 * (signal.rate_hz or 16000.0)), count // 8))
    gone = lost(rng, count, share, wide=wide)
    return replace(signal, values=np.where(gone[:, None], np.float32(0), signal.values))


# --- series: (steps, channels), or (channels, steps) from a bare array; NaN where missing ----------------------------


def _upright(signal: Signal) -> tuple[np.ndarray, bool]:
    """Copy as (steps, channels) floats; and whether the file holds (channels, steps), by the rule of the carrier."""
    values = signal.values.astype(np.result_type(signal.values.dtype, np.float32))
    few, many = values.shape
    bare = not signal.channels and signal.times_s is None
    turned = bare and few <= 512 and many >= max(64, 4 * few)
    return (values.T.copy() if turned else values), turned


def _laid(signal: Signal, values: np.ndarray, turned: bool) -> Signal:
    """Put changed readings back; where none is left, the cell would be empty, so the signal stays as it was."""
    if np.isnan(values).all():
        return signal
    return replace(signal, values=values.T if turned else values)


def _spread(values: np.ndarray) -> np.ndarray:
    """Standard deviation of each channel without its gaps, 0 for a channel that has no reading."""
    x = np.clip(values.astype(np.float64), -BIG, BIG)
    seen = ~np.isnan(x)
    count = np.maximum(seen.sum(0), 1)
    centred = np.where(seen, x - np.where(seen, x, 0).sum(0) / count, 0)
    return np.sqrt((centred**2).sum(0) / count)


@graded(0.1, 0.25, 0.5, 1.0, 2.0)
def reading_noise(signal: Signal, rng: np.random.Generator, share: float) -> Signal:
    """Add Gaussian noise of `share` of each channel's own spread to each reading."""
    values, turned = _upright(signal)
    noise = rng.standard_normal(values.shape) * (share * _spread(values))
    return _laid(signal, (values + noise).astype(values.dtype), turned)


@graded(0.25, 0.5, 1.0, 2.0, 4.0)
def drift(signal: Signal, rng: np.random.Generator, share: float) -> Signal:
    """Let the zero of each channel wander in a slow wave (up to one turn) of `share` of its own spread."""
    values, turned = _upright(signal)
    turns, phase = rng.uniform(0.25, 1.0, values.shape[1]), rng.uniform(0, 2 * np.pi, values.shape[1])
    course = np.linspace(0, 2 * np.pi, len(values))[:, None]
    wave = math.sqrt(2) * share * _spread(values) * np.cos(course * turns + phase)
    return _laid(signal, (values + wave).astype(values.dtype), turned)


@graded(0.1, 0.2, 0.35, 0.5, 0.7)
def lost_readings(signal: Signal, rng: np.random.Generator, share: float) -> Signal:
    """Lose `share` of the readings in spans of a fortieth of the recording: NaN in all channels."""
    values, turned = _upright(signal)
    values[lost(rng, len(values), share, wide=max(1, len(values) // 40))] = np.nan
    return _laid(signal, values, turned)


@graded(0.2, 0.4, 0.6, 0.8, 1.0)
def stuck_channels(signal: Signal, rng: np.random.Generator, share: float) -> Signal:
    """Let a third of the channels (at least one) stay at one reading for `share` of the time: a dead electrode."""
    values, turned = _upright(signal)
    part = span(rng, len(values), share)
    for channel in rng.permutation(values.shape[1])[: -(-values.shape[1] // 3)]:
        readings = values[part, channel]
        seen = readings[~np.isnan(readings)]
        readings[:] = seen[0] if len(seen) else np.nan
    return _laid(signal, values, turned)


@graded(0.3, 0.6, 1.0, 1.5, 2.2)
def jittered_clock(signal: Signal, rng: np.random.Generator, spread: float) -> Signal:
    """Read at the wrong moments: the gaps between readings vary by a log-normal factor of `spread`, in order.

    The clock of the signal still shows the moments that were meant.
    """
    values, turned = _upright(signal)
    if len(values) < 3:
        return signal
    at = np.cumsum(np.exp(spread * rng.standard_normal(len(values))))
    share = (at - at[0]) / (at[-1] - at[0])
    return _laid(signal, values[np.rint(share * (len(values) - 1)).astype(int)], turned)


# --- points: (points, dims) float32, of which the first three are a place --------------------------------------------


@graded(0.02, 0.05, 0.1, 0.2, 0.4)
def shaken_points(signal: Signal, rng: np.random.Generator, share: float) -> Signal:
    """Move every point by Gaussian noise of `share` of the scene's reach (90 % of the places, around their median)."""
    places = signal.values[:, :3].astype(np.float64)
    reach = float(np.percentile(np.abs(places - np.median(places, 0)), 90))
    values = signal.values.copy()
    values[:, :3] = places + share * reach * rng.standard_normal(places.shape)
    return replace(signal, values=values)


@graded(0.03, 0.08, 0.15, 0.3, 0.6)
def stray_points(signal: Signal, rng: np.random.Generator, share: float) -> Signal:
    """Put `share` of the points somewhere else in the box of the scene: rain, dust, echoes of echoes."""
    places = signal.values[:, :3].astype(np.float64)
    low, high = places.min(0), places.max(0)
    elsewhere = low + (high - low) * rng.random(places.shape)
    values = signal.values.copy()
    values[:, :3] = np.where(lost(rng, len(values), share)[:, None], elsewhere, places)
    return replace(signal, values=values)


@graded(0.2, 0.4, 0.6, 0.8, 0.95)
def lost_points(signal: Signal, rng: np.random.Generator, share: float) -> Signal:
    """Lose `share` of the points, each by itself; one at least stays."""
    return _kept(signal, ~lost(rng, len(signal.values), share))


@graded(0.1, 0.2, 0.35, 0.5, 0.7)
def blocked_view(signal: Signal, rng: np.random.Generator, share: float) -> Signal:
    """Lose one span of `share` of the frames; of a plain cloud, one sector of `share` of the turn around its middle."""
    start = rng.random()
    _, frame = (
        (None, np.zeros(1)) if signal.times_s is None else np.unique(signal.times_s, return_inverse=True)
    )
    count = int(frame.max()) + 1
    if count > 1:
        wide = min(count - 1, max(1, round(share * count)))
        first = int(start * (count - wide + 1))
        gone = (frame >= first) & (frame < first + wide)
    else:
        x, y = (signal.values[:, :2] - np.median(signal.values[:, :2], 0)).T
        gone = (np.arctan2(y, x) / (2 * np.pi) - start) % 1 < share
    return signal if gone.all() else _kept(signal, ~gone)


def _kept(signal: Signal, keep: np.ndarray) -> Signal:
    times = signal.times_s
    return replace(signal, values=signal.values[keep], times_s=None if times is None else times[keep])


# --- text: (1,) object, a string -------------------------------------------------------------------------------------


def mistyped(text: str, rng: np.random.Generator, share: float) -> str:
    """Mistype `share` of the letters: dropped, doubled, another of the same text, or before its neighbour."""
    letters = [c for c in text if not c.isspace()]
    chance, kinds = rng.random(len(text)), rng.integers(0, 4, len(text))
    others = rng.integers(0, max(1, len(letters)), len(text))
    out: list[str] = []
    for letter, hit, kind, other in zip(text, chance < share, kinds, others, strict=True):
        if not hit or letter.isspace():
            out.append(letter)
        elif kind == 1:
            out.append(letter * 2)
        elif kind == 2:
            out.append(letters[other])
        elif kind == 3:
            out.insert(max(0, len(out) - 1), letter)
    return "".join(out)


def _words(text: str) -> tuple[list[str], list[str]]:
    """Words and what stands behind each; letters where nothing is set apart by blanks."""
    parts = re.split(r"(\s+)", text)
    return (parts[::2], [*parts[1::2], ""]) if len(parts) > 1 else (list(text), [""] * len(text))


def _written(signal: Signal, text: str) -> Signal:
    """Put a changed text in; a blank one would be an empty cell, so then the signal stays as it was."""
    return replace(signal, values=np.array([text.strip()], dtype=object)) if text.strip() else signal


@graded(0.03, 0.07, 0.15, 0.3, 0.5)
def typing_errors(signal: Signal, rng: np.random.Generator, share: float) -> Signal:
    """Mistype `share` of the letters."""
    return _written(signal, mistyped(str(signal.values[0]), rng, share))


@graded(0.1, 0.2, 0.35, 0.55, 0.8)
def lost_words(signal: Signal, rng: np.random.Generator, share: float) -> Signal:
    """Lose `share` of the words, each by itself; one at least stays."""
    words, behind = _words(str(signal.values[0]))
    gone = lost(rng, len(words), share)
    kept = (w + b for w, b, g in zip(words, behind, gone, strict=True) if not g)
    return _written(signal, "".join(kept))


@graded(0.15, 0.3, 0.5, 0.75, 1.0)
def shuffled_words(signal: Signal, rng: np.random.Generator, share: float) -> Signal:
    """Deal out `share` of the words anew among their places."""
    words, behind = _words(str(signal.values[0]))
    places = np.flatnonzero(rng.random(len(words)) < share)
    said = list(words)
    for place, source in zip(places, rng.permutation(places), strict=True):
        said[place] = words[source]
    return _written(signal, "".join(w + b for w, b in zip(said, behind, strict=True)))


@graded(0.85, 0.65, 0.45, 0.25, 0.1)
def cut_off(signal: Signal, rng: np.random.Generator, share: float) -> Signal:
    """Keep the first `share` of the words, one at least."""
    words, behind = _words(str(signal.values[0]))
    count = max(1, round(share * len(words)))
    return _written(signal, "".join(w + b for w, b in zip(words[:count], behind, strict=False)))


# --- what each carrier names; a table's stand with the carrier, which alone can tell numbers from words

IMAGE: Mapping[str, Corruption] = {
    "sensor noise": sensor_noise, "blur": blur, "low light": low_light, "occlusion": occlusion, "compression": compression,
}  # fmt: skip
VIDEO: Mapping[str, Corruption] = {
    "lost frames": lost_frames, "frozen frames": frozen_frames, "sensor noise": sensor_noise, "blur": blur,
    "low light": low_light, "occlusion": occlusion,
}  # fmt: skip
AUDIO: Mapping[str, Corruption] = {
    "white noise": white_noise, "reverberation": reverberation, "lost spans": lost_sound, "clipping": clipping,
    "band limit": band_limit,
}  # fmt: skip
SERIES: Mapping[str, Corruption] = {
    "noise": reading_noise, "lost spans": lost_readings, "drift": drift, "stuck channels": stuck_channels,
    "jittered clock": jittered_clock,
}  # fmt: skip
TEXT: Mapping[str, Corruption] = {
    "typing errors": typing_errors, "lost words": lost_words, "shuffled order": shuffled_words, "cut off": cut_off,
}  # fmt: skip
POINTS: Mapping[str, Corruption] = {
    "jitter": shaken_points, "lost points": lost_points, "blocked view": blocked_view, "stray points": stray_points,
}  # fmt: skip
