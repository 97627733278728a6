"""The report of a run that writes text: figures, losses and looks are there; odd parts break nothing."""

import base64
import io
import json
import re

import numpy as np
import pytest
import report_runs as runs
from test_report import EVIL, Page, read

from sensorium.report.looked import Glance, course_at, grid_at, looked, reasoned, whole_words
from sensorium.report.written import examples, figures, hero, likeness, looks, losses, ranked, steps

SECTIONS = ["figures", "examples", "looks", "losses", "steps", "data", "learning", "making", "next"]
HOSTILE = "".join(EVIL[:2])
ODD = [None, 3, "x", [], {}, [None], [3, "x"], {"value": "x"}, float("nan"), True, [[]], {"a": {}}, -1, 1e300]
SIDE = 8
TEXTS = ["a red circle left of a blue square", "two green stars above a circle", "a small yellow square"]


def score(value: float, width: float = 0.1) -> dict:
    return {"value": value, "low": value - width, "high": value + width}


def scores(part: float) -> dict:
    """Every figure of a run, as that share of what is best."""
    tops = {"bleu1": 100, "bleu2": 100, "bleu3": 100, "bleu4": 100, "chrf": 100, "rouge_l": 1, "cider_d": 10}
    return {
        k: score(part * t, 0.01 * t) for k, t in {**tops, "exact": 1, "distinct": 1, "repeated": 0.1}.items()
    }


def metrics(metric: str = "cider_d") -> dict:
    """What a fit on captions of a clip and its sound writes."""
    names = [("the commonest text", 0.1), ("neighbours", 0.4), ("without any input", 0.125)]
    half = scores(0.5)[metric]
    return {
        "task": {"kind": "text", "target": "caption", "closed": False, "inputs": [{"name": "photo", "carrier": "image"}, {"name": "clip", "carrier": "video"}]},
        "metric": metric, "scores": scores(0.6), "rows": 300, "split": "valid", "verdict": ["It sees colours."],
        "baselines": [{"name": n, "modality": "", "scores": scores(part)} for n, part in names],
        "subsets": [{"modalities": ["photo"], "rows": 280, "score": half, "everything": scores(0.6)[metric]["value"]}],
        "controls": [{"name": "shuffled", "modality": "clip", "score": scores(0.55)[metric], "changed": 0.25},
                     {"name": "another row's", "modality": "photo", "score": scores(0.15)[metric], "changed": 0.93}],
        "steps": [{"steps": n, "score": scores(0.3 + 0.1 * n)[metric]} for n in (1, 2, 3)],
        "data": {"source": "t.csv", "rows": {"train": 2100, "valid": 300}, "present": {"photo": 1.0}, "quarantined": 0},
        "plan": {"size": "nano", "parameters": 1_791_780, "seed": 3, "training_seconds": 120},
    }  # fmt: skip


def scene(place: tuple[float, float], side: int = 64) -> str:
    """A small picture of one bright thing at (y, x) of 0..1."""
    from PIL import Image

    y, x = np.mgrid[0:side, 0:side] / side
    shape = np.hypot(y - place[0], x - place[1]) < 0.16
    pixels = np.where(shape[..., None], (220, 60, 40), (40, 60, 90) + 60 * y[..., None]).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def raster(side: int = SIDE) -> list[list[float]]:
    """Places of side x side tokens, row by row."""
    return [[0.0, (r + 0.5) / side, (c + 0.5) / side] for r in range(side) for c in range(side)]


def gaze(place: tuple[float, float], side: int = SIDE) -> list[float]:
    """Looks at a raster, most at (y, x); they sum to 0.8."""
    y, x = np.array(raster(side))[:, 1:].T
    found = 0.004 + np.exp(-((y - place[0]) ** 2 + (x - place[1]) ** 2) * 40)
    return (0.8 * found / found.sum()).round(5).tolist()


def example(i: int = 0, said: str = TEXTS[0], truth: str = TEXTS[1], **more: object) -> dict:
    rng = np.random.default_rng(i)
    place = tuple(0.2 + 0.6 * rng.random(2))
    seconds = [[0.25 * t, 0.5, 0.5] for t in range(16)]
    words = [
        {"word": f" {w}" if j else w, "looks": {"photo": gaze(tuple((np.array(place) + rng.normal(0, 0.08, 2)).clip(0, 1))),
         "clip": (0.19 * rng.dirichlet(np.full(16, 0.5))).round(5).tolist()}}
        for j, w in enumerate(said.split())
    ]  # fmt: skip
    return {
        "id": f"row-{i}", "said": said, "log_probability": -3.25 - i, "truth": [truth, "something else"], "words": words,
        "cells": {"photo": {"png": scene(place)}, "clip": {"png": runs.png(i, 96)}, "question": {"text": "what is it"}},
        "places": {"photo": raster(), "clip": seconds}, "shown": {"photo": {"carrier": "image"}, "clip": {"carrier": "video"}},
        "steps": [{"words": [0.1, 0.6, 0.3], "looks": {"photo": gaze((0.1, 0.1))}}, {"words": [0.1] * 5, "looks": {"photo": gaze((0.9, 0.9))}}],
        **more,
    }  # fmt: skip


def rows() -> list[dict]:
    said = [(TEXTS[0], TEXTS[0]), (TEXTS[0], TEXTS[2]), (TEXTS[1], TEXTS[1] + " there"), (TEXTS[2], TEXTS[1])]
    return [example(i, a, b) for i, (a, b) in enumerate(said)]


def write(folder, told: object, found: object = None) -> tuple[str, Page]:
    (folder / "metrics.json").write_text(json.dumps(told))
    if found is not None:
        (folder / "examples.json").write_text(json.dumps(found))
    return read(folder)


def count_of(markup: str, name: str, look: str = "") -> int:
    """How many elements have this name, and this class among theirs."""
    return sum(
        n == name and (not look or look in (a.get("class") or "").split()) for n, a in Page(markup).tags
    )


def glance(word: str, *looks: float) -> Glance:
    return Glance(word=word, looks={"m": np.array(looks)})


# --- the page -------------------------------------------------------------------------------------------------------


def test_the_whole_page_holds_every_section_and_figure(tmp_path):
    text, page = write(tmp_path, metrics(), rows())
    assert [i for i in page.ids() if "-" not in i] == ["result", *SECTIONS]
    told = page.words()
    for expected in (
        "Writing caption from photo and clip", "CIDEr-D 6.000 95 % interval 5.900 \u2013 6.100 on 300 validation rows",
        "Best baseline: neighbours , 4.000", "The model is ahead of every floor; the best of them is neighbours (4.000).", "It sees colours.",
        "chrF sequences of 1 to 6 letters shared with a reference; 0 to 100 60.0 59.0 \u2013 61.0 10.0 9.0 \u2013 11.0 40.0",
        "Exact match share of texts that are one of the references, letter case and marks aside 60.0\u202f% 59.0 \u2013 61.0\u202f%",
        "clip : frames shuffled 25\u202f% of texts change 5.500", "photo : another row's 93\u202f% of texts change", "only photo 280 rows",
        "CIDEr-D by reasoning steps", "chrF 100 \u00b7 log probability \u22123.2",
    ):  # fmt: skip
        assert expected in told, expected
    classes = {c for _, a in page.tags for c in (a.get("class") or "").split()}
    for look in ("told", "truths", "glances", "spoken", "spoken-word", "beneath", "above", "store"):
        assert look in classes, look
        assert f".{look}{{" in text or f".{look}," in text or f".{look} " in text, f"no style for {look}"
    assert "http" not in re.sub(r"data:[^\"]*", "", text).replace("http-equiv", "")
    assert not {"script", "link", "iframe", "form"} & {n for n, _ in page.tags}


def test_a_picture_is_stored_once_and_used_for_every_word(tmp_path):
    text, page = write(tmp_path, metrics(), [example()])
    words = len(TEXTS[0].split())
    stored = [a["id"] for n, a in page.tags if n == "image" and "id" in a]
    used = [a["href"].removeprefix("#") for n, a in page.tags if n == "use"]
    assert sorted(set(used)) == sorted(stored)
    assert len(set(stored)) == len(stored) == 2
    assert used.count(stored[0]) == words + 1
    assert text.count(scene((0.0, 0.0))[:60]) <= 4
    for name, given in page.tags:
        if name == "img":
            assert given["alt"]
        if name == "svg":
            assert given.get("aria-label") or given.get("aria-hidden") == "true"


@pytest.mark.parametrize("part", SECTIONS[:5])
def test_what_a_run_does_not_have_is_left_out_and_said(tmp_path, part):
    told, found = metrics(), rows()
    if part in ("examples", "looks"):
        found = [] if part == "examples" else [{k: v for k, v in e.items() if k != "words"} for e in found]
    if part == "steps":
        found = [{k: v for k, v in e.items() if k != "steps"} for e in found]
    gone = {"figures": ["scores", "baselines"], "losses": ["subsets", "controls"], "steps": ["steps"]}.get(
        part, []
    )
    _, page = write(tmp_path, {k: v for k, v in told.items() if k not in gone}, found)
    assert part not in page.ids()
    titles = {
        "figures": "Baselines",
        "examples": "What it writes",
        "looks": "Where it looked",
    }
    titles |= {"losses": "With less", "steps": "Reasoning steps"}
    assert titles[part] in page.words().split("Left out, for this run has nothing to show there:")[1]
    if part == "figures":
        assert "Not measured" in page.words()


def test_odd_parts_break_nothing(tmp_path):
    for odd in ODD:
        for key in metrics():
            told = {**metrics(), key: odd, "task": metrics()["task"]}
            if key == "metric" and isinstance(odd, str):
                assert "Not measured" in hero(told)
            join = hero(told) + figures(told) + losses(told) + steps(told, [])
            Page(join)
        for key in ("baselines", "subsets", "controls", "steps"):
            inner = [{k: odd for k in metrics()[key][0]}]
            Page(
                figures({**metrics(), key: inner})
                + losses({**metrics(), key: inner})
                + steps({**metrics(), key: inner}, [])
            )


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_odd_examples_break_nothing(odd):
    base = example()
    for key in base:
        one = {**base, key: odd}
        Page(examples([one]) + looks([one]) + steps({}, [one]))
    for key in ("cells", "places", "shown"):
        one = {**base, key: dict.fromkeys(base[key], odd)}
        Page(examples([one]) + looks([one]) + steps({}, [one]))
    looks_odd = [
        {"word": "a", "looks": {"photo": odd}},
        {"word": odd, "looks": odd},
        {"word": "b", "looks": {"photo": [odd] * 64}},
    ]
    one = {
        **base,
        "words": looks_odd,
        "places": {"photo": [odd] * 64},
        "steps": [{"words": odd, "looks": odd}, {"words": [odd]}],
    }
    Page(examples([one]) + looks([one]) + steps({}, [one]))
    Page(looks([{**base, "words": looks_odd}]))


def test_texts_of_people_and_models_are_escaped(tmp_path):
    told = metrics()
    told["verdict"] = told["task"]["target"] = HOSTILE
    for key in ("baselines", "controls"):
        told[key][0]["name"] = told[key][0]["modality"] = HOSTILE
    told["verdict"] = [HOSTILE]
    told["scores"][HOSTILE] = score(1.0)
    evil = example(said=HOSTILE, truth=HOSTILE, id=HOSTILE)
    evil["words"] = [{"word": HOSTILE, "looks": {HOSTILE: gaze((0.5, 0.5)), "clip": [0.01] * 16}}]
    evil["places"][HOSTILE], evil["cells"][HOSTILE] = raster(), {"png": scene((0.5, 0.5))}
    evil["shown"][HOSTILE] = {"carrier": "image"}
    evil["steps"] = [{"words": [1.0, 0.5, 0.2], "looks": {HOSTILE: gaze((0.5, 0.5))}}]
    told["subsets"] = [{"modalities": [HOSTILE], "rows": 3, "score": score(1.0)}]
    text, page = write(tmp_path, told, [evil])
    assert f"only {HOSTILE}" in "".join(page.text)
    assert "script" not in {n for n, _ in page.tags}
    assert not any(n.startswith("on") for n, _ in page.attributes)
    assert text.count("&lt;script&gt;") > 8
    assert {a.get("href") for n, a in page.tags if n == "use"} == {"#look-0-0", "#step-0-0"}


# --- figures --------------------------------------------------------------------------------------------------------


def test_the_best_of_a_figure_is_bold_but_not_of_those_without_an_aim():
    told = metrics()
    told["baselines"][1]["scores"]["rouge_l"] = score(0.9)
    body = figures(told).split("<tbody>")[1]
    lines = {re.sub("<.*", "", r.split('<th scope="row">')[1]): r for r in body.split("</tr>") if "<th" in r}
    assert "<b>60.0</b>" in lines["chrF"]
    assert lines["chrF"].count("<b>") == 1
    assert "<b>0.900</b>" in lines["ROUGE-L"]
    assert lines["ROUGE-L"].count("<b>") == 1
    assert "<b>" not in lines["Different texts"] + lines["Repeated"]


@pytest.mark.parametrize(("other", "kind"), [(0.4, "good"), (0.7, "bad"), (0.599, "even")])
def test_the_hero_says_where_the_model_stands(other, kind):
    told = metrics("exact")
    told["baselines"][1]["scores"] = scores(other)
    markup = hero(told)
    assert count_of(markup, "p", kind) == 1
    assert f"{100 * other:.1f}\u202f%" in markup
    assert '<div class="big">60.0\u202f%</div>' in markup


def test_the_line_of_no_input_and_the_rings_stand_where_the_figures_are():
    markup = losses(metrics("exact"))
    line, ring = (
        float(re.search(rf'class="{look}" style="left:([\d.]+)%', markup)[1])
        for look in ("rule mark", "ring")
    )
    spots = [float(v) for v in re.findall(r'class="spot" style="left:([\d.]+)%', markup)]
    assert spots == sorted(spots, reverse=True)
    assert len(spots) == 4
    assert ring == pytest.approx(spots[0], abs=0.02)  # the same rows with everything are as good as all
    scale = (spots[0] - spots[3]) / 0.45  # from 15 to 60 %
    assert line == pytest.approx(spots[3] - scale * 0.025, abs=0.05)


def test_best_rows_come_first_and_no_row_is_both():
    found = [*rows(), example(9, truth="")]
    best, worst = ranked(found)
    assert next(e["id"] for e in best) == "row-0"
    assert likeness(best[0]) == 100
    assert not {id(e) for e in best} & {id(e) for e in worst}
    assert len(best) + len(worst) == len(found)
    assert max(likeness(e) for e in worst) <= min(likeness(e) for e in best)
    assert likeness(worst[0]) == min(likeness(e) for e in found)
    assert likeness({"said": "a"}) is None
    assert ranked([{"said": "a", "truth": []}])[1] == []
    shown = examples(found)
    assert count_of(shown, "article") == 5
    assert count_of(shown, "p", "right") == 1


# --- looks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokens", "said", "words"),
    [
        (["a", " sub", "mar", "ine"], "a submarine", ["a", "submarine"]),
        (["a", "sub", "marine", "."], "a submarine.", ["a", "submarine."]),
        (["a", "\u0120sub", "marine"], "", ["a", "submarine"]),
        (["sub", "##marine", "sinks"], "submarine sinks", ["submarine", "sinks"]),
        (["a", "dog"], "", ["a", "dog"]),
        (["the", " the", "me"], "the theme", ["the", "theme"]),
        (["\u732b", "\u304c", "\u3044\u308b"], "\u732b\u304c\u3044\u308b", ["\u732b", "\u304c", "\u3044\u308b"]),
        ([" ", "", "x"], "x", ["x"]),
        ([], "", []),
    ],
)  # fmt: skip
def test_tokens_of_one_word_are_merged(tokens, said, words):
    assert [w.word for w in whole_words([glance(t, 0.5) for t in tokens], said)] == words


def test_looks_of_merged_tokens_are_averaged():
    (one,) = whole_words(
        [glance("sub", 0.2, 0.6), glance("marine", 0.4, 0.0), glance("s", 1.0)], "submarines"
    )
    assert one.looks["m"].tolist() == pytest.approx([0.3, 0.3])  # a row of another length has no say


def test_looks_fall_on_their_places_in_any_order_without_the_summary():
    places, looks_at = np.array(raster(4)), np.arange(16.0)
    order = np.random.default_rng(0).permutation(16)
    whole = np.concatenate([[[0.0, 0.0, 0.0]], places[order]])  # a summary of the picture in front
    found = grid_at(np.concatenate([[99.0], looks_at[order]]), whole)
    assert found.tolist() == looks_at.reshape(4, 4).tolist()
    assert grid_at(np.ones(3), np.zeros((3, 3))) is None
    assert grid_at(np.ones(5), np.stack([np.arange(5)] * 3, 1) / 5) is None


def test_a_course_adds_what_lies_at_the_same_time():
    values, low, step = course_at(np.array([1.0, 2, 4, 8]), np.array([0.5, 1.0, 1.0, 2.0]))
    assert values.tolist() == [1, 6, 0, 8]
    assert (low, step) == (0.5, 0.5)


def heat_of(markup: str, which: int) -> np.ndarray:
    """Opacity of the n-th heat of a picture, 0..255."""
    from PIL import Image

    found = re.findall(r'<image href="data:image/png;base64,([^"]+)"[^>]*class="above"', markup)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(found[which]))))[..., 3].astype(float)


def test_the_heat_is_where_the_word_looked_and_even_looks_stay_faint():
    words = [
        {"word": "x", "looks": {"photo": gaze((0.15, 0.8))}},
        {"word": " y", "looks": {"photo": [0.0125] * 64}},
    ]
    markup = looked(example(said="x y", words=words), "k")
    seen, even = heat_of(markup, 0), heat_of(markup, 1)
    row, column = np.unravel_index(seen.argmax(), seen.shape)
    assert (row / seen.shape[0], column / seen.shape[1]) == pytest.approx((0.17, 0.8), abs=0.08)
    assert seen.max() > 200
    assert np.ptp(even) == 0
    assert 20 < even.max() < 90
    assert "x: looked most at the top right of photo" in markup
    assert "80\u202f%" in markup


def test_words_have_strips_over_seconds_beside_the_recording():
    clip = np.full(16, 0.005)
    clip[8] = 0.5
    markup = looked(example(words=[{"word": "a", "looks": {"clip": clip.tolist()}}]), "k")
    assert 'alt="a: looked most at 2 s of clip"' in markup
    assert 'alt="frames of clip"' in markup
    assert count_of(markup, "div", "lane") == 2
    assert "3\u202fs</span>" in markup
    text = example(
        words=[{"word": "a", "looks": {"clip": clip.tolist()}}], shown={"clip": {"carrier": "text"}}
    )
    assert "place 9 of 16" in looked(text, "k")
    assert "16 tokens, first to last" in looked(text, "k")


def test_strips_and_recording_share_one_axis_where_the_length_is_known():
    places = [[0.1 * k, 0, 0] for k in range(4)]  # the first 0.4 of 0.5 seconds
    heard = {"words": [{"word": "a", "looks": {"m": [0.1, 0.2, 0.3, 0.2]}}], "places": {"m": places}}
    sound = looked({**heard, "cells": {"m": runs.wav(1)}, "shown": {"m": {"carrier": "audio"}}}, "k")
    assert re.findall(r"left:([\d.]+)%;width:([\d.]+)%", sound) == [("0.00", "100.00"), ("0.00", "80.00")]
    series = {"lines": [[0, 1, 0]], "seconds": 0.2}
    short = looked({**heard, "cells": {"m": series}, "shown": {"m": {"carrier": "series"}}}, "k")
    assert re.findall(r"left:([\d.]+)%;width:([\d.]+)%", short) == [("0.00", "50.00"), ("0.00", "100.00")]
    assert "looked most at 0.2 s of m" in short


def test_steps_shade_the_question_where_its_words_are_known():
    markup = reasoned(example(), "k")
    shades = [float(v) for v in re.findall(r"rgb\(var\(--for\) / ([\d.]+)\)", markup)]
    assert np.argmax(shades) == 1
    assert len(shades) == 3
    assert "step 2: most at token 1 of 5" in markup
    assert count_of(markup, "figure") == 3
    assert reasoned({"said": "a"}, "k") == ""


def test_long_texts_are_cut_and_it_is_said():
    said = " ".join(f"w{i}" for i in range(40))
    words = [{"word": w, "looks": {"photo": gaze((0.5, 0.5))}} for w in said.split()]
    markup = looked(example(said=said, words=words), "k")
    assert count_of(markup, "figure") == 25
    assert "The first 24 of 40 words." in markup
