"""What this user may not read or write is said as such, never as missing or as a crash."""

import contextlib
import os

import pytest

from sensorium.store import (
    Table,
    append_jsonl,
    lock,
    media,
    read,
    read_json,
    write_bytes,
    write_json,
    write_predictions,
)
from sensorium.types import InputError, Prediction


@contextlib.contextmanager
def as_nobody():
    """A user without rights over these files, also where the tests are run by root, who may do everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def folder(tmp_path):
    """A folder whose parents everybody may enter."""
    for parent in (tmp_path, *list(tmp_path.parents)[:2]):
        parent.chmod(0o755)
    return tmp_path


def test_reading(folder):
    for name in ("t.csv", "a.wav", "v.json"):
        (folder / name).write_bytes(b"a\n1\n")
        (folder / name).chmod(0)
    (folder / "closed").mkdir()
    (folder / "closed").chmod(0)
    table = Table(data={"a": ["a.wav"]}, folder=folder)
    with as_nobody():
        for open_it in (
            lambda: read(folder / "t.csv"), lambda: read(folder / "closed"), lambda: read(folder / "closed" / "t.csv"),
            lambda: media(table, "a.wav"), lambda: media(table, "a.wav#t=0,1"), lambda: media(table, "closed/a.wav"),
            lambda: media(table, "closed/a.wav", confined=True), lambda: read_json(folder / "v.json"),
        ):  # fmt: skip
            with pytest.raises(InputError, match=r"(?i)permission denied"):
                open_it()
    (folder / "closed").chmod(0o755)


def test_writing(folder):
    (folder / "old.json").write_bytes(b"{}")
    folder.chmod(0o555)
    with as_nobody():
        for write in (
            lambda: write_bytes(folder / "f", b"x"), lambda: write_json(folder / "old.json", {"a": 1}), lambda: append_jsonl(folder / "h", {}),
            lambda: lock(folder).__enter__(), lambda: lock(folder / "run").__enter__(),
            lambda: write_predictions(folder / "p.csv", [Prediction(id="a", value="x")], classes=()),
        ):  # fmt: skip
            with pytest.raises(InputError, match="permission denied"):
                write()
    folder.chmod(0o755)
    assert (folder / "old.json").read_bytes() == b"{}"
    assert [p.name for p in folder.iterdir()] == ["old.json"]
