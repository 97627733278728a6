"""What pictures, clips and sound share: sniffing, resizing, affine changes, mel analysis, small pictures."""

import base64
import functools
import io
import struct
import zlib

import numpy as np
from PIL import Image

from sensorium.types import InputError, Limits

# What decoders and their wrappers raise on broken bytes (a warning, where warnings are made errors).
BROKEN = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, EOFError,
    MemoryError, RuntimeError, AssertionError, struct.error, zlib.error, Warning,
)  # fmt: skip
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601

_MAGIC = (  # (offset, bytes, name): the container named by the bytes themselves, never by the file's suffix
    (0, b"\xff\xd8\xff", "jpeg"), (0, b"\x89PNG\r\n\x1a\n", "png"), (8, b"WEBP", "webp"), (0, b"GIF8", "gif"),
    (0, b"II*\0", "tiff"), (0, b"MM\0*", "tiff"), (0, b"II+\0", "tiff"), (0, b"MM\0+", "tiff"),
    (0, b"BM", "bmp"),
    (4, b"ftyp", "mp4"), (4, b"moov", "mp4"), (4, b"mdat", "mp4"), (4, b"wide", "mp4"), (4, b"free", "mp4"),
    (4, b"skip", "mp4"), (0, b"\x1aE\xdf\xa3", "matroska"), (8, b"AVI ", "avi"), (8, b"WAVE", "wav"),
    (0, b"fLaC", "flac"), (0, b"OggS", "ogg"), (0, b"ID3", "mp3"), (0, b"\xff\xf1", "aac"),
    (0, b"\xff\xf9", "aac"),
    (0, b"FORM", "aiff"), (0, b"caff", "caf"), (0, b"FLV\x01", "flv"), (0, b"\0\0\x01\xba", "mpeg"),
    (0, b"0&\xb2u\x8ef\xcf\x11", "asf"), (0, b".snd", "au"),
)  # fmt: skip


def sniffed(content: bytes) -> str:
    """Name the file format that the first bytes show ("" where none is known)."""
    head = content[:192]
    for offset, magic, name in _MAGIC:
        if head.startswith(magic, offset):
            return name
    if head[:1] == b"\xff" and len(head) > 1 and head[1] & 0xE6 in (0xE2, 0xE4, 0xE6):
        return "mp3"  # a bare stream: 11 bits of synchronisation, then version and layer
    return "mpegts" if len(head) > 188 and head[0] == head[188] == 0x47 else ""


def refused(what: str, *, name: str, why: object, fix: str) -> InputError:
    """Make the error for a cell that cannot be read: `what` is expected, `why` says what the decoder met."""
    reason = " ".join(str(why).split())[:120] or type(why).__name__
    return InputError(f"not a readable {what}", got=f"{name or 'a cell'}: {reason}", fix=fix)


def too_much(what: str, *, got: int, limit: str, name: str) -> InputError:
    """Make the error for a cell beyond one of the `Limits`."""
    return InputError(
        f"the {what} is larger than the limit {limit!r} allows", got=f"{got} {limit} in {name or 'a cell'}",
        fix=f"cut or shrink it, or raise the limit: --limit {limit}={got}",
    )  # fmt: skip


def as_pixels(array: np.ndarray, *, frames: bool, limits: Limits) -> np.ndarray:
    """Bring an array from Python to (H, W, 1 or 3) uint8, or (frames, H, W, 1 or 3) where `frames`.

    Integers are 0..255, uint16 0..65535, floats 0..1 or 0..255, bools black and white; a second or fourth
    channel is alpha, shown on white. Raises InputError for other shapes and values.
    """
    rank = 3 + frames
    shown = "(frames, H, W) or (frames, H, W, 1..4)" if frames else "(H, W) or (H, W, 1..4)"
    x = array[..., None] if array.ndim == rank - 1 else array
    if x.ndim != rank or x.shape[-1] not in (1, 2, 3, 4) or not x.size or x.dtype.kind not in "uifb":
        raise InputError(
            "not pixels", got=f"an array of {array.dtype}, shape {array.shape}", fix=f"give {shown}"
        )
    if x.shape[-3] * x.shape[-2] > limits.pixels:
        raise too_much("picture", got=x.shape[-3] * x.shape[-2], limit="pixels", name="an array")
    x = _as_bytes(x)
    if x.shape[-1] in (2, 4):
        alpha = x[..., -1:].astype(np.float32) / 255
        x = (x[..., :-1] * alpha + 255 * (1 - alpha)).round().astype(np.uint8)
    return x


def _as_bytes(x: np.ndarray) -> np.ndarray:
    if x.dtype == np.uint8:
        return x
    if x.dtype.kind == "b":
        return x.astype(np.uint8) * 255
    if x.dtype == np.uint16:
        return (x / 257).round().astype(np.uint8)
    low, high = float(x.min()), float(x.max())  # NaN where there is one, and then no comparison holds
    if x.dtype.kind == "f" and low >= -0.01 and high <= 1.01:
        return (np.clip(x, 0, 1) * 255).round().astype(np.uint8)
    if low >= 0 and high <= 255:
        return x.round().astype(np.uint8)
    raise InputError(
        "pixels outside 0..255", got=f"{x.dtype} from {low:g} to {high:g}",
        fix="give uint8, uint16 (0..65535) or floats in 0..1; an empty cell where there is no picture",
    )  # fmt: skip


def squeezed(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 1) as (H, W), which Pillow wants; other shapes as they are."""
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels


def resized(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """(H, W, C) uint8 -> (height, width, C) uint8, antialiased."""
    if pixels.shape[:2] == (height, width):
        return pixels
    # First by a whole factor (a box, fast), then by a triangle: no pixel of the source is skipped.
    small = Image.fromarray(squeezed(pixels)).resize(
        (width, height), Image.Resampling.BILINEAR, reducing_gap=1.0
    )
    return np.asarray(small).reshape(height, width, pixels.shape[2])


def channelled(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Turn (..., 1 or 3) uint8 into (..., channels): grey by luma, colour by repeating."""
    if pixels.shape[-1] == channels:
        return pixels
    if channels == 1:
        return (pixels @ LUMA).round().astype(np.uint8)[..., None]
    return np.repeat(pixels, channels, axis=-1)


def colourless(pixels: np.ndarray) -> bool:
    """Tell whether (..., H, W, 1 or 3) uint8 shows only greys, up to a decoder's rounding."""
    if pixels.shape[-1] == 1:
        return True
    rows, columns = (max(1, n // 48) for n in pixels.shape[-3:-1])
    r, g, b = np.moveaxis(pixels[..., ::rows, ::columns, :].astype(np.int16), -1, 0)
    return bool(max(np.abs(r - g).max(), np.abs(b - g).max()) <= 4)


def grey_or_colour(value: object) -> int:
    """Check an option: 1 (grey) or 3 (colour)."""
    if str(value) not in ("1", "3"):
        raise ValueError("1 (grey) or 3 (colour) is needed")
    return int(str(value))


def affine(rng: np.random.Generator, side: int, strength: float) -> tuple[float, ...]:
    """Draw a small turn (12 degrees), scaling (15 %) and shift (10 %), as Pillow's six coefficients."""
    angle = rng.uniform(-12, 12) * strength * np.pi / 180
    scale = 1 + rng.uniform(-0.15, 0.15) * strength
    dx, dy = rng.uniform(-0.1, 0.1, 2) * strength * side
    c, s, middle = np.cos(angle) / scale, np.sin(angle) / scale, side / 2
    return (
        float(c), float(s), float(middle - c * (middle + dx) - s * (middle + dy)),
        float(-s), float(c), float(middle + s * (middle + dx) - c * (middle + dy)),
    )  # fmt: skip


def warped(pixels: np.ndarray, coefficients: tuple[float, ...]) -> np.ndarray:
    """Apply an affine change to (H, W, C) uint8; what comes from outside gets the edge's typical colour."""
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    fill = tuple(int(v) for v in np.median(edge, axis=0))
    picture = Image.fromarray(squeezed(pixels))
    moved = picture.transform(
        picture.size, Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR,
        fillcolor=fill if len(fill) > 1 else fill[0],
    )  # fmt: skip
    return np.asarray(moved).reshape(pixels.shape)


def recoloured(pixels: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Change brightness, contrast, saturation and tint of (..., C) uint8, the same for all pixels."""
    channels = pixels.shape[-1]
    contrast, saturation = 1 + rng.uniform(-0.3, 0.3, 2) * strength
    light = rng.uniform(-30, 30) + (rng.uniform(-12, 12, channels) if channels > 1 else 0)
    mix = np.eye(channels, dtype=np.float32)
    if channels == 3:
        mix = mix * saturation + LUMA[:, None] * (1 - saturation)
    middle = np.float32(pixels.mean())
    x = pixels.astype(np.float32) @ (mix * contrast).astype(np.float32)
    return np.clip(x + np.float32(middle * (1 - contrast)) + np.float32(light * strength), 0, 255).astype(
        np.uint8
    )


def grey(pixels: np.ndarray) -> np.ndarray:
    """(..., C) uint8 -> (...) float32 in 0..1."""
    return pixels.mean(-1, dtype=np.float32) / 255


def png(pixels: np.ndarray, *, most: int = 160) -> str:
    """(H, W, C) uint8 as a base64 PNG of at most `most` pixels a side."""
    scale = min(1.0, most / max(pixels.shape[:2]))
    small = resized(pixels, max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    out = io.BytesIO()
    Image.fromarray(squeezed(small)).save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def gradients(picture: np.ndarray, cells: int = 4, turns: int = 8) -> np.ndarray:
    """Histograms of unsigned gradient directions over a grid of cells: (cells * cells * turns,) float32.

    `picture` is (H, W) in 0..1. Each cell's histogram has length one (Dalal and Triggs 2005, without blocks).
    """
    if min(picture.shape) < 2:
        return np.zeros(cells * cells * turns, np.float32)
    dy, dx = np.gradient(picture)
    size = np.hypot(dx, dy)
    turn = ((np.arctan2(dy, dx) % np.pi) / np.pi * turns).astype(int) % turns
    rows = (np.arange(picture.shape[0]) * cells // picture.shape[0])[:, None]
    columns = (np.arange(picture.shape[1]) * cells // picture.shape[1])[None]
    where = (rows * cells + columns) * turns + turn
    found = np.bincount(where.ravel(), size.ravel(), cells * cells * turns).reshape(cells * cells, turns)
    return (found / (np.linalg.norm(found, axis=1, keepdims=True) + 1e-3)).ravel().astype(np.float32)


def mel_edges(bands: int, rate_hz: float) -> np.ndarray:
    """(bands + 2,) hertz from 0 to half the rate, even on Slaney's scale: linear to 1 kHz, then logarithmic.

    Slaney 1998, "Auditory Toolbox": 200/3 Hz a mel up to 15 mel, then 27 mel for each factor of 6.4.
    """
    log_step = np.log(6.4) / 27
    high = rate_hz / 2
    top = high * 3 / 200 if high <= 1000 else 15 + np.log(high / 1000) / log_step
    mels = np.linspace(0, top, bands + 2)
    return np.where(mels < 15, mels * 200 / 3, 1000 * np.exp(log_step * (mels - 15)))


@functools.lru_cache(maxsize=32)
def mel_filters(bands: int, size: int, rate_hz: float) -> np.ndarray:
    """Triangles of equal area over `mel_edges`: (bands, size // 2 + 1) float32 for an FFT of `size`."""
    hz = mel_edges(bands, rate_hz)
    bins = np.arange(size // 2 + 1) * rate_hz / size
    up = (bins[None] - hz[:-2, None]) / (hz[1:-1] - hz[:-2])[:, None]
    down = (hz[2:, None] - bins[None]) / (hz[2:] - hz[1:-1])[:, None]
    filters = np.maximum(0, np.minimum(up, down)) * (2 / (hz[2:] - hz[:-2]))[:, None]
    filters = filters.astype(np.float32)
    filters.flags.writeable = False  # it is shared by all callers
    return filters


@functools.lru_cache(maxsize=32)
def analysis(hop: int, bands: int, rate_hz: float) -> tuple[int, int]:
    """Choose (window, FFT size) in samples: 25 ms or 1.5 hops, and no filter narrower than a bin."""
    window = max(round(0.025 * rate_hz), round(1.5 * hop), 2)
    finest = rate_hz / float(np.diff(mel_edges(bands, rate_hz)).min())
    return window, 1 << int(np.ceil(np.log2(max(window, finest))))


@functools.lru_cache(maxsize=32)
def _hann(window: int) -> np.ndarray:
    shape = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)).astype(np.float32)
    shape.flags.writeable = False  # it is shared by all callers
    return shape


def log_mel(
    samples: np.ndarray, *, bands: int, hop: int, rate_hz: float, floor_db: float = 80.0
) -> np.ndarray:
    """(samples,) float32 -> (frames, bands) decibels below the loudest point, in -floor_db..0.

    Frame i is centred on sample i * hop; outside of the sound is silence. A silent sound is all floor.
    """
    from scipy.fft import rfft  # four times as fast as numpy's in single precision; loads when first used

    window, size = analysis(hop, bands, rate_hz)
    count = 1 + (len(samples) - 1) // hop
    peak = float(np.abs(samples).max())
    if peak <= 1e-7:  # what removing an offset leaves of silence
        return np.full((count, bands), -floor_db, np.float32)
    padded = np.zeros((count - 1) * hop + window, np.float32)
    room = min(len(samples), len(padded) - window // 2)
    np.multiply(samples[:room], np.float32(1 / peak), out=padded[window // 2 : window // 2 + room])
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    filters = mel_filters(bands, size, rate_hz).T
    mel = np.empty((count, bands), np.float32)
    for i in range(0, count, 2048):  # blocks: the spectrum of an hour would not fit into memory
        block = np.zeros((min(2048, count - i), size), np.float32)
        np.multiply(frames[i : i + 2048], _hann(window), out=block[:, :window])
        spectrum = rfft(block)
        mel[i : i + 2048] = (spectrum.real**2 + spectrum.imag**2) @ filters
    mel = np.maximum(mel / max(float(mel.max()), 1e-30), np.float32(10 ** (-floor_db / 10)))
    return 10 * np.log10(mel)
