"""What a user sees: Model, Matcher, load, read."""

from sensorium.api.matching import Matcher
from sensorium.api.model import Model, load
from sensorium.store import read

__all__ = ["Matcher", "Model", "load", "read"]
