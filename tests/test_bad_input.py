"""Cells that go wrong: an error of their own row in `predict`, a row set aside in `fit`; never another row's answer."""

import csv
import io
import os
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from bad_files import float_wav, jpeg, npy, png, rows_of, wav, write

import sensorium as sm
from sensorium.cli import main
from sensorium.store import Table, read_jsonl
from sensorium.worlds import write_everything

COLUMNS = ("text", "image", "clip", "sound", "motion", "trace", "cloud", "lidar", "size", "colour")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Table:
    """24 rows, each with every kind of column; `folder / bad` is for files that are not what they seem."""
    path = write_everything(tmp_path_factory.mktemp("bad"), rows=24, missing=0.0, targets=["label"])
    (path.parent / "bad").mkdir()
    return sm.read(path)


@pytest.fixture(scope="module")
def model(world, tmp_path_factory):
    asked = sm.Model("label", columns={"text": "text"}, epochs=1)
    return asked.fit(world, out=tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def alone(model, world) -> list[sm.Prediction]:
    """The answers of the first and the third row when nothing stands between them."""
    return model.predict(world.take([0, 2]))


def half(table: Table, column: str) -> bytes:
    raw = (table.folder / table.cells(column)[5]).read_bytes()
    return raw[: len(raw) // 2]


def with_cell(table: Table, column: str, cell: object) -> Table:
    """Three rows, the middle one with this cell."""
    three = table.take([0, 1, 2])
    return replace(
        three, data={k: [v[0], cell if k == column else v[1], v[2]] for k, v in three.data.items()}
    )


def placed(table: Table, name: str, content: bytes) -> str:
    (table.folder / "bad" / name).write_bytes(content)
    return f"bad/{name}"


# column -> (file name, its bytes) or a cell; and what the message says
NOISE = np.random.default_rng(0).normal(0, 3000, 6000)
FILES: dict[str, tuple[str, str, Callable[[Table], bytes], str]] = {
    "zero bytes": ("image", "zero.png", lambda t: b"", "empty"),
    "truncated JPEG": ("image", "cut.jpg", lambda t: jpeg()[:-600], "picture"),
    "truncated PNG": ("image", "cut.png", lambda t: half(t, "image"), "picture"),
    "truncated MP4": ("clip", "cut.mp4", lambda t: half(t, "clip"), "video"),
    "truncated WAV": ("sound", "cut.wav", lambda t: wav(NOISE)[:4000], "cut off"),
    "truncated PLY": ("cloud", "cut.ply", lambda t: half(t, "cloud"), "end|cut|points|short"),
    "truncated NPY": ("trace", "cut.npy", lambda t: half(t, "trace"), "array|damaged|read"),
    "a sound called picture": ("image", "sound.png", lambda t: wav(NOISE), "picture"),
    "a picture called sound": ("sound", "picture.wav", lambda t: png(), "sound"),
    "a picture called video": ("clip", "picture.mp4", lambda t: png(), "video"),
    "words called series": ("trace", "words.npy", lambda t: b"plain words", "array|NumPy|npy"),
    "objects in an array": ("trace", "objects.npy", lambda t: npy(np.array([{}, {}], object)), "numbers|objects|pickle"),
    "pixel bomb": ("image", "bomb.png", lambda t: png(claim=(60_000, 60_000)), "limit"),
    "sound of NaN": ("sound", "nan.wav", lambda t: float_wav(np.full(900, np.nan)), "NaN"),
    "sound with one infinity": ("sound", "inf.wav", lambda t: float_wav(np.r_[np.inf, np.zeros(900)]), "infinite"),
    "series of NaN": ("trace", "nan.npy", lambda t: npy(np.full((50, 2), np.nan)), "no finite"),
    "series of infinities": ("motion", "inf.csv", lambda t: b"x,y,z\n" + b"inf,inf,-inf\n" * 20, "no finite"),
    "cloud of infinities": ("cloud", "inf.npy", lambda t: npy(np.full((50, 3), np.inf)), "no finite"),
}  # fmt: skip
CELLS: dict[str, tuple[str, object, str]] = {
    "missing file": ("image", "image/gone.png", "no such file"),
    "missing sound": ("sound", "gone.wav", "no such file"),
    "a folder": ("image", "image", "a folder"),
    "circle of links": ("image", "bad/circle.png", "circle"),
    "pipe": ("image", "bad/pipe.png", "not an ordinary file"),
    "device": ("clip", "/dev/zero", "not an ordinary file"),
    "address": ("image", "https://example.org/a.png", "not fetched"),
    "plain words among paths": ("image", "a red kettle", "no such file"),
    "another kind of file": ("image", "sound/001.wav", "picture"),
    "a span outside": ("sound", "sound/001.wav#t=90,91", "outside"),
    "a number among paths": ("clip", 3.5, "names no file"),
    "an array of another shape": ("trace", np.zeros((9, 7)), "channels"),
    "an array of words": ("trace", np.array(["a", "b"]), "numbers"),
    "an empty array": ("trace", np.zeros((0, 2)), "no steps"),
    "an empty picture": ("image", np.zeros((0, 4, 3), np.uint8), "not pixels"),
    "points of a plane": ("cloud", np.zeros((9, 2)), "point"),
    "words for a number": ("size", "many", "finite number"),
    "an infinite number": ("size", "inf", "finite number"),
    "a number too large": ("size", "1e400", "finite number"),
    "a list for a number": ("size", [1, 2], "finite number"),
    "a list for a category": ("colour", ["red"], "category"),
    "bytes for a category": ("colour", b"red", "category"),
    "an array for a text": ("text", np.zeros(3), "text"),
}


def check_row(model, table: Table, column: str, cell: object, match: str, alone: list[sm.Prediction]) -> None:
    """The middle row has an error that names the column; the others answer as if it were not there."""
    found = model.predict(with_cell(table, column, cell))
    assert column in found[1].error
    assert re.search(match, found[1].error), found[1].error
    assert "fix:" in found[1].error
    assert "\n" not in found[1].error, "one row of a CSV"
    assert (found[1].value, found[1].probabilities) == (None, {})
    assert [found[0], found[2]] == alone
    assert found[1].id == table.ids[1]


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_is_not_what_it_seems_is_an_error_of_its_row(model, world, alone, case):
    column, name, content, match = FILES[case]
    check_row(model, world, column, placed(world, name, content(world)), match, alone)


@pytest.mark.parametrize("case", CELLS)
def test_a_cell_that_cannot_be_read_is_an_error_of_its_row(model, world, alone, case):
    column, cell, match = CELLS[case]
    if case == "circle of links":
        (world.folder / "bad" / "circle.png").symlink_to("circle.png")
    if case == "pipe":
        os.mkfifo(world.folder / "bad" / "pipe.png")
    check_row(model, world, column, cell, match, alone)


def answered(model, table: Table, column: str, cell: object) -> None:
    found = model.predict(with_cell(table, column, cell))
    assert [p.error for p in found] == ["", "", ""]
    assert all(p.value in model.classes for p in found)
    assert all(np.isfinite(list(p.probabilities.values())).all() for p in found)


@pytest.mark.parametrize(
    ("column", "name", "content"),
    [
        ("sound", "silence.wav", lambda t: wav(np.zeros(4000))), ("sound", "one_sample.wav", lambda t: wav(np.ones(1))),
        ("image", "one_pixel.png", lambda t: png(1, 1)), ("image", "line.png", lambda t: png(500, 1)),
        ("trace", "one_step.npy", lambda t: npy(np.ones((1, np.load(t.folder / t.cells("trace")[0]).shape[1])))),
        ("trace", "hole.npy", lambda t: npy(np.r_[np.full((1, np.load(t.folder / t.cells("trace")[0]).shape[1]), np.nan), np.load(t.folder / t.cells("trace")[0])])),
        ("cloud", "one_point.npy", lambda t: npy(np.ones((1, 3)))),
    ],
)  # fmt: skip
def test_the_smallest_of_everything_is_answered(model, world, column, name, content):
    answered(model, world, column, placed(world, name, content(world)))


def test_a_video_of_one_frame_is_answered(model, world):
    from sensorium.worlds.everything import encoded_clip

    one = encoded_clip([np.full((32, 32, 3), 90, np.uint8)])
    answered(model, world, "clip", placed(world, "one.mp4", one))
    answered(model, world, "clip", np.full((1, 16, 16, 3), 90, np.uint8))


def test_videos_of_python_train_beside_videos_with_sound(world):
    """Frames in an array have no sound; the sound of the files must not make them unreadable."""
    frames = [np.full((3, 16, 16, 3), 40 + 60 * (i % 3), np.uint8) for i in range(24)]
    cells = [frames[i] if i % 2 else c for i, c in enumerate(world.cells("clip"))]
    table = replace(world, data={"clip": cells, "label": world.cells("label")}, row_ids=None)
    model = sm.Model("label", columns={"clip": "video"}, epochs=1).fit(table)
    assert [m.name for m in model.task.modalities] == ["clip", "clip.audio"]
    assert model.metrics["data"]["quarantined"] == 0


@pytest.mark.parametrize(
    "text", ["\U0001f600\U0001f680\u200d\U0001f525", "שלום עולם, مرحبا", "a\r\nb", "\u202egnihton", "e\u0301" * 400, "x", 7, 2.5, True]
)  # fmt: skip
def test_any_text_is_answered(model, world, text):
    answered(model, world, "text", text)


@pytest.mark.parametrize("empty", [None, "", "  \t", float("nan")])
def test_an_empty_cell_is_absent_in_every_column(model, world, empty):
    rows = world.take(range(len(COLUMNS)))
    data = {
        k: [empty if k in COLUMNS and i == COLUMNS.index(k) else c for i, c in enumerate(v)]
        for k, v in rows.data.items()
    }
    assert [p.error for p in model.predict(replace(rows, data=data))] == [""] * len(COLUMNS)
    nothing = model.predict({column: [empty] for column in COLUMNS})
    assert (nothing[0].value, nothing[0].error) == (None, "the row has none of the modalities")


@pytest.mark.parametrize("mark", ["NA", "n/a", "?", "-", "null"])
def test_marks_of_a_missing_number_are_empty_cells(model, world, mark):
    answered(model, world, "size", mark)
    assert model.predict({"size": [mark]})[0].error == "the row has none of the modalities"


@pytest.mark.parametrize(
    ("limit", "column"),
    [
        ("pixels", "image"), ("pixels", "clip"), ("samples", "sound"), ("frames", "clip"), ("numbers", "trace"), ("numbers", "lidar"),
        ("characters", "text"), ("bytes", "image"),
    ],
)  # fmt: skip
def test_limits_refuse_and_can_be_raised(model, world, limit, column):
    others = {c: [None] for c in COLUMNS if c != column}
    row = replace(world, data={**others, column: world.cells(column)[:1]}, row_ids=["a"])
    before = model.limits
    try:
        model.limits = sm.Limits(**{limit: 2})
        error = model.predict(row)[0].error
        assert limit in error
        model.limits = sm.Limits(**{limit: 10_000_000})
        assert model.predict(row)[0].error == ""
    finally:
        model.limits = before


def test_the_command_line_raises_limits(model, world, tmp_path, capsys):
    run = tmp_path / "run"
    model.save(run)
    data = {"id": ["a"], "image": [str(world.folder / placed(world, "large.png", png(9000, 9000)))]}
    write(tmp_path / "t.csv", data)
    ask = ["predict", str(run), str(tmp_path / "t.csv"), "--quiet", "-o", str(tmp_path / "p.csv")]
    with pytest.raises(SystemExit) as ended:
        main(ask)
    assert ended.value.code == 1, "no row could be answered"
    assert "raise" in rows_of(tmp_path / "p.csv")[0]["error"]
    main([*ask, "--limit", "pixels=1e8"])
    assert rows_of(tmp_path / "p.csv")[0]["error"] == ""
    capsys.readouterr()


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("image", "image/gone.png"), ("image", "sound/001.wav"), ("image", "a red kettle"), ("sound", "bad/half.wav"),
        ("trace", "bad/void.npy"), ("size", "many"), ("size", "inf"),
    ],
)  # fmt: skip
def test_fit_sets_such_a_row_aside(world, tmp_path, column, cell):
    placed(world, "half.wav", wav(NOISE)[:4000])
    placed(world, "void.npy", npy(np.full((50, 2), np.nan)))
    many = world.take([*range(24), *range(24)])  # one bad row of many, so that fit goes on
    cells = list(many.cells(column))
    cells[7] = cell
    data = {**{k: v for k, v in many.data.items() if k in ("label", column)}, column: cells}
    table = replace(many, data=data, row_ids=[f"r{i}" for i in range(48)])
    model = sm.Model("label", inputs=[column], epochs=1).fit(table, out=tmp_path)
    aside = read_jsonl(tmp_path / "quarantine.jsonl")
    assert [(a["id"], a["column"]) for a in aside] == [("r7", column)]
    assert model.metrics["data"]["quarantined"] == 1
    assert sum(model.metrics["data"]["rows"].values()) == 47
    if column == "size":  # with more words than a few it would be a column of words
        return
    cells[8:12] = [cell] * 4
    with pytest.raises(sm.InputError, match="cannot be read"):
        sm.Model("label", inputs=[column], epochs=1).fit(replace(table, data={**data, column: cells}))


def test_a_table_from_a_stranger_opens_nothing_outside_its_folder(model, world, tmp_path):
    (tmp_path / "secret.png").write_bytes(png())
    inside = tmp_path / "table"
    inside.mkdir()
    (inside / "a.png").write_bytes(png())
    (inside / "link.png").symlink_to("../secret.png")
    cells = ["a.png", "../secret.png", str(tmp_path / "secret.png"), "link.png", "../table/a.png"]
    path = write(inside / "t.csv", {"id": cells, "image": cells})
    assert [p.error for p in model.predict(sm.read(path))] == [""] * 5, (
        "allowed where one's own table is read"
    )
    found = model.predict(sm.read(path, confined=True))
    assert [bool(p.error) for p in found] == [False, True, True, True, False]
    assert all("leaves the table's folder" in p.error for p in found[1:4])
    again = sm.read(sm.read(path), confined=True).take([1])
    assert "leaves" in model.predict(again)[0].error
    homeless = model.predict(sm.read([{"image": str(tmp_path / "secret.png")}], confined=True))
    assert "no folder" in homeless[0].error


def test_a_table_as_spreadsheets_write_it(model, world, tmp_path):
    rows = world.take([0, 1, 2, 3])
    names = ["שלום", "\U0001f600", 'a "quoted"\nname, with a comma', "z"]
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow(["id", *COLUMNS])
    writer.writerows([n, *(rows.cells(c)[i] for c in COLUMNS)] for i, n in enumerate(names))
    path = world.folder / "spreadsheet.csv"
    path.write_bytes(b"\xef\xbb\xbf" + file.getvalue().encode())
    found = model.predict(path)
    assert [p.id for p in found] == names
    assert [p.probabilities for p in found] == [p.probabilities for p in model.predict(rows)]
    path.write_bytes(path.read_bytes().replace(b'""quoted""', b'"quoted"'))
    with pytest.raises(sm.InputError, match="quoting"):
        sm.read(path)
