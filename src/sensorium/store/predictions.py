"""Predictions on disk: one row per input row, in order."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from sensorium.store.paths import written_as
from sensorium.store.runs import encode_json, write_bytes
from sensorium.types import Prediction

SEPARATOR = "|"  # between several labels in one cell


def write_predictions(
    path: str | Path,
    predictions: Sequence[Prediction],
    *,
    classes: Sequence[str] = (),
    target: str = "",
    sets: bool = False,
) -> None:
    """Write id, prediction, p_<class>..., error per prediction, in order; .csv, .jsonl or .parquet by suffix.

    `sets` adds what each answer's set holds: a column `set` of classes, or `low` and `high` of a number. Several labels are joined by `|`; numbers are written so that reading gives the same number; a row with an
    error has no prediction. Columns of probabilities stand there only where there are `classes`. Parquet
    keeps the name of the `target` column in its metadata.

    Raises:
        InputError: the suffix is none of these, the folder is missing or read-only, or the disk is full.
    """
    suffix = written_as(path, "predictions")
    held = (("set",) if classes else ("low", "high")) if sets else ()
    names = ["id", "prediction", *held, *(f"p_{c}" for c in classes), "error"]
    rows = (_row(p, classes, len(held)) for p in predictions)
    if suffix == ".jsonl":
        data = b"".join(encode_json(dict(zip(names, row, strict=True))) + b"\n" for row in rows)
    elif suffix == ".parquet":
        data = _parquet(names, list(rows), target)
    else:
        data = _csv(names, rows)
    write_bytes(path, data)


def _row(prediction: Prediction, classes: Sequence[str], held: int) -> list[object]:
    """Cells of one row; None where there is nothing to say. `held`: columns that tell of the answer's set."""
    value = prediction.value
    if isinstance(value, tuple | list):
        value = SEPARATOR.join(map(str, value))
    if value is not None and not isinstance(value, str | float | int | np.generic):
        value = str(value)
    said = prediction.set
    cells = [SEPARATOR.join(map(str, said)) if said else None] if held == 1 else [*said, None, None][:held]
    probabilities = (prediction.probabilities.get(c) for c in classes)
    return [prediction.id, value, *cells, *probabilities, prediction.error]


def shown(cell: object) -> str:
    """A cell as text; reading a number back gives the same number."""
    if isinstance(cell, np.floating):
        return str(cell) if cell.dtype.itemsize < 8 else repr(float(cell))
    return "" if cell is None else repr(cell) if isinstance(cell, float) else str(cell)


def _csv(names: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(_shown(rows))
    return out.getvalue().encode("utf-8", "backslashreplace")


def _shown(rows: Iterable[Sequence[object]]) -> Iterator[list[str]]:
    for row in rows:
        yield [shown(cell) for cell in row]


def _parquet(names: Sequence[str], rows: Sequence[Sequence[object]], target: str) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = []
    for name, cells in zip(names, zip(*rows, strict=True) if rows else [()] * len(names), strict=True):
        numbers = name.startswith("p_") or (
            name in ("prediction", "low", "high")
            and any(c is not None for c in cells)
            and not any(isinstance(c, str) for c in cells)
        )
        if numbers:
            columns.append(pa.array([None if c is None else float(c) for c in cells], pa.float64()))  # type: ignore[arg-type]
        else:
            texts = [
                None if c is None else shown(c).encode("utf-8", "backslashreplace").decode() for c in cells
            ]
            columns.append(pa.array(texts, pa.string()))
    table = pa.table(columns, names=list(names)).replace_schema_metadata({"target": target})
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()
