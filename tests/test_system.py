"""The whole system on ordinary files: every carrier, every target, holes, bad input, the command line, killed runs."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import sensorium as sm
from sensorium.cli import main
from sensorium.store import read_jsonl
from sensorium.worlds.everything import write_everything

INPUTS = ["text", "image", "audio"]


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    return Path(write_everything(tmp_path_factory.mktemp("world"), rows=60, seed=0, targets=["label"]))


@pytest.fixture(scope="module")
def trained(world, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "category"
    model = sm.Model(first_category(world), epochs=6).fit(world, out=run)
    return model, run


def columns(world: Path) -> list[str]:
    with open(table_of(world), newline="", encoding="utf-8") as file:
        return next(csv.reader(file))


def table_of(world: Path) -> Path:
    return world if world.is_file() else next(world.glob("*.csv"))


def first_category(world: Path) -> str:
    return next(c for c in columns(world) if c in ("label", "class", "category", "kind", "state"))


def test_all_carriers_are_found_and_learned(trained, world):
    model, run = trained
    assert {m.carrier for m in model.task.modalities} >= {
        "text",
        "image",
        "audio",
        "video",
        "series",
        "points",
        "table",
    }
    assert model.metrics["scores"]["accuracy"]["value"] > 0.45
    for name in (
        "model.safetensors",
        "model.json",
        "metrics.json",
        "history.jsonl",
        "report.html",
        "checkpoint",
    ):
        assert (run / name).exists(), name
    text = (run / "report.html").read_text(encoding="utf-8")
    assert "http://" not in text
    assert "https://" not in text


def test_a_loaded_run_gives_the_same_bits_and_rows_keep_their_order(trained, world):
    model, run = trained
    table = sm.read(table_of(world))
    first, again = model.predict(table), sm.load(run).predict(table)
    assert [(p.id, p.value, p.probabilities) for p in first] == [
        (p.id, p.value, p.probabilities) for p in again
    ]
    assert [p.id for p in first] == table.ids
    turned = model.predict(table.take(range(len(table))[::-1]))
    for a, b in zip(first, turned[::-1], strict=True):
        assert a.id == b.id
        assert a.probabilities == pytest.approx(b.probabilities, abs=1e-4)


def test_a_number_is_learned(tmp_path):
    numbers = write_everything(tmp_path / "world", rows=60, seed=0, targets=["score"])
    model = sm.Model("score", inputs=["text", "image", "sound"], epochs=25).fit(numbers, out=tmp_path / "run")
    assert model.task.target.kind == "number"
    assert all(isinstance(p.value, float) for p in model.predict(sm.read(numbers)) if not p.error)
    assert model.metrics["scores"]["pearson"]["value"] > 0.4


def small(rows: int = 40, **columns: list) -> dict[str, list]:
    rng = np.random.default_rng(0)
    y = ["yes" if i % 2 else "no" for i in range(rows)]
    base = {
        "a": [float(i % 2 + 0.1 * rng.normal()) for i in range(rows)],
        "note": [f"{v} it is {i}" for i, v in enumerate(y)],
        "y": y,
    }
    return {**base, **columns}


@pytest.mark.parametrize("fusion", ["early", "mid", "late", "tensor"])
def test_each_fusion_trains_saves_and_loads(tmp_path, fusion):
    model = sm.Model("y", fusion=fusion, epochs=3).fit(small(), out=tmp_path)
    again = sm.load(tmp_path)
    assert [p.probabilities for p in again.predict(small())] == [
        p.probabilities for p in model.predict(small())
    ]


def test_several_labels_in_a_cell(tmp_path):
    data = small(y=["red|big" if i % 4 == 0 else "red" if i % 2 else "big" for i in range(40)])
    model = sm.Model("y", epochs=3).fit(data, out=tmp_path)
    assert model.task.target.kind == "labels"
    assert set(model.classes) == {"red", "big"}
    assert isinstance(model.predict(data)[0].value, tuple)


def test_an_empty_column_and_a_missing_column_are_the_same(tmp_path):
    data = small()
    model = sm.Model("y", epochs=2).fit(data, out=tmp_path)
    empty = model.predict({**data, "note": [None] * 40})
    gone = model.predict({"a": data["a"]})
    assert [p.probabilities for p in empty] == [p.probabilities for p in gone]


def test_a_row_without_anything_has_an_error_and_moves_no_other(tmp_path):
    data = small()
    model = sm.Model("y", epochs=2).fit(data, out=tmp_path)
    found = model.predict({"a": [None, 1.0, None], "note": [None, "yes it is", "  "]})
    assert [bool(p.error) for p in found] == [True, False, True]
    assert found[1].value in model.classes


def test_unreadable_cells_are_set_aside_in_fit_and_named_in_predict(world, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(table_of(world).parent, folder)
    table = sm.read(folder / table_of(world).name)
    rows = [i for i, c in enumerate(table.cells("image")) if c]
    (folder / str(table.cells("image")[rows[0]])).write_bytes(b"not a picture")
    target = first_category(world)
    model = sm.Model(target, inputs=["image", "text"], epochs=1).fit(
        folder / table_of(world).name, out=tmp_path / "run"
    )
    found = model.predict(sm.read(folder / table_of(world).name))
    assert [i for i, p in enumerate(found) if p.error] == [rows[0]]
    assert found[rows[0]].value is None
    set_aside = read_jsonl(tmp_path / "run" / "quarantine.jsonl")
    assert {q["id"] for q in set_aside} <= {table.ids[rows[0]]}
    for row in rows[1:8]:
        (folder / str(table.cells("image")[row])).unlink()
    with pytest.raises(sm.InputError, match="cannot be read"):
        sm.Model(target, inputs=["image", "text"], epochs=1).fit(
            folder / table_of(world).name, out=tmp_path / "other"
        )


@pytest.mark.parametrize(
    ("data", "target", "match"),
    [
        ({"a": [1.0, 2.0], "y": ["x", "x"]}, "y", "one class"), ({"a": [1.0, 2.0], "y": [None, None]}, "y", "empty|training row"),
        ({"a": [], "y": []}, "y", "no rows"), ({"a": [1.0, 2.0], "y": ["x", "z"]}, "w", "no such"),
        ({"a": [None] * 8, "y": ["x", "z"] * 4}, "y", "no input"), ({"a": [1.0, 2.0], "b": [1.0], "y": ["x", "z"]}, "y", "length"),
    ],
)  # fmt: skip
def test_tables_that_cannot_be_learned_from_are_refused(tmp_path, data, target, match):
    with pytest.raises(sm.InputError, match=match):
        sm.Model(target, epochs=1).fit(data, out=tmp_path)


def test_awkward_texts_and_targets_are_fine(tmp_path):
    data = small(
        note=["", "\U0001f600\U0001f680", "שלום עולם", "a\r\nb"] * 10, y=["<b>yes</b>", "no", None, "no"] * 10
    )
    model = sm.Model("y", epochs=1).fit(data, out=tmp_path)
    assert model.classes == ("<b>yes</b>", "no")
    assert "<b>yes</b>" not in (tmp_path / "report.html").read_text(encoding="utf-8")
    metrics = model.evaluate({**data, "y": ["unseen", *data["y"][1:]]})
    assert metrics["skipped"] >= 1  # the rows without a target
    assert "never saw" in metrics["warnings"][0]


def test_a_column_that_tells_the_target_is_left_out(tmp_path):
    data = small()
    model = sm.Model("y", epochs=1).fit({**data, "code": [int(v == "yes") for v in data["y"]]}, out=tmp_path)
    assert all("code" not in m.column for m in model.task.modalities)
    assert "code" in model.metrics["data"]["warnings"][0]


def test_test_rows_are_never_opened(tmp_path):
    data = small(image=["gone.png"] * 40, split=["train"] * 30 + ["test"] * 10)
    data["image"] = [None] * 30 + ["gone.png"] * 10
    model = sm.Model("y", inputs=["a", "note"], epochs=1).fit(data, out=tmp_path)
    assert model.metrics["data"]["rows"]["train"] + model.metrics["data"]["rows"]["valid"] == 30


def test_another_run_in_the_folder_and_newer_versions_are_refused(tmp_path):
    sm.Model("y", epochs=1).fit(small(), out=tmp_path)
    sm.Model("y", epochs=1).fit(small(), out=tmp_path)  # the same one is simply complete
    with pytest.raises(sm.InputError, match="another run"):
        sm.Model("y", epochs=2).fit(small(), out=tmp_path)
    saved = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))
    (tmp_path / "model.json").write_text(json.dumps({**saved, "format": 999}), encoding="utf-8")
    with pytest.raises(sm.InputError, match="newer"):
        sm.load(tmp_path)
    with pytest.raises(sm.InputError, match="not a run"):
        sm.load(tmp_path / "nowhere")


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "sensorium", *args]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent / "src")}


def test_a_killed_fit_continues_to_the_same_bits(tmp_path):
    with open(tmp_path / "t.csv", "w", newline="", encoding="utf-8") as file:
        data = small(200)
        writer = csv.writer(file)
        writer.writerow(data)
        writer.writerows(zip(*data.values(), strict=True))
    ask = ["fit", str(tmp_path / "t.csv"), "--target", "y", "--epochs", "12", "--quiet", "-o"]
    subprocess.run(command(*ask, str(tmp_path / "whole")), env=environment(), check=True, capture_output=True)
    killed = subprocess.Popen(
        command(*ask, str(tmp_path / "killed")), env=environment(), stdout=subprocess.DEVNULL
    )
    state = tmp_path / "killed" / "checkpoint" / "state.safetensors"
    for _ in range(600):
        if state.exists() or killed.poll() is not None:
            break
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not json.loads((tmp_path / "killed" / "model.json").read_text(encoding="utf-8"))["complete"]
    subprocess.run(
        command(*ask, str(tmp_path / "killed")), env=environment(), check=True, capture_output=True
    )
    assert (tmp_path / "whole" / "model.safetensors").read_bytes() == (
        tmp_path / "killed" / "model.safetensors"
    ).read_bytes()


def test_the_command_line(tmp_path, capsys):
    with open(tmp_path / "t.csv", "w", newline="", encoding="utf-8") as file:
        data = small()
        writer = csv.writer(file)
        writer.writerow(["id", *data])
        writer.writerows(zip(map(str, range(40)), *data.values(), strict=True))
    table, run = str(tmp_path / "t.csv"), str(tmp_path / "run")
    main(["fit", table, "--target", "y", "--epochs", "3", "--json", "-o", run])
    assert json.loads(capsys.readouterr().out)["task"]["target"] == "y"
    main(["predict", run, table, "-o", str(tmp_path / "p.csv")])
    with open(tmp_path / "p.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [r["id"] for r in rows] == [str(i) for i in range(40)]
    assert list(rows[0]) == ["id", "prediction", "p_no", "p_yes", "error"]
    main(["evaluate", run, table])
    assert "accuracy" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(["fit", str(tmp_path / "none.csv"), "--target", "y", "-o", run])
    assert ended.value.code == 2
    assert "fix:" in capsys.readouterr().err


def test_imports_are_light():
    code = "import sys, sensorium, sensorium.cli, sensorium.modalities, sensorium.store, sensorium.worlds; print([m for m in ('torch', 'sklearn', 'pyarrow', 'av') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
