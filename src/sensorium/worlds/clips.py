"""Short clips in which one to three things happen in order, each beside the same clip running backwards.

Nothing but time tells a clip from its twin: the pictures are the same. So a caption or an answer that does not look at
the order of pictures is right in one of two at most.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from sensorium.types import InputError
from sensorium.worlds.digits import spread
from sensorium.worlds.drawing import COLOURS, SHAPES, Mark, ground, paint
from sensorium.worlds.events import (
    MIRROR,
    Asked,
    Cast,
    Event,
    clip_captions,
    event_facts,
    questions_about,
)
from sensorium.worlds.everything import encoded_clip
from sensorium.worlds.facts import SIZES
from sensorium.worlds.questions import Balance
from sensorium.worlds.scenes import FIELDS, write_lines

FRAMES, RATE_HZ = 12, 6  # two seconds
SHORTEST = 2  # frames that an event takes at least
RADIUS = {"small": 0.075, "large": 0.125}  # of the picture's side
APART, HALF = (
    0.086,
    0.6,
)  # of the middles of two halves from where the whole was; their radius of that of the whole
STEPS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}  # rows, columns
MOST = {
    "order": 0.5,
    "state": 0.5,
    "size": 0.5,
    "cause": 0.5,
    "count": 0.36,
    "direction": 0.26,
}  # as in `questions`
OTHERWISE = 0.24

README = """# Clips: what happens, and in which order

{rows} clips ({frames} pictures of {side} x {side} pixels, {rate} a second), in pairs: the second of a pair is the first
running backwards, with a truth of its own. One to three events follow each other: a thing moves left, right, up or down,
grows, shrinks, appears, disappears, splits, merges, or hits another, which then moves on.

- `clips.jsonl`: a row per clip: `video`, `caption` (five wordings of the same), the first `question` with its `answer`
  and its number of `hops`, and `facts`: what the captions tell, as JSON. `pair` is the same for both of a pair.
- `questions.jsonl`: a row per question, {questions} to a clip where so many are found.
- `truth.jsonl` is for the judge and not for the model: events with their onset and end in seconds, and all facts that
  hold (`holds`).

`split` is train, valid or test; a pair is never parted. Written with seed {seed}.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Actor:
    """A thing of a clip, at its first frame."""

    colour: str
    shape: str
    size: str
    x: float  # of the middle, as shares of the side
    y: float
    event: Event | None = None  # what it does, or what is done to it
    step: tuple[float, float] = (0.0, 0.0)  # way (x, y) that it goes in its event

    @property
    def kind(self) -> str:
        """Colour and shape."""
        return f"{self.colour} {self.shape}"


def write_clips(
    folder: str | Path, *, pairs: int = 500, seed: int = 0, side: int = 64, questions: int = 4
) -> Path:
    """Write `clips.jsonl`, `questions.jsonl`, `truth.jsonl`, `video/*.mp4` and `README.md`; return the first.

    There are twice as many clips as `pairs`; `side`: pixels of a picture (even); `questions`: most of them for each clip.
    Same arguments, same bytes. Raises InputError for fewer than 10 pairs, an odd side or one outside 32..256, or fewer
    than one question.
    """
    _check(pairs, side, questions)
    folder = Path(folder)
    (folder / "video").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    balances = {s: Balance() for s in ("train", "valid", "test")}
    tables: dict[str, list[dict]] = {"clips": [], "questions": [], "truth": []}
    for pair, split in enumerate(spread(pairs)):
        actors, events = story(rng)
        pictures = draw(actors, rng, side=side)
        for way in ("a", "b"):
            row = {"id": f"{pair:05d}{way}", "pair": f"{pair:05d}", "split": split}
            row["video"] = f"video/{row['id']}.mp4"
            (folder / row["video"]).write_bytes(encoded_clip(pictures, rate_hz=RATE_HZ))
            asked = _chosen(questions_about(events, cast(actors, way), rng), balances[split], rng, questions)
            _append(tables, row, events, clip_captions(events, rng), asked)
            events, pictures = [e.mirrored(FRAMES) for e in reversed(events)], pictures[::-1]
    for name, lines in tables.items():
        write_lines(folder / f"{name}.jsonl", lines)
    told = README.format(
        rows=2 * pairs, frames=FRAMES, side=side, rate=RATE_HZ, questions=questions, seed=seed
    )
    (folder / "README.md").write_text(told, encoding="utf-8")
    return folder / "clips.jsonl"


def _check(pairs: int, side: int, questions: int) -> None:
    if pairs < 10:
        raise InputError("the world needs pairs for three splits", got=pairs, fix="write at least 10 pairs")
    if not 32 <= side <= 256 or side % 2:
        raise InputError("no side for a clip", got=side, fix="give an even side of 32 to 256 pixels")
    if questions < 1:
        raise InputError("a clip needs a question", got=questions, fix="ask at least one of each clip")


def story(rng: np.random.Generator) -> tuple[list[Actor], list[Event]]:
    """Draw one to three events in order, each of another thing, and perhaps a thing that does nothing."""
    count = int(rng.integers(1, 4))
    verbs = [str(v) for v in rng.permutation(list(MIRROR))[:count]]
    while (placed := _places(verbs, rng)) is None:
        verbs = [str(v) for v in rng.permutation(list(MIRROR))[:count]]
    kinds = _kinds(count + 2, rng)
    actors, events = [], []
    for verb, fields, (start, stop) in zip(verbs, placed, _times(count, rng), strict=True):
        event = Event(
            verb=verb,
            kind=" ".join(kinds[0]),
            other=" ".join(kinds[1]) if verb == "hits" else "",
            start=start,
            stop=stop,
        )
        own = 2 if verb == "hits" else 1
        actors += _actors(event, kinds[:own], fields, rng)
        kinds = kinds[own:]
        events.append(event)
    if kinds and rng.random() < 0.5:
        free = [f for f in np.ndindex(FIELDS, FIELDS) if not any(f in fields for fields in placed)]
        if free:
            size = SIZES[int(rng.integers(2))]
            actors.append(_actor(kinds[0], size, free[int(rng.integers(len(free)))]))
    return actors, events


def _kinds(count: int, rng: np.random.Generator) -> list[tuple[str, str]]:
    """Draw different kinds, half of them with the colour or the shape of the one before."""
    found: list[tuple[str, str]] = []
    while len(found) < count:
        colour, shape = list(COLOURS)[rng.integers(len(COLOURS))], SHAPES[rng.integers(len(SHAPES))]
        if found and rng.random() < 0.5:
            colour, shape = (found[-1][0], shape) if rng.random() < 0.5 else (colour, found[-1][1])
        if (colour, shape) not in found:
            found.append((colour, shape))
    return found


Field = tuple[int, int]  # row, column


def _places(verbs: Sequence[str], rng: np.random.Generator) -> list[list[Field]] | None:
    """Give every event fields of its own, in the order in which they are crossed; none where they do not fit."""
    taken: set[Field] = set()
    found = []
    for verb in sorted(verbs, key=lambda v: (v != "hits", not v.startswith("moves"))):
        options = [p for p in _paths(verb) if not taken & set(p)]
        if not options:
            return None
        path = options[int(rng.integers(len(options)))]
        taken |= set(path)
        found.append((verbs.index(verb), path))
    return [path for _, path in sorted(found)]


def _paths(verb: str) -> list[list[Field]]:
    """Every row of fields that an event of this kind can take."""
    long = {"hits": 3}.get(verb, 2 if verb.startswith("moves") else 1)
    ways = list(STEPS.values()) if verb == "hits" else [STEPS.get(verb.split()[-1], (0, 0))]
    lines = [
        [(r + k * down, c + k * across) for k in range(long)]
        for down, across in ways
        for r, c in np.ndindex(FIELDS, FIELDS)
    ]
    return [line for line in lines if all(0 <= r < FIELDS and 0 <= c < FIELDS for r, c in line)]


def _times(count: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Draw first and last frames of events that follow each other, with pauses of any length around them."""
    longest = (FRAMES - 1) // count
    lengths = rng.integers(SHORTEST, min(longest, 6) + 1, count)
    pauses = rng.multinomial(FRAMES - 1 - int(lengths.sum()), np.full(count + 1, 1 / (count + 1)))
    starts = np.cumsum(pauses[:-1]) + np.concatenate([[0], np.cumsum(lengths)[:-1]])
    return [(int(s), int(s + n)) for s, n in zip(starts, lengths, strict=True)]


def _middle(place: Field) -> tuple[float, float]:
    return (place[1] + 0.5) / FIELDS, (place[0] + 0.5) / FIELDS


def _actor(kind: tuple[str, str], size: str, place: Field) -> Actor:
    x, y = _middle(place)
    return Actor(colour=kind[0], shape=kind[1], size=size, x=x, y=y)


def _actors(
    event: Event, kinds: Sequence[tuple[str, str]], fields: Sequence[Field], rng: np.random.Generator
) -> list[Actor]:
    """Put the things of an event into its fields, with the way that each of them goes."""
    size = {"grows": "small", "shrinks": "large", "splits": "large", "merges": "large"}.get(event.verb)
    sizes = [size or SIZES[int(rng.integers(2))] for _ in kinds]
    one = replace(_actor(kinds[0], sizes[0], fields[0]), event=event)
    if event.verb.startswith("moves"):
        return [replace(one, step=_way(fields[0], fields[1], 1.0))]
    if event.verb != "hits":
        return [one]
    other = replace(_actor(kinds[1], sizes[1], fields[1]), event=event, step=_way(fields[1], fields[2], 1.0))
    touching = FIELDS * (RADIUS[sizes[0]] + RADIUS[sizes[1]])  # in fields: how far apart the two middles are
    return [replace(one, step=_way(fields[0], fields[1], 1 - touching)), other]


def _way(start: Field, end: Field, share: float) -> tuple[float, float]:
    (x0, y0), (x1, y1) = _middle(start), _middle(end)
    return share * (x1 - x0), share * (y1 - y0)


def draw(actors: Sequence[Actor], rng: np.random.Generator, *, side: int) -> list[np.ndarray]:
    """Paint all frames; (side, side, 3) uint8 each."""
    place = ground(rng)
    off = rng.uniform(-0.012, 0.012, (len(actors), 2))
    moved = [
        replace(a, x=a.x + float(dx), y=a.y + float(dy)) for a, (dx, dy) in zip(actors, off, strict=True)
    ]
    return [
        paint([m for a in moved for m in marks(a, frame)], place, rng, side=side) for frame in range(FRAMES)
    ]


def marks(actor: Actor, frame: int) -> list[Mark]:
    """Show an actor at a frame: as one mark, as two halves, or not at all."""
    event = actor.event
    done = 0.0 if event is None else float(np.clip((frame - event.start) / (event.stop - event.start), 0, 1))
    verb = "" if event is None else event.verb
    x, y, radius = actor.x, actor.y, RADIUS[actor.size]
    if (verb == "appears" and done <= 0.5) or (verb == "disappears" and done > 0.5):
        return []
    if verb in ("grows", "shrinks"):
        end = RADIUS["large" if verb == "grows" else "small"]
        radius += done * (end - radius)
    if verb in ("splits", "merges"):
        return _halves(actor, done if verb == "splits" else 1 - done)
    if verb == "hits":  # the first half of the time is the hitter's way, the second that of what it hits
        done = (
            min(1.0, 2 * done) if event is not None and actor.kind == event.kind else max(0.0, 2 * done - 1)
        )
    x, y = x + done * actor.step[0], y + done * actor.step[1]
    return [Mark(shape=actor.shape, colour=actor.colour, x=x, y=y, radius=radius)]


def _halves(actor: Actor, apart: float) -> list[Mark]:
    radius = RADIUS[actor.size] * (1 + apart * (HALF - 1))
    return [
        Mark(shape=actor.shape, colour=actor.colour, x=actor.x + s * apart * APART, y=actor.y, radius=radius)
        for s in ((-1, 1) if apart else (0,))
    ]


def cast(actors: Sequence[Actor], way: str) -> Cast:
    """Sizes and numbers at both ends; `way` is "a" for the clip as drawn and "b" for the one that runs backwards."""
    numbers, sizes = {}, {}
    for actor in actors:
        ends = [marks(actor, f) for f in ((0, FRAMES - 1) if way == "a" else (FRAMES - 1, 0))]
        numbers[actor.kind] = (len(ends[0]), len(ends[1]))
        large = [bool(e) and e[0].radius > 0.9 * RADIUS["large"] for e in ends]
        sizes[actor.kind] = (SIZES[large[0]], SIZES[large[1]])
    return Cast(sizes=sizes, numbers=numbers)


def _chosen(found: Sequence[Asked], balance: Balance, rng: np.random.Generator, count: int) -> list[Asked]:
    """Choose questions of different types, each with the answer given least so far, where the balance admits it."""
    by_type: dict[str, list[Asked]] = {}
    for asked in found:
        by_type.setdefault(asked[0], []).append(asked)
    chosen: list[Asked] = []
    names = list(by_type)
    for i in rng.permutation(len(names)):
        kind, _, answer, _ = best = min(
            (by_type[names[i]][j] for j in rng.permutation(len(by_type[names[i]]))),
            key=lambda q: balance.often(q[0], q[2]),
        )
        if len(chosen) < count and balance.admits(kind, answer, most=MOST.get(kind.split("-")[0], OTHERWISE)):
            balance.add(kind, answer)
            chosen.append(best)
    return chosen


def _append(
    tables: dict[str, list[dict]], row: dict, events: Sequence[Event], said: list[str], asked: Sequence[Asked]
) -> None:
    lines = [{"question": q, "answer": a, "hops": n, "type": kind} for kind, q, a, n in asked]
    first = {k: lines[0][k] if lines else "" for k in ("question", "answer", "hops")}
    facts = json.dumps(sorted(event_facts(events, all_pairs=False)))
    tables["clips"].append({**row, "caption": said, **first, "facts": facts})
    for k, line in enumerate(lines):
        here = {"id": f"{row['id']}-{k}", "pair": row["pair"], "split": row["split"], "video": row["video"]}
        tables["questions"].append({**here, **line})
    times = [
        {**asdict(e), "onset_s": round(e.start / RATE_HZ, 4), "end_s": round(e.stop / RATE_HZ, 4)}
        for e in events
    ]
    tables["truth"].append(
        {"id": row["id"], "events": times, "holds": sorted(event_facts(events, all_pairs=True))}
    )
