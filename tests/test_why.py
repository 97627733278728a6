"""Why a model answers as it does, end to end: interactions, explanations, promises, what is lost without an input."""

import contextlib
import csv
import io
import json

import numpy as np
import pytest

import sensorium as sm
from sensorium.api.evaluate import label_table
from sensorium.api.explaining import find_row
from sensorium.cli import main
from sensorium.store import read_json
from sensorium.tasks import Target
from sensorium.worlds.everything import write_everything
from sensorium.worlds.planted import write_gates, write_xor


@pytest.fixture(scope="module")
def xor(tmp_path_factory):
    """Two vectors that tell the answer only together, and a model of them."""
    folder = tmp_path_factory.mktemp("xor")
    table = write_xor(folder / "world", rows=2400, seed=1)
    model = sm.Model("y", inputs=["a", "b"], epochs=6).fit(table, out=folder / "run")
    return model, table, folder


@pytest.fixture(scope="module")
def decomposed(xor):
    """What the command finds out about that model: what it prints, and what it writes."""
    _, table, folder = xor
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        main(["interactions", str(folder / "run"), str(table), "--quiet"])
    return printed.getvalue(), read_json(folder / "run" / "interactions.json")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """One column of every kind."""
    folder = tmp_path_factory.mktemp("mixed")
    table = write_everything(folder / "world", rows=320, seed=3, columns=["text", "image", "sound"])
    return (
        sm.Model("label", inputs=["text", "image", "sound"], epochs=5).fit(table, out=folder / "run"),
        table,
        folder,
    )


def scores(metrics):
    return {" + ".join(s["modalities"]): s["score"]["value"] for s in metrics["subsets"]}


def test_what_only_both_together_tell_is_learned_and_late_fusion_is_not_chosen(xor):
    model, table, _ = xor
    found = scores(model.evaluate(sm.read(table, split="test")))
    assert found["a + b"] >= 0.98
    assert found["a"] == pytest.approx(0.5, abs=0.08)
    assert found["b"] == pytest.approx(0.5, abs=0.08)
    assert model.metrics["fusion"]["chosen"] != "late"
    assert model.metrics["fusion"]["weights"]["joint"] > 0.2


def test_synergy_is_named_and_measured(decomposed):
    _, found = decomposed
    assert found["split"] == "test"
    (atoms,) = found["atoms"]
    assert atoms["dominant"] == "synergy"
    assert atoms["synergy"]["value"] > 0.8
    assert max(atoms[k]["value"] for k in ("redundancy", "unique_first", "unique_second")) < 0.05
    assert atoms["synergy"]["low"] > atoms["null"]["synergy"]["high"]
    assert "both together" in found["verdict"][0]
    assert found["emap"]["gap"]["value"] == pytest.approx(0.5, abs=0.12)
    assert found["emap"]["r2"] < 0.1
    (pair,) = found["shapley"]["pairs_accuracy"]
    assert pair["value"] == pytest.approx(0.5, abs=0.1)
    shares = found["shapley"]["accuracy"]
    assert sum(s["value"] for s in shares.values()) == pytest.approx(
        found["shapley"]["total_accuracy"], abs=1e-4
    )


def test_the_command_tells_and_draws_what_it_found(xor, decomposed):
    printed, found = decomposed
    assert found["verdict"][0] in printed
    assert "interaction is worth" in printed
    assert "both together" in (xor[2] / "run" / "report.html").read_text("utf-8")


def test_one_input_has_nothing_to_decompose(tmp_path):
    table = write_gates(tmp_path / "world", "copy", rows=200)
    model = sm.Model("y", inputs=["a"], epochs=1).fit(table)
    with pytest.raises(sm.InputError, match="nothing to decompose"):
        model.interactions(table)
    assert model.explain(table, 0)["split"] is None


def test_too_few_rows_say_how_many_are_needed(mixed, capsys):
    model, table, folder = mixed
    with pytest.raises(sm.InputError, match=r"rows"):
        model.interactions(sm.read(table).take(list(range(1))))
    main(["interactions", str(folder / "run"), str(table), "--split", "valid", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["split"] == "valid"
    assert any("100" in r for r in told["remarks"])


def test_a_number_is_cut_into_ranges_and_it_is_said(tmp_path):
    table = write_everything(tmp_path, rows=420, seed=5, columns=["text", "size"], missing=0.0)
    model = sm.Model("score", columns={"label": "ignore"}, epochs=4).fit(table)
    found = model.interactions(sm.read(table))
    assert any("cut into" in r for r in found["remarks"])
    assert found["atoms"][0]["dominant"]
    assert "r2" in found["shapley"]
    page = model.explain(table, 3)
    assert page["unit"] == "number"
    inside = model.predict(sm.read(table).take([0, 1, 2]), sets=0.9)
    assert all(p.set[0] <= p.value <= p.set[1] for p in inside)


def test_every_input_is_drawn_and_the_parts_add_up(mixed):
    model, table, folder = mixed
    rows = sm.read(table)
    whole = next(i for i in range(len(rows)) if all(rows.data[c][i] for c in ("text", "image", "sound")))
    found = model.explain(rows, whole)
    assert {i["name"] for i in found["inputs"]} == {"text", "image", "sound"}
    added = sum(i["evidence"] for i in found["inputs"])
    assert added == pytest.approx(found["value"] - found["blank"], abs=1e-3)
    assert found["gradients"]["error"] < 0.01
    assert found["checks"]["deletion"] < found["checks"]["random"]
    assert abs(found["checks"]["redrawn"]) < 0.2
    words = next(i for i in found["inputs"] if i["name"] == "text")["places"]["words"]
    assert words
    json.dumps(found)
    main(["explain", str(folder / "run"), str(table), "--row", str(whole), "--split", "", "--quiet"])


def test_the_class_that_is_asked_for_is_explained(mixed):
    model, table, _ = mixed
    found = model.explain(table, 0, answer="low")
    assert found["explained"] == "low"
    with pytest.raises(sm.InputError, match="no such class"):
        model.explain(table, 0, answer="nonsense")
    with pytest.raises(sm.InputError, match="no such row"):
        model.explain(table, 10_000)


def test_rows_are_found_by_id_first():
    assert find_row(["7", "0", "x"], "0") == 1
    assert find_row(["a", "b"], 1) == 1
    assert find_row(["a", "b"], "-1") == 1


def test_sets_hold_the_truth_and_stand_in_the_file(mixed, tmp_path):
    model, table, folder = mixed
    rows = sm.read(table, split="test")
    found = model.predict(rows, sets=0.9)
    assert all(p.value in p.set for p in found if not p.error)
    assert model.metrics["sets"][-1]["modalities"] is None
    path = tmp_path / "p.csv"
    main(
        ["predict", str(folder / "run"), str(table), "--sets", "-o", str(path), "--quiet", "--split", "test"]
    )
    with path.open() as file:
        lines = list(csv.DictReader(file))
    assert [tuple(line["set"].split("|")) for line in lines] == [p.set for p in found]
    with pytest.raises(sm.InputError, match="no sets"):
        model.predict(rows, sets=0.5)
    again = sm.load(folder / "run").predict(rows, sets=0.9)
    assert [p.set for p in again] == [p.set for p in found]


def test_a_careful_model_says_nothing_where_it_is_not_sure(mixed):
    model, table, _ = mixed
    rows = sm.read(table, split="test")
    free, careful = model.predict(rows), model.predict(rows, abstain=0.0)
    told = [p for p in careful if not p.error]
    assert len(told) <= len(free)
    assert all(p.error.startswith("not sure enough") for p in careful if p.value is None and p.probabilities)
    with pytest.raises(sm.InputError, match="share"):
        model.predict(rows, abstain=1.5)


def test_a_fit_tells_of_starved_inputs_and_of_failing_sensors(mixed):
    model, _, _ = mixed
    assert {b["modality"] for b in model.metrics["balance"]} == {"text", "image", "sound"}
    assert all(b["words"] for b in model.metrics["balance"])
    damage = model.metrics["corruption"]
    assert {d["modality"] for d in damage} >= {"text", "image", "sound"}
    lost = model.metrics["robustness"]
    assert {r["modality"] for r in lost} == {"", "text", "image", "sound"}
    assert len({r["value"] for r in lost if r["rate"] == 0.0}) == 1


def test_specialists_are_trained_for_every_subset(tmp_path):
    table = write_gates(tmp_path / "world", "copy", rows=400, noise=0.3)
    model = sm.Model("y", inputs=["a", "b"], epochs=3).fit(table)
    found = model.missing(table, out=tmp_path / "runs")
    assert [r["inputs"] for r in found] == [["a"], ["b"], ["a", "b"]]
    for r in found:
        assert r["specialist"]["value"] - r["own"]["value"] == pytest.approx(r["regret"]["value"], abs=1e-3)
        assert r["specialist"]["value"] > 0.8
    with pytest.raises(sm.InputError, match="compared on"):
        model.missing(sm.read(table, split="train"))


def test_labels_are_explained_too(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        {
            "words": f"a note on {' and '.join(w)} things, number {i}",
            "size": float(rng.normal()),
            "tags": "|".join(w),
        }
        for i, w in enumerate(sorted(set(rng.choice(["red", "green", "blue"], 2))) for _ in range(300))
    ]
    model = sm.Model("tags", epochs=4).fit(rows)
    found = model.explain(rows, 0, answer="red")
    assert found["unit"] == "log odds"
    assert model.interactions(rows)["atoms"]


def test_every_label_has_its_figures():
    target = Target(column="t", kind="labels", classes=("x", "y", "z"), counts=(2, 1, 0))
    given = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0]], bool)
    truth = np.array([[1, 0, 0], [0, 0, 0], [1, 1, 0]], bool)
    assert label_table(target, given, truth) == [
        {"label": "x", "rows": 2, "precision": 0.5, "recall": 0.5, "f1": 0.5},
        {"label": "y", "rows": 1, "precision": 0.0, "recall": 0.0, "f1": 0.0},
        {"label": "z", "rows": 0, "precision": None, "recall": None, "f1": None},
    ]
