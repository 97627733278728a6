"""Bytes -> Signal -> patches, numpy only: one file per carrier. `CARRIERS` is the whole list."""

from sensorium.modalities import audio, image, points, series, table, text, video
from sensorium.types import Carrier

CARRIERS: dict[str, Carrier] = {
    m.CARRIER.name: m.CARRIER for m in (text, image, video, audio, series, points, table)
}


def carrier_of(filename: str) -> str | None:
    """Name the carrier of a file by its suffix (`.csv.gz` counts as `.csv`); None where none reads it."""
    name = filename.lower().removesuffix(".gz")
    return next((c.name for c in CARRIERS.values() if any(name.endswith(s) for s in c.suffixes)), None)


__all__ = ["CARRIERS", "carrier_of"]
