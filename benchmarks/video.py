"""What models see in clips, in order: the parts `clips`, `clip_questions` and `actions` of `python -m benchmarks.words`.

clips           captions of clips: events and their order, with frames shuffled, reversed or all alike
clip_questions  by type; the question alone, a still; and do answers turn round with the clip?
actions         twelve motions of which one frame tells nothing
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.experiment import (
    Experiment,
    as_facts,
    blind_text,
    by,
    commonest_answer,
    facts_told,
    rate,
    right,
    stills,
    texts_told,
    truth_lines,
    with_cells,
    without,
)

EVENTS = {"events": ["event"], "order": ["then"]}
ORDER = ("order", "first", "last", "after", "before")  # types of questions that time decides
LEAST = 10  # pairs of clips


def clips(job: Experiment) -> None:
    """Captions of clips: facts of events, facts of order, and what wrong frames leave of them."""
    from sensorium.worlds import write_clips
    from sensorium.worlds.events import read_clip_caption

    path = job.world("clips", write_clips, pairs=max(LEAST, job.count // 2))
    model, test, truth = job.fit("clips", path, "caption", ["video"]), job.test(path), truth_lines(path)
    holds = [as_facts(truth[i]["holds"]) for i in test.ids]
    expected = [as_facts(f) for f in test.cells("facts")]
    answers = {
        "model": job.predict("", model, test),
        "single frame": job.predict("single frame", model, stills(model, test, "video")),
        "without any input": [blind_text(model, test)] * len(test),
    }
    found = {}
    for who, said in answers.items():
        facts = facts_told([read_clip_caption(t) for t in said], holds, expected, kinds=EVENTS)
        found[who] = {
            **facts,
            "order": ordered(said, expected, holds),
            **texts_told(said, test.cells("caption")),
        }
    own = model.evaluate(test)
    job.told(world="clips", rows=len(test), **found, controls=own.get("controls", []), metric=own["metric"])


def ordered(said: Sequence[str], expected: Sequence[set], holds: Sequence[set]) -> dict[str, object]:
    """Shares of facts of order: of those to be told, and, where a text tells of two events that happen, of those told.

    `right way`: of told orders of two events that both happen, how many hold; a text that knows the events and guesses
    their order has one in two.
    """
    from sensorium.worlds.events import read_clip_caption

    told, both = [], []
    for text, wanted, true in zip(said, expected, holds, strict=True):
        found = read_clip_caption(text)
        told += [f in found for f in wanted if f[0] == "then"]
        happens = {" ".join(f[1:]) for f in true if f[0] == "event"}
        both += [f in true for f in found if f[0] == "then" and {f[1], f[2]} <= happens and f[1] != f[2]]
    return {"told": rate(np.array(told, float)), "right way": rate(np.array(both, float))}


def clip_questions(job: Experiment) -> None:
    """Questions about clips, by type: with the clip, without it, with a still, and with the clip run backwards."""
    from sensorium.worlds import write_clips

    pairs = max(LEAST, job.count // 2)
    path = job.world("clips", write_clips, pairs=pairs).parent / "questions.jsonl"
    inputs = ["video", "question"]
    both, alone = job.fit("both", path, "answer", inputs), job.fit("question", path, "answer", ["question"])
    test = job.test(path)
    said = {
        "clip and question": job.predict("", both, test),
        "no clip": job.predict("no clip", both, without(test, "video")),
        "single frame": job.predict("single frame", both, stills(both, test, "video")),
        "trained on the question": job.predict("trained on the question", alone, test),
        "the commonest answer": [commonest_answer(path, "answer")] * len(test),
    }
    groups = test.cells("pair")
    hits = {name: right(texts, test.cells("answer")) for name, texts in said.items()}
    kinds = [str(t) for t in test.cells("type")]
    timed = np.array([k.split("-")[0] in ORDER for k in kinds])
    job.told(
        world="clips", rows=len(test), accuracy={name: rate(h, groups) for name, h in hits.items()},
        of_order={name: rate(h[timed], np.array(groups)[timed]) for name, h in hits.items()},
        type={name: by(kinds, h, groups) for name, h in hits.items()},
        flips=flips(job, both, test, truth_lines(path)), controls=both.evaluate(test).get("controls", []),
    )  # fmt: skip


def flips(job: Experiment, model, test, truth: Mapping[str, dict]) -> dict[str, object]:
    """Do answers turn round with the clip? Both clips of a pair are asked; the right answers differ.

    `right`: share of pairs in which both answers are right; `same`: in which both are alike, so that one is wrong. A
    question that names events is put as the other clip shows them ("grows" for "shrinks").
    """
    rows, asked = [], []
    for row, (identity, kind, question) in enumerate(
        zip(test.ids, test.cells("type"), test.cells("question"), strict=True)
    ):
        twin = twin_of(identity.rpartition("-")[0])
        found = turned(str(kind), str(question), str(test.cells("answer")[row]), truth[twin]["events"])
        if found is not None and found[1] != test.cells("answer")[row]:
            rows.append(row)
            asked.append((twin, *found))
    if not rows:
        return {"pairs": 0}
    some = test.take(rows)
    there = with_cells(some, "question", [q for _, q, _ in asked])
    there = with_cells(there, "video", [f"video/{twin}.mp4" for twin, _, _ in asked])
    here, then = job.predict("one way", model, some), job.predict("backwards", model, there)
    one, other = right(here, some.cells("answer")), right(then, [a for _, _, a in asked])
    turn, same = one * other, np.array([a == b for a, b in zip(here, then, strict=True)], float)
    kinds, groups = [str(t).split("-")[0] for t in some.cells("type")], some.cells("pair")
    return {"right": rate(turn, groups), "same": rate(same, groups), "type": by(kinds, turn, groups)}


def twin_of(clip: str) -> str:
    """The clip that runs the other way."""
    return clip[:-1] + {"a": "b", "b": "a"}[clip[-1]]


def turned(kind: str, question: str, answer: str, events: Sequence[Mapping]) -> tuple[str, str] | None:
    """The question as the twin shows it, with its answer there; none for a question that has none there.

    kind: the type of the question; events: those of the twin, in order, as `truth.jsonl` has them.
    """
    what, _, attribute = kind.partition("-")
    if what not in ORDER:
        return None
    mirror = mirrored(question)
    if what == "order":
        return mirror, {"yes": "no", "no": "yes"}[answer]
    place = {"first": 0, "last": len(events) - 1}.get(what)
    if place is None:
        place = _beside(mirror, what, events)
    if place is None or not 0 <= place < len(events) or (attribute and events[place]["other"]):
        return None
    event = events[place]
    colour, shape = event["kind"].split()
    return mirror, {"": event["verb"], "shape": shape, "colour": colour}[attribute]


def _beside(question: str, what: str, events: Sequence[Mapping]) -> int | None:
    """Where the event stands that comes right after, or before, the one that a question names."""
    from sensorium.worlds.events import read_clip_caption

    named = {f[1:] for f in read_clip_caption(question) if f[0] == "event"}
    told = [tuple(filter(None, (e["verb"], e["kind"], e["other"]))) for e in events]
    found = [i for i, t in enumerate(told) if t in named]
    return found[0] + (1 if what == "after" else -1) if len(found) == 1 else None


def mirrored(question: str) -> str:
    """Say every event of a question as it looks backwards, in the same manner of speaking."""
    from sensorium.worlds.drawing import COLOURS, SHAPES
    from sensorium.worlds.events import MIRROR, WAYS

    turn = {
        said: WAYS[MIRROR[verb]][k] for verb, ways in WAYS.items() if verb != "hits" for k, said in enumerate(ways)
    }  # fmt: skip
    kind = rf"((?:{'|'.join(COLOURS)}) (?:{'|'.join(SHAPES)}))"
    hit = re.compile(rf"\bthe {kind} ({'|'.join(WAYS['hits'])}) the {kind}")
    says = "|".join(sorted(map(re.escape, turn), key=len, reverse=True))
    found = hit.sub(r"the \3 \2 the \1", question)
    return re.sub(rf"(\bthe {kind}) ({says})\b", lambda m: f"{m[1]} {turn[m[3]]}", found)


def actions(job: Experiment) -> None:
    """Twelve motions: right answers, and what a still leaves of them."""
    from sensorium.worlds import write_actions
    from sensorium.worlds.actions import ACTIONS

    path = job.world("actions", write_actions, rows=max(10 * len(ACTIONS), job.count))
    model, test = job.fit("actions", path, "action", ["video"]), job.test(path)
    truth = test.cells("action")
    said = {
        "clip": job.predict("", model, test),
        "single frame": job.predict("single frame", model, stills(model, test, "video")),
    }
    hits = {name: right(texts, truth) for name, texts in said.items()}
    job.told(
        world="actions", rows=len(test), chance=round(1 / len(ACTIONS), 4), accuracy={name: rate(h) for name, h in hits.items()},
        action=by(truth, hits["clip"]), controls=model.evaluate(test).get("controls", []),
    )  # fmt: skip
