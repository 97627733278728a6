"""Twelve motions of a handwritten digit: what it looks like tells nothing, and so does any single picture.

Place, angle, size and brightness of the digit are distributed alike at every frame for every motion: it leaves on one
side and enters on the other, turns and paths start anywhere, and what does not change is drawn as a moment of the
change. So one frame is worth a guess, one in twelve, and only the order of frames tells left from right.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sensorium.types import InputError
from sensorium.worlds.digits import handwriting, spread
from sensorium.worlds.everything import encoded_clip
from sensorium.worlds.planted import write_csv

ACTIONS = (
    "moves left", "moves right", "moves up", "moves down", "circles clockwise", "circles anticlockwise",
    "spins clockwise", "spins anticlockwise", "sways", "bobs", "pulses", "blinks",
)  # fmt: skip
FRAMES, RATE_HZ = 16, 8  # two seconds
FINE = 2  # drawn so many times larger than shown

README = """# Actions: twelve motions of a handwritten digit

`actions.csv`: {rows} videos ({frames} pictures of {side} x {side} pixels, {rate} a second) and the `action` in them:
{actions}. Beside the digit that acts lies another that does not, and the camera shakes. `truth.csv` is for the judge and
not for the model: which digit acts.

Digits are real handwriting (the 1,797 digits of scikit-learn's `load_digits`, from the UCI set "Optical Recognition of
Handwritten Digits"); none stands in two of the splits train, valid and test. Digit, colour, place, size and angle are
drawn without regard to the action, at every frame: a single picture does not tell it. Written with seed {seed}.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pose:
    """A digit at one frame. Lengths are shares of the picture's side."""

    x: float  # of the middle; whole numbers do not matter, sides being joined
    y: float
    turn: float  # turns, clockwise
    size: float  # side of the digit's 8 x 8 pixels
    light: float  # 0..1, of its colour


def write_actions(folder: str | Path, *, rows: int = 1200, seed: int = 0, side: int = 32) -> Path:
    """Write `actions.csv`, `truth.csv`, `video/*.mp4` and `README.md`; return the path of the first.

    Columns: id, split, video, action (of ACTIONS, equally often). Same arguments, same bytes. Raises InputError for fewer
    than 120 rows, an odd side or one outside 32..256.
    """
    if rows < 120:
        raise InputError("each split needs every action", got=rows, fix="write at least 120 rows")
    if not 32 <= side <= 256 or side % 2:
        raise InputError("no side for a clip", got=side, fix="give an even side of 32 to 256 pixels")
    folder = Path(folder)
    (folder / "video").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    splits = spread(rows)
    actions = _shuffled(splits, rng)
    digits = rng.integers(0, 10, (rows, 2))
    drawn = handwriting(digits.ravel(), [s for s in splits for _ in range(2)], rng).reshape(rows, 2, 8, 8)
    videos = [f"video/{i:05d}.mp4" for i in range(rows)]
    for video, action, pair in zip(videos, actions, drawn, strict=True):
        (folder / video).write_bytes(encoded_clip(acted(action, pair, rng, side=side), rate_hz=RATE_HZ))
    ids = [f"{i:05d}" for i in range(rows)]
    write_csv(folder / "actions.csv", {"id": ids, "split": splits, "video": videos, "action": actions})
    write_csv(folder / "truth.csv", {"id": ids, "digit": digits[:, 0], "beside": digits[:, 1]})
    told = README.format(
        rows=rows, frames=FRAMES, side=side, rate=RATE_HZ, actions=", ".join(ACTIONS), seed=seed
    )
    (folder / "README.md").write_text(told, encoding="utf-8")
    return folder / "actions.csv"


def _shuffled(splits: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Give every split every action equally often (but for a rest), in any order."""
    found: list[str] = []
    for split in dict.fromkeys(splits):
        count = splits.count(split)
        found += [ACTIONS[i] for i in rng.permutation(np.arange(count) % len(ACTIONS))]
    return found


def poses(action: str, rng: np.random.Generator) -> list[Pose]:
    """Draw a way of doing it: FRAMES poses."""
    t = np.linspace(0, 1, FRAMES)
    x, y, turn, phase, glow = (np.full(FRAMES, v) for v in rng.random(5))
    pace = rng.uniform(0.45, 0.85)  # sides, turns or swings in the whole clip
    swing = 2 * np.pi * (2 * pace * t + rng.random())
    way = dict(zip(ACTIONS[:4], ((-1, 0), (1, 0), (0, -1), (0, 1)), strict=True)).get(action, (0, 0))
    x, y = x + way[0] * pace * t, y + way[1] * pace * t
    if action.startswith("circles"):
        angle = swing if action == "circles clockwise" else -swing
        x, y = x + 0.16 * np.cos(angle), y + 0.16 * np.sin(angle)  # y points down, so this is clockwise
    if action.startswith("spins"):
        turn = turn + (1 if action == "spins clockwise" else -1) * pace * t
    x = x + 0.16 * np.sin(swing) * (action == "sways")
    y = y + 0.16 * np.sin(swing) * (action == "bobs")
    size = 0.4 * np.exp(0.32 * np.sin(swing if action == "pulses" else 2 * np.pi * phase))
    light = 0.7 + 0.3 * np.sin(swing if action == "blinks" else 2 * np.pi * glow)
    columns = (c.tolist() for c in (x, y, turn, size, light))
    return [Pose(x=a, y=b, turn=c, size=d, light=e) for a, b, c, d, e in zip(*columns, strict=True)]


def acted(action: str, digits: np.ndarray, rng: np.random.Generator, *, side: int) -> list[np.ndarray]:
    """Paint a clip: the first digit acts, the second lies still; (2, 8, 8) of 0..16 -> (side, side, 3) uint8 each."""
    colours = rng.uniform(0.25, 1, (2, 3))
    colours /= colours.max(1, keepdims=True)
    grey, noise = rng.uniform(20, 60), rng.uniform(2, 7)
    still = poses("", rng)[0]
    pictures = []
    for pose in poses(action, rng):
        picture = np.full((side * FINE, side * FINE, 3), grey, np.float32)
        for digit, colour, here in zip(digits[::-1], colours[::-1], (still, pose), strict=True):
            cover = _placed(digit, here, side * FINE)[..., None]
            picture += cover * (255 * here.light * colour - picture)
        shaken = np.roll(picture, rng.integers(-FINE, FINE + 1, 2), (0, 1))
        small = shaken.reshape(side, FINE, side, FINE, 3).mean((1, 3))
        small += rng.standard_normal(small.shape, np.float32) * np.float32(noise)
        pictures.append(small.clip(0, 255).astype(np.uint8))
    return pictures


def _placed(digit: np.ndarray, pose: Pose, large: int) -> np.ndarray:
    """Turn and enlarge a digit and put it in its place; (large, large) float32 in 0..1, sides joined."""
    from PIL import Image

    size = round(pose.size * large)
    picture = Image.fromarray((digit * (255 / 16)).astype(np.uint8)).resize(
        (size, size), Image.Resampling.BICUBIC
    )
    turned = np.asarray(picture.rotate(-360 * pose.turn, Image.Resampling.BILINEAR, expand=True), np.float32)
    whole = np.zeros((large, large), np.float32)
    high, wide = turned.shape
    whole[:high, :wide] = turned / 255
    return np.roll(whole, (round(pose.y * large - high / 2), round(pose.x * large - wide / 2)), (0, 1))
