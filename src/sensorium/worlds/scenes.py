"""Scenes of coloured shapes with captions in five wordings and questions of one to four hops.

Some shapes bear a real handwritten digit, and each split has digits of its own. One colour of every shape is kept out
of training: a model that has learned colours and shapes, and not pictures, names it all the same.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from sensorium.types import InputError
from sensorium.worlds.digits import WORDS, handwriting, spread
from sensorium.worlds.drawing import COLOURS, SHAPES, Mark, ground, paint
from sensorium.worlds.facts import SIZES, Scene, Thing, captions, held_out, scene_facts, told_facts
from sensorium.worlds.questions import HOPS, Asker, Question

FIELDS = 3  # rows and columns of places in a picture
RADIUS = {"small": 0.078, "large": 0.145}  # of the picture's side
KINDS = (0.15, 0.4, 0.45)  # how often a scene has one, two or three kinds of things

README = """# Scenes: shapes, colours, places, numbers and handwriting

{rows} pictures ({side} x {side} pixels) of one to five things. A thing has a colour, a shape, a size and a place; some
large ones bear a digit in real handwriting (the 1,797 digits of scikit-learn's `load_digits`, from the UCI set "Optical
Recognition of Handwritten Digits").

- `scenes.jsonl`: a row per picture: `image`, `caption` (five wordings of the same), the first `question` with its
  `answer` and its number of `hops`, and `facts`: what the captions tell, as JSON.
- `questions.jsonl`: a row per question, {questions} to a picture where so many are found.
- `truth.jsonl` is for the judge and not for the model: every thing with its place, all facts that hold (`holds`), and
  the programs of the questions.

`split` is train, valid or test. No handwritten digit stands in two splits. In half of the pictures of the split test
(`heldout` is yes) there is a colour and a shape that never come together in train and valid, and are not spoken of
there: {heldout}. Questions of more than {train_hops} hops stand in test only. Written with seed {seed}.
"""


def write_scenes(
    folder: str | Path,
    *,
    rows: int = 2000,
    seed: int = 0,
    side: int = 64,
    questions: int = 4,
    train_hops: int = 3,
) -> Path:
    """Write `scenes.jsonl`, `questions.jsonl`, `truth.jsonl`, `images/*.png` and `README.md`; return the first.

    `side`: pixels of a picture; `questions`: most of them for each picture; `train_hops`: longest question (1..4) in train
    and valid. Same arguments, same bytes. Raises InputError for fewer than 20 rows, a side outside 32..512, fewer than
    one question or another number of hops.
    """
    _check(rows, side, questions, train_hops)
    folder = Path(folder)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    splits = spread(rows)
    unseen = [s == "test" and i % 2 == 0 for i, s in enumerate(splits)]
    scenes = [scene(rng, heldout=u) for u in unseen]
    pictures = handwritten(scenes, splits, rng)
    askers = {s: Asker(rng=rng) for s in ("train", "valid", "test")}
    tables: dict[str, list[dict]] = {"scenes": [], "questions": [], "truth": []}
    for i, (things, split, new) in enumerate(zip(scenes, splits, unseen, strict=True)):
        row = {"id": f"{i:05d}", "split": split, "image": f"images/{i:05d}.png"}
        most = HOPS if split == "test" else train_hops
        asked = askers[split].ask(things, count=questions, most=most, unseen=new)
        picture = paint(marks_of(things, pictures[i], rng), ground(rng), rng, side=side)
        save_picture(folder / row["image"], picture)
        _append(tables, row, things, asked, captions(things, rng), "yes" if new else "no")
    for name, lines in tables.items():
        write_lines(folder / f"{name}.jsonl", lines)
    kept = ", ".join(f"{c} {s}" for s in SHAPES for c in COLOURS if held_out(c, s))
    told = README.format(
        rows=rows, side=side, questions=questions, train_hops=train_hops, seed=seed, heldout=kept
    )
    (folder / "README.md").write_text(told, encoding="utf-8")
    return folder / "scenes.jsonl"


def _check(rows: int, side: int, questions: int, train_hops: int) -> None:
    if rows < 20:
        raise InputError("the world needs rows for three splits", got=rows, fix="write at least 20 rows")
    if not 32 <= side <= 512:
        raise InputError(
            "no size for a picture of five things", got=side, fix="give a side of 32 to 512 pixels"
        )
    if questions < 1:
        raise InputError("a picture needs a question", got=questions, fix="ask at least one of each picture")
    if not 1 <= train_hops <= HOPS:
        raise InputError("no such number of hops", got=train_hops, fix=f"give a number from 1 to {HOPS}")


def scene(rng: np.random.Generator, *, heldout: bool) -> Scene:
    """Draw one to three kinds of things, one of them perhaps twice or three times, in different fields of the picture.

    `heldout`: with one kind that is kept out of training, else with none.
    """
    chosen: list[tuple[str, str]] = []
    for i in range(int(rng.choice(3, p=KINDS)) + 1):
        chosen.append(_kind(rng, chosen, heldout=heldout and i == 0))
    fields = iter(rng.permutation(FIELDS**2).tolist())
    things: list[Thing] = []
    for i, (colour, shape) in enumerate(chosen):
        size = SIZES[int(rng.integers(2))]
        many = int(rng.integers(2, 4)) if i == 0 and rng.random() < 0.4 else 1
        digit = WORDS[int(rng.integers(10))] if many == 1 and size == "large" and rng.random() < 0.6 else ""
        for place in (next(fields) for _ in range(many)):
            row, column = divmod(place, FIELDS)
            things.append(Thing(colour=colour, shape=shape, size=size, row=row, column=column, digit=digit))
    return tuple(things)


def _kind(rng: np.random.Generator, taken: Sequence[tuple[str, str]], *, heldout: bool) -> tuple[str, str]:
    """Draw a kind; two of three share their colour or shape with one that is there, so that neither tells it alone."""
    while True:
        colour, shape = list(COLOURS)[rng.integers(len(COLOURS))], SHAPES[rng.integers(len(SHAPES))]
        if taken and rng.random() < 2 / 3:
            old = taken[int(rng.integers(len(taken)))]
            colour, shape = (old[0], shape) if rng.random() < 0.5 else (colour, old[1])
        if held_out(colour, shape) == heldout and (colour, shape) not in taken:
            return colour, shape


def handwritten(
    scenes: Sequence[Scene], splits: Sequence[str], rng: np.random.Generator
) -> list[list[np.ndarray]]:
    """Draw handwriting for every digit of every scene, from those that its split owns; (8, 8) each."""
    owners = [(i, t.digit) for i, s in enumerate(scenes) for t in s if t.digit]
    numbers = np.array([WORDS.index(digit) for _, digit in owners], np.int64)
    found: list[list[np.ndarray]] = [[] for _ in scenes]
    for (i, _), drawn in zip(owners, handwriting(numbers, [splits[i] for i, _ in owners], rng), strict=True):
        found[i].append(drawn)
    return found


def marks_of(things: Scene, digits: Sequence[np.ndarray], rng: np.random.Generator) -> list[Mark]:
    """Place things within their fields, a little off the middle; `digits`: handwriting of those that bear one, in order."""
    waiting = iter(digits)
    marks = []
    for t in things:
        radius = RADIUS[t.size] * rng.uniform(0.92, 1.06)
        off = rng.uniform(-1, 1, 2) * (0.5 / FIELDS - radius) * 0.8
        x, y = ((place + 0.5) / FIELDS + o for place, o in zip((t.column, t.row), off, strict=True))
        digit = next(waiting) if t.digit else None
        marks.append(
            Mark(shape=t.shape, colour=t.colour, x=float(x), y=float(y), radius=float(radius), digit=digit)
        )
    return marks


def save_picture(path: Path, picture: np.ndarray) -> None:
    """Write a picture, (height, width, 3) uint8, as PNG."""
    from PIL import Image

    Image.fromarray(picture).save(path, compress_level=1)  # noise hardly packs; more would only take time


def _append(
    tables: Mapping[str, list[dict]],
    row: dict,
    things: Scene,
    asked: Sequence[Question],
    said: list[str],
    heldout: str,
) -> None:
    lines = [
        {"question": q.text, "answer": q.answer, "hops": q.hops, "type": "-".join(filter(None, q.form[:2]))}
        for q in asked
    ]
    first = {k: lines[0][k] if lines else "" for k in ("question", "answer", "hops")}
    facts = json.dumps(sorted(told_facts(things)))
    tables["scenes"].append({**row, "heldout": heldout, "caption": said, **first, "facts": facts})
    for k, line in enumerate(lines):
        here = {"id": f"{row['id']}-{k}", "split": row["split"], "image": row["image"]}
        tables["questions"].append({**here, "heldout": heldout, **line})
    truth = {
        "things": [asdict(t) for t in things],
        "holds": sorted(scene_facts(things)),
        "programs": [q.program for q in asked],
    }
    tables["truth"].append({"id": row["id"], **truth})


def write_lines(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write one JSON object a line."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8", newline="\n")
