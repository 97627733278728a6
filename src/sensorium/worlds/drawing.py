"""Coloured shapes on a noisy ground, drawn large and made small: what scenes and clips are painted with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

FINE = 4  # drawn so many times larger than shown
COLOURS = {
    "red": (214, 48, 42), "green": (52, 160, 60), "blue": (52, 96, 228), "yellow": (244, 216, 52),
    "purple": (150, 64, 190), "orange": (244, 138, 28), "pink": (246, 150, 196), "white": (240, 240, 240),
}  # fmt: skip
SHAPES = ("circle", "square", "triangle", "star", "cross")
_DARK_INK, _LIGHT_INK = (16, 16, 16), (255, 255, 255)
_LIGHT = ("yellow", "orange", "pink", "white")  # colours that a dark digit is read on
# Each shape has about the same area for a radius of one; the circle is drawn as such.
_REACH = {"circle": 1.0, "square": 0.92, "triangle": 1.25, "star": 1.3, "cross": 1.12}
_WRITTEN = {
    "circle": 1.3,
    "square": 1.4,
    "triangle": 1.1,
    "star": 1.05,
    "cross": 1.15,
}  # side of a digit, in radii


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """One shape to paint: where and how large, as shares of the picture's side."""

    shape: str  # of SHAPES
    colour: str  # of COLOURS
    x: float  # of the middle, 0 (left) to 1
    y: float  # of the middle, 0 (top) to 1
    radius: float
    digit: np.ndarray | None = None  # (8, 8) of 0..16, handwriting to put on it


@dataclass(frozen=True, kw_only=True, slots=True)
class Ground:
    """What marks stand on: a grey that changes a little along one direction, and the camera's noise."""

    grey: float  # 0..255, in the middle
    slope: tuple[float, float]  # grey levels from left to right and from top to bottom
    tints: np.ndarray  # (len(COLOURS),) how bright each colour is under this light, about 1
    noise: float  # grey levels, standard deviation


def ground(rng: np.random.Generator) -> Ground:
    """Draw a dark ground and its light."""
    return Ground(
        grey=rng.uniform(28, 66),
        slope=(rng.uniform(-22, 22), rng.uniform(-22, 22)),
        tints=rng.uniform(0.86, 1.04, len(COLOURS)),
        noise=rng.uniform(2, 7),
    )


def paint(marks: Sequence[Mark], place: Ground, rng: np.random.Generator, *, side: int) -> np.ndarray:
    """Paint marks in order, later ones over earlier ones; (side, side, 3) uint8."""
    from PIL import Image, ImageDraw

    large = side * FINE
    shown = Image.new("RGB", (large, large))
    cover = Image.new("L", (large, large))
    ink, mask = ImageDraw.Draw(shown), ImageDraw.Draw(cover)
    for mark in marks:
        tint = place.tints[list(COLOURS).index(mark.colour)]
        colour = tuple(min(255, round(c * tint)) for c in COLOURS[mark.colour])
        _outline(ink, mark, large, colour)
        _outline(mask, mark, large, 255)
        if mark.digit is not None:
            _write_digit(shown, mark, large)
    colours, alpha = (np.asarray(p.reduce(FINE), np.float32) for p in (shown, cover))
    ramp = np.linspace(-0.5, 0.5, side, dtype=np.float32)
    grey = place.grey + place.slope[0] * ramp[None] + place.slope[1] * ramp[:, None]
    # `colours` is black where nothing was painted, so edges are already weighed by how much they are covered
    picture = colours + (grey * (1 - alpha / 255))[..., None]
    picture += rng.standard_normal(picture.shape, np.float32) * np.float32(place.noise)
    return picture.clip(0, 255).astype(np.uint8)


def corners(shape: str, x: float, y: float, reach: float) -> list[tuple[float, float]]:
    """Corners of every shape but the circle around (x, y), in the unit of `reach`."""
    if shape == "square":
        turns, lengths = np.arange(4) / 4 + 1 / 8, np.ones(4)
    elif shape == "triangle":
        turns, lengths = np.arange(3) / 3, np.ones(3)
    elif shape == "star":
        turns, lengths = np.arange(10) / 10, np.where(np.arange(10) % 2, 0.45, 1.0)
    else:  # a cross: twelve corners, arms as wide as 0.7 of the reach
        arm = 0.35
        quarter = np.array([[arm, -1], [arm, -arm], [1, -arm]])
        turn = np.array([[0, 1], [-1, 0]])  # a quarter to the right, y pointing down
        points = np.concatenate([quarter @ np.linalg.matrix_power(turn, k) for k in range(4)])
        return [(x + reach * float(a), y + reach * float(b)) for a, b in points]
    angle = 2 * np.pi * turns
    across, down = x + reach * lengths * np.sin(angle), y - reach * lengths * np.cos(angle)
    return list(zip(across.tolist(), down.tolist(), strict=True))


def _outline(draw, mark: Mark, large: int, fill: int | tuple[int, ...]) -> None:
    x, y, radius = mark.x * large, mark.y * large, mark.radius * large
    if mark.shape == "circle":
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
        return
    stretch = 2**0.5 if mark.shape == "square" else 1.0
    low = 0.12 * radius if mark.shape == "triangle" else 0.0  # its middle is nearer to its base
    draw.polygon(corners(mark.shape, x, y + low, radius * _REACH[mark.shape] * stretch), fill=fill)


def _write_digit(shown: "Image", mark: Mark, large: int) -> None:
    from PIL import Image

    size = max(8, round(_WRITTEN[mark.shape] * mark.radius * large))
    digit = Image.fromarray((np.asarray(mark.digit) * (255 / 16)).astype(np.uint8))
    mask = digit.resize((size, size), Image.Resampling.BICUBIC)
    ink = _DARK_INK if mark.colour in _LIGHT else _LIGHT_INK
    low = 0.2 * mark.radius if mark.shape == "triangle" else 0.0
    corner = round(mark.x * large - size / 2), round((mark.y + low) * large - size / 2)
    shown.paste(ink, (*corner, corner[0] + size, corner[1] + size), mask)
