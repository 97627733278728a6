"""Rows whose cells belong together: lists spread over rows, what is the same thing twice, the cut, decoding."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sensorium.api.saying import Say
from sensorium.data import Decoder, Row, decode_rows
from sensorium.store import Table, append_jsonl
from sensorium.tasks import Task, blank
from sensorium.types import InputError, Limits

BAD_SHARE = 0.05  # more unreadable rows than this stop a fit
CHAINED = 0.25  # share of the rows from which a chain of things in common is no longer believed


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """A table in which every cell holds one thing, and which rows of the given table it came from."""

    table: Table
    parent: np.ndarray  # (n,) number of the given table's row


def spread(table: Table, columns: Sequence[str]) -> Spread:
    """Give each thing of a cell that lists several (five captions of one picture) a row of its own.

    The other cells of the row are repeated; lists of several columns go side by side, the shorter ones end early.
    """
    listed = [c for c in columns if c in table.data and any(_lists(cell) for cell in table.cells(c))]
    if not listed:
        return Spread(table=table, parent=np.arange(len(table)))
    parent: list[int] = []
    place: list[int] = []
    for row in range(len(table)):
        most = max((len(table.cells(c)[row]) if _lists(table.cells(c)[row]) else 1) for c in listed)  # type: ignore[arg-type]
        parent += [row] * max(1, most)
        place += range(max(1, most))
    data: dict[str, Sequence[object]] = {}
    for name, cells in table.data.items():
        if name in listed:
            data[name] = [_one(cells[r], k) for r, k in zip(parent, place, strict=True)]
        else:
            data[name] = [cells[r] for r in parent]
    wide = replace(table, data=data, row_ids=[table.ids[r] for r in parent])
    return Spread(table=wide, parent=np.array(parent))


def _lists(cell: object) -> bool:
    return isinstance(cell, list | tuple) and all(c is None or isinstance(c, str) for c in cell)


def _one(cell: object, place: int) -> object:
    if not _lists(cell):
        return cell if place == 0 else None
    return cell[place] if place < len(cell) else None  # type: ignore[index, arg-type]


def sorted_out(table: Table, columns: Sequence[str]) -> dict[str, np.ndarray]:
    """Which cells hold the same thing: column -> (n,) numbers, -1 for an empty cell."""
    found = {}
    for column in columns:
        seen: dict[object, int] = {}
        numbers = np.full(len(table), -1)
        for i, cell in enumerate(table.cells(column) if column in table.data else ()):
            if not blank(cell):
                key = " ".join(cell.split()).casefold() if isinstance(cell, str) else id(cell)
                numbers[i] = seen.setdefault(key, len(seen))
        found[column] = numbers
    return found


def groups(things: Mapping[str, np.ndarray], parent: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Rows that belong together: those of one parent, and those that share a thing in any column.

    Two rows with the same picture, or the same words, are no counterexamples of each other. Where chains of such
    things would join more than CHAINED of the rows (one picture and another share "a man", which a third has, ...),
    only parents and whole rows in common count, and a remark says so.
    """
    joined = _components([parent, *things.values()])
    counts = np.bincount(joined)
    largest = int(counts.argmax())
    alike = [c for c, t in things.items() if len(np.unique(t[joined == largest])) == 1]
    if counts.max() <= CHAINED * len(parent) or alike or len(parent) < 8:
        return joined, []
    told = f"chains of cells in common join {counts.max()} of {len(parent)} rows; only rows of one source count as the same"
    return _components([parent]), [told]


def _components(keys: Sequence[np.ndarray]) -> np.ndarray:
    """Connected components of rows that share a number in any of `keys`; -1 joins nothing. (n,) from 0."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    rows = len(keys[0])
    links: list[tuple[np.ndarray, np.ndarray]] = []
    for key in keys:
        here = np.flatnonzero(key >= 0)
        _, first, inverse = np.unique(key[here], return_index=True, return_inverse=True)
        links.append((here, here[first][inverse.ravel()]))
    a, b = (np.concatenate([link[i] for link in links]) for i in (0, 1))
    graph = coo_matrix((np.ones(len(a), np.int8), (a, b)), shape=(rows, rows))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def cut_groups(group: np.ndarray, *, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut rows into training and validation; a group never stands on both sides. Two arrays of row numbers."""
    order = np.random.default_rng(seed).permutation(group.max() + 1)
    counts = np.bincount(group)[order]
    chosen = order[np.cumsum(counts) <= max(1, share * len(group))]
    held = np.isin(group, chosen)
    if not held.any():
        held = group == order[counts.argmin()]
    return np.flatnonzero(~held), np.flatnonzero(held)


def decoded(
    table: Table, task: Task, rates: Mapping[str, float], limits: Limits, *, say: Say, stage: str
) -> tuple[list[Row], list[str]]:
    """Rows, and for each why it could not be read ("" where it could). A cell that many rows share is read once."""
    decoder = Decoder(table, limits=limits, rates=rates)
    rows: list[Row] = [{} for _ in range(len(table))]
    errors = ["" for _ in rows]
    things = sorted_out(table, [m.column for m in task.modalities if "\n" not in m.column])
    done, total = 0, len(task.modalities)
    for m in task.modalities:
        if m.column in things:
            said = np.flatnonzero(things[m.column] >= 0)
            _, first, inverse = np.unique(things[m.column][said], return_index=True, return_inverse=True)
            firsts, members = said[first], inverse.ravel()
        else:
            said = firsts = np.arange(len(table))
            members = said
        many = max(1, len(firsts))
        made, faults = decode_rows(
            decoder, firsts.tolist(), [m],
            tick=lambda n, at=done, many=many, name=m.name: say(stage, (at + n / many) / total, f"{name}: {n} of {many}"),
        )  # fmt: skip
        for row, number in zip(said.tolist(), members.tolist(), strict=True):
            rows[row].update(made[number])
            if faults[number]:
                errors[row] = f"{faults[number][0].column}: {faults[number][0].reason}"
        done += 1
    return rows, errors


def readable(
    table: Table, rows: Sequence[Row], errors: Sequence[str], *, quarantine: Path | None
) -> tuple[np.ndarray, int]:
    """Numbers of the rows to learn from, and how many could not be read; those are written to `quarantine`.

    Raises InputError where more than BAD_SHARE cannot be read, and where none has anything.
    """
    bad = [i for i, e in enumerate(errors) if e]
    for i in bad if quarantine is not None else ():
        column, _, reason = errors[i].partition(": ")
        append_jsonl(quarantine, {"id": table.ids[i], "row": i, "column": column, "reason": reason})  # type: ignore[arg-type]
    if len(bad) > BAD_SHARE * len(rows):
        raise InputError(
            f"{len(bad)} of {len(rows)} rows have a cell that cannot be read",
            got=f"row {table.ids[bad[0]]}, {errors[bad[0]]}",
            fix="repair the files, or empty the cells where nothing was recorded",
        )
    good = np.array([i for i, e in enumerate(errors) if not e and rows[i]], dtype=int)
    if not len(good):
        raise InputError("no row has anything to learn from", got=f"{len(rows)} rows", fix="fill some cells")
    return good, len(bad)
