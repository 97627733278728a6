"""Vectors on disk: one row per input row, in order."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sensorium.store.paths import written_as
from sensorium.store.runs import write_bytes


def write_vectors(
    path: str | Path, ids: Sequence[str], vectors: Mapping[str, np.ndarray], errors: Sequence[str]
) -> None:
    """Write ids, a matrix for each modality, and why a row has no vector ("" where it has); .npz or .parquet.

    vectors: name -> (rows, d) float32, zeros where a row lacks it. In a .npz file the arrays are `id`, `error` and one
    named after each modality; in Parquet an empty cell stands for zeros. Nothing is pickled. Raises InputError.
    """
    written = _npz if written_as(path, "vectors") == ".npz" else _parquet
    write_bytes(path, written(ids, vectors, errors))


def _npz(ids: Sequence[str], vectors: Mapping[str, np.ndarray], errors: Sequence[str]) -> bytes:
    """Arrays as `np.savez` writes them; that function itself has no room for modalities named `file` or `allow_pickle`."""
    named = {f"vector {n}" if n in ("id", "error") else n: v for n, v in vectors.items()}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, array in {"id": np.array(ids, str), "error": np.array(errors, str), **named}.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)
    return out.getvalue()


def _parquet(ids: Sequence[str], vectors: Mapping[str, np.ndarray], errors: Sequence[str]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, object] = {"id": pa.array(list(ids)), "error": pa.array(list(errors))}
    for name, matrix in vectors.items():
        held = pa.list_(pa.float32(), matrix.shape[1])
        cells = [row.tolist() if row.any() else None for row in matrix]
        columns[f"vector {name}" if name in ("id", "error") else name] = pa.array(cells, held)
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()
