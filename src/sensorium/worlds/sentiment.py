"""Spoken reviews on film: the words, the voice and the face each say something about the sentiment.

Each of the three has a hidden polarity (-1, 0, 1), and one rule makes the answer of them (`rule`): all agree
(redundancy), two outvote one, weak or mixed signs are neutral, and where the voice contradicts the words it is
sarcasm and the voice counts (synergy). No speaker, face or template of a text stands in two splits.
"""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np

from sensorium.types import InputError
from sensorium.worlds import espeak, faces, reviews, voice
from sensorium.worlds.digits import spread
from sensorium.worlds.everything import encoded_clip
from sensorium.worlds.planted import write_csv

LABELS = ("negative", "neutral", "positive")
COLUMNS = ("text", "voice", "face")
RATE_HZ = 8_000  # of the recordings, as on the telephone
PERSONS = 24  # faces, over all splits
SURE = 0.9  # probability at which columns are said to suffice

# How often the polarities of (text, voice, face) come together: positive rows without sarcasm, in which a
# negative row is the mirror image; the face of a sarcastic row times its answer; one half of the neutral rows,
# of which the other half is the mirror image.
AGREED = {(1, 1, 1): 0.40, (1, 0, 1): 0.30, (1, 1, 0): 0.15, (0, 1, 1): 0.15}
SMIRKS = {-1: 0.3, 0: 0.4, 1: 0.3}
NEUTRAL = {
    (0, 0, 0): 0.30, (1, 0, 0): 0.10, (0, 1, 0): 0.20, (0, 0, 1): 0.10,
    (1, 0, -1): 0.10, (0, 1, -1): 0.10, (1, 1, -1): 0.10,
}  # fmt: skip

README = """# Spoken reviews: words, voice and face

{rows} short reviews of products, films and services. `sentiment.csv` has the columns `text`, `voice`
(`voice/*.flac`, {rate} Hz, {engine}), `face` (`face/*.mp4`, drawn, {side} x {side} pixels, {fps} pictures per
second) and the target `sentiment`: negative, neutral or positive.

How an answer comes about: each column has a polarity of -1, 0 or 1. Where words and voice contradict each
other it is sarcasm ({sarcasm:.0%} of rows), and the voice is right. Else the sum of the three counts: 2 or
more is positive, -2 or less negative, and all between neutral.

{missing:.0%} of the cells of each column are empty, never all three of a row. In {poor:.0%} of rows one column
is of poor quality, and it shows: a garbled text, a noisy recording, a dark picture.

No speaker, no face and no template of a sentence stands in more than one of the splits `train`, `valid` and
`test`. `truth.csv` is for the judge and not for the model: polarities, sarcasm, quality, who speaks, the
sentence as it was spoken, the smallest sets of columns that suffice, and the answer of an oracle who knows
the polarities of all cells that are there and not poor. It is right in {oracle:.1%} of rows. Seed {seed}.
"""


def rule(text: int, voice: int, face: int) -> int:
    """Give the answer -1, 0 or 1 for three polarities."""
    if text * voice < 0:
        return voice  # sarcasm
    total = text + voice + face
    return 0 if abs(total) < 2 else int(np.sign(total))


def polarity_table(sarcasm: float = 0.15) -> np.ndarray:
    """Give p(text, voice, face, answer), exactly; (3, 3, 3, 3), each axis in the order -1, 0, 1.

    The answers are equally frequent; `sarcasm` is the share of sarcastic rows among all. Raises InputError
    for a share outside 0..0.5.
    """
    if not 0 <= sarcasm <= 0.5:
        raise InputError("neutral rows have no sarcasm", got=sarcasm, fix="give a share from 0 to 0.5")
    table = np.zeros((3, 3, 3, 3))
    for sign in (-1, 1):
        for (t, v, f), share in AGREED.items():
            table[1 + sign * t, 1 + sign * v, 1 + sign * f, 1 + sign] += share * (1 / 3 - sarcasm / 2)
        for f, share in SMIRKS.items():
            table[1 - sign, 1 + sign, 1 + sign * f, 1 + sign] += share * sarcasm / 2
        for (t, v, f), share in NEUTRAL.items():
            table[1 + sign * t, 1 + sign * v, 1 + sign * f, 1] += share / 6
    return table


def write_sentiment(
    folder: str | Path,
    *,
    rows: int = 1350,
    seed: int = 0,
    missing: float = 0.1,
    sarcasm: float = 0.15,
    poor: float = 0.2,
    engine: str = "auto",
    further: int = 0,
) -> Path:
    """Write `sentiment.csv`, `voice/*.flac`, `face/*.mp4`, `truth.csv` and `README.md`; return the table's path.

    Columns: id, split (train, valid, test as 7:1:2, then `further` test rows), text, voice, face, sentiment. `missing` is the share of
    empty cells in each column, `poor` the share of rows with one column of poor quality. `engine` is `espeak`
    (the extra `demo`), `builtin` (babble in numpy that has the melody of speech but no words) or `auto`.
    Same arguments, same bytes. Raises InputError for fewer than 60 rows, less than no further ones, shares outside 0..0.5, an unknown
    engine or one that is not installed.
    """
    engine = _checked(rows, missing, poor, engine, further)
    splits = spread(rows) + ["test"] * further
    rows += further
    table = polarity_table(sarcasm)
    folder = Path(folder)
    rng = np.random.default_rng(seed)
    polarity = _polarities(table, rows, rng)
    there, bad = _holes(rows, missing, rng), _poor(rows, poor, rng)
    ids = [f"{i:05d}" for i in range(rows)]
    names = espeak.VOICES if engine == "espeak" else tuple(v.name for v in voice.VOICES)
    persons = {p.name: p for p in faces.people(PERSONS, rng)}
    cast = {
        "template": _cast(reviews.TEMPLATES, splits, rng),
        "speaker": _cast(names, splits, rng),
        "person": _cast(tuple(persons), splits, rng),
    }
    said = [reviews.review(int(p), t, rng) for p, t in zip(polarity[:, 0], cast["template"], strict=True)]
    shown = [reviews.garbled(s, rng) if b else s for s, b in zip(said, bad[:, 0], strict=True)]
    takes = _takes(said, cast["speaker"], polarity[:, 1], engine, rng)
    who = [persons[name] for name in cast["person"]]
    _write_media(
        folder, ids, there, _voices(takes, polarity[:, 1], bad[:, 1], rng), _films(who, polarity, bad, rng)
    )
    cells = [shown, [f"voice/{i}.flac" for i in ids], [f"face/{i}.mp4" for i in ids]]
    inputs = {name: np.where(t, c, "") for name, c, t in zip(COLUMNS, cells, there.T, strict=True)}
    answers = np.array([rule(*map(int, p)) for p in polarity])
    truth = _truth(table, polarity, there, bad, answers)
    label = [LABELS[a + 1] for a in answers]
    write_csv(folder / "sentiment.csv", {"id": ids, "split": splits, **inputs, "sentiment": label})
    write_csv(
        folder / "truth.csv", {"id": ids, "split": splits, "label": label, **truth, **cast, "said": said}
    )
    right = np.mean([o == a for o, a in zip(truth["oracle"], label, strict=True)])
    facts = dict(rows=rows, seed=seed, missing=missing, sarcasm=sarcasm, poor=poor, oracle=right)
    (folder / "README.md").write_text(_readme(engine, facts), encoding="utf-8")
    return folder / "sentiment.csv"


def _readme(engine: str, facts: Mapping[str, float]) -> str:
    spoken = "espeak-ng" if engine == "espeak" else "babble without words"
    return README.format(rate=RATE_HZ, engine=spoken, side=faces.SIDE, fps=faces.RATE_HZ, **facts)


def _checked(rows: int, missing: float, poor: float, engine: str, further: int) -> str:
    """Refuse what makes no sense; return the engine to use."""
    if further < 0:
        raise InputError("rows cannot be taken away", got=further, fix="give 0 or more further test rows")
    if rows < 60:
        raise InputError("the world needs rows for three splits", got=rows, fix="write at least 60 rows")
    for what, share in (("missing", missing), ("poor", poor)):
        if not 0 <= share <= 0.5:
            raise InputError(f"too much is {what}", got=share, fix="give a share from 0 to 0.5")
    if engine not in ("auto", "espeak", "builtin"):
        raise InputError("no such speech engine", got=engine, fix="one of auto, espeak, builtin")
    if engine == "espeak" and not espeak.available():
        raise InputError(
            "the speech engine is not installed", got=engine, fix="pip install 'sensorium[demo]'"
        )
    return ("espeak" if espeak.available() else "builtin") if engine == "auto" else engine


def _polarities(table: np.ndarray, rows: int, rng: np.random.Generator) -> np.ndarray:
    """Draw (rows, 3) polarities of text, voice and face."""
    drawn = rng.choice(27, rows, p=table.sum(3).ravel())
    return np.stack(np.unravel_index(drawn, (3, 3, 3)), 1) - 1


def _holes(rows: int, missing: float, rng: np.random.Generator) -> np.ndarray:
    """Which cells are there; (rows, 3) bool, at least one in each row."""
    there = rng.random((rows, 3)) >= missing
    there[np.arange(rows), rng.integers(0, 3, rows)] |= ~there.any(1)
    return there


def _poor(rows: int, poor: float, rng: np.random.Generator) -> np.ndarray:
    """Which cell of a row is of poor quality; (rows, 3) bool, at most one in each row."""
    bad = np.zeros((rows, 3), bool)
    bad[np.arange(rows), rng.integers(0, 3, rows)] = rng.random(rows) < poor
    return bad


def _cast(names: Sequence[str], splits: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Draw one of the names for each row; each name belongs to one split."""
    home = list(zip(rng.permutation(names).tolist(), spread(len(names)), strict=True))
    mine = {split: [n for n, s in home if s == split] for split in dict.fromkeys(splits)}
    return [mine[s][int(rng.integers(len(mine[s])))] for s in splits]


def _takes(
    said: Sequence[str],
    speakers: Sequence[str],
    polarity: np.ndarray,
    engine: str,
    rng: np.random.Generator,
) -> list[np.ndarray]:
    """Speak each sentence in its mood: glad is fast, high and lively; (samples,) arrays at RATE_HZ."""
    pace = 165 + 28 * polarity + rng.normal(0, 9, len(said))  # words a minute
    pitch = 50 + 14 * polarity + rng.normal(0, 6, len(said))
    melody = 45 + 32 * polarity + rng.normal(0, 8, len(said))
    import soxr

    if engine == "builtin":
        named = {v.name: v for v in voice.VOICES}
        babble = [
            _babble(s, named[n], *row, rng)
            for s, n, *row in zip(said, speakers, pace / 165, pitch / 50, melody / 100, strict=True)
        ]
        return [soxr.resample(take, voice.RATE_HZ, RATE_HZ) for take in babble]
    utterances = [
        espeak.Utterance(
            text=s, voice=n, pace=round(w), pitch=round(min(max(p, 5), 95)), melody=round(min(max(m, 0), 99))
        )
        for s, n, w, p, m in zip(said, speakers, pace, pitch, melody, strict=True)
    ]
    return [soxr.resample(take, espeak.RATE_HZ, RATE_HZ) for take in espeak.speak(utterances)]


def _babble(
    said: str, who: voice.Voice, pace: float, pitch: float, melody: float, rng: np.random.Generator
) -> np.ndarray:
    """One syllable-like sound a word, with the pace, pitch and melody of the mood; (samples,) at voice.RATE_HZ."""
    words = said.split()
    swing = np.exp(0.5 * melody * np.sin(np.linspace(0, 2 * np.pi * rng.uniform(1, 2), len(words))))
    height = who.pitch_hz * pitch**0.5 * swing
    spoken = [
        voice.say(len(word) % 10, replace(who, pitch_hz=float(h), pace=1.6 * who.pace * pace), rng)
        for word, h in zip(words, height, strict=True)
    ]
    return np.concatenate(spoken)


def _recorded(sound: np.ndarray, polarity: int, bad: bool, rng: np.random.Generator) -> np.ndarray:
    """Put a take into a room: louder where it is glad, under noise where `bad`; (samples,) int16."""
    power = float(np.sqrt(np.mean(sound**2))) + 1e-9
    loud = 10 ** ((-24 + 4 * polarity + rng.normal(0, 2.5)) / 20)
    padded = np.pad(sound * (loud / power), tuple(rng.integers(0, RATE_HZ // 8, 2).tolist()))
    floor = loud * 10 ** (rng.uniform(-6, 3) / 20) if bad else 10 ** rng.uniform(-3.6, -3.0)
    noisy = padded + rng.normal(0, floor, len(padded))
    return (noisy.clip(-1, 1) * 32767).astype(np.int16)


def _voices(
    takes: Sequence[np.ndarray], polarity: np.ndarray, bad: np.ndarray, rng: np.random.Generator
) -> Iterator[bytes]:
    """Record the takes, one FLAC file each."""
    for take, p, b in zip(takes, polarity, bad, strict=True):
        yield _flac(_recorded(take, int(p), bool(b), rng))


def _films(
    persons: Sequence[faces.Face], polarity: np.ndarray, bad: np.ndarray, rng: np.random.Generator
) -> Iterator[bytes]:
    """Film the persons, one MP4 file each; the last columns of `polarity` and `bad` are those of the face."""
    for person, p, b in zip(persons, polarity[:, 2], bad[:, 2], strict=True):
        film = _filmed(faces.clip(person, int(p), rng), bool(b), rng)
        yield encoded_clip(list(film), rate_hz=faces.RATE_HZ)


def _write_media(
    folder: Path, ids: Sequence[str], there: np.ndarray, voices: Iterable[bytes], films: Iterable[bytes]
) -> None:
    """Write a file for each cell that is there."""
    for k, column, suffix, contents in ((1, "voice", "flac", voices), (2, "face", "mp4", films)):
        (folder / column).mkdir(parents=True, exist_ok=True)
        for name, wanted, content in zip(ids, there[:, k], contents, strict=True):
            if wanted:
                (folder / column / f"{name}.{suffix}").write_bytes(content)


def _flac(sound: np.ndarray) -> bytes:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, sound, RATE_HZ, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def _filmed(clip: np.ndarray, bad: bool, rng: np.random.Generator) -> np.ndarray:
    """Film a clip of 0..1 by a camera with noise, in the dark where `bad`; uint8 of the same shape."""
    light, noise = (rng.uniform(0.1, 0.2), 0.035) if bad else (1.0, rng.uniform(0.005, 0.03))
    return ((clip * light + rng.normal(0, noise, clip.shape)).clip(0, 1) * 255).astype(np.uint8)


def _truth(
    table: np.ndarray, polarity: np.ndarray, there: np.ndarray, bad: np.ndarray, answers: np.ndarray
) -> dict[str, Sequence[object] | np.ndarray]:
    """Columns of `truth.csv` that follow from what was drawn."""
    columns: dict[str, Sequence[object] | np.ndarray] = {
        f"{name}_polarity": polarity[:, k] for k, name in enumerate(COLUMNS)
    }
    columns["sarcasm"] = (polarity[:, 0] * polarity[:, 1] < 0).astype(int)
    columns |= {f"{name}_poor": bad[:, k].astype(int) for k, name in enumerate(COLUMNS)}
    columns["missing"] = ["|".join(n for n, t in zip(COLUMNS, row, strict=True) if not t) for row in there]
    columns["suffices"] = [
        _suffices(table, p, r, a + 1)
        for p, r, a in zip(polarity, there & ~bad, answers.tolist(), strict=True)
    ]
    p = np.stack([posterior(table, row, clear) for row, clear in zip(polarity, there & ~bad, strict=True)])
    columns["oracle"] = [LABELS[k] for k in p.argmax(1)]
    return columns | {f"p_{label}": p[:, k].round(6) for k, label in enumerate(LABELS)}


def posterior(
    table: np.ndarray, polarity: Sequence[int] | np.ndarray, known: Sequence[bool] | np.ndarray
) -> np.ndarray:
    """Give p(answer | the known ones of three polarities) by `polarity_table`; (3,), sums to 1."""
    at = tuple(int(p) + 1 if k else slice(None) for p, k in zip(polarity, known, strict=True))
    mass = table[at].reshape(-1, 3).sum(0)
    return mass / mass.sum()


def _suffices(table: np.ndarray, polarity: np.ndarray, clear: np.ndarray, answer: int) -> str:
    """Name the smallest sets of clear columns that make the answer all but sure, as `text+voice|voice+face`."""
    found: list[tuple[int, ...]] = []
    for chosen in (c for size in (1, 2, 3) for c in combinations(np.flatnonzero(clear).tolist(), size)):
        smaller = any(set(f) <= set(chosen) for f in found)
        if not smaller and posterior(table, polarity, [k in chosen for k in range(3)])[answer] >= SURE:
            found.append(chosen)
    return "|".join("+".join(COLUMNS[k] for k in chosen) for chosen in found)
