"""The index on disk: what is acknowledged survives a killed process; damage is told; places other than a folder."""

import contextlib
import json
import os
import random
import signal
import threading
from pathlib import Path

import pytest
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem

from benchmarks.killed import killed, lost, vectors_of
from sensorium.store.index import Bucket, Index, places, writing
from sensorium.types import InputError


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system cannot kill a process at once")
@pytest.mark.parametrize("seed", range(3))
def test_a_killed_writer_loses_nothing_acknowledged(tmp_path, seed):
    chance = random.Random(seed)
    said = killed(tmp_path / "i", chance.randint(8, 24), chance.uniform(0, 0.05))
    assert lost(tmp_path / "i", said) == []
    index = Index.open(tmp_path / "i")
    before = len(index)
    index.add(["after"], {"a": vectors_of(0)[:1]})
    assert len(Index.open(tmp_path / "i")) == before + 1, "the next writer goes on"
    files = {p.name for p in (tmp_path / "i").iterdir() if not p.name.startswith(".")}
    assert files == {"index.json", *(s.name for s in index.manifest.segments)}, "and clears up"


@pytest.mark.parametrize("torn", ["write_segment", "write_manifest", "sweep"])
@pytest.mark.parametrize("change", ["add", "delete", "compact"])
def test_a_write_that_fails_at_any_step_is_whole_or_not_at_all(tmp_path, monkeypatch, torn, change):
    index = Index.create(tmp_path / "i", spaces={"a": 8})
    for step in range(7):
        index.add([f"r{step}-{i}" for i in range(5)], {"a": vectors_of(step)})
    index.delete(["r0-0"])
    before = set(index.ids)
    calls = {"add": lambda: index.add(["new"], {"a": vectors_of(9)[:1]}), "delete": lambda: index.delete(["r1-1"]), "compact": index.compact}  # fmt: skip
    after = {"add": before | {"new"}, "delete": before - {"r1-1"}, "compact": before}[change]
    real = getattr(writing, torn)

    def fails(place, *rest, **named):
        if torn == "write_segment":
            real(place, *rest, **named)  # the file is written, but nothing names it
        raise OSError("the power is gone")

    monkeypatch.setattr(writing, torn, fails)
    with pytest.raises(OSError, match="power"):
        calls[change]()
    monkeypatch.setattr(writing, torn, real)
    expected = after if torn == "sweep" else before
    for held in (index, Index.open(tmp_path / "i")):
        assert set(held.ids) == expected
        held.check()
    calls[change]()
    assert set(index.ids) == set(Index.open(tmp_path / "i").ids) == after


def damaged_index(path: Path) -> Index:
    index = Index.create(path, spaces={"a": 8}, texts=["word"])
    index.add([f"r{i}" for i in range(5)], {"a": vectors_of(0)}, rows={"word": list("abcde")})
    return index


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_a_segment_that_was_cut_is_told(tmp_path, keep):
    index = damaged_index(tmp_path / "i")
    file = tmp_path / "i" / index.manifest.segments[0].name
    data = file.read_bytes()
    file.write_bytes(data[:keep])
    with pytest.raises(InputError, match="the index is damaged"):
        Index.open(tmp_path / "i")
    file.unlink()
    with pytest.raises(InputError, match="the index is damaged"):
        Index.open(tmp_path / "i")


@pytest.mark.parametrize("part", ["kills", "rows", "vectors/a", "terms", "lengths"])
def test_bytes_that_changed_are_told(tmp_path, part):
    index = damaged_index(tmp_path / "i")
    index.delete(["r4"])
    segment = next(s for s in index.manifest.segments if s.parts.get(part, (0, 0, 0))[1])
    file = tmp_path / "i" / segment.name
    data = bytearray(file.read_bytes())
    offset, length, _ = segment.parts[part]
    data[offset + length // 2] ^= 1
    file.write_bytes(data)
    if part != "vectors/a":
        with pytest.raises(InputError, match="the index is damaged"):
            Index.open(tmp_path / "i")
    else:
        with pytest.raises(InputError, match="vectors/a are not those that were written"):
            Index.open(tmp_path / "i").check()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "damaged"), ("{", "damaged"), ("[]", "damaged"), ("{}", "damaged"), ('{"kind": "sensorium index"}', "newer version"),
        ('{"kind": "sensorium index", "format": 99}', "newer version"), ('{"kind": "sensorium index", "format": 1}', "damaged"),
    ],
)  # fmt: skip
def test_a_damaged_manifest_is_told(tmp_path, text, said):
    damaged_index(tmp_path / "i")
    (tmp_path / "i" / "index.json").write_text(text)
    with pytest.raises(InputError, match=said):
        Index.open(tmp_path / "i")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("segments", [{}]),
        ("spaces", {"a": 9}),
        ("columns", {"word": "code"}),
        ("means", {"a": [1.0]}),
        ("near", {"a": {}}),
    ],
)
def test_a_manifest_that_does_not_fit_is_told(tmp_path, name, value):
    damaged_index(tmp_path / "i")
    file = tmp_path / "i" / "index.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), name: value}))
    with pytest.raises(InputError, match="the index is damaged"):
        Index.open(tmp_path / "i")


def test_no_index_and_half_an_index_are_told(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match="no index here"):
            Index.open(path)
    index = damaged_index(tmp_path / "i")
    (tmp_path / "i" / "index.json").unlink()
    with pytest.raises(InputError, match="no index here"):
        len(index)


def test_writers_wait_for_each_other(tmp_path):
    index = Index.create(tmp_path / "i", spaces={"a": 8})

    def work(who: int) -> None:
        mine = Index.open(tmp_path / "i")
        for step in range(6):
            mine.add([f"{who}-{step}-{i}" for i in range(5)], {"a": vectors_of(step)})

    threads = [threading.Thread(target=work, args=(who,)) for who in range(3)]
    for thread in threads:
        thread.start()
    while any(t.is_alive() for t in threads):
        assert len(index) % 5 == 0, "a reader sees whole writes"
        if len(index):
            assert len(index.search({"a": vectors_of(0)[:1]}, k=5)[0]) == 5
    for thread in threads:
        thread.join()
    assert sorted(index.ids) == sorted(f"{w}-{s}-{i}" for w in range(3) for s in range(6) for i in range(5))


def test_a_writer_that_waits_in_vain_says_who_writes(tmp_path):
    index = damaged_index(tmp_path / "i")
    place = places.place_of(tmp_path / "i")
    with contextlib.ExitStack() as stack:
        stack.enter_context(place.writing())
        with pytest.raises(InputError, match="another process is writing") as told:
            stack.enter_context(place.writing(patience_s=0.05))
    assert f"process {os.getpid()}" in str(told.value)
    index.add(["later"], {"a": vectors_of(1)[:1]})


def test_a_reader_that_was_overtaken_reads_again(tmp_path, monkeypatch):
    """Between reading the manifest and opening a file of it, another process compacts."""
    from sensorium.store.index import views

    index = damaged_index(tmp_path / "i")
    old = index.manifest
    index.delete(["r0"])
    index.compact()
    answers = [old]
    real = views.read_manifest
    monkeypatch.setattr(views, "read_manifest", lambda place: answers.pop() if answers else real(place))
    assert Index.open(tmp_path / "i").ids == ["r1", "r2", "r3", "r4"]


def test_an_object_store_holds_an_index(tmp_path):
    store = SubTreeFileSystem(str(tmp_path), LocalFileSystem())
    index = Index.create(Bucket(store, "bucket/i"), spaces={"a": 8}, texts=["word"], fingerprint="f")
    for step in range(10):
        index.add(
            [f"r{step}-{i}" for i in range(5)], {"a": vectors_of(step)}, rows={"word": [f"w{step}"] * 5}
        )
    index.delete(["r3-0"])
    again = Index.open(Bucket(store, "bucket/i"), fingerprint="f")
    assert len(again) == 49
    assert again.search({"a": vectors_of(4)[2:3]}, k=1)[0][0].id == "r4-2"
    assert len(again.search(words="w3", k=9)[0]) == 4
    again.compact()
    assert len(index) == 49
    again.check()
    with pytest.raises(InputError, match="LanceDB"):
        again.compact(engine="lance")
    file = tmp_path / "bucket" / "i" / again.manifest.segments[0].name
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(InputError, match="the index is damaged"):
        Index.open(Bucket(store, "bucket/i"))


def test_a_slower_writer_of_an_object_store_is_refused(tmp_path):
    store = SubTreeFileSystem(str(tmp_path), LocalFileSystem())
    one = Index.create(Bucket(store, "i"), spaces={"a": 8})
    two = Index.open(Bucket(store, "i"))
    before = two.manifest
    one.add(["x"], {"a": vectors_of(0)[:1]})
    with pytest.raises(InputError, match="another process wrote the index meanwhile"):
        writing.commit(two._place, before, before.next())


def test_addresses_lead_to_places(tmp_path):
    assert isinstance(places.place_of(f"file://{tmp_path}/i"), places.Folder)
    assert isinstance(places.place_of(tmp_path), places.Folder)
    Index.create(f"file://{tmp_path}/i", spaces={"a": 8})
    assert len(Index.open(tmp_path / "i")) == 0
    with pytest.raises(InputError, match="cannot be reached"):
        Index.open("nonsense://bucket/i")


@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() == 0, reason="needs a user who may not write everywhere"
)
def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(InputError, match="permission denied"):
            Index.create(tmp_path / "i", spaces={"a": 8})
    finally:
        tmp_path.chmod(0o700)
