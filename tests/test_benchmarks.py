"""The benchmarks run and measure what they say; their figures are no matter of these tests."""

import csv
import json
import re
import sys
from dataclasses import asdict

import numpy as np
import pytest

import sensorium
from benchmarks import child, experiment, holes, sets, startup, video, words
from sensorium.worlds import clips
from sensorium.worlds.events import WAYS, questions_about


def rows_in(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture
def spoken(tmp_path):
    """A manifest of spoken digits by three speakers."""
    (tmp_path / "fsdd").mkdir()
    rows = [
        {"id": f"r{i}", "split": "test" if i % 4 == 0 else "train", "audio": f"a/{i}.wav", "digit": str(i % 10), "speaker": "abc"[i % 3]}
        for i in range(24)
    ]  # fmt: skip
    return sets.write_rows(tmp_path / "fsdd" / "manifest.csv", rows)


def test_a_child_is_measured(tmp_path):
    busy = "import sys; x = bytearray(80_000_000); n = sum(range(3_000_000)); print(n); sys.exit(3)"
    ran = child([sys.executable, "-c", busy], folder=tmp_path)
    assert ran.code == 3
    assert ran.out.strip() == str(sum(range(3_000_000)))
    assert ran.peak_mb > 80
    assert 0.02 < ran.cpu_s < 30


def test_doors_are_measured(capsys):
    startup.main(["--runs", "1"])
    rows = rows_in(capsys)
    assert {r["case"] for r in rows} >= {"import sensorium", "sensorium --help"}
    assert next(r for r in rows if r["case"] == "heavy packages of sensorium")["packages"] == []


def test_a_set_that_is_not_there_is_skipped_with_the_reason(tmp_path, capsys):
    sets.main(["--data", str(tmp_path), "--only", "mvsa,radhar"])
    assert ["is not there" in r["skipped"] for r in rows_in(capsys)] == [True, True]
    with pytest.raises(SystemExit):
        sets.main(["--data", str(tmp_path), "--only", "moon"])


def test_a_set_that_fails_says_so(spoken, capsys):
    sets.main(["--data", str(spoken.parent.parent), "--only", "fsdd", "--minutes", "0.01"])
    (row,) = rows_in(capsys)
    assert "ended with 2" in row["failed"], "none of the files is there"


def test_speakers_left_out_are_never_trained_on(spoken, tmp_path):
    found = dict(sets.folds(spoken, sets.SETS["fsdd_unseen"], tmp_path))
    assert list(found) == ["a", "b", "c"]
    said = {r["id"]: r["speaker"] for r in sets.rows_of(spoken)}
    for speaker, table in found.items():
        rows = sets.rows_of(table)
        assert {said[r["id"]] for r in rows if r["split"] == "test"} == {speaker}
        assert {r["split"] for r in rows} == {"train", "test"}
        assert "speaker" not in rows[0], "what tells the speaker does not go in"
        assert all(r["audio"].startswith(str(spoken.parent.resolve())) for r in rows)


def test_the_summary_holds_ours_against_theirs():
    own = {"value": 0.9, "low": 0.8, "high": 0.95}
    subsets = [
        {"inputs": ["a"], "value": 0.97},
        {"inputs": ["b"], "value": 0.2},
        {"inputs": ["a", "b"], "value": 0.9},
    ]
    fit = {"own": own, "subsets": subsets, "cpu_s": 10.0, "wall_s": 5.0, "peak_mb": 1.0}
    job = sets.SETS["av_digit"]
    row = sets.summary("av_digit", job, 0, [fit], {"accuracy": 0.91, "accuracy_95": [0.85, 0.96]})
    assert (row["score"], row["interval"], row["own"]) == (0.91, [0.85, 0.96], 0.9)
    assert not row["reached"]
    assert row["best_single"] == {"input": "a", "value": 0.97}
    assert not row["never_worse_than_single"]
    assert sets.summary("av_digit", job, 0, [fit, fit], {})["interval"] is None, (
        "folds have no interval of their own"
    )
    assert "0.910" in sets.shown([row])


def test_holes_are_holes():
    rows = [{n: np.ones(3) for n in "abcd"} for _ in range(50)]
    left = holes.with_holes(rows, 0.5)
    assert sum(map(len, left)) == 100
    assert all(left)
    assert all(len(r) == 4 for r in rows), "the rows themselves are left alone"
    alone = holes.with_holes([{"a": np.ones(1)}] * 4, 0.5)
    assert sum(map(len, alone)) == 4, "a row keeps its last cell"


def test_what_is_written_is_measured_and_kept(tmp_path, capsys):
    words.main(["--only", "captions", "--rows", "40", "--epochs", "1", "--folder", str(tmp_path)])
    (row,) = rows_in(capsys)
    assert row["part"] == "captions"
    assert {"seen", "held out"} == set(row["model"]) == set(row["without any input"])
    assert row["model"]["seen"]["rows"] + row["model"]["held out"]["rows"] == 8
    with (tmp_path / "captions" / "predictions.csv").open(encoding="utf-8") as file:
        kept = list(csv.DictReader(file))
    assert [r["id"] for r in kept] == [f"{i:05d}" for i in range(32, 40)], "the test rows, for other judges"
    assert row["samples"][0]["said"] == kept[0]["prediction"]


def test_questions_about_clips_are_asked_both_ways(tmp_path, capsys):
    asked = "--only clip_questions --rows 40 --epochs 1 --kind text --folder".split()
    words.main([*asked, str(tmp_path)])
    (row,) = rows_in(capsys)
    assert set(row["accuracy"]) > {"clip and question", "no clip", "single frame", "trained on the question"}
    assert row["rows"] == row["accuracy"]["no clip"]["rows"] > 0
    assert 0 <= row["flips"]["right"]["value"] <= 1 - row["flips"]["same"]["value"]


def test_a_part_without_its_data_is_skipped_with_the_reason(tmp_path, capsys):
    words.main(["--only", "photos,answers", "--data", str(tmp_path)])
    assert ["is not there" in r["skipped"] for r in rows_in(capsys)] == [True, True]
    with pytest.raises(SystemExit):
        words.main(["--only", "moon"])


def test_a_question_turned_round_has_the_answer_that_the_other_clip_gives():
    """Every question of order, turned round, is one that the symbolic twin answers so, in this wording or another."""
    rng = np.random.default_rng(0)
    seen: set[str] = set()
    for _ in range(60):
        actors, events = clips.story(rng)
        twin = [e.mirrored(clips.FRAMES) for e in reversed(events)]
        truth = {
            (plainly(q), a)
            for kind, q, a, _ in questions_about(twin, clips.cast(actors, "b"), rng)
            if kind.split("-")[0] in video.ORDER
        }
        for kind, question, answer, _ in questions_about(events, clips.cast(actors, "a"), rng):
            found = video.turned(kind, question, answer, [asdict(e) for e in twin])
            if found is not None:
                assert (plainly(found[0]), found[1]) in truth
                seen.add(kind.split("-")[0])
    assert seen == set(video.ORDER)
    assert video.turned("count", "how many events are there?", "two", []) is None


def plainly(question: str) -> str:
    """A question with every event said in the first of its ways."""
    for verb, ways in WAYS.items():
        for way in sorted(ways, key=len, reverse=True):
            question = re.sub(rf"\b{way}(?= the |\?| before|$)", verb, question)
    return question


def test_an_order_is_right_or_the_other_way_round():
    red, blue = "grows red circle", "shrinks blue star"
    true = {("event", "grows", "red circle"), ("event", "shrinks", "blue star"), ("then", red, blue)}
    said = [
        "the red circle grows, then the blue star shrinks.",
        "the blue star shrinks, then the red circle grows.",
        "the red circle grows, then the blue star vanishes.",
        "nothing.",
    ]
    found = video.ordered(said, [true] * 4, [true] * 4)
    assert (found["told"]["value"], found["told"]["rows"]) == (0.25, 4)
    assert (found["right way"]["value"], found["right way"]["rows"]) == (0.5, 2), (
        "a text without both events has no order"
    )


def test_looks_are_held_against_the_thing_that_a_word_names():
    places = np.array([[0, y, x] for y in (1 / 6, 1 / 2, 5 / 6) for x in (1 / 6, 1 / 2, 5 / 6)])
    here = np.eye(9)[8].tolist()
    pieces = [{"word": w, "looks": {"image": here}} for w in ("a red ", "cir", "cle", " and two ", "stars")]
    things = [{"shape": "circle", "row": 2, "column": 2}, *[{"shape": "star", "row": 0, "column": 0}] * 2]
    assert words.named_spots(pieces, places, things) == [(places[8, 1:].tolist(), [5 / 6, 5 / 6])], (
        "of two stars none is meant"
    )
    assert words.within(places[:, 1:], np.array([1 / 2, 1 / 2])).all(), (
        "half a field around the middle one is everything"
    )
    assert words.within(places[:, 1:], np.array([1 / 6, 1 / 6])).sum() == 4


def test_pictures_are_drawn_whole_and_ways_of_answering_row_by_row():
    hits, pictures = np.repeat([1.0, 0.0], 50), np.repeat(["a", "b"], 50)
    alone, whole = experiment.rate(hits), experiment.rate(hits, pictures)
    assert alone["value"] == whole["value"] == 0.5
    assert whole["high"] - whole["low"] == 1
    assert alone["high"] - alone["low"] < 0.3
    assert experiment.gain(hits, hits) == {"value": 0, "low": 0, "high": 0, "rows": 100}
    assert experiment.gain(hits, 1 - hits)["value"] == 0
    assert experiment.right(["Red.", "", "two"], ["red", "", "three"]).tolist() == [1, 0, 0]


def test_a_picture_of_another_is_never_ones_own():
    table = sensorium.read({"id": list("abcdef"), "image": ["1", "1", "2", "2", "3", "3"]})
    for seed in range(5):
        found = experiment.swapped(table, "image", seed)
        assert all(a != b for a, b in zip(found.cells("image"), table.cells("image"), strict=True))
        assert found.cells("image")[0] == found.cells("image")[1], "rows of one picture stay together"
        assert found.ids == table.ids


def test_a_world_is_written_once_for_the_same_arguments(tmp_path):
    asked = []

    def write(folder, *, seed, rows):
        asked.append((seed, rows))
        folder.mkdir(exist_ok=True)
        return experiment.Path(folder / "table.csv")

    job = experiment.Experiment(part="x", folder=tmp_path)
    assert job.world("w", write, rows=2) == job.world("w", write, rows=2) == tmp_path / "w" / "table.csv"
    with pytest.raises(sensorium.InputError, match="another world"):
        job.world("w", write, rows=3)
    assert asked == [(0, 2)]
