"""Tables: rows keep their order and their ids, splits, fingerprints that change when they should."""

import os

import numpy as np
import pytest
from PIL import Image

from sensorium.store import Table, read
from sensorium.types import InputError


@pytest.fixture
def table() -> Table:
    return read({"x": list(range(10)), "split": ["train", "Val", "TEST", "dev", "valid"] * 2})


def test_take_keeps_order_and_ids(table):
    part = table.take([7, 2, 2, 0])
    assert part.cells("x") == [7, 2, 2, 0]
    assert part.ids == ["7", "2", "2", "0"]
    assert part.duplicate_ids == ["2"]
    assert part.take([3, 0]).ids == ["0", "7"]
    assert part.columns == table.columns
    assert table.take(np.array([False, True] * 5)).cells("x") == [1, 3, 5, 7, 9]
    assert len(table.take([])) == 0
    with pytest.raises(IndexError):
        table.take([10])


def test_a_column_is_not_copied(table):
    assert table.cells("x") is table.cells("x")
    with pytest.raises(InputError, match="no such column"):
        table.cells("y")


def test_row_is_a_dict(table):
    assert table.row(1) == {"x": 1, "split": "Val"}


def test_splits_fold_case_and_know_one_validation(table):
    assert table.split("train").ids == ["0", "5"]
    assert table.split("test").cells("x") == [2, 7]
    for name in ("val", "valid", "validation", "dev", "VAL"):
        assert table.split(name).cells("x") == [1, 3, 4, 6, 8, 9]
    assert len(table.split("nonsense")) == 0
    assert read({"x": [1]}).split("train") is None
    assert read(table, split="Train").cells("x") == [0, 5]
    with pytest.raises(InputError, match="no row has the split 'extra'"):
        read(table, split="extra")
    with pytest.raises(InputError, match="no row has the split"):
        read({"x": [1]}, split="test")


def test_ids_are_the_column_or_row_numbers():
    assert read({"id": ["b", 7, "b"]}).ids == ["b", "7", "b"]
    assert read({"id": ["b", 7, "b"]}).duplicate_ids == ["b"]
    holes = read({"id": ["b", None, "c"]})
    assert holes.ids == ["0", "1", "2"]
    assert holes.take([2, 0]).ids == ["2", "0"], "rows keep the id they had in the whole table"


def test_columns_have_names_and_one_length():
    with pytest.raises(InputError, match="differ in length"):
        Table(data={"a": [1], "b": [1, 2]})
    with pytest.raises(InputError, match="no name"):
        Table(data={" ": [1]})


def test_fingerprints_of_equal_tables_are_equal(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,x\n2,y\n")
    first = read(tmp_path / "t.csv").fingerprint()
    assert first == read(tmp_path / "t.csv").fingerprint()
    assert len(first) == 64
    assert first == read([{"a": "1", "b": "x"}, {"a": "2", "b": "y"}]).fingerprint()


@pytest.mark.parametrize(
    "other",
    [
        {"a": ["1", "2"], "c": ["x", "y"]}, {"b": ["x", "y"], "a": ["1", "2"]}, {"a": ["2", "1"], "b": ["x", "y"]},
        {"a": [1, 2], "b": ["x", "y"]}, {"a": ["1", "2"], "b": ["x", None]}, {"a": ["12", None], "b": ["x", "y"]},
        {"a": ["1", "2"]}, {"a": ["1", "2x"], "b": [None, "y"]},
    ],
)  # fmt: skip
def test_fingerprints_change_with_names_order_type_and_cells(other):
    assert read({"a": ["1", "2"], "b": ["x", "y"]}).fingerprint() != read(other).fingerprint()


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (b"ab", b"ac"), (b"ab", "ab"), ({"a": 1}, {"a": 2}), ({"a": 1}, {"b": 1}), ([1, 2], [12]), (True, 1), (1, 1.0),
        (np.array(["ab", None], object), np.array(["ac", None], object)), (np.zeros((2, 3)), np.zeros((3, 2))), (np.zeros(2), np.array([0.0, 1.0])), (np.zeros(2, "f4"), np.zeros(1, "f8")),
        (Image.new("L", (2, 3)), Image.new("L", (3, 2))), (Image.new("L", (2, 2)), Image.new("L", (2, 2), 1)),
    ],
)  # fmt: skip
def test_fingerprints_see_into_cells(one, two):
    assert read({"a": [one]}).fingerprint() != read({"a": [two]}).fingerprint()


@pytest.mark.parametrize("cell", ["a.wav", "a.wav#t=1,2", {"path": "a.wav", "bytes": None}])
def test_fingerprints_change_with_the_files_that_cells_name(tmp_path, cell):
    file = tmp_path / "a.wav"
    table = Table(data={"sound": [cell]}, folder=tmp_path)
    gone = table.fingerprint()
    file.write_bytes(b"12")
    os.utime(file, (1, 1))
    here = table.fingerprint()
    os.utime(file, (1, 2))
    later = table.fingerprint()
    file.write_bytes(b"123")
    os.utime(file, (1, 2))
    assert len({gone, here, later, table.fingerprint()}) == 4
