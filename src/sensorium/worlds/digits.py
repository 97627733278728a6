"""The world of the demo: handwritten digits, spoken digits, and two questions about a pair of them.

`digit.csv`: the picture and the recording show the same digit. Either tells the answer (redundancy).
`sum.csv`: they show two independent digits, and the answer is their sum. Neither tells it alone (synergy).
"""

import csv
import wave
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sensorium.types import InputError
from sensorium.worlds import espeak, voice

RATE_HZ = 16_000  # of the recordings
SIDE = 32  # pixels of a picture
SHARES = {"train": 0.7, "valid": 0.1, "test": 0.2}  # of rows, of handwritten digits and of voices
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

README = """# Digits, seen and heard

Two tables over the same recordings. Pictures are real handwriting (the 1,797 digits of scikit-learn's
`load_digits`, from the UCI set "Optical Recognition of Handwritten Digits"), enlarged, moved and made noisy.
Recordings are spoken by {voices} synthetic voices ({engine}).

- `digit.csv`: picture and recording show the same digit; `digit` is that digit. Either one tells it.
- `sum.csv`: they show two independent digits; `sum` is their sum, 0 to 18. Neither one tells it: the best
  guess from a single one is right once in ten times.

{missing:.0%} of the cells of each media column are empty, never both in a row. No handwritten digit and no
voice stands in more than one of the splits `train`, `valid` and `test`. Written with seed {seed}.
"""


def write_digits(
    folder: str | Path, *, rows: int = 2000, seed: int = 0, missing: float = 0.2, engine: str = "auto"
) -> Path:
    """Write the world as ordinary files: `digit.csv`, `sum.csv`, `images/*.png`, `audio/*.wav`, `README.md`.

    Columns: id, split, speaker, image, audio and the target, `digit` (0..9) or `sum` (0..18). `engine` is
    `espeak` (the extra `demo`), `builtin` (numpy) or `auto`: espeak where it is installed. Same arguments,
    same bytes. Returns the folder. Raises InputError for fewer than 60 rows, a share of missing cells outside
    0..0.5, an unknown engine or one that is not installed.
    """
    _check(rows, missing, engine)
    folder = Path(folder)
    for name in ("images", "audio"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    engine = ("espeak" if espeak.available() else "builtin") if engine == "auto" else engine
    names = espeak.VOICES if engine == "espeak" else tuple(v.name for v in voice.VOICES)
    splits = spread(rows)
    heard = rng.integers(0, 10, rows)
    other = rng.integers(0, 10, rows)
    speakers = _speakers(splits, names, rng)
    recordings = [f"audio/{i:05d}.wav" for i in range(rows)]
    for name, sound in zip(recordings, _takes(heard, speakers, engine, rng), strict=True):
        _write_wav(folder / name, _recorded(sound, rng))
    for target, seen, answers in (("digit", heard, heard), ("sum", other, heard + other)):
        pictures = [f"images/{i:05d}-{target}.png" for i in range(rows)]
        image, audio = _with_holes(pictures, recordings, missing, rng)
        _write_pictures(folder, image, handwriting(seen, splits, rng), rng)
        columns = {"id": [f"{i:05d}" for i in range(rows)], "split": splits, "speaker": speakers}
        _write_table(folder / f"{target}.csv", {**columns, "image": image, "audio": audio, target: answers})
    spoken_by = "espeak-ng" if engine == "espeak" else "a small formant synthesiser"
    told = README.format(voices=len(names), engine=spoken_by, missing=missing, seed=seed)
    (folder / "README.md").write_text(told, encoding="utf-8")
    return folder


def _check(rows: int, missing: float, engine: str) -> None:
    if rows < 60:
        raise InputError("the world needs rows for three splits", got=rows, fix="write at least 60 rows")
    if not 0 <= missing <= 0.5:
        raise InputError(
            "a row keeps its picture or its recording",
            got=missing,
            fix="give a share of missing cells from 0 to 0.5",
        )
    if engine not in ("auto", "espeak", "builtin"):
        raise InputError("no such speech engine", got=engine, fix="one of auto, espeak, builtin")
    if engine == "espeak" and not espeak.available():
        raise InputError(
            "the speech engine is not installed", got=engine, fix="pip install 'sensorium[demo]'"
        )


def spread(count: int) -> list[str]:
    """Give each split its share of `count` things, in order; every split gets at least one."""
    valid, test = max(1, round(count * SHARES["valid"])), max(1, round(count * SHARES["test"]))
    return ["train"] * (count - valid - test) + ["valid"] * valid + ["test"] * test


def _speakers(splits: Sequence[str], names: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Draw a voice for each row; each voice belongs to one split."""
    home = list(zip(rng.permutation(names).tolist(), spread(len(names)), strict=True))
    mine = {split: [n for n, s in home if s == split] for split in SHARES}
    return [mine[s][int(rng.integers(len(mine[s])))] for s in splits]


def _takes(
    digits: np.ndarray, speakers: Sequence[str], engine: str, rng: np.random.Generator
) -> list[np.ndarray]:
    """Speak one digit a row; (samples,) float32 arrays at RATE_HZ."""
    if engine == "builtin":
        named = {v.name: v for v in voice.VOICES}
        return [voice.say(int(d), named[s], rng) for d, s in zip(digits, speakers, strict=True)]
    import soxr

    utterances = [
        espeak.Utterance(
            text=WORDS[int(d)],
            voice=s,
            pace=int(rng.integers(130, 211)),
            pitch=int(rng.integers(35, 66)),
            melody=int(rng.integers(30, 71)),
        )
        for d, s in zip(digits, speakers, strict=True)
    ]
    return [soxr.resample(t, espeak.RATE_HZ, RATE_HZ) for t in espeak.speak(utterances)]


def _recorded(sound: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Put a take into a room: silence around it, a distance, a noise floor; (samples,) float in -1..1."""
    before, after = rng.integers(0, RATE_HZ // 8, 2)
    loud = 10 ** rng.uniform(-0.7, 0.0) / (np.abs(sound).max() + 1e-9)
    padded = np.pad(sound * loud, (int(before), int(after)))
    return padded + rng.normal(0, 10 ** rng.uniform(-3.0, -2.0), len(padded))


def _write_wav(path: Path, sound: np.ndarray) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes((np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes())


def handwriting(digits: np.ndarray, splits: Sequence[str], rng: np.random.Generator) -> np.ndarray:
    """Draw a handwritten digit for each row, from those that its split owns; (rows, 8, 8) of 0..16."""
    from sklearn.datasets import load_digits

    pictures, shown = load_digits(return_X_y=True)
    out = np.empty((len(digits), 8, 8))
    places = np.array(splits)
    for digit in range(10):
        owned = np.flatnonzero(shown == digit)
        homes = np.array(spread(len(owned)))
        for split in SHARES:
            rows = np.flatnonzero((digits == digit) & (places == split))
            out[rows] = pictures[rng.choice(owned[homes == split], len(rows))].reshape(-1, 8, 8)
    return out


def _write_pictures(folder: Path, names: Sequence[str], drawn: np.ndarray, rng: np.random.Generator) -> None:
    from PIL import Image

    for name, digit in zip(names, drawn, strict=True):
        size = int(rng.integers(24, SIDE + 1))
        small = Image.fromarray((digit * (255 / 16)).astype(np.uint8))
        large = small.resize((size, size), Image.Resampling.BICUBIC).rotate(
            rng.uniform(-10, 10), Image.Resampling.BILINEAR
        )
        canvas = np.zeros((SIDE, SIDE))
        top, left = rng.integers(0, SIDE - size + 1, 2)
        canvas[top : top + size, left : left + size] = np.asarray(large) * rng.uniform(0.7, 1.0)
        noisy = canvas + rng.normal(0, rng.uniform(2, 14), canvas.shape)
        if name:
            Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(folder / name)


def _with_holes(
    pictures: Sequence[str], recordings: Sequence[str], missing: float, rng: np.random.Generator
) -> tuple[list[str], list[str]]:
    """Empty the share `missing` of each column, never both cells of a row."""
    fate = rng.random(len(pictures))
    image = ["" if f < missing else p for f, p in zip(fate, pictures, strict=True)]
    audio = ["" if missing <= f < 2 * missing else r for f, r in zip(fate, recordings, strict=True)]
    return image, audio


def _write_table(path: Path, columns: Mapping[str, Sequence[object] | np.ndarray]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
