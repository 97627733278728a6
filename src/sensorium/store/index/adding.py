"""What comes in: ids, vectors and metadata of items are checked and become the rows of a new segment."""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sensorium.store.index.manifest import Manifest
from sensorium.store.index.segments import ARROW, HAS, ROW, Fresh
from sensorium.types import InputError

UNIT = 1e-2  # how far from 1 the length of a vector may be


def checked_ids(ids: Sequence[object]) -> list[str]:
    """Ids as texts. Raises InputError where one is empty or stands twice."""
    found = [str(i) for i in ids]
    if len(set(found)) < len(found):
        seen: set[str] = set()
        twice = next(i for i in found if i in seen or seen.add(i))
        raise InputError("an id stands twice in one batch", got=twice, fix="give every item an id of its own")
    if "" in found:
        raise InputError("an item has no id", got=ids, fix="give every item an id of its own")
    return found


def checked_vectors(values: object, d: int, what: str) -> np.ndarray:
    """(n, d) float32, C order. Raises InputError for another shape and for numbers that are not finite."""
    try:
        found = np.ascontiguousarray(values, np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{what} are no numbers", got=type(values).__name__, fix=f"give an array (n, {d})"
        ) from error
    if found.ndim == 1 and found.shape == (d,):
        found = found[None]
    if found.ndim != 2 or found.shape[1] != d:
        raise InputError(f"{what} have the wrong shape", got=found.shape, fix=f"give an array (n, {d})")
    bad = np.flatnonzero(~np.isfinite(found).all(1))
    if len(bad):
        raise InputError(
            f"{what} hold numbers that are not finite", got=f"row {bad[0]}", fix="leave this row out"
        )
    return found


def fresh(
    manifest: Manifest,
    ids: Sequence[str],
    vectors: Mapping[str, object],
    present: Mapping[str, object],
    rows: Mapping[str, Sequence[object]],
    kills: np.ndarray,
) -> tuple[Fresh, dict[str, str]]:
    """The rows of a new segment, and the kinds of all metadata columns with it. Raises InputError."""
    import pyarrow as pa

    for name in (*vectors, *present):
        if name not in manifest.spaces:
            raise InputError(
                "no such modality in the index", got=name, fix=f"it has {', '.join(manifest.spaces)}"
            )
    data: dict[str, Any] = {"id": pa.array(list(ids), pa.large_string())}
    held = {}
    for name, d in manifest.spaces.items():
        there, mine = _there(name, d, len(ids), vectors, present)
        data[HAS + name], held[name] = pa.array(there), [mine]
    kinds = dict(manifest.columns)
    for name, cells in rows.items():
        if len(cells) != len(ids):
            raise InputError(
                "a column of another length than the ids",
                got=f"{name}: {len(cells)}",
                fix=f"give {len(ids)} cells",
            )
        kind, plain = _column(name, cells, kinds.get(name, ""))
        if kind:
            kinds[name] = kind
            data[ROW + name] = pa.array(plain, getattr(pa, ARROW[kind])())
    return Fresh(rows=pa.table(data), vectors=held, kills=kills), kinds


def _there(
    name: str, d: int, n: int, vectors: Mapping[str, object], present: Mapping[str, object]
) -> tuple[np.ndarray, np.ndarray]:
    """Which items have the modality, (n,) bool, and their vectors; without `present`, a vector of zeros is none."""
    if name not in vectors:
        return np.zeros(n, bool), np.zeros((0, d), np.float32)
    found = (
        np.zeros((0, d), np.float32) if n == 0 else checked_vectors(vectors[name], d, f"vectors of {name}")
    )
    if len(found) != n:
        raise InputError(
            f"vectors of {name} and ids differ in number", got=(len(found), n), fix="give one per id"
        )
    there = np.asarray(present[name], bool) if name in present else found.any(1)
    if there.shape != (n,):
        raise InputError(
            f"what is present of {name} has the wrong shape", got=there.shape, fix=f"give ({n},) of bool"
        )
    found = found[there]
    off = np.flatnonzero(np.abs(np.sqrt(np.einsum("nd,nd->n", found, found)) - 1) > UNIT)
    if len(off):
        length = float(np.linalg.norm(found[off[0]]))
        raise InputError(
            f"a vector of {name} is not of unit length", got=length, fix="divide each by its length"
        )
    return there, found


def _column(name: str, cells: Sequence[object], before: str) -> tuple[str, list[object]]:
    """The kind of a column, with what is known from earlier batches, and its cells as Arrow takes them."""
    if name == "id" or not name:
        raise InputError(
            "a metadata column cannot be called so", got=name, fix="the ids are a column already"
        )
    plain = [_cell(name, cell) for cell in cells]
    kinds = {before} | {_kind(c) for c in plain if c is not None}
    kinds.discard("")
    if kinds == {"integer", "number"}:
        kinds = {"number"}
    if len(kinds) > 1:
        raise InputError(
            f"the column {name} holds values of different kinds",
            got=sorted(kinds),
            fix="turn them into texts",
        )
    kind = kinds.pop() if kinds else ""
    return kind, [float(c) if kind == "number" and c is not None else c for c in plain]


def _cell(name: str, cell: object) -> object:
    """A cell as a plain Python value; None where it is empty or not a number."""
    if isinstance(cell, np.generic):
        cell = cell.item()
    if isinstance(cell, datetime.date | datetime.time):
        return cell.isoformat()
    if cell is not None and not isinstance(cell, str | int | float | bool):
        raise InputError(
            f"a cell of the column {name} cannot be kept",
            got=type(cell).__name__,
            fix="give texts, numbers or true/false",
        )
    if isinstance(cell, str):
        return cell.encode("utf-8", "replace").decode()  # half a pair of surrogates is no text to Arrow
    return None if isinstance(cell, float) and np.isnan(cell) else cell


def _kind(cell: object) -> str:
    if isinstance(cell, bool):
        return "boolean"
    if isinstance(cell, int):
        return "integer" if -(2**63) <= cell < 2**63 else "number"
    return "number" if isinstance(cell, float) else "text"
