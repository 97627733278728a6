"""What cells name: files, slices, bytes, arrays; and a clear error that names the cell for every bad one."""

import base64
import math
import os
import threading
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from sensorium.store import Table, file_of, looks_like_path, media, read, span_of, suffixes_of
from sensorium.store.media import _Recent
from sensorium.types import InputError, Limits


@pytest.fixture
def table(tmp_path) -> Table:
    """A table in a folder with a few files, and one file outside it."""
    folder = tmp_path / "data"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.wav").write_bytes(b"sound")
    (folder / "take#t=1,2").write_bytes(b"odd name")
    (folder / "sub" / "r.hea").write_bytes(b"header")
    (folder / "sub" / "r.dat").write_bytes(b"data")
    (folder / "empty.wav").write_bytes(b"")
    (tmp_path / "secret.txt").write_bytes(b"secret")
    return Table(data={"a": ["a.wav"]}, folder=folder)


def refused(table, cell, match, **options) -> None:
    with pytest.raises(InputError, match=match) as found:
        media(table, cell, **options)
    if isinstance(cell, str):
        assert cell[:20] in found.value.got or cell.partition(",")[0] in found.value.got


def test_paths(table, tmp_path, monkeypatch):
    found = media(table, "a.wav")
    assert (found.content, found.name, found.span_s, found.rate_hz) == (b"sound", "a.wav", None, None)
    assert media(table, "sub/../a.wav").content == b"sound"
    assert media(table, str(tmp_path / "secret.txt")).content == b"secret"
    assert media(table, "../secret.txt").content == b"secret"
    assert media(table, "sub\\r.hea").content == b"header"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert media(table, "~/secret.txt").content == b"secret"
    monkeypatch.chdir(tmp_path)
    assert media(read({"a": ["secret.txt"]}), "secret.txt").content == b"secret"


@pytest.mark.parametrize(
    ("cell", "span"),
    [
        ("a.wav#t=12.0,15.5", (12.0, 15.5)), ("a.wav#t=,5", (0.0, 5.0)), ("a.wav#t=3", (3.0, math.inf)), ("a.wav", None), (None, None), (3, None),
        ("a.wav#t=1e-05,2", (1e-05, 2.0)), ("a#b.wav#t=0,1", (0.0, 1.0)), ("a.wav#t=1,inf", (1.0, math.inf)), ("a.wav#x", None),
    ],
)  # fmt: skip
def test_spans(table, cell, span):
    assert span_of(cell) == span
    if isinstance(cell, str) and cell.startswith("a.wav#t"):
        assert media(table, cell).span_s == span
        assert media(table, cell).content == b"sound"
        assert file_of(table, cell) == table.folder / "a.wav"


@pytest.mark.parametrize(
    "tail", ["", "x", "1,x", "2,1", "1,1", "-1,2", "nan", "inf,inf", "1,", "1,nan", "1,2,3", ",", ",0"]
)
def test_bad_spans(table, tail):
    refused(table, f"a.wav#t={tail}", "time span")
    assert file_of(table, f"a.wav#t={tail}") is None


def test_a_real_name_wins_over_a_fragment(table):
    assert media(table, "take#t=1,2").content == b"odd name"
    assert media(table, "take#t=1,2").span_s is None
    assert media(table, "take#t=1,2#t=3,4").span_s == (3.0, 4.0)


@pytest.mark.parametrize(
    ("cell", "match"),
    [
        ("none.wav", "no such file"), ("sub", "a folder"), ("", "a folder"), ("empty.wav", "empty"), ("a.wav/b", "part of the path is a file"),
        ("a\0.wav", "no file can have such a name"), ("n" * 5000, "too long"), ("http://x.org/a.wav", "not fetched"),
        ("data:image/png;base64,???", "damaged"), ("data:image/png;base64,", "no bytes"), (b"", "no bytes"), (None, "names no file"),
        (3.5, "names no file"), (True, "names no file"), ({}, "names no file"), ({"path": None, "bytes": None}, "names no file"),
        ({"path": "none.wav"}, "no such file"), ({"array": [1.0], "sampling_rate": 0}, "samples per second"),
        ({"array": [1.0], "sampling_rate": "x"}, "samples per second"), ({"array": [[1.0], [1, 2]], "sampling_rate": 8}, "length|numbers"),
        (["a", "b"], "numbers"), ({"bytes": b"", "path": "x"}, "no bytes"),
    ],
)  # fmt: skip
def test_bad_cells(table, cell, match):
    refused(table, cell, match)


def test_links_that_lead_in_a_circle(table):
    (table.folder / "circle.wav").symlink_to("circle.wav")
    for confined in (False, True):
        refused(table, "circle.wav", "circle", confined=confined)


def test_pipes_and_devices_are_not_waited_for(table):
    os.mkfifo(table.folder / "pipe.wav")
    refused(table, "pipe.wav", "not an ordinary file")
    refused(table, "/dev/zero", "not an ordinary file")


def test_too_large(table):
    small = Limits(bytes=4)
    refused(table, "a.wav", "too large", limits=small)
    refused(table, "a.wav#t=0,1", "too large", limits=small)
    refused(table, b"12345", "too large", limits=small)
    refused(table, {"bytes": b"12345", "path": None}, "too large", limits=small)
    refused(table, "data:a/b;base64," + base64.b64encode(b"12345").decode(), "too large", limits=small)
    refused(table, "data:a/b;base64," + "A" * 50, "too large", limits=small)
    assert media(table, "a.wav", limits=Limits(bytes=5)).content == b"sound"


def test_confined_paths_stay_inside(table, tmp_path):
    assert media(table, "sub/r.hea", confined=True).content == b"header"
    assert media(table, str(table.folder / "a.wav"), confined=True).content == b"sound"
    (table.folder / "way.txt").symlink_to(tmp_path / "secret.txt")
    (table.folder / "out").symlink_to(tmp_path)
    assert media(table, "way.txt").content == b"secret"
    home = "~/secret.txt"
    for cell in (
        "way.txt",
        "out/secret.txt",
        "../secret.txt",
        str(tmp_path / "secret.txt"),
        "/etc/hostname",
        home,
        "../data2/x",
        "../none",
    ):
        refused(table, cell, "leaves the table's folder", confined=True)
        refused(table, {"path": cell, "bytes": None}, "leaves the table's folder", confined=True)
    refused(read({"a": ["a.wav"]}), "a.wav", "no folder", confined=True)


def test_a_confined_table_needs_no_reminder(table, tmp_path):
    closed = read(table, confined=True)
    assert read(closed).confined
    assert closed.take([0]).confined
    assert not table.confined
    for cell in ("../secret.txt", {"path": "../secret.txt", "bytes": None}, str(tmp_path / "secret.txt")):
        refused(closed, cell, "leaves the table's folder")
        assert file_of(closed, cell) is None, "not even whether it is there"
        assert file_of(table, cell) is not None
    assert media(closed, "a.wav").content == b"sound"
    (table.folder / "sub" / "way.dat").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(InputError, match="leaves the table's folder"):
        media(closed, "sub/r.hea").beside("way.dat")


def test_siblings(table, tmp_path):
    beside = media(table, "sub/r.hea").beside
    assert beside("r.dat") == b"data"
    for name in ("../a.wav", "/etc/hostname", "..", "", "x/../r.dat"):
        with pytest.raises(InputError, match="in the same folder"):
            beside(name)
    with pytest.raises(InputError, match="belongs to another: no such file"):
        beside("none.dat")
    (table.folder / "sub" / "way.dat").symlink_to(tmp_path / "secret.txt")
    assert beside("way.dat") == b"secret"
    with pytest.raises(InputError, match="leaves the table's folder"):
        media(table, "sub/r.hea", confined=True).beside("way.dat")


def test_siblings_of_a_link_lie_beside_the_link(table, tmp_path):
    (tmp_path / "blob").write_bytes(b"linked header")
    (table.folder / "sub" / "s.hea").symlink_to(tmp_path / "blob")
    found = media(table, "sub/s.hea")
    assert (found.content, found.name) == (b"linked header", "s.hea")
    assert found.beside("r.dat") == b"data"


def test_values_in_cells(table):
    image, array = Image.new("L", (2, 2)), np.arange(4)
    assert media(table, image).content is image
    assert media(table, array).content is array
    assert media(table, b"raw").content == b"raw"
    packed = media(table, {"bytes": b"raw", "path": "x/y.png#t=1,2"})
    assert (packed.content, packed.name, packed.span_s) == (b"raw", "x/y.png", (1.0, 2.0))
    assert media(table, {"bytes": None, "path": "a.wav"}).content == b"sound"
    sound = media(table, {"array": [0.0, 0.5], "sampling_rate": 8000, "path": None})
    assert sound.rate_hz == 8000.0
    np.testing.assert_array_equal(sound.content, [0.0, 0.5])
    np.testing.assert_array_equal(media(table, [[1, 2], [3, 4]]).content, [[1, 2], [3, 4]])
    uri = media(table, "data:audio/x-wav;base64," + base64.b64encode(b"raw").decode() + "#t=0,1")
    assert (uri.content, uri.name, uri.span_s) == (b"raw", "data.wav", (0.0, 1.0))
    assert media(table, "data:text/plain,a%20b").content == b"a b"


def test_a_changed_file_is_read_again(table):
    assert media(table, "a.wav#t=0,1").content == b"sound"
    (table.folder / "a.wav").write_bytes(b"other sound")
    assert media(table, "a.wav#t=0,1").content == b"other sound"
    (table.folder / "a.wav").write_bytes(b"equal sized")
    os.utime(table.folder / "a.wav", (1, 1))
    assert media(table, "a.wav#t=0,1").content == b"equal sized"


def test_slices_share_the_bytes_and_threads_read_once(table):
    (table.folder / "long.wav").write_bytes(bytes(3_000_000))
    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda i=i: found.append(media(table, f"long.wav#t={i}").content))
        for i in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len({id(raw) for raw in found}) == 1
    (table.folder / "long.wav").unlink()


def test_what_is_kept_has_a_bound(tmp_path):
    recent = _Recent(most=100)
    for name, size in (("a", 60), ("b", 40), ("c", 30), ("d", 101)):
        (tmp_path / name).write_bytes(name.encode() * size)
        path = tmp_path / name
        assert recent.read(path, path.stat()) == name.encode() * size
        if name == "b":
            recent.read(tmp_path / "a", (tmp_path / "a").stat())  # used again: b is now the oldest
    assert [os.path.basename(key[0]) for key in recent.files] == ["a", "c"]
    assert recent.held == 90
    assert not recent.gates


def test_files_of_cells(table):
    assert file_of(table, "a.wav") == table.folder / "a.wav"
    assert file_of(table, {"path": "a.wav", "bytes": None}) == table.folder / "a.wav"
    for cell in ("none.wav", "sub", "", None, 3, b"x", {}, "a\0b", "n" * 5000, "data:a/b,c"):
        assert file_of(table, cell) is None


def test_suffixes():
    cells = [
        "a.WAV",
        "b/c.d/e.csv.gz",
        "x.wav#t=1,2",
        "c:\\a\\b.Png",
        {"path": "p.jpeg", "bytes": b""},
        "data:image/jpeg;base64,xx",
        "12.5",
        "no",
        3,
        None,
        "v1.0",
    ]
    assert suffixes_of(cells) == Counter({".wav": 2, ".csv.gz": 1, ".png": 1, ".jpeg": 1, ".jpg": 1})


@pytest.mark.parametrize(
    ("cells", "answer"),
    [
        (["a.wav", "a.wav#t=0,1"], True), (["gone1.wav", "gone2.wav", "gone3.wav"], True), (["a man walks.", "He said no.thing"], False),
        (["take#t=1,2", "sub/r.hea"], True), (["1.5", "2.25"], False), (["cat", "dog"], False), ([1, 2], False), ([], False),
        (["My Song.mp3", "Your Song.mp3"], False), (["my dog.wav", "no such.wav", "a.wav"], True), ([None, 3, "a.wav"], False),
        (["data:image/png;base64,AA", "data:image/png;base64,AB"], True), (["x" * 500 + ".wav"], False), (["a.wav", "cat", "dog"], False),
        (["data: a.b", "I think.so yes.no"], False), (["one\ntwo.wav"] * 3, False),
    ],
)  # fmt: skip
def test_what_looks_like_paths(table, cells, answer):
    assert looks_like_path(table, cells) is answer
