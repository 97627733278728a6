"""What happens in a clip, in order: said in words, read back from words, and asked about.

A fact is a tuple of words: ("event", verb, kind), ("event", "hits", kind, other kind), and ("then", event, event) for an
earlier and a later event, each as one text such as "grows red circle". Every event has a mirror in the clip that runs
backwards.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sensorium.worlds.drawing import COLOURS, SHAPES
from sensorium.worlds.facts import NUMBERS, Fact, article, one_of
from sensorium.worlds.questions import COUNTS

MIRROR = {
    "moves left": "moves right", "moves right": "moves left", "moves up": "moves down", "moves down": "moves up",
    "grows": "shrinks", "shrinks": "grows", "appears": "disappears", "disappears": "appears",
    "splits": "merges", "merges": "splits", "hits": "hits",
}  # fmt: skip
WAYS = {
    **{f"moves {way}": (f"moves {way}", f"goes {way}", f"slides {way}") for way in ("left", "right", "up", "down")},
    "grows": ("grows", "gets bigger", "becomes large"),
    "shrinks": ("shrinks", "gets smaller", "becomes small"),
    "appears": ("appears", "shows up", "comes into being"),
    "disappears": ("disappears", "vanishes", "goes away"),
    "splits": ("splits", "splits in two", "breaks in two"),
    "merges": ("merges", "merges into one", "joins into one"),
    "hits": ("hits", "bumps into", "knocks against"),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One change of one thing, from frame `start` to frame `stop`."""

    verb: str  # of MIRROR
    kind: str  # colour and shape of what changes
    start: int
    stop: int
    other: str = ""  # what is hit, and moves on

    @property
    def name(self) -> str:
        """The event as one text of facts."""
        return " ".join(filter(None, (self.verb, self.kind, self.other)))

    def mirrored(self, frames: int) -> "Event":
        """Give the event as it looks when the clip of so many frames runs backwards."""
        kind, other = (self.other, self.kind) if self.verb == "hits" else (self.kind, self.other)
        start, stop = frames - 1 - self.stop, frames - 1 - self.start
        return Event(verb=MIRROR[self.verb], kind=kind, other=other, start=start, stop=stop)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cast:
    """Who is there: for each kind its size and number of things at the first and at the last frame."""

    sizes: dict[str, tuple[str, str]]
    numbers: dict[str, tuple[int, int]]


def event_facts(events: Sequence[Event], *, all_pairs: bool) -> set[Fact]:
    """Give the facts of events in order: each event, and which came before which (all pairs, or neighbours only)."""
    facts: set[Fact] = {("event", *filter(None, (e.verb, e.kind, e.other))) for e in events}
    for i, early in enumerate(events):
        late = events[i + 1 :] if all_pairs else events[i + 1 : i + 2]
        facts |= {("then", early.name, e.name) for e in late}
    return facts


_FORMS = {
    1: (
        "{0}.", "in this clip {0}.", "only one thing happens: {0}.", "we see how {0}.", "{0}, and that is all."
    ),
    2: (
        "{0}, then {1}.", "{1} after {0}.", "before {1}, {0}.", "after {0}, {1}.", "first {0}, and finally {1}.",
        "{0} before {1}.",
    ),
    3: (
        "{0}, then {1}, then {2}.", "first {0}, next {1}, and finally {2}.", "after {0}, {1}, and then {2}.",
        "{1} after {0}, then {2}.", "before {1}, {0}; finally {2}.", "first {0}, then {1} before {2}.",
    ),
}  # fmt: skip


def clip_captions(events: Sequence[Event], rng: np.random.Generator) -> list[str]:
    """Say one to three events in order, in five ways."""
    forms = _FORMS[len(events)]
    return [forms[i].format(*(clause(e, rng) for e in events)) for i in rng.permutation(len(forms))[:5]]


def clause(event: Event, rng: np.random.Generator) -> str:
    """Say an event as a clause, such as "the red circle bumps into the blue star"."""
    ways = WAYS[event.verb]
    text = f"the {event.kind} {ways[int(rng.integers(len(ways)))]}"
    return f"{text} the {event.other}" if event.other else text


_CANONICAL = {said: verb for verb, ways in WAYS.items() for said in ways}
_KIND = rf"(?:the|a|an|one) ((?:(?:{one_of(list(COLOURS))}) )?(?:{one_of(SHAPES)}))\b"
_STEP = re.compile(
    rf"{_KIND} (?:({one_of(WAYS['hits'])})\b(?: {_KIND})?|({one_of([w for w in _CANONICAL if w not in WAYS['hits']])})\b)"
    r"|\b(then|next|finally|first|after|before)\b"
)


def read_clip_caption(text: str) -> set[Fact]:
    """Read the facts that a text tells: events, and the order of neighbours; other words are passed over."""
    parts: list[list[Event | str]] = [[]]
    for found in _STEP.finditer(" ".join(text.lower().split())):
        kind, hit, other, verb, word = found.groups()
        if word in ("then", "next", "finally", "first"):
            parts.append([])
        elif word:
            parts[-1].append(word)
        else:
            name = "hits" if hit else _CANONICAL[verb]
            parts[-1].append(Event(verb=name, kind=kind, other=other or "", start=0, stop=0))
    return event_facts([e for part in parts for e in _in_order(part)], all_pairs=False)


def _in_order(part: Sequence[Event | str]) -> list[Event]:
    """Put the events of one step of a story in order; "after" and "before" may stand in front or between."""
    events = [e for e in part if isinstance(e, Event)]
    for place, said in enumerate(part):
        if isinstance(said, str) and len(events) > 1:
            before = sum(isinstance(e, Event) for e in part[:place])
            if (said == "after") == (before > 0):
                i = max(before - 1, 0)
                events[i : i + 2] = events[i : i + 2][::-1]
    return events


Asked = tuple[str, str, str, int]  # type, question, answer, hops


def questions_about(events: Sequence[Event], cast: Cast, rng: np.random.Generator) -> list[Asked]:
    """Give every question that the clip answers: of order, first and last, counts, directions, states and causes."""
    return [
        *_of_order(events, rng), *_of_ends(events), *_of_counts(events, cast), *_of_directions(events),
        *_of_states(cast, rng), *_of_causes(events),
    ]  # fmt: skip


def _of_order(events: Sequence[Event], rng: np.random.Generator) -> list[Asked]:
    found: list[Asked] = []
    for early, late in zip(events, events[1:], strict=False):
        found.append(("after", f"what happens right after {clause(early, rng)}?", late.verb, 2))
        found.append(("before", f"what happens right before {clause(late, rng)}?", early.verb, 2))
        if not late.other:
            found.append(
                ("after-shape", f"what shape changes right after {clause(early, rng)}?", _shape(late), 2)
            )
        if not early.other:
            found.append(
                ("before-shape", f"what shape changes right before {clause(late, rng)}?", _shape(early), 2)
            )
    for early, late in ((a, b) for i, a in enumerate(events) for b in events[i + 1 :]):
        one, two = clause(early, rng), clause(late, rng)
        found.append(("order", f"is it true that {one} before {two}?", "yes", 2))
        found.append(("order", f"is it true that {two} before {one}?", "no", 2))
    return found


def _shape(event: Event) -> str:
    return event.kind.split()[1]


def _of_ends(events: Sequence[Event]) -> list[Asked]:
    if len(events) < 2:
        return []
    found: list[Asked] = []
    for name, event in (("first", events[0]), ("last", events[-1])):
        found.append((name, f"what happens {name}?", event.verb, 1))
        if not event.other:
            found.append((f"{name}-shape", f"what shape changes {name}?", _shape(event), 1))
            found.append(
                (
                    f"{name}-colour",
                    f"what colour has the thing that changes {name}?",
                    event.kind.split()[0],
                    1,
                )
            )
    return found


def _of_counts(events: Sequence[Event], cast: Cast) -> list[Asked]:
    moves = sum(e.verb.startswith("moves") or 2 * (e.verb == "hits") for e in events)
    start, end = (sum(n[i] for n in cast.numbers.values()) for i in (0, 1))
    return [
        ("count", "how many events are there?", NUMBERS[len(events) - 1], 1),
        ("count-moves", "how many things move?", COUNTS[moves], 1),
        ("count-start", "how many things are there at the start?", COUNTS[start], 1),
        ("count-end", "how many things are there at the end?", COUNTS[end], 1),
    ]


def _of_directions(events: Sequence[Event]) -> list[Asked]:
    moves = [e for e in events if e.verb.startswith("moves")]
    return [("direction", f"which way does the {e.kind} move?", e.verb.split()[1], 1) for e in moves]


def _of_states(cast: Cast, rng: np.random.Generator) -> list[Asked]:
    found: list[Asked] = []
    for i, when in enumerate(("at the start", "at the end")):
        for kind, numbers in cast.numbers.items():
            found.append(
                (f"state-{i}", f"is there {article(kind)} {when}?", "yes" if numbers[i] else "no", 1)
            )
            if numbers[i] == 1:
                found.append((f"size-{i}", f"is the {kind} small or large {when}?", cast.sizes[kind][i], 1))
    return found


def _of_causes(events: Sequence[Event]) -> list[Asked]:
    found: list[Asked] = []
    for event in events:
        by_itself = event.verb.startswith("moves")
        if event.other or by_itself:
            moved = event.kind if by_itself else event.other
            found.append(("cause", f"does the {moved} move by itself?", "yes" if by_itself else "no", 2))
        if event.other:
            found.append(("cause-shape", f"what shape makes the {event.other} move?", _shape(event), 2))
            found.append(("cause-colour", f"what colour is the thing that makes the {event.other} move?",
                          event.kind.split()[0], 2))  # fmt: skip
    return found
