"""The row's own numbers and categories: together one modality, each of which may be missing."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from sensorium.modalities import damage
from sensorium.types import Carrier, InputError, Limits, Media, Modality, Signal

MOST = 250  # categories of a field that get a code of their own
OTHER = 255  # the code of a category that training did not have
# What people write where a number is missing.
MISSING = frozenset({"na", "n/a", "nan", "null", "none", "?", "-", "--", "."})


def decode(media: Media, limits: Limits) -> Signal | None:
    """Turn a dict of column -> cell into (fields,) objects, None where a field is empty; None if all are."""
    if not isinstance(media.content, dict):
        raise InputError(
            "not the fields of a row", got=type(media.content).__name__, fix="give column -> cell"
        )
    cells = [None if _empty(c) else c for c in media.content.values()]
    if all(c is None for c in cells):
        return None
    values = np.empty(len(cells), dtype=object)
    values[:] = cells
    return Signal(values=values, channels=tuple(media.content))


def _empty(cell: object) -> bool:
    if isinstance(cell, str):
        return not cell.strip()
    return cell is None or (isinstance(cell, float | np.floating) and math.isnan(cell))


def number(cell: object) -> float | None:
    """Read a cell as a finite number within float32, or None."""
    if not _scalar(cell):
        return None
    try:
        value = float(cell)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return value if math.isfinite(value) and abs(value) < 1e30 else None


def _scalar(cell: object) -> bool:
    """Whether a cell can be a number or the name of a category; lists, arrays, bytes and pictures cannot."""
    return isinstance(cell, str | int | float | np.generic)


def word(cell: object) -> str:
    """Name the category that a cell holds: 3.0 and 3 are one, and so are True and `true`."""
    if isinstance(cell, bool | np.bool_):
        return str(cell).lower()
    if isinstance(cell, float | np.floating) and float(cell).is_integer():
        return str(int(cell))
    said = str(cell).strip()
    return said.lower() if said.lower() in ("true", "false") else said


def survey(signals: Sequence[Signal], **given: object) -> dict[str, object]:
    """Learn options: for each field its name and either centre and spread, or its categories."""
    if given:
        raise InputError("a column of kind table has no options", got=given, fix="say --column NAME=table")
    if not signals:
        raise InputError(
            "no training row holds these fields", got=0, fix="leave the columns out, or fill some cells"
        )
    fields = []
    for i, name in enumerate(signals[0].channels):
        cells = [s.values[i] for s in signals if _scalar(s.values[i])]
        numbers = [v for v in map(number, cells) if v is not None]
        if cells and len(numbers) > 0.95 * len(cells) and not any(isinstance(c, bool) for c in cells):
            low, middle, high = np.percentile(numbers, [5, 50, 95])
            spread = max(float(high - low) / 3.3, float(np.std(numbers)) * 0.3, 1e-9)
            fields.append({"name": name, "mean": round(float(middle), 9), "spread": float(f"{spread:.6g}")})
        else:
            common = Counter(word(c) for c in cells).most_common(MOST)
            fields.append({"name": name, "categories": [c for c, _ in common]})
    return {"fields": fields}


def augment(x: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Leave out a field now and then, and shake the numbers a little; at least one field stays."""
    if strength <= 0:
        return x
    out = x.copy()
    out[:, 0] += rng.normal(0, 0.05 * strength, len(x)) * out[:, 2]
    gone = rng.random(len(x)) < 0.1 * strength
    if (out[:, 2] * ~gone).any():
        out[gone] = 0
    return out.astype(np.float32)


def define(name: str, column: str, *, fields: list[dict[str, object]]) -> Modality:
    """Define the table part of a row from the fields that `survey` learned."""
    codes = [{c: i for i, c in enumerate(f.get("categories", ()), 1)} for f in fields]  # type: ignore[arg-type, call-overload]

    def patches(signal: Signal) -> np.ndarray:
        found = dict(zip(signal.channels, signal.values, strict=True))
        out = np.zeros((len(fields), 3), np.float32)
        for i, field in enumerate(fields):
            cell = found.get(str(field["name"]))
            if cell is None:
                continue
            if "categories" in field and _scalar(cell):
                out[i] = 0, codes[i].get(word(cell), OTHER), 1
            elif "mean" in field and (value := number(cell)) is not None:
                out[i] = np.clip((value - field["mean"]) / field["spread"], -8, 8), 0, 1  # type: ignore[operator]
            elif "categories" in field or str(cell).strip().lower() not in MISSING:
                raise _foreign(field, cell)
        return out

    def statistics(x: np.ndarray) -> np.ndarray:
        hot = [np.arange(1, min(len(c), 20) + 1) == x[i, 1] for i, c in enumerate(codes)]
        return np.concatenate([x[:, 0], x[:, 2], *hot]).astype(np.float32)

    return Modality(
        name=name,
        column=column,
        carrier="table",
        options={"fields": fields},
        patches=patches,
        augment=augment,
        statistics=statistics,
        item=(3,),
        longest=len(fields),
    )


def _foreign(field: Mapping[str, object], cell: object) -> InputError:
    """A cell of another kind than in training; to pass over it would make it look like an empty one."""
    kind = "a category" if "categories" in field else "a finite number"
    return InputError(
        f"{field['name']!r} should hold {kind}", got=cell, fix="correct the cell, or leave it empty"
    )


def preview(signal: Signal) -> dict[str, object]:
    """The fields as text."""
    return {
        "cells": {
            n: "" if c is None else str(c)[:60] for n, c in zip(signal.channels, signal.values, strict=True)
        }
    }


def _changed(signal: Signal, change: Callable[[int, object], object]) -> Signal:
    """Change each filled cell, by its number and content."""
    values = np.empty(len(signal.values), dtype=object)
    values[:] = [c if c is None else change(i, c) for i, c in enumerate(signal.values)]
    return replace(signal, values=values)


def _multiplied(signal: Signal, factors: np.ndarray) -> Signal:
    """Multiply the cells that are numbers; those whose factor is one stay as they are written."""

    def changed(i: int, cell: object) -> object:
        value = None if isinstance(cell, bool | np.bool_) or factors[i] == 1 else number(cell)
        found = None if value is None else number(value * float(factors[i]))
        return cell if found is None else found

    return _changed(signal, changed)


@damage.graded(0.02, 0.05, 0.1, 0.2, 0.4)
def measuring_error(signal: Signal, rng: np.random.Generator, share: float) -> Signal:
    """Multiply every number by one plus Gaussian noise of `share`: the relative error of an instrument.

    How far that is in the column's own spread depends on the column; a single row cannot tell.
    """
    return _multiplied(signal, 1 + share * rng.standard_normal(len(signal.values)))


@damage.graded(0.1, 0.2, 0.35, 0.5, 0.75)
def slipped_points(signal: Signal, rng: np.random.Generator, share: float) -> Signal:
    """Slip the decimal point of `share` of the numbers: ten times as much, or a tenth."""
    chance, up = rng.random((2, len(signal.values)))
    return _multiplied(signal, np.where(chance < share, np.where(up < 0.5, 10.0, 0.1), 1.0))


@damage.graded(0.1, 0.2, 0.35, 0.55, 0.8)
def misspelt_words(signal: Signal, rng: np.random.Generator, share: float) -> Signal:
    """Double a letter in `share` of the words, so that training never saw the category; numbers stay."""
    chance, place = rng.random((2, len(signal.values)))

    def misspelt(i: int, cell: object) -> object:
        known = not isinstance(cell, str) or number(cell) is not None or cell.strip().lower() in MISSING
        if chance[i] >= share or known:
            return cell
        said = str(cell)
        at = int(place[i] * len(said))
        return said[: at + 1] + said[at:]

    return _changed(signal, misspelt)


@damage.graded(0.15, 0.3, 0.45, 0.65, 0.85)
def lost_fields(signal: Signal, rng: np.random.Generator, share: float) -> Signal:
    """Empty `share` of the fields, each by itself; of those that are filled one at least stays."""
    filled = [i for i, c in enumerate(signal.values) if c is not None]
    gone = dict(zip(filled, damage.lost(rng, len(filled), share), strict=True))
    return _changed(signal, lambda i, c: None if gone[i] else c)


CARRIER = Carrier(
    name="table",
    suffixes=frozenset(),
    decode=decode,
    survey=survey,
    define=define,
    preview=preview,
    corruptions={
        "measuring error": measuring_error,
        "lost fields": lost_fields,
        "slipped decimal points": slipped_points,
        "misspelt words": misspelt_words,
    },
)
