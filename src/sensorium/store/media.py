"""What a cell names: a file beside the table, a slice of one, bytes, an array. Nothing is decoded here."""

import base64
import binascii
import math
import os
import stat
import threading
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np

from sensorium.store.paths import (
    URL,
    exists,
    is_data_uri,
    locate,
    split_span,
    suffix_of,
    unreadable,
)
from sensorium.store.table import Table
from sensorium.types import InputError, Limits, Media

EMPTY = "record it again, or leave the cell empty"


class _Recent:
    """Bytes of the files read last, at most 256 MB in all. Safe to use from several threads.

    Only files of which cells name slices are kept: the others are read once, and would push these out.
    """

    def __init__(self, most: int = 256_000_000):
        self.most, self.held = most, 0
        self.files: OrderedDict[tuple[str, int, int], bytes] = OrderedDict()
        self.lock = threading.Lock()
        self.gates: dict[tuple[str, int, int], threading.Lock] = {}

    def read(self, path: Path, found: os.stat_result) -> bytes:
        """The bytes of a file; threads that ask for the same one read it once."""
        key = (str(path), found.st_size, found.st_mtime_ns)
        with self.lock:
            if key in self.files:
                self.files.move_to_end(key)
                return self.files[key]
            gate = self.gates.setdefault(key, threading.Lock())
        with gate:
            try:
                raw = self.files.get(key)
                return self._keep(key, path.read_bytes()) if raw is None else raw
            finally:
                with self.lock:
                    self.gates.pop(key, None)

    def _keep(self, key: tuple[str, int, int], raw: bytes) -> bytes:
        with self.lock:
            if len(raw) <= self.most and key not in self.files:
                self.files[key] = raw
                self.held += len(raw)
                while self.held > self.most:
                    self.held -= len(self.files.popitem(last=False)[1])
        return raw


_RECENT = _Recent()


def media(table: Table, cell: object, *, confined: bool = False, limits: Limits | None = None) -> Media:
    """Open what a cell names, undecoded.

    Args:
        table: where relative paths start.
        cell: a path (relative to the table's folder, absolute or `~`) with or without `#t=START,STOP`,
            a `data:` URI, bytes, {"bytes", "path"}, {"array", "sampling_rate"}, an array, a list of numbers,
            or a picture.
        confined: refuse paths that leave the table's folder, symbolic links followed; so does a confined table.
        limits: the most that one file may hold.

    Raises:
        InputError: the file is missing, empty, a folder, a device, too large, unreadable; it names the cell.
    """
    limits, confined = limits or Limits(), confined or table.confined
    if isinstance(cell, Mapping):
        return _of_dict(table, cell, confined=confined, limits=limits)
    if isinstance(cell, bytes):
        return Media(content=_measured(cell, "bytes in the cell", limits), name="bytes")
    if isinstance(cell, str | os.PathLike):
        text = os.fspath(cell)
        return (
            _of_uri(text, limits)
            if is_data_uri(text)
            else _of_path(table, text, confined=confined, limits=limits)
        )
    if isinstance(cell, list | tuple):
        return Media(content=_array(cell), name="list of numbers")
    if cell is None or isinstance(cell, bool | int | float | np.generic):
        raise InputError("the cell names no file", got=cell, fix="give a path, or leave the cell empty")
    return Media(content=cell, name="array" if isinstance(cell, np.ndarray) else type(cell).__name__)


def _of_path(table: Table, cell: str, *, confined: bool, limits: Limits) -> Media:
    shown = f"{cell[:200]} (in {table.folder or Path.cwd()})"
    if URL.match(cell):
        raise InputError("addresses are not fetched", got=shown, fix="download the file and name its path")
    try:
        path, span = locate(table.folder, cell)
        if confined:
            path = _inside(table.folder, path, shown)
        raw = _read(path, shown, limits, sliced=span is not None)
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise unreadable(error, shown) from error
    fence = table.folder if confined else None
    return Media(
        content=raw, name=path.name, span_s=span, beside=partial(_beside, path.parent, fence, limits)
    )


def _inside(folder: Path | None, path: Path, shown: str) -> Path:
    """The path with its links followed. Raises InputError where it leaves the folder."""
    if folder is None:
        raise InputError(
            "a path, but the table lies in no folder", got=shown, fix="send the bytes of the file"
        )
    whole = path.resolve()
    if not whole.is_relative_to(folder.resolve()):
        raise InputError("the path leaves the table's folder", got=shown, fix="put the file beside the table")
    return whole


def _read(path: Path, shown: str, limits: Limits, *, sliced: bool = False) -> bytes:
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        raise InputError("a folder, not a file", got=shown, fix="name the file inside")
    if not stat.S_ISREG(found.st_mode):  # a pipe would wait for ever, a device never end
        raise InputError("not an ordinary file", got=shown, fix="name a file that holds the recording")
    if found.st_size == 0:
        raise InputError("the file is empty", got=shown, fix=EMPTY)
    if found.st_size > limits.bytes:
        raise _too_large(found.st_size, shown, limits)
    return _RECENT.read(path, found) if sliced else path.read_bytes()


def _too_large(size: int, shown: str, limits: Limits) -> InputError:
    return InputError(
        "the file is too large",
        got=f"{shown}: {size} bytes, at most {limits.bytes}",
        fix="cut it, or raise the limit `bytes`",
    )


def _measured(raw: bytes, shown: str, limits: Limits) -> bytes:
    if not raw:
        raise InputError("the cell holds no bytes", got=shown, fix=EMPTY)
    if len(raw) > limits.bytes:
        raise _too_large(len(raw), shown, limits)
    return raw


def _beside(folder: Path, fence: Path | None, limits: Limits, name: str) -> bytes:
    """Read a sibling in the same folder. Raises InputError, also for a name that leads elsewhere."""
    shown = f"{name[:200]} (in {folder})"
    if not name or name in (".", "..") or "/" in name or "\\" in name:
        raise InputError("not the name of a file in the same folder", got=shown, fix="put the file beside it")
    try:
        path = folder / name
        return _read(path if fence is None else _inside(fence, path, shown), shown, limits)
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = unreadable(error, shown)
        raise InputError(
            f"a file that belongs to another: {reason.wrong}", got=shown, fix="put it beside"
        ) from error


def _of_dict(table: Table, cell: Mapping[str, Any], *, confined: bool, limits: Limits) -> Media:
    name = str(cell.get("path") or "")
    if cell.get("bytes") is not None:
        plain, span = split_span(name)
        return Media(
            content=_measured(bytes(cell["bytes"]), name, limits), name=plain or "bytes", span_s=span
        )
    if cell.get("array") is not None:
        return _of_array(cell)
    if name:
        return media(table, name, confined=confined, limits=limits)
    raise InputError(
        "the cell names no file",
        got=sorted(map(str, cell)),
        fix="give {path}, {bytes} or {array, sampling_rate}",
    )


def _of_array(cell: Mapping[str, Any]) -> Media:
    rate = cell.get("sampling_rate")
    if rate is not None and not (isinstance(rate, int | float | np.number) and 0 < float(rate) < math.inf):
        raise InputError(
            "not a number of samples per second", got=rate, fix="give sampling_rate above zero, in Hz"
        )
    return Media(content=_array(cell["array"]), name="array", rate_hz=None if rate is None else float(rate))


def _array(values: object) -> np.ndarray:
    try:
        found = np.asarray(values)
    except ValueError as error:
        raise InputError(
            "the rows of the array differ in length", got=str(error), fix="give rows of one length"
        ) from error
    if found.dtype.kind not in "biuf":
        raise InputError("the array does not hold numbers", got=str(found.dtype), fix="give numbers")
    return found


def _of_uri(cell: str, limits: Limits) -> Media:
    head, _, body = cell.partition(",")
    body, span = split_span(body)
    if len(body) > 3 * limits.bytes:
        raise _too_large(len(body), head, limits)
    try:
        raw = (
            base64.b64decode(body, validate=True)
            if head.lower().endswith(";base64")
            else unquote_to_bytes(body)
        )
    except (binascii.Error, ValueError) as error:
        raise InputError(
            "the data: address is damaged", got=f"{head}: {error}", fix="encode it again as base64"
        ) from error
    return Media(content=_measured(raw, head, limits), name=f"data{suffix_of(cell)}", span_s=span)


def file_of(table: Table, cell: object) -> Path | None:
    """The file that a cell names, without the span; None where there is none."""
    name = cell.get("path") if isinstance(cell, Mapping) else cell
    if not isinstance(name, str) or not name or is_data_uri(name):
        return None
    try:
        path = locate(table.folder, name)[0]
        if table.confined:
            path = _inside(table.folder, path, name)
    except (OSError, RuntimeError, ValueError):  # an InputError is a ValueError
        return None
    return path if exists(path) else None


def suffixes_of(cells: Sequence[object]) -> Counter[str]:
    """Count the lower-case suffixes of cells that look like paths; `.csv.gz` is one suffix."""
    return Counter(filter(None, map(suffix_of, cells)))


def looks_like_path(table: Table, cells: Sequence[object]) -> bool:
    """Whether most of a sample of cells name files.

    They do where most are there, or where most end in a suffix and one is there or hardly any holds blanks.
    """
    texts = [c for c in cells if isinstance(c, str)]
    if not texts or len(texts) < len(cells) / 2:
        return False
    short = [t for t in texts if is_data_uri(t) or (len(t) < 400 and "\n" not in t)]
    named = [t for t in short if suffix_of(t)]
    if 2 * len(named) < len(texts):
        return 2 * sum(file_of(table, t) is not None for t in short) > len(texts)
    if sum(not any(map(str.isspace, t)) for t in named) > 0.8 * len(texts):
        return True
    return any(file_of(table, t) is not None for t in named[:40])
