"""Attributions as pictures: a transparent layer, red for what speaks for an answer, blue for what speaks against it."""

import base64
import binascii
import io
import struct

import numpy as np

from sensorium.report.markup import listed, number

FOR, AGAINST = (226, 64, 52), (48, 116, 240)  # readable over grey pictures and on light and dark ground
MOST = 0.92  # opacity of the strongest place
BEND = 0.9  # below 1: weak places are drawn stronger than in proportion, so that they are seen at all
SHARE = 99.5  # percentile that counts as strongest: one odd cell must not fade the rest
HUGE = 1e30  # nothing that was measured is so large, and its square would still be finite
CELLS = 100_000  # most cells of a grid that are looked at


def row_of(value: object) -> np.ndarray:
    """A list of numbers as (n,) floats; whatever is no number of a sane size is zero, anything else is empty."""
    known = (number(v) or 0.0 for v in listed(value)[:CELLS])
    return np.array([v if abs(v) < HUGE else 0.0 for v in known], np.float64)


def grid_of(value: object) -> np.ndarray | None:
    """Lists in a list as a grid (rows, columns); None where they are no rectangle."""
    rows = [row_of(r) for r in listed(value)]
    widths = {len(r) for r in rows}
    if len(widths) != 1 or not max(widths) or len(rows) * max(widths) > CELLS:
        return None
    return np.stack(rows)


def strongest(grid: np.ndarray) -> float:
    """The size that counts as full strength, above zero."""
    sizes = np.abs(grid)
    if not sizes.size or not sizes.max() > 0:
        return 1.0
    return float(np.percentile(sizes, SHARE)) or float(sizes.max())


def blurred(grid: np.ndarray, passes: int = 2) -> np.ndarray:
    """Each cell mixed with its neighbours by 1 2 1, so many times; sums stay but for the border."""
    for _ in range(passes):
        for axis in (0, 1):
            wide = np.pad(grid, [(1, 1) if a == axis else (0, 0) for a in (0, 1)], mode="edge")
            low, middle, high = (np.take(wide, range(i, i + grid.shape[axis]), axis) for i in range(3))
            grid = (low + 2 * middle + high) / 4
    return grid


def layer(
    grid: np.ndarray, size: tuple[int, int], *, top: float | None = None, smooth: bool = True
) -> np.ndarray:
    """Colour a grid (rows, columns) as pixels (height, width, 4) of uint8; `top` is drawn in full strength.

    smooth: cells melt into each other; else they stay rectangles.
    """
    from PIL import Image

    top = strongest(grid) if top is None else top
    way = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    drawn = Image.fromarray(np.clip(grid / top, -1, 1).astype(np.float32))
    values = np.asarray(drawn.resize((size[1], size[0]), way), np.float64)
    pixels = np.empty((*size, 4), np.uint8)
    pixels[..., :3] = np.where((values > 0)[..., None], FOR, AGAINST)
    pixels[..., 3] = (255 * MOST * np.clip(np.abs(values), 0, 1) ** BEND).round()
    return pixels


def png(pixels: np.ndarray) -> str:
    """Pixels (height, width, 4) as the base64 of a PNG."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode("ascii")


def picture_size(data: object) -> tuple[int, int] | None:
    """Width and height in the head of a base64 PNG; None where it is none."""
    try:
        head = base64.b64decode(data[:44] if isinstance(data, str) else "", validate=True)
    except (binascii.Error, ValueError):
        return None
    if len(head) < 24 or head[:4] != b"\x89PNG":
        return None
    wide, high = struct.unpack(">II", head[16:24])
    return (wide, high) if wide and high else None


def seconds_of(data: object) -> float | None:
    """How long a base64 WAV of 16 bit mono lasts, by its head; None where it is none."""
    if not isinstance(data, str):
        return None
    try:
        head = base64.b64decode(data[:60], validate=True)
    except (binascii.Error, ValueError):
        return None
    if len(head) < 44 or head[:4] != b"RIFF":
        return None
    per_second = struct.unpack("<I", head[28:32])[0]
    return max(0.0, len(data) * 3 / 4 - 44) / per_second if per_second else None
