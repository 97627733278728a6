"""Parts of the report: what is readable, what is folded, what is said in words, and the commands it gives."""

import itertools
import re
import shlex

import pytest
import report_runs as runs
from test_report import Page, read

from sensorium.cli import parser
from sensorium.report.confidence import wilson
from sensorium.report.data import card, seen
from sensorium.report.examples import hardest
from sensorium.report.learning import fusion
from sensorium.report.making import commands, fit_command
from sensorium.report.markup import figure, several, subset_name, worded
from sensorium.report.results import mistakes, subsets
from sensorium.report.scores import findings, floors, hero, standing
from sensorium.report.style import PALETTES


def words(markup: str) -> str:
    return Page(markup).words()


def parts_of(markup: str) -> tuple[str, str]:
    """The words before the first fold, and those from it on."""
    head, _, rest = words(markup.replace("<details>", "<details>FOLD")).partition("FOLD")
    return head, rest


# --- for everybody to read -----------------------------------------------------------------------------------------


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out_from_its_ground(dark):
    found = dict(re.findall(r"--([\w-]+):(#\w{6})", PALETTES.split("@media")[dark]))
    grounds = {
        **dict.fromkeys(("ink", "soft"), ("paper", "card", "wash")),
        "c1": ("paper", "card"),
        **{k: (f"{k}-wash", "card") for k in ("good", "bad", "even")},
    }
    for text, ground in ((t, g) for t, under in grounds.items() for g in under):
        light, deep = sorted((luminance(found[text]), luminance(found[ground])), reverse=True)
        assert (light + 0.05) / (deep + 0.05) >= 4.5, (text, ground)


@pytest.mark.parametrize("kind", ["category", "labels", "number"])
def test_headings_are_in_order_and_tables_name_their_cells(tmp_path, kind):
    runs.write_full_run(tmp_path, kind)
    text, page = read(tmp_path)
    levels = [int(name[1]) for name, _ in page.tags if re.fullmatch(r"h\d", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))
    assert all(given.get("scope") in ("row", "col") for name, given in page.tags if name == "th")
    assert text.count("<table") == text.count("<caption")
    assert not re.search(r"<th[^>]*></th>", text), "a heading says something"


# --- in few words --------------------------------------------------------------------------------------------------


def test_subsets_are_named_by_what_they_lack_where_that_is_shorter():
    names = ["a", "b", "c", "d"]
    assert subset_name(["a", "b"], names) == "a + b"
    assert subset_name(["a", "b", "d"], names) == "all but c"
    assert subset_name(names, names) == "all 4 inputs"
    assert subset_name(["a", "b", "c"], names[:3]) == "a + b + c"
    assert subset_name([], names) == "nothing"
    assert subset_name(["x", "y", "z"], names) == "x + y + z", "names that are no inputs are kept"


def test_counts_and_metrics_read_as_words():
    assert (several(1, "row"), several(1200, "row")) == ("1 row", "1,200 rows")
    assert (
        worded("macro_f1 0.758 against late 0.700", "macro_f1")
        == "Macro F1 75.8\u202f% against late (70.0\u202f%)"
    )
    assert "by 0.5 (0.711), late (0.700)" in worded(
        "r2 0.758 against joint, leaning by 0.5 0.711, late 0.700", "r2"
    )
    assert worded("accuracy of lenses", "accuracy") == "accuracy of lenses"


def test_what_the_model_sees_is_told_for_every_carrier():
    said = {
        "text": ({"tokenizer": "", "vocabulary": 258, "longest": 37}, "at most 37 bytes"),
        "image": ({"side": 32, "channels": 1}, "32 \u00d7 32 pixels, grey"),
        "video": ({"side": 48, "frames": 8, "channels": 3}, "8 frames, 48 \u00d7 48 pixels, colour"),
        "audio": ({"rate_hz": 16000, "bands": 64, "hop_s": 0.01, "longest": 45}, "at most 0.45 s at 16 kHz, 64 mel bands"),
        "series": ({"channels": 2, "names": ["x", "y"], "longest": 100, "whole": True, "step_s": 0.02}, "2 channels (x, y), stretched to 100 steps of 20 ms"),
        "points": ({"longest": 768, "dims": 3, "framed": False}, "at most 768 points, 3 numbers each"),
        "table": ({"fields": [{"name": "age"}, {"name": "town"}]}, "2 fields: age, town"),
    }  # fmt: skip
    for carrier, (options, wanted) in said.items():
        assert seen(carrier, options) == wanted
        assert seen(carrier, {}) == "", "nothing is invented"
    assert seen("smell", {}) == ""


def test_findings_say_what_was_measured_and_nothing_else():
    found = runs.metrics()
    assert any("With 30 % of the cells lost" in f for f in findings(found))
    assert not any("interval is wide" in f for f in findings(found))
    few = {**found, "rows": 18, "scores": {"accuracy": runs.score(0.8, 0.2)}}
    assert "The interval is wide, for 18 rows say little: more held-out rows narrow it." in findings(few)
    assert any(f.startswith("Half of the answers are off by") for f in findings(runs.metrics("number")))
    assert findings({"metric": "accuracy"}) == []


# --- what is shown, and what is folded -----------------------------------------------------------------------------


def test_shares_of_patterns_are_of_all_training_rows():
    found = runs.metrics()
    found["data"]["patterns"] = [{"modalities": ["image"], "rows": 1000}]
    text = words(card(found, [], {}))
    assert "image 1,000 (25\u202f%)" in text, "of 4,000 rows, listed or not"
    assert "3,000 rows have rarer patterns." in text


def test_a_reason_is_shown_in_parts():
    lost = [
        {
            "id": "a1",
            "row": 3,
            "column": "image",
            "reason": "not a picture\n  got: 'x.png'\n  fix: send it again",
        }
    ]
    text = words(card(runs.metrics(), lost, {}))
    assert "a1 image not a picture x.png Fix: send it again" in text
    lost[0]["reason"] = "lost at sea"
    assert "image lost at sea" in words(card(runs.metrics(), lost, {}))


def test_many_floors_are_folded_but_the_model_and_the_majority_stay():
    found = runs.metrics(value=0.2)
    found["baselines"] += [
        {
            "name": f"input {i}: statistics + forest",
            "modality": f"input {i}",
            "score": runs.score(0.3 + 0.02 * i),
        }
        for i in range(20)
    ]
    shown, rest = parts_of(floors(found))
    assert "This model" in shown
    assert "majority" in shown
    assert "17 further floors" in rest
    assert rest.count("statistics + ") >= 15


def test_a_model_made_of_floors_says_so():
    found = runs.metrics()
    found["fusion"]["weights"] = {"audio: statistics + forest": 1.2}
    assert "a weighted mix of floors" in words(floors(found))
    assert "The network has no say" in words(hero(found))
    assert "Weight of each floor in the answer" in words(fusion(found))
    found["fusion"]["weights"]["joint"] = 0.5
    assert "Some floors have a say" in words(floors(found))
    assert "The network has no say" not in words(hero(found))
    assert "Weight of each head and floor in the answer" in words(fusion(found))
    assert "have a say" not in words(floors(runs.metrics()))


def test_a_lead_within_the_interval_is_no_victory():
    found = runs.metrics(value=0.915)
    assert standing(found)[0] == "even"
    assert "that lies within its interval" in standing(found)[1]
    assert standing(runs.metrics()) == ("good", standing(runs.metrics())[1])


def test_a_tiny_negative_figure_has_no_sign():
    assert figure(-0.0001) == figure(0.0) == "0.000"
    assert figure(-0.0006) == "-0.001"
    assert figure(-0.0001, "accuracy") == "0.0\u202f%"


def test_a_single_input_has_no_subsets_and_a_ring_shows_what_the_others_add():
    found = runs.metrics()
    drawn = subsets(found)
    assert drawn.count('class="ring"') == 6, "for all but the whole"
    assert "what the other inputs add" in words(drawn)
    found["task"]["inputs"] = found["task"]["inputs"][:1]
    assert subsets(found) == ""


def test_a_matrix_comes_with_recall_and_precision():
    found = {"confusion": {"classes": ["cat", "dog", "owl"], "counts": [[7, 3, 0], [0, 11, 0], [0, 0, 0]]}}
    text = words(mistakes(found))
    assert "cat 10 70.0\u202f% 100.0\u202f%" in text
    assert "dog 11 100.0\u202f% 78.6\u202f%" in text
    assert "owl 0 \u2013 \u2013" in text


def test_the_chosen_fusion_is_among_what_was_tried_with_its_loss():
    found = runs.metrics()
    found["fusion"]["chosen"] = "note alone"
    found["fusion"]["candidates"] += [{"name": f"way {i}", "score": 0.5, "loss": 1.0} for i in range(20)]
    shown, rest = parts_of(fusion(found))
    assert "note alone chosen 31.0\u202f%" in shown
    assert "lowest loss is taken" in shown
    assert rest.count("way ") > 8
    found["fusion"]["candidates"] = []
    assert "What was tried" not in words(fusion(found))


def test_hardest_rows_tell_right_from_wrong():
    right = {
        "id": 1,
        "truth": "a",
        "predicted": "a",
        "confidence": 0.6,
        "cells": {"x": None, "y": {"text": "hi"}},
    }
    text = words(hardest([right]))
    assert "No held-out row was answered wrong" in text
    assert "absent: x" in text
    wrong = {**right, "predicted": "b"}
    assert "Behind them come right answers" in words(hardest([wrong, right]))
    labels = {**right, "truth": "b|a", "predicted": ["a", "b"]}
    assert "answered a, b (60\u202f%) , right truth b, a" in words(hardest([labels], "labels"))
    number = {**right, "truth": "3.5", "predicted": "3", "confidence": None}
    assert "3 (off by 0.5)" in words(hardest([number], "number"))
    assert hardest([]) == ""


def test_an_interval_of_a_share_is_wilsons():
    low, high = wilson(0.9, 10)
    assert (low, high) == pytest.approx((0.5958, 0.9821), abs=1e-4)
    assert wilson(1.0, 5)[1] == 1.0
    assert wilson(0.5, 0) == (0.0, 1.0)


# --- what to do next -----------------------------------------------------------------------------------------------

ASKED = {
    "target": "a digit", "inputs": ["image", "audio"], "also": ["speaker"], "columns": {"note": "text:words=400"}, "size": "small",
    "fusion": "late", "seed": 3, "minutes": None, "epochs": 4, "group": "speaker",
}  # fmt: skip


def test_the_command_of_a_run_asks_the_same_again():
    model = {"mark": {"asked": ASKED}}
    told = fit_command(runs.metrics(), model, "my run")
    args = parser().parse_args(shlex.split(told)[1:])
    assert (args.data, args.out) == ("digits/table.csv", "my run")
    assert (args.target, args.inputs, args.also) == ("a digit", "image,audio", "speaker")
    assert args.column == ["note=text:words=400"]
    assert (args.size, args.fusion, args.seed, args.epochs, args.group) == ("small", "late", 3, 4, "speaker")
    assert (
        parser().parse_args(shlex.split(fit_command(runs.metrics(), model, "r", minutes=20))[1:]).epochs
        is None
    )


def test_a_validation_table_of_its_own_is_asked_for_again():
    alone, held = ({"mark": {"asked": ASKED, **more}} for more in ({}, {"valid": "3f"}))
    assert "--valid" not in words(commands(runs.metrics(), alone, "r"))
    text = words(commands(runs.metrics(), held, "r"))
    assert text.count("--valid VALID.csv") == 2
    assert "VALID.csv stands for the table of validation rows" in text


def test_every_command_that_is_given_is_understood():
    for source in ("digits/table.csv", "a folder", "pandas", ""):
        found = runs.metrics()
        found["data"]["source"] = source
        for model in ({"mark": {"asked": ASKED}}, {}):
            text = words(commands(found, model, "run 1"))
            lines = re.findall(r"sensorium (?:fit|predict|evaluate) .*?(?= [A-Z][a-z]+ |$)", text)
            assert len(lines) >= 2
            for line in lines:
                parser().parse_args(shlex.split(line)[1:])
            assert ("sensorium fit" in text) == bool(model and source not in ("pandas", ""))
