"""Run folders: whole files or none, torn lines, the lock between processes, predictions in every format."""

import csv
import errno
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from sensorium.store import (
    append_jsonl,
    lock,
    read,
    read_json,
    read_jsonl,
    write_bytes,
    write_json,
    write_predictions,
)
from sensorium.store.runs import unwritable
from sensorium.types import InputError, Prediction

SOURCE = Path(__file__).parent.parent / "src"


def python(code: str, *args: object) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_json_is_strict_and_round_trips(tmp_path):
    value = {
        "a": [1, 2.5, math.nan, -math.inf],
        "n": np.float32(0.5),
        "m": np.arange(3),
        7: {"x": None},
        "t": (True, "é\ud800"),
    }
    write_json(tmp_path / "v.json", value)
    strict = json.loads((tmp_path / "v.json").read_bytes(), parse_constant=lambda name: pytest.fail(name))
    assert strict == {
        "a": [1, 2.5, None, None],
        "n": 0.5,
        "m": [0, 1, 2],
        "7": {"x": None},
        "t": [True, "é\ud800"],
    }
    assert read_json(tmp_path / "v.json") == strict
    write_json(tmp_path / "w.json", {"é": "\U0001f600"})
    assert "\U0001f600" in (tmp_path / "w.json").read_text(encoding="utf-8")


def test_bad_json(tmp_path):
    with pytest.raises(InputError, match="missing"):
        read_json(tmp_path / "none.json")
    (tmp_path / "v.json").write_bytes(b'{"a": ')
    with pytest.raises(InputError, match="cannot be read"):
        read_json(tmp_path / "v.json")
    with pytest.raises(InputError, match="cannot be read"):
        read_json(tmp_path)
    write_json(tmp_path / "v.json", {"format": 3})
    assert read_json(tmp_path / "v.json", newest=3) == {"format": 3}
    with pytest.raises(InputError, match="newer version"):
        read_json(tmp_path / "v.json", newest=2)


def test_a_file_is_replaced_whole_or_stays(tmp_path):
    file = tmp_path / "f"
    write_bytes(file, b"old")
    code = "import resource, sys; from sensorium.store import write_bytes; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); write_bytes(sys.argv[1], bytes(5000))"
    process = python(code, file)
    assert "InputError" in process.communicate()[1]
    assert file.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"], "nothing half-written stays"
    write_bytes(file, b"new")
    assert file.read_bytes() == b"new"


def test_a_killed_writer_leaves_the_old_file_whole(tmp_path):
    file = tmp_path / "f"
    write_bytes(file, b"0" * 1_000_000)
    code = """
import sys
from sensorium.store import write_bytes
print("ready", flush=True)
for i in range(1, 10**6):
    write_bytes(sys.argv[1], bytes([48 + i % 10]) * 1_000_000)
"""
    process = python(code, file)
    process.stdout.readline()
    for _ in range(20):
        time.sleep(0.01)
        found = file.read_bytes()
        assert len(found) == 1_000_000
        assert len(set(found)) == 1
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(set(file.read_bytes())) == 1


def test_links_and_pipes_are_not_replaced(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_bytes(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_bytes(pipe, b"through")
        assert os.read(reader, 100) == b"through"
    finally:
        os.close(reader)
    assert pipe.is_fifo()


@pytest.mark.parametrize(
    ("code", "match"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EROFS, "read-only"),
        (errno.EDQUOT, "share"),
        (errno.EIO, "cannot be written"),
    ],
)
def test_reasons_of_the_system_are_put_in_words(tmp_path, code, match):
    error = unwritable(OSError(code, os.strerror(code)), tmp_path / "f")
    assert match in error.wrong
    assert error.got == str(tmp_path / "f")


def test_bad_places(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "circle").symlink_to("circle")
    for path, match in (
        (tmp_path / "none" / "f", "no such folder"), (tmp_path / "file" / "f", "is a file"), (tmp_path, "folder is in the way"),
        (tmp_path / ("n" * 300), "too long"), (tmp_path / "circle" / "f", "circle"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=match):
            write_bytes(path, b"x")


def test_modes_follow_the_users_mask(tmp_path):
    old = os.umask(0o027)
    try:
        write_bytes(tmp_path / "f", b"x")
    finally:
        os.umask(old)
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o640


def test_torn_lines_are_ignored_and_cut_off(tmp_path):
    file = tmp_path / "h.jsonl"
    assert read_jsonl(file) == []
    rows = [{"a": 1}, {"a": math.nan, "t": "x\ny\u2028"}, {"a": "z" * 200_000}]
    for row in rows:
        append_jsonl(file, row)
    whole = file.read_bytes()
    said = [rows[0], {"a": None, "t": "x\ny\u2028"}, rows[2]]
    assert read_jsonl(file) == said
    for torn in (b'{"a": 1', b"12", b"{}", b'{"a": "' + b"y" * 200_000, b"\xff\0"):
        file.write_bytes(whole + torn)
        assert read_jsonl(file) == said
        append_jsonl(file, {"b": 2})
        assert file.read_bytes() == whole + b'{"b": 2}\n'
    file.write_bytes(b'{"torn')
    assert read_jsonl(file) == []
    append_jsonl(file, {"b": 2})
    assert read_jsonl(file) == [{"b": 2}]


def test_damage_within_lines_is_told(tmp_path):
    (tmp_path / "h.jsonl").write_bytes(b'{"a": 1}\n{"a"\n{"a": 3}\n')
    with pytest.raises(InputError, match="damaged") as found:
        read_jsonl(tmp_path / "h.jsonl")
    assert "line 2" in found.value.got
    with pytest.raises(InputError, match="cannot be read"):
        read_jsonl(tmp_path)


HOLD = "import sys, time; from sensorium.store import lock\nwith lock(sys.argv[1]): print('held', flush=True); time.sleep(60)"


def test_one_process_writes_a_run(tmp_path):
    run = tmp_path / "deep" / "run"
    other = python(HOLD, run)
    assert other.stdout.readline() == "held\n"
    with pytest.raises(InputError, match="another process") as found, lock(run):
        pass
    assert f"process {other.pid} on" in found.value.got
    other.send_signal(signal.SIGKILL)
    other.communicate()
    with lock(run), pytest.raises(InputError, match=f"process {os.getpid()}"), lock(run):
        pass
    with lock(run):
        pass


def test_the_lock_sweeps_what_a_killed_process_left(tmp_path):
    old, young, inner = (
        tmp_path / n for n in (".sensorium-1.tmp", ".sensorium-2.tmp", "checkpoint/.sensorium-3.tmp")
    )
    inner.parent.mkdir()
    for file in (old, young, inner):
        file.write_bytes(b"torn")
    for file in (old, inner):
        os.utime(file, (1, 1))
    with lock(tmp_path):
        assert [p.exists() for p in (old, young, inner)] == [False, True, False]


def test_a_file_in_the_way_of_a_run(tmp_path):
    (tmp_path / "run").write_bytes(b"")
    with pytest.raises(InputError, match="file is in the way"), lock(tmp_path / "run"):
        pass


PREDICTIONS = [
    Prediction(id="a,1", value="cat", probabilities={"cat": 0.1 + 0.2, "do|g": 1e-17}),
    Prediction(id='b"\n', error="the file is empty"),
    Prediction(id="ü", value="do|g", probabilities={"cat": 0.0, "do|g": 1.0}),
]


def test_predictions_as_csv(tmp_path):
    write_predictions(tmp_path / "p.csv", PREDICTIONS, classes=["cat", "do|g"], target="pet")
    with open(tmp_path / "p.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["id", "prediction", "p_cat", "p_do|g", "error"], ["a,1", "cat", "0.30000000000000004", "1e-17", ""],
        ['b"\n', "", "", "", "the file is empty"], ["ü", "do|g", "0.0", "1.0", ""],
    ]  # fmt: skip
    assert float(rows[1][2]) == 0.1 + 0.2


def test_predictions_as_json_lines_and_parquet(tmp_path):
    for name in ("p.jsonl", "p.parquet"):
        write_predictions(tmp_path / name, PREDICTIONS, classes=["cat", "do|g"], target="pet")
        table = read(tmp_path / name)
        assert table.ids == [p.id for p in PREDICTIONS]
        assert table.cells("prediction") == ["cat", None, "do|g"]
        assert table.cells("p_cat") == [0.1 + 0.2, None, 0.0]
        assert table.cells("error") == [None, "the file is empty", None]
    import pyarrow.parquet as pq

    assert pq.read_schema(tmp_path / "p.parquet").metadata[b"target"] == b"pet"


def test_numbers_and_several_labels(tmp_path):
    numbers = [Prediction(id=str(i), value=v) for i, v in enumerate((1 / 3, 5e-324, -0.0, 1e22))] + [
        Prediction(id="x", error="e")
    ]
    labels = [Prediction(id="0", value=("a", "b"), probabilities={"a": 1.0}), Prediction(id="1", value=())]
    for name in ("p.csv", "p.jsonl", "p.parquet"):
        write_predictions(tmp_path / name, numbers, classes=())
        table = read(tmp_path / name)
        assert table.columns == ("id", "prediction", "error")
        assert [float(c) for c in table.cells("prediction")[:4]] == [1 / 3, 5e-324, -0.0, 1e22]
        assert table.cells("prediction")[4] is None
        write_predictions(tmp_path / name, labels, classes=["a", "b"])
        assert read(tmp_path / name).cells("prediction") == ["a|b", None]
    write_predictions(tmp_path / "p.csv", [Prediction(id="f", value=np.float32(0.1))], classes=())
    assert read(tmp_path / "p.csv").cells("prediction") == ["0.1"], (
        "the shortest text that gives the same number"
    )


def test_no_predictions_and_odd_names(tmp_path):
    for name in ("p.csv", "p.jsonl", "p.parquet"):
        write_predictions(tmp_path / name, [], classes=["a"])
        write_predictions(tmp_path / name, [Prediction(id="\udcff", value="x")], classes=())
        assert len(read(tmp_path / name)) == 1
    for path, match in (
        (tmp_path / "p.txt", "no such kind"),
        (tmp_path / "none" / "p.csv", "no such folder"),
    ):
        with pytest.raises(InputError, match=match):
            write_predictions(path, PREDICTIONS, classes=())
