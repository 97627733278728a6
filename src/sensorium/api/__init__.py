"""What a user sees: Model, Matcher, load, read."""

from sensorium.api.aligning import align
from sensorium.api.matching import Matcher
from sensorium.api.model import Model, load
from sensorium.api.searching import Finder, Found, create_index, open_index, previews
from sensorium.store import read

__all__ = [
    "Finder",
    "Found",
    "Matcher",
    "Model",
    "align",
    "create_index",
    "load",
    "open_index",
    "previews",
    "read",
]
