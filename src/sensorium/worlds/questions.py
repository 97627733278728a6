"""Questions about scenes as programs: nested tuples that are run on the symbolic scene and said in words.

Sets: ("all",), ("filter", {attribute: value, ...} as pairs, set), ("relate", relation, set of one thing).
Answers: ("query", attribute, set of one thing), ("count", set), ("exist", set), ("same", attribute, set, set).
A filter, a step along a relation and a comparison are one hop each (after CLEVR, arXiv:1612.06890 sec. 3).
"""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np

from sensorium.worlds.digits import WORDS as DIGITS
from sensorium.worlds.drawing import COLOURS, SHAPES
from sensorium.worlds.facts import CONVERSE, SIZES, Scene, Thing, article, held_out, plural, stands

COUNTS = ("zero", "one", "two", "three", "four", "five", "six")
ATTRIBUTES = ("colour", "shape", "size", "digit")
HOPS = 4  # the longest program
ASKED = 10  # questions drawn for one that is wanted
TRIES = 6  # programs drawn for one question before another form is tried
ROOM = 1  # an answer may be given so many times more than its share
# The largest share of a form's answers that any one answer may have.
MOST = {"colour": 0.16, "shape": 0.24, "size": 0.5, "digit": 0.14, "count": 0.4, "exist": 0.5, "same": 0.5}

Program = tuple
Form = tuple[str, str, int]  # what is asked, of which attribute ("" for none), hops


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """A question, its answer, and the program that leads from one to the other."""

    text: str
    answer: str
    program: Program
    hops: int
    form: Form


def run(program: Program, scene: Scene) -> str | list[Thing]:
    """Run a program on a scene: an answer in words, or a set of things. Raises LookupError where one thing was meant."""
    step, *rest = program
    if step == "all":
        return list(scene)
    if step == "filter":
        return [t for t in run(rest[1], scene) if all(getattr(t, a) == v for a, v in rest[0])]
    if step == "relate":
        here = _only(rest[1], scene)
        return [t for t in scene if stands(rest[0], t, here)]
    if step == "query":
        return getattr(_only(rest[1], scene), rest[0])
    if step == "same":
        one, other = (_only(p, scene) for p in rest[1:])
        return _yes(getattr(one, rest[0]) == getattr(other, rest[0]))
    found = run(rest[0], scene)
    return COUNTS[len(found)] if step == "count" else _yes(bool(found))


def _only(program: Program, scene: Scene) -> Thing:
    things = run(program, scene)
    if len(things) != 1:
        raise LookupError(f"{len(things)} things where one was meant")
    return things[0]


def _yes(true: bool) -> str:
    return "yes" if true else "no"


def hops(program: Program) -> int:
    """Count filters, relations and comparisons."""
    own = program[0] in ("filter", "relate", "same")
    return own + sum(hops(p) for p in program[1:] if isinstance(p, tuple) and p and isinstance(p[0], str))


def noun(program: Program, *, many: bool = False) -> str:
    """Say a set, such as "large red star" or "thing left of the blue star"."""
    step, *rest = program
    if step == "relate":
        return f"{'things' if many else 'thing'} {rest[0]} the {noun(rest[1])}"
    if step == "all":
        return "things" if many else "thing"
    wanted, inner = dict(rest[0]), noun(rest[1], many=many)
    head, _, tail = inner.partition(" ")
    shape = wanted.get("shape")
    head = (plural(shape) if many else shape) if shape else head
    digit = f"showing {wanted['digit']}" if "digit" in wanted else ""
    return " ".join(filter(None, (wanted.get("size"), wanted.get("colour"), head, digit, tail)))


def say(program: Program, rng: np.random.Generator) -> str:
    """Say a program that ends in an answer; one of two ways."""
    step, *rest = program
    first = rng.random() < 0.5
    if step == "count":
        many = noun(rest[0], many=True)
        return f"how many {many} are there?" if first else f"what is the number of {many}?"
    if step == "exist":
        return f"is there {article(noun(rest[0]))}?" if first else f"can you see {article(noun(rest[0]))}?"
    what, one = rest[0], f"the {noun(rest[1])}"
    if step == "same":
        other = f"the {noun(rest[2])}"
        return (
            f"are {one} and {other} of the same {what}?"
            if first
            else f"does {one} have the {what} of {other}?"
        )
    if what == "digit":
        return f"which digit does {one} show?" if first else f"what digit is on {one}?"
    return f"what is the {what} of {one}?" if first else f"which {what} does {one} have?"


def forms(most: int = HOPS) -> list[Form]:
    """Every kind of question up to so many hops."""
    queries = [("query", a, n) for n in range(1, HOPS + 1) for a in ATTRIBUTES]
    sets = [(step, "", n) for n in (1, 2, 3, 4) for step in ("count", "exist")]
    same = [("same", a, n) for n in (3, 4) for a in ("colour", "shape", "size")]
    return [f for f in (*queries, *sets, *same) if f[2] <= most]


class Balance:
    """Counts answers by the form of their question, so that none is given much more than its share."""

    def __init__(self) -> None:
        self.given: dict[Hashable, Counter[str]] = {}

    def often(self, form: Hashable, answer: str) -> int:
        """How often a form had this answer."""
        return self.given.get(form, Counter())[answer]

    def admits(self, form: Hashable, answer: str, *, most: float) -> bool:
        """Tell whether an answer may be given once more where it may be the share `most` of its form's answers."""
        total = self.given.get(form, Counter()).total()
        return self.often(form, answer) + 1 <= ROOM + most * (total + 1)

    def add(self, form: Hashable, answer: str) -> None:
        """Count an answer that was given."""
        self.given.setdefault(form, Counter())[answer] += 1


@dataclass(kw_only=True, slots=True)
class Asker:
    """Draws questions whose answers stay balanced."""

    rng: np.random.Generator
    balance: Balance = field(default_factory=Balance)

    def ask(self, scene: Scene, *, count: int, most: int, unseen: bool) -> list[Question]:
        """Draw up to `count` different questions of at most `most` hops, of all lengths alike.

        `unseen`: whether a question may name a colour and a shape that are held out of training.
        """
        found: dict[str, Question] = {}
        first = int(self.rng.integers(most))
        for i in range(ASKED * count):
            if len(found) == count:
                break
            choices = [f for f in forms(most) if f[2] == 1 + (first + i) % most]
            question = self._draw(choices[int(self.rng.integers(len(choices)))], scene, unseen)
            if question and question.text not in found:
                found[question.text] = question
                self.balance.add(question.form, question.answer)
        return list(found.values())

    def _draw(self, form: Form, scene: Scene, unseen: bool) -> Question | None:
        """Draw some programs of a form; of their answers take the one given least, if there is room for it."""
        often, best = self.balance.often, None
        for _ in range(TRIES):
            try:
                program = _BUILD[form[0]](form, scene, self.rng)
                answer = run(program, scene)
            except LookupError:  # this scene has no such thing, or several
                continue
            fits = answer and (unseen or not _names_held_out(program))
            if fits and (best is None or often(form, answer) < often(form, best[0])):
                best = answer, program
        share = MOST[form[1] if form[0] == "query" else form[0]]
        if best is None or not self.balance.admits(form, best[0], most=share):
            return None
        return Question(
            text=say(best[1], self.rng), answer=best[0], program=best[1], hops=hops(best[1]), form=form
        )


def _names_held_out(program: Program) -> bool:
    wanted = dict(program[1]) if program[0] == "filter" else {}
    if "colour" in wanted and "shape" in wanted and held_out(wanted["colour"], wanted["shape"]):
        return True
    return any(
        _names_held_out(p) for p in program[1:] if isinstance(p, tuple) and p and isinstance(p[0], str)
    )


def _pick(options: Sequence, rng: np.random.Generator):
    if not len(options):
        raise LookupError("nothing to choose from")
    return options[int(rng.integers(len(options)))]


_NAMES = (("shape",), ("colour",), ("colour", "shape"), ("size", "shape"), ("size", "colour"), ("digit",))


def _named(scene: Scene, rng: np.random.Generator, *, hidden: str = "") -> Program:
    """Name one thing of the scene without ever telling the attribute `hidden`."""
    thing = _pick(scene, rng)
    names = [n for n in _NAMES if hidden not in n and (thing.digit or "digit" not in n)]
    wanted = tuple((a, getattr(thing, a)) for a in _pick(names, rng))
    program = ("filter", wanted, ("all",))
    _only(program, scene)
    return program


def _chain(length: int, scene: Scene, rng: np.random.Generator, *, hidden: str = "") -> Program:
    """Name a thing by `length` hops: a filter and then relations, of which one may filter too."""
    if length == 1:
        return _named(scene, rng, hidden=hidden)
    if length >= 3 and rng.random() < 0.4:
        near = ("relate", _pick(tuple(CONVERSE), rng), _chain(length - 2, scene, rng))
        attribute = _pick([a for a in ("shape", "colour") if a != hidden], rng)
        return ("filter", ((attribute, getattr(_pick(run(near, scene), rng), attribute)),), near)
    inner = _chain(length - 1, scene, rng)
    _only(inner, scene)
    return ("relate", _pick(tuple(CONVERSE), rng), inner)


def _query(form: Form, scene: Scene, rng: np.random.Generator) -> Program:
    return ("query", form[1], _chain(form[2], scene, rng, hidden=form[1]))


def _same(form: Form, scene: Scene, rng: np.random.Generator) -> Program:
    one = _chain(form[2] - 2, scene, rng, hidden=form[1])
    other = _named(scene, rng, hidden=form[1])
    if _only(one, scene) is _only(other, scene):
        raise LookupError("a thing is like itself")
    return ("same", form[1], one, other)


def _set(form: Form, scene: Scene, rng: np.random.Generator) -> Program:
    """Count or look for things: by attributes, near a thing, or both."""
    if form[2] == 1:
        return (form[0], ("filter", _any(_pick(_NAMES[:5], rng), rng, scene), ("all",)))
    if form[2] == 2:
        return (form[0], ("relate", _pick(tuple(CONVERSE), rng), _chain(1, scene, rng)))
    inner = _chain(form[2] - 2, scene, rng)
    near = ("relate", _pick(tuple(CONVERSE), rng), inner)
    return (form[0], ("filter", _any(_pick((("shape",), ("colour",), ("size",)), rng), rng, scene), near))


_VALUES = {"colour": tuple(COLOURS), "shape": SHAPES, "size": SIZES, "digit": DIGITS}


def _any(attributes: Sequence[str], rng: np.random.Generator, scene: Scene) -> tuple[tuple[str, str], ...]:
    """Wish for something: half of the values are taken from the scene, so that it is often nearly there."""
    return tuple(
        (a, getattr(_pick(scene, rng), a) if rng.random() < 0.5 else _pick(_VALUES[a], rng))
        for a in attributes
    )


_BUILD: dict[str, Callable[[Form, Scene, np.random.Generator], Program]] = {
    "query": _query, "same": _same, "count": _set, "exist": _set,
}  # fmt: skip
