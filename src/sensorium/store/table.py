"""Rows with named columns: what every source of data is read into."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from sensorium.store.paths import locate, suffix_of
from sensorium.types import InputError

VALID = ("valid", "val", "validation", "dev")  # names of one and the same split


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """Rows with named columns; None is an empty cell.

    A cell is a str, int, float, bool, bytes, dict, list, array or picture. Raises InputError where columns
    differ in length or have no name.
    """

    data: Mapping[str, Sequence[object]]
    folder: Path | None = None  # where relative paths start; None: nowhere on disk
    source: str = "Python"  # for messages
    notes: tuple[str, ...] = ()  # what reading had to guess, for people
    row_ids: Sequence[str] | None = None  # names of the rows where the column `id` does not give them
    confined: bool = False  # refuse cells that name files outside the folder: for tables that a stranger sent

    def __post_init__(self):
        """Check once what every method relies on."""
        lengths = {name: len(cells) for name, cells in self.data.items()}
        if len(set(lengths.values())) > 1:
            raise InputError("the columns differ in length", got=lengths, fix="give columns of one length")
        if any(not name.strip() for name in self.data):
            raise InputError(
                "a column has no name", got=list(self.data), fix="give every column a name of its own"
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """The names, in order."""
        return tuple(self.data)

    def __len__(self) -> int:
        return len(next(iter(self.data.values()), ()))

    def cells(self, name: str) -> Sequence[object]:
        """One column, not copied; None where a cell is empty. Raises InputError where there is none."""
        if name not in self.data:
            raise InputError("no such column", got=name, fix=f"{self.source} has {', '.join(self.columns)}")
        return self.data[name]

    def row(self, number: int) -> dict[str, object]:
        """One row, as column -> cell."""
        return {name: cells[number] for name, cells in self.data.items()}

    def take(self, rows: Sequence[int] | np.ndarray | range) -> "Table":
        """The rows with these numbers (or where a mask is true), in that order; they keep their ids."""
        index = np.asarray(rows)
        index = np.flatnonzero(index) if index.dtype == bool else index.astype(np.int64)
        order = index.tolist()
        data = {name: [cells[i] for i in order] for name, cells in self.data.items()}
        return replace(self, data=data, row_ids=[self.ids[i] for i in order])

    @cached_property
    def ids(self) -> list[str]:
        """The column `id` where every row has one, else row numbers; rows that were taken keep theirs."""
        if self.row_ids is not None:
            return list(self.row_ids)
        said = self.data.get("id")
        if said is None or any(c is None for c in said):
            return [str(i) for i in range(len(self))]
        return [str(c) for c in said]

    @property
    def duplicate_ids(self) -> list[str]:
        """Ids that several rows share, in order of appearance."""
        return [name for name, count in Counter(self.ids).items() if count > 1]

    def split(self, name: str) -> "Table | None":
        """Rows whose `split` cell is `name`; None where the table has no such column.

        Case does not matter; valid, val, validation and dev are one.
        """
        if "split" not in self.data:
            return None
        wanted = name.strip().casefold()
        same = VALID if wanted in VALID else (wanted,)
        return self.take([i for i, c in enumerate(self.data["split"]) if str(c).strip().casefold() in same])

    def fingerprint(self) -> str:
        """A SHA-256 (hex) of the columns, the cells, and the size and time of the files that they name.

        Files are not opened, so that a hundred thousand rows take about a second.
        """
        digest = hashlib.sha256()
        files: dict[str, bytes] = {}
        for name, cells in self.data.items():
            digest.update(_framed(b"column", name.encode("utf-8", "surrogatepass")))
            digest.update(b"".join(map(essence, cells)))
            named = (c for c in cells if isinstance(c, str | dict) and _may_name(c))
            digest.update(b"".join(_file(c, self.folder, files) for c in named))
        return digest.hexdigest()


def essence(cell: object) -> bytes:
    """Bytes that tell a cell from every other: its type, its length, what it holds."""
    if cell is None:
        return b"none;"
    if isinstance(cell, str):
        return _framed(b"str", cell.encode("utf-8", "surrogatepass"))
    if isinstance(cell, bool | int | float):
        return _framed(type(cell).__name__.encode(), repr(cell).encode())
    if isinstance(cell, bytes):
        return _framed(b"bytes", hashlib.sha256(cell).digest())
    if isinstance(cell, Mapping):
        return _framed(b"dict", b"".join(essence(k) + essence(v) for k, v in cell.items()))
    if isinstance(cell, list | tuple) or (isinstance(cell, np.ndarray) and cell.dtype == object):
        return _framed(b"list", b"".join(map(essence, cell)))
    if isinstance(cell, np.ndarray):
        cell = np.ascontiguousarray(cell)
        kind = f"array {cell.dtype.str}{cell.shape}"
    else:  # a picture, or something rare
        kind = f"{type(cell).__name__} {getattr(cell, 'mode', '')}{getattr(cell, 'size', '')}"
    raw = cell.tobytes() if hasattr(cell, "tobytes") else str(cell).encode("utf-8", "surrogatepass")
    return _framed(kind.encode(), hashlib.sha256(raw).digest())


def _framed(kind: bytes, body: bytes) -> bytes:
    return b"%s%d:%s" % (kind, len(body), body)


def _may_name(cell: str | Mapping[str, object]) -> bool:
    """Whether looking for a file is worth the while; a cheap guess, since every text of a table is asked."""
    return not isinstance(cell, str) or ("." in cell[-30:] and len(cell) < 400 and suffix_of(cell) != "")


def _file(cell: str | Mapping[str, object], folder: Path | None, known: dict[str, bytes]) -> bytes:
    """Size and time of the file that a cell names, if it is there; `known` holds the files seen so far."""
    name = cell if isinstance(cell, str) else str(cell.get("path") or "")
    key = name.partition("#")[0]
    if key not in known:
        try:
            found = locate(folder, name)[0].stat()
            known[key] = b"file%d,%d;" % (found.st_size, found.st_mtime_ns)
        except (OSError, RuntimeError, ValueError):
            known[key] = b"none;"
    return known[key]
