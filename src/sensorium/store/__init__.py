"""Tables on disk, the media that their cells name, run folders: the only room that knows a storage engine."""

from sensorium.store.media import file_of, looks_like_path, media, suffixes_of
from sensorium.store.paths import span_of, split_span
from sensorium.store.predictions import write_predictions
from sensorium.store.runs import (
    append_jsonl,
    lock,
    make_folder,
    read_json,
    read_jsonl,
    remove,
    write_bytes,
    write_json,
)
from sensorium.store.sources import read
from sensorium.store.table import Table
from sensorium.store.vectors import write_vectors

__all__ = [
    "Table", "append_jsonl", "file_of", "lock", "looks_like_path", "make_folder", "media", "read", "read_json", "read_jsonl", "remove",
    "span_of", "split_span", "suffixes_of", "write_bytes", "write_json", "write_predictions", "write_vectors",
]  # fmt: skip
