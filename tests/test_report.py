"""The report: one safe, self-contained page from whatever a run folder holds."""

import json
import re
from html.parser import HTMLParser

import pytest
import report_runs as runs

from sensorium.report import write_report
from sensorium.report.charts import Series, plot, thinned, ticks
from sensorium.report.examples import cell
from sensorium.report.markup import Html, esc, figure, join, tag
from sensorium.report.scores import best_floor, standing
from sensorium.types import InputError

SECTIONS = [
    "result",
    "floors",
    "data",
    "subsets",
    "corruption",
    "interactions",
    "mistakes",
    "examples",
    "calibration",
    "learning",
    "fusion",
    "making",
    "next",
]
ALWAYS = {"result", "data", "learning", "making", "next"}
VOID = {"br", "img", "meta"}


class Page(HTMLParser):
    """Checks that tags are closed in order and collects what the tests ask for."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.text, self.attributes = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, name, attributes):
        self.tags.append((name, dict(attributes)))
        self.attributes += attributes
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text.append(data)

    def ids(self) -> list[str]:
        return [a["id"] for _, a in self.tags if "id" in a]

    def words(self) -> str:
        return re.sub("[ \n]+", " ", " ".join(self.text))


def in_order(ids: list[str]) -> bool:
    """Whether the sections are those that every run has and some of the others, in order."""
    return set(ids) >= ALWAYS and ids == [s for s in SECTIONS if s in ids]


def read(folder) -> tuple[str, Page]:
    path = write_report(folder)
    assert path == folder / "report.html"
    text = path.read_text(encoding="utf-8")
    return text, Page(text)


@pytest.mark.parametrize("kind", ["category", "labels", "number"])
def test_every_section_is_there_for_every_kind_of_target(tmp_path, kind):
    runs.write_full_run(tmp_path, kind)
    _, page = read(tmp_path)
    gone = {
        "corruption",
        "interactions",
        *(["calibration"] if kind == "number" else []),
    }  # of that there is no record
    wanted = [s for s in SECTIONS if s not in gone]
    assert page.ids() == wanted
    links = [a["href"] for n, a in page.tags if n == "a"]
    assert links == [f"#{s}" for s in wanted[1:]]
    words = page.words()
    for expected in (
        "Predicting digit from image",
        "late average",
        "digits/table.csv",
        "joint + late",
        "2.13.0",
        "id row-37",
        "The best single input is image with 94.1\u202f% on the 812 rows"
        if kind != "number"
        else "The best single input is image",
        "14 rows could not be read",
        "sensorium predict",
    ):
        assert expected in words
    assert ("97.3\u202f%" if kind != "number" else "0.973") in words


@pytest.mark.parametrize("kind", ["category", "labels", "number"])
def test_nothing_is_loaded_from_outside_and_no_script_can_run(tmp_path, kind):
    runs.write_full_run(tmp_path, kind)
    text, page = read(tmp_path)
    media = re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", media)
    for name, value in page.attributes:
        assert not name.startswith("on"), name
        if name in ("src", "href"):
            assert value.startswith(("data:image/png;base64,", "data:audio/wav;base64,", "#"))
    assert not {"script", "link", "iframe", "object", "base", "form"} & {n for n, _ in page.tags}
    policy = next(a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy


def test_pictures_players_and_plots_have_words_for_those_who_do_not_see_them(tmp_path):
    runs.write_full_run(tmp_path)
    _, page = read(tmp_path)
    kinds = {n for n, _ in page.tags}
    assert {"img", "audio", "svg", "blockquote", "table", "details"} <= kinds
    for name, given in page.tags:
        if name == "img":
            assert given["alt"]
        if name == "audio" or given.get("role") == "img":
            assert given["aria-label"]
        if name == "svg":
            assert given.get("aria-label") or given.get("aria-hidden") == "true"
    assert ("html", {"lang": "en"}) in page.tags


EVIL = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "\u05e9\u05dc\u05d5\u05dd",
    "\U0001f600 a&b",
    "'; x",
    "",
    "nul\x00 and \ud800",
]


def poisoned(value, word):
    """The same structure with every text and every name replaced, but for keys of the schema."""
    if isinstance(value, str):
        return word
    if isinstance(value, list):
        return [poisoned(v, word) for v in value]
    if isinstance(value, dict):
        return {k: poisoned(v, word) for k, v in value.items()}
    return value


@pytest.mark.parametrize("word", EVIL)
@pytest.mark.parametrize("kind", ["category", "labels", "number"])
def test_no_text_of_the_user_breaks_out(tmp_path, kind, word):
    found = runs.metrics(kind, EVIL[:3] if kind != "number" else None)
    plain = {"metric": found["metric"], "kind": kind}
    found = poisoned(found, word)
    found["metric"], found["task"]["kind"] = plain["metric"], plain["kind"]
    found["data"] |= {
        "present": {word: 0.5},
        "class_counts": dict.fromkeys([word, *EVIL[:5]], 3),
        "rows": {word: 3},
    }
    found["fusion"]["weights"] = {word: 1.0}
    shown = [
        {
            "id": word,
            "truth": word,
            "predicted": word,
            "cells": {word: poisoned(c, word) | {"cells": {word: word}}},
        }
        for c in runs.cells(1).values()
        if c
    ]
    past = [
        {"step": 1, "loss": 1.0, "losses": {word: 1.0, "b": 2.0}},
        {"step": 2, "loss": 1.0, "losses": {word: 1.0, "b": 2.0}},
    ]
    lost = [{"id": word, "row": word, "column": word, "reason": word}]
    (tmp_path / "metrics.json").write_text(json.dumps(found))
    for name, rows in (("history.jsonl", past), ("quarantine.jsonl", lost)):
        (tmp_path / name).write_text("".join(json.dumps(r) + "\n" for r in rows))
    (tmp_path / "examples.json").write_text(json.dumps(shown))
    (tmp_path / "model.json").write_text(json.dumps({"sensorium": word, "plan": {word: word}}))
    _, page = read(tmp_path)
    assert in_order(page.ids())
    assert {"subsets", "examples"} <= set(page.ids())
    tags = {n for n, _ in page.tags}
    assert "script" not in tags
    assert not [n for n, _ in page.attributes if n.startswith("on")]
    assert all(a.get("src", "data:").startswith("data:") for _, a in page.tags)
    if word and "\x00" not in word:
        assert word in "".join(page.text)


def test_what_a_run_has_nothing_to_show_for_is_left_out_and_named(tmp_path):
    runs.write_run(tmp_path, {})
    _, page = read(tmp_path)
    assert set(page.ids()) == ALWAYS
    assert "Not measured" in page.words()
    gone = (
        "Left out, for this run has nothing to show there: Beside the floors, With fewer inputs, "
        "Sensor failures, Together, Mistakes, "
    )
    assert f"{gone}Hardest rows, Calibration, Fusion." in page.words()


@pytest.mark.parametrize("kind", ["category", "number"])
def test_any_part_may_be_missing_or_odd(tmp_path, kind):
    whole = runs.metrics(kind, ["a", "b"] if kind == "category" else None)
    for part in ("truth", "predicted"):
        whole.get("residuals", {part: []})[part] = whole.get("residuals", {part: []})[part][:20]
    for key in whole:
        for odd in (None, {}, "text", [None], {"a": None}, [{}]):
            runs.write_run(tmp_path, {**whole, key: odd})
            assert in_order(read(tmp_path)[1].ids()), (key, odd)
    for outer in ("task", "data", "plan", "fusion", "confusion", "residuals", "calibration"):
        for inner in whole.get(outer, {}):
            for odd in ([], {"a": []}, "odd"):
                runs.write_run(tmp_path, {**whole, outer: {**whole[outer], inner: odd}})
                assert in_order(read(tmp_path)[1].ids()), (outer, inner, odd)


def test_two_hundred_classes_give_pairs_in_place_of_a_heat_map(tmp_path):
    runs.write_run(tmp_path, runs.metrics("category", [f"a rather long class name {i}" for i in range(200)]))
    text, page = read(tmp_path)
    assert "200 classes: too many" in page.words()
    assert "heat" not in {a.get("class") for _, a in page.tags}
    assert "180 more" in page.words()
    assert len(text) < 300_000


def test_the_heat_map_shows_the_counts_and_names_each_cell(tmp_path):
    found = runs.metrics("category", ["cat", "dog"]) | {
        "confusion": {"classes": ["cat", "dog"], "counts": [[7, 3], [0, 11]]}
    }
    runs.write_run(tmp_path, found)
    _, page = read(tmp_path)
    titles = [a["title"] for n, a in page.tags if n == "td" and "title" in a]
    assert titles == ["cat answered as cat: 7", "cat answered as dog: 3", "dog answered as dog: 11"]
    assert "cat dog 3 30\u202f%" in page.words()


def test_a_floor_that_wins_is_said_to_win():
    found = runs.metrics(value=0.85)
    assert best_floor(found)["name"] == "late average"
    kind, sentence = standing(found)
    assert kind == "bad"
    assert "A floor wins: late average (91.3\u202f%)" in sentence
    assert "better choice" in sentence
    assert "within the model's interval" in standing(runs.metrics(value=0.905))[1]
    assert standing(runs.metrics(value=0.913))[0] == "even"
    assert standing(runs.metrics(value=0.99))[0] == "good"
    assert standing({**runs.metrics(), "baselines": []}) == ("", "")


def test_where_lower_is_better_the_lowest_floor_is_the_best():
    found = {
        "metric": "mae",
        "scores": {"mae": runs.score(3.0)},
        "baselines": [{"name": n, "score": {"value": v}} for n, v in (("a", 5.0), ("b", 2.0))],
    }
    assert best_floor(found)["name"] == "b"
    assert standing(found)[0] == "bad"
    found["scores"]["mae"] = runs.score(1.0)
    assert standing(found)[0] == "good"


def test_the_best_row_is_marked_and_rows_are_in_order(tmp_path):
    runs.write_run(tmp_path, runs.metrics(value=0.9))
    words = read(tmp_path)[1].words()
    part = words[words.index("Beside the floors Floors") :]
    assert (
        part.index("late average best 91.3")
        < part.index("This model 90.0")
        < part.index("all statistics + forest 89.7")
    )


def test_numbers_that_are_not_finite_are_dashes(tmp_path):
    found = runs.metrics()
    found["scores"]["nll"] = {"value": float("nan"), "low": float("inf"), "high": None}
    found["subsets"][0]["score"] = {"value": None, "low": None, "high": None}
    found["baselines"][0]["score"] = {"value": float("inf")}
    runs.write_run(tmp_path, found)
    text, page = read(tmp_path)
    assert not re.search(r"\bnan\b|\binf\b", page.words())
    assert "NaN" not in text


def test_damaged_side_files_are_named_and_the_rest_is_shown(tmp_path):
    runs.write_full_run(tmp_path)
    (tmp_path / "examples.json").write_text("[{")
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"step": 99, "lo')
    words = read(tmp_path)[1].words()
    assert "examples.json could not be read" in words
    assert "history.jsonl: 1 damaged lines were skipped" in words
    assert "Training loss" in words


def test_a_line_separator_inside_a_reason_does_not_break_the_line(tmp_path):
    runs.write_run(
        tmp_path, runs.metrics(), lost=[{"id": "a", "row": 1, "column": "c", "reason": "one\u2028two"}]
    )
    words = read(tmp_path)[1].words()
    assert "one\u2028two" in words
    assert "damaged" not in words


def test_no_run_and_damaged_metrics_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such run folder"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(InputError):
        write_report(tmp_path)
    (tmp_path / "metrics.json").write_text("[1]")
    with pytest.raises(InputError, match="does not hold an object"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "absent"), ({}, "nothing to show"), ({"png": '"><script>'}, "a damaged picture"), ({"wav": 7}, "a damaged sound"),
        ({"lines": [[None, None]]}, ""), ({"lines": [1, 2, None, 4]}, "path"), ({"dots": [[1, 2], [3], None, ["a", 1]]}, "path"),
        ({"text": "x" * 5000}, "\u2026"), ({"cells": {"age": None}}, "age"), ("text", "absent"),
    ],
)  # fmt: skip
def test_cells_of_any_content_are_drawn_or_said_to_be_missing(content, words):
    found = cell(content, "input")
    Page(found)
    assert words in found
    assert "<script" not in found


def test_markup_escapes_all_but_markup():
    assert tag("p", "<b>", class_='"x"') == '<p class="&quot;x&quot;">&lt;b&gt;</p>'
    assert tag("p", Html("<b></b>"), None, title=None) == "<p><b></b></p>"
    assert join("a", None, Html("<br>")) == "a<br>"
    assert esc("\x00") == "\ufffd"


def test_figures_are_written_for_people():
    assert figure(0.9731, "accuracy") == "97.3\u202f%"
    assert figure(0.9731, "r2") == "0.973"
    assert figure(1234.5678, "mae") == "1,235"
    assert figure(None) == figure(float("nan")) == figure(True) == "\u2013"


def test_ticks_are_round_and_inside():
    assert ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert ticks(-3, 7) == [-2, 0, 2, 4, 6]
    assert ticks(5, 5) == [5]
    for low, high in ((1e-9, 3e-9), (-4e7, 1e8), (0.12, 0.97)):
        found = ticks(low, high)
        assert 3 <= len(found) <= 7
        assert low <= min(found)
        assert max(found) <= high


def test_plots_put_points_where_they_belong_and_thin_long_lines():
    assert plot([Series(name="", points=[])], title="t", x="x", y="y") == ""
    drawn = plot(
        [Series(name="", points=[(0, 0), (10, 5)])], title="t", x="x", y="y", x_range=(0, 10), y_range=(0, 5)
    )
    assert "M0.0 1000.0L1000.0 0.0" in drawn
    same = plot([Series(name="", points=[(3, 2)])], title="t", x="x", y="y")
    assert "nan" not in same
    assert thinned([(i, i % 2) for i in range(1000)], 100)[:2] == [(4.5, 0.5), (14.5, 0.5)]
