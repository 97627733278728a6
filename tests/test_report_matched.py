"""The report of matched columns and the page of a search: figures are there, names are escaped, odd metrics break nothing."""

import json
import re

import pytest
import report_runs as runs
from test_report import EVIL, Page, read

from sensorium.report.found import search_page
from sensorium.report.matched import (
    diagnosis,
    directions,
    result,
    searches,
    standing,
    things,
    title,
    weights,
)
from sensorium.report.style import STYLE

SECTIONS = ["result", "directions", "searches", "diagnosis", "data", "learning", "making", "next"]
HOSTILE = "".join(EVIL[:2])
ODD = [None, 3, "x", [], {}, [None], [3, "x"], {"value": "x"}, float("nan"), True, [[]], {"a": {}}]


def score(value: float, low: float, high: float) -> dict:
    return {"value": value, "low": low, "high": high}


def direction(query: str, answer: str, by: str, ten: float, **more: object) -> dict:
    """One row of `retrieval`: recall at ten, and at one and five below it; chance is 1, 5 and 12.5 %."""
    return {
        "query": query, "answer": answer, "by": by, "queries": 61, "gallery": 299, "r@10": score(ten, ten - 0.0625, ten + 0.0625),
        "r@5": score(ten / 2, 0, 1), "r@1": score(ten / 4, 0, 1), "median_rank": score(17.5, 10, 20), "chance@1": score(0.01, 0.01, 0.01),
        "chance@5": score(0.05, 0.05, 0.05), "chance@10": score(0.125, 0.125, 0.125), "chance_median_rank": score(77, 77, 77), **more,
    }  # fmt: skip


def metrics(
    blend: float = 0.75, network: float = 0.25, linear: float = 0.5, names=("photo", "caption")
) -> dict:
    """What a fit of `--match` writes."""
    ways = [(a, b) for a in names for b in names if a != b]
    found = {"blend": blend, "network": network, "linear": linear, "joint": 0.2}
    return {
        "metric": "r@10", "split": "valid", "rows": 300, "verdict": ["a sentence"], "blend": {"share": 0.35},
        "retrieval": [direction(q, a, by, ten) for q, a in ways for by, ten in found.items()],
        "diagnosis": [{"what": "small batches", "why": "7 rows are compared at a step", "fix": "give more rows"}],
        "task": {"kind": "match", "target": "", "match": list(names), "inputs": [{"name": n, "carrier": "text"} for n in names]},
        "data": {"source": "t.csv", "rows": {"train": 2100, "valid": 300}, "present": {n: 1.0 for n in names}, "things": dict.fromkeys(names, 420),
                 "together": {" ~ ".join(names): 2099}, "groups": 417, "quarantined": 0, "warnings": []},
        "plan": {"size": "nano", "parameters": 1_791_780, "batch": 256, "loss": "softmax", "seed": 3, "training_seconds": 120, "steps": 20},
        "machine": {"python": "3"},
    }  # fmt: skip


def found(right: int = 1, **more: object) -> dict:
    """One search of examples.json, whose right answer is number `right`."""
    answers = [
        {"id": f"r{i}", "score": 0.9 - i / 8, "right": i + 1 == right, "cell": {"text": f"answer {i}"}}
        for i in range(4)
    ]
    cell = {"png": runs.png(1)}
    return {
        "query": "photo",
        "answer": "caption",
        "id": "q",
        "cell": cell,
        "rank": right,
        "answers": answers,
    } | more


def write(folder, told: dict, examples: object = None) -> tuple[str, Page]:
    (folder / "metrics.json").write_text(json.dumps(told))
    if examples is not None:
        (folder / "examples.json").write_text(json.dumps(examples))
    return read(folder)


def words(markup: str) -> str:
    return re.sub(r"\s+([:,.])", r"\1", Page(markup).words()).strip()


def hits(markup: str, look: str) -> int:
    """How many elements have this class among theirs."""
    return sum(look in (a.get("class") or "").split() for _, a in Page(markup).tags)


# --- the report ----------------------------------------------------------------------------------------------------


def test_the_whole_page_holds_every_section_and_figure(tmp_path):
    text, page = write(tmp_path, metrics(), [found(), found(18)])
    assert page.ids() == SECTIONS
    told = page.words()
    for expected in (
        "Matching photo and caption", "photo → caption 75.0\u202f%", "a right one among the first 10 of 299", "95 % interval 68.8 \u2013 81.2\u202f%",
        "by chance 12.5\u202f%", "softmax loss, 256 rows at a step", "35 % the network's and 65 % that of linear correlations",
        "first 1 first 5 first 10 median rank queries among",
        "this model 18.8\u202f% 37.5\u202f% 75.0\u202f% 17.5 61 299", "linear correlations alone 12.5\u202f% 25.0\u202f% 50.0\u202f%",
        "chance 1.0\u202f% 5.0\u202f% 12.5\u202f% 77", "417 groups", "photo ~ caption 2,099", "Small batches 7 rows are compared at a step. Give more rows.",
    ):  # fmt: skip
        assert expected in told, expected
    assert "http" not in re.sub(r"data:[^\"]*", "", text).replace("http-equiv", "")


def test_the_marks_stand_where_the_figures_are():
    markup = result(metrics(names=("a", "b")))
    assert 'class="rule mark" style="left:12.50%"' in markup
    assert 'class="reach" style="left:68.75%;width:12.50%"' in markup
    assert 'class="spot" style="left:75.00%"' in markup
    assert hits(markup, "tile") == 2


@pytest.mark.parametrize(
    ("given", "kinds", "said"),
    [
        (metrics(), ["good", "even"], "Linear correlations alone find more than the network alone in every direction: more rows would help it. "
         "Together they find more than either in every direction."),
        (metrics(network=0.75, linear=0.5), ["good", "good"], "The network alone finds at least as much as linear correlations."),
        (metrics(blend=0.18, network=0.1, linear=0.18), ["bad", "even"], "for photo to caption; caption to photo"),
        ({}, [], ""),
    ],
)  # fmt: skip
def test_where_a_matcher_stands(given, kinds, said):
    told = standing(given)
    assert [kind for kind, _ in told] == kinds
    assert said in " ".join(sentence for _, sentence in told)


def test_some_directions_only():
    told = metrics()
    told["retrieval"][1]["r@10"] = score(0.6, 0.5, 0.7)  # the network of the first direction
    sentence = standing(told)[1][1]
    assert "in 1 of 2 directions: more rows" in sentence
    told["retrieval"][0]["r@10"] = score(0.5, 0.1, 0.9)
    assert standing(told)[0] == (
        "bad", "No better than chance can be told for photo to caption: chance lies within the interval, or above it."
    )  # fmt: skip


def test_nothing_measured_is_said_and_the_chips_stay():
    told = words(result(metrics() | {"retrieval": []}))
    assert told.startswith("Not measured: no held-out row holds two of the columns.")
    assert "trained in 2.0 min" in told


def test_searches_tell_right_from_other_and_the_rest_is_folded():
    markup = searches([found(2), found(1), *[found(18)] * 6, *[found(1)] * 9])
    assert markup.count("6 more searches") == 1, "twelve at most, six of them at once"
    assert hits(markup, "search") == 12
    told = words(markup)
    assert (
        "photo → caption: the first that belongs to it is number 2 asked photo 1. other 0.90 answer 0 2. right 0.78"
        in told
    )
    assert "photo → caption: found first" in told
    assert hits(searches([found(2)]), "hit") == 1
    assert 'alt="photo of this row"' in markup
    assert searches([]) == ""


def test_what_was_not_looked_for_is_not_said_to_be_fine():
    assert diagnosis({}) == ""
    assert words(diagnosis({"diagnosis": []})).startswith("Nothing was found")


def test_names_are_escaped_everywhere(tmp_path):
    told = metrics(names=(HOSTILE, "b" + HOSTILE))
    told["plan"] |= {"size": HOSTILE, "loss": HOSTILE, "seed": HOSTILE}
    told["diagnosis"] = [{"what": HOSTILE, "why": HOSTILE, "fix": HOSTILE}]
    for row in told["retrieval"][:2]:
        row["by"] = HOSTILE
    example = found(query=HOSTILE, answer=HOSTILE, cell={"text": HOSTILE})
    example["answers"][0] |= {"id": HOSTILE, "cell": {"text": HOSTILE}}
    text, page = write(tmp_path, told, [example, found(cell={"png": HOSTILE})])
    assert HOSTILE not in text
    assert not {name for name, _ in page.tags} & {"script", "iframe", "object"}
    assert not [a for a, _ in page.attributes if a.startswith("on")]
    assert page.ids() == SECTIONS


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_odd_metrics_break_nothing(tmp_path, odd):
    """Each part of the metrics, and each part of a direction and of a search, in turn."""
    whole = metrics()
    for key in whole:
        told = whole | {key: odd}
        for part in (
            title(told),
            result(told),
            directions(told),
            diagnosis(told),
            things(told),
            weights(told),
        ):
            Page(part)
        if key != "task":
            _, page = write(tmp_path, told, odd)
            assert set(page.ids()) >= {"result", "data", "making", "next"}
    for key in whole["retrieval"][0]:
        told = whole | {"retrieval": [row | {key: odd} for row in whole["retrieval"]]}
        Page(result(told) + directions(told))
    for key in found():
        Page(searches([found() | {key: odd}]))
    for key in found()["answers"][0]:
        Page(searches([found(answers=[found()["answers"][0] | {key: odd}])]))


def test_parts_that_are_missing_are_left_out(tmp_path):
    _, page = write(tmp_path, {"task": {"kind": "match"}})
    assert page.ids() == ["result", "data", "learning", "making", "next"]
    assert "Matching columns" in page.words()
    assert "Left out, for this run has nothing to show there: Found and not found, Searches" in page.words()


# --- a search ------------------------------------------------------------------------------------------------------


def hit(name: str, **more: object) -> dict:
    cells = {"photo": {"png": runs.png(2)}, "caption": {"text": "a red kettle"}, "sound": None}
    return {
        "id": name,
        "score": 0.71875,
        "through": "caption",
        "cells": cells,
        "facts": {"price": "12", "caption": "a red kettle"},
    } | more


def searched(**more: object) -> dict:
    return {
        "asked": [{"name": "caption", "cell": {"text": "kettle"}}], "found": [hit("r1"), hit("r2")], "rows": 1200, "answer": "", "where": "price < 20",
        "words": "red",
    } | more  # fmt: skip


def test_a_search_shows_what_was_asked_and_what_was_found():
    told = words(search_page(searched()))
    for expected in (
        "The best 2 of 1,200 rows", "Found by whichever column fits best; where price < 20; with the words “red” beside it, both orders merged.",
        "asked caption kettle", "1. r1 0.719 photo caption a red kettle found by caption price 12 2. r2",
    ):  # fmt: skip
        assert expected in told, expected
    assert "every row" not in told, "nobody said how they were found"


def test_how_rows_were_found_is_told_where_it_is_known():
    assert "every row was compared" in words(search_page(searched(engine="exact")))
    told = words(search_page(searched(engine="lance", recall=0.994)))
    assert "99.4 % of what comparing every row finds" in told
    assert "every row was compared" not in told


def test_nothing_found_and_only_words_asked():
    told = words(search_page(searched(found=[], asked=[])))
    assert "Nothing was found" in told
    assert "Only words, or a condition." in told


def test_a_long_fact_is_cut():
    told = words(search_page(searched(found=[hit("r", facts={"note": "word " * 90})])))
    assert "word word…" in told
    assert len(told) < 500


def test_a_search_is_escaped_and_odd_parts_break_nothing():
    evil = hit(HOSTILE, through=HOSTILE, cells={HOSTILE: {"text": HOSTILE}}, facts={HOSTILE: HOSTILE})
    text = search_page(searched(found=[evil], asked=[{"name": HOSTILE, "cell": {"text": HOSTILE}}], answer=HOSTILE, where=HOSTILE, words=HOSTILE))  # fmt: skip
    assert HOSTILE not in text
    assert not {name for name, _ in Page(text).tags} & {"script", "iframe", "object"}
    for odd in ODD:
        for key in searched():
            Page(search_page(searched(**{key: odd})))
        for key in hit("r"):
            Page(search_page(searched(found=[hit("r") | {key: odd}])))
        Page(search_page(searched(asked=[{"name": odd, "cell": odd}])))


def test_every_class_has_a_look():
    """A class that no rule knows is a slip of the pen."""
    known = set(re.findall(r"\.([a-z][\w-]*)", STYLE))
    drawn = result(metrics()) + directions(metrics()) + searches([found(2)]) + things(metrics())
    drawn += re.sub(r"<style>.*?</style>", "", search_page(searched()), flags=re.DOTALL)
    used = {c for _, a in Page(drawn).tags for c in (a.get("class") or "").split()}
    assert used - known <= {"whiskers", "bars", "list"}, used - known
