"""Drawn faces that begin at rest and show a feeling: mouth, brows and eyes move, head and light vary."""

from dataclasses import dataclass

import numpy as np

RATE_HZ = 12  # pictures per second
FRAMES = 18  # of one clip: 1.5 s
SIDE = 64  # pixels


@dataclass(frozen=True, kw_only=True, slots=True)
class Face:
    """One person. Lengths are shares of the picture's side, colours (3,) of 0..1."""

    name: str
    width: float  # half axes of the head
    height: float
    skin: np.ndarray
    hair: np.ndarray
    wall: np.ndarray
    fringe: float  # how far the hair comes down, as a share of the head's half axis
    eyes: float  # half the distance between them
    mouth: float  # half its width
    glasses: bool


def people(count: int, rng: np.random.Generator) -> list[Face]:
    """Draw `count` persons who differ in shape and colours."""
    skins = np.array([[0.96, 0.80, 0.69], [0.55, 0.36, 0.25]])
    hairs = np.array([[0.1, 0.08, 0.07], [0.45, 0.28, 0.15], [0.8, 0.65, 0.35], [0.6, 0.6, 0.62]])
    found = []
    for i in range(count):
        share = rng.random()
        found.append(
            Face(
                name=f"face{i:02d}",
                width=rng.uniform(0.25, 0.31),
                height=rng.uniform(0.32, 0.38),
                skin=share * skins[0] + (1 - share) * skins[1],
                hair=hairs[rng.integers(len(hairs))] * rng.uniform(0.8, 1.1),
                wall=rng.uniform(0.2, 0.9, 3),
                fringe=rng.uniform(0.45, 0.7),
                eyes=rng.uniform(0.09, 0.13),
                mouth=rng.uniform(0.10, 0.14),
                glasses=bool(rng.random() < 0.3),
            )
        )
    return found


def clip(face: Face, polarity: int, rng: np.random.Generator) -> np.ndarray:
    """Film a face at rest that comes to show `polarity` (-1 sad or angry, 0 still, 1 glad).

    Gives (FRAMES, SIDE, SIDE, 3) float of 0..1, without noise. A face that shows nothing still moves a little.
    """
    t = np.linspace(0, 1, FRAMES)
    rise = 1 / (1 + np.exp(-(t - rng.uniform(0.25, 0.45)) / 0.07))
    mood = rise * (polarity * rng.uniform(0.65, 1.1) + rng.normal(0, 0.13))
    talk = 0.5 + 0.5 * np.sin(2 * np.pi * (rng.uniform(2, 4) * t + rng.random()))
    blink = np.exp(-(((t - rng.uniform(0, 1)) / 0.04) ** 2))
    sway = rng.uniform(0.005, 0.02, 2)[:, None] * np.sin(2 * np.pi * (t + rng.random((2, 1))))
    y, x = np.mgrid[:SIDE, :SIDE] / (SIDE - 1)
    x = x - 0.5 - (rng.uniform(-0.08, 0.08) + sway[0])[:, None, None]
    y = y - 0.54 - (rng.uniform(-0.05, 0.05) + sway[1])[:, None, None]
    picture = np.broadcast_to(face.wall, (*x.shape, 3)) * (1 - 0.25 * np.abs(y)[..., None])
    picture = _paint(picture, _inside(x, y + 0.03, face.width * 1.08, face.height * 1.08), face.hair)
    skin = np.minimum(_inside(x, y, face.width, face.height), _soft(y + face.fringe * face.height))
    picture = _paint(picture, skin, face.skin)
    picture = _eyes(picture, x, y, face, mood, blink)
    return _mouth(picture, x, y, face, mood, talk) * rng.uniform(0.8, 1.0)


def _soft(distance: np.ndarray) -> np.ndarray:
    """One where the distance is positive, zero where it is not, with an edge one pixel wide."""
    return np.clip(distance * SIDE + 0.5, 0, 1)


def _inside(x: np.ndarray, y: np.ndarray, width: float, height: np.ndarray | float) -> np.ndarray:
    """Cover of an ellipse, 0..1; (FRAMES, SIDE, SIDE)."""
    return _soft((1 - np.sqrt((x / width) ** 2 + (y / height) ** 2)) * np.minimum(width, height))


def _paint(picture: np.ndarray, cover: np.ndarray, colour: np.ndarray | float) -> np.ndarray:
    return picture + cover[..., None] * (colour - picture)


def _eyes(
    picture: np.ndarray, x: np.ndarray, y: np.ndarray, face: Face, mood: np.ndarray, blink: np.ndarray
) -> np.ndarray:
    """Eyes that narrow, and brows whose inner ends come down when the mood is bad."""
    move = mood[:, None, None]
    opened = 0.035 * (1 + 0.25 * move) * (1 - 0.85 * blink[:, None, None])
    up = y + 0.07
    for side in (-1, 1):
        across = x - side * face.eyes
        picture = _paint(picture, _inside(across, up, 0.05, np.maximum(opened, 0.006)), 0.97)
        picture = _paint(picture, _inside(across, up, 0.022, np.minimum(opened, 0.022)), 0.05)
        brow = -0.075 - 0.02 * move - 0.35 * np.minimum(move, 0.3) * (-side * across)
        line = np.minimum(0.011 - np.abs(up - brow), 0.06 - np.abs(across))
        picture = _paint(picture, _soft(line), face.hair * 0.6)
        if face.glasses:
            ring = 0.007 - np.abs(np.hypot(across, up) - 0.075)
            picture = _paint(picture, _soft(ring), 0.1)
    return picture


def _mouth(
    picture: np.ndarray, x: np.ndarray, y: np.ndarray, face: Face, mood: np.ndarray, talk: np.ndarray
) -> np.ndarray:
    """A mouth whose corners go up or down with the mood and that opens and closes as it talks."""
    share = x / face.mouth
    bend = 0.06 * mood[:, None, None] * (0.5 - share**2)
    thick = 0.014 + 0.014 * talk[:, None, None] * np.clip(1 - share**2, 0, 1)
    line = np.minimum(thick - np.abs(y - 0.17 - bend), face.mouth - np.abs(x))
    return _paint(picture, _soft(line), np.array([0.55, 0.12, 0.14]))
