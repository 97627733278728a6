"""Pictures, questions with three options, and a context whose hint is wrong in half of the rows.

Who believes the hint, or reads words alone, is right once in three times; a solution that looks first says what is seen
and then what follows. The form of a row is that of ScienceQA (question, context, options, solution, answer), as
Multimodal-CoT uses it (arXiv:2302.00923, sec. 3 and 4.1), but here every solution has a truth to be held against.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import numpy as np

from sensorium.types import InputError
from sensorium.worlds.digits import WORDS, spread
from sensorium.worlds.drawing import COLOURS, SHAPES, ground, paint
from sensorium.worlds.facts import NUMBERS, SIZES, Fact, Scene, Thing, plural, scene_facts
from sensorium.worlds.scenes import FIELDS, handwritten, marks_of, save_picture, write_lines

LETTERS = "ABC"
NEITHER = "neither"
MOST = 4  # things in a picture
WRITTEN = 0.6  # how often a large thing bears a digit that nobody asks for


@dataclass(frozen=True, kw_only=True, slots=True)
class Topic:
    """A property that questions compare. With two values one thing leads; with more, things are alike or not."""

    name: str
    values: tuple[str, ...]
    says: str  # how a fact is told
    predicates: Mapping[
        str, str
    ]  # what may be asked -> the value that leads; "" where a third thing is matched

    @property
    def matches(self) -> bool:
        """Whether two things are compared with a third one, and not with each other."""
        return "" in self.predicates.values()


_IS = "the {thing} is {value}"
TOPICS = {
    t.name: t
    for t in (
        Topic(
            name="size", values=SIZES, says=_IS, predicates={"is larger": "large", "is smaller": "small"}
        ),
        Topic(
            name="column",
            values=("on the left", "on the right"),
            says=_IS,
            predicates={"is further left": "on the left", "is further right": "on the right"},
        ),
        Topic(
            name="row",
            values=("at the top", "at the bottom"),
            says=_IS,
            predicates={"is higher": "at the top", "is lower": "at the bottom"},
        ),
        Topic(
            name="count",
            values=NUMBERS[:2],
            says="there {are} {value} {thing}",
            predicates={"are more numerous": "two", "are fewer": "one"},
        ),
        Topic(
            name="colour", values=tuple(COLOURS), says=_IS, predicates={"has the colour of": ""}
        ),
        Topic(
            name="digit", values=WORDS, says="the {thing} shows {value}", predicates={"shows the digit of": ""}
        ),
    )
}  # fmt: skip
QUESTIONS = (
    "which {predicate}: {a} or {b}?",
    "tell which {predicate}, {a} or {b}.",
    "look at {a} and {b}: which {predicate}?",
    "{a} or {b}: which of them {predicate}?",
    "of {a} and {b}, which {predicate}, if any?",
)
CLAIMS = (
    "{fact}.",
    "in this picture {fact}.",
    "somebody says that {fact}.",
    "as far as one remembers, {fact}.",
    "{fact}, so it is told.",
)

README = """# Hints: questions about pictures beside a context that is wrong half of the time

{rows} pictures ({side} x {side} pixels) of two to four things, each with one question of three options. The context is one
or two sentences about the picture. One of them, the hint, names a property of a thing that is asked about: its size,
place, number, colour or digit. In half of the rows it is wrong. Question, context and options together tell nothing
about the answer (one in three is right by chance); the picture tells everything.

- `hints.jsonl`: a row per picture: `image`, `question`, `context`, `options` ("(A) ... (B) ... (C) ..."), `solution`
  (what is really seen of the things concerned, then what follows) and `answer`, such as "(B)".
- `truth.jsonl` is for the judge and not for the model: whether the hint misleads (`misled`), what it claims (`told`), the
  right letter (`right`), the facts that the solution rests on (`facts`), every thing with its place, and all facts that
  hold (`holds`).

Within a split, topics, letters and wrong hints come together equally often, as far as its size allows. Questions, and the
sentences of contexts, have five wordings each. `split` is train, valid or test; no handwritten digit (the 1,797 digits of scikit-learn's
`load_digits`, from the UCI set "Optical Recognition of Handwritten Digits") stands in two splits. Written with seed {seed}.
"""


def write_hints(folder: str | Path, *, rows: int = 4000, seed: int = 0, side: int = 64) -> Path:
    """Write `hints.jsonl`, `truth.jsonl`, `images/*.png` and `README.md`; return the first.

    Columns: id, split, image, question, context, options, solution, answer. `side`: pixels of a picture. Same arguments,
    same bytes. Raises InputError for fewer than 20 rows or a side outside 32..512.
    """
    _check(rows, side)
    folder = Path(folder)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    splits = spread(rows)
    cases = [_case(cell, rng) for cell in _dealt(splits, rng)]
    pictures = handwritten([c.scene for c in cases], splits, rng)
    table, truth = [], []
    for i, (case, split, digits) in enumerate(zip(cases, splits, pictures, strict=True)):
        row = {"id": f"{i:05d}", "split": split, "image": f"images/{i:05d}.png"}
        picture = paint(marks_of(case.scene, digits, rng), ground(rng), rng, side=side)
        save_picture(folder / row["image"], picture)
        table.append({**row, **_said(case, rng)})
        truth.append({"id": row["id"], **_truth(case)})
    write_lines(folder / "hints.jsonl", table)
    write_lines(folder / "truth.jsonl", truth)
    (folder / "README.md").write_text(README.format(rows=rows, side=side, seed=seed), encoding="utf-8")
    return folder / "hints.jsonl"


def _check(rows: int, side: int) -> None:
    if rows < 20:
        raise InputError("the world needs rows for three splits", got=rows, fix="write at least 20 rows")
    if not 32 <= side <= 512:
        raise InputError(
            "no size for a picture of four things", got=side, fix="give a side of 32 to 512 pixels"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """What is dealt out equally: topic, who is right (0 or 1: of the two asked about, 2: neither), letter, hint."""

    topic: str
    role: int
    letter: str
    misled: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A question with its picture, before it is put into words."""

    cell: Cell
    predicate: str  # what is asked, such as "is larger"
    facts: tuple[
        Fact, ...
    ]  # (topic, shape, value): of the two asked about, then of the one they are matched with
    told: Fact  # the hint
    scene: Scene


def _dealt(splits: Sequence[str], rng: np.random.Generator) -> list[Cell]:
    """Deal one cell to each row: within a split, round after round of all of them, each in an order of its own."""
    cells = [
        Cell(topic=t, role=r, letter=x, misled=m)
        for t, r, x, m in product(TOPICS, range(3), LETTERS, (False, True))
    ]
    hands: dict[str, list[Cell]] = {split: [] for split in splits}
    found = []
    for split in splits:
        if not hands[split]:
            hands[split] = [cells[i] for i in rng.permutation(len(cells))]
        found.append(hands[split].pop())
    return found


def _case(cell: Cell, rng: np.random.Generator) -> Case:
    """Draw values that make the dealt role right, a hint that is as wrong as dealt, and a scene that has them.

    Roles and orders are drawn alike, so that every true value is as frequent with every right option; neither the hint nor
    anything else that is said then depends on the answer.
    """
    topic = TOPICS[cell.topic]
    shapes = [SHAPES[i] for i in rng.permutation(len(SHAPES))]
    predicate = _drawn(tuple(topic.predicates), rng)
    values = _values(topic, topic.predicates[predicate], cell.role, rng)
    facts = tuple((topic.name, s, v) for s, v in zip(shapes, values, strict=False))
    _, shape, value = facts[2] if topic.matches else _drawn(facts, rng)
    claim = _other(topic, value, rng) if cell.misled else value
    return Case(
        cell=cell,
        predicate=predicate,
        facts=facts,
        told=(topic.name, shape, claim),
        scene=_scene(facts, shapes[len(facts) :], rng),
    )


def _drawn(choices: Sequence, rng: np.random.Generator):
    return choices[int(rng.integers(len(choices)))]


def _other(topic: Topic, value: str, rng: np.random.Generator) -> str:
    return _drawn([v for v in topic.values if v != value], rng)


def _values(topic: Topic, leads: str, role: int, rng: np.random.Generator) -> list[str]:
    """Draw a value for each thing concerned; the third one is that of the thing to be matched."""
    wanted = leads or _drawn(topic.values, rng)
    if role == 2 and not topic.matches:
        return [_drawn(topic.values, rng)] * 2
    pair = [wanted if i == role else _other(topic, wanted, rng) for i in range(2)]
    return [*pair, wanted] if topic.matches else pair


def _scene(facts: Sequence[Fact], others: Sequence[str], rng: np.random.Generator) -> Scene:
    """Make the things of the facts, and some others as far as there is room, each in a field of its own."""
    wanted: list[tuple[str, str, str]] = []
    for topic, shape, value in facts:
        many = 1 + NUMBERS.index(value) if topic == "count" else 1
        wanted += [(topic, shape, value)] * many
    room = int(rng.integers(MOST - len(wanted) + 1))
    wanted += [("", shape, "") for shape in others[:room]]
    fields = rng.permutation(FIELDS**2).tolist()
    things: list[Thing] = []
    for topic, shape, value in wanted:
        field = next(f for f in fields if _fits(f, topic, value))
        fields.remove(field)
        like = things[-1] if things and things[-1].shape == shape else _look(topic, shape, value, rng)
        row, column = divmod(field, FIELDS)
        things.append(Thing(**{**asdict(like), "row": row, "column": column}))
    return tuple(things)


def _fits(field: int, topic: str, value: str) -> bool:
    """Tell whether a field of the picture is where a fact says; the middle is neither here nor there."""
    row, column = divmod(field, FIELDS)
    last = FIELDS - 1
    place = {"on the left": column == 0, "on the right": column == last, "at the top": row == 0}
    return {**place, "at the bottom": row == last}.get(value, True)


def _look(topic: str, shape: str, value: str, rng: np.random.Generator) -> Thing:
    """Draw what a thing looks like but for what a fact says of it. Only a single large one bears a digit."""
    given = {topic: value} if topic in ("colour", "size", "digit") else {}
    look = {"colour": _drawn(tuple(COLOURS), rng), "size": _drawn(SIZES, rng), "digit": "", **given}
    if topic == "digit":
        look["size"] = "large"
    elif look["size"] == "large" and topic != "count" and rng.random() < WRITTEN:
        look["digit"] = _drawn(WORDS, rng)
    return Thing(shape=shape, row=0, column=0, **look)


def say(fact: Fact) -> str:
    """Put a fact (topic, shape, value) into words, such as "the star is red"."""
    topic, shape, value = fact
    many = topic == "count" and value != "one"
    return TOPICS[topic].says.format(
        thing=plural(shape) if many else shape, value=value, are="are" if many else "is"
    )


def _name(shape: str, topic: Topic) -> str:
    return f"the {plural(shape) if topic.name == 'count' else shape}"


def _said(case: Case, rng: np.random.Generator) -> dict[str, str]:
    """Put a case into words: the columns of its row."""
    topic = TOPICS[case.cell.topic]
    names = [_name(shape, topic) for _, shape, _ in case.facts]
    asks = f"{case.predicate} {names[2]}" if topic.matches else case.predicate
    answers = [*names[:2], NEITHER]
    right = answers[case.cell.role]
    listed = [a for i in rng.permutation(3) if (a := answers[i]) != right]
    listed.insert(LETTERS.index(case.cell.letter), right)
    a, b = (names[i] for i in rng.permutation(2))
    return {
        "question": _drawn(QUESTIONS, rng).format(predicate=asks, a=a, b=b),
        "context": _context(case, rng),
        "options": " ".join(f"({x}) {name}" for x, name in zip(LETTERS, listed, strict=True)),
        "solution": " ".join([*_seen(case), f"so {right} {asks}."]),
        "answer": f"({case.cell.letter})",
    }


def _seen(case: Case) -> list[str]:
    """Tell what is seen of each thing concerned, the one to be matched first, and what the hint got wrong."""
    wrong = f", not {case.told[2]}" if case.cell.misled else ""
    order = [*case.facts[2:], *case.facts[:2]]
    return [f"{say(fact)}{wrong if fact[1] == case.told[1] else ''}." for fact in order]


def _context(case: Case, rng: np.random.Generator) -> str:
    """Tell the hint and, but for numbers, something true that the question does not turn on; in any order.

    Beside a question of numbers nothing else is said, for the words would tell one thing from several.
    """
    told = [case.told]
    if case.cell.topic != "count":
        thing = _drawn(case.scene, rng)
        attribute = _drawn([a for a in ("colour", "size") if a != case.cell.topic], rng)
        told.append((attribute, thing.shape, getattr(thing, attribute)))
    said = [_drawn(CLAIMS, rng).format(fact=say(fact)) for fact in told]
    return " ".join(said[i] for i in rng.permutation(len(said)))


def _truth(case: Case) -> dict[str, object]:
    return {
        "topic": case.cell.topic,
        "misled": "yes" if case.cell.misled else "no",
        "told": case.told,
        "right": case.cell.letter,
        "facts": case.facts,
        "things": [asdict(t) for t in case.scene],
        "holds": sorted(scene_facts(case.scene)),
    }


_FACTS = {say((t.name, s, v)): (t.name, s, v) for t in TOPICS.values() for s in SHAPES for v in t.values}
_SHAPES = {name: s for s in SHAPES for name in (f"the {s}", f"the {plural(s)}")}
_ASKED = {p: (t, leads) for t in TOPICS.values() for p, leads in t.predicates.items()}
_OPTION = re.compile(r"\(([a-z])\)\s*([^()]*[^()\s])")
_SO = re.compile(rf"so (?P<who>{NEITHER}|the \w+) (?P<what>{'|'.join(_ASKED)})(?: (?P<like>the \w+))?")


def entailed(solution: str, options: str) -> str:
    """Read back which option a solution entails: its letter, or "" where it entails none.

    What counts is what the solution says is seen. It entails nothing where it has no conclusion, says too little or two
    different things of what the conclusion is about, or where the conclusion does not follow from what is seen. It need
    not be true of the picture: that is for `facts` of the truth to tell. What is no part of the grammar is passed over.
    """
    sentences = [s.strip() for s in " ".join(solution.lower().split()).split(".") if s.strip()]
    so = _SO.fullmatch(sentences[-1]) if sentences else None
    letters = {name: letter.upper() for letter, name in _OPTION.findall(" ".join(options.lower().split()))}
    if so is None or so["who"] not in letters:
        return ""
    topic, leads = _ASKED[so["what"]]
    facts = {_FACTS[told] for s in sentences[:-1] if (told := s.partition(", not ")[0]) in _FACTS}
    of = {shape: [v for t, s, v in facts if (t, s) == (topic.name, shape)] for shape in SHAPES}
    asked = [name for name in letters if name != NEITHER]
    names = [*asked, so["like"]] if topic.matches else asked
    if not all(n in _SHAPES and len(of[_SHAPES[n]]) == 1 for n in names):
        return ""
    seen = [of[_SHAPES[n]][0] for n in names]
    wanted = seen.pop() if topic.matches else leads
    ahead = [name for name, value in zip(asked, seen, strict=True) if value == wanted]
    if topic.matches and len(ahead) > 1:  # nobody asks which of two where both are right
        return ""
    return letters[so["who"]] if so["who"] == (ahead[0] if len(ahead) == 1 else NEITHER) else ""
