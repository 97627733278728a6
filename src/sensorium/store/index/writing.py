"""Changes of an index: each writes new files first, and then the manifest that names them.

Whoever is killed between the two leaves files that nobody names; the next writer removes them. Small segments are
merged as they come, as in a log-structured merge tree, so there are few of them and each row is written a few times.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from sensorium.store.index import lance
from sensorium.store.index.exact import Space, centre
from sensorium.store.index.manifest import Manifest, Near, Segment, read_manifest, write_manifest
from sensorium.store.index.places import OURS, Place
from sensorium.store.index.segments import Fresh, Loaded, load_segment, merged, no_rows, write_segment
from sensorium.store.index.views import View, view_of
from sensorium.types import InputError

FAN = 8  # so many segments of a size become one
LARGEST = 5  # sizes above FAN ** (LARGEST + 1) rows are left alone
ROWS = 1 << 17  # rows of one segment after compaction: what is held in memory at a time
FEWEST = 32  # vectors of each modality, below which a mean would say nothing
SAMPLE = 200  # queries that an approximate index is tuned with


def commit(place: Place, before: Manifest, after: Manifest) -> None:
    """Acknowledge a write. Raises InputError where another writer was faster, or the disk full."""
    if read_manifest(place).generation != before.generation:
        raise InputError(
            "another process wrote the index meanwhile", got=str(place), fix="write it again, one at a time"
        )
    write_manifest(place, after)


def append(place: Place, manifest: Manifest, fresh: Fresh, columns: Mapping[str, str]) -> Manifest:
    """Add a segment; on disk when this returns. Raises InputError."""
    segment = write_segment(place, manifest, fresh, first=manifest.rows)
    after = manifest.next(segments=(*manifest.segments, segment), columns=columns)
    commit(place, manifest, after)
    return after


def tidy(place: Place, manifest: Manifest) -> Manifest:
    """Merge small segments at the end, and remove files that nobody names. Raises InputError."""
    while start := _mergeable(manifest.segments):
        old = manifest.segments[-start:]
        fresh = merged([load_segment(place, manifest, s) for s in old])
        one = write_segment(place, manifest, fresh, first=old[0].first)
        after = manifest.next(segments=(*manifest.segments[:-start], one))
        commit(place, manifest, after)
        manifest = after
    sweep(place, manifest)
    return manifest


def sweep(place: Place, manifest: Manifest) -> None:
    """Remove files of an index that the manifest does not name."""
    named = {s.name for s in manifest.segments} | {f"{n.name}.lance" for n in manifest.near.values()}
    for name in place.names():
        if OURS.match(name) and name not in named:
            place.remove(name)


def compact(place: Place, view: View, engine: str) -> Manifest:
    """Drop dead rows, find the means where they were not given, build approximate indexes. Raises InputError."""
    before = view.manifest
    if engine == "lance":
        lance.require(place)
    means = before.means if before.given else found_means(view)
    segments: list[Segment] = []
    living = np.flatnonzero(view.alive)
    for number, start in enumerate(range(0, len(living), ROWS)):
        fresh = _kept(view, living[start : start + ROWS])
        segments.append(write_segment(place, before, fresh, first=start, number=number))
    after = before.next(means=means, segments=tuple(segments), near={})
    near = build(place, view_of(place, after), engine)
    after = before.next(means=means, segments=tuple(segments), near=near)
    commit(place, before, after)
    sweep(place, after)
    return after


def found_means(view: View) -> dict[str, np.ndarray]:
    """The mean vector of each modality over living rows; none at all where a modality has too few to tell."""
    means = {}
    for name, space in view.spaces.items():
        total, count, at = np.zeros(len(space.mean)), 0, 0
        for vectors in space.vectors:
            keep = view.alive[space.keys[at : at + len(vectors)]]
            at += len(vectors)
            total += (keep.astype(np.float32) @ vectors).astype(np.float64) if len(vectors) else 0.0
            count += int(keep.sum())
        if count:
            means[name] = ((total / count).astype(np.float32), count)
    if any(count < FEWEST for _, count in means.values()):
        return {}
    return {name: mean for name, (mean, _) in means.items()}


def build(place: Place, view: View, engine: str) -> dict[str, Near]:
    """Approximate indexes of the modalities that are large enough, or of all where `engine` is "lance"."""
    if engine == "exact" or (engine == "auto" and not (lance.installed() and place.uri(""))):
        return {}
    found = {}
    for number, (name, space) in enumerate(view.spaces.items()):
        if len(space) and (engine == "lance" or len(space) > lance.ABOVE):
            label = f"near-{view.manifest.generation:08d}-{number}"
            alive = np.ones(len(space), bool)  # compaction has just dropped the others
            near = lance.build(place, label, space, alive, _sample(view))
            if engine == "lance" or near.recall >= lance.ENOUGH:
                found[name] = near
    return found


def _sample(view: View) -> np.ndarray:
    """Centred vectors of all modalities, as queries to tune with, (SAMPLE, d)."""
    rng = np.random.default_rng(0)
    held = [space for space in view.spaces.values() if len(space)]
    return np.concatenate([_drawn(space, SAMPLE // len(held), rng) for space in held])


def _drawn(space: Space, count: int, rng: np.random.Generator) -> np.ndarray:
    positions = np.sort(rng.choice(len(space), min(count, len(space)), replace=False))
    return centre(space.gather(positions), space.mean)


def _kept(view: View, keys: np.ndarray) -> Fresh:
    """The rows with these numbers, ascending, as a new segment."""
    import pyarrow as pa

    tables, vectors = [], {name: [] for name in view.spaces}
    for held in view.loaded:
        mine = keys[(keys >= held.segment.first) & (keys < held.segment.first + held.segment.rows)]
        if not len(mine):
            continue
        tables.append(held.rows.take(mine - held.segment.first))
        for name, found in _vectors(held, mine).items():
            vectors[name].append(found)
    rows = pa.concat_tables(tables, promote_options="permissive") if tables else no_rows(view.spaces)
    return Fresh(rows=rows, vectors=vectors, kills=np.zeros(0, np.int64))


def _vectors(held: Loaded, keys: np.ndarray) -> dict[str, np.ndarray]:
    """Vectors of these rows in one segment, by modality."""
    return {name: held.vectors[name][np.isin(present, keys)] for name, present in held.present.items()}


def _mergeable(segments: Sequence[Segment]) -> int:
    """How many segments at the end should become one; 0 for none."""
    sizes = [int(np.log(s.rows + 1) / np.log(FAN) + 1e-9) for s in segments]
    for size in range(LARGEST + 1):
        run = next((i for i, s in enumerate(reversed(sizes)) if s > size), len(sizes))
        if sizes[len(sizes) - run :].count(size) >= FAN:
            return run
    return 0
