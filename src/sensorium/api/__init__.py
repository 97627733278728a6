"""What a user sees: Model, Matcher, load, read."""

from sensorium.api.aligning import align
from sensorium.api.matching import Matcher
from sensorium.api.model import Model, load
from sensorium.api.searching import Finder, create_index, open_index, previews
from sensorium.api.texts import Manner
from sensorium.store import read
from sensorium.store.index import Hit

__all__ = [
    "Finder",
    "Hit",
    "Manner",
    "Matcher",
    "Model",
    "align",
    "create_index",
    "load",
    "open_index",
    "previews",
    "read",
]
