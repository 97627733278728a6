"""Pictures of two coloured things with words for both: small tables of files, and what verbs say of them."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from bad_files import rows_of, write
from PIL import Image

from sensorium.cli import main

COLOURS = {
    "red": (220, 30, 30), "green": (30, 190, 40), "blue": (30, 60, 230), "yellow": (235, 220, 30), "white": (250, 250, 250),
    "black": (5, 5, 5),
}  # fmt: skip
SHAPES = ("square", "disc", "stripes")
SIDE = 32  # pixels
Thing = tuple[str, str]  # colour and shape


def drawn(things: Sequence[Thing], rng: np.random.Generator) -> Image.Image:
    """A noisy grey picture with the first thing in its left half and the second in its right half."""
    pixels = rng.normal(110, 6, (SIDE, SIDE, 3))
    y, x = np.mgrid[:SIDE, :SIDE]
    for place, (colour, shape) in enumerate(things):
        high, wide = 16 + rng.uniform(-4, 4), 8 + 16 * place + rng.uniform(-1, 1)
        away = np.abs(y - high), np.abs(x - wide)
        inside = {
            "square": np.maximum(*away) < 5.5, "disc": np.hypot(*away) < 6.5, "stripes": (np.maximum(*away) < 6.5) & (y % 4 < 2),
        }[shape]  # fmt: skip
        pixels[inside] = np.array(COLOURS[colour]) + rng.normal(0, 6, (int(inside.sum()), 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def pairs(rows: int, seed: int) -> list[tuple[Thing, Thing]]:
    """Two things for each row, every combination about as often."""
    rng = np.random.default_rng(seed)
    all_pairs = list(itertools.product(itertools.product(COLOURS, SHAPES), repeat=2))
    return [all_pairs[i % len(all_pairs)] for i in rng.permutation(max(rows, len(all_pairs)))[:rows]]


def said(things: Sequence[Thing]) -> str:
    """A caption: four words and an article."""
    return "a " + " ".join(word for thing in things for word in thing)


def sights(folder: Path, rows: int, *, seed: int = 0, name: str = "t.csv", first: str = "r") -> Path:
    """A table of pictures, captions, prices and first colours in `folder`; returns its path. Ids are r0, r1, ..."""
    rng = np.random.default_rng(seed)
    things = pairs(rows, seed)
    (folder / f"{first}-pictures").mkdir()
    paths = [f"{first}-pictures/{i}.png" for i in range(rows)]
    for path, two in zip(paths, things, strict=True):
        drawn(two, rng).save(folder / path)
    return write(folder / name, {
        "id": [f"{first}{i}" for i in range(rows)], "photo": paths, "caption": [said(two) for two in things],
        "price": [str(i) for i in range(rows)], "colour": [two[0][0] for two in things],
    })  # fmt: skip


def told(args: list[str], capsys) -> dict:
    """What a verb says with --json."""
    main([*args, "--json"])
    return json.loads(capsys.readouterr().out)


def refused(args: list[str], capsys) -> str:
    """The message of a verb that ends with 2, without a result and without a traceback."""
    with pytest.raises(SystemExit) as ended:
        main([*args, "--quiet"])
    said = capsys.readouterr()
    assert ended.value.code == 2
    assert said.out == ""
    assert said.err.startswith("sensorium: ")
    assert "fix: " in said.err
    return said.err


def found_ids(args: list[str], capsys) -> list[str]:
    return [hit["id"] for hit in told(args, capsys)["found"]]


def right(path: Path, cells: list[dict[str, str]], column: str = "colour") -> float:
    answers = rows_of(path)
    assert [a["id"] for a in answers] == [c["id"] for c in cells]
    return float(np.mean([a["prediction"] == c[column] for a, c in zip(answers, cells, strict=True)]))


def sided(here: Path, folder: Path) -> Path:
    """The new rows without their captions."""
    cells = rows_of(here / "new.csv")
    return write(folder / "bare.csv", {
        "id": [c["id"] for c in cells], "photo": [str(here / c["photo"]) for c in cells], "colour": [c["colour"] for c in cells],
    })  # fmt: skip
