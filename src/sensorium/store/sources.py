"""`read`: one door for paths and for everything that Python holds a table in."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sensorium.store.folders import read_folder
from sensorium.store.formats import cleaned, of_arrow, of_dicts, read_file, table_suffix
from sensorium.store.paths import URL, unreadable
from sensorium.store.table import Table
from sensorium.types import InputError


def read(source: object, *, split: str | None = None, confined: bool = False) -> Table:
    """Read a table.

    Args:
        source: a file (.csv .tsv .jsonl .ndjson .json .parquet .arrow .feather, text also as .gz), a folder,
            a list of dicts, a dict of columns, a pandas or polars DataFrame, a pyarrow Table, a Hugging Face
            Dataset, a Table.
        split: keep the rows whose column `split` says so; valid, val, validation and dev are one.
        confined: refuse cells that name files outside the table's folder, links followed: for a table that a
            stranger sent, whose rows would else answer about any file that this process may read.

    Raises:
        InputError: what cannot be read, holds no rows, or none of that split.
    """
    table = source if isinstance(source, Table) else _table(source)
    if not len(table):
        raise InputError("the table holds no rows", got=table.source, fix="give at least one row")
    if confined and not table.confined:
        table = replace(table, confined=True)
    if split is None:
        return table
    part = table.split(split)
    if part is None or not len(part):
        said = "no column `split`" if part is None else sorted({str(c) for c in table.cells("split")})[:20]
        raise InputError(f"no row has the split {split!r}", got=said, fix="check the column `split`")
    return part


def _table(source: object) -> Table:
    if isinstance(source, str | os.PathLike):
        return _of_path(os.fspath(source))
    if hasattr(source, "with_format") and hasattr(source, "column_names"):
        if not hasattr(source, "__len__"):
            raise InputError(
                "the data set is streamed", got=type(source).__name__, fix="load it whole: streaming=False"
            )
        return Table(data=_of_dataset(source), source="datasets")
    if isinstance(source, Mapping):
        return _of_mapping(source)
    if isinstance(source, Sequence) and all(isinstance(row, Mapping) for row in source):
        return Table(data=of_dicts(source))
    kind = type(source).__module__.partition(".")[0]
    if kind == "polars" and type(source).__name__ == "LazyFrame":
        source = source.collect()  # type: ignore[attr-defined]
    if kind == "pyarrow" and hasattr(source, "column_names"):
        return Table(data=of_arrow(source), source="pyarrow")
    if kind in ("pandas", "polars") and hasattr(source, "columns"):
        return Table(data=_of_frame(source, kind), source=kind)
    raise InputError(
        "not a table",
        got=type(source).__name__,
        fix="give a path, a DataFrame, an Arrow table, a dict of lists or a list of dicts",
    )


def _of_path(name: str | bytes) -> Table:
    path = Path(os.fsdecode(name))
    if URL.match(str(name)):
        raise InputError("addresses are not fetched", got=name, fix="download it first, then give its path")
    try:
        path = path.expanduser()
        is_folder = bool(str(name)) and _is_folder(path)
    except (OSError, RuntimeError, ValueError) as error:
        raise unreadable(error, str(path)) from error
    if not is_folder:
        return read_file(path)
    if table_suffix(path.name):
        raise InputError("a folder, though its name is a file's", got=str(path), fix="name the file inside")
    return read_folder(path)


def _is_folder(path: Path) -> bool:
    path.stat()  # unlike is_dir, says why a path cannot be followed
    return path.is_dir()


def _of_mapping(source: Mapping[Any, Any]) -> Table:
    if source and all(
        hasattr(part, "column_names") and hasattr(part, "with_format") for part in source.values()
    ):
        raise InputError(
            "several data sets in one", got=sorted(map(str, source)), fix="give one of them: data['train']"
        )
    for name, column in source.items():
        if (
            not hasattr(column, "__len__")
            or not hasattr(column, "__iter__")
            or isinstance(column, str | bytes | Mapping)
        ):
            raise InputError(
                f"the column {name!r} is not a list",
                got=type(column).__name__,
                fix="give column -> list of cells",
            )
    _named_once([str(name) for name in source])
    return Table(data={str(name): cleaned(column) for name, column in source.items()})


def _of_frame(frame: Any, kind: str) -> dict[str, list[object]]:
    names = [str(name) for name in frame.columns]
    _named_once(names)
    if kind == "polars":
        return {name: cleaned(frame[name].to_list()) for name in names}
    return {name: cleaned(frame.iloc[:, i].tolist()) for i, name in enumerate(names)}


def _of_dataset(source: Any) -> dict[str, list[object]]:
    """Columns of a Hugging Face Dataset as Arrow keeps them: media stay packed, classes get their names."""
    data = of_arrow(source.with_format("arrow")[:])
    for name, feature in dict(getattr(source, "features", None) or {}).items():
        classes = getattr(feature, "names", None)
        if isinstance(classes, list) and name in data:
            data[name] = [
                classes[c] if isinstance(c, int) and 0 <= c < len(classes) else None for c in data[name]
            ]
    return data


def _named_once(names: list[str]) -> None:
    if len(set(names)) < len(names):
        raise InputError("the table repeats a name", got=names, fix="give every column a name of its own")
