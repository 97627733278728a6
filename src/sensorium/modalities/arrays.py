"""Bytes -> plain arrays, for the formats that several carriers share: gzip, CSV/TSV, NPY, NPZ.

Nothing here trusts a file: sizes are checked before anything is unpacked, no object is ever unpickled, and
whatever is wrong with the bytes comes out as one InputError.
"""

import csv
import io
import lzma
import re
import struct
import zipfile
import zlib
from dataclasses import dataclass
from datetime import datetime, timezone

import numpy as np

from sensorium.types import InputError, Limits

ABSENT = frozenset({"", "nan", "na", "n/a", "null", "none", "-", "?"})
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    NotImplementedError,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    KeyError,
    OverflowError,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sheet:
    """A table of numbers: one row per step or point."""

    names: tuple[str, ...]  # of the columns; () where the file has no header
    values: np.ndarray  # (rows, columns) float64, NaN where a cell is empty; 0 in a column of dates
    dates: dict[int, np.ndarray]  # column -> (rows,) seconds since 1970 UTC, where the cells were dates


def damaged(name: str, why: object) -> InputError:
    """Say that a file cannot be read, and what was found."""
    return InputError(
        f"{name or 'the data'} is damaged or not what its name says: {str(why)[:160]}",
        got=name,
        fix="open the file with another program to see whether it is whole; export it again if not",
    )


def too_big(name: str, *, what: str, size: int, limit: int) -> InputError:
    """Say that a file goes beyond a limit, and which one to raise."""
    return InputError(
        f"{name or 'the data'} is larger than the limit of {limit:,} {what}",
        got=f"{size:,} {what} or more",
        fix=f"split or shorten it, or raise the limit of {what}",
    )


def bare_name(name: str) -> str:
    """Return the file name in lower case, without a trailing `.gz`."""
    return name.lower().removesuffix(".gz")


def unpacked(content: bytes, *, name: str, limits: Limits) -> bytes:
    """Return `content`, gunzipped where it starts as gzip does; never unpacks beyond the limit of bytes."""
    if len(content) > limits.bytes:
        raise too_big(name, what="bytes", size=len(content), limit=limits.bytes)
    if content[:2] != b"\x1f\x8b":
        return content
    parts, left = [], limits.bytes
    while content:
        unzip = zlib.decompressobj(wbits=31)
        try:
            part = unzip.decompress(content, left + 1)
        except zlib.error as reason:
            raise damaged(name, reason) from None
        left -= len(part)
        if left < 0:
            raise too_big(name, what="bytes", size=limits.bytes + 1, limit=limits.bytes)
        if not unzip.eof:
            raise damaged(name, "the compressed data ends too early")
        parts.append(part)
        content = unzip.unused_data.lstrip(b"\0")  # zeros may pad the end; further members may follow
    return b"".join(parts)


def as_text(content: bytes, *, name: str) -> str:
    """Decode UTF-8, UTF-16 with its mark, or (where no control bytes betray a binary file) Windows-1252."""
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as reason:
        control = bytes(c for c in content[:4096] if c < 32 and c not in b"\t\n\v\f\r\x1a\x1b")
        if encoding == "utf-16" or control:
            raise damaged(name, f"it holds no text ({reason.reason})") from None
        return content.decode("cp1252", errors="replace")


def sheet(text: str, *, name: str, limits: Limits) -> Sheet:
    """Read a CSV or TSV (comma, semicolon, tab or blanks between cells; header or not; `#` lines first).

    Raises InputError, naming the line, where a cell is no number, a row has another length or quotes break.
    """
    lines = text.splitlines()
    notes = [line for line in lines[:1000] if line.startswith("#")]
    lines = [line for line in lines if line.strip() and not line.startswith("#")]
    if not lines:
        raise InputError(
            "the file holds no rows", got=name, fix="give a file with at least one row of numbers"
        )
    mark = _separator(lines[0])
    header, width = _header(lines[0], notes, mark, name)
    skipped = int(bool(header) and not all(map(_is_value, _cells(lines[0], mark, name))))
    lines = lines[skipped:]
    if not lines:
        raise InputError(
            "the file holds a header and no rows", got=name, fix="give at least one row of numbers"
        )
    if len(lines) * width > limits.numbers:
        raise too_big(name, what="numbers", size=len(lines) * width, limit=limits.numbers)
    values, dates = _numbers(lines, mark, width, name, first_line=1 + skipped)
    return Sheet(names=header, values=values, dates=dates)


def _header(line: str, notes: list[str], mark: str, name: str) -> tuple[tuple[str, ...], int]:
    """Return the column names, () where there are none, and the number of columns."""
    head = _cells(line, mark, name)
    if not all(map(_is_value, head)):
        return tuple(cell.strip() for cell in head), len(head)
    told = [cell.strip() for cell in _cells(notes[-1].lstrip("# "), mark, name)] if notes else []
    return (tuple(told) if len(told) == len(head) and not any(map(_is_value, told)) else ()), len(head)


def _separator(line: str) -> str:
    mark = next((mark for mark in "\t;," if mark in line), None)  # beside ; or a tab, a comma is decimal
    return mark or (" " if len(line.split()) > 1 else ",")


def _cells(line: str, mark: str, name: str) -> list[str]:
    if mark == " ":
        return line.split()
    try:
        return next(csv.reader([line], delimiter=mark, strict=True), [])
    except csv.Error as reason:
        raise damaged(name, f"bad quoting ({reason})") from None


def _is_value(cell: str) -> bool:
    cell = cell.strip()
    return cell.lower() in ABSENT or _float(cell) is not None or date_s(cell) is not None


def _float(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        pass
    try:
        return float(cell.replace(",", ".")) if cell.count(",") == 1 else None
    except ValueError:
        return None


def date_s(cell: str) -> float | None:
    """Return seconds since 1970 of an ISO 8601 date (UTC where it names no zone), None for anything else."""
    if not re.match(r"\d{4}-\d\d-\d\d", cell):
        return None
    six = re.sub(
        r"\.(\d+)", lambda found: "." + found[1][:6].ljust(6, "0"), cell, count=1
    )  # Python 3.10 wants six
    try:
        when = datetime.fromisoformat(six.replace("Z", "+00:00"))
        return (when if when.tzinfo else when.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, OverflowError):
        return None


def _numbers(
    lines: list[str], mark: str, width: int, name: str, *, first_line: int
) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """Read all rows: the fast reader of numpy first, cell by cell where that finds no plain numbers."""
    try:
        values = np.loadtxt(
            lines, delimiter=None if mark == " " else mark, ndmin=2, comments=None, dtype=np.float64
        )
        if values.shape == (len(lines), width):
            return values, {}
    except ValueError:
        pass
    return _slowly(lines, mark, width, name, first_line=first_line)


def _slowly(
    lines: list[str], mark: str, width: int, name: str, *, first_line: int
) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    values = np.full((len(lines), width), np.nan)
    dates: dict[int, np.ndarray] = {}
    for row, line in enumerate(lines):
        cells = _cells(line, mark, name)
        if len(cells) != width:
            raise damaged(name, f"line {row + first_line} has {len(cells)} cells, not {width}")
        for column, cell in enumerate(map(str.strip, cells)):
            if cell.lower() in ABSENT:
                continue
            value = _float(cell)
            if value is None:
                when = date_s(cell)
                if when is None:
                    raise damaged(name, f"{cell[:40]!r} in line {row + first_line} is no number")
                dates.setdefault(column, np.full(len(lines), np.nan))[row] = when
                value = 0.0
            values[row, column] = value
    return values, dates


def npy(content: bytes, *, name: str, limits: Limits) -> np.ndarray:
    """Return the array of an NPY file without a copy (read-only); objects are refused, never unpickled."""
    if content[:6] != b"\x93NUMPY" or len(content) < 12:
        raise damaged(name, "it does not start as an NPY file does")
    long = content[6] > 1
    size = struct.unpack_from("<I" if long else "<H", content, 8)[0]
    start = (12 if long else 10) + size
    if size > 10_000:
        raise damaged(name, f"its header of {size} bytes is too long")
    head = content[12 if long else 10 : start].decode("latin-1")
    kind = re.search(r"'descr': *'([<>|=]?[biufUS]\d{1,9})'", head)
    order = re.search(r"'fortran_order': *(True|False)", head)
    shape = re.search(r"'shape': *\(([\d, ]*)\)", head)
    if not (kind and order and shape):
        raise damaged(name, "its array holds no plain numbers, or its header is broken")
    sides = [side for side in shape[1].replace(" ", "").split(",") if side]
    if len(sides) > 32 or max(map(len, sides), default=0) > 18:
        raise damaged(name, "its shape is no shape")
    sizes = tuple(map(int, sides))
    flat = _flat(content, start, kind[1], sizes, name=name, limits=limits)
    return flat.reshape(sizes, order="F" if order[1] == "True" else "C")


def _flat(
    content: bytes, start: int, kind: str, sizes: tuple[int, ...], *, name: str, limits: Limits
) -> np.ndarray:
    """Read the numbers behind an NPY header, of which nothing is believed before it is checked."""
    count = 1
    for size in sizes:
        count *= size
    try:
        dtype = np.dtype(kind)
    except (TypeError, ValueError, OverflowError):
        raise damaged(name, f"unknown type {kind!r}") from None
    if count > limits.numbers:
        raise too_big(name, what="numbers", size=count, limit=limits.numbers)
    if len(content) - start < count * dtype.itemsize:
        raise damaged(name, f"it promises {count} numbers and ends before")
    if dtype.itemsize == 0 or count == 0:
        return np.empty(0 if count == 0 else count, dtype)
    return np.frombuffer(content, dtype, count=count, offset=start)


def npz(content: bytes, *, name: str, limits: Limits) -> dict[str, np.ndarray]:
    """Return the arrays of an NPZ file, each one plain numbers or text."""
    arrays = {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as folder:
            total = sum(entry.file_size for entry in folder.infolist())
            if total > limits.bytes:
                raise too_big(name, what="bytes", size=total, limit=limits.bytes)
            for entry in folder.infolist():
                if entry.filename.endswith(".npy"):
                    raw = folder.read(entry)
                    arrays[entry.filename.removesuffix(".npy")] = npy(raw, name=name, limits=limits)
    except InputError:
        raise
    except _DAMAGE as reason:
        raise damaged(name, reason) from None
    if not arrays:
        raise damaged(name, "it holds no array")
    return arrays
