"""A durable index of vectors with metadata and texts: exact search, and LanceDB beside it where there is much to search."""

from sensorium.store.index.filters import Filter
from sensorium.store.index.hits import Hit
from sensorium.store.index.index import Index, Recall
from sensorium.store.index.places import Bucket

__all__ = ["Bucket", "Filter", "Hit", "Index", "Recall"]
