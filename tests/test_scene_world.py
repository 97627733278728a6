"""The world of scenes: files as told, captions that read back, programs, balance, and pictures that show the truth."""

import json
from collections import Counter, defaultdict

import numpy as np
import pytest
from PIL import Image
from world_files import read_tables, tupled

from sensorium.types import InputError
from sensorium.worlds.drawing import COLOURS, SHAPES, Mark, corners, ground, paint
from sensorium.worlds.facts import Thing, captions, held_out, read_caption, scene_facts, told_facts
from sensorium.worlds.questions import Asker, forms, hops, noun, run
from sensorium.worlds.scenes import FIELDS, scene, write_scenes

ROWS = 240


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    table = write_scenes(tmp_path_factory.mktemp("scenes"), rows=ROWS, questions=6)
    return read_tables(table.parent, "scenes", "questions", "truth"), table.parent


def things(row):
    return tuple(Thing(**t) for t in row["things"])


def blind(train, test):
    """Share of test questions right by counting: the text's commonest answer, else that of its type."""
    texts, types = defaultdict(Counter), defaultdict(Counter)
    for q in train:
        texts[q["question"]][q["answer"]] += 1
        types[q["type"]][q["answer"]] += 1
    said = [texts.get(q["question"], types[q["type"]]).most_common(1) for q in test]
    return np.mean([bool(s) and s[0][0] == q["answer"] for s, q in zip(said, test, strict=True)])


STAR = Thing(colour="red", shape="star", size="large", row=0, column=0, digit="seven")
RINGS = [Thing(colour="blue", shape="circle", size="small", row=r, column=2) for r in (0, 1)]
BOX = Thing(colour="red", shape="square", size="small", row=2, column=1)
FOUR = (STAR, *RINGS, BOX)


def test_facts_of_a_scene():
    shared = {
        ("there", "red star"), ("size", "red star", "large"), ("count", "red star", "one"), ("digit", "red star", "seven"),
        ("there", "blue circle"), ("size", "blue circle", "small"), ("count", "blue circle", "two"),
        ("there", "red square"), ("size", "red square", "small"), ("count", "red square", "one"),
        ("above", "red star", "red square"),
    }  # fmt: skip
    assert told_facts(FOUR) == shared
    assert scene_facts(FOUR) == shared | {("left of", "red star", "red square")}


@pytest.mark.parametrize("text", [
    "A big red star showing seven and a small red square, with the red star to the left of the red square.",
    "one huge red star that bears seven, one tiny red square. the red square is right of the red star",
    "to the left of the red square is the red star; we see a small red square and a large red star marked with seven",
    "the red star lies left of the red square. there is a large red star showing seven and a little red square",
    "right of the red star is a small red square and then a large red star showing seven",
])  # fmt: skip
def test_reading(text):
    found = read_caption(text)
    assert ("left of", "red star", "red square") in found
    assert {
        ("digit", "red star", "seven"),
        ("size", "red square", "small"),
        ("count", "red star", "one"),
    } <= found
    assert not {f for f in found if f[0] == "above"}


def test_reading_what_is_no_caption():
    assert read_caption("") == read_caption("left of the of a red") == set()
    assert read_caption("a circle") == {("there", "circle"), ("count", "circle", "one")}
    assert ("count", "red cross", "three") in read_caption("three large red crosses")


def test_captions_tell_the_facts(world):
    tables, _ = world
    for row, truth in zip(tables["scenes"], tables["truth"], strict=True):
        facts, holds = tupled(json.loads(row["facts"])), tupled(truth["holds"])
        assert set(facts) == told_facts(things(truth)) <= set(holds)
        assert len(set(row["caption"])) == 5
        for caption in row["caption"]:
            assert read_caption(caption) == set(facts), caption


def test_captions_differ_in_form():
    rng = np.random.default_rng(0)
    openings = {" ".join(c.split()[:2]) for _ in range(20) for c in captions(FOUR, rng)}
    assert len(openings) > 8
    assert len({c for _ in range(20) for c in captions(FOUR, rng)}) > 90


@pytest.mark.parametrize(("program", "answer", "length", "said"), [
    (("query", "digit", ("filter", (("shape", "star"),), ("all",))), "seven", 1, "star"),
    (("count", ("filter", (("colour", "red"),), ("all",))), "two", 1, "red thing"),
    (("exist", ("relate", "above", ("filter", (("shape", "star"),), ("all",)))), "no", 2, "thing above the star"),
    (("query", "shape", ("relate", "left of", ("filter", (("shape", "square"),), ("all",)))), "star", 2,
     "thing left of the square"),
    (("same", "colour", ("relate", "left of", ("filter", (("shape", "square"),), ("all",))),
      ("filter", (("size", "small"), ("colour", "red")), ("all",))), "yes", 4, "thing left of the square"),
    (("count", ("filter", (("shape", "circle"),), ("relate", "right of", ("filter", (("shape", "star"),), ("all",))))),
     "two", 3, "circle right of the star"),
])  # fmt: skip
def test_programs(program, answer, length, said):
    assert run(program, FOUR) == answer
    assert hops(program) == length
    assert noun(program[2] if program[0] in ("query", "same") else program[1]) == said


def test_a_program_that_means_one_of_several():
    with pytest.raises(LookupError):
        run(("query", "colour", ("filter", (("shape", "circle"),), ("all",))), FOUR)


def test_answers_are_those_of_the_programs(world):
    tables, _ = world
    programs = {
        f"{row['id']}-{k}": (tupled(p), things(row))
        for row in tables["truth"]
        for k, p in enumerate(row["programs"])
    }
    assert len(tables["questions"]) == len(programs) > 4 * ROWS
    for q in tables["questions"]:
        program, shown = programs[q["id"]]
        assert run(program, shown) == q["answer"]
        assert hops(program) == q["hops"] <= (4 if q["split"] == "test" else 3)
    assert {q["hops"] for q in tables["questions"]} == {1, 2, 3, 4}
    first = {q["id"]: q for q in tables["questions"] if q["id"].endswith("-0")}
    for row in tables["scenes"]:
        assert row["question"] == first.get(f"{row['id']}-0", {"question": ""})["question"]


def test_language_alone_cannot_answer():
    rng, rows = np.random.default_rng(3), []
    for count in (300, 150):
        asker = Asker(rng=rng)
        found = [asker.ask(scene(rng, heldout=False), count=6, most=4, unseen=False) for _ in range(count)]
        rows.append([{"question": q.text, "answer": q.answer, "type": str(q.form)} for f in found for q in f])
    train, test = rows
    assert blind(train, test) <= 0.48
    assert 0.48 < blind(test, test)  # the count itself works: it knows texts by heart
    answers = defaultdict(Counter)
    for q in train:
        answers[q["type"]][q["answer"]] += 1
    assert set(answers) == set(map(str, forms()))
    for form, given in answers.items():
        yes_no = {"yes", "no"} >= set(given)
        assert max(given.values()) <= (0.5 if yes_no else 0.51) * given.total() + 2, form


def test_held_out_kinds_are_in_the_test_only(world):
    tables, _ = world
    assert {s: sum(held_out(c, s) for c in COLOURS) for s in SHAPES} == dict.fromkeys(SHAPES, 1)
    for row, truth in zip(tables["scenes"], tables["truth"], strict=True):
        new = any(held_out(t.colour, t.shape) for t in things(truth))
        assert (row["heldout"] == "yes") == new
        assert row["split"] == "test" or not new
    told = Counter(r["heldout"] for r in tables["scenes"] if r["split"] == "test")
    assert told["yes"] == told["no"] == ROWS // 10
    for q in tables["questions"]:
        named = any(f"{c} {s}" in q["question"] for c in COLOURS for s in SHAPES if held_out(c, s))
        assert q["heldout"] == "yes" or not named


def test_pictures_show_the_truth(world):
    """The middle of a thing without a digit has its colour; an empty field is grey."""
    tables, folder = world
    names, palette = list(COLOURS), np.array(list(COLOURS.values()), float)
    right = []
    for row, truth in zip(tables["scenes"][:80], tables["truth"], strict=False):
        picture = np.asarray(Image.open(folder / row["image"]), float)
        side = len(picture)
        taken = {(t.row, t.column): t for t in things(truth)}
        for place in np.ndindex(FIELDS, FIELDS):
            top, left = (round(p * side / FIELDS) for p in place)
            field = picture[top : top + side // FIELDS, left : left + side // FIELDS].reshape(-1, 3)
            if place not in taken:
                assert np.ptp(field.mean(0)) < 12
            elif not taken[place].digit:
                spread = field.max(0) - field.min(0)
                strong = field[np.abs(field - np.median(field[:5], 0)).sum(1).argsort()[-20:]].mean(0)
                assert spread.max() > 60
                unit = palette / np.linalg.norm(palette, axis=1, keepdims=True)
                near = np.abs(
                    strong - palette * (strong @ unit.T / np.linalg.norm(palette, axis=1))[:, None]
                ).sum(1)
                right.append(
                    names[int((near + 0.2 * np.abs(strong - palette).sum(1)).argmin())] == taken[place].colour
                )
    assert len(right) > 60
    assert np.mean(right) > 0.95


@pytest.mark.parametrize("colour", ["red", "green", "blue"])
def test_colours_are_what_they_are_called(colour):
    rng = np.random.default_rng(0)
    mark = Mark(shape="circle", colour=colour, x=0.5, y=0.5, radius=0.25)
    middle = paint([mark], ground(rng), rng, side=32)[12:20, 12:20].mean((0, 1))
    strongest = ("red", "green", "blue").index(colour)
    assert middle.argmax() == strongest
    assert middle[strongest] > 1.8 * np.delete(middle, strongest).max()


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_have_alike_areas(shape):
    rng = np.random.default_rng(0)
    mark = Mark(shape=shape, colour="white", x=0.5, y=0.5, radius=0.25)
    picture = paint([mark], ground(rng), rng, side=64)
    assert (picture.min(2) > 150).mean() == pytest.approx(np.pi * 0.25**2, rel=0.4)
    if shape != "circle":
        assert np.mean(corners(shape, 0.5, 0.5, 0.2), axis=0) == pytest.approx([0.5, 0.5])


def test_same_seed_same_bytes(tmp_path):
    first, again = (write_scenes(tmp_path / n, rows=24, seed=4, questions=2) for n in "ab")
    other = write_scenes(tmp_path / "c", rows=24, seed=5, questions=2)
    names = sorted(p.relative_to(first.parent) for p in first.parent.rglob("*") if p.is_file())
    assert len(names) == 24 + 4
    assert all((first.parent / n).read_bytes() == (again.parent / n).read_bytes() for n in names)
    assert first.read_bytes() != other.read_bytes()


@pytest.mark.parametrize("wrong", [{"rows": 19}, {"side": 16}, {"questions": 0}, {"train_hops": 5}])
def test_mistakes_are_told(tmp_path, wrong):
    with pytest.raises(InputError):
        write_scenes(tmp_path, **wrong)
