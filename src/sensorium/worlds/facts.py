"""What is true of a scene, said in words and read back from words.

A fact is a tuple of words: ("there", kind), ("size", kind, size), ("count", kind, number), ("digit", kind, digit), and
("left of" or "above", kind, other kind). A kind is a colour and a shape, such as "red circle"; the things of one kind in
a scene are alike.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sensorium.worlds.digits import WORDS as DIGITS
from sensorium.worlds.drawing import COLOURS, SHAPES

SIZES = ("small", "large")
NUMBERS = ("one", "two", "three", "four")
CONVERSE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
SYNONYMS = {
    "small": ("small", "little", "tiny"),
    "large": ("large", "big", "huge"),
    "left of": ("left of", "to the left of", "on the left of"),
    "right of": ("right of", "to the right of", "on the right of"),
    "above": ("above", "over", "higher than"),
    "below": ("below", "under", "lower than"),
    "digit": ("showing", "marked with", "that bears"),
}

Fact = tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Thing:
    """One object of a scene, in one of the nine fields of the picture."""

    colour: str
    shape: str
    size: str
    row: int  # 0 (top) to 2
    column: int  # 0 (left) to 2
    digit: str = ""  # "zero" to "nine", or none on it

    @property
    def kind(self) -> str:
        """Colour and shape."""
        return f"{self.colour} {self.shape}"


Scene = tuple[Thing, ...]


def held_out(colour: str, shape: str) -> bool:
    """Tell whether a colour and a shape come together in a test only: one colour of each shape."""
    return list(COLOURS).index(colour) == (3 * SHAPES.index(shape)) % len(COLOURS)


def stands(relation: str, one: Thing, other: Thing) -> bool:
    """Tell whether `one` is left of, right of, above or below `other`, by their fields."""
    across, down = one.column - other.column, one.row - other.row
    return {"left of": across < 0, "right of": across > 0, "above": down < 0, "below": down > 0}[relation]


def kinds(scene: Scene) -> dict[str, list[Thing]]:
    """Group things by kind, in reading order."""
    found: dict[str, list[Thing]] = {}
    for thing in sorted(scene, key=lambda t: (t.row, t.column)):
        found.setdefault(thing.kind, []).append(thing)
    return found


def scene_facts(scene: Scene) -> set[Fact]:
    """Give every fact that holds; relations are those of kinds with one thing."""
    groups = kinds(scene)
    facts = {f for kind, things in groups.items() for f in _kind_facts(kind, things)}
    single = [things[0] for things in groups.values() if len(things) == 1]
    for relation in ("left of", "above"):
        facts |= {(relation, a.kind, b.kind) for a in single for b in single if stands(relation, a, b)}
    return facts


def told_facts(scene: Scene) -> set[Fact]:
    """Give the facts that a caption tells: all of every kind, and one relation."""
    facts = {f for kind, things in kinds(scene).items() for f in _kind_facts(kind, things)}
    return facts | {_canonical(*r) for r in told_relation(scene)}


def _kind_facts(kind: str, things: Sequence[Thing]) -> list[Fact]:
    facts: list[Fact] = [
        ("there", kind), ("size", kind, things[0].size), ("count", kind, NUMBERS[len(things) - 1])
    ]  # fmt: skip
    return facts + [("digit", kind, things[0].digit)] * bool(things[0].digit)


def told_relation(scene: Scene) -> list[tuple[str, str, str]]:
    """Choose the relation worth telling: of the first and the last single thing in reading order, along the longer way.

    So what to say can be learned from pictures. Returns one (relation, kind, kind), or none where fewer are single.
    """
    single = [things[0] for things in kinds(scene).values() if len(things) == 1]
    if len(single) < 2:
        return []
    a, b = single[0], single[-1]
    if abs(a.column - b.column) >= abs(a.row - b.row):
        return [("left of" if a.column < b.column else "right of", a.kind, b.kind)]
    return [("above", a.kind, b.kind)]


def _canonical(relation: str, one: str, other: str) -> Fact:
    if relation in ("right of", "below"):
        return CONVERSE[relation], other, one
    return relation, one, other


def captions(scene: Scene, rng: np.random.Generator) -> list[str]:
    """Say `told_facts` in five ways that differ in order, form and words."""
    relation = told_relation(scene)
    forms = _RELATED if relation else _ALONE
    found = []
    for i in rng.permutation(len(forms)):
        things = _listed(scene, rng)
        if not relation:
            found.append(forms[i].format(things=things))
            continue
        name, a, b = relation[0]
        if rng.random() < 0.5:
            name, a, b = CONVERSE[name], b, a
        found.append(forms[i].format(things=things, a=f"the {a}", b=f"the {b}", is_at=word(name, rng)))
    return found


_RELATED = (
    "there is {things}. {a} is {is_at} {b}.",
    "{things}, with {a} {is_at} {b}.",
    "{a} is {is_at} {b} in a picture of {things}.",
    "this shows {things}, where {a} lies {is_at} {b}.",
    "{is_at} {b} is {a}. we see {things}.",
)
_ALONE = (
    "there is {things}.", "{things}.", "a picture of {things}.", "this shows {things} and nothing else.",
    "we see only {things}."
)  # fmt: skip


def word(name: str, rng: np.random.Generator) -> str:
    """Choose one of the ways to say it."""
    return SYNONYMS[name][int(rng.integers(len(SYNONYMS[name])))]


def _listed(scene: Scene, rng: np.random.Generator) -> str:
    groups = list(kinds(scene).values())
    said = [_described(groups[i], rng) for i in rng.permutation(len(groups))]
    return " and ".join([", ".join(said[:-1]), said[-1]]) if len(said) > 1 else said[0]


def _described(things: Sequence[Thing], rng: np.random.Generator) -> str:
    thing, many = things[0], len(things)
    number = ("a" if rng.random() < 0.7 else "one") if many == 1 else NUMBERS[many - 1]
    text = (
        f"{number} {word(thing.size, rng)} {thing.colour} {plural(thing.shape) if many > 1 else thing.shape}"
    )
    return f"{text} {word('digit', rng)} {thing.digit}" if thing.digit else text


def plural(noun: str) -> str:
    """More than one of them."""
    return f"{noun}es" if noun.endswith("s") else f"{noun}s"


def article(noun: str) -> str:
    """Put "a" or "an" before it."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def one_of(words: Sequence[str]) -> str:
    """Make a pattern that finds one of the words, the longest first."""
    return "|".join(re.escape(w) for w in sorted(words, key=len, reverse=True))


_CANONICAL = {said: name for name, ways in SYNONYMS.items() for said in ways}
_SIZE = one_of([*SYNONYMS["small"], *SYNONYMS["large"]])
_PHRASE = re.compile(
    rf"\b(?:(?P<number>a|an|the|{one_of(NUMBERS)}) )?(?:(?P<size>{_SIZE}) )?(?:(?P<colour>{one_of(list(COLOURS))}) )?"
    rf"(?P<shape>{one_of(SHAPES)})(?:e?s)?\b(?: (?:{one_of(SYNONYMS['digit'])}) (?P<digit>{one_of(DIGITS)})\b)?"
)
_PLACE = one_of([said for name in CONVERSE for said in SYNONYMS[name]])
_BETWEEN = re.compile(rf"(?:is |lies )?(?P<place>{_PLACE})")
_FRONT = re.compile(rf"(?:^|.*[^\w ]|.* )(?P<place>{_PLACE})")


def read_caption(text: str) -> set[Fact]:
    """Read the facts that a text tells; what is no part of the grammar is passed over.

    A thing without a colour gives facts of a kind that never holds, such as ("there", "circle").
    """
    text = " ".join(text.lower().split())
    phrases = list(_PHRASE.finditer(text))
    facts = {f for p in phrases for f in _phrase_facts(p)}
    ends = [0, *(p.end() for p in phrases)]
    for i, (one, other) in enumerate(zip(phrases, phrases[1:], strict=False)):
        between = text[one.end() : other.start()].strip()
        if found := _BETWEEN.fullmatch(between):
            facts.add(_canonical(_CANONICAL[found["place"]], phrase_kind(one), phrase_kind(other)))
        front = _FRONT.fullmatch(text[ends[i] : one.start()].strip())
        if front and between in ("is", "lies"):
            facts.add(_canonical(_CANONICAL[front["place"]], phrase_kind(other), phrase_kind(one)))
    return facts


def phrase_kind(phrase: re.Match[str]) -> str:
    """Colour and shape of a phrase, or its shape alone."""
    return " ".join(filter(None, (phrase["colour"], phrase["shape"])))


def _phrase_facts(phrase: re.Match[str]) -> set[Fact]:
    kind = phrase_kind(phrase)
    facts: set[Fact] = {("there", kind)}
    if phrase["size"]:
        facts.add(("size", kind, _CANONICAL[phrase["size"]]))
    if phrase["number"] and phrase["number"] != "the":
        facts.add(("count", kind, "one" if phrase["number"] in ("a", "an") else phrase["number"]))
    if phrase["digit"]:
        facts.add(("digit", kind, phrase["digit"]))
    return facts
