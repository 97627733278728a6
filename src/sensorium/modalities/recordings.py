"""Files of sensor recordings -> Signal: NPY NPZ CSV TSV Parquet EDF BDF WFDB GPX.

Only Parquet needs a package (pyarrow). Bytes that start as a known format does are read as that format,
whatever the file is called.
"""

import math
import re
from collections.abc import Sequence
from xml.etree import ElementTree

import numpy as np

from sensorium.modalities import arrays
from sensorium.modalities.biosignals import edf, wfdb
from sensorium.types import InputError, Limits, Media, Signal

CLOCKS = {"t", "time", "times", "timestamp", "timestamps", "seconds", "sec", "datetime", "date", "epoch"}
_UNITS = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_DATA = ("data", "values", "x", "signal", "signals", "series", "arr_0")
_RATES = ("rate", "fs", "rate_hz", "sampling_rate", "sample_rate", "sfreq", "hz")
_TIMES = ("times", "times_s", "time", "t", "time_s", "timestamps")
_CHANNELS = ("channels", "channel_names", "ch_names", "names")
EARTH_M = 6_371_008.8  # mean radius


def read(media: Media, limits: Limits) -> Signal:
    """Decode one recording, whole: values as (steps, channels), with its clock where the file has one.

    Raises InputError where the bytes are damaged, too large, or hold no numbers.
    """
    if isinstance(media.content, np.ndarray):
        return _of_array(media.content, media.rate_hz)
    if not isinstance(media.content, bytes | bytearray | memoryview):
        raise InputError(
            "a series is a file or an array of numbers",
            got=type(media.content).__name__,
            fix="name a file (.npy .npz .csv .tsv .parquet .edf .hea .gpx) or give a numpy array",
        )
    content = arrays.unpacked(bytes(media.content), name=media.name, limits=limits)
    if not content:
        raise arrays.damaged(media.name, "it holds zero bytes")
    return _of_bytes(content, media, limits)


def _of_bytes(content: bytes, media: Media, limits: Limits) -> Signal:
    name, bare = media.name, arrays.bare_name(media.name)
    if content[:6] == b"\x93NUMPY" or bare.endswith(".npy"):
        return _of_array(arrays.npy(content, name=name, limits=limits), media.rate_hz)
    if content[:4] == b"PK\x03\x04" or bare.endswith(".npz"):
        return _of_npz(arrays.npz(content, name=name, limits=limits), media)
    if content[:4] == b"PAR1" or bare.endswith(".parquet"):
        return _of_parquet(content, media, limits)
    if content[:8] in (b"0       ", b"\xffBIOSEMI") or bare.endswith((".edf", ".bdf")):
        return edf(content, name=name, limits=limits)
    return _of_text(arrays.as_text(content, name=name), media, limits)


def _of_text(text: str, media: Media, limits: Limits) -> Signal:
    bare = arrays.bare_name(media.name)
    if bare.endswith(".hea"):
        return wfdb(text, media=media, limits=limits)
    if bare.endswith(".gpx") or text.lstrip()[:5].lower() in ("<?xml", "<gpx "):
        return _of_gpx(text, media, limits)
    return _of_sheet(arrays.sheet(text, name=media.name, limits=limits), media)


def _of_array(array: np.ndarray, rate_hz: float | None) -> Signal:
    if array.dtype.kind not in "biuf":
        raise InputError("a series is made of numbers", got=str(array.dtype), fix="save plain numbers")
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    if array.ndim == 0 or array.size == 0:
        raise InputError(
            "the array holds no steps", got=array.shape, fix="give an array of (steps, channels)"
        )
    return Signal(values=array.reshape(len(array), -1), rate_hz=rate_hz)


def _of_npz(held: dict[str, np.ndarray], media: Media) -> Signal:
    lower = {key.lower(): array for key, array in held.items()}
    sized = {k: a for k, a in lower.items() if a.dtype.kind in "biuf" and a.ndim and k not in _TIMES}
    if not sized:
        raise InputError("the file holds no series", got=sorted(held), fix="save it under the key `data`")
    key = next((k for k in _DATA if k in sized), max(sized, key=lambda k: sized[k].size))
    rate = next((_scalar(lower[k]) for k in _RATES if k in lower and k != key), media.rate_hz)
    signal = _of_array(lower[key], rate)
    names = next((lower[k] for k in _CHANNELS if k in lower and lower[k].dtype.kind in "US"), None)
    if names is not None and names.size == signal.values.shape[1]:
        told = tuple(
            n.decode("utf-8", "replace") if isinstance(n, bytes) else n for n in names.ravel().tolist()
        )
        signal = Signal(values=signal.values, rate_hz=rate, channels=told)
    times = next((lower[k] for k in _TIMES if k in lower and lower[k].dtype.kind in "iuf"), None)
    if times is None or times.ndim == 0:
        return signal
    return clocked(signal.values, times.ravel().astype(np.float64), signal.channels, name=media.name)


def _scalar(array: np.ndarray) -> float | None:
    if array.size != 1 or array.dtype.kind not in "iuf":
        return None
    rate = float(array.ravel()[0])
    return rate if math.isfinite(rate) and rate > 0 else None


def _of_parquet(content: bytes, media: Media, limits: Limits) -> Signal:
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(pyarrow.BufferReader(content))
        told = file.metadata
        if told.num_rows * told.num_columns > limits.numbers:
            size = told.num_rows * told.num_columns
            raise arrays.too_big(media.name, what="numbers", size=size, limit=limits.numbers)
        table = file.read()
        columns = {n: _arrow_numbers(table.column(i), n) for i, n in enumerate(table.column_names)}
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as reason:
        if isinstance(reason, InputError):
            raise
        raise arrays.damaged(media.name, reason) from None
    if not columns or not table.num_rows:
        raise arrays.damaged(media.name, "it holds no rows")
    dates = {i: v for i, (v, dated) in enumerate(columns.values()) if dated}
    values = np.stack([v for v, _ in columns.values()], 1)
    return _of_sheet(arrays.Sheet(names=tuple(columns), values=values, dates=dates), media)


def _arrow_numbers(column: object, name: str) -> tuple[np.ndarray, bool]:
    array = column.to_numpy()  # type: ignore[attr-defined]
    if array.dtype.kind == "M":
        return array.astype("datetime64[ns]").astype(np.float64) / 1e9, True
    if array.dtype.kind not in "biuf":
        raise InputError(f"the column {name!r} holds no numbers", got=str(array.dtype), fix="leave it out")
    return array.astype(np.float64), False


def _of_sheet(sheet: arrays.Sheet, media: Media) -> Signal:
    names = sheet.names or tuple(f"c{i}" for i in range(sheet.values.shape[1]))
    clock = next((i for i in sheet.dates), None)
    if clock is None and sheet.names:
        clock = next((i for i, n in enumerate(names) if _clock_unit(n) is not None), None)
    if len(sheet.dates) > 1 or (clock is not None and len(names) == 1):
        raise InputError(
            "the table holds times and no readings", got=names, fix="one time column, one per channel"
        )
    keep = [i for i in range(len(names)) if i != clock]
    values, channels = sheet.values[:, keep], tuple(names[i] for i in keep) if sheet.names else ()
    if clock is None:
        return _located(Signal(values=values, rate_hz=media.rate_hz, channels=channels))
    times = sheet.dates.get(clock)
    if times is None:
        times = _seconds(sheet.values[:, clock], _clock_unit(names[clock]) or 0.0)
    return _located(clocked(values, times, channels, name=media.name))


def _clock_unit(name: str) -> float | None:
    """Return seconds per unit where a column's name says that it is a clock; 0 where it names no unit."""
    parts = re.sub(r"[\s_\[\]()]+", " ", name.strip().lower()).split()
    if not parts or parts[0] not in CLOCKS:
        return None
    if len(parts) == 1:
        return _UNITS.get(parts[0], 0.0)
    return _UNITS.get(parts[1], 0.0 if parts[1] in ("stamp", "utc") else None) if len(parts) == 2 else None


def _seconds(times: np.ndarray, unit: float) -> np.ndarray:
    """Turn clock readings into seconds; epoch counts without a unit are told by their size (from 2001 on)."""
    largest = np.nanmax(np.abs(times)) if np.isfinite(times).any() else 0.0
    if unit == 0.0:
        unit = next((u for low, u in ((1e17, 1e-9), (1e14, 1e-6), (1e11, 1e-3)) if largest >= low), 1.0)
    return times * unit


def clocked(values: np.ndarray, times_s: np.ndarray, channels: Sequence[str], *, name: str) -> Signal:
    """Give readings their clock: a rate where the times are regular (no gap), else times_s.

    Seconds count from the first reading, as in any media file. Readings out of order are sorted.
    """
    if len(times_s) != len(values) or not np.isfinite(times_s).all():
        raise arrays.damaged(name, "a reading has no time")
    if (np.diff(times_s) < 0).any():
        order = np.argsort(times_s, kind="stable")
        values, times_s = values[order], times_s[order]
    times_s = times_s - times_s[0]
    rate = regular_rate(times_s)
    if rate is not None:
        return Signal(values=values, rate_hz=rate, channels=tuple(channels))
    return Signal(values=values, times_s=times_s, channels=tuple(channels))


def regular_rate(times_s: np.ndarray) -> float | None:
    """Return samples per second where no step is half a period off, else None."""
    if len(times_s) < 3 or times_s[-1] <= times_s[0]:
        return None
    period = (times_s[-1] - times_s[0]) / (len(times_s) - 1)
    off = np.abs(times_s - times_s[0] - period * np.arange(len(times_s)))
    if max(off.max(), np.abs(np.diff(times_s) - period).max()) > 0.5 * period:
        return None
    rate = 1 / period
    near = round(rate)
    return float(near) if near and abs(near / rate - 1) < 1e-3 else float(f"{rate:.6g}")


def _of_gpx(text: str, media: Media, limits: Limits) -> Signal:
    name = media.name
    if re.search(r"<!\s*(doctype|entity)", text, re.IGNORECASE):
        raise arrays.damaged(name, "it declares XML entities, which no GPX needs")
    try:
        root = ElementTree.fromstring(text.lstrip())
    except (ElementTree.ParseError, ValueError) as reason:
        raise arrays.damaged(name, reason) from None
    kinds = ("trkpt", "rtept", "wpt")
    found = {kind: [e for e in root.iter() if e.tag.rpartition("}")[2] == kind] for kind in kinds}
    points = next((found[kind] for kind in kinds if found[kind]), [])
    if not points or 4 * len(points) > limits.numbers:
        raise arrays.damaged(name, f"it holds {len(points)} points")
    rows = np.array([_fix(point, name) for point in points])
    if np.isfinite(rows[:, 3]).any():
        rows = rows[np.isfinite(rows[:, 3])]
    places, channels = rows[:, :3], ("lat", "lon", "ele")
    if not np.isfinite(rows[:, 3]).all():
        return _located(Signal(values=places, rate_hz=media.rate_hz, channels=channels))
    return _located(clocked(places, rows[:, 3], channels, name=name))


def _fix(point: ElementTree.Element, name: str) -> tuple[float, float, float, float]:
    """Read latitude, longitude, elevation (NaN) and seconds since 1970 (NaN) of one GPX point."""
    inside = {child.tag.rpartition("}")[2]: (child.text or "").strip() for child in point}
    try:
        lat, lon = float(point.get("lat", "")), float(point.get("lon", ""))
        ele = float(inside.get("ele") or "nan")
    except ValueError:
        raise arrays.damaged(
            name, "a point has no latitude, longitude or elevation that is a number"
        ) from None
    when = arrays.date_s(inside.get("time", ""))
    return lat, lon, ele, math.nan if when is None else when


def _located(signal: Signal) -> Signal:
    """Turn latitude and longitude (degrees) into metres east, north and up of the first fix, and a speed."""
    names = [n.strip().lower() for n in signal.channels]
    lat = next((names.index(n) for n in ("lat", "latitude") if n in names), None)
    lon = next((names.index(n) for n in ("lon", "lng", "long", "longitude") if n in names), None)
    if lat is None or lon is None:
        return signal
    values = signal.values.astype(np.float64)
    fixed = np.isfinite(values[:, lat]) & np.isfinite(values[:, lon])
    if not fixed.any() or (np.abs(values[fixed, lat]) > 90).any() or (np.abs(values[fixed, lon]) > 360).any():
        raise InputError(
            "no place on Earth", got=values[:1].tolist(), fix="give degrees: lat -90..90, lon -180..180"
        )
    first = values[np.argmax(fixed)]
    east = (
        np.radians((values[:, lon] - first[lon] + 180) % 360 - 180)
        * math.cos(math.radians(first[lat]))
        * EARTH_M
    )
    north = np.radians(values[:, lat] - first[lat]) * EARTH_M
    high = next((names.index(n) for n in ("ele", "alt", "altitude", "elevation") if n in names), None)
    level = np.full(len(values), np.nan) if high is None else values[:, high] - _first(values[:, high])
    rest = [i for i in range(len(names)) if i not in (lat, lon, high)]
    columns = [east, north, level, _speed(east, north, signal), *(values[:, i] for i in rest)]
    channels = ("east", "north", "up", "speed", *(signal.channels[i] for i in rest))
    return Signal(
        values=np.stack(columns, 1), unit="m", rate_hz=signal.rate_hz,
        times_s=signal.times_s, channels=channels,
    )  # fmt: skip


def _first(column: np.ndarray) -> float:
    known = column[np.isfinite(column)]
    return float(known[0]) if len(known) else 0.0


def _speed(east: np.ndarray, north: np.ndarray, signal: Signal) -> np.ndarray:
    """Metres per second between fixes; NaN where the clock is not known or stands still."""
    speed = np.full(len(east), np.nan)
    if len(east) < 2 or (signal.times_s is None and signal.rate_hz is None):
        return speed
    gap = np.diff(
        signal.times_s if signal.times_s is not None else np.arange(len(east)) / (signal.rate_hz or 1.0)
    )
    far = np.hypot(np.diff(east), np.diff(north))
    np.divide(far, gap, out=speed[1:], where=gap > 0)
    speed[0] = speed[1]
    return speed
