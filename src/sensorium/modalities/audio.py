"""Sound: WAV FLAC OGG MP3 OPUS M4A and the sound of a video -> 16 kHz mono -> log-mel frames."""

import base64
import io
import wave
from collections.abc import Iterator, Sequence

import numpy as np

from sensorium.modalities import damage
from sensorium.modalities.grid import BROKEN, log_mel, refused, sniffed, too_much
from sensorium.modalities.options import checked, number, whole
from sensorium.types import Carrier, InputError, Limits, Media, Modality, Signal

RATE_HZ = 16000
FLOOR_DB = 80.0  # below the loudest moment of the clip everything is silence
FIX = "save it again as WAV or FLAC, or leave the cell empty"
SOUNDS = frozenset({"wav", "flac", "ogg", "mp3", "aiff", "caf", "au"})  # read by libsndfile
FILMS = frozenset({"mp4", "matroska", "avi", "flv", "mpeg", "mpegts", "asf", "aac", "gif"})  # read by FFmpeg
Span = tuple[float, float] | None


def decode(media: Media, limits: Limits) -> Signal | None:
    """Decode one sound to (samples, 1) float32 at 16 kHz, mono, without offset; None for a silent video.

    `media.content` is a file's bytes, or (samples,), (samples, channels) numbers with `media.rate_hz`;
    `media.span_s` is read without the rest. Raises InputError where nothing can be read, samples are NaN or
    infinite, the span lies outside, or there are more than `limits.samples`.
    """
    content = media.content
    if isinstance(content, np.ndarray):
        return _signal(_of_array(content, media), media.rate_hz or 0.0, media, limits)
    if not isinstance(content, bytes):
        raise refused("sound", name=media.name, why=f"a {type(content).__name__}", fix=FIX)
    kind = sniffed(content)
    if kind not in FILMS | SOUNDS:
        why = f"{len(content)} bytes that are {kind or 'no sound format'}" if content else "an empty file"
        raise refused("sound", name=media.name, why=why, fix=FIX)
    found = _by_soundfile(content, media, limits) if kind in SOUNDS else None
    if found is None:
        found = _by_container(content, media, limits, format=kind)
    return None if found is None else _signal(*found, media, limits)


def _of_array(content: np.ndarray, media: Media) -> np.ndarray:
    if media.rate_hz is None:
        raise InputError(
            "the samples per second of a sound are not known", got=f"an array of shape {content.shape}",
            fix="give the rate with the array",
        )  # fmt: skip
    if content.dtype.kind not in "iuf" or content.ndim not in (1, 2) or not content.size:
        raise InputError(
            "not a sound", got=f"an array of {content.dtype}, shape {content.shape}",
            fix="give (samples,) or (samples, channels) numbers",
        )  # fmt: skip
    values = content.T if content.ndim == 2 and content.shape[0] <= 8 < content.shape[1] else content
    if values.dtype.kind in "iu":
        values = values / np.float32(np.iinfo(values.dtype).max)
    first, last = within(len(values), media.rate_hz, media.span_s)
    with np.errstate(over="ignore", invalid="ignore"):
        return values[first:last].mean(1) if values.ndim == 2 else values[first:last]


def within(count: int, rate_hz: float, span_s: Span) -> tuple[int, int]:
    """Turn seconds into (first, last) samples of `count`; raises InputError where they lie outside."""
    if span_s is None:
        return 0, count
    start, stop = span_s[0] * rate_hz, min(span_s[1] * rate_hz, count)
    first, last = (round(start), round(stop)) if 0 <= start < stop else (0, 0)  # NaN compares with nothing
    if first >= last:
        raise InputError(
            "the time span lies outside the recording",
            got=f"#t={span_s[0]},{span_s[1]} of {count / rate_hz:.3f} s",
            fix="give start and stop in seconds inside the recording, start before stop",
        )
    return first, last


class _File(io.BytesIO):
    """Bytes that stay where they are when damage asks for a place before the start.

    The error would be raised in a callback of the C library, which can only print it.
    """

    def seek(self, offset: int, whence: int = 0, /) -> int:
        try:
            return super().seek(offset, whence)
        except ValueError:
            return self.tell()


def _by_soundfile(content: bytes, media: Media, limits: Limits) -> tuple[np.ndarray, float] | None:
    """Read by libsndfile, block by block; None where it refuses the file."""
    import soundfile

    try:
        file = soundfile.SoundFile(_File(content))
    except BROKEN:
        return None
    with file:
        first, last = within(file.frames, file.samplerate, media.span_s)
        if (last - first) * file.channels > limits.samples:
            raise too_much("sound", got=(last - first) * file.channels, limit="samples", name=media.name)
        try:
            if first:
                file.seek(first)
            blocks = [block.mean(1) for block in _blocks(file, last - first)]
            mono = np.concatenate(blocks or [np.zeros(0, np.float32)])
        except BROKEN as error:
            raise refused("sound", name=media.name, why=error, fix=FIX) from error
        if len(mono) < 0.99 * (last - first) or (media.span_s is None and _cut_off(content)):
            raise refused("sound", name=media.name, why="the file is cut off", fix=FIX)
        return mono, float(file.samplerate)


def _blocks(file, frames: int) -> Iterator[np.ndarray]:
    """Yield (n, channels) float32 until `frames` have come; a header's promise is never allocated at once."""
    while frames > 0:
        block = file.read(min(frames, 1 << 20), dtype="float32", always_2d=True)
        if not len(block):
            return
        frames -= len(block)
        yield block


def _cut_off(content: bytes) -> bool:
    """Tell whether a WAV file is over 1 % shorter than its header says (0 and 2^31.. mean: not known)."""
    at = 12
    while content[:4] == b"RIFF" and at + 8 <= len(content):
        size = int.from_bytes(content[at + 4 : at + 8], "little")
        if content[at : at + 4] == b"data":
            return 0 < size < 0x7FFFF000 and len(content) - at - 8 < 0.99 * size
        at += 8 + size + size % 2
    return False


def _by_container(
    content: bytes, media: Media, limits: Limits, *, format: str
) -> tuple[np.ndarray, float] | None:
    """Read a container's first sound by FFmpeg, up to any damage; None for a video that has none."""
    import av

    pieces: list[np.ndarray] = []
    rate = 0.0
    trouble: object = "no samples in it, or in the time span that was asked for"
    try:
        with av.open(io.BytesIO(content), format=format, metadata_errors="ignore") as container:
            if not container.streams.audio:
                if container.streams.video:
                    return None
                raise refused("sound", name=media.name, why="the file holds no sound", fix=FIX)
            rate = float(container.streams.audio[0].rate or 0)
            _collect(container, media.span_s, limits.samples, pieces, name=media.name)
    except InputError:
        raise
    except BROKEN as error:
        trouble = error
    except av.FFmpegError as error:
        trouble = error
    if not pieces:
        raise refused("sound", name=media.name, why=trouble, fix=FIX)
    return np.concatenate(pieces), rate


def _collect(container, span_s: Span, limit: int, pieces: list[np.ndarray], *, name: str) -> None:
    """Append mono blocks of the first sound, exactly those samples that lie in the span."""
    stream = container.streams.audio[0]
    stream.thread_count = 1  # the workers are the threads
    first, last = span_s or (0.0, float("inf"))
    origin, rate = (container.start_time or 0) / 1e6, stream.rate
    if first > 1:
        container.seek(int((first + origin) * 1e6))
    position, count = None, 0
    for frame in container.decode(stream):
        if frame.sample_rate != rate:
            return
        block = _mixed(frame)
        if position is None:
            position = 0 if span_s is None else round((float(frame.time or 0.0) - origin) * rate)
        start, stop = max(0, round(first * rate) - position), min(len(block), last * rate - position)
        position += len(block)
        count += len(block) * frame.layout.nb_channels
        if count > limit:
            raise too_much("sound", got=count, limit="samples", name=name)
        if start < stop:
            pieces.append(block[start : round(stop)])
        if position >= last * rate:
            return


def _mixed(frame) -> np.ndarray:
    """The mean of all channels of one FFmpeg frame as (samples,) float32 around some offset."""
    values = frame.to_ndarray()  # (channels, samples), or (1, samples * channels) where packed
    mono = values.reshape(frame.samples, -1).mean(1) if frame.format.is_packed else values.mean(0)
    if values.dtype.kind != "f":
        mono = mono / 2.0 ** (8 * values.dtype.itemsize - 1)
    return mono.astype(np.float32)  # the middle of unsigned samples goes with the offset


def _signal(mono: np.ndarray, rate: float, media: Media, limits: Limits) -> Signal:
    """Take off the offset and resample (samples,) to 16 kHz."""
    name = media.name
    if not len(mono):
        raise refused("sound", name=name, why="no samples", fix=FIX)
    if not 1000 <= rate <= 1_000_000:
        raise InputError(
            "a sound needs 1000 to 1000000 samples a second", got=f"{rate:g} Hz in {name or 'a cell'}",
            fix="check the file's header, or read the column as series",
        )  # fmt: skip
    if len(mono) * max(1.0, RATE_HZ / rate) > limits.samples:
        raise too_much("sound", got=int(len(mono) * max(1.0, RATE_HZ / rate)), limit="samples", name=name)
    with np.errstate(over="ignore", invalid="ignore"):  # what these would warn of is refused below
        mono = np.asarray(mono, dtype=np.float32)
        mono = mono - np.float32(mono.mean(dtype=np.float64))
    if not np.isfinite(mono).all():
        raise refused("sound", name=name, why="NaN, infinite or huge samples", fix=FIX)
    if rate != RATE_HZ:
        mono = resampled(mono, rate, RATE_HZ)
    return Signal(values=mono[:, None], rate_hz=float(RATE_HZ))


def resampled(mono: np.ndarray, rate: float, to: float) -> np.ndarray:
    """Change the samples per second of (samples,) float32; at least one sample comes out."""
    import soxr

    new = soxr.resample(mono, rate, to)
    return new if len(new) else mono[:1]


def survey(signals: Sequence[Signal], **given: object) -> dict[str, object]:
    """Learn options: `rate_hz` (16000), mel `bands` (64), `hop_s` (by the clips' length), `longest`."""
    known = {
        "rate_hz": whole(2000, RATE_HZ),
        "bands": whole(8, 256),
        "hop_s": number(0.002, 1.0),
        "longest": whole(1, 20000),
    }
    options = checked(given, known, carrier="audio")
    seconds = (
        float(np.percentile([len(s.values) / (s.rate_hz or RATE_HZ) for s in signals], 95))
        if signals
        else 1.0
    )
    hop_s = float(str(options.get("hop_s", 0.01 if seconds <= 3 else 0.02 if seconds <= 12 else 0.04)))
    longest = max(1, min(int(np.ceil(1.1 * seconds / hop_s)), 800))
    return {"rate_hz": RATE_HZ, "bands": 64, "hop_s": hop_s, "longest": longest, **options}


def patches(signal: Signal, *, rate_hz: int, bands: int, hop_s: float, longest: int) -> np.ndarray:
    """Log-mel frames with mean 0 and spread 1 over the clip: (frames, bands) float32, at least one frame.

    A clip longer than `longest` frames keeps its middle; one more than twice as long gets longer hops first.
    """
    samples = signal.values[:, 0]
    if rate_hz != signal.rate_hz:
        samples = resampled(samples, signal.rate_hz or RATE_HZ, rate_hz)
    hop = max(1, round(hop_s * rate_hz))
    frames = 1 + (len(samples) - 1) // hop
    if frames > 2 * longest:
        hop *= frames // longest
        frames = 1 + (len(samples) - 1) // hop
    if frames > longest:
        start = (frames - longest) // 2 * hop
        samples = samples[start : start + longest * hop]
    return standardised(log_mel(samples, bands=bands, hop=hop, rate_hz=rate_hz, floor_db=FLOOR_DB))


def standardised(mel: np.ndarray) -> np.ndarray:
    """Mean 0 and spread 1 over the whole clip; a clip without any change becomes zeros."""
    centred = mel - mel.mean(dtype=np.float64).astype(np.float32)
    return centred / max(float(centred.std()), 1e-3)


def augment(
    mel: np.ndarray, rng: np.random.Generator, strength: float, *, longest: int = 20000
) -> np.ndarray:
    """Change a clip as rooms, microphones and speakers do: (frames, bands) in and out, 10 % more or fewer.

    Noise comes to half of the clips at any strength: it costs little, and without it a recogniser breaks down
    at 10 dB. The rest grows with `strength` 0..1: another room, speed and voice, and masks (arXiv:1904.08779,
    sec. 2).
    """
    noisy = rng.random() < 0.5 and np.ptp(mel) > 1e-3
    out = with_noise(mel, rng) if noisy else mel
    if strength <= 0:
        return standardised(out) if noisy else mel
    out = moved(coloured(out, rng, strength), rng, strength)
    if len(out) > longest:
        start = int(rng.integers(0, len(out) - longest + 1))
        out = out[start : start + longest]
    return masked(standardised(out), rng, strength)


def with_noise(mel: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add coloured noise at -2 to 30 dB below the clip's mean power, in the power domain; decibels come out.

    The spread that was divided out is found again from the range: the loudest point lies FLOOR_DB above the
    lowest, exactly so where the clip touches the floor.
    """
    decibels = (mel - mel.max()) * np.float32(FLOOR_DB / np.ptp(mel))
    power = np.exp(decibels * np.float32(np.log(10) / 10))
    colour = np.exp(np.linspace(0, rng.uniform(-5, 2), mel.shape[1]))  # from +9 to -22 dB over the bands
    colour *= power.mean() * 10 ** (-rng.uniform(-2, 30) / 10) / colour.mean()
    flicker = rng.standard_gamma(3.0, mel.shape, dtype=np.float32) / np.float32(3)
    power = power + flicker * colour.astype(np.float32)
    floor = power.max() * np.float32(10 ** (-FLOOR_DB / 10))
    return np.log(np.maximum(power, floor)) * np.float32(10 / np.log(10) * np.ptp(mel) / FLOOR_DB)


def coloured(mel: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Hear through another room and microphone: a smooth random filter over the bands, where there is any sound.

    Four cosines, each with a spread of half the clip's own (in its unit) over its number.
    """
    place = np.linspace(0, np.pi, mel.shape[1])
    order = np.arange(1, 5)
    size, phase = rng.normal(0, 0.5 / order), rng.uniform(0, 2 * np.pi, 4)
    curve = (size[:, None] * np.cos(order[:, None] * place + phase[:, None])).sum(0)
    low, spread = mel.min(), mel.std()
    loud = mel > low + 0.05 * spread  # silence stays silence
    return np.maximum(mel + (strength * spread * curve).astype(np.float32) * loud, low)


def moved(mel: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Play 10 % faster or slower, stretch the frequencies by 6 % and shift them by two bands at most."""
    frames, bands = mel.shape
    speed = 1 + rng.uniform(-0.1, 0.1) * strength
    times = np.linspace(0, frames - 1, max(1, round(frames / speed)))
    places = np.arange(bands) * (1 + rng.uniform(-0.06, 0.06) * strength) + rng.uniform(-2, 2) * strength
    return _between(_between(mel, times).T, np.clip(places, 0, bands - 1)).T


def _between(x: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Rows of `x` at fractional `places`."""
    low = np.minimum(places.astype(int), max(len(x) - 2, 0))
    part = (places - low).astype(np.float32)[:, None]
    return x[low] * (1 - part) + x[np.minimum(low + 1, len(x) - 1)] * part


def masked(mel: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Set one or two spans of time (up to 12 % each) and of bands (up to 15 %) to the mean, which is 0."""
    out = np.array(mel, order="C")
    for axis, most in ((0, 0.12), (0, 0.12), (1, 0.15)):
        wide = int(rng.integers(0, round(most * strength * out.shape[axis]) + 1))
        start = int(rng.integers(0, out.shape[axis] - wide + 1))
        out[(slice(start, start + wide),) if axis == 0 else (slice(None), slice(start, start + wide))] = 0
    return out


def statistics(mel: np.ndarray) -> np.ndarray:
    """Means, spreads, percentiles and changes per band, a 4 x 16 time-band grid, duration, centroid."""
    mel = mel.astype(np.float32)
    delta = np.abs(np.diff(mel, axis=0)) if len(mel) > 1 else np.zeros_like(mel)
    course = [mel.mean(0), mel.std(0), *np.percentile(mel, [10, 50, 90], axis=0), delta.mean(0), delta.std(0)]
    rows = np.add.reduceat(mel, np.arange(4) * len(mel) // 4, axis=0)
    rows /= np.maximum(np.diff([*(np.arange(4) * len(mel) // 4), len(mel)]), 1)[:, None]
    cuts = np.arange(16) * mel.shape[1] // 16
    grid = np.add.reduceat(rows, cuts, axis=1) / np.maximum(np.diff([*cuts, mel.shape[1]]), 1)
    weight = np.exp(mel - mel.max())
    centroid = (weight.sum(0) @ np.arange(mel.shape[1])) / weight.sum() / mel.shape[1]
    return np.concatenate([*course, grid.ravel(), [len(mel), centroid]]).astype(np.float32)


def preview(signal: Signal) -> dict[str, object]:
    """At most six seconds to listen to (8 kHz mono 16 bit WAV, base64) and the outline of the wave, 0..1."""
    rate = signal.rate_hz or RATE_HZ
    samples = signal.values[: int(6 * rate), 0]
    loud = samples / max(1e-9, float(np.abs(samples).max()))
    outline = [round(float(np.abs(part).max()), 3) for part in np.array_split(loud, min(200, len(loud)))]
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes((np.clip(resampled(loud, rate, 8000), -1, 1) * 32767).astype("<i2").tobytes())
    return {"wav": base64.b64encode(out.getvalue()).decode(), "lines": [outline]}


def define(
    name: str,
    column: str,
    *,
    rate_hz: int = RATE_HZ,
    bands: int = 64,
    hop_s: float = 0.01,
    longest: int = 300,
) -> Modality:
    """Define sounds that become `bands` mel bands every `hop_s` seconds, at most `longest` frames."""
    return Modality(
        name=name, column=column, carrier="audio",
        options={"rate_hz": rate_hz, "bands": bands, "hop_s": hop_s, "longest": longest},
        patches=lambda signal: patches(signal, rate_hz=rate_hz, bands=bands, hop_s=hop_s, longest=longest),
        augment=lambda mel, rng, strength: augment(mel, rng, strength, longest=longest),
        statistics=statistics, item=(bands,), longest=longest, step_s=hop_s,
    )  # fmt: skip


CARRIER = Carrier(
    name="audio",
    suffixes=frozenset({".wav", ".flac", ".ogg", ".oga", ".mp3", ".opus", ".m4a", ".aac", ".aif", ".aiff"}),
    decode=decode,
    survey=survey,
    define=define,
    preview=preview,
    corruptions=damage.AUDIO,
)
