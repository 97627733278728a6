"""Floors that have a say: they are saved as arrays, answer to the bit as before, and drop out with their modality."""

import json

import numpy as np
import pytest
from safetensors.numpy import load, save

import sensorium as sm
from sensorium.api.choice import candidates, starts
from sensorium.measure.baselines import Floor, fit_floors
from sensorium.measure.experts import JOINT, average, fit_average
from sensorium.measure.kept import packed, unpacked
from sensorium.tasks import Task


def crowd(rows: int = 200, seed: int = 0):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, rows)
    seen = rng.normal(size=(rows, 6)).astype(np.float32)
    seen[:, 0] += 2 * truth
    seen[rng.random(rows) < 0.2] = np.nan
    words = [None if rng.random() < 0.2 else f"Größe {t} naïve 数{rng.integers(9)}" for t in truth]
    return {"image": seen}, {"note": words}, truth


@pytest.mark.parametrize("kind", ["category", "labels", "number"])
def test_kept_floors_answer_to_the_bit_as_before(kind):
    statistics, texts, truth = crowd()
    target = {"category": truth, "labels": np.eye(3, dtype=bool)[truth], "number": truth * 2.5 + 7}[kind]
    floors = [
        f for f in fit_floors(statistics, texts, target, kind=kind, classes=3, seconds=1.0) if f.modality
    ]
    assert len(floors) == 3
    told, arrays = packed(floors)
    again = unpacked(told, load(save(arrays)))
    other, words, _ = crowd(seed=1)
    for before, after in zip(floors, again, strict=True):
        assert (before.name, before.modality, before.share) == (after.name, after.modality, after.share)
        np.testing.assert_array_equal(before.answer(other, words), after.answer(other, words))


def striped(rows: int, seed: int) -> dict[str, list]:
    """Numbers that tell the class by a rule which trees find at once and two epochs of a network do not."""
    rng = np.random.default_rng(seed)
    a, b = rng.random(rows), rng.random(rows)
    label = ["odd" if (int(x * 4) + int(y * 2)) % 2 else "even" for x, y in zip(a, b, strict=True)]
    return {
        "a": a.tolist(),
        "b": b.tolist(),
        "note": [None] * (rows // 2) + ["word"] * (rows - rows // 2),
        "y": label,
    }


def test_auto_lets_a_floor_speak_where_it_is_better_and_saves_it(tmp_path):
    model = sm.Model("y", inputs=["a", "b"], epochs=1).fit(striped(400, 0), out=tmp_path / "run")
    assert "floors" in model.metrics["fusion"]["chosen"]
    assert {f.name for f in model.floors} <= set(model.experts.weights)
    new = striped(100, 1)
    said = model.predict(new)
    assert np.mean([p.value == y for p, y in zip(said, new["y"], strict=True)]) > 0.85
    again = sm.load(tmp_path / "run").predict(new)
    assert [p.probabilities for p in said] == [p.probabilities for p in again]
    assert all(abs(sum(p.probabilities.values()) - 1) < 1e-6 for p in said)
    lone = model.predict([{"a": new["a"][0], "b": new["b"][0]}])[0]
    assert lone.value == said[0].value
    early = sm.Model("y", inputs=["a", "b"], epochs=1, fusion="early").fit(striped(200, 0))
    assert early.floors == ()  # what was asked for by name is what answers


def test_a_number_is_averaged_over_those_who_know_it(tmp_path):
    rng = np.random.default_rng(0)
    a = rng.random(300)
    rows = {"a": a.tolist(), "b": rng.random(300).tolist(), "y": (np.floor(a * 5) * 100 + 1000.5).tolist()}
    model = sm.Model("y", inputs=["a", "b"], epochs=1).fit(rows, out=tmp_path / "run")
    assert "floors" in model.metrics["fusion"]["chosen"]
    values = [p.value for p in sm.load(tmp_path / "run").predict(rows)]
    assert np.abs(np.array(values) - np.array(rows["y"])).mean() < 40


def test_the_weights_of_an_average_go_to_the_better_head():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=200)
    heads = {"good": truth[:, None] + rng.normal(0, 0.1, (200, 1)), "bad": rng.normal(size=(200, 1))}
    present = {"good": rng.random(200) < 0.8, "bad": np.ones(200, bool)}
    found = fit_average(
        heads, present, start={"good": 1.0, "bad": 1.0}, loss=lambda m: float(((m[:, 0] - truth) ** 2).mean())
    )
    assert found.weights["good"] > 10 * found.weights["bad"]
    said = average(found.weights, heads, present)[:, 0]
    np.testing.assert_allclose(said[~present["good"]], heads["bad"][~present["good"], 0])
    nobody = average({"good": 1.0}, heads, {"good": np.zeros(200, bool), "bad": np.zeros(200, bool)})
    assert not nobody.any()


def test_modalities_start_as_independent_and_experts_of_one_share_its_vote():
    statistics, texts, truth = crowd()
    floors = [
        f for f in fit_floors(statistics, texts, truth, kind="category", classes=3, seconds=0.3) if f.modality
    ]
    begin = starts(("image", "note", *(f.name for f in floors)), floors)
    of = {"image": "image", "note": "note", **{f.name: f.modality for f in floors}}
    for modality in ("image", "note"):
        assert sum(w for n, w in begin.items() if of[n] == modality) == pytest.approx(1.0)
    assert starts((JOINT, "image"), [])[JOINT] == 1.0
    task = Task(modalities=(), targets=())
    simple = [Floor(name="x: forest", modality="x", answer=lambda s, t: np.zeros(1))]
    assert "floors" in candidates(task, "auto", simple)
    assert "floors" not in candidates(task, "mid", simple)


def test_another_validation_table_is_another_run(tmp_path):
    train, held, other = striped(60, 0), striped(30, 1), striped(30, 2)
    sm.Model("y", inputs=["a", "b"], epochs=1).fit(train, valid=held, out=tmp_path)
    again = sm.Model("y", inputs=["a", "b"], epochs=1).fit(train, valid=held, out=tmp_path)
    assert again.metrics["rows"] == 30
    with pytest.raises(sm.InputError, match="another run"):
        sm.Model("y", inputs=["a", "b"], epochs=1).fit(train, valid=other, out=tmp_path)


def test_hard_rows_of_several_labels_are_told_as_people_write_them(tmp_path):
    rows = {"a": [i / 40 for i in range(40)], "y": ["low|cold" if i < 20 else "high" for i in range(40)]}
    sm.Model("y", inputs=["a"], columns={"y": "labels"}, epochs=2).fit(rows, out=tmp_path)
    shown = json.loads((tmp_path / "examples.json").read_text(encoding="utf-8"))
    assert {e["predicted"] for e in shown} <= {
        "none",
        "high",
        "low",
        "cold",
        "cold | low",
        "cold | high",
        "high | low",
        "cold | high | low",
    }
