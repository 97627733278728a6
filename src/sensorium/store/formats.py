"""Table files -> Table: CSV TSV JSONL JSON Parquet Arrow, text packed or not, each mistake named."""

import datetime
import decimal
import gzip
import io
import json
import math
import os
import stat
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sensorium.store.delimited import parse
from sensorium.store.paths import unreadable
from sensorium.store.table import Table
from sensorium.types import InputError, Limits

TEXTS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")
ARROWS = (".parquet", ".arrow", ".feather")
SUFFIXES = (*TEXTS, *ARROWS, *(f"{s}.gz" for s in TEXTS))
MAGIC = {
    b"PAR1": "a Parquet file", b"ARROW1": "an Arrow file", b"\xff\xff\xff\xff": "an Arrow stream",
    b"FEA1": "an old Feather file", b"\x1f\x8b": "a gzip file", b"PK\x03\x04": "a zip file or a spreadsheet",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet", b"SQLite format 3": "an SQLite file",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy array", b"%PDF": "a PDF", b"\x89PNG": "a picture", b"\xff\xd8\xff": "a picture",
    b"RIFF": "a sound or video", b"OggS": "a sound", b"fLaC": "a sound", b"ID3": "a sound",
}  # fmt: skip
ARROW_KINDS = ("an Arrow file", "an Arrow stream", "an old Feather file")
FITS = {".parquet": ("a Parquet file",), ".arrow": ARROW_KINDS, ".feather": ARROW_KINDS}


def table_suffix(name: str) -> str:
    """The suffix of a table file, `.gz` included, lower case; "" where it is none that `read` knows."""
    return next((s for s in sorted(SUFFIXES, key=len, reverse=True) if name.lower().endswith(s)), "")


def read_file(path: Path) -> Table:
    """Read one table file. Raises InputError for what is missing, empty, damaged or of an unknown kind."""
    suffix = table_suffix(path.name)
    try:
        if not suffix:
            path.stat()
            raise InputError(
                "not a table",
                got=str(path),
                fix=f"give one of {' '.join(SUFFIXES)}, or a folder; cells of a table name other files",
            )
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would wait for ever, a device never end
            raise InputError("not an ordinary file", got=str(path), fix="save the table as a file first")
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise InputError(
                    "the file is empty", got=str(path), fix="give a table with a header and rows"
                )
            _check_kind(file.read(16), suffix, str(path))
            file.seek(0)
            data, notes = _columns(file, suffix, str(path))
        return Table(data=data, folder=path.absolute().parent, source=str(path), notes=notes)
    except (OSError, RuntimeError) as error:
        raise unreadable(error, str(path)) from error


def _check_kind(head: bytes, suffix: str, source: str) -> None:
    """Refuse a file whose first bytes belong to another format than its name."""
    real = next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), "")
    expected = ("a gzip file",) if suffix.endswith(".gz") else FITS.get(suffix, ("",))
    if real not in expected:
        fix = "rename it to what it is" if real else f"write it again as {suffix}"
        raise InputError(
            f"the file's name ends in {suffix}, but it is {real or 'something else'}", got=source, fix=fix
        )


def _columns(
    file: io.BufferedReader, suffix: str, source: str
) -> tuple[dict[str, list[object]], tuple[str, ...]]:
    if suffix in ARROWS:
        return of_arrow(_arrow_table(file, suffix, source)), ()
    raw = _unpacked(file, source) if suffix.endswith(".gz") else file.read()
    text, notes = decode_text(raw, source)
    suffix = suffix.removesuffix(".gz")
    if suffix in (".csv", ".tsv"):
        return parse(text, source=source, mark="\t" if suffix == ".tsv" else None), notes
    rows = _json(text, source) if suffix == ".json" else _json_lines(text, source)
    return of_dicts(rows), notes


def _unpacked(file: io.BufferedReader, source: str) -> bytes:
    most = Limits().bytes
    try:
        raw = gzip.GzipFile(fileobj=file).read(most + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(
            "the packed file is damaged", got=f"{source}: {error}", fix="pack it again"
        ) from error
    if len(raw) > most:
        raise InputError(
            f"the file unpacks to more than {most} bytes", got=source, fix="unpack it, or cut it in parts"
        )
    if not raw:
        raise InputError("the file is empty", got=source, fix="give a table with a header and rows")
    return raw


def decode_text(raw: bytes, source: str) -> tuple[str, tuple[str, ...]]:
    """Bytes -> text and remarks: UTF-16 by its mark, else UTF-8, else Western European with a remark."""
    wide = {b"\xff\xfe\x00\x00": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
    coding = next((c for mark, c in wide.items() if raw.startswith(mark)), "utf-8-sig")
    if coding == "utf-8-sig" and raw[:1000].count(0) > len(raw[:1000]) / 4:
        raise InputError("the file is not text", got=source, fix="save it as UTF-8")
    try:
        return raw.decode(coding), ()
    except UnicodeDecodeError as error:
        if coding != "utf-8-sig":
            raise InputError(
                "the text is damaged", got=f"{source}: {error}", fix="save it as UTF-8"
            ) from error
    note = f"{source} is not UTF-8; read as Western European (latin-1): save it as UTF-8 if accents are wrong"
    try:
        return raw.decode("cp1252"), (note,)  # latin-1 with the curly quotes that Windows adds
    except UnicodeDecodeError:
        return raw.decode("latin-1"), (note,)


def _json(text: str, source: str) -> list[Mapping[str, object]]:
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        lines = text.lstrip().startswith("{") and "Extra data" in str(error)
        fix = "it holds an object a line: rename it to .jsonl" if lines else "write a list of objects"
        raise InputError("the JSON is damaged", got=f"{source}: {error}", fix=fix) from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(
            "the JSON is not a list of objects", got=source, fix="write [{column: cell, ...}, ...]"
        )
    return rows


def _json_lines(text: str, source: str) -> list[Mapping[str, object]]:
    rows: list[Mapping[str, object]] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            fix = "write one object a line; a list of objects is called .json"
            raise InputError(
                "the JSON is damaged", got=f"{source}, line {number}: {error}", fix=fix
            ) from error
        if not isinstance(row, dict):
            fix = "write one object a line, {column: cell, ...}; a list of objects is called .json"
            raise InputError("a line is not an object", got=f"{source}, line {number}", fix=fix)
        rows.append(row)
    return rows


def of_dicts(rows: Sequence[Mapping[str, object]]) -> dict[str, list[object]]:
    """Rows as dicts -> columns, in order of first appearance; a key that a row lacks is an empty cell."""
    names: dict[object, None] = {}
    for row in rows:
        names.update(dict.fromkeys(row))
    return {str(name): cleaned(row.get(name) for row in rows) for name in names}  # type: ignore[call-overload]


def _arrow_table(file: io.BufferedReader, suffix: str, source: str) -> Any:
    import pyarrow as pa

    try:
        if suffix == ".parquet":
            import pyarrow.parquet as pq

            return pq.ParquetFile(file).read()
        return _ipc(file)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(
            "the table is damaged", got=f"{source}: {str(error)[:160]}", fix="write it again"
        ) from error


def _ipc(file: io.BufferedReader) -> Any:
    import pyarrow as pa

    head = file.read(6)
    file.seek(0)
    if head == b"ARROW1":
        return pa.ipc.open_file(file).read_all()
    if head[:4] == b"FEA1":
        from pyarrow.feather import read_table

        return read_table(file)
    return pa.ipc.open_stream(file).read_all()


def of_arrow(table: Any) -> dict[str, list[object]]:
    """A pyarrow Table -> columns of Python cells. Raises InputError for a name that stands twice."""
    import pyarrow as pa

    twice = sorted({n for n in table.column_names if table.column_names.count(n) > 1})
    if twice:
        raise InputError(
            f"the table repeats {', '.join(twice)}",
            got=table.column_names,
            fix="give every column a name of its own",
        )
    found = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
            column = column.cast(
                pa.timestamp("us", column.type.tz), safe=False
            )  # Python's clock has no finer steps
        found[name] = cleaned(column.to_pylist())
    return found


def cleaned(cells: Iterable[object]) -> list[object]:
    """Cells as the rest of the program knows them: blank text and NaN become None, dates ISO text."""
    return [_clean(cell) for cell in cells]


def _clean(cell: object) -> object:
    if isinstance(cell, str):
        return str(cell) if cell and not cell.isspace() else None
    if isinstance(cell, float):
        return None if math.isnan(cell) else float(cell)
    if cell is None or isinstance(cell, bool | int | bytes | dict | list | np.ndarray):
        return cell
    return _clean_rare(cell)


def _clean_rare(cell: object) -> object:
    if isinstance(cell, np.generic):
        return _clean(cell.item())
    if type(cell).__name__ in ("NAType", "NaTType"):  # what pandas puts into empty cells
        return None
    if isinstance(cell, datetime.datetime | datetime.date | datetime.time):
        return cell.isoformat()
    if isinstance(cell, datetime.timedelta):
        return cell.total_seconds()
    if isinstance(cell, decimal.Decimal):
        return _clean(float(cell))
    if isinstance(cell, bytearray | memoryview):
        return bytes(cell)
    return os.fspath(cell) if isinstance(cell, os.PathLike) else cell
