"""Worlds of vectors: the oracle's answer can be found again from the files, and the truth agrees with it."""

import csv
import hashlib
import json
from collections import Counter

import numpy as np
import pytest

from sensorium.modalities import CARRIERS
from sensorium.types import InputError, Limits, Media
from sensorium.worlds import gate_table, write_gates, write_imbalance, write_quality, write_xor
from sensorium.worlds.planted import GATES


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def column(rows, name, kind=int):
    return np.array([kind(r[name]) for r in rows])


def vectors(table, name):
    return np.concatenate([np.load(table.parent / r[name]) for r in rows_of(table)])


def accuracy(table):
    return json.loads((table.parent / "truth.json").read_text(encoding="utf-8"))["accuracy"]


def digest(folder):
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def information(table, keep):
    """Bits that the axes `keep` tell about the last axis of a probability table."""
    joint = table.sum(tuple(i for i in range(table.ndim - 1) if i not in keep))
    joint = joint.reshape(-1, joint.shape[-1])
    apart = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    some = joint > 0
    return float((joint[some] * np.log2(joint[some] / apart[some])).sum())


@pytest.mark.parametrize(
    ("gate", "by_a", "by_b", "together"),
    [
        ("and", 0.3113, 0.3113, 0.8113),
        ("or", 0.3113, 0.3113, 0.8113),
        ("xor", 0, 0, 1),
        ("copy", 1, 1, 1),
        ("unique", 1, 0, 1),
        ("two-bit-copy", 1, 1, 2),
        ("rdnxor", 1, 1, 2),
    ],
)
def test_the_tables_tell_what_is_known_of_the_gates(gate, by_a, by_b, together):
    table = gate_table(gate, flip=0)
    found = [information(table, keep) for keep in ((0,), (1,), (0, 1))]
    assert found == pytest.approx([by_a, by_b, together], abs=1e-4)
    assert gate_table(gate).sum() == pytest.approx(1)
    assert information(gate_table(gate), (0, 1)) < together


def test_flips_cost_their_entropy():
    assert information(gate_table("copy"), (0,)) == pytest.approx(0.7136, abs=1e-4)


@pytest.mark.parametrize("gate", GATES)
def test_rows_follow_the_table(gate, tmp_path):
    table = write_gates(tmp_path, gate, rows=3000, seed=5)
    truth = rows_of(tmp_path / "truth.csv")
    said = np.array(json.loads((tmp_path / "truth.json").read_text(encoding="utf-8"))["p_x1_x2_y"])
    assert np.array_equal(said, gate_table(gate))
    y = column(rows_of(table), "y")
    counts = Counter(zip(column(truth, "x1"), column(truth, "x2"), y, strict=True))
    for at in np.ndindex(*said.shape):
        assert counts[at] / 3000 == pytest.approx(said[at], abs=0.035)
        assert said[at] or not counts[at]
    assert np.array_equal(column(truth, "flipped") == 1, column(truth, "clean") != y)
    assert column(truth, "flipped").mean() == pytest.approx(0.05, abs=0.015)


@pytest.mark.parametrize("gate", ["xor", "rdnxor", "two-bit-copy"])
def test_vectors_show_their_symbols(gate, tmp_path):
    """Centres estimated from the first half read the symbols of the second half, and nothing else is there."""
    table = write_gates(tmp_path, gate, rows=1000, seed=2)
    truth = rows_of(tmp_path / "truth.csv")
    for name, symbol in (("a", "x1"), ("b", "x2")):
        x, hidden = vectors(table, name), column(truth, symbol)
        centres = np.stack([x[:500][hidden[:500] == k].mean(0) for k in range(hidden.max() + 1)])
        apart = ((x[500:, None] - centres) ** 2).sum(-1)
        assert (apart.argmin(1) == hidden[500:]).mean() > 0.99
        assert (x[500:] - centres[hidden[500:]]).std() == pytest.approx(0.3, abs=0.02)
        low = ((centres[0] - centres[1]) ** 2).sum() ** 0.5
        assert low == pytest.approx(2, abs=0.2)


def test_each_file_is_a_series_of_one_step(tmp_path):
    table = write_xor(tmp_path, rows=60)
    assert list(rows_of(table)[0]) == ["id", "a", "b", "y", "split"]
    assert Counter(r["split"] for r in rows_of(table)) == {"train": 42, "valid": 6, "test": 12}
    path = tmp_path / rows_of(table)[7]["b"]
    signal = CARRIERS["series"].decode(Media(content=path.read_bytes(), name=path.name), Limits())
    assert signal.values.shape == (1, 32)
    assert signal.values.dtype == np.float32


def test_xor_is_nearly_certain_together_and_unknown_apart(tmp_path):
    found = accuracy(write_xor(tmp_path, rows=2000))
    assert found["best"] > 0.99
    assert max(found["best_a"], found["best_b"]) < 0.54


def calibration(truth, y):
    """How sure the oracle is on average, how often it is right, and its expected error of probability."""
    p = np.stack([column(truth, c, float) for c in truth[0] if c.startswith("p_")], 1)
    assert np.allclose(p.sum(1), 1, atol=1e-4)
    assert np.array_equal(p.argmax(1), column(truth, "best"))
    sure, right = p.max(1), p.argmax(1) == y
    bins = np.digitize(sure, np.linspace(0.1, 1, 7)[1:-1])
    off = sum(abs((sure - right)[bins == b].sum()) for b in np.unique(bins)) / len(y)
    return sure.mean(), right.mean(), off


@pytest.mark.parametrize(
    ("write", "both", "a", "b"),
    [(write_imbalance, 0.985, 0.64, 0.98), (write_quality, 0.84, 0.64, 0.695)],
    ids=["imbalance", "quality"],
)
def test_the_oracle_is_calibrated_and_as_good_as_promised(write, both, a, b, tmp_path):
    table = write(tmp_path, rows=6000, seed=4)
    truth, y = rows_of(tmp_path / "truth.csv"), column(rows_of(table), "y")
    sure, right, off = calibration(truth, y)
    assert sure == pytest.approx(right, abs=0.015)
    assert off < 0.025
    found = accuracy(table)
    assert [found[k] for k in ("best", "best_a", "best_b")] == pytest.approx([both, a, b], abs=0.025)


def test_oracles_of_gates_are_calibrated_where_bits_are_hard_to_read(tmp_path):
    table = write_gates(tmp_path, "xor", rows=4000, noise=0.9, seed=6)
    sure, right, off = calibration(rows_of(tmp_path / "truth.csv"), column(rows_of(table), "y"))
    assert sure == pytest.approx(right, abs=0.02)
    assert off < 0.03
    assert right < 0.8


def test_imbalance_hides_where_a_is_right(tmp_path):
    table = write_imbalance(tmp_path, rows=3000, seed=1)
    truth, y = rows_of(tmp_path / "truth.csv"), column(rows_of(table), "y")
    assert np.array_equal((column(truth, "first") + column(truth, "second")) % 10, y)
    trusted, shown = column(truth, "trusted") == 1, column(truth, "shown")
    assert trusted.mean() == pytest.approx(0.6, abs=0.03)
    assert np.array_equal(shown[trusted], y[trusted])
    assert (shown[~trusted] == y[~trusted]).mean() == pytest.approx(0.1, abs=0.03)
    length = np.linalg.norm(vectors(table, "a"), axis=1)
    assert length[trusted].mean() == pytest.approx(length[~trusted].mean(), abs=0.02)
    for digit in ("first", "second"):  # one digit alone tells nothing of the sum
        counts = np.array(
            [[np.sum((column(truth, digit) == d) & (y == k)) for k in range(10)] for d in range(10)]
        )
        assert counts.min() > 10


def test_quality_is_visible_in_the_length_of_a_vector(tmp_path):
    table = write_quality(tmp_path, rows=1000, seed=1)
    truth = rows_of(tmp_path / "truth.csv")
    for name in ("a", "b"):
        noise, length = column(truth, f"noise_{name}", float), np.linalg.norm(vectors(table, name), axis=1)
        assert set(noise) == {0.6, 3.0}
        assert length[noise == 3].min() > length[noise == 0.6].max()


@pytest.mark.parametrize("write", [write_xor, write_imbalance, write_quality])
def test_same_arguments_same_bytes(write, tmp_path):
    first, again, other = (
        digest(write(tmp_path / str(i), rows=60, seed=s).parent) for i, s in enumerate((1, 1, 2))
    )
    assert first == again
    assert not [k for k in first if k.endswith(".npy") and first[k] == other[k]]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"gate": "nand"}, "and, or, xor"),
        ({"gate": "or", "rows": 10}, "at least 60 rows"),
        ({"gate": "or", "noise": 0}, "above 0"),
        ({"gate": "or", "flip": 0.7}, "from 0 to 0.5"),
    ],
)
def test_gates_refuse(wrong, message, tmp_path):
    with pytest.raises(InputError, match=message):
        write_gates(tmp_path / "w", **wrong)
    assert not (tmp_path / "w").exists()
