"""Rows whose cells belong together: lists, duplicates, groups, the cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.api.pairs import cut_groups, decoded, groups, readable, sorted_out, spread
from sensorium.modalities import CARRIERS
from sensorium.store import Table, read
from sensorium.tasks import Task
from sensorium.types import InputError, Limits


def silent(stage, done, text):
    pass


def table(**data):
    return Table(data=data)


def test_each_text_of_a_list_gets_a_row_and_the_picture_is_repeated():
    wide = spread(
        table(id=["a", "b"], picture=["1.png", "2.png"], said=[["x", "y"], "z"]), ["picture", "said"]
    )
    assert wide.table.cells("said") == ["x", "y", "z"]
    assert wide.table.cells("picture") == ["1.png", "1.png", "2.png"]
    assert wide.parent.tolist() == [0, 0, 1]
    assert wide.table.ids == ["a", "a", "b"]


def test_an_empty_list_leaves_a_row_without_text():
    wide = spread(table(picture=["1.png"], said=[[]]), ["picture", "said"])
    assert wide.table.cells("said") == [None]
    assert wide.parent.tolist() == [0]


def test_two_lists_go_side_by_side():
    wide = spread(table(a=[["1", "2", "3"]], b=[["x"]]), ["a", "b"])
    assert wide.table.cells("a") == ["1", "2", "3"]
    assert wide.table.cells("b") == ["x", None, None]


def test_a_table_without_lists_stays_as_it_is():
    given_one = table(a=["1", "2"], b=["x", "y"])
    assert spread(given_one, ["a", "b"]).table is given_one


def test_the_same_words_are_the_same_thing_whatever_their_case_and_blanks():
    same = sorted_out(table(said=["A  dog", "a dog", None, "a cat"]), ["said"])["said"]
    assert same[0] == same[1] != same[3]
    assert same[2] == -1


def test_rows_of_one_source_or_one_thing_belong_together():
    rows = 20
    picture, said = [str(i) for i in range(rows)], [f"words {i}" for i in range(rows)]
    picture[1], said[2] = picture[0], said[1]
    data = table(picture=picture, said=said)
    group, remarks = groups(sorted_out(data, ["picture", "said"]), np.arange(rows))
    assert group[0] == group[1] == group[2]
    assert len(set(group)) == rows - 2
    assert not remarks


def test_long_chains_are_not_believed_and_said():
    rows = 40
    data = table(picture=[str(i // 2) for i in range(rows)], said=[str((i + 1) // 2) for i in range(rows)])
    group, remarks = groups(sorted_out(data, ["picture", "said"]), np.arange(rows))
    assert len(set(group)) == rows
    assert "chains" in remarks[0]


def test_one_word_for_half_of_the_rows_is_a_class_and_no_chain():
    data = table(picture=[str(i) for i in range(40)], said=["cat"] * 20 + ["dog"] * 20)
    group, remarks = groups(sorted_out(data, ["picture", "said"]), np.arange(40))
    assert len(set(group)) == 2
    assert not remarks


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=2, max_size=60), st.integers(0, 3))
def test_no_group_stands_on_both_sides_of_the_cut(numbers, seed):
    group = np.unique(numbers, return_inverse=True)[1].astype(np.int64)
    fit, held = cut_groups(group, share=0.2, seed=seed)
    assert sorted([*fit, *held]) == list(range(len(group)))
    assert len(held)
    assert not set(group[fit]) & set(group[held])


def test_a_cell_that_many_rows_share_is_read_once_and_a_damaged_one_is_told(tmp_path):
    (tmp_path / "good.txt").write_text("words")
    data = read([{"said": "one two"}, {"said": "one two"}, {"said": None}, {"said": "three"}])
    text = CARRIERS["text"]
    m = text.define("said", "said")
    rows, errors = decoded(
        data, Task(modalities=(m,), match=("said",)), {}, Limits(), say=silent, stage="read"
    )
    assert rows[0]["said"] is rows[1]["said"]
    assert rows[2] == {}
    assert errors == ["", "", "", ""]
    small = Limits(characters=4)
    rows, errors = decoded(data, Task(modalities=(m,), match=("said",)), {}, small, say=silent, stage="read")
    assert errors[0]
    assert errors[0] == errors[1]
    assert not errors[2]
    with pytest.raises(InputError, match="cannot be read"):
        readable(data, rows, errors, quarantine=None)


def test_rows_that_cannot_be_read_are_written_down(tmp_path):
    data = table(a=[str(i) for i in range(40)])
    rows, errors = [{"a": np.ones(1)}] * 40, ["a: broken", *[""] * 39]
    good, lost = readable(data, rows, errors, quarantine=tmp_path / "q.jsonl")
    assert lost == 1
    assert good.tolist() == list(range(1, 40))
    assert '"reason": "broken"' in (tmp_path / "q.jsonl").read_text()
