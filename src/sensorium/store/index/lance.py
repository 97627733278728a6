"""Approximate search by LanceDB, beside the segments: it names candidates, which are scored again from the segments.

The segments stay the truth: what was added since this was built is searched exactly, what was deleted is left out, and
without LanceDB everything is searched exactly. It holds centred vectors, so that a constant offset between modalities
does not decide which cells are looked into. IVF_RQ: inverted lists with one bit per dimension (RaBitQ, arXiv 2405.12497).
"""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from sensorium.store.index.exact import SPARSE, Space, nearest, rescored
from sensorium.store.index.manifest import Near, damaged
from sensorium.store.index.places import Place
from sensorium.types import InputError

ABOVE = 50_000  # vectors of a modality from which on an index is built by itself
AIM = 0.995  # recall of ten on vectors of the index; a little above what is promised for others
ENOUGH = 0.99  # recall below which exact search is the better choice
LADDER = (
    (8, 100),
    (16, 100),
    (32, 200),
    (64, 200),
    (128, 400),
    (256, 800),
)  # (cells, candidates), cheap ones first
CHUNK = 65_536  # rows handed over at a time
QUERIES = 256  # asked at a time


def installed() -> bool:
    """Whether LanceDB can be used here."""
    return find_spec("lancedb") is not None


def require(place: Place) -> None:
    """Raise InputError where LanceDB cannot be used for an index in this place."""
    if not installed():
        raise InputError(
            "LanceDB is not installed", got="engine='lance'", fix="pip install 'sensorium[store]'"
        )
    if not place.uri(""):
        raise InputError(
            "LanceDB cannot reach this place", got=str(place), fix="give a URI such as s3://bucket/index"
        )


def build(place: Place, name: str, space: Space, alive: np.ndarray, queries: np.ndarray) -> Near:
    """Build an index of all vectors of a modality, and find the cheapest setting that reaches AIM.

    alive: (n,) which vectors may answer; queries: (m, d) centred vectors of unit length, such as will be asked.
    Raises InputError where it cannot be written.
    """
    import lancedb
    import pyarrow as pa
    from lancedb.index import IvfRq

    width = _width(len(space.mean))
    schema = pa.schema([("position", pa.int64()), ("vector", pa.list_(pa.float32(), width))])
    reader = pa.RecordBatchReader.from_batches(schema, _batches(space, schema))
    place.remove(f"{name}.lance")  # of a process that was killed
    try:
        table = lancedb.connect(place.uri("")).create_table(name, data=reader)
        cells = max(1, round(np.sqrt(len(space))))
        table.create_index("vector", config=IvfRq(distance_type="cosine", num_partitions=cells))
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(
            f"LanceDB could not build its index: {error}", got=str(place), fix="compact with engine='exact'"
        ) from error
    return _tuned(place, name, space, alive, queries)


class Approximate:
    """An index that was built, open for search."""

    def __init__(self, place: Place, near: Near):
        self.place, self.near, self._table = place, near, None

    def candidates(self, queries: np.ndarray, count: int) -> np.ndarray:
        """(m, count) positions of vectors that are probably near, -1 for none. Raises InputError if it is damaged."""
        found = np.full((len(queries), count), -1, np.int64)
        wide = np.zeros((len(queries), _width(queries.shape[1])), np.float32)
        wide[:, : queries.shape[1]] = queries
        try:
            for start in range(0, len(wide), QUERIES):
                self._fill(found[start : start + QUERIES], wide[start : start + QUERIES], count)
        except (OSError, RuntimeError, ValueError) as error:
            raise damaged(
                self.place, f"{self.near.name}: {error}. compact() builds this part again"
            ) from error
        return found

    def nearest(
        self, space: Space, queries: np.ndarray, k: int, allowed: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """What `exact.nearest` gives, nearly always. allowed: (n,) which vectors of the space may answer."""
        share = allowed[: self.near.vectors].mean() if self.near.vectors else 0.0
        if (
            share < SPARSE and share * self.near.vectors < ABOVE
        ):  # few are allowed: they are looked at one by one
            return nearest(space, queries, k, allowed)
        count = int(np.ceil(self.near.candidates * max(1.0, k / 10) / share))
        positions = self.candidates(queries, min(count, self.near.vectors))
        positions[~allowed[positions]] = -1
        if len(space) > self.near.vectors:
            _, added = nearest(space, queries, k, allowed, start=self.near.vectors)
            positions = np.concatenate([positions, added], axis=1)
        scores, places = rescored(space, queries, positions, k)
        short = np.flatnonzero((places < 0).any(1))
        if len(short):
            scores[short], places[short] = nearest(space, queries[short], k, allowed)
        return scores, places

    def _fill(self, found: np.ndarray, queries: np.ndarray, count: int) -> None:
        """Ask a batch and write its answers into `found`."""
        import lancedb

        if self._table is None:
            self._table = lancedb.connect(self.place.uri("")).open_table(self.near.name)
        asked: Any = list(queries) if len(queries) > 1 else queries[0]
        search = self._table.search(asked).distance_type("cosine").nprobes(self.near.probes)
        got = search.select(["position", "_distance"]).limit(count).to_arrow()
        positions = got.column("position").to_numpy()
        if len(queries) == 1:
            found[0, : len(positions)] = positions
            return
        who = got.column("query_index").to_numpy()
        order = np.argsort(who, kind="stable")
        who = who[order]
        rank = np.arange(len(who)) - np.searchsorted(who, who)
        found[who, rank] = positions[order]


def _width(d: int) -> int:
    """Numbers per vector as LanceDB packs its bits: a multiple of eight."""
    return -(-d // 8) * 8


def _batches(space: Space, schema: Any) -> Iterator[Any]:
    """The centred vectors of a space as Arrow batches."""
    import pyarrow as pa

    width = schema.field("vector").type.list_size
    for number, vectors in enumerate(space.vectors):
        for start in range(0, len(vectors), CHUNK):
            part = slice(start, start + CHUNK)
            left = np.zeros((len(vectors[part]), width), np.float32)
            left[:, : len(space.mean)] = (vectors[part] - space.mean) * space.scales[number][part, None]
            positions = np.arange(len(left)) + start + space.starts[number]
            lists = pa.FixedSizeListArray.from_arrays(pa.array(left.reshape(-1)), width)
            yield pa.record_batch([pa.array(positions, pa.int64()), lists], schema=schema)


def _tuned(place: Place, name: str, space: Space, alive: np.ndarray, queries: np.ndarray) -> Near:
    """The first setting of the ladder whose recall of ten reaches AIM; the last one where none does."""
    _, truth = nearest(space, queries, 11, alive)
    near = Near(name=name, vectors=len(space), probes=1, candidates=11, recall=0.0)
    for probes, candidates in LADDER:
        near = Near(name=name, vectors=len(space), probes=probes, candidates=candidates, recall=0.0)
        _, found = Approximate(place, near).nearest(space, queries, 11, alive)
        near = Near(
            name=name, vectors=len(space), probes=probes, candidates=candidates,
            recall=recall_of(found[:, 1:], truth[:, 1:]),  # without the first: a query may be a vector of the index
        )  # fmt: skip
        if near.recall >= AIM:
            break
    return near


def recall_of(found: np.ndarray | Sequence, truth: np.ndarray | Sequence) -> float:
    """Share of the true answers, (m, k) numbers with -1 for none, that were found; 1 where there are none."""
    right = total = 0
    for mine, true in zip(found, truth, strict=True):
        held = {int(t) for t in true if t >= 0}
        right += len(held.intersection(map(int, mine)))
        total += len(held)
    return right / total if total else 1.0
