"""The spoken reviews: the truth explains the labels, nothing is shared between splits, each file can be read."""

import csv
import hashlib
from collections import Counter, defaultdict
from itertools import product

import numpy as np
import pytest
import soundfile

from sensorium.modalities import CARRIERS
from sensorium.types import InputError, Limits, Media
from sensorium.worlds import espeak, faces, reviews, write_sentiment
from sensorium.worlds.sentiment import COLUMNS, LABELS, polarity_table, posterior, rule

ROWS = 120
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


@pytest.fixture(scope="module", params=ENGINES)
def world(request, tmp_path_factory):
    return write_sentiment(tmp_path_factory.mktemp("reviews"), rows=ROWS, seed=3, engine=request.param).parent


@pytest.fixture(scope="module")
def table(world):
    return rows_of(world / "sentiment.csv")


@pytest.fixture(scope="module")
def truth(world):
    return rows_of(world / "truth.csv")


def polarities(row):
    return [int(row[f"{name}_polarity"]) for name in COLUMNS]


def test_the_rule():
    assert [rule(1, 1, 1), rule(1, 0, 1), rule(0, -1, -1), rule(-1, -1, 0)] == [1, 1, -1, -1]
    assert [rule(0, 0, 0), rule(1, 0, 0), rule(1, 0, -1), rule(1, 1, -1)] == [0, 0, 0, 0]
    assert [rule(1, -1, f) for f in (-1, 0, 1)] == [-1, -1, -1]
    for signs in product((-1, 0, 1), repeat=3):
        assert rule(*(-s for s in signs)) == -rule(*signs)


def test_the_table_of_polarities_obeys_the_rule():
    table = polarity_table(0.15)
    assert table.sum() == pytest.approx(1)
    assert table.sum((0, 1, 2)) == pytest.approx([1 / 3] * 3)
    for at in np.argwhere(table > 0):
        t, v, f, answer = (at - 1).tolist()
        assert rule(t, v, f) == answer
    assert table[0, 2].sum() + table[2, 0].sum() == pytest.approx(0.15)


def accuracy(table, known):
    """Share of answers that who knows these polarities gets right, exactly."""
    return table.sum(tuple(k for k in range(3) if not known[k])).reshape(-1, 3).max(1).sum()


def test_each_column_tells_some_and_all_tell_everything():
    table = polarity_table()
    alone = [accuracy(table, [k == m for k in range(3)]) for m in range(3)]
    pairs = [accuracy(table, [k != m for k in range(3)]) for m in range(3)]
    assert alone == pytest.approx([0.673, 0.712, 0.685], abs=0.002)
    assert max(alone) + 0.03 < min(pairs)
    assert accuracy(table, [True] * 3) == pytest.approx(1)
    assert accuracy(table, [False] * 3) == pytest.approx(1 / 3)


def test_labels_follow_from_the_truth(table, truth):
    assert len(table) == len(truth) == ROWS
    for row, fact in zip(table, truth, strict=True):
        assert row["sentiment"] == fact["label"] == LABELS[rule(*polarities(fact)) + 1]
        text, spoken, _ = polarities(fact)
        assert fact["sarcasm"] == str(int(text * spoken < 0))
        if fact["sarcasm"] == "1":
            assert fact["label"] == LABELS[spoken + 1]
        gone = set(fact["missing"].split("|")) - {""}
        assert {c for c in COLUMNS if not row[c]} == gone
        assert len(gone) < 3
        assert sum(int(fact[f"{c}_poor"]) for c in COLUMNS) <= 1


def test_the_oracle_and_what_suffices(truth):
    probabilities = polarity_table()
    for fact in truth:
        clear = [c not in fact["missing"].split("|") and fact[f"{c}_poor"] == "0" for c in COLUMNS]
        p = posterior(probabilities, polarities(fact), clear)
        assert [float(fact[f"p_{label}"]) for label in LABELS] == pytest.approx(p.tolist(), abs=1e-6)
        assert fact["oracle"] == LABELS[p.argmax()]
        for names in filter(None, fact["suffices"].split("|")):
            some = [c in names.split("+") for c in COLUMNS]
            assert all(c for c, s in zip(clear, some, strict=True) if s)
            assert posterior(probabilities, polarities(fact), some)[LABELS.index(fact["label"])] >= 0.9
        if all(clear):
            assert fact["suffices"]
    assert np.mean([f["oracle"] == f["label"] for f in truth]) > 0.8


def test_shares(table, truth):
    assert Counter(r["split"] for r in table) == {"train": 84, "valid": 12, "test": 24}
    assert 0.06 < np.mean([int(f["sarcasm"]) for f in truth]) < 0.26
    assert 0.1 < np.mean([any(f[f"{c}_poor"] == "1" for c in COLUMNS) for f in truth]) < 0.3
    for column in COLUMNS:
        assert 0.02 < np.mean([not r[column] for r in table]) < 0.2


@pytest.mark.parametrize("what", ["template", "speaker", "person"])
def test_nobody_stands_in_two_splits(what, truth):
    homes = defaultdict(set)
    for fact in truth:
        homes[fact[what]].add(fact["split"])
    assert len(homes) >= 8
    assert all(len(splits) == 1 for splits in homes.values())
    assert set().union(*homes.values()) == {"train", "valid", "test"}


def decoded(world, cell, carrier):
    path = world / cell
    return CARRIERS[carrier].decode(Media(content=path.read_bytes(), name=path.name), Limits())


def test_every_file_can_be_read_and_shows_its_quality(world, table, truth):
    light, floor = {"0": [], "1": []}, {"0": [], "1": []}
    for row, fact in zip(table, truth, strict=True):
        if row["face"]:
            film = decoded(world, row["face"], "video")
            assert film.values.shape == (faces.FRAMES, faces.SIDE, faces.SIDE, 3)
            light[fact["face_poor"]].append(film.values.mean())
        if row["voice"]:
            sound = decoded(world, row["voice"], "audio")
            assert soundfile.info(world / row["voice"]).samplerate == 8000
            assert 0.6 < len(sound.values) / sound.rate_hz < 9
            frames = sound.values[: len(sound.values) // 400 * 400].reshape(-1, 400)
            floor[fact["voice_poor"]].append(np.quantile(frames.std(1), 0.1))
        if row["text"]:
            assert (row["text"] == fact["said"]) == (fact["text_poor"] == "0")
    assert max(light["1"]) < min(light["0"])
    assert np.median(floor["1"]) > 8 * np.median(floor["0"])
    told = (world / "README.md").read_text(encoding="utf-8")
    assert "Seed 3" in told
    assert "{" not in told


def test_a_voice_has_its_mood(world, table, truth):
    """A glad voice says more words a second and is louder, over all speakers."""
    found = {-1: [], 0: [], 1: []}
    for row, fact in zip(table, truth, strict=True):
        if row["voice"] and fact["voice_poor"] == "0":
            sound = decoded(world, row["voice"], "audio").values
            found[polarities(fact)[1]].append([len(fact["said"]) / len(sound), sound.std()])
    middle = np.array([np.median(found[p], axis=0) for p in (-1, 0, 1)])
    assert (np.diff(middle, axis=0) > 0.1 * middle[:-1]).all()


def test_words_say_their_polarity():
    rng = np.random.default_rng(0)
    said = {p: [reviews.review(p, t, rng) for t in reviews.TEMPLATES * 20] for p in (-1, 0, 1)}
    assert all(len(set(s)) > 300 for s in said.values())
    for polarity, sentences in said.items():
        for sentence in sentences:
            words = f" {sentence.replace(',', '')} "
            good, bad = (sum(f" {w} " in words for w in kind) for kind in (reviews.GOOD, reviews.BAD))
            denied = any(f" {n} " in words for n in ("not", "far from", "anything but", "never", "hardly"))
            assert (good - bad) * (-1 if denied else 1) == polarity
    assert 0.15 < np.mean([" not " in f" {s}" for s in said[0]]) < 0.4


def test_a_face_moves_to_its_feeling():
    rng = np.random.default_rng(1)
    for person in faces.people(5, rng):
        ends = {p: np.mean([faces.clip(person, p, rng)[-1] for _ in range(4)], 0) for p in (-1, 1)}
        assert ends[1].shape == (faces.SIDE, faces.SIDE, 3)
        assert np.abs(ends[1] - ends[-1])[40:54].max() > 0.1  # around the mouth
        clip = faces.clip(person, 1, rng)
        assert clip.min() >= 0
        assert clip.max() <= 1.05


@pytest.mark.parametrize("engine", ENGINES)
def test_same_arguments_same_bytes(engine, tmp_path):
    first, again, other = (
        digest(write_sentiment(tmp_path / str(i), rows=60, seed=s, engine=engine).parent)
        for i, s in enumerate((1, 1, 2))
    )
    assert first == again
    assert not [k for k in first if k.startswith(("voice/", "face/")) and first[k] == other.get(k)]


def test_further_test_rows_keep_to_the_speakers_and_templates_of_the_test(tmp_path):
    world = write_sentiment(tmp_path, rows=60, further=30, engine="builtin")
    rows, hidden = rows_of(world), rows_of(tmp_path / "truth.csv")
    assert Counter(r["split"] for r in rows) == {"train": 42, "valid": 6, "test": 42}
    for what in ("speaker", "person", "template"):
        of = defaultdict(set)
        for r in hidden:
            of[r[what]].add(r["split"])
        assert all(len(splits) == 1 for splits in of.values()), what


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"further": -1}, "cannot be taken away"),
        ({"rows": 10}, "at least 60 rows"),
        ({"missing": 0.6}, "from 0 to 0.5"),
        ({"poor": -0.1}, "from 0 to 0.5"),
        ({"sarcasm": 0.8}, "from 0 to 0.5"),
        ({"engine": "parrot"}, "auto, espeak, builtin"),
    ],
)
def test_sentiment_refuses(wrong, message, tmp_path):
    with pytest.raises(InputError, match=message):
        write_sentiment(tmp_path / "w", **wrong)
    assert not (tmp_path / "w").exists()
