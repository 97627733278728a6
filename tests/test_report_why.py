"""Pictures of why: the page of one explained row."""

import base64
import copy
import io
import re

import numpy as np
import pytest
import report_runs as runs
from test_report import EVIL, Page

from sensorium.report import write_explanation
from sensorium.report.attributed import attributed
from sensorium.report.charts import signed, stacked
from sensorium.report.explained import explanation
from sensorium.report.heat import AGAINST, FOR, blurred, grid_of, layer, picture_size, seconds_of, strongest
from sensorium.report.markup import named

ODD = (None, {}, "text", [None], [[]], -3, 1e308, float("nan"), True)
SIDES = ("speaks against 7", "speaks for 7")


def words(markup: str) -> str:
    return Page(markup).words()


def score(value: float, low: float, high: float) -> dict:
    return {"value": value, "low": low, "high": high}


# --- an explained row ----------------------------------------------------------------------------------------------


def sheet(frames: int = 8) -> str:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(np.full((12, 16 * frames, 3), 90, np.uint8)).save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def inputs() -> list[dict]:
    """An entry of each carrier, as `Model.explain` gives them, and one that the row lacks."""
    rng = np.random.default_rng(0)
    heat = np.zeros((16, 16))
    heat[2:5, 11:14] = 1.0
    heat[12:15, 1:4] = -0.6
    clock = {"start_s": 0.0, "step_s": 0.01, "steps": rng.normal(size=50).round(4).tolist()}
    channels = [{"name": n, "values": rng.normal(size=40).round(4).tolist()} for n in ("x", "y", "others")]
    text = [("He", 0, 2, 0.1), ("said", 3, 7, -0.8), ("it", 9, 11, 0.0), ("twice", 400, 405, 0.4)]
    places = {
        "photo": ("image", {"png": runs.png(1)}, {"heat": heat.tolist()}),
        "clip": ("video", {"png": sheet()}, {**clock, "heat": rng.normal(size=(8, 4, 4)).tolist()}),
        "voice": ("audio", runs.wav(2), {**clock, "bands": rng.normal(size=(50, 8)).round(4).tolist()}),
        "imu": ("series", {"lines": [[1.0, None, 2.0], [0.0, 1.0, 0.5]], "names": ["x", "y"], "seconds": 0.5, "unit": "g"},
                {"start_s": 0.0, "step_s": 0.0125, "steps": rng.normal(size=40).tolist(), "channels": channels}),
        "lidar": ("points", {"dots": rng.normal(size=(30, 2)).tolist()}, {"points": rng.normal(size=(30, 4)).round(3).tolist()}),
        "note": ("text", {"text": "He said, it ..."}, {"words": [{"text": t, "start": a, "stop": b, "value": v} for t, a, b, v in text]}),
        "facts": ("table", {"cells": {"age": "41", "city": ""}}, {"fields": [{"name": "age", "value": -0.25}, {"name": "city", "value": 0.5}]}),
    }  # fmt: skip
    found = [
        {
            "name": n, "carrier": c, "present": True, "evidence": 0.5 - 0.2 * i, "network": 0.4 - 0.2 * i, "simple": 0.1,
            "places": {"carrier": c, "total": 0.25 * i, **p}, "preview": shown,
        }
        for i, (n, (c, shown, p)) in enumerate(places.items())
    ]  # fmt: skip
    return [*found, {"name": "radar", "carrier": "points", "present": False}]


def explained() -> dict:
    return {
        "id": "a-17", "row": 5, "target": "digit", "kind": "category", "answer": "7", "explained": "7",
        "unit": "nats above the mean class", "probabilities": {"7": 0.8125, "1": 0.125, "3": 0.0625}, "inputs": inputs(),
        "blank": -0.25, "value": 3.125,
        "subsets": [{"modalities": ["photo"], "evidence": 1.125}, {"modalities": ["voice"], "evidence": -0.375},
                    {"modalities": ["photo", "voice"], "evidence": 3.375}],
        "gradients": {"value": 3.1, "baseline": -0.5, "error": 0.001, "steps": 144},
        "split": {"partners": 24, "unimodal": {"photo": 0.625, "voice": 0.25}, "interaction": {"photo": 1.5, "voice": -0.75},
                  "unimodal_value": 0.875, "interaction_value": 2.25},
        "checks": {"rows": 8, "completeness_median": 0.0011, "completeness_most": 0.0028, "deletion": -0.794, "random": 2.474,
                   "random_spread": 0.066, "redrawn": -0.003, "redrawn_size": 0.5},
    }  # fmt: skip


def one(carrier: str) -> dict:
    return next(copy.deepcopy(i) for i in inputs() if i["carrier"] == carrier)


def test_the_page_of_a_row_shows_the_figures_that_it_was_given(tmp_path):
    path = write_explanation(explained(), tmp_path / "why.html")
    assert path == tmp_path / "why.html"
    page = Page(path.read_text(encoding="utf-8"))
    assert page.ids() == ["answer", "inputs", "split", *(f"input-{n}" for n in range(1, 8)), "checks"]
    told = page.words()
    for expected in (
        "Why row a-17 was answered 7", "row 5 of the table", "81.2\u202f%", "12.5\u202f%", "+0.500", "\u22120.100", "radar empty",
        "with all of them 3.125", "photo + voice +3.375", "\u22120.375", "one by one +0.875", "only together +2.250", "24 other rows",
        "+0.625", "\u22120.750", "said only together", "Where in imu", "add up to +0.750 in nats", "The explanations of this model pass",
        "0.11\u202f%", "\u22120.794", "2.474", "\u22120.003", "The part of the simple models",
    ):  # fmt: skip
        assert expected in told, expected
    tags = {n for n, _ in page.tags}
    assert {"img", "audio", "svg"} <= tags


def test_the_page_of_a_row_takes_nothing_from_outside(tmp_path):
    text = explanation(explained())
    page = Page(text)
    media = re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", media)
    assert not {"script", "link", "iframe", "object", "base", "form"} & {n for n, _ in page.tags}
    policy = next(a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    for name, given in page.tags:
        if "src" in given:
            assert given["src"].startswith(("data:image/png;base64,", "data:audio/wav;base64,"))
        assert not [k for k in given if k.startswith("on")]
        assert name != "img" or given["alt"]
        assert name != "svg" or given.get("aria-label") or given.get("aria-hidden") == "true"


@pytest.mark.parametrize("word", EVIL)
def test_no_name_breaks_out_of_the_page_of_a_row(word):
    found = explained()
    for key in ("id", "target", "answer", "explained", "unit"):
        found[key] = word
    found["probabilities"] = {word: 0.5}
    for entry in found["inputs"]:
        entry["name"] = word
    for entry in found["inputs"][:7]:
        places, preview = entry["places"], entry["preview"]
        for key in ("words", "fields", "channels"):
            for item in places.get(key, []):
                item["text" if key == "words" else "name"] = word
        preview |= {"cells": {word: word}} if "cells" in preview else {}
        preview |= {"names": [word, word]} if "names" in preview else {}
        preview |= {"text": word} if "text" in preview else {}
    found["subsets"] = [
        {"modalities": [word], "evidence": 1.0},
        {"modalities": [word, word], "evidence": 2.0},
    ]
    found["split"] |= {"unimodal": {word: 1.0}, "interaction": {word: 1.0}}
    page = Page(explanation(found))
    assert "script" not in {n for n, _ in page.tags}
    assert not [n for n, _ in page.attributes if n.startswith("on")]
    assert all(a.get("src", "data:").startswith("data:") for _, a in page.tags)
    if word and "\x00" not in word:
        assert word in "".join(page.text)


def paths(value, way=()):
    """The place of every value inside, those of long lists by their first two."""
    if isinstance(value, dict):
        for k, v in value.items():
            yield (*way, k)
            yield from paths(v, (*way, k))
    elif isinstance(value, list):
        for k, v in enumerate(value[:2]):
            yield (*way, k)
            yield from paths(v, (*way, k))


def broken(value, *, odds: int):
    """Copies with one place replaced by something odd; so many odd things for each place, in turn."""
    for i, way in enumerate(paths(value)):
        for j in range(odds):
            found = copy.deepcopy(value)
            at = found
            for k in way[:-1]:
                at = at[k]
            at[way[-1]] = ODD[(i * odds + j) % len(ODD)]
            yield found


def test_any_part_of_an_explanation_may_be_missing_or_odd():
    whole = explained()
    whole["inputs"] = [whole["inputs"][-1], one("table")]
    for found in broken(whole, odds=4):
        Page(explanation(found))
    Page(explanation({}))


@pytest.mark.parametrize("carrier", ["image", "video", "audio", "series", "points", "text", "table"])
def test_any_part_of_an_input_may_be_missing_or_odd(carrier):
    whole = one(carrier)
    for found in broken(whole, odds=4):
        Page(attributed(found, words=SIDES))
    for key in ("places", "preview"):
        Page(attributed({**whole, key: {}}, words=SIDES))
    assert "absent" in attributed({"name": "a", "carrier": carrier}, words=SIDES)
    assert "nothing to show" in attributed({"carrier": "smell", "preview": {}}, words=SIDES)


def test_a_number_and_another_class_than_the_answer_are_explained_in_their_own_words():
    number = {
        **explained(),
        "kind": "number",
        "answer": 31.25,
        "unit": "number",
        "blank": 20.0,
        "value": 31.25,
    }
    del number["probabilities"]
    told = words(explanation(number))
    assert "raises the answer" in told
    assert "in the unit of digit" in told
    assert "Without any input it would be 20; the inputs of this row move it to 31.25" in told
    other = words(explanation({**explained(), "explained": "1"}))
    assert "Explained is the evidence for 1 , which got 12.5\u202f%" in other
    assert "speaks for 1" in other


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({}, "The explanations of this model pass"), ({"completeness_median": 0.05}, "with care"), ({"completeness_median": 0.4}, "not to be trusted"),
        ({"deletion": 2.4}, "with care"), ({"deletion": 2.6}, "not to be trusted"), ({"redrawn": 0.3}, "with care"), ({"redrawn": -0.7}, "not to be trusted"),
    ],
)  # fmt: skip
def test_checks_have_verdicts_that_can_fail(changed, verdict):
    found = explained()
    found["checks"] |= changed
    told = words(explanation(found))
    assert verdict in told
    assert ("a test has failed" in told) == (verdict == "not to be trusted")
    assert told.count(" fine ") == (3 if not changed else 2)


# --- what is drawn -------------------------------------------------------------------------------------------------


def pixels(markup: str, number: int) -> np.ndarray:
    from PIL import Image

    data = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", markup)[number]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_heat_is_red_where_it_speaks_for_and_blue_where_it_speaks_against():
    drawn = layer(np.array([[2.0, 0.0], [0.0, -1.0]]), (40, 60), smooth=False)
    assert drawn.shape == (40, 60, 4)
    assert tuple(drawn[5, 5, :3]) == FOR
    assert tuple(drawn[35, 55, :3]) == AGAINST
    assert drawn[5, 5, 3] > drawn[35, 55, 3] > 0
    assert drawn[5, 55, 3] == drawn[35, 5, 3] == 0
    assert strongest(np.zeros((2, 2))) == 1.0
    grid = np.zeros((9, 9))
    grid[4, 4] = 1.0
    assert blurred(grid).sum() == pytest.approx(1.0)
    assert blurred(grid)[4, 5] > 0
    assert grid_of([[1, 2], [3]]) is None
    assert grid_of([[1, None], [float("inf"), 1e300]]).tolist() == [[1, 0], [0, 0]]


def test_the_heat_of_a_picture_lies_where_the_attribution_is():
    entry = one("image")
    markup = attributed(entry, words=SIDES)
    heat = pixels(markup, -1).astype(float)  # behind the plain picture, and that under the heat
    assert heat.shape == (288, 288, 4)
    red = heat[..., 3] * (heat[..., 0] == FOR[0])
    y, x = np.argwhere(red > 0.8 * red.max()).mean(0) / 288
    assert (y, x) == pytest.approx((3.5 / 16, 12.5 / 16), abs=0.03)
    blue = heat[..., 3] * (heat[..., 0] == AGAINST[0])
    y, x = np.argwhere(blue > 0.8 * blue.max()).mean(0) / 288
    assert (y, x) == pytest.approx((13.5 / 16, 2.5 / 16), abs=0.03)
    assert markup.count("<img") == 3
    assert all(s in words(markup) for s in SIDES)


def test_the_heat_of_a_clip_lies_on_the_frame_of_its_time():
    entry = one("video")
    heat = np.zeros((16, 4, 4))
    heat[15] = 1.0
    entry["places"]["heat"] = heat.tolist()
    strength = pixels(attributed(entry, words=SIDES), -1)[..., 3].astype(float).mean(0)
    frames = strength.reshape(8, -1).mean(1)
    assert frames.argmax() == 7
    assert frames[:7].max() == 0


def test_sound_outline_and_attribution_share_one_axis_of_time():
    markup = attributed(one("audio"), words=SIDES)
    places = re.findall(r"left:([\d.]+)%;width:([\d.]+)%", markup)
    assert len(places) == 3  # the outline, the course and the map of bands
    assert seconds_of(runs.wav(2)["wav"]) == pytest.approx(0.5, abs=0.001)
    assert [float(w) for _, w in places] == pytest.approx([100, 100, 100], abs=0.5)
    later = one("audio")
    later["places"] |= {"start_s": 0.25, "step_s": 0.005}
    places = re.findall(r"left:([\d.]+)%;width:([\d.]+)%", attributed(later, words=SIDES))
    assert [float(v) for v in places[1]] == pytest.approx([50, 50], abs=0.5)
    assert "<audio" in markup
    assert "0.4\u202fs" in words(markup)
    unclocked = one("audio")
    unclocked["places"]["step_s"] = None
    assert "steps, without a clock" in words(attributed(unclocked, words=SIDES))


def test_channels_are_shaded_and_carry_their_sums():
    entry = one("series")
    told = words(attributed(entry, words=SIDES))
    for channel in entry["places"]["channels"]:
        assert f"{channel['name']} {sum(channel['values']):+.3f}".replace("-", "\u2212") in told
    many = one("series")
    many["places"]["channels"] = [{"name": f"c{i}", "values": [1.0 * i] * 5} for i in range(9)]
    folded = attributed(many, words=SIDES)
    assert "3 more channels" in folded
    assert folded.index("c8") < folded.index("c3") < folded.index("more channels") < folded.index("c0")


def test_words_keep_their_text_and_get_a_colour_by_side_and_size():
    markup = attributed(one("text"), words=SIDES)
    spans = re.findall(r"<span( style=\"[^\"]*\")? title=\"([^\"]*)\">(\w+)</span>", markup)
    assert [(t, w) for _, t, w in spans] == [("+0.100", "He"), ("\u22120.800", "said"), ("0.000", "it"), ("+0.400", "twice")]  # fmt: skip
    looks = [s for s, _, _ in spans]
    assert "--for" in looks[0]
    assert "--against" in looks[1]
    assert looks[2] == ""
    strength = [float(re.search(r"/ ([\d.]+)\)", s).group(1)) for s in (looks[0], looks[1], looks[3])]
    assert strength[0] < strength[2] < strength[1]
    assert "He said, it \u2026 twice" in "".join(Page(markup).text)


def test_points_are_split_by_side_and_strength_and_fields_come_largest_first():
    entry = one("points")
    entry["places"]["points"] = [[0, 0, 0, 1.0], [10, 0, 0, -1.0], [10, 5, 0, 0.01], [1, 2]]
    markup = attributed(entry, words=SIDES)
    assert re.search(r'd="M40 730h.01" class="dot for s3"', markup)
    assert re.search(r'd="M960 730h.01" class="dot against s3"', markup)
    assert re.search(r'd="M960 270h.01" class="dot for s0"', markup)
    told = words(attributed(one("table"), words=SIDES))
    assert told.index("city") < told.index("age")
    assert "+0.500" in told
    assert "age 41 \u22120.250" in told
    assert "city empty" in told


def test_signed_bars_share_a_zero():
    drawn = signed([(named("a"), 3.0, "+3"), (named("b"), -1.0, "-1"), (named("c"), None, "-")], label="x")
    assert re.findall(r'<i class="(\w+)" style="left:([\d.]+)%;width:([\d.]+)%"', drawn) == [
        ("for", "25.00", "75.00"),
        ("against", "0.00", "25.00"),
    ]
    assert drawn.count('<u style="left:25.00%">') == 3
    cut = stacked([("a", 3.0, "c1"), ("b", 1.0, "c2"), ("none", -1.0, "c3")], label="x")
    assert re.findall(r'class="(c\d)" style="width:([\d.]+)%"', cut) == [("c1", "75.00"), ("c2", "25.00")]
    assert picture_size(sheet()) == (128, 12)
    assert picture_size("no picture") is None
