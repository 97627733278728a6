"""Seed -> ordinary files with planted truth: data sets to try things on, as a user would keep them."""

from sensorium.worlds.actions import write_actions
from sensorium.worlds.clips import write_clips
from sensorium.worlds.digits import write_digits
from sensorium.worlds.everything import write_everything
from sensorium.worlds.hints import write_hints
from sensorium.worlds.planted import gate_table, write_gates, write_imbalance, write_quality, write_xor
from sensorium.worlds.scenes import write_scenes
from sensorium.worlds.sentiment import write_sentiment

__all__ = [
    "gate_table",
    "write_actions",
    "write_clips",
    "write_digits",
    "write_everything",
    "write_gates",
    "write_hints",
    "write_imbalance",
    "write_quality",
    "write_scenes",
    "write_sentiment",
    "write_xor",
]
