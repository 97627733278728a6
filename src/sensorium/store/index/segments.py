"""Segments: rows that were added together, in one file that is never changed.

A file holds parts, one after the other: `rows` (Arrow: id, metadata, which modalities are there), `vectors/NAME` (float32,
only of rows that have the modality), `kills` (int64: numbers of earlier rows that these replace or that were deleted),
`terms` (Arrow: which words stand where) and `lengths` (int32: words per row).
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sensorium.store.index.exact import scales
from sensorium.store.index.manifest import Manifest, Segment, damaged
from sensorium.store.index.places import Place
from sensorium.store.index.words import Postings, postings

HAS, ROW = "has/", "row/"  # before the names of modalities and of metadata columns
ARROW = {"text": "large_string", "integer": "int64", "number": "float64", "boolean": "bool_"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Loaded:
    """A segment in memory, as far as its pages were used."""

    segment: Segment
    rows: Any  # pyarrow table: id, has/..., row/...
    vectors: Mapping[str, np.ndarray]  # modality -> (p, d) float32
    present: Mapping[
        str, np.ndarray
    ]  # modality -> (p,) int64, the rows of the index that these vectors belong to
    scales: Mapping[str, np.ndarray]  # modality -> (p,) float32
    kills: np.ndarray  # (x,) int64
    words: Postings | None  # None where the index has no texts


@dataclass(frozen=True, kw_only=True, eq=False)
class Fresh:
    """What a segment is made of, before it is written."""

    rows: Any  # pyarrow table as in `Loaded`
    vectors: Mapping[str, Sequence[np.ndarray]]  # modality -> arrays (p, d) that follow each other
    kills: np.ndarray


def write_segment(place: Place, manifest: Manifest, fresh: Fresh, *, first: int, number: int = 0) -> Segment:
    """Write one segment of the manifest's next generation; it counts once a manifest names it. Raises InputError."""
    parts: dict[str, Sequence[np.ndarray]] = {"kills": [fresh.kills.astype(np.int64)]}
    if fresh.rows.num_rows:
        parts["rows"] = [_packed(fresh.rows)]
        parts |= {f"vectors/{m}": list(arrays) for m, arrays in fresh.vectors.items()}
        if manifest.texts:
            held = postings(_texts(fresh.rows, manifest.texts))
            parts |= {"terms": [_packed(held.table)], "lengths": [held.lengths]}
    name = f"segment-{manifest.generation + 1:08d}-{number}"
    told = place.write(name, parts)
    size = max(offset + length for offset, length, _ in told.values())
    return Segment(name=name, first=first, rows=fresh.rows.num_rows, parts=told, bytes=size)


def load_segment(place: Place, manifest: Manifest, segment: Segment) -> Loaded:
    """Open a segment; its vectors are read when they are searched.

    Raises InputError where the file is not what was written (vectors are checked by `check_segment` only), OSError
    where it is not there.
    """
    data = _opened(place, segment)
    small = {p: _part(place, segment, data, p) for p in segment.parts if not p.startswith("vectors/")}
    rows = _unpacked(small["rows"]) if "rows" in small else None
    vectors, present, lengths = {}, {}, {}
    for name, d in manifest.spaces.items():
        there = rows.column(HAS + name).to_numpy() if rows is not None else np.zeros(0, bool)
        at = f"vectors/{name}"
        raw = _cut(data, segment, at) if at in segment.parts else np.zeros(0, np.uint8)
        if raw.nbytes != 4 * d * int(there.sum()):
            raise damaged(
                place, f"{segment.name}: {raw.nbytes} bytes of vectors for {there.sum()} rows of {name}"
            )
        vectors[name] = raw.view(np.float32).reshape(-1, d)
        present[name] = segment.first + np.flatnonzero(there)
        mean = manifest.means.get(name)
        lengths[name] = (
            np.ones(len(there), np.float32)[there] if mean is None else scales(vectors[name], mean)
        )
    words = None
    if "terms" in small:
        words = Postings(table=_unpacked(small["terms"]), lengths=small["lengths"].view(np.int32))
    return Loaded(
        segment=segment, rows=rows, vectors=vectors, present=present, scales=lengths,
        kills=small["kills"].view(np.int64), words=words,
    )  # fmt: skip


def check_segment(place: Place, segment: Segment) -> None:
    """Read every byte of a segment and compare its checksums. Raises InputError where one differs, OSError if gone."""
    data = _opened(place, segment)
    for part in segment.parts:
        _part(place, segment, data, part)


def merged(loaded: Sequence[Loaded]) -> Fresh:
    """Segments that follow each other as one; rows keep their numbers, so dead ones stay."""
    import pyarrow as pa

    names = loaded[0].vectors
    tables = [held.rows for held in loaded if held.rows is not None]
    return Fresh(
        rows=pa.concat_tables(tables, promote_options="permissive") if tables else no_rows(names),
        vectors={m: [held.vectors[m] for held in loaded] for m in names},
        kills=np.unique(np.concatenate([held.kills for held in loaded])),
    )


def no_rows(names: Sequence[str] | Mapping[str, object]) -> Any:
    """An empty table of rows."""
    import pyarrow as pa

    fields = [("id", pa.large_string()), *((HAS + name, pa.bool_()) for name in names)]
    return pa.schema(fields).empty_table()


def metadata(loaded: Sequence[Loaded], columns: Mapping[str, str]) -> Any:
    """The pyarrow table of ids and metadata of all rows, under their own names."""
    import pyarrow as pa

    kinds = {name: getattr(pa, ARROW[kind])() for name, kind in columns.items()}
    schema = pa.schema([("id", pa.large_string()), *kinds.items()])
    tables = []
    for held in loaded:
        if held.rows is None:
            continue
        data = {"id": held.rows.column("id")}
        for name, kind in kinds.items():
            there = ROW + name in held.rows.column_names
            data[name] = (
                held.rows.column(ROW + name).cast(kind) if there else pa.nulls(held.rows.num_rows, kind)
            )
        tables.append(pa.table(data, schema=schema))
    return pa.concat_tables(tables) if tables else schema.empty_table()


def _texts(rows: Any, columns: Sequence[str]) -> list[str]:
    """The texts of each row, joined."""
    held = [rows.column(ROW + c).to_pylist() for c in columns if ROW + c in rows.column_names]
    return [" ".join(c for c in cells if isinstance(c, str)) for cells in zip(*held, strict=True)] or [
        ""
    ] * len(rows)


def _packed(table: Any) -> np.ndarray:
    """A table as an Arrow file in memory, (n,) uint8."""
    import pyarrow as pa

    out = pa.BufferOutputStream()
    with pa.ipc.new_file(out, table.schema) as writer:
        writer.write_table(table)
    return np.frombuffer(out.getvalue(), np.uint8)


def _unpacked(data: np.ndarray) -> Any:
    import pyarrow as pa

    return pa.ipc.open_file(pa.py_buffer(data)).read_all()


def _opened(place: Place, segment: Segment) -> np.ndarray:
    data = place.read(segment.name)
    if len(data) != segment.bytes:
        raise damaged(place, f"{segment.name} has {len(data)} bytes, {segment.bytes} were written")
    return data


def _cut(data: np.ndarray, segment: Segment, part: str) -> np.ndarray:
    offset, length, _ = segment.parts[part]
    return data[offset : offset + length]


def _part(place: Place, segment: Segment, data: np.ndarray, part: str) -> np.ndarray:
    """One part, checked."""
    found = _cut(data, segment, part)
    if zlib.crc32(found) != segment.parts[part][2]:
        raise damaged(place, f"{segment.name}: the bytes of {part} are not those that were written")
    return found
