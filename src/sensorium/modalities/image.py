"""Pictures: JPEG PNG WebP GIF TIFF BMP -> (H, W, C) uint8 -> a square."""

import functools
import io
import struct
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from sensorium.modalities import damage
from sensorium.modalities.grid import (
    BROKEN,
    affine,
    as_pixels,
    channelled,
    colourless,
    gradients,
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
from sensorium.modalities.options import checked, flag, whole
from sensorium.types import Carrier, InputError, Limits, Media, Modality, Signal

KEPT = 384  # pixels of the short side that decoding a JPEG keeps at least, and so the largest `side`
FIX = "save it again as JPEG or PNG, or leave the cell empty"
_TURNS = {  # EXIF orientation -> what brings the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(media: Media, limits: Limits) -> Signal | None:
    """Decode one picture to (H, W, 1 or 3) uint8: upright, alpha on white, 16 bit scaled to 8.

    `media.content` is a file's bytes, an array as `grid.as_pixels` takes it, or a Pillow image. Raises
    InputError for what is no picture, is cut off or damaged, or has more than `limits.pixels` (found before
    it is unpacked).
    """
    content = media.content
    if isinstance(content, np.ndarray):
        return Signal(values=as_pixels(content, frames=False, limits=limits))
    try:
        if isinstance(content, Image.Image):
            picture = content
        elif isinstance(content, bytes | bytearray | memoryview):
            picture = _opened(bytes(content), media.name)
        else:
            raise refused("picture", name=media.name, why=f"a {type(content).__name__}", fix=FIX)
        if picture.width * picture.height > limits.pixels:
            raise too_much("picture", got=picture.width * picture.height, limit="pixels", name=media.name)
        return Signal(values=_pixels(picture, own=picture is not content))
    except InputError:
        raise
    except (*BROKEN, Image.DecompressionBombError) as error:
        raise refused("picture", name=media.name, why=error, fix=FIX) from error


def _opened(content: bytes, name: str) -> Image.Image:
    """Read the header only, by the reader that the bytes ask for: none of Pillow's others sees them."""
    from PIL.BmpImagePlugin import BmpImageFile
    from PIL.GifImagePlugin import GifImageFile
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile
    from PIL.TiffImagePlugin import TiffImageFile
    from PIL.WebPImagePlugin import WebPImageFile

    readers: dict[str, Callable[[io.BytesIO], Image.Image]] = {
        "jpeg": JpegImageFile, "png": PngImageFile, "webp": WebPImageFile,
        "gif": GifImageFile, "tiff": TiffImageFile, "bmp": BmpImageFile,
    }  # fmt: skip
    kind = sniffed(content)
    if kind not in readers:
        why = f"{len(content)} bytes that are {kind or 'no picture format'}" if content else "an empty file"
        raise refused("picture", name=name, why=why, fix=f"give one of {', '.join(sorted(readers))}")
    return readers[kind](io.BytesIO(content))


def _pixels(picture: Image.Image, *, own: bool) -> np.ndarray:
    """Unpack a picture whose size has been checked; the caller's keeps its size."""
    if own and picture.format == "JPEG" and min(picture.size) >= 2 * KEPT:
        scale = KEPT / min(picture.size)  # the decoder halves for nothing, down to this size
        picture.draft(None, (int(np.ceil(picture.width * scale)), int(np.ceil(picture.height * scale))))
    picture.load()
    turn = _TURNS.get(_orientation(picture))
    array = _array(picture if turn is None else picture.transpose(turn))
    return array[..., None] if array.ndim == 2 else array


def _array(picture: Image.Image) -> np.ndarray:
    """Turn any mode into (H, W) or (H, W, 3) uint8."""
    mode = picture.mode
    if mode in ("L", "RGB") and "transparency" not in picture.info:
        return np.asarray(picture)
    if mode.startswith("I;16"):
        return (np.asarray(picture) / 257).round().astype(np.uint8)
    if mode in ("I", "F"):
        return _deep(np.asarray(picture))
    if mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        over = picture.convert("RGBA")
        flat = Image.alpha_composite(Image.new("RGBA", over.size, "white"), over)
        return np.asarray(flat.convert("L" if mode in ("L", "LA", "La") else "RGB"))
    return np.asarray(picture.convert("L" if mode == "1" else "RGB"))


def _deep(values: np.ndarray) -> np.ndarray:
    """32-bit integers and floats: the range is the smallest usual one that holds them (1, 255 or 65535)."""
    if not np.isfinite(values).all():
        raise ValueError("NaN or infinite pixels")
    top = float(values.max())
    scale = 255.0 if values.dtype.kind == "f" and top <= 1 else 1.0 if top <= 255 else 255 / max(top, 65535.0)
    return np.clip(values * scale, 0, 255).round().astype(np.uint8)


def _orientation(picture: Image.Image) -> int:
    """Read EXIF tag 274 (1..8) by hand: Pillow's reader parses, and warns about, every other tag too."""
    tags = getattr(picture, "tag_v2", None)
    if tags is not None:
        return tags.get(274, 1)
    exif = picture.info.get("exif", b"")
    if not isinstance(exif, bytes):
        return 1
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None or len(exif) < 10:
        return 1
    start = struct.unpack_from(order + "I", exif, 4)[0]
    if start + 2 > len(exif):
        return 1
    count = struct.unpack_from(order + "H", exif, start)[0]
    for at in range(start + 2, min(start + 2 + 12 * count, len(exif) - 11), 12):
        tag, kind = struct.unpack_from(order + "HH", exif, at)
        if tag == 274 and kind == 3:
            return struct.unpack_from(order + "H", exif, at + 8)[0]
    return 1


def survey(signals: Sequence[Signal], **given: object) -> dict[str, object]:
    """Learn options: `side` (pixels of the square), `channels` (1 if every picture is grey, else 3), `mirror` where given.

    The side is 64, or for small pictures the next multiple of 16 that holds nearly all of them: enlarging tells
    nothing and costs.
    """
    known = {"side": whole(8, KEPT), "channels": grey_or_colour, "mirror": flag}
    options = checked(given, known, carrier="image")
    largest = float(np.percentile([max(s.values.shape[:2]) for s in signals], 95)) if signals else 64.0
    return {
        "side": min(64, 16 * max(1, -(-int(largest) // 16))),
        "channels": 1 if signals and all(colourless(s.values) for s in signals) else 3,
        **options,
    }


def augment(
    pixels: np.ndarray, rng: np.random.Generator, strength: float, *, mirror: bool = False
) -> np.ndarray:
    """Turn, scale, shift, recolour and sometimes cover a part; mirrored only where it was said to be harmless.

    (side, side, C) uint8 in and out; `strength` 0..1, at 0 nothing changes. `mirror`: one in two is turned left to right,
    which digits and words do not bear.
    """
    if strength <= 0:
        return pixels
    if mirror and rng.random() < 0.5:
        pixels = np.ascontiguousarray(pixels[:, ::-1])
    changed = recoloured(warped(pixels, affine(rng, len(pixels), strength)), rng, strength)
    return covered(changed, rng) if rng.random() < 0.25 * strength else changed


def covered(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cover 2 to 12 % with the mean colour (random erasing, arXiv:1708.04896, sec. 3.2, mild)."""
    height, width = pixels.shape[:2]
    area, ratio = rng.uniform(0.02, 0.12), np.exp(rng.uniform(-0.7, 0.7))
    high = int(np.clip(height * np.sqrt(area * ratio), 1, height))
    wide = int(np.clip(width * np.sqrt(area / ratio), 1, width))
    y, x = rng.integers(0, height - high + 1), rng.integers(0, width - wide + 1)
    out = pixels.copy()
    out[y : y + high, x : x + wide] = pixels.mean((0, 1)).astype(np.uint8)
    return out


def statistics(pixels: np.ndarray) -> np.ndarray:
    """16 x 16 grey thumbnail, colour moments and histograms, gradient directions in 6 x 6 cells."""
    small = grey(resized(pixels, 16, 16))
    flat = pixels.reshape(-1, pixels.shape[-1])
    colours = [np.bincount(flat[:, c] >> 5, minlength=8) / len(flat) for c in range(flat.shape[1])]
    moments = np.concatenate([flat.mean(0), flat.std(0)]) / 255
    return np.concatenate([small.ravel(), *colours, moments, gradients(grey(pixels), 6)]).astype(np.float32)


def patches(signal: Signal, *, side: int, channels: int) -> np.ndarray:
    """Shrink or stretch the whole picture to (side, side, channels) uint8."""
    return channelled(resized(signal.values, side, side), channels)


def define(name: str, column: str, *, side: int = 64, channels: int = 3, mirror: bool = False) -> Modality:
    """Define pictures that become `side` x `side` pixels of `channels` colours; a step is a row of pixels.

    `mirror`: left and right mean nothing in these pictures, so training may exchange them.
    """
    return Modality(
        name=name, column=column, carrier="image", options={"side": side, "channels": channels, "mirror": mirror},
        patches=lambda signal: patches(signal, side=side, channels=channels),
        augment=functools.partial(augment, mirror=mirror), statistics=statistics, item=(side, channels), longest=side,
    )  # fmt: skip


def preview(signal: Signal) -> dict[str, object]:
    """A PNG of at most 160 pixels a side."""
    return {"png": png(signal.values)}


CARRIER = Carrier(
    name="image",
    suffixes=frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp"}),
    decode=decode,
    survey=survey,
    define=define,
    preview=preview,
    corruptions=damage.IMAGE,
)
