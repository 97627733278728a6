"""Sections of the report on meetings of inputs, promises, balance and failing sensors."""

import json
import re
import shlex

import pytest
import report_runs as runs
from test_report import EVIL, Page, read
from test_report_why import broken, score, words

from sensorium.cli import parser
from sensorium.report.balance import balance
from sensorium.report.interactions import interactions, sides_of
from sensorium.report.markup import Html, tag
from sensorium.report.promises import promises


def decomposed() -> dict:
    atom = {
        "sides": [["image"], ["audio", "note"]], "question": "digit", "redundancy": score(1.25, 1.125, 1.375), "unique_first": score(0.25, 0.1875, 0.3125),
        "unique_second": score(0.125, 0.0, 0.25), "synergy": score(0.375, 0.34, 0.5), "synergy_clustered": score(0.625, 0.5, 0.75),
        "joint": score(2.0, 1.9, 2.1), "entropy": score(3.25, 3.2, 3.3), "null": {"redundancy": {"mean": 0.01, "high": 0.034}}, "rows": 236,
        "cells": [11, 11], "dominant": "redundancy", "sentence": "image and audio + note: of 3.25 bits the model knows 2.00.",
    }  # fmt: skip
    return {
        "data": "digits.csv", "split": "test", "rows": 400, "complete_rows": 236, "atoms": [atom],
        "shapley": {"names": ["image", "audio"], "rows": 236, "bits": {"image": score(1.649, 1.6, 1.7), "audio": score(1.679, 1.63, 1.73)},
                    "pairs_bits": [{"names": ["image", "audio"], **score(-3.072, -3.1, -2.9)}], "total_bits": 3.328,
                    "accuracy": {"image": score(0.445, 0.41, 0.47)}, "pairs_accuracy": [], "total_accuracy": 0.89},
        "emap": {"rows": 150, "r2": 0.3188, "metric": "accuracy", "full": score(0.76, 0.69, 0.83), "additive": score(0.18, 0.12, 0.25), "gap": score(0.58, 0.5, 0.653)},
        "remarks": ["too few rows to tell"], "verdict": [],
    }  # fmt: skip


def test_interactions_are_told_with_intervals_chance_and_both_estimates_of_synergy():
    markup = interactions(decomposed())
    told = words(markup)
    for expected in (
        "Measured on 400 rows of digits.csv (split test), of which 236 rows have every input", "of 3.25 bits the model knows 2.00",
        "from either (redundancy) chance: up to 0.034 1.250 1.125 \u2013 1.375", "synergy, lower bound 0.375 0.340 \u2013 0.500",
        "synergy, from clusters 0.625 0.500 \u2013 0.750", "only from audio + note 0.125", "Known together 2.000 (1.900 \u2013 2.100) of 3.250 bits, on 236 rows",
        "image \u00d7 audio -3.072", "44.5\u202f%", "too few rows to tell",
        "the answers would fall from 76.0\u202f% to 18.0\u202f%. The difference is 58.0 points (95 % interval 50.0 to 65.3)", "31.9\u202f%",
    ):  # fmt: skip
        assert expected in told, expected
    widths = dict(re.findall(r'<i class="(\w+)" style="width:([\d.]+)%"', markup))
    assert widths == {"c3": "38.46", "c1": "7.69", "c2": "3.85", "c4": "11.54", "unknown": "38.46"}


def test_a_gap_within_chance_is_said_to_be_one_and_no_difference_is_no_fall():
    found = decomposed()
    found["emap"] |= {
        "full": score(0.76, 0.7, 0.8),
        "additive": score(0.74, 0.7, 0.8),
        "gap": score(0.02, -0.01, 0.05),
    }
    assert "not more than chance" in words(interactions(found))
    found["emap"] |= {"additive": score(0.76, 0.7, 0.8), "gap": score(0.0, 0.0, 0.0)}
    assert "would stay at 76.0\u202f%" in words(interactions(found))


def test_many_pairs_and_remarks_are_folded():
    found = decomposed()
    found["atoms"] *= 4
    found["remarks"] = [f"remark {i}" for i in range(5)]
    markup = interactions(found)
    assert markup.count("Figures with their intervals") == 4
    assert "2 more remarks" in markup
    assert markup.index("remark 2<") < markup.index("more remarks") < markup.index("remark 3<")


def test_sides_are_named_from_the_list_or_from_the_sentence():
    assert sides_of({"sides": [["a"], ["b", "c"]]}) == ("a", "b + c")
    assert sides_of({"first": ["a"], "second": ["b"]}) == ("a", "b")
    assert sides_of({"first": {"value": 1}, "sentence": "image and audio: of 3 bits"}) == ("image", "audio")
    assert sides_of({"sentence": 3}) == ("the first", "the second")


def guaranteed(split: str = "test") -> dict:
    sets = [
        {"modalities": ["image", "audio", "note"], "rows": 122, "level": 0.9, "coverage": score(0.925, 0.87, 0.98), "size": 1.31},
        {"modalities": ["image"], "rows": 41, "level": 0.9, "coverage": score(0.875, 0.77, 0.985), "size": 9.8},
        {"modalities": None, "rows": 200, "level": 0.9, "coverage": score(0.91, 0.86, 0.95), "size": 4.7},
    ]  # fmt: skip
    curve = {"confidence": [0.99, 0.9, 0.5], "risk": [0.0, 0.0125, 0.25], "coverage": [0.4, 0.8, 1.0]}
    return runs.metrics() | {"sets": sets, "selective": curve, "split": split}


def test_promises_are_shown_for_every_pattern_of_inputs():
    markup = promises(guaranteed(), "a run")
    told = words(markup)
    for expected in (
        "hold the truth in 90\u202f% of the rows", "image + audio + note 122 rows 92.5\u202f% 87.0 \u2013 98.0", "all rows 200 rows 91.0\u202f%",
        "1.31", "9.80", "Answering the surest 80\u202f% of the rows, 1.2\u202f% are wrong; answering all, 25.0\u202f%",
    ):  # fmt: skip
        assert expected in told, expected
    assert told.index("all rows") < told.index("image + audio + note")
    assert markup.count("rule mark") == 3
    assert "taught" not in told
    assert "taught" in words(promises(guaranteed("valid"), "r"))
    line = re.search(r"sensorium (predict .*?csv --abstain \.05 -o \S+csv)", told).group(1)
    assert parser().parse_args(shlex.split(line)).abstain == 0.05


def test_ranges_of_numbers_are_told_in_the_unit_and_may_be_without_end():
    found = guaranteed() | {"selective": None}
    found["task"]["kind"] = "number"
    found["sets"][1]["size"] = None
    told = words(promises(found, "r"))
    assert "Mean width of the range, in the unit of the target" in told
    assert "image 41 rows without end" in told
    assert "say nothing" not in told
    assert promises(runs.metrics(), "r") == ""


def diagnosed() -> list[dict]:
    return [
        {"modality": "audio", "rows": 161, "figure": "accuracy", "own": score(0.72, 0.65, 0.78), "probe": score(0.7, 0.63, 0.77),
         "reference": score(0.83, 0.77, 0.88), "gap": score(0.11, 0.04, 0.17), "under_used": True, "words": "the own head of audio answers 72 %: starved",
         "learning": {"generalised": 0.8, "overfitted": 0.13, "ratio": 0.02}},
        {"modality": "note", "rows": 12, "figure": "r2", "own": score(-0.2, -0.4, 0.1), "under_used": None, "learning": None, "words": "too few rows"},
    ]  # fmt: skip


def test_a_starved_input_is_named_and_each_head_has_its_curves():
    past = runs.history()
    for row in past:
        if "valid" in row:
            row["valid_losses"] = {k: v * 1.25 for k, v in row["losses"].items()}
    markup = balance({"balance": diagnosed(), "task": {"target": "digit"}}, past)
    told = words(markup)
    assert "audio starved" in told
    assert "note too few rows to tell" in told
    assert "a model of it alone 83.0\u202f% 77.0 \u2013 88.0" in told
    assert "held-out loss fell by 0.800, and its training loss ran 0.130 ahead" in told
    assert "-0.200" in told
    assert markup.count('<figure class="chart">') == 4
    assert balance({}, runs.history()) == ""


def test_the_report_has_the_new_sections_and_asks_for_what_is_missing(tmp_path):
    points = [
        {"modality": "image", "corruption": "noise", "severity": s, "value": 0.95 - 0.1 * s, "rows": 160}
        for s in range(6)
    ]
    found = guaranteed() | {"balance": diagnosed(), "corruption": points}
    runs.write_run(tmp_path, found)
    _, page = read(tmp_path)
    assert "interactions" not in page.ids()
    assert page.ids().index("corruption") == page.ids().index("subsets") + 1
    told = page.words()
    assert "noise the most" in told
    assert "Balance: was an input starved?" in told
    lines = re.findall(r"sensorium ((?:interactions|explain) .*?digits/table\.csv(?: --row 0)?)", told)
    assert len(lines) == 2
    for line in lines:
        parser().parse_args(shlex.split(line))
    (tmp_path / "interactions.json").write_text(json.dumps(decomposed()))
    _, page = read(tmp_path)
    assert page.ids().index("interactions") == page.ids().index("corruption") + 1
    assert "sensorium interactions" not in page.words()
    (tmp_path / "interactions.json").write_text("{")
    told = read(tmp_path)[1].words()
    assert "interactions.json could not be read" in told


def test_any_part_of_the_new_sections_may_be_missing_or_odd():
    whole = decomposed()
    for found in broken(whole, odds=3):
        Page(interactions(found))
    some = {k: v for k, v in guaranteed().items() if k in ("sets", "selective", "task", "split")}
    some["balance"] = diagnosed()
    past = [
        {"step": i, "losses": {"digit/a": 1.0, "b": 2}, "valid_losses": {"digit/a": 1.0, "digit/b": 2}}
        for i in (1, 2, 3)
    ]
    for found in broken(some, odds=3):
        Page(promises(found, "r"))
        Page(balance(found, past))
    for found in broken(past, odds=4):
        Page(balance(some, [r for r in found if isinstance(r, dict)]))


@pytest.mark.parametrize("word", EVIL)
def test_no_name_breaks_out_of_the_new_sections(word):
    whole, found = decomposed(), guaranteed() | {"balance": diagnosed()}
    whole |= {"data": word, "split": word, "remarks": [word]}
    whole["atoms"][0] |= {"sides": [[word], [word]], "sentence": word, "question": word}
    whole["shapley"] |= {
        "bits": {word: score(1, 0, 2)},
        "pairs_bits": [{"names": [word, word], **score(1, 0, 2)}],
    }
    whole["emap"]["metric"] = word
    found["sets"][0]["modalities"] = [word]
    found["balance"][0] |= {"modality": word, "words": word}
    past = [{"step": i, "valid_losses": {word: 1.0, f"{word}2": 2.0}} for i in (1, 2)]
    for markup in (interactions(whole), promises(found, word), balance(found, past)):
        page = Page(tag("div", Html(markup)))
        assert "script" not in {n for n, _ in page.tags}
        assert not [n for n, _ in page.attributes if n.startswith("on")]
        assert not word or "\x00" in word or word in "".join(page.text)
