"""What a reader sees: the rows of all segments as they stood after one acknowledged write."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sensorium.store.index.exact import Space
from sensorium.store.index.hits import Hit, Ranking
from sensorium.store.index.manifest import Manifest, damaged, read_manifest
from sensorium.store.index.places import Place, gone
from sensorium.store.index.segments import Loaded, load_segment, metadata
from sensorium.store.index.words import bm25
from sensorium.types import InputError


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """An index in memory. Rows are numbered over all segments; dead ones keep their numbers."""

    manifest: Manifest
    loaded: tuple[Loaded, ...]
    table: Any  # pyarrow: id and metadata of all rows
    alive: np.ndarray  # (n,) bool: not replaced and not deleted since
    spaces: Mapping[str, Space]

    def by_words(self, texts: Sequence[str], k: int, allowed: np.ndarray) -> Ranking:
        """The `k` rows that fit each text best, among those with any of its words."""
        held = [(s.segment.first, s.words) for s in self.loaded if s.words is not None]
        scores, keys = np.full((len(texts), k), -np.inf), np.full((len(texts), k), -1)
        for query, text in enumerate(texts):
            found = bm25(held, text, self.alive) if held else np.zeros(len(self.alive), np.float32)
            some = np.flatnonzero((found > 0) & allowed)
            best = some[np.lexsort((some, -found[some]))[:k]]
            scores[query, : len(best)], keys[query, : len(best)] = found[best], best
        return Ranking(scores=scores, keys=keys, by=np.full(keys.shape, -1))

    def hits(self, ranking: Ranking) -> list[list[Hit]]:
        """A ranking with the names and metadata of its rows."""
        names, wanted = list(self.spaces), np.unique(ranking.keys[ranking.keys >= 0])
        rows = dict(zip(wanted.tolist(), self.table.take(wanted).to_pylist(), strict=True))
        ids = {key: row.pop("id") for key, row in rows.items()}
        return [
            [
                Hit(id=ids[key], score=score, modality=names[by] if by >= 0 else "", row=rows[key])
                for score, key, by in zip(*three, strict=True)
                if key >= 0
            ]
            for three in zip(ranking.scores.tolist(), ranking.keys.tolist(), ranking.by.tolist(), strict=True)
        ]

    def numbers(self) -> dict[str, int]:
        """Id -> row, of those that are alive."""
        ids = self.table.column("id").to_pylist()
        return {ids[key]: key for key in np.flatnonzero(self.alive).tolist()}


def view_of(place: Place, manifest: Manifest, before: View | None = None) -> View:
    """Open the segments of a manifest; those that `before` has open are taken from there.

    Raises InputError for a damaged segment, OSError for one that is not there.
    """
    known = _kept(before, manifest)
    loaded = tuple(known.get(s.name) or load_segment(place, manifest, s) for s in manifest.segments)
    alive = np.ones(manifest.rows, bool)
    for held in loaded:
        alive[held.kills] = False
    spaces = {
        name: Space(
            name=name,
            vectors=tuple(held.vectors[name] for held in loaded),
            keys=np.concatenate([*(held.present[name] for held in loaded), np.zeros(0, np.int64)]),
            mean=manifest.means.get(name, np.zeros(d, np.float32)),
            scales=tuple(held.scales[name] for held in loaded),
        )
        for name, d in manifest.spaces.items()
    }
    table = metadata(loaded, manifest.columns)
    return View(manifest=manifest, loaded=loaded, table=table, alive=alive, spaces=spaces)


def _kept(before: View | None, manifest: Manifest) -> dict[str, Loaded]:
    """Open segments that the new manifest still names; none where other means are taken off now."""
    if before is None:
        return {}
    old, new = before.manifest.means, manifest.means
    if old.keys() != new.keys() or any(not np.array_equal(old[m], new[m]) for m in new):
        return {}
    return {held.segment.name: held for held in before.loaded if held.segment in manifest.segments}


def newest_view(place: Place, before: View | None = None) -> View:
    """The view after the last acknowledged write.

    A file that is missing may have been merged into another one since the manifest was read: then it is read again.
    Raises InputError where there is no index or a damaged one.
    """
    manifest = read_manifest(place)
    while True:
        try:
            return view_of(place, manifest, before)
        except OSError as error:
            again = read_manifest(place)
            if not gone(error) or again.generation == manifest.generation:
                raise damaged(place, str(error)) from error
            manifest = again
        except InputError:
            raise
        except (ValueError, KeyError, IndexError) as error:  # pyarrow's ArrowInvalid is a ValueError
            raise damaged(place, f"{type(error).__name__}: {error}") from error
