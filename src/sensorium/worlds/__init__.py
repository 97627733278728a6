"""Seed -> ordinary files with planted truth: data sets to try things on, as a user would keep them."""

from sensorium.worlds.digits import write_digits
from sensorium.worlds.everything import write_everything

__all__ = ["write_digits", "write_everything"]
