"""The benchmarks run and measure what they say; their figures are no matter of these tests."""

import json
import sys

import numpy as np
import pytest

from benchmarks import child, holes, sets, startup


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
