"""The worlds: ordinary files, the planted truth, holes where they belong, nothing shared between splits."""

import csv
import hashlib
import time
import wave
from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from sensorium.modalities import CARRIERS, carrier_of
from sensorium.types import InputError, Limits, Media
from sensorium.worlds import espeak, voice, write_digits, write_everything
from sensorium.worlds.digits import handwriting, spread
from sensorium.worlds.everything import COLUMNS, LABELS

ENGINES = [
    "builtin",
    pytest.param("espeak", marks=pytest.mark.skipif(not espeak.available(), reason="extra demo")),
]


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def digest(folder):
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def heard(path):
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16_000)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768


@pytest.fixture(scope="module", params=ENGINES)
def digits(request, tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("digits"), rows=600, seed=3, engine=request.param)


@pytest.fixture(scope="module")
def tables(digits):
    return {name: rows_of(digits / f"{name}.csv") for name in ("digit", "sum")}


def test_the_files_that_cells_name_are_there(digits, tables):
    for rows in tables.values():
        assert [r["id"] for r in rows] == [f"{i:05d}" for i in range(600)]
        for row in rows:
            if row["image"]:
                with Image.open(digits / row["image"]) as picture:
                    assert (picture.size, picture.mode) == ((32, 32), "L")
            if row["audio"]:
                sound = heard(digits / row["audio"])
                assert 0.2 < len(sound) / 16_000 < 1.8
                assert 0.1 < np.abs(sound).max() <= 1
    assert "seed 3" in (digits / "README.md").read_text(encoding="utf-8")


def test_holes_and_splits(tables):
    for rows in tables.values():
        assert Counter(r["split"] for r in rows) == {"train": 420, "valid": 60, "test": 120}
        for column in ("image", "audio"):
            assert 0.14 < np.mean([r[column] == "" for r in rows]) < 0.26
        assert all(r["image"] or r["audio"] for r in rows)


def test_no_voice_stands_in_two_splits(tables):
    homes = defaultdict(set)
    for row in tables["digit"] + tables["sum"]:
        homes[row["speaker"]].add(row["split"])
    assert len(homes) >= 8
    assert all(len(splits) == 1 for splits in homes.values())
    assert {s for splits in homes.values() for s in splits} == {"train", "valid", "test"}


def test_the_planted_truth(tables):
    same, other = tables["digit"], tables["sum"]
    assert {r["digit"] for r in same} == set("0123456789")
    seen = np.array([int(t["sum"]) - int(d["digit"]) for d, t in zip(same, other, strict=True)])
    said = np.array([int(d["digit"]) for d in same])
    assert seen.min() == 0
    assert seen.max() == 9
    assert abs(np.corrcoef(seen, said)[0, 1]) < 0.1  # independent: neither tells the other
    assert max(Counter(zip(said, seen + said, strict=True)).values()) / 60 < 0.35


def test_no_handwritten_digit_stands_in_two_splits():
    rng = np.random.default_rng(0)
    splits = spread(4000)
    drawn = handwriting(rng.integers(0, 10, 4000), splits, rng)
    homes = defaultdict(set)
    for picture, split in zip(drawn, splits, strict=True):
        homes[picture.tobytes()].add(split)
    assert len(homes) > 1200
    assert all(len(s) == 1 for s in homes.values())


@pytest.mark.parametrize("engine", ENGINES)
def test_same_arguments_same_bytes(engine, tmp_path):
    first, again, other = (
        digest(write_digits(tmp_path / str(i), rows=60, seed=seed, engine=engine))
        for i, seed in enumerate((1, 1, 2))
    )
    assert first == again
    shared = [k for k in first if k.endswith((".png", ".wav")) and first[k] == other.get(k)]
    assert shared == []


def cepstra(sound, rate):
    """A word as (12 instants x 12) cepstral coefficients of a mel-like scale."""
    frames = np.lib.stride_tricks.sliding_window_view(sound, 512)[::160] * np.hanning(512)
    power = np.abs(np.fft.rfft(frames)) ** 2
    edges = np.geomspace(200, 7600, 25) / (rate / 512)
    bands = np.stack([power[:, int(a) : int(b) + 1].mean(1) for a, b in pairwise(edges)], 1)
    logs = np.log(bands + 1e-4)
    loud = logs.mean(1)
    spoken = np.flatnonzero(loud > loud.min() + 0.25 * np.ptp(loud))
    logs = logs[spoken[0] : spoken[-1] + 1]
    turned = logs @ np.cos(np.pi / 24 * (np.arange(24)[:, None] + 0.5) * np.arange(1, 13))
    at = np.linspace(0, len(turned) - 1, 12)
    return np.stack([np.interp(at, np.arange(len(turned)), c) for c in turned.T], 1).ravel()


def test_words_are_told_apart_in_voices_never_heard(digits, tables):
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    rows = [r for r in tables["digit"] if r["audio"]]
    x = np.array([cepstra(heard(digits / r["audio"]), 16_000) for r in rows])
    y, test = np.array([r["digit"] for r in rows]), np.array([r["split"] == "test" for r in rows])
    model = make_pipeline(StandardScaler(), SVC(C=5)).fit(x[~test], y[~test])
    assert model.score(x[test], y[test]) > 0.8


def test_the_builtin_voice_never_says_the_same_twice():
    rng = np.random.default_rng(0)
    takes = [voice.say(7, voice.VOICES[0], rng) for _ in range(5)]
    assert len({t.tobytes() for t in takes}) == 5
    for take in takes:
        assert take.dtype == np.float32
        assert 0.69 < np.abs(take).max() <= 0.7001
        assert 0.2 < len(take) / voice.RATE_HZ < 0.9


def pitch_of(sound, rate):
    frame = sound[len(sound) // 3 :][:1600].astype(float)
    back = np.correlate(frame, frame, "full")[len(frame) - 1 :]
    low, high = int(rate / 350), int(rate / 70)
    return rate / (low + np.argmax(back[low:high]))


@pytest.mark.parametrize(
    "speaker", [v for v in voice.VOICES if v.name in ("arno", "kim", "gabi")], ids=lambda v: v.name
)
def test_a_voice_has_its_pitch(speaker):
    rng = np.random.default_rng(1)
    found = np.median([pitch_of(voice.say(1, speaker, rng), voice.RATE_HZ) for _ in range(9)])
    assert found == pytest.approx(speaker.pitch_hz, rel=0.2)


@pytest.mark.skipif(not espeak.available(), reason="extra demo")
def test_espeak_forgets_what_it_said_before():
    words = [espeak.Utterance(text="seven", voice=v) for v in ("en-us", "en+f2", "en-us")]
    first = espeak.speak(words)
    espeak.speak([espeak.Utterance(text="nine", voice="en-us+f3")])
    time.sleep(
        1.1
    )  # the engine seeds the breath of a voice by the clock's second unless it is told otherwise
    again = espeak.speak(words)
    assert [a.tobytes() for a in first] == [a.tobytes() for a in again]
    assert espeak.speak([]) == []
    with pytest.raises(InputError, match="knows no voice 'nobody'"):
        espeak.speak([espeak.Utterance(text="seven", voice="nobody")])


@pytest.mark.skipif(not espeak.available(), reason="extra demo")
def test_every_voice_is_known():
    sounds = espeak.speak([espeak.Utterance(text="three", voice=v) for v in espeak.VOICES])
    assert all(len(s) / espeak.RATE_HZ > 0.2 and np.abs(s).max() > 0.1 for s in sounds)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rows": 10}, "at least 60 rows"),
        ({"missing": 0.6}, "from 0 to 0.5"),
        ({"missing": -0.1}, "from 0 to 0.5"),
        ({"engine": "parrot"}, "auto, espeak, builtin"),
    ],
)
def test_digits_refuse(wrong, message, tmp_path):
    with pytest.raises(InputError, match=message):
        write_digits(tmp_path / "w", **wrong)
    assert not (tmp_path / "w").exists()


def test_everything_holds_every_carrier(everything):
    rows = rows_of(everything)
    assert list(rows[0]) == ["id", "split", *COLUMNS, "label", "score"]
    assert Counter(r["label"] for r in rows) == dict.fromkeys(LABELS, 20)
    assert Counter(r["split"] for r in rows) == {"train": 36, "valid": 12, "test": 12}
    assert {r["label"] for r in rows if r["split"] == "test"} == set(LABELS)
    empty = [[r[c] == "" for c in COLUMNS] for r in rows]
    assert 0.12 < np.mean(empty) < 0.26
    assert not any(all(e) for e in empty)
    for row in rows:
        assert LABELS[min(int(float(row["score"]) / 4), 2)] == row["label"]


def decoded(folder, column, carrier):
    found = {}
    for path in sorted((folder / column).iterdir()):
        media = Media(content=path.read_bytes(), name=path.name)
        found[int(path.stem)] = CARRIERS[carrier].decode(media, Limits())
    return found


def frequency(signal):
    """The strongest frequency of the first channel, in cycles a sample."""
    wave_ = signal.values[:, 0] - signal.values[:, 0].mean()
    return np.abs(np.fft.rfft(wave_))[1:].argmax() / len(wave_)


SHOWS = {
    "image": ("image", lambda s: float(s.values.mean())),
    "clip": ("video", lambda s: float(s.values.mean())),
    "sound": ("audio", frequency),
    "motion": ("series", frequency),
    "trace": ("series", frequency),
    "cloud": ("points", lambda s: float(np.ptp(s.values[:, 2]))),
    "lidar": ("points", lambda s: float(np.ptp(s.values[:, 2]))),
}


@pytest.mark.parametrize("column", list(SHOWS))
def test_each_file_shows_the_answer_to_our_decoders(column, everything):
    carrier, measure = SHOWS[column]
    signals = decoded(everything.parent, column, carrier)
    scores = {i: float(r["score"]) for i, r in enumerate(rows_of(everything)) if r[column]}
    assert signals.keys() == scores.keys()
    found = [[measure(s), scores[i]] for i, s in signals.items()]
    ranks = np.argsort(np.argsort(np.array(found), axis=0), axis=0)
    assert np.corrcoef(ranks.T)[0, 1] > 0.9
    if column != "lidar":  # a table of numbers is a cloud by its column's name alone
        assert carrier_of(f"x{COLUMNS[column][0]}") == carrier


def test_words_numbers_and_colours_show_the_answer(everything):
    rows = rows_of(everything)
    sizes = np.array([[float(r["size"]), float(r["score"])] for r in rows if r["size"]])
    assert np.corrcoef(sizes.T)[0, 1] > 0.9
    by_label = defaultdict(set)
    for row in rows:
        by_label[row["label"]] |= {w.strip(",") for w in row["text"].split()[1:]} - {
            "and",
            "day",
            "as",
            "ever",
            "a",
        }
    assert not by_label["low"] & by_label["high"]
    common = Counter((r["label"], r["colour"]) for r in rows if r["colour"])
    assert all(common[pair] > 8 for pair in zip(LABELS, ("blue", "green", "red"), strict=True))
    assert len(common) > 3  # a hint, not another name of the answer


def test_every_second_clip_has_a_sound(everything):
    sounds = decoded(everything.parent, "clip", "audio")
    assert all((s is None) == (row % 2 == 1) for row, s in sounds.items())


def test_everything_is_quick_and_the_same_for_a_seed(tmp_path, everything):
    began = time.process_time()
    again = write_everything(tmp_path / "a")
    assert time.process_time() - began < 3
    assert digest(again.parent) == digest(everything.parent)
    few = write_everything(
        tmp_path / "b", rows=15, seed=1, missing=0, columns=["text", "size"], targets=["label"]
    )
    assert list(rows_of(few)[0]) == ["id", "split", "text", "size", "label"]
    assert all(r["text"] and r["size"] for r in rows_of(few))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rows": 9}, "at least 15 rows"),
        ({"missing": 1}, "from 0 to 0.9"),
        ({"columns": ["smell"]}, "smell"),
        ({"targets": ["smell"]}, "smell"),
    ],
)
def test_everything_refuses(wrong, message, tmp_path):
    with pytest.raises(InputError, match=message):
        write_everything(tmp_path / "w", **wrong)
