"""What a user sees: Model, load, read."""

from sensorium.api.model import Model, load
from sensorium.store import read

__all__ = ["Model", "load", "read"]
