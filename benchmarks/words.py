"""What models write, and answer, where the truth is known: `python -m benchmarks.words`. One JSON line for each part.

    python -m benchmarks.words --only captions --minutes 10 --rows 12000 --seed 0 --folder KEPT
    python -m benchmarks.words --only photos --data FOLDER --minutes 20

captions        of scenes: facts that hold, on kinds that training had and on held-out ones; where the model looked
questions       about scenes, by hops; with the picture left out, dealt out anew, or never seen; by steps of reasoning
solutions       of hints: what is written to lead to an answer; whether it entails one, and the right one
hints           2 x 2: with and without a rationale, with and without the picture, each a model of its own
photos          --data FOLDER: captions.jsonl with the splits train and test; beside texts that see nothing; samples
answers         --data FOLDER: qa.csv (split, image, question, answer), beside a model that never saw the pictures
clips, clip_questions, actions: of time; see benchmarks.video

With --folder the worlds, the runs and predictions.csv (id, prediction, error) of each part are kept, so that others
can judge them; a run that is complete is not trained again. A folder is for one seed, budget and kind.
"""

import argparse
import inspect
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.experiment import (
    Experiment,
    as_facts,
    blind_text,
    by,
    commonest_answer,
    facts_told,
    gain,
    kept_in,
    rate,
    right,
    swapped,
    texts_told,
    truth_lines,
    without,
)
from benchmarks.video import actions, clip_questions, clips

FACTS = {
    "there": ["there"],
    "size": ["size"],
    "count": ["count"],
    "digit": ["digit"],
    "place": ["left of", "above"],
}
POINTED = 300  # captions of which it is asked where the model looked
FIELDS = 3  # rows and columns of places in a scene
SHOWN = 5  # samples
HINTED = ("question", "context", "options")  # what a row of hints says in words


def captions(job: Experiment) -> None:
    """Captions of scenes: tuple precision, recall and F1, beside blind texts; where words of shapes look."""
    from sensorium.measure.text import commonest
    from sensorium.worlds import write_scenes
    from sensorium.worlds.facts import read_caption

    path = job.world("scenes", write_scenes, rows=job.count)
    model, test, truth = job.fit("captions", path, "caption", ["image"]), job.test(path), truth_lines(path)
    said = job.predict("", model, test)
    holds = [as_facts(truth[i]["holds"]) for i in test.ids]
    expected = [as_facts(f) for f in test.cells("facts")]
    train = _column(path, "caption")
    answers = {
        "model": said,
        "without any input": [blind_text(model, test)] * len(test),
        "the commonest text": [commonest([t for cell in train for t in cell])] * len(test),
    }
    found: dict[str, dict[str, object]] = {}
    for name, held in (("seen", "no"), ("held out", "yes")):
        index = [i for i, h in enumerate(test.cells("heldout")) if h == held]
        references = [test.cells("caption")[i] for i in index]
        for who, texts in answers.items():
            some = [texts[i] for i in index]
            facts = facts_told(
                [read_caption(t) for t in some], [holds[i] for i in index], [expected[i] for i in index], kinds=FACTS
            )  # fmt: skip
            found.setdefault(who, {})[name] = {**facts, **texts_told(some, references)}
    job.told(world="scenes", rows=job.count, **found, pointing=pointing(model, test, said, truth),
             samples=_samples(test.ids, said, test.cells("caption")))  # fmt: skip


def pointing(model, test, said: Sequence[str], truth: dict[str, dict]) -> dict[str, object]:
    """How often a word of a shape looks most at that shape, where the scene has one; beside two kinds of chance.

    A look is right within the thing's field of the picture and half a field around it. `chance` is the share of
    places there; `another's` is what the same looks hit of the things that other words name.
    """
    from sensorium.api.prepare import decoded
    from sensorium.api.saying import silent
    from sensorium.api.writing import looks
    from sensorium.data import Decoder

    few = test.take(range(min(POINTED, len(test))))
    rows, errors = decoded(Decoder(few, limits=model.limits, rates=model.rates), model.task, silent)
    spots, places = [], np.zeros((0, 3))
    for row, error, identity, text in zip(rows, errors, few.ids, said, strict=False):
        if error or not text:
            continue
        seen = looks(model.network, model.task, row, text)
        if "image" not in seen["places"]:
            continue
        places = np.array(seen["places"]["image"])
        spots += named_spots(seen["words"], places, truth[identity]["things"])
    if not spots:
        return {"words": 0}
    peaks, fields = (np.array(v) for v in zip(*spots, strict=True))
    other = np.roll(np.random.default_rng(0).permutation(len(spots)), 1)
    by_chance = np.array([within(places[:, 1:], f).mean() for f in fields])
    return {
        "words": len(spots), "places": len(places), "right": rate(within(peaks, fields).astype(float)),
        "chance": round(float(by_chance.mean()), 4), "another's": rate(within(peaks, fields[other]).astype(float)),
    }  # fmt: skip


def named_spots(
    words: Sequence[dict], places: np.ndarray, things: Sequence[dict]
) -> list[tuple[list[float], list[float]]]:
    """(peak, field), each (y, x), of every word that names the shape of exactly one thing; fields by their middle."""
    from sensorium.worlds.drawing import SHAPES

    ends = np.cumsum([len(w["word"]) for w in words])
    text, found = "".join(w["word"] for w in words), []
    for shape in re.finditer(rf"\b({'|'.join(SHAPES)})(?:e?s)?\b", text):
        named = [t for t in things if t["shape"] == shape[1]]
        if len(named) != 1:
            continue
        first, last = np.searchsorted(ends, [shape.start(), shape.end() - 1], side="right")
        looked = np.mean([words[k]["looks"]["image"] for k in range(first, last + 1)], axis=0)
        middle = [(named[0][axis] + 0.5) / FIELDS for axis in ("row", "column")]
        found.append((places[int(looked.argmax()), 1:].tolist(), middle))
    return found


def within(spots: np.ndarray, fields: np.ndarray) -> np.ndarray:
    """(n,) whether spots (n, 2) lie in the fields around middles (2,) or (n, 2), and half a field around them."""
    return (np.abs(np.asarray(spots) - fields) <= 1 / FIELDS + 1e-9).all(-1)


def questions(job: Experiment) -> None:
    """Questions about scenes: right answers by hops, what is left without the picture, and by steps of reasoning."""
    from sensorium.worlds import write_scenes

    path = job.world("scenes", write_scenes, rows=job.count).parent / "questions.jsonl"
    figures = asked_of_pictures(job, path)
    test, inputs = job.test(path), ["image", "question"]
    pictures, truth = test.cells("image"), test.cells("answer")
    by_steps = {}
    for steps in job.steps:
        model = job.fit(f"{steps} steps", path, "answer", inputs, steps=steps)
        hits = right(job.predict(f"{steps} steps", model, test), truth)
        by_steps[str(steps)] = {"all": rate(hits, pictures), "hops": by(test.cells("hops"), hits, pictures)}
    job.told(world="scenes", rows=job.count, **figures, steps=by_steps)


def asked_of_pictures(job: Experiment, path: Path) -> dict[str, object]:
    """Right answers of a model of picture and question, of it with harmed pictures, and of one of the question alone."""
    inputs = ["image", "question"]
    both, alone = job.fit("both", path, "answer", inputs), job.fit("question", path, "answer", ["question"])
    test = job.test(path)
    said = {
        "picture and question": job.predict("", both, test),
        "no picture": job.predict("no picture", both, without(test, "image")),
        "another's picture": job.predict("another's picture", both, swapped(test, "image", job.seed)),
        "trained on the question": job.predict("trained on the question", alone, test),
        "the commonest answer": [commonest_answer(path, "answer")] * len(test),
    }
    truth, pictures = test.cells("answer"), test.cells("image")
    hits = {name: right(texts, truth) for name, texts in said.items()}
    told: dict[str, object] = {"accuracy": {name: rate(h, pictures) for name, h in hits.items()}}
    ours = hits["picture and question"]
    told["ahead of"] = {name: gain(ours, h, pictures) for name, h in hits.items() if h is not ours}
    for column in ("hops", "heldout", "type"):
        if column in test.columns:
            told[column] = {name: by(test.cells(column), h, pictures) for name, h in hits.items()}
    if {"hops", "heldout"} <= set(test.columns):
        keys = [f"{n}, {'held out' if h == 'yes' else 'seen'}" for n, h in zip(test.cells("hops"), test.cells("heldout"), strict=True)]  # fmt: skip
        told["hops and heldout"] = by(keys, ours, pictures)
    return told


def solutions(job: Experiment) -> None:
    """Solutions of hints: do they entail an answer, is it the right one, and are they true of the picture?"""
    from sensorium.worlds import write_hints
    from sensorium.worlds.hints import entailed

    path = job.world("hints", write_hints, rows=job.count)
    model, test = job.fit("solutions", path, "solution", ["image", *HINTED]), job.test(path)
    truth, found = [truth_lines(path)[i] for i in test.ids], {}
    harmed = {
        "": test,
        "no picture": without(test, "image"),
        "another's picture": swapped(test, "image", job.seed),
    }
    for name, table in harmed.items():
        said = job.predict(name, model, table)
        letters = [entailed(s, o) for s, o in zip(said, test.cells("options"), strict=True)]
        hits = np.array([one == t["right"] for one, t in zip(letters, truth, strict=True)], float)
        found[name or "everything"] = {
            "entails": rate(np.array([bool(x) for x in letters], float)), "right": rate(hits),
            "misled": by([t["misled"] for t in truth], hits), "topic": by([t["topic"] for t in truth], hits),
            **texts_told(said, [[str(s)] for s in test.cells("solution")]),
        }  # fmt: skip
        if not name:
            samples = _samples(test.ids, said, [[s] for s in test.cells("solution")])
    job.told(world="hints", rows=job.count, chance=round(1 / 3, 4), **found, samples=samples)


def hints(job: Experiment) -> None:
    """Answers to hints by four models: with and without a rationale, with and without the picture."""
    import sensorium as sm
    from sensorium.worlds import write_hints

    if "rationale" not in inspect.signature(sm.Model).parameters:
        raise SystemExit(
            "hints: this version has no Model(rationale=...); `--only solutions` measures its first stage"
        )
    path = job.world("hints", write_hints, rows=job.count)
    test, truth, table, hits = job.test(path), truth_lines(path), [], {}
    misled = [truth[i]["misled"] for i in test.ids]
    for reason in (True, False):
        for vision in (True, False):
            name = f"{'with' if reason else 'no'} rationale, {'with' if vision else 'no'} picture"
            more = {"rationale": "solution"} if reason else {}
            model = job.fit(name.replace(", ", " "), path, "answer", [*(["image"] * vision), *HINTED], **more)
            said = job.predict("" if reason and vision else name.replace(",", ""), model, test)
            hits[reason, vision] = right(said, test.cells("answer"))
            row = {"rationale": reason, "vision": vision, "accuracy": rate(hits[reason, vision])}
            own = model.metrics.get("rationale")
            table.append(
                {**row, "misled": by(misled, hits[reason, vision]), **({"own figures": own} if own else {})}
            )
    gains = {
        "rationale": gain(hits[True, True], hits[False, True]),
        "vision": gain(hits[True, True], hits[True, False]),
    }
    job.told(world="hints", rows=job.count, chance=round(1 / 3, 4), ablation=table, gains=gains)


def photos(job: Experiment) -> None:
    """Captions of photos that a user has: word against word, beside what sees no photo."""
    from sensorium.measure.text import commonest

    path = _given(job, "captions.jsonl")
    if path is None:
        return
    cells = _column(path, job.target or "captions")
    train = [t for cell in cells for t in (cell if isinstance(cell, list) else [cell])]
    model = job.fit("photos", path, job.target or "captions", ["image"])
    test = job.test(path)
    truth = [c if isinstance(c, list) else [c] for c in test.cells(job.target or "captions")]
    said = job.predict("", model, test)
    answers = {
        "model": said, "without any input": [blind_text(model, test)] * len(test), "the commonest text": [commonest(train)] * len(test),
        "another's photo": job.predict("another's photo", model, swapped(test, "image", job.seed)),
    }  # fmt: skip
    scores = {who: texts_told(texts, truth) for who, texts in answers.items()}
    blind = answers["without any input"][0]
    job.told(
        source=path.name, test_rows=len(test), **scores, blind=blind, samples=_samples(test.ids, said, truth)
    )


def answers(job: Experiment) -> None:
    """Questions about a user's pictures: what does the picture add, row by row, to the question alone?"""
    path = _given(job, "qa.csv")
    if path is not None:
        job.told(source=path.name, test_rows=len(job.test(path)), **asked_of_pictures(job, path))


def _given(job: Experiment, name: str) -> Path | None:
    """The user's table; says so where it is not there."""
    if job.data is None:
        job.told(skipped=f"give --data, a folder with {name}")
        return None
    path = job.data / name if job.data.is_dir() else job.data
    if not path.is_file():
        job.told(skipped=f"{path} is not there")
        return None
    return path


def _column(path: Path, name: str) -> Sequence[object]:
    """Cells of training rows."""
    import sensorium as sm

    return [c for c in sm.read(path, split="train").cells(name) if c is not None]


def _samples(ids: Sequence[str], said: Sequence[str], truth: Sequence) -> list[dict[str, object]]:
    """A few rows from the beginning to the end, with one of the right texts."""
    index = np.unique(np.linspace(0, len(ids) - 1, SHOWN).astype(int)) if ids else []
    return [{"id": ids[i], "said": said[i], "truth": truth[i][0]} for i in index]


PARTS = {
    "captions": captions, "questions": questions, "clips": clips, "clip_questions": clip_questions, "actions": actions,
    "solutions": solutions, "hints": hints, "photos": photos, "answers": answers,
}  # fmt: skip


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    """What was asked on the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.words", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )  # fmt: skip
    parser.add_argument("--only", default="captions,questions", help=f"some of {','.join(PARTS)}")
    parser.add_argument("--minutes", type=float, default=5.0, help="of training each model")
    parser.add_argument(
        "--epochs", type=int, help="instead of minutes: as many passes over the rows on every machine"
    )
    parser.add_argument("--rows", type=int, help="of a world: pictures, clips; 6000 where not given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--decoder", choices=("transformer", "classic"), help="what writes; a target is then read as text"
    )
    parser.add_argument("--kind", help="of the target, such as text or category; None: as its column is read")
    parser.add_argument(
        "--steps", default="", help="of reasoning, such as 0,1,2,4,8: a further model of `questions` each"
    )
    parser.add_argument("--most", type=int, help="test rows at most")
    parser.add_argument("--data", type=Path, help="for `photos` and `answers`: a folder or a table")
    parser.add_argument("--target", help="for `photos`: the column of captions, where it is not `captions`")
    parser.add_argument("--folder", type=Path, help="keep worlds, runs and predictions here")
    args = parser.parse_args(argv)
    if unknown := set(args.only.split(",")) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    if args.decoder and args.kind not in (None, "text"):
        parser.error("--decoder is for texts: leave --kind out, or say text")
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the parts that were asked for."""
    from sensorium.types import InputError

    args = options(argv)
    kind = f"text:decoder={args.decoder}" if args.decoder else args.kind
    steps = tuple(int(s) for s in args.steps.split(",") if s)
    try:
        with kept_in(args.folder) as folder:
            for name in args.only.split(","):
                PARTS[name](Experiment(
                    part=name, folder=folder, minutes=args.minutes, epochs=args.epochs, rows=args.rows, seed=args.seed, kind=kind,
                    steps=steps, data=args.data, target=args.target, most=args.most,
                ))  # fmt: skip
    except InputError as error:
        raise SystemExit(f"{name}: {error}") from error


if __name__ == "__main__":
    main()
