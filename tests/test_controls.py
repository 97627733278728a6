"""Wrong inputs: what needs the order of frames loses it all, what does not loses nothing; figures equal brute force."""

import json

import numpy as np
import pytest

from sensorium.api import Model
from sensorium.api.controls import (
    ANOTHER,
    ORDERS,
    SHUFFLED,
    Judge,
    backwards,
    controls,
    donors,
    harmed,
    shuffled,
    single_frame,
    timed,
    unused,
)
from sensorium.api.heads import Rows
from sensorium.measure.resample import scored
from sensorium.modalities import CARRIERS
from sensorium.report.controls import controls as drawn

CLIP = CARRIERS["video"].define("clip", "clip", side=16, frames=8, channels=1)
NOTE = CARRIERS["text"].define("note", "note")
FRAMES, SIDE = 8, 16


def clip(rng: np.random.Generator, *, grows: bool, bright: bool = False) -> np.ndarray:
    """Frames that get lighter, or the same backwards; the lightness of the border stays."""
    light = np.linspace(40, 200, FRAMES) if grows else np.linspace(200, 40, FRAMES)
    found = rng.integers(0, 12, (FRAMES, SIDE, SIDE, 1)) + light[:, None, None, None]
    found[:, :3] = 220 if bright else 20
    return found.astype(np.uint8)


def world(n: int, seed: int = 0) -> list[dict]:
    """Rows of a clip that gets lighter or darker with a bright or a dark border, and a word that says nothing."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        grows, bright = bool(i % 2), bool(i // 2 % 2)
        rows.append({
            "clip": clip(rng, grows=grows, bright=bright), "way": "up" if grows else "down",
            "edge": "light" if bright else "dark", "note": f"take {rng.integers(100)}",
        })  # fmt: skip
    return rows


def by_rule(rule, *, truth: np.ndarray) -> Judge:
    """A model that answers by a rule on the patches, measured by the share of right answers."""

    def figure(said, index):
        right = (np.asarray(said) == truth[list(index)]).astype(float)
        return scored(lambda w: {"right": w @ right / len(right)}, len(right))["right"]

    return Judge(
        answer=lambda rows: np.array([rule(row) for row in rows.patches]), figure=figure,
        differ=lambda one, other: np.asarray(one) != np.asarray(other),
    )  # fmt: skip


def patches(rows: list[dict]) -> list[dict]:
    return [{"clip": r["clip"], "note": np.frombuffer(r["note"].encode(), np.uint8)} for r in rows]


def by_name(found: list[dict]) -> dict:
    return {(c["modality"], c["name"]): c for c in found}


def test_frames_change_as_their_names_say():
    rng, frames = np.random.default_rng(0), np.arange(7 * 4).reshape(7, 2, 2, 1)
    assert (single_frame(frames, rng) == frames[[3] * 7]).all()
    assert (backwards(frames, rng) == frames[[6, 5, 4, 3, 2, 1, 0]]).all()
    for length in (1, 2, 3):
        some = frames[:length]
        for _ in range(30):
            found = shuffled(some, rng)
            assert sorted(found[:, 0, 0, 0]) == sorted(some[:, 0, 0, 0])
            assert (found == some).all() == (length == 1)


@pytest.mark.parametrize("seed", range(20))
def test_nobody_keeps_what_is_his_own(seed):
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 5, 23)
    kinds[:5] = range(5)
    arrays = [np.full(3, k) for k in kinds]
    found = donors(arrays, rng)
    assert found is not None
    assert sorted(found) == list(range(23))
    assert (found != np.arange(23)).all()
    kept = (kinds == kinds[found]).sum()
    assert kept == max(0, 2 * np.bincount(kinds).max() - 23), "equal content is given only where it must be"
    assert donors([np.zeros(2)] * 4, rng) is None


def test_a_model_that_needs_the_order_loses_it_all_and_a_static_one_nothing():
    rows = world(60)
    some, names = Rows(patches=patches(rows)), [CLIP, NOTE]
    up = by_rule(lambda r: r["clip"][-1, 8:].mean() > r["clip"][0, 8:].mean(), truth=np.array([r["way"] == "up" for r in rows]))  # fmt: skip
    edge = by_rule(lambda r: r["clip"][:, 0].mean() > 100, truth=np.array([r["edge"] == "light" for r in rows]))  # fmt: skip
    order, still = by_name(controls(names, some, up)), by_name(controls(names, some, edge))
    assert set(order) == {*(("clip", n) for n in ORDERS), ("clip", ANOTHER), ("note", ANOTHER)}
    assert order["clip", "reversed"]["score"]["value"] == 0
    assert order["clip", "reversed"]["changed"] == 1
    assert order["clip", "single frame"]["score"]["value"] == 0.5
    assert 0.3 < order["clip", SHUFFLED]["score"]["value"] < 0.7
    for name in ORDERS:
        assert order["clip", name]["everything"] == 1
        assert order["clip", name]["rows"] == 60
        assert still["clip", name]["score"]["value"] == 1
        assert still["clip", name]["changed"] == 0
    assert order["note", ANOTHER]["changed"] == 0
    assert order["clip", ANOTHER]["changed"] > 0.2
    said = "\n".join(unused(list(still.values())))
    assert "Shuffled frames of clip lose only 0.000" in said
    assert "Not used: note." in said
    assert "Shuffled" not in "\n".join(unused(list(order.values())))


def test_figures_equal_brute_force():
    rows = world(30, seed=3)
    for r in rows[::3]:
        r["clip"] = r["clip"][:1]  # no time in it
    some = Rows(patches=patches(rows))
    for row in some.patches[:4]:
        del row["clip"]
    truth = np.array([r["way"] == "up" for r in rows])
    found = by_name(
        controls([CLIP], some, by_rule(lambda r: len(r["clip"]) > 1 and r["clip"][0, 9, 9, 0] < 90, truth=truth))
    )  # fmt: skip
    index = [i for i, r in enumerate(some.patches) if "clip" in r and len(r["clip"]) > 1]
    right = np.mean([(rows[i]["clip"][-1, 9, 9, 0] < 90) == truth[i] for i in index])
    middle = np.mean([(rows[i]["clip"][4, 9, 9, 0] < 90) == truth[i] for i in index])
    assert set(found) == {("clip", n) for n in ORDERS}
    assert found["clip", "reversed"]["rows"] == len(index) == 18
    assert found["clip", "reversed"]["score"]["value"] == pytest.approx(right, abs=1e-4)
    assert found["clip", "single frame"]["score"]["value"] == pytest.approx(middle, abs=1e-4)


def test_rows_are_drawn_by_the_seed_and_no_more_than_asked_for():
    rows = world(40)
    judge = by_rule(lambda r: r["clip"][0].mean() > r["clip"][1].mean(), truth=np.zeros(40, bool))
    some = Rows(patches=patches(rows))
    first = controls([CLIP, NOTE], some, judge, seed=1, most=15)
    assert {c["rows"] for c in first} == {15}
    assert first == controls([CLIP, NOTE], some, judge, seed=1, most=15)
    assert first != controls([CLIP, NOTE], some, judge, seed=2, most=15)


def test_words_move_with_what_is_made_of_them_and_shared_arrays_stay_shared():
    rows = world(6)
    whole = Rows(patches=patches(rows), texts={"note": [r["note"] for r in rows]})
    moved = harmed(whole, NOTE, ANOTHER, np.random.default_rng(0))
    assert moved is not None
    assert moved.texts["note"] != whole.texts["note"]
    for row, text in zip(moved.patches, moved.texts["note"], strict=True):
        assert row["note"].tobytes().decode() == text
    one = rows[0]["clip"]
    shared = harmed(Rows(patches=[{"clip": one}, {"clip": one}]), CLIP, SHUFFLED, np.random.default_rng(0))
    assert shared is not None
    assert shared.patches[0]["clip"] is shared.patches[1]["clip"]
    assert (rows[0]["clip"] == one).all(), "what was given stays as it was"


def test_only_what_has_time_is_put_out_of_order():
    assert timed(CLIP)
    assert timed(CARRIERS["audio"].define("a", "a"))
    assert not timed(NOTE)
    assert not timed(CARRIERS["image"].define("i", "i"))


def test_a_sentence_says_what_was_not_shown():
    score = {"value": 0.71, "low": 0.6, "high": 0.8}
    base = {"modality": "sound", "rows": 50, "score": score, "everything": 0.75}
    assert unused([base | {"name": ANOTHER, "changed": 0.4, "everything": 0.9}]) == []
    assert "Not shown to help" in unused([base | {"name": ANOTHER, "changed": 0.4}])[0]
    assert "Hardly used" in unused([base | {"name": ANOTHER, "changed": 0.04}])[0]
    assert "has not been shown to matter" in unused([base | {"name": SHUFFLED, "changed": 0.4}])[0]
    assert (
        "lose only 0.040 and change 4% of the answers"
        in unused([base | {"name": SHUFFLED, "changed": 0.04}])[0]
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small model of the lightness of the border, that clips tell and notes do not, and its folder."""
    folder = tmp_path_factory.mktemp("edges")
    table = [{k: r[k] for k in ("clip", "note", "edge")} for r in world(96)]
    columns = {"clip": "video", "note": "text", "edge": "category"}
    model = Model("edge", columns=columns, size="nano", epochs=6, fusion="early", seed=0)
    return model.fit(table, out=folder), folder


def test_a_fitted_model_is_asked_again_on_validation_rows_and_by_evaluate(run):
    model, folder = run
    names = {("clip", n) for n in [*ORDERS, ANOTHER]} | {("note", ANOTHER)}
    held = by_name(json.loads((folder / "metrics.json").read_text())["controls"])
    assert set(held) == names
    metrics = model.evaluate(world(40, seed=9))
    found = by_name(metrics["controls"])
    assert set(found) == names
    assert metrics["scores"]["accuracy"]["value"] >= 0.9, "the border is easy to see"
    assert found["clip", "single frame"]["score"]["value"] >= 0.85
    assert found["clip", ANOTHER]["changed"] > 0.2
    assert found["clip", SHUFFLED]["everything"] == metrics["scores"]["accuracy"]["value"]
    assert any("Shuffled frames of clip" in line for line in metrics["verdict"])
    assert "With wrong inputs" in (folder / "report.html").read_text()


def test_figures_of_a_network_equal_its_predictions_on_clips_turned_by_hand(run):
    model, _ = run
    table = world(24, seed=5)
    found = by_name(model.evaluate(table)["controls"])["clip", "reversed"]
    turned = model.predict([r | {"clip": r["clip"][::-1].copy()} for r in table])
    right = np.mean([p.value == r["edge"] for p, r in zip(turned, table, strict=True)])
    assert found["score"]["value"] == pytest.approx(right, abs=1e-4)


def test_the_page_and_the_command_line_show_each_control(run, tmp_path, capsys):
    from sensorium.cli.screen import control_lines

    model, _ = run
    metrics = model.evaluate(world(24, seed=5))
    lines = control_lines(metrics)
    assert len(lines) == len(metrics["controls"])
    assert "clip, reversed" in "\n".join(lines)
    html = drawn(metrics)
    for word in ("frames shuffled", "frames reversed", "a single frame", "another row"):
        assert word in html
    assert drawn({"metric": "accuracy"}) == drawn({"controls": [None, {"name": 3}, "x"]}) == ""
    assert "<script>" not in drawn({"controls": [metrics["controls"][0] | {"modality": "<script>"}]})


def test_texts_are_asked_again_too(tmp_path):
    table = [{"clip": r["clip"], "note": r["note"], "told": f"a {r['edge']} edge here"} for r in world(64)]
    columns = {"clip": "video", "note": "text", "told": "text"}
    model = Model("told", columns=columns, size="nano", epochs=4, seed=0).fit(table, out=tmp_path / "run")
    found = by_name(model.metrics["controls"])
    assert set(found) == {("clip", n) for n in [*ORDERS, ANOTHER]} | {("note", ANOTHER)}
    assert all(0 <= c["changed"] <= 1 and c["rows"] > 1 for c in found.values())
    assert "frames shuffled" in (tmp_path / "run" / "report.html").read_text()
