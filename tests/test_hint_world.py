"""The world of hints: files as told, answers that follow from the picture, and words that tell nothing of them."""

import json
import re
from collections import Counter, defaultdict
from itertools import product

import numpy as np
import pytest
from PIL import Image

from sensorium.types import InputError
from sensorium.worlds import scenes
from sensorium.worlds.drawing import SHAPES
from sensorium.worlds.facts import Thing, scene_facts
from sensorium.worlds.hints import CLAIMS, LETTERS, NEITHER, QUESTIONS, TOPICS, entailed, say, write_hints
from sensorium.worlds.scenes import FIELDS

ROWS, SIDE = 2160, 32  # a round is 108 rows: 14, 2 and 4 of them in the three splits
NUMBER = {"one": 1, "two": 2}

FACTS = {  # of every sentence that a context may have
    claim.format(fact=say(fact)).removesuffix("."): fact
    for topic in TOPICS.values()
    for fact in product([topic.name], SHAPES, topic.values)
    for claim in CLAIMS
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    table = write_hints(tmp_path_factory.mktemp("hints"), rows=ROWS, side=SIDE)
    return lines(table), lines(table.parent / "truth.jsonl"), table.parent


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def shown(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def holds(fact, things):
    """Whether a fact (topic, shape, value) is true of things as they are written, read from nothing else."""
    topic, shape, value = fact
    mine = [t for t in things if t["shape"] == shape]
    if topic == "count":
        return len(mine) == NUMBER[value]
    one = mine[0]
    place = {"on the left": one["column"] == 0, "on the right": one["column"] == 2}
    place |= {"at the top": one["row"] == 0, "at the bottom": one["row"] == 2}
    return place[value] if topic in ("column", "row") else one[topic] == value


RANK = {  # the thing with the larger number is the answer
    "is larger": lambda t: t[0]["size"] == "large",
    "is smaller": lambda t: t[0]["size"] == "small",
    "is further left": lambda t: -t[0]["column"],
    "is further right": lambda t: t[0]["column"],
    "is higher": lambda t: -t[0]["row"],
    "is lower": lambda t: t[0]["row"],
    "are more numerous": len,
    "are fewer": lambda t: -len(t),
}


def looked_up(row, things):
    """Answer a question from its words and the things alone, as somebody would who sees the picture."""
    of = {s: [t for t in things if t["shape"] == s] for s in SHAPES}
    options = dict(re.findall(r"\((\w)\) ((?:the )?\w+)", row["options"]))
    shape = {n: next(s for s in SHAPES if s in n) for n in options.values() if n != NEITHER}
    if like := re.search(r"(colour|digit) of the (\w+)", row["question"]):
        same = [n for n, s in shape.items() if of[s][0][like[1]] == of[like[2]][0][like[1]]]
    else:
        rank = next(RANK[p] for p in RANK if p in row["question"])
        values = {n: rank(of[s]) for n, s in shape.items()}
        same = [n for n, v in values.items() if v == max(values.values())]
        same = same if len(same) == 1 else []
    assert len(same) < 2
    return next(f"({x})" for x, n in options.items() if n == (same[0] if same else NEITHER))


def test_files_and_columns(world):
    table, truth, folder = world
    columns = ["id", "split", "image", "question", "context", "options", "solution", "answer"]
    assert all(list(row) == columns for row in table)
    assert [r["id"] for r in table] == [t["id"] for t in truth]
    assert {shown(folder / row["image"]).shape for row in table[:50]} == {(SIDE, SIDE, 3)}
    assert len(list((folder / "images").iterdir())) == ROWS
    assert Counter(r["split"] for r in table) == {"train": 1512, "valid": 216, "test": 432}
    assert {len(t["things"]) for t in truth} == {2, 3, 4}
    assert all(len({(s["row"], s["column"]) for s in t["things"]}) == len(t["things"]) for t in truth)
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert "{" not in readme
    assert f"{ROWS} pictures" in readme


def test_the_answer_is_what_the_picture_shows(world):
    for row, truth in zip(*world[:2], strict=True):
        assert row["answer"] == f"({truth['right']})" == looked_up(row, truth["things"]), row


def test_every_solution_entails_its_answer_and_tells_only_what_holds(world):
    for row, truth in zip(*world[:2], strict=True):
        assert f"({entailed(row['solution'], row['options'])})" == row["answer"], row
        *seen, _ = row["solution"].removesuffix(".").split(". ")
        facts = {say(tuple(f)): f for f in truth["facts"]}
        assert sorted(s.partition(", not ")[0] for s in seen) == sorted(facts)
        assert all(holds(f, truth["things"]) for f in facts.values())
        assert {tuple(f) for f in truth["holds"]} == scene_facts(tuple(Thing(**t) for t in truth["things"]))


def test_a_hint_is_wrong_exactly_where_it_is_said_to_be(world):
    for row, truth in zip(*world[:2], strict=True):
        told = tuple(truth["told"])
        assert say(told) in row["context"]
        assert holds(told, truth["things"]) == (truth["misled"] == "no")
        mended = re.search(r"([^.]*), not ([^.]*)\.", row["solution"])
        assert bool(mended) == (truth["misled"] == "yes")
        if mended:
            assert mended[2] == told[2]
            assert told[2] not in mended[1]
        facts = [FACTS[claim] for claim in row["context"].removesuffix(".").split(". ")]
        assert [f for f in facts if f[0] == truth["topic"]] == [told], (
            "and of what is asked nothing else is told"
        )
        assert all(holds(f, truth["things"]) for f in facts if f != told), "the rest of the context is true"
        assert len(facts) == 1 + (truth["topic"] != "count")


def test_topics_letters_and_hints_come_together_equally_often(world):
    for split in ("train", "valid", "test"):
        dealt = Counter(
            (t["topic"], r["answer"], NEITHER == said(r), t["misled"])
            for r, t in zip(*world[:2], strict=True)
            if r["split"] == split
        )
        assert {k[:2] for k in dealt} == {(t, f"({x})") for t in TOPICS for x in LETTERS}
        rounds = sum(dealt.values()) // 108
        assert all(n == rounds * (1 if k[2] else 2) for k, n in dealt.items()), "one in three is neither"


def test_what_is_alike_has_every_value(world):
    """Where neither is right, things are alike in each of the two ways: a picture of large things is no answer, either."""
    alike = defaultdict(Counter)
    for row, truth in zip(*world[:2], strict=True):
        if said(row) == NEITHER and len(truth["facts"]) == 2:
            alike[truth["topic"]][truth["facts"][0][2]] += 1
    assert alike.keys() == {"size", "column", "row", "count"}
    assert all(0.35 < n / c.total() < 0.65 for c in alike.values() for n in c.values())
    assert all(len(c) == 2 for c in alike.values())


def said(row):
    """What the right option says."""
    return re.search(rf"\({row['answer'][1]}\) ((?:the )?\w+)", row["options"])[1]


def test_all_wordings_are_used(world):
    for sentences, column in ((QUESTIONS, "question"), (CLAIMS, "context")):
        for sentence in sentences:
            form = re.compile(r"[\w ]+".join(map(re.escape, re.split(r"\{\w+\}", sentence))))
            assert sum(bool(form.search(row[column])) for row in world[0]) > ROWS / 8, sentence


def roles(row):
    """The row's words with the two things called first and second, as they are asked about, and which of them is right.

    So a few words are enough to find what a hint about the first thing says of the answer, if it says anything.
    """
    options = [n for n in re.findall(r"\(\w\) ((?:the )?\w+)", row["options"]) if n != NEITHER]
    options.sort(key=row["question"].index)
    right, text = said(row), " ".join(row[c] for c in ("question", "context", "options"))
    for name, option in zip(("first", "second"), options, strict=True):
        shape = next(s for s in SHAPES if s in option)
        text = re.sub(rf"\b{shape}(e?s)?\b", name, text)
    return text, "neither" if right == NEITHER else ("first", "second")[options.index(right)]


def guessed(train, test):
    """Share right of a linear model on tf-idf of one to four words."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    words = TfidfVectorizer(ngram_range=(1, 4), min_df=3, token_pattern=r"\w+")
    model = LogisticRegression(C=3.0, max_iter=200)
    model.fit(words.fit_transform([t for t, _ in train]), [y for _, y in train])
    return model.score(words.transform([t for t, _ in test]), [y for _, y in test])


@pytest.fixture(scope="module")
def halves(world):
    table = world[0]
    return [r for r in table if r["split"] == "train"], [r for r in table if r["split"] != "train"]


MOST = 1 / 3 + 3 * (2 / 9 / 648) ** 0.5  # chance, and three standard errors of so many rows


def test_words_alone_tell_no_letter_and_no_thing(halves):
    letters, things = (
        [[tell(r) for r in half] for half in halves]
        for tell in (
            lambda r: (" ".join(r[c] for c in ("question", "context", "options")), r["answer"]),
            roles,
        )
    )
    assert guessed(*letters) < MOST
    assert guessed(*things) < MOST
    told = [[(f"{text} {r['solution']}", y) for r in half for text, y in [roles(r)]] for half in halves]
    assert guessed(*told) > MOST + 0.1, "a model that finds nothing anywhere would prove nothing"


def claimed(row):
    """What is asked, and what the context claims of it: of the first or second thing or the one to be matched."""
    asked = next((p, t, v) for t in TOPICS.values() for p, v in t.predicates.items() if p in row["question"])
    predicate, topic, leads = asked
    options = [n for n in re.findall(r"\(\w\) ((?:the )?\w+)", row["options"]) if n != NEITHER]
    shapes = [next(s for s in SHAPES if s in n) for n in sorted(options, key=row["question"].index)]
    facts = [FACTS[claim] for claim in row["context"].removesuffix(".").split(". ")]
    mine = [(shapes.index(s) if s in shapes else 2, v == leads) for t, s, v in facts if t == topic.name]
    return predicate, *sorted(mine)


def test_counting_tells_no_answer(halves):
    """The commonest right part for every question, and for every claim about the things that are asked about."""
    for key in (lambda r: roles(r)[0].partition("?")[0], claimed):
        counts = defaultdict(Counter)
        for row in halves[0]:
            counts[key(row)][roles(row)[1]] += 1
        right = [
            counts[k].most_common(1)[0][0] == roles(row)[1] if (k := key(row)) in counts else 1 / 3
            for row in halves[1]
        ]
        assert np.mean(right) < MOST


def test_who_believes_the_hint_is_wrong_where_it_misleads(world):
    """The hint put in the place of what is seen gives another answer in a good part of the misled rows, and the right one
    in all others."""
    wrong = Counter()
    for row, truth in zip(*world[:2], strict=True):
        told = tuple(truth["told"])
        facts = [told if f[1] == told[1] else tuple(f) for f in truth["facts"]]
        end = row["solution"].removesuffix(".").split(". ")[-1]
        followed = entailed(". ".join([*map(say, facts), end]), row["options"]) == truth["right"]
        wrong[truth["misled"], followed] += 1
    assert wrong["no", False] == 0
    assert wrong["yes", False] > 0.5 * wrong["yes", True]


OPTIONS = "(A) neither (B) the star (C) the circle"


@pytest.mark.parametrize(("solution", "letter"), [
    ("the star is large, not small. the circle is small. so the star is larger.", "B"),
    ("The Star is large.  I think.\nthe circle is small. So the star is larger", "B"),
    ("the star is large. the circle is small. so the circle is smaller.", "C"),
    ("the star is large. the circle is large. so neither is larger.", "A"),
    ("the square is red. the star is blue. the circle is red, not blue. so the circle has the colour of the square.", "C"),
    ("the square shows two. the star shows six. the circle shows one. so neither shows the digit of the square.", "A"),
    ("the star is large. the circle is small. so the circle is larger.", ""),
    ("the star is large. the circle is large. so the star is larger.", ""),
    ("the star is large. so the star is larger.", ""),
    ("the star is large. the star is small. the circle is small. so the star is larger.", ""),
    ("the star is large. the circle is small.", ""),
    ("the star is large. the circle is small. so the cross is larger.", ""),
    ("the star is red. the circle is blue. so the star is larger.", ""),
    ("the square is red. the star is red. the circle is red. so the star has the colour of the square.", ""),
    ("the square is red. the star is red. the circle is blue. so the star has the colour of.", ""),
    ("the star is red. the circle is blue. so the star has the colour of the square.", ""),
    ("so the star is larger.", ""),
    (" . ", ""),
    ("", ""),
])  # fmt: skip
def test_what_a_solution_entails(solution, letter):
    assert entailed(solution, OPTIONS) == letter


def test_numbers_of_things():
    options = "(A) the crosses (B) neither (C) the stars"
    seen = "there are two crosses. there is one star, not two."
    assert entailed(f"{seen} so the crosses are more numerous.", options) == "A"
    assert entailed(f"{seen} so the stars are fewer.", options) == "C"
    assert entailed(f"{seen} so neither are fewer.", options) == ""
    assert entailed(f"{seen} so the stars are fewer.", "(A) the crosses (B) the squares (C) neither") == ""


def test_pictures_show_the_things(tmp_path):
    """Coloured pixels of each field: few where nothing stands, more of a large thing than of a small one, of its colour."""
    table = write_hints(tmp_path, rows=60, seed=1, side=96)
    right, step = [], 96 // FIELDS
    for row, truth in zip(lines(table), lines(tmp_path / "truth.jsonl"), strict=True):
        picture = shown(tmp_path / row["image"]).astype(float)
        things = {(t["row"], t["column"]): t for t in truth["things"]}
        for r, c in product(range(FIELDS), repeat=2):
            field = picture[r * step : (r + 1) * step, c * step : (c + 1) * step].reshape(-1, 3)
            coloured = field[np.ptp(field, axis=1) > 60]
            thing = things.get((r, c))
            if thing is None:
                assert len(coloured) < 80, "a corner of a large neighbour at most"
            elif thing["colour"] in ("red", "green", "blue"):
                strongest = ("red", "green", "blue").index(thing["colour"])
                right.append(coloured.mean(0).argmax() == strongest)
                assert (len(coloured) > 280) == (thing["size"] == "large") or thing["digit"]
    assert len(right) > 40
    assert all(right)


def test_splits_share_no_handwriting(tmp_path, monkeypatch):
    used = defaultdict(set)
    real = scenes.handwriting

    def noted(digits, splits, rng):
        drawn = real(digits, splits, rng)
        for split, picture in zip(splits, drawn, strict=True):
            used[split].add(picture.tobytes())
        return drawn

    monkeypatch.setattr(scenes, "handwriting", noted)
    write_hints(tmp_path, rows=400, side=32)
    assert all(len(used[s]) > 20 for s in ("train", "valid", "test"))
    assert not used["train"] & (used["valid"] | used["test"])
    assert not used["valid"] & used["test"]


def test_same_seed_same_bytes(tmp_path):
    first, again = (write_hints(tmp_path / n, rows=24, seed=4, side=32) for n in "ab")
    other = write_hints(tmp_path / "c", rows=24, seed=5, side=32)
    names = sorted(p.relative_to(first.parent) for p in first.parent.rglob("*") if p.is_file())
    assert len(names) == 24 + 3
    assert all((first.parent / n).read_bytes() == (again.parent / n).read_bytes() for n in names)
    assert first.read_bytes() != other.read_bytes()


@pytest.mark.parametrize("wrong", [{"rows": 19}, {"side": 16}, {"side": 513}])
def test_mistakes_are_told(tmp_path, wrong):
    with pytest.raises(InputError):
        write_hints(tmp_path, **wrong)
