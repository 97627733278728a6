"""Clips: MP4 MKV WebM MOV AVI GIF -> at most 64 frames over the span -> a few square frames in order."""

import io
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from sensorium.modalities import damage
from sensorium.modalities.grid import (
    BROKEN,
    affine,
    as_pixels,
    channelled,
    colourless,
    grey,
    grey_or_colour,
    png,
    recoloured,
    refused,
    resized,
    sniffed,
    too_much,
    warped,
)
from sensorium.modalities.options import checked, number, whole
from sensorium.types import Carrier, InputError, Limits, Media, Modality, Signal

KEPT = 64  # frames that decoding keeps of a clip
SHORT, LONG = 128, 1024  # pixels of the short and the long side that decoding keeps at most
KEYS_FROM = 8 * KEPT  # frames from which on key frames alone will do, where there are enough of them
FORMATS = frozenset({"mp4", "matroska", "avi", "gif", "flv", "mpeg", "mpegts", "asf", "ogg"})
FIX = "save it again as MP4, or leave the cell empty"
Frames = list[tuple[float, np.ndarray]]  # seconds, (H, W, C) uint8


def decode(media: Media, limits: Limits) -> Signal | None:
    """Decode a clip to (frames, H, W, 1 or 3) uint8 with `times_s`: at most 64 frames, evenly over the span.

    `media.content` is a file's bytes or (frames, H, W[, C]) with `media.rate_hz` (25 where it is not given).
    Of a damaged clip the frames before the damage are kept. Raises InputError where no frame can be read, the
    span holds none, or the clip is beyond `limits.frames` or `limits.pixels`.
    """
    content = media.content
    if isinstance(content, np.ndarray):
        return _of_array(content, media, limits)
    if not isinstance(content, bytes):
        raise refused("video", name=media.name, why=f"a {type(content).__name__}", fix=FIX)
    kind = sniffed(content)
    if kind not in FORMATS:
        why = f"{len(content)} bytes that are {kind or 'no video format'}" if content else "an empty file"
        raise refused("video", name=media.name, why=why, fix=FIX)
    if kind == "gif":  # its reader unpacks a frame while it opens the file
        width, height = int.from_bytes(content[6:8], "little"), int.from_bytes(content[8:10], "little")
        _check_size(width, height, limits, media.name)
    found: Frames = []
    trouble = _fill(found, content, media, limits, format=kind)
    if not found:
        raise refused("video", name=media.name, why=trouble, fix=FIX)
    start = found[0][0] if media.span_s is None else media.span_s[0]
    values = np.stack([pixels for _, pixels in found])
    if values.shape[-1] == 3 and colourless(values):
        values = np.ascontiguousarray(values[..., 1:2])
    return Signal(values=values, times_s=np.maximum.accumulate(np.array([time for time, _ in found])) - start)


def _fill(found: Frames, content: bytes, media: Media, limits: Limits, *, format: str) -> object:
    """Append the frames to `found` as they come; return what ended the reading."""
    import av

    try:
        # The limit holds inside of FFmpeg too, which unpacks a frame of some formats as it opens them.
        options = {"max_pixels": str(limits.pixels)}
        with av.open(
            io.BytesIO(content), format=format, options=options, metadata_errors="ignore"
        ) as container:
            stream = _stream(container, media.name)
            _check_size(stream.width, stream.height, limits, media.name)
            assert isinstance(container, av.container.InputContainer)
            origin = (container.start_time or 0) / 1e6
            first, last = media.span_s or (float("-inf"), float("inf"))
            span_s = first + origin - 1e-6, last + origin - 1e-6
            packets = _packets(container, stream, span_s, most=limits.frames, name=media.name)
            packets, wanted = _plan(packets, span_s, format=format)
            shrink = _shrinker(limits, media.name)
            for time, frame in _chosen(packets, wanted, span_s, rate_hz=float(stream.average_rate or 25)):
                found.append((time - origin, shrink(frame)))
    except InputError:
        raise
    except (*BROKEN, av.FFmpegError) as error:
        return error
    return "no frame in it, or in the time span that was asked for"


def _stream(container, name: str):
    """Find the first moving picture; the cover of a song is none."""
    import av

    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            stream.thread_count = 1  # the workers are the threads
            return stream
    raise refused(
        "video", name=name, why="the file holds no moving pictures", fix="give a video, or read it as audio"
    )


def _check_size(width: int, height: int, limits: Limits, name: str) -> None:
    if width * height > limits.pixels:
        raise too_much("frame", got=width * height, limit="pixels", name=name)


def _time(packet) -> float | None:
    stamp = packet.pts if packet.pts is not None else packet.dts
    return None if stamp is None else float(stamp * packet.time_base)


def _packets(container, stream, span_s: tuple[float, float], *, most: int, name: str) -> list:
    """Read, without unpacking, from the last key frame before the span up to its end."""
    import av

    if span_s[0] > 1:
        container.seek(int(span_s[0] * 1e6))
    packets, inside = [], 0
    try:
        for packet in container.demux(stream):
            if packet.dts is not None and float(packet.dts * packet.time_base) >= span_s[1]:
                break  # frames are shown at or after the time at which they are unpacked
            if packet.size:
                packets.append(packet)
                inside += _within(packet, span_s)
            if inside > most:
                raise too_much("video", got=inside, limit="frames", name=name)
    except av.FFmpegError:
        if not packets:
            raise
    return packets


def _within(packet, span_s: tuple[float, float]) -> bool:
    time = _time(packet)
    return time is None or span_s[0] <= time < span_s[1]


def _plan(packets: list, span_s: tuple[float, float], *, format: str) -> tuple[list, list[int]]:
    """Choose the packets to unpack and, of the frames in the span that they give, the ranks to keep.

    A long clip with many key frames is read from these alone: as many times faster as they are apart.
    A GIF marks every frame as key, though each shows only what changed.
    """
    inside = [p for p in packets if _within(p, span_s)]
    if format != "gif" and len(inside) >= KEYS_FROM:
        keys = _even_keys(inside)
        if keys:
            return keys, list(range(len(keys)))
    return packets, evenly(len(inside), KEPT)


def _even_keys(packets: list) -> list:
    """Choose the key frames nearest to KEPT even times; none where they leave gaps."""
    stamped = [(time, p) for p in packets if (time := _time(p)) is not None]
    keys = [(time, p) for time, p in stamped if p.is_keyframe]
    if len(keys) < KEPT:
        return []
    times = np.array([time for time, _ in keys])
    end = max(time for time, _ in stamped)
    aims = np.linspace(times[0], times[-1], KEPT)
    near = np.abs(times[:, None] - aims).argmin(0)
    step = aims[1] - aims[0]
    if np.abs(times[near] - aims).max() > 0.6 * step or end - times[-1] > 1.5 * step:
        return []
    return [keys[i][1] for i in np.unique(near)]


def evenly(count: int, most: int) -> list[int]:
    """At most `most` of the numbers 0..count - 1, even, with both ends."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int)).tolist()


def _chosen(packets: list, wanted: list[int], span_s: tuple[float, float], *, rate_hz: float) -> Iterator:
    """Unpack and yield (seconds, frame) for the wanted ranks among the frames in the span."""
    ranks, rank = set(wanted), -1
    for frame in _frames(packets):
        time = (rank + 1) / rate_hz if frame.pts is None else float(frame.pts * packets[0].time_base)
        if time < span_s[0]:
            continue
        rank += 1
        if time >= span_s[1] or not ranks or rank > wanted[-1]:
            return
        if rank in ranks:
            yield time, frame


def _frames(packets: list) -> Iterator:
    for packet in packets:
        yield from packet.decode()
    if packets:
        yield from packets[-1].stream.codec_context.decode(None)


def _shrinker(limits: Limits, name: str) -> Callable:
    """Make the function frame -> (H, W, 1 or 3) uint8, all of the first frame's size, upright."""
    from av.video.reformatter import VideoReformatter

    turner = VideoReformatter()  # one for the clip: each new one plans the conversion anew
    size: tuple[int, int] | None = None

    def shrink(frame) -> np.ndarray:
        nonlocal size
        _check_size(frame.width, frame.height, limits, name)
        if size is None:
            size = _shape(frame.width, frame.height)
        plain = "gray" if frame.format.name.startswith("gray") else "rgb24"
        small = turner.reformat(
            frame, width=size[0], height=size[1], format=plain, interpolation="AREA", threads=1
        )
        pixels = small.to_ndarray()
        pixels = pixels[..., None] if pixels.ndim == 2 else pixels
        return np.rot90(pixels, round(frame.rotation / 90) % 4)

    return shrink


def _shape(width: int, height: int) -> tuple[int, int]:
    scale = min(1.0, SHORT / min(width, height), LONG / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _of_array(content: np.ndarray, media: Media, limits: Limits) -> Signal:
    if content.ndim not in (3, 4):
        return Signal(values=as_pixels(content, frames=True, limits=limits))  # says what it wants instead
    if not 0 < (media.rate_hz or 25.0) < float("inf"):
        raise refused("video", name=media.name, why=f"{media.rate_hz} Hz", fix="give a rate above 0")
    if len(content) > limits.frames:
        raise too_much("video", got=len(content), limit="frames", name="an array")
    times = np.arange(len(content)) / (media.rate_hz or 25.0)
    first, last = media.span_s or (0.0, float("inf"))
    inside = np.flatnonzero((times >= first - 1e-6) & (times < last - 1e-6))
    if not len(inside) or (media.span_s and media.rate_hz is None):
        raise InputError(
            "the time span cannot be found in the clip",
            got=f"{media.span_s} of {len(content)} frames, {media.rate_hz} Hz",
            fix="give frames, their rate, and start and stop in seconds inside the clip",
        )  # fmt: skip
    index = inside[evenly(len(inside), KEPT)]
    pixels = as_pixels(content[index], frames=True, limits=limits)
    width, height = _shape(pixels.shape[2], pixels.shape[1])
    values = np.stack([resized(p, width, height) for p in pixels])
    return Signal(values=values, times_s=times[index] - max(first, 0.0))


def survey(signals: Sequence[Signal], **given: object) -> dict[str, object]:
    """Learn options: `side` pixels (48, for small frames the next multiple of 16), `frames` (16, or all there are), `channels`, `step_s` (seconds)."""
    known = {
        "side": whole(8, SHORT),
        "frames": whole(1, KEPT),
        "channels": grey_or_colour,
        "step_s": number(0.0, 3600.0),
    }
    options = checked(given, known, carrier="video")
    counts = [len(s.values) for s in signals] or [16]
    frames = int(str(options.get("frames", min(16, max(counts)))))
    gaps = [
        float(s.times_s[-1] - s.times_s[0]) / (min(frames, len(s.times_s)) - 1)
        for s in signals
        if s.times_s is not None and min(frames, len(s.times_s)) > 1
    ]
    step_s = round(max(0.001, float(np.median(gaps))), 4) if gaps else 0.04
    flat = bool(signals) and all(colourless(s.values) for s in signals)
    largest = max((min(s.values.shape[1:3]) for s in signals), default=48)
    side = min(48, 16 * max(1, -(-int(largest) // 16)))  # enlarging tells nothing
    return {"side": side, "frames": frames, "channels": 1 if flat else 3, "step_s": step_s, **options}


def patches(signal: Signal, *, side: int, frames: int, channels: int) -> np.ndarray:
    """Pick at most `frames`, even in time and in order: (frames, side, side, channels) uint8."""
    times = signal.times_s if signal.times_s is not None else np.arange(len(signal.values), dtype=float)
    index = np.arange(len(times))
    if len(times) > frames:
        aims = np.linspace(times[0], times[-1], frames) if frames > 1 else times[[len(times) // 2]]
        index = np.unique(np.searchsorted((times[1:] + times[:-1]) / 2, aims))
    return np.stack([channelled(resized(signal.values[i], side, side), channels) for i in index])


def augment(clip: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Change a clip as another camera would: one affine, one colour change, another speed and start, a frozen span.

    (frames, side, side, C) uint8 in and out; `strength` 0..1, at 0 nothing changes.
    """
    if strength <= 0:
        return clip
    middle = (len(clip) - 1) / 2
    speed, shift = 1 + rng.uniform(-0.15, 0.15) * strength, rng.uniform(-0.06, 0.06) * strength * len(clip)
    places = (np.arange(len(clip)) - middle) * speed + middle + shift
    places = np.clip(places.round().astype(int), 0, len(clip) - 1)
    wide = int(rng.integers(0, round(0.15 * strength * len(clip)) + 1))
    start = int(rng.integers(0, len(clip) - wide))
    places[start : start + wide] = places[start]  # the camera hangs
    clip = clip[places]
    coefficients = affine(rng, clip.shape[1], strength)
    return recoloured(np.stack([warped(frame, coefficients) for frame in clip]), rng, strength)


def statistics(clip: np.ndarray) -> np.ndarray:
    """8 x 8 means of the thirds, spread and motion, and the motion's course in 8 parts, for the floors."""
    small = grey(np.stack([resized(frame, 8, 8) for frame in clip]))
    move = np.abs(np.diff(small, axis=0)) if len(small) > 1 else np.zeros_like(small)
    course = move.mean((1, 2))
    when = np.repeat(course, 8).reshape(8, -1).mean(1)  # eight equal parts of any number of frames
    thirds = [small[int(i * len(small) / 3) :][: max(1, len(small) // 3)].mean(0).ravel() for i in range(3)]
    parts = [*thirds, small.std(0).ravel(), move.mean(0).ravel(), when, [len(clip)]]
    return np.concatenate(parts).astype(np.float32)


def preview(signal: Signal) -> dict[str, object]:
    """A contact sheet of eight frames side by side."""
    height, width = signal.values.shape[1:3]
    wide = int(np.clip(round(48 * width / height), 12, 96))
    index = evenly(len(signal.values), 8)
    return {"png": png(np.concatenate([resized(signal.values[i], wide, 48) for i in index], 1), most=8 * 96)}


def define(
    name: str, column: str, *, side: int = 48, frames: int = 16, channels: int = 3, step_s: float = 0.1
) -> Modality:
    """Define clips that become `frames` pictures of `side` x `side` pixels, `step_s` seconds apart."""
    return Modality(
        name=name, column=column, carrier="video",
        options={"side": side, "frames": frames, "channels": channels, "step_s": step_s},
        patches=lambda signal: patches(signal, side=side, frames=frames, channels=channels),
        augment=augment, statistics=statistics, item=(side, side, channels), longest=frames, step_s=step_s,
    )  # fmt: skip


CARRIER = Carrier(
    name="video",
    suffixes=frozenset({".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v"}),
    decode=decode,
    survey=survey,
    define=define,
    preview=preview,
    corruptions=damage.VIDEO,
)
