"""Tables, targets, places and disks as people really have them: refused with one clear message, or learned from all the same."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from bad_files import small_files, write

import sensorium as sm
from sensorium.cli import main
from sensorium.store import Table

Y = ["a", "b"] * 20
NUMBERS = {"size": [float(i % 2 + 0.1 * (i % 7)) for i in range(40)], "y": ["a", "b"] * 20}


@pytest.fixture(scope="module")
def plain() -> sm.Model:
    """A model of one number."""
    return learn(NUMBERS)


def learn(data: object, target: str = "y", **asked: object):
    return sm.Model(target, epochs=1, **asked).fit(data)


@pytest.mark.parametrize("size", [0, 30, 4000, 100_000])
def test_a_disk_that_fills_up_is_told_and_the_same_fit_then_succeeds(tmp_path, size):
    ask = sm.Model("y", epochs=1)
    with small_files(size), pytest.raises(sm.InputError, match="larger than this system allows"):
        ask.fit(NUMBERS, out=tmp_path)
    assert not [p.name for p in tmp_path.iterdir() if p.suffix == ".tmp"], "nothing half-written stays"
    ask.fit(NUMBERS, out=tmp_path)
    assert (tmp_path / "report.html").exists()


@pytest.mark.parametrize("way", ["file", "file/run", "circle", "circle/run", "/dev/null"])
def test_a_run_folder_that_cannot_be(tmp_path, way):
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(sm.InputError, match=r"in the way|is a file|circle"):
        sm.Model("y", epochs=1).fit(NUMBERS, out=tmp_path / way)


@pytest.mark.parametrize(
    ("data", "asked", "match"),
    [
        ({**NUMBERS, "y": ["a"] * 40}, {}, "one class"), ({"size": [1.0], "y": ["a"]}, {}, "one class"), ({"size": [1.0], "y": [2.5]}, {}, "one class"),
        ({"size": [], "y": []}, {}, "no rows"), ([], {}, "no rows"), ({**NUMBERS, "y": [None] * 40}, {}, "empty|training row"),
        ({**NUMBERS, "y": [*[1.5, 2.5] * 19, float("inf"), 3.5]}, {}, "not finite"), ({**NUMBERS, "y": [*["1.5", "2"] * 19, "1e999", "3"]}, {}, "not finite"),
        ({**NUMBERS, "y": [{"a": 1}] * 40}, {}, "neither names nor numbers"), ({**NUMBERS, "y": [b"a", b"b"] * 20}, {}, "neither names nor numbers"),
        ({**NUMBERS, "y": [np.zeros(1)] * 40}, {}, "neither names nor numbers"), (NUMBERS, {"inputs": ["y"]}, "an input too"), (NUMBERS, {"also": ["y"]}, "twice"),
        (NUMBERS, {"inputs": ["gone"]}, "no such column"), (NUMBERS, {"also": ["gone"]}, "no such target"),
        ({"a\nb": NUMBERS["size"], "y": Y}, {}, "line break"), ({"size": [None] * 40, "y": Y}, {}, "no input column"),
        ({**NUMBERS, "split": ["test"] * 40}, {}, "no training row"),
    ],
)  # fmt: skip
def test_tables_that_nothing_can_be_learned_from(data, asked, match):
    with pytest.raises(sm.InputError, match=match) as found:
        learn(data, **asked)
    assert found.value.fix


def test_rows_without_a_target_are_left_out_however_they_say_so():
    holes = [
        None if i % 5 == 0 else " " if i % 5 == 1 else float("nan") if i % 5 == 2 else y
        for i, y in enumerate(Y)
    ]
    model = learn(Table(data={**NUMBERS, "y": holes}))
    assert sum(model.metrics["data"]["rows"].values()) == 16
    assert model.classes == ("a", "b")


def test_classes_that_training_lacks(plain):
    data = {**NUMBERS, "y": [*Y[:35], *["c"] * 5], "split": ["train"] * 30 + ["valid"] * 10}
    model = learn(data)
    assert model.classes == ("a", "b")
    assert model.metrics["rows"] == 10
    assert model.metrics["scores"]["accuracy"]["value"] <= 0.5, "a class that training lacks cannot be right"
    assert sum(map(sum, model.metrics["confusion"]["counts"])) == 5
    alone = learn({**data, "y": [*Y[:30], *["c"] * 10]})
    assert alone.metrics["rows"] == 0
    figures = plain.evaluate({"size": [0.1, 1.1, 0.2], "y": ["a", "b", "c"]})
    assert (figures["rows"], figures["skipped"]) == (3, 0)
    assert figures["scores"]["accuracy"]["value"] < 0.7
    assert "never saw: c" in figures["warnings"][0]
    assert "count as wrong" in figures["warnings"][0]
    with pytest.raises(sm.InputError, match="training knew"):
        plain.evaluate({"size": [0.1], "y": ["c"]})
    with pytest.raises(sm.InputError, match="no target column"):
        plain.evaluate({"size": [0.1]})


def test_one_row_is_measured_and_answered(plain):
    one = plain.predict({"size": [1.2]})
    assert [(p.id, p.error) for p in one] == [("0", "")]
    assert plain.evaluate({"size": [1.2], "y": ["b"]})["rows"] == 1
    for nothing in ([], {"size": []}):
        with pytest.raises(sm.InputError, match="no rows"):
            plain.predict(nothing)


def test_rows_of_one_id_keep_their_places_and_are_remarked(plain):
    twice = learn({**NUMBERS, "id": ["same"] * 40})
    assert "ids stand in several rows" in twice.metrics["data"]["warnings"][0]
    cells = [0.0, 1.0, None, 0.0, 1.0]
    found = plain.predict({"id": ["a", "b", "a", "a", "b"], "size": cells})
    assert [p.id for p in found] == ["a", "b", "a", "a", "b"]
    assert [bool(p.error) for p in found] == [c is None for c in cells]
    for p, c in zip(found, cells, strict=True):
        if c is not None:
            assert p.probabilities == pytest.approx(plain.predict({"size": [c]})[0].probabilities, abs=1e-6)


def test_rows_without_any_modality_train_nobody():
    holes = [None if i < 8 else f"some words {i} and {y}" for i, y in enumerate(Y)]
    model = learn({"note": holes, "y": Y}, columns={"note": "text"})
    assert sum(model.metrics["data"]["rows"].values()) == 32
    split = ["train"] * 30 + ["valid"] * 10
    with pytest.raises(sm.InputError, match="anything to learn"):
        learn({"note": [*holes[:30], *[None] * 10], "y": Y, "split": split}, columns={"note": "text"})


def test_a_rare_modality_is_found():
    sound = {"array": np.sin(np.arange(900) / 3), "sampling_rate": 8000}
    data = {"size": [0.1 * (i % 11) for i in range(120)], "y": ["a", "b", "c"] * 40}
    model = learn({**data, "sound": [sound if i in (7, 60, 110) else None for i in range(120)]})
    assert "sound" in [m.name for m in model.task.modalities]


def test_columns_may_be_called_what_we_call_things():
    words = [f"long words about {y} that say the number {i}" for i, y in enumerate(Y)]
    names = {"table": words, "table.audio": NUMBERS["size"], "joint": words, "": None}
    data = {k: v for k, v in names.items() if v is not None}
    model = learn({**data, "y": Y}, columns={"table": "text", "joint": "text"})
    assert sorted(m.name for m in model.task.modalities) == ["joint", "table", "table_"]
    assert all(not p.error for p in model.predict(data))


def test_a_column_that_training_had_and_the_table_lacks_is_told(tmp_path, capsys):
    words = [f"long words about {y} that say the number {i}" for i, y in enumerate(Y)]
    sm.Model("y", epochs=1, columns={"note": "text"}).fit({**NUMBERS, "note": words}, out=tmp_path / "run")
    renamed = write(tmp_path / "t.csv", {"size": NUMBERS["size"], "remark": words, "y": Y})
    main(["predict", str(tmp_path / "run"), str(renamed), "--quiet", "-o", str(tmp_path / "p.csv")])
    assert "no column note: counted as empty" in capsys.readouterr().out
    main(["evaluate", str(tmp_path / "run"), str(renamed), "--quiet"])
    assert "no column note: counted as empty" in capsys.readouterr().out
    with pytest.raises(sm.InputError, match="none of the input columns"):
        sm.load(tmp_path / "run").predict({"remark": words})


def test_texts_may_lie_in_files(tmp_path):
    said = [f"the words of {y} in number {i} \U0001f600" for i, y in enumerate(Y)]
    for i, text in enumerate(said):
        (tmp_path / f"{i}.txt").write_text(text, encoding="utf-8")
    cells = [f"{i}.txt" for i in range(40)]
    files = Table(data={"note": cells, "y": Y}, folder=tmp_path)
    model = learn(files)
    inline = learn({"note": said, "y": Y}, columns={"note": "text"})
    assert [p.probabilities for p in model.predict(files)] == [
        p.probabilities for p in inline.predict({"note": said})
    ]
    (tmp_path / "empty.txt").write_bytes(b"")
    odd = replace(files, data={"note": [*cells[:5], "gone.txt", "plain words", "empty.txt"]})
    errors = [p.error for p in model.predict(odd)]
    assert [bool(e) for e in errors] == [False] * 5 + [True] * 3
    assert "no such file" in errors[5]
    assert not any(p.error for p in inline.predict({"note": ["see notes.txt", *said[:3]]}))


def test_a_slice_of_a_missing_file_costs_its_row_alone(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "long.npy", rng.normal(size=(4000, 2)))
    cells = [f"long.npy#t={i},{i + 1}" for i in range(39)] + ["gone.npy#t=0,1"]
    model = learn(Table(data={"wave": cells, "y": Y}, folder=tmp_path))
    assert model.rates["wave"] == 100
    assert model.metrics["data"]["quarantined"] == 1


def test_predictions_onto_a_full_disk(plain, tmp_path, capsys):
    run = tmp_path / "run"
    plain.save(run)
    (tmp_path / "p.csv").symlink_to("/dev/full")
    ask = ["predict", str(run), str(write(tmp_path / "t.csv", {"size": [50.0]})), "--quiet", "-o"]
    for place, match in (
        (tmp_path / "p.csv", "disk is full"), (tmp_path / "none" / "p.csv", "no such folder"), (run / "model.json" / "p.csv", "is a file"),
    ):  # fmt: skip
        with pytest.raises(SystemExit) as ended:
            main([*ask, str(place)])
        assert ended.value.code == 2
        assert match in capsys.readouterr().err


@pytest.fixture(scope="module")
def finished(plain, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "run"
    plain.fit(NUMBERS, out=folder)
    return folder


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("model.json", b"{", "cannot be read"), ("model.json", b"", "cannot be read"), ("model.json", b"[]", "does not describe a run"),
        ("model.json", b"null", "does not describe a run"), ("model.json", b'{"format": "x"}', "does not describe a run"),
        ("model.json", b'{"format": 1}', "does not describe a run"), ("model.json", b'{"format": 999}', "newer version"),
        ("model.safetensors", b"", "damaged"), ("model.safetensors", b"words instead of weights", "damaged"), ("model.safetensors", None, "damaged"),
    ],
)  # fmt: skip
def test_a_damaged_run_is_told(finished, tmp_path, name, content, match):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    (run / name).write_bytes((run / name).read_bytes()[:2000] if content is None else content)
    with pytest.raises(sm.InputError, match=match):
        sm.load(run)
    with pytest.raises(sm.InputError, match=match):
        sm.Model("y", epochs=1).fit(NUMBERS, out=run)


@pytest.mark.parametrize(
    "name", ["quarantine.jsonl", "history.jsonl", "checkpoint", "model.safetensors", "report.html"]
)
def test_what_is_in_the_way_inside_a_run_folder_is_told(tmp_path, name):
    if name == "checkpoint":
        (tmp_path / name).write_bytes(b"x")
    else:
        (tmp_path / name).mkdir()
    with pytest.raises(sm.InputError, match="in the way"):
        sm.Model("y", epochs=1).fit(NUMBERS, out=tmp_path)


def test_a_damaged_checkpoint_is_told(tmp_path):
    ask = sm.Model("y", epochs=1)
    ask.fit(NUMBERS, out=tmp_path)
    said = json.loads((tmp_path / "model.json").read_bytes())
    (tmp_path / "model.json").write_text(json.dumps({**said, "complete": False}))
    for raw in (b"", b"words", (tmp_path / "checkpoint" / "state.safetensors").read_bytes()[:3000]):
        (tmp_path / "checkpoint" / "state.safetensors").write_bytes(raw)
        with pytest.raises(sm.InputError, match="checkpoint is damaged"):
            sm.Model("y", epochs=1).fit(NUMBERS, out=tmp_path)


def test_classes_of_validation_rows_alone_are_told():
    model = learn({**NUMBERS, "y": [*Y[:35], *["c"] * 5], "split": ["train"] * 30 + ["valid"] * 10})
    assert any("never saw: c" in w for w in model.metrics["data"]["warnings"])
