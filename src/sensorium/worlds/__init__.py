"""Seed -> ordinary files with planted truth: data sets to try things on, as a user would keep them."""

from sensorium.worlds.digits import write_digits
from sensorium.worlds.everything import write_everything
from sensorium.worlds.planted import gate_table, write_gates, write_imbalance, write_quality, write_xor
from sensorium.worlds.sentiment import write_sentiment

__all__ = [
    "gate_table",
    "write_digits",
    "write_everything",
    "write_gates",
    "write_imbalance",
    "write_quality",
    "write_sentiment",
    "write_xor",
]
