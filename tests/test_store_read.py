"""Reading: every format round trip, CSV cell by cell, and a clear error for every bad input."""

import csv
import datetime
import decimal
import gzip
import io
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.store import read
from sensorium.store.formats import decode_text
from sensorium.types import InputError

TYPED = {
    "id": ["a", "b", "c"],
    "n": [1, 2, None],
    "x": [1.5, None, -2.0],
    "flag": [True, False, None],
    "say": ['é\n,"', None, "שלום"],
}


def refused(source, match: str) -> str:
    with pytest.raises(InputError, match=match) as found:
        read(source)
    assert found.value.fix
    return str(found.value)


def write(path: Path, rows, **options) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, **options).writerows(rows)
    return path


cell = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=12)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    rows=st.integers(1, 4).flatmap(
        lambda n: st.lists(st.lists(cell, min_size=n, max_size=n), min_size=1, max_size=6)
    ),
    mark=st.sampled_from([",", "\t", ";", "|"]),
    end=st.sampled_from(["\n", "\r\n"]),
    coding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_any_table_of_texts_is_read_cell_by_cell(tmp_path_factory, rows, mark, end, coding):
    if len(rows[0]) == 1 and mark in ";|":
        mark = ","  # the header of a single column shows no separator
    out = io.StringIO(newline="")
    names = [f"c{i}" for i in range(len(rows[0]))]
    quoting = csv.QUOTE_MINIMAL if end == "\r\n" else csv.QUOTE_ALL  # a bare \r is only quoted beside \r\n
    csv.writer(out, delimiter=mark, lineterminator=end, quoting=quoting).writerows([names, *rows])
    file = tmp_path_factory.getbasetemp() / ("any.tsv" if mark == "\t" else "any.csv")
    file.write_bytes(out.getvalue().encode(coding))
    table = read(file)
    assert len(table) == len(rows)
    for i, row in enumerate(rows):
        said = [None if not c or c.isspace() else c for c in row]
        for name, cells in ((n, [r[j] for r in rows]) for j, n in enumerate(names)):
            if any(c.strip().lower() in ("nan", "na", "null", "none", "n/a") for c in cells):
                said[names.index(name)] = table.row(i)[name]  # the rule for these has its own test
        assert list(table.row(i).values()) == said
    assert table.ids == [str(i) for i in range(len(rows))]


def test_json_lines_round_trip(tmp_path):
    rows = [dict(zip(TYPED, values, strict=True)) for values in zip(*TYPED.values(), strict=True)]
    rows[0]["more"] = {"k": [1, {"z": None}]}
    for name in ("t.jsonl", "t.ndjson", "t.json"):
        text = json.dumps(rows) if name == "t.json" else "\r\n".join(json.dumps(r) for r in rows) + "\n\n"
        (tmp_path / name).write_text("\ufeff" + text, encoding="utf-8")
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
        for file in (name, f"{name}.gz"):
            table = read(tmp_path / file)
            assert dict(table.data) == {**TYPED, "more": [{"k": [1, {"z": None}]}, None, None]}
            assert table.folder == tmp_path


def test_json_not_a_number_is_empty(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"a": NaN, "b": "  "}\n{"a": 1.5, "c": 2}')
    assert dict(read(tmp_path / "t.jsonl").data) == {"a": [None, 1.5], "b": [None, None], "c": [None, 2]}


def test_arrow_files_round_trip(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyarrow import feather

    data = {
        **TYPED,
        "raw": [b"\0\1", None, b"x"],
        "many": [[1, 2], None, []],
        "deep": [{"bytes": b"x", "path": "p"}, None, None],
    }
    table = pa.table(data)
    pq.write_table(table, tmp_path / "t.parquet")
    feather.write_feather(table, str(tmp_path / "t.feather"))
    with pa.OSFile(str(tmp_path / "t.arrow"), "wb") as out, pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    for name in ("t.parquet", "t.feather", "t.arrow"):
        assert dict(read(tmp_path / name).data) == data
    assert dict(read(table).data) == data


def test_dates_and_decimals_become_plain():
    import pyarrow as pa

    day = datetime.datetime(2024, 5, 6, 7, 8, 9)
    assert read({"t": [day, day.date(), None]}).cells("t") == ["2024-05-06T07:08:09", "2024-05-06", None]
    assert read({"d": [decimal.Decimal("1.5")], "s": [datetime.timedelta(minutes=1)]}).row(0) == {
        "d": 1.5,
        "s": 60.0,
    }
    fine = pa.table({"t": pa.array([1_700_000_000_123_456_789], pa.timestamp("ns"))})
    assert str(read(fine).cells("t")[0]).startswith("2023-11-14T22:13:20.123456")


def test_python_tables():
    import pandas as pd
    import polars as pl

    frames = (
        pd.DataFrame(TYPED),
        pd.DataFrame(TYPED).convert_dtypes(),
        pl.DataFrame(TYPED),
        pl.LazyFrame(TYPED),
    )
    for frame in (*frames, TYPED):
        table = read(frame)
        assert dict(table.data) == TYPED, type(frame)
        assert table.ids == ["a", "b", "c"]
    kinds = pd.DataFrame(
        {
            "c": pd.Categorical(["u", None]),
            "t": [pd.Timestamp("2024-01-02"), pd.NaT],
            3: [np.float32(1.5), np.nan],
        }
    )
    assert dict(read(kinds).data) == {"c": ["u", None], "t": ["2024-01-02T00:00:00", None], "3": [1.5, None]}
    arrays = read({"a": np.arange(6).reshape(3, 2), "b": np.array([1.0, np.nan, 2.0])})
    assert [c.tolist() for c in arrays.cells("a")] == [[0, 1], [2, 3], [4, 5]]
    assert arrays.cells("b") == [1.0, None, 2.0]
    assert read([{"a": 1}, {"b": Path("x/y.png")}]).data == {"a": [1, None], "b": [None, "x/y.png"]}
    assert read(read(TYPED)).data == TYPED


class Dataset:
    """The part of a Hugging Face Dataset that reading needs: Arrow out, nothing decoded, class names."""

    def __init__(self, table):
        self.table, self.column_names = table, table.column_names
        self.features = {"label": type("ClassLabel", (), {"names": ["no", "yes"]})(), "image": object()}

    def with_format(self, kind: str):
        assert kind == "arrow"
        return self.table

    def __len__(self):
        return len(self.table)

    def __getitem__(self, name):
        raise AssertionError("cells must not be decoded")


def test_hugging_face_data_stays_packed():
    import pyarrow as pa

    found = read(Dataset(pa.table({"image": [{"bytes": b"png", "path": None}], "label": [1]})))
    assert found.row(0) == {"image": {"bytes": b"png", "path": None}, "label": "yes"}
    streamed = type("Streamed", (), {"with_format": None, "column_names": ["a"]})()
    refused(streamed, "streamed")
    refused({"train": Dataset(pa.table({"a": [1]}))}, "several data sets")


@pytest.mark.parametrize(
    ("source", "match"),
    [
        ([], "no rows"), ({}, "no rows"), ({"a": []}, "no rows"), ({"a": [1], "b": [1, 2]}, "differ in length"), ({"a": "text"}, "not a list"),
        ({"a": 3}, "not a list"), (7, "not a table"), (None, "not a table"), ([1, 2], "not a table"), ({"": [1]}, "no name"),
        ({1: [1], "1": [2]}, "repeats"),
    ],
)  # fmt: skip
def test_bad_python_tables(source, match):
    refused(source, match)


def test_repeated_names_in_frames():
    import pandas as pd
    import pyarrow as pa

    refused(pd.DataFrame([[1, 2]], columns=["a", "a"]), "repeats")
    refused(pa.table([[1], [2]], names=["a", "a"]), "repeats a")


def test_separators_are_found_in_the_header(tmp_path):
    for mark in ";\t|,":
        assert read(write(tmp_path / "t.csv", [["a", "b"], ["1,5", "x"]], delimiter=mark)).row(0) == {
            "a": "1,5",
            "b": "x",
        }
    (tmp_path / "t.csv").write_text('"a, b";c\n1;2\n')
    assert read(tmp_path / "t.csv").row(0) == {"a, b": "1", "c": "2"}
    (tmp_path / "one.csv").write_text("word\nx;y\n")
    assert read(tmp_path / "one.csv").row(0) == {"word": "x;y"}


def test_missing_marks_are_empty_only_among_numbers(tmp_path):
    file = write(
        tmp_path / "t.csv",
        [
            ["n", "w", "v"],
            ["1", "NA", "NaN"],
            ["NaN", "b", "x1"],
            [" ", "null", "2"],
            ["-1e3", "", "3"],
            ["null", "c", "4"],
        ],
    )
    table = read(file)
    assert table.cells("n") == ["1", None, None, "-1e3", None]
    assert table.cells("w") == ["NA", "b", "null", None, "c"]
    assert table.cells("v") == ["NaN", "x1", "2", "3", "4"]
    assert read(write(file, [["a"], ["NA"], ["None"]])).cells("a") == ["NA", "None"], "no number, no rule"
    assert read(write(file, [["a"], ["NA"], ["1_0"], ["2"]])).cells("a") == ["NA", "1_0", "2"], (
        "1_0 is a name"
    )


def test_western_letters_are_read_with_a_note(tmp_path):
    (tmp_path / "t.csv").write_bytes("w\ncafé\n“quoted”\n".encode("cp1252"))
    table = read(tmp_path / "t.csv")
    assert table.cells("w") == ["café", "“quoted”"]
    assert "UTF-8" in table.notes[0]
    assert table.take([0]).notes == table.notes
    assert read(write(tmp_path / "u.csv", [["w"], ["café"]])).notes == ()
    assert decode_text(b"\x81\xe9", "x")[0] == "\x81é"


def test_huge_fields_and_quoted_newlines(tmp_path):
    big = "x" * 1_000_000 + "\r\n\n\ty"
    assert read(write(tmp_path / "t.csv", [["a", "b"], [big, "1"]])).row(0) == {"a": big, "b": "1"}


def test_blank_lines_are_no_rows(tmp_path):
    (tmp_path / "t.csv").write_text("\n\na,b\r\n\r\n1,2\r\n\n3,4")
    assert read(tmp_path / "t.csv").cells("a") == ["1", "3"]


@pytest.mark.parametrize(
    ("text", "match", "line"),
    [
        ('a,b\n1,2\n3,"x"y\n5,6\n', "quoting", "line 3"), ('a,b\n"1\n2",3\n4,"open\n5,6\n7,8\n', "quoting", "line 4"),
        ("a,b\n1,2\n1,2,3\n", "another number of cells", "line 3: 3 cells, the header has 2"),
        ('a,b\n"1\n\n",2\n1\n', "another number of cells", "line 5: 1 cells"), ("a,a\n1,2\n", "repeats a", ""), ("a,,b\n1,2,3\n", "empty name", ""),
        ("a,b\n", "no rows", ""), ("\n\n", "no rows", ""),
    ],
)  # fmt: skip
def test_damaged_csv_names_the_line(tmp_path, text, match, line):
    (tmp_path / "t.csv").write_text(text)
    assert line in refused(tmp_path / "t.csv", match)


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("t.csv", b"", "empty"), ("t.parquet", b"", "empty"), ("t.csv.gz", gzip.compress(b""), "empty"),
        ("t.jsonl", b'{"a": 1}\n{"a": \n', "line 2"), ("t.jsonl", b'{"a": 1}\n[1]\n', "line 2"), ("t.jsonl", b"[" * 100_000, "damaged"),
        ("t.json", b'{"a": 1}', "list of objects"), ("t.json", b"[1, 2]", "list of objects"), ("t.json", b'{"a": 1}\n{"a": 2}', "jsonl"),
        ("t.json", b"[", "damaged"), ("t.json", b'[{"a": 1' + b"0" * 5000 + b"}]", "damaged"), ("t.json", b"[]", "no rows"),
        ("t.csv.gz", gzip.compress(b"a\n1\n" * 99)[:-9], "packed file is damaged"), ("t.csv.gz", b"a\n1\n", "something else"),
        ("t.parquet", b"PAR1" + b"0" * 50, "damaged"), ("t.arrow", b"ARROW1" + b"0" * 50, "damaged"),
        ("t.feather", b"\xff\xff\xff\xff" + b"0" * 50, "damaged"), ("t.parquet", b"a,b\n1,2\n", "something else"),
        ("t.csv", b"PAR1....PAR1", "a Parquet file"), ("t.jsonl", b"ARROW1\0\0", "an Arrow file"), ("t.csv", b"PK\x03\x04....", "spreadsheet"),
        ("t.csv", b"\x89PNG\r\n", "a picture"), ("t.csv", gzip.compress(b"a\n1\n"), "a gzip file"), ("t.arrow", b"PAR1....PAR1", "a Parquet file"),
        ("t.csv", "a,b\n1,2\n".encode("utf-16-le"), "not text"), ("t.csv", b"\xff\xfea\0,\0b", "text is damaged"),
        ("t.xlsx", b"PK\x03\x04", "not a table"), ("t", b"a\n1\n", "not a table"), ("t.tar", b"a", "not a table"),
    ],
)  # fmt: skip
def test_bad_files(tmp_path, name, content, match):
    (tmp_path / name).write_bytes(content)
    assert name in refused(tmp_path / name, match)


def test_unknown_suffixes_are_told_the_known_ones(tmp_path):
    (tmp_path / "t.xyz").write_text("a")
    assert ".parquet" in refused(str(tmp_path / "t.xyz"), "not a table")


def test_bad_paths(tmp_path):
    write(tmp_path / "t.csv", [["a"], ["1"]])
    refused(tmp_path / "none.csv", "no such file")
    refused(tmp_path / "t.csv" / "u.csv", "part of the path is a file")
    refused(tmp_path / ("n" * 300), "too long")
    refused("a\0b.csv", "no file can have such a name")
    refused("", "not a table|no such file")
    refused("https://example.org/t.csv", "not fetched")
    (tmp_path / "folder.csv").mkdir()
    refused(tmp_path / "folder.csv", "a folder")
    (tmp_path / "circle.csv").symlink_to(tmp_path / "circle.csv")
    refused(tmp_path / "circle.csv", "circle")
    os.mkfifo(tmp_path / "pipe.csv")
    refused(tmp_path / "pipe.csv", "not an ordinary file")
    (tmp_path / "link.csv").symlink_to(tmp_path / "t.csv")
    assert read(tmp_path / "link.csv").cells("a") == ["1"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "link.csv").symlink_to(tmp_path / "t.csv")
    assert read(tmp_path / "other" / "link.csv").folder == tmp_path / "other", (
        "files lie beside the name that was given"
    )


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def test_a_folder_of_labels(tmp_path):
    table = read(
        touch(
            tmp_path,
            "dog/b.png",
            "cat/2.png",
            "cat/1.png",
            "README.md",
            ".git/x",
            "cat/.hidden",
            "dog/deep/c.png",
        )
    )
    assert dict(table.data) == {
        "file": ["cat/1.png", "cat/2.png", "dog/b.png"],
        "label": ["cat", "cat", "dog"],
    }
    assert table.ids == table.cells("file")
    assert table.folder == tmp_path
    assert "not opened" in table.notes[0]


def test_a_folder_of_splits_of_labels(tmp_path):
    table = read(touch(tmp_path, "train/dog/b.png", "test/cat/2.png", "Val/cat/1.png"))
    assert table.columns == ("file", "label", "split")
    assert table.split("valid").row(0) == {"file": "Val/cat/1.png", "label": "cat", "split": "Val"}
    assert len(table.split("test")) == 1


def test_a_folder_of_loose_files(tmp_path):
    table = read(
        touch(
            tmp_path,
            "a.1.jpg",
            "a.1.wav",
            "a.2.png",
            "b.flac",
            "b.txt",
            "c.csv.gz",
            "d.csv.gz",
            "readme.txt",
            "LICENSE",
            "raw",
        )
    )
    assert table.ids == ["a.1", "a.2", "b", "c", "d", "raw"]
    assert dict(table.data) == {
        "audio": ["a.1.wav", None, "b.flac", None, None, None], "csv.gz": [None, None, None, "c.csv.gz", "d.csv.gz", None],
        "file": [None] * 5 + ["raw"], "image": ["a.1.jpg", "a.2.png"] + [None] * 4, "txt": [None, None, "b.txt", None, None, None],
    }  # fmt: skip


def test_two_pictures_of_one_stem_are_two_columns(tmp_path):
    table = read(touch(tmp_path, "a.jpg", "a.png", "b.jpg"))
    assert dict(table.data) == {"jpg": ["a.jpg", "b.jpg"], "png": ["a.png", None]}


def test_a_folder_with_one_table(tmp_path):
    touch(tmp_path, "images/1.png", "about.json")
    write(tmp_path / "t.csv", [["image"], ["images/1.png"]])
    assert read(tmp_path).row(0) == {"image": "images/1.png"}
    assert read(tmp_path).folder == tmp_path
    write(tmp_path / "u.tsv", [["image"], ["images/1.png"]])
    assert "t.csv, u.tsv" in refused(tmp_path, "several tables")


def test_a_lone_json_is_the_table_of_its_folder(tmp_path):
    touch(tmp_path, "images/1.png")
    (tmp_path / "t.json").write_text('[{"image": "images/1.png"}]')
    assert read(tmp_path).row(0) == {"image": "images/1.png"}


def test_empty_folders(tmp_path):
    refused(tmp_path, "no files")
    (tmp_path / "label").mkdir()
    refused(tmp_path, "no files")


def test_a_hundred_thousand_rows_are_read_in_a_second(tmp_path):
    rows = [[i, f"img/{i}.jpg", 'a man, a "plan"', i / 7, "NaN"] for i in range(100_000)]
    file = write(tmp_path / "t.csv", [list("abcde"), *rows])
    began = time.process_time()
    table = read(file)
    assert len(table) == 100_000
    assert time.process_time() - began < 2.0, "about 0.4 s are usual"
    began = time.process_time()
    for _ in range(1000):
        table.cells("a")
    assert time.process_time() - began < 0.1


def test_a_gzip_bomb_is_refused(tmp_path, monkeypatch):
    from sensorium.store import formats
    from sensorium.types import Limits

    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a\n" + b"1\n" * 1_000_000))
    monkeypatch.setattr(formats, "Limits", lambda: Limits(bytes=100_000))
    refused(tmp_path / "t.csv.gz", "unpacks to more")


def test_home_is_understood(tmp_path, monkeypatch):
    write(tmp_path / "t.csv", [["a"], ["1"]])
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read("~/t.csv").cells("a") == ["1"]
    monkeypatch.chdir(tmp_path)
    assert read("t.csv").folder == Path(os.path.realpath(tmp_path))
