"""Batch -> Tokens: one file per carrier; `ENCODERS` is the whole list. Nothing after this room asks for a carrier."""

from sensorium.encoders.audio import AudioEncoder
from sensorium.encoders.image import ImageEncoder
from sensorium.encoders.points import PointsEncoder
from sensorium.encoders.series import SeriesEncoder
from sensorium.encoders.table import TableEncoder
from sensorium.encoders.text import TextEncoder
from sensorium.encoders.video import VideoEncoder

ENCODERS = {
    "text": TextEncoder,
    "image": ImageEncoder,
    "audio": AudioEncoder,
    "video": VideoEncoder,
    "series": SeriesEncoder,
    "points": PointsEncoder,
    "table": TableEncoder,
}

__all__ = ["ENCODERS"]
