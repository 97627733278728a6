"""Pictures of alignment: they say what they are given, and nothing breaks out of them."""

import base64
import io
import re

import numpy as np
import pytest
import report_runs as runs
from test_report import EVIL, Page

from sensorium.report.aligned import (
    Axis,
    Timed,
    aligned_page,
    path_map,
    words_in_picture,
    words_in_sound,
)

SAID = [
    Timed(word="place", start_s=0.5, stop_s=0.8),
    Timed(word="red", start_s=0.8, stop_s=1.1),
    Timed(word="now", start_s=1.3, stop_s=1.6),
]


def pixels(markup: str) -> list[np.ndarray]:
    """The pictures of a figure as (height, width, 4)."""
    from PIL import Image

    found = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", markup)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(f))).convert("RGBA"), int) for f in found]


def line_of(markup: str) -> list[tuple[float, float]]:
    """The points of the path, in thousandths from the left and from the top."""
    d = re.search(r'<path d="M([^"]+)" class="line', markup)
    assert d is not None
    return [tuple(map(float, p.split())) for p in d[1].removesuffix("h.01").split("L")]


def placed(markup: str, style: str) -> list[float]:
    return [float(v) for v in re.findall(rf"{style}:([\d.]+)%", markup)]


# --- a path --------------------------------------------------------------------------------------------------------


def test_words_run_down_and_the_path_crosses_its_cells():
    figure = path_map(
        np.eye(3, 4), [(0, 0), (1, 1), (2, 3)],
        rows=Axis(name="text", words=["a", "b", "c"]), columns=Axis(name="voice", step_s=0.5, start_s=1.0),
    )  # fmt: skip
    assert line_of(figure) == [(125.0, 166.7), (375.0, 500.0), (875.0, 833.3)]
    page = Page(figure)
    assert "voice , s" in page.words()
    assert [t for t in page.text if t in ("a", "b", "c")] == ["a", "b", "c"]
    assert {"1", "2", "3"} <= set(page.text), (
        "the clock of the columns: four steps of half a second from second one"
    )
    (heat,) = pixels(figure)
    high, wide = heat.shape[:2]
    opacity = [
        [heat[int((i + 0.5) * high / 3), int((j + 0.5) * wide / 4), 3] for j in range(4)] for i in range(3)
    ]
    assert (np.array(opacity) > 200).tolist() == np.eye(3, 4).astype(bool).tolist()


def test_a_clock_runs_up():
    figure = path_map(np.eye(4), [(0, 0), (3, 3)], rows=Axis(name="x", step_s=0.1), columns=Axis(name="y"))
    assert line_of(figure) == [(125.0, 875.0), (875.0, 125.0)]
    (heat,) = pixels(figure)
    assert heat[-1, 0, 3] > 200
    assert heat[0, 0, 3] < 20
    assert "y , steps" in Page(figure).words()


def test_many_words_are_thinned_and_long_maps_stay_small():
    words = [f"w{i}" for i in range(150)]
    figure = path_map(np.random.default_rng(0).random((150, 3000)), [], rows=Axis(name="t", words=words), columns=Axis(name="s", step_s=0.01))  # fmt: skip
    assert len([t for t in Page(figure).text if t.startswith("w")]) == 50
    assert len(figure) < 400_000
    assert "<path" not in figure


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -float("inf"), 1e300])
def test_odd_similarities_are_left_blank(odd):
    grid = np.eye(3)
    grid[0, 2] = odd
    figure = path_map(grid, [(0, 0), (9, 9), (-1, 0)], rows=Axis(name="a"), columns=Axis(name="b"))
    Page(figure)
    assert len(line_of(figure)) == 1, "cells outside are no part of the picture"
    assert len(pixels(path_map(np.full((2, 2), odd), [], rows=Axis(name="a"), columns=Axis(name="b")))) == 1
    assert path_map(np.zeros((0, 3)), [], rows=Axis(name="a"), columns=Axis(name="b")) == ""


# --- words in time -------------------------------------------------------------------------------------------------


def test_words_lie_where_they_were_said():
    figure = words_in_sound(SAID, preview=runs.wav(1), seconds=2.0)
    low, high = 0.3, 1.8  # a fifth of a second before and after
    boxes = re.findall(r"left:([\d.]+)%;width:([\d.]+)%", figure)
    assert [float(a) for a, _ in boxes] == pytest.approx(
        [100 * (w.start_s - low) / (high - low) for w in SAID], abs=0.01
    )
    assert [float(b) for _, b in boxes] == pytest.approx([100 * (w.stop_s - w.start_s) / (high - low) for w in SAID], abs=0.01)  # fmt: skip
    page = Page(figure)
    assert "<audio" in figure
    assert "1.30" in page.words()
    assert "known" not in page.words()
    marks = re.findall(r'style="left:([\d.]+)%">([\d.]+)\u202fs', figure)
    assert len(marks) >= 3
    for place, second in marks:
        assert float(place) == pytest.approx(100 * (float(second) - low) / (high - low), abs=0.01)


def test_known_times_are_a_lane_of_their_own():
    known = [Timed(word=w.word, start_s=w.start_s + 0.05, stop_s=w.stop_s + 0.05) for w in SAID]
    page = Page(words_in_sound(SAID, preview={}, seconds=2.0, known=known))
    assert page.text.count("red") == 3, "two lanes and the table"
    assert {"0.80", "0.85", "known to, s"} <= set(page.text)
    fewer = Page(words_in_sound(SAID, preview={}, seconds=2.0, known=known[:2]))
    assert "known to, s" not in fewer.text


def test_short_words_get_room_to_be_read():
    quick = [Timed(word="wonderful", start_s=i * 0.1, stop_s=i * 0.1 + 0.1) for i in range(40)]
    width = int(re.search(r"min-width:(\d+)px", words_in_sound(quick, preview={}, seconds=4.0))[1])
    assert 40 * 60 < width <= 6000
    assert words_in_sound([], preview={}, seconds=2.0) == ""
    assert words_in_sound([Timed(word="x", start_s=1.0, stop_s=1.0)], preview={}, seconds=2.0) == ""


# --- words in a picture --------------------------------------------------------------------------------------------


def test_each_word_is_red_where_its_mass_is():
    plan = np.zeros((12, 2))
    plan[0, 0], plan[11, 1] = 0.5, 0.5  # the first word in the upper left, the second in the lower right
    figure = words_in_picture(plan, ["up", "down"], shape=(3, 4), preview={"png": runs.png(1)}, name="photo")
    whole, under, up, again, down = pixels(figure)
    assert whole.shape == under.shape == again.shape
    for heat, bright, pale in ((up, (5, 5), (-5, -5)), (down, (-5, -5), (5, 5))):
        assert heat[bright][3] > 150
        assert heat[pale][3] < 20
        assert heat[bright][0] > heat[bright][2], "red"
    assert Page(figure).words().count("half of it in 8\u202f%") == 2


def test_what_is_spread_out_stays_pale_beside_what_is_sure():
    plan = np.stack([np.full(16, 1 / 16), np.eye(16)[5]], 1) / 2
    spread, sure = pixels(words_in_picture(plan, ["the", "cat"], shape=(4, 4), preview={}))
    assert spread[..., 3].max() < 0.5 * sure[..., 3].max()
    assert (
        "half of it in 50\u202f%"
        in Page(words_in_picture(plan, ["the", "cat"], shape=(4, 4), preview={})).words()
    )


def test_many_words_are_folded():
    plan = np.full((4, 90), 1 / 360)
    figure = words_in_picture(plan, [f"w{i}" for i in range(90)], shape=(2, 2), preview={})
    assert len(pixels(figure)) == 72
    words = Page(figure).words()
    assert "78 more words" in words
    assert "18 words after these are left out" in words


def test_a_plan_of_another_shape_is_no_picture():
    assert words_in_picture(np.ones((4, 1)), ["a"], shape=(2, 3), preview={}) == ""
    assert words_in_picture(np.ones((4, 1)), ["a", "b"], shape=(2, 2), preview={}) == ""
    assert words_in_picture(np.full((4, 1), np.nan), ["a"], shape=(2, 2), preview={}) == ""
    assert "nowhere" in words_in_picture(np.zeros((4, 1)), ["a"], shape=(2, 2), preview={"png": "damaged"})


# --- the page ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", EVIL)
def test_nothing_breaks_out(word):
    rows = Axis(name=word, words=[word, word])
    said = [Timed(word=word, start_s=0.1, stop_s=0.4)]
    text = aligned_page(
        word,
        [
            (word, path_map(np.eye(2), [(0, 0)], rows=rows, columns=rows)),
            ("sound", words_in_sound(said, preview={}, seconds=1.0, known=said, name=word)),
            ("picture", words_in_picture(np.ones((1, 1)), [word], shape=(1, 1), preview={}, name=word)),
            ("empty", words_in_sound([], preview={}, seconds=1.0)),
        ],
        told=word,
    )
    page = Page(text)
    names = {n for n, _ in page.tags}
    assert not names & {"script", "iframe", "object", "form", "link"}
    assert not [k for k, _ in page.attributes if k.startswith("on")]
    assert "empty" not in page.text, "a figure without content has no section"
    assert page.text.count("picture") == 1
