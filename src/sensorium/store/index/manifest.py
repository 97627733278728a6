"""What an index consists of: the one small file that is replaced when something was written, and read first."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sensorium.store.index.places import Place
from sensorium.store.runs import encode_json
from sensorium.types import InputError

NAME = "index.json"
FORMAT = 1
KINDS = ("text", "integer", "number", "boolean")  # of metadata columns


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """One file of rows that were added together, and of rows that they replace."""

    name: str  # of the file
    first: int  # number of its first row, counted over all segments
    rows: int
    parts: Mapping[str, tuple[int, int, int]]  # part -> (offset, bytes, CRC-32)
    bytes: int  # size of the file


@dataclass(frozen=True, kw_only=True, slots=True)
class Near:
    """An approximate index of one modality's vectors: those of rows before `upto`."""

    name: str  # of the LanceDB folder
    vectors: int  # how many it holds: the first ones of the modality
    probes: int  # cells looked into
    candidates: int  # taken from them and scored again exactly, for ten answers
    recall: float  # of ten against exact search, when it was built


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Manifest:
    """The state of an index after its last acknowledged write."""

    generation: int
    spaces: Mapping[str, int]  # modality -> numbers per vector
    fingerprint: str
    described: Mapping[str, Any]
    texts: tuple[str, ...]  # metadata columns that words are searched in
    columns: Mapping[str, str] = field(default_factory=dict)  # metadata column -> kind
    means: Mapping[str, np.ndarray] = field(
        default_factory=dict
    )  # modality -> (d,) what is taken off its vectors
    given: bool = False  # whether the caller gave the means; else compaction finds them
    segments: tuple[Segment, ...] = ()
    near: Mapping[str, Near] = field(default_factory=dict)  # by modality

    @property
    def rows(self) -> int:
        """Rows in all segments, also those that were replaced or deleted since."""
        return sum(s.rows for s in self.segments)

    def next(self, **changed: Any) -> "Manifest":
        """The manifest after one more write."""
        return replace(self, generation=self.generation + 1, **changed)


def write_manifest(place: Place, manifest: Manifest) -> None:
    """Replace the manifest; when this returns, what it names is acknowledged. Raises InputError."""
    value = {
        "kind": "sensorium index", "format": FORMAT, "generation": manifest.generation, "spaces": manifest.spaces,
        "fingerprint": manifest.fingerprint, "described": manifest.described, "texts": manifest.texts,
        "columns": manifest.columns, "means": manifest.means, "given": manifest.given,
        "segments": [
            {"name": s.name, "first": s.first, "rows": s.rows, "parts": s.parts, "bytes": s.bytes}
            for s in manifest.segments
        ],
        "near": {
            m: {"name": n.name, "vectors": n.vectors, "probes": n.probes, "candidates": n.candidates, "recall": n.recall}
            for m, n in manifest.near.items()
        },
    }  # fmt: skip
    place.replace(NAME, encode_json(value))


def read_manifest(place: Place) -> Manifest:
    """Read the manifest. Raises InputError where there is none, where it is damaged or from a newer version."""
    try:
        value = json.loads(place.read(NAME).tobytes())
    except FileNotFoundError as error:
        raise InputError(
            "there is no index here",
            got=str(place),
            fix="make one with Index.create, or name the folder of one",
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(place, f"{NAME}: {error}") from error
    if not isinstance(value, dict) or value.get("kind") != "sensorium index":
        raise damaged(place, f"{NAME} does not describe an index")
    if not isinstance(value.get("format"), int) or value["format"] > FORMAT:
        raise InputError(
            "the index was written by a newer version",
            got=f"{place}: format {value.get('format')}, this version reads up to {FORMAT}",
            fix="update sensorium",
        )
    try:
        return _parsed(value)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(place, f"{NAME}: {type(error).__name__}: {error}") from error


def _parsed(value: Mapping[str, Any]) -> Manifest:
    segments = tuple(
        Segment(
            name=str(s["name"]), first=int(s["first"]), rows=int(s["rows"]), bytes=int(s["bytes"]),
            parts={str(k): (int(v[0]), int(v[1]), int(v[2])) for k, v in s["parts"].items()},
        )
        for s in value["segments"]
    )  # fmt: skip
    spaces = {str(k): int(v) for k, v in value["spaces"].items()}
    means = {str(k): np.asarray(v, np.float32) for k, v in value["means"].items()}
    if any(means[m].shape != (spaces[m],) for m in means):
        raise ValueError("a mean of another length")
    if any(kind not in KINDS for kind in value["columns"].values()):
        raise ValueError("an unknown kind of column")
    if [s.first for s in segments] != [sum(s.rows for s in segments[:i]) for i in range(len(segments))]:
        raise ValueError("the segments do not follow each other")
    return Manifest(
        generation=int(value["generation"]), spaces=spaces, fingerprint=str(value["fingerprint"]),
        described=dict(value["described"]), texts=tuple(map(str, value["texts"])), columns=dict(value["columns"]),
        means=means, given=bool(value["given"]), segments=segments,
        near={str(m): Near(**n) for m, n in value["near"].items()},
    )  # fmt: skip


def damaged(place: Place, what: str) -> InputError:
    """The error for an index whose files are not what was written."""
    return InputError(
        "the index is damaged",
        got=f"{place}: {what}",
        fix="make it again from its table, or take a copy of it",
    )
