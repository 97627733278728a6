"""`Index`: items with vectors in one space, found by a vector of any modality, by words, or by both."""

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sensorium.store.index import lance, writing
from sensorium.store.index.adding import checked_ids, checked_vectors, fresh
from sensorium.store.index.exact import Space, centre, nearest
from sensorium.store.index.filters import Filter, filter_of
from sensorium.store.index.hits import Hit, Ranking, best_of, fused
from sensorium.store.index.manifest import NAME, Manifest, damaged, read_manifest, write_manifest
from sensorium.store.index.places import Place, gone, place_of
from sensorium.store.index.segments import Fresh, check_segment, no_rows
from sensorium.store.index.views import View, newest_view
from sensorium.types import InputError

ENGINES = ("auto", "exact", "lance")
DEEP = 100  # answers of each ranking that hybrid search puts together

Query = np.ndarray | Mapping[str, object]


@dataclass(frozen=True, kw_only=True, slots=True)
class Recall:
    """How many of the exact answers a search finds."""

    value: float  # 0..1
    k: int
    queries: int
    engine: str  # that was held against exact search


class Index:
    """A durable index of items. Make one with `Index.create` or `Index.open`.

    An item has an id, metadata and a vector for some of the modalities; all modalities share one space. Writers wait for
    each other; a reader sees the last acknowledged write at its next search. Objects may be shared between threads.
    """

    def __init__(self, place: Place):
        self._place = place
        self._seen: tuple[object, View] | None = None
        self._ids: tuple[int, dict[str, int]] = (-1, {})  # generation, id -> row
        self._near: dict[str, lance.Approximate] = {}
        self._mutex = threading.RLock()

    @classmethod
    def create(
        cls,
        path: "str | os.PathLike | Place",
        *,
        spaces: Mapping[str, int],
        fingerprint: str = "",
        described: Mapping[str, Any] | None = None,
        texts: Sequence[str] = (),
        means: Mapping[str, object] | None = None,
    ) -> "Index":
        """Make an empty index.

        path: a folder, or a URI of an object store (s3://bucket/index); spaces: modality -> numbers per vector, the same
        for all; fingerprint: of what makes the vectors; described: JSON for the caller; texts: metadata columns that
        words are searched in; means: modality -> (d,) what is taken off its vectors before they are compared. Without
        `means`, `compact` finds them from the rows that it sees.

        Raises:
            InputError: something is in the folder already, it cannot be written, or the spaces differ in size.
        """
        place = place_of(path)
        sizes = {str(m): int(d) for m, d in spaces.items()}
        if not sizes or len(set(sizes.values())) != 1 or min(sizes.values()) < 1:
            raise InputError(
                "the modalities do not share one space", got=sizes, fix="give all the same number, above 0"
            )
        if strange := [m for m in means or {} if m not in sizes]:
            raise InputError(
                "a mean of no modality", got=strange[0], fix=f"the spaces are {', '.join(sizes)}"
            )
        given = {m: checked_vectors(v, sizes[m], f"the mean of {m}")[0] for m, v in (means or {}).items()}
        manifest = Manifest(
            generation=0, spaces=sizes, fingerprint=fingerprint, described=dict(described or {}), texts=tuple(texts),
            means=given, given=bool(given),
        )  # fmt: skip
        with place.writing():
            if others := [n for n in place.names() if not n.startswith(".")]:
                wrong = "there is an index already" if NAME in others else "the folder is not empty"
                raise InputError(wrong, got=str(place), fix="open it, or choose an empty or new folder")
            write_manifest(place, manifest)
        return cls(place)

    @classmethod
    def open(cls, path: "str | os.PathLike | Place", fingerprint: str | None = None) -> "Index":
        """Open an index.

        Raises InputError where there is none, where it is damaged, and where its vectors were made by something with
        another fingerprint than the one given.
        """
        index = cls(place_of(path))
        said = index._view().manifest.fingerprint
        if fingerprint is not None and said != fingerprint:
            raise InputError(
                "the index was made by another run: its vectors cannot be compared",
                got=f"{path}: fingerprint {said or 'none'}, not {fingerprint}",
                fix="open it with the run that made it, or make the index again with this one",
            )
        return index

    @property
    def manifest(self) -> Manifest:
        """What the index is: spaces, fingerprint, described, texts, columns, means, segments."""
        return self._view().manifest

    @property
    def engine(self) -> str:
        """What `search` uses by itself: "lance" where an approximate index was built and can be used, else "exact"."""
        return "lance" if self.manifest.near and lance.installed() else "exact"

    @property
    def ids(self) -> list[str]:
        """Ids of all items, in the order in which they were added."""
        return list(self._view().numbers())

    def __len__(self) -> int:
        return int(self._view().alive.sum())

    def add(
        self,
        ids: Sequence[object],
        vectors: Mapping[str, object],
        *,
        present: Mapping[str, object] | None = None,
        rows: Mapping[str, Sequence[object]] | None = None,
    ) -> None:
        """Add items; they are on disk when this returns, all of them or none. An id that is there already is replaced.

        vectors: modality -> (n, d) of unit length; present: modality -> (n,) bool, else a vector of zeros is none; rows:
        metadata column -> n cells: texts, numbers, true or false, None.

        Raises:
            InputError: ids stand twice, shapes or kinds do not fit, vectors are not finite or not of unit length, the
                disk is full, or another process has been writing for long.
        """
        names = checked_ids(ids)
        with self._mutex, self._place.writing():
            known = self._known()
            manifest = self._view().manifest
            kills = np.array([known[i] for i in names if i in known], np.int64)
            new, columns = fresh(manifest, names, vectors, present or {}, rows or {}, kills)
            if not names:
                return
            first = manifest.rows
            after = writing.append(self._place, manifest, new, columns)
            known.update(zip(names, range(first, first + len(names)), strict=True))
            self._ids = (writing.tidy(self._place, after).generation, known)

    def delete(self, ids: Sequence[object]) -> int:
        """Delete items; done on disk when this returns. Returns how many there were. Raises InputError."""
        with self._mutex, self._place.writing():
            known = self._known()
            gone_ids = [i for i in dict.fromkeys(map(str, ids)) if i in known]
            if not gone_ids:
                return 0
            manifest = self._view().manifest
            kills = np.array([known[i] for i in gone_ids], np.int64)
            new = Fresh(rows=no_rows(manifest.spaces), vectors={}, kills=kills)
            after = writing.append(self._place, manifest, new, manifest.columns)
            for name in gone_ids:
                del known[name]
            self._ids = (writing.tidy(self._place, after).generation, known)
        return len(gone_ids)

    def compact(self, engine: str = "auto") -> None:
        """Drop deleted rows, find the modalities' means unless they were given, build what speeds search up.

        engine: "auto" builds an approximate index of modalities with more than 50 000 vectors where LanceDB is installed,
        and keeps it where it finds 99 % of the ten nearest; "lance" always does, "exact" never. Readers see the old state until all is done. Raises InputError.
        """
        _known_engine(engine)
        with self._mutex, self._place.writing():
            writing.compact(self._place, self._view(), engine)
            self._near.clear()

    def check(self) -> None:
        """Read every byte and compare its checksum. Raises InputError where the index is damaged."""
        view = self._view()
        for segment in view.manifest.segments:
            try:
                check_segment(self._place, segment)
            except OSError as error:
                if not gone(error) or read_manifest(self._place).generation == view.manifest.generation:
                    raise damaged(self._place, str(error)) from error
                return self.check()
        return None

    def vectors(self, ids: Sequence[object], modality: str) -> tuple[np.ndarray, np.ndarray]:
        """Vectors of items as they were added, (n, d) float32, and which items have one, (n,) bool. Raises InputError."""
        view = self._view()
        space, known = self._space(view, modality), self._known()
        if missing := [i for i in map(str, ids) if i not in known]:
            raise InputError("no such item in the index", got=missing[0], fix="ids lists what there is")
        keys = np.array([known[str(i)] for i in ids], np.int64)
        positions = np.searchsorted(space.keys, keys)
        there = np.isin(keys, space.keys)
        found = np.zeros((len(keys), len(space.mean)), np.float32)
        found[there] = space.gather(positions[there])
        return found, there

    def search(
        self,
        query: Query | None = None,
        *,
        words: str | Sequence[str] | None = None,
        answer: str | None = None,
        k: int = 10,
        where: Filter | str | None = None,
        engine: str = "auto",
    ) -> list[list[Hit]]:
        """The `k` best items for each query, best first; fewer where there are fewer.

        query: modality -> (m, d) vectors; several modalities count equally, and a vector of zeros is absent. A bare array
        is taken as centred already. words: one text for all queries or one for each; alone it ranks by BM25, beside
        vectors both rankings are fused. answer: the modality whose vectors answer; None for the best of each item. where:
        a condition on the metadata (see `filters`). engine: "auto", "exact", or "lance" where that was built.

        Raises:
            InputError: the index is empty or damaged; shapes, names or the condition do not fit; there is nothing to ask.
        """
        view = self._view()
        if not view.alive.any():
            raise InputError("the index is empty", got=str(self._place), fix="add items first")
        if k < 1 or (query is None and words is None):
            raise InputError(
                "there is nothing to ask for", got={"k": k}, fix="give k above 0 and vectors or words"
            )
        asked = None if query is None else self._centred(view, query)
        texts = _texts(words, None if asked is None else len(asked), view.manifest.texts)
        allowed = view.alive & filter_of(where, view.table)
        k = min(k, int(view.alive.sum()))
        deep = k if asked is None or texts is None else max(k, DEEP)
        found = [] if asked is None else [self._by_vectors(view, asked, answer, deep, allowed, engine)]
        if texts is not None:
            found.append(view.by_words(texts, deep, allowed))
        return view.hits(found[0] if len(found) == 1 else fused(found, k))

    def recall(self, query: Query, *, answer: str | None = None, k: int = 10, engine: str = "auto") -> Recall:
        """How many of the `k` exact answers the search finds; 1 where the search is exact. Raises InputError."""
        used = self.engine if engine == "auto" else engine
        found, truth = (
            [{h.id for h in hits} for hits in self.search(query, answer=answer, k=k, engine=e)]
            for e in (used, "exact")
        )
        right, total = sum(len(f & t) for f, t in zip(found, truth, strict=True)), sum(map(len, truth))
        return Recall(value=right / total if total else 1.0, k=k, queries=len(truth), engine=used)

    def _view(self) -> View:
        """The view after the last acknowledged write."""
        with self._mutex:
            stamp = self._place.stamp(NAME)
            if self._seen is None or stamp is None or self._seen[0] != stamp:
                self._seen = (stamp, newest_view(self._place, self._seen[1] if self._seen else None))
            return self._seen[1]

    def _known(self) -> dict[str, int]:
        """Id -> row of the living items."""
        with self._mutex:
            view = self._view()
            if self._ids[0] != view.manifest.generation:
                self._ids = (view.manifest.generation, view.numbers())
            return self._ids[1]

    def _space(self, view: View, modality: str) -> Space:
        if modality not in view.spaces:
            raise InputError(
                "no such modality in the index", got=modality, fix=f"it has {', '.join(view.spaces)}"
            )
        return view.spaces[modality]

    def _centred(self, view: View, query: Query) -> np.ndarray:
        """(m, d) queries of unit length, less the means of their modalities. Raises InputError."""
        d = next(iter(view.manifest.spaces.values()))
        parts, theres = [], []
        for name, values in query.items() if isinstance(query, Mapping) else [("", query)]:
            found = checked_vectors(values, d, f"queries of {name}" if name else "queries")
            there = found.any(1, keepdims=True)
            mean = self._space(view, name).mean if name else np.zeros(d, np.float32)
            parts.append(centre(centre(found, np.zeros(d, np.float32)), mean) * there)
            theres.append(there[:, 0])
        if not parts or len({len(p) for p in parts}) > 1:
            raise InputError(
                "the queries of the modalities differ in number",
                got=[*map(len, parts)],
                fix="give as many each",
            )
        whole = centre(np.sum(parts, axis=0), np.zeros(d, np.float32))
        # Asked before the mean is off: where all items are alike nothing is left of a vector, and all fit equally.
        if len(empty := np.flatnonzero(~np.any(theres, axis=0))):
            raise InputError(
                "a query has no vector", got=f"query {empty[0]}", fix="leave it out, or ask by words"
            )
        return whole

    def _by_vectors(
        self, view: View, asked: np.ndarray, answer: str | None, k: int, allowed: np.ndarray, engine: str
    ) -> Ranking:
        _known_engine(engine)
        spaces = view.spaces.values() if answer is None else [self._space(view, answer)]
        if engine == "lance" and view.manifest.near:
            lance.require(self._place)
        if engine == "lance" and not view.manifest.near:
            raise InputError(
                "no approximate index was built", got=engine, fix="compact(engine='lance') builds it"
            )
        found, numbers = [], list(view.spaces)
        for space in spaces:
            may, near = allowed[space.keys], view.manifest.near.get(space.name)
            if near is None or engine == "exact" or (engine == "auto" and not lance.installed()):
                scores, places = nearest(space, asked, k, may)
            else:
                held = self._near.setdefault(near.name, lance.Approximate(self._place, near))
                scores, places = held.nearest(space, asked, k, may)
            keys = np.full(places.shape, -1)
            keys[places >= 0] = space.keys[places[places >= 0]]
            found.append(Ranking(scores=scores, keys=keys, by=np.full(keys.shape, numbers.index(space.name))))
        return best_of(found, k)


def _known_engine(engine: str) -> None:
    if engine not in ENGINES:
        raise InputError("no such engine", got=engine, fix=f"give one of {', '.join(ENGINES)}")


def _texts(
    words: str | Sequence[str] | None, queries: int | None, columns: Sequence[str]
) -> list[str] | None:
    """One text per query. Raises InputError where the index has no texts, or the numbers differ."""
    if words is None:
        return None
    if not columns:
        raise InputError(
            "the index holds no texts", got=words, fix="name metadata columns as texts when it is made"
        )
    found = [words] * (queries or 1) if isinstance(words, str) else list(words)
    if queries is not None and len(found) != queries:
        raise InputError(
            "words and vectors differ in number", got=(len(found), queries), fix="give one text, or as many"
        )
    return found
