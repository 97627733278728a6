"""Files of points: PLY PCD LAS LAZ BIN NPY NPZ CSV -> (points, dims) with names, and times of frames."""

import importlib
import io
import math
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from sensorium.modalities import arrays
from sensorium.types import InputError, Limits, Media

TYPES = {
    "char": "i1",
    "int8": "i1",
    "uchar": "u1",
    "uint8": "u1",
    "short": "i2",
    "int16": "i2",
    "ushort": "u2",
    "uint16": "u2",
    "int": "i4",
    "int32": "i4",
    "uint": "u4",
    "uint32": "u4",
    "float": "f4",
    "float32": "f4",
    "double": "f8",
    "float64": "f8",
}
FRAME = ("frame", "frame_id", "scan", "sweep")
CLOCK = ("t", "time", "time_s", "timestamp")
DULL = ("_", "rgb", "rgba")  # padding, and colours packed into the bits of a float
PERIOD_S = 0.1  # between frames that are numbered but not timed: what lidar and radar usually take


@dataclass(frozen=True, kw_only=True, slots=True)
class Points:
    """What a file of points holds."""

    values: np.ndarray  # (points, dims)
    channels: tuple[str, ...]
    times_s: np.ndarray | None = None  # (points,); points of one frame share a time


def looks_like_points(header: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Tell whether a text table holds points: x, y, z, and no clock or several rows at one time."""
    names = [h.strip().lower() for h in header]
    if not {"x", "y", "z"} <= set(names):
        return False
    clocks = [i for i, n in enumerate(names) if n in (*FRAME, *CLOCK)]
    return not clocks or any(len({r[i] for r in rows if len(r) > i}) < 0.7 * len(rows) for i in clocks)


def load(media: Media, limits: Limits) -> Points:
    """Read a file of points, or an array, by its first bytes and then by its name. Raises InputError."""
    if isinstance(media.content, np.ndarray):
        return of_array(media.content, name=media.name)
    if not isinstance(media.content, bytes | bytearray | memoryview):
        raise InputError(
            "a point cloud is a file or an array", got=type(media.content).__name__, fix="name a file"
        )
    raw = arrays.unpacked(bytes(media.content), name=media.name, limits=limits)
    if not raw:
        raise arrays.damaged(media.name, "it holds zero bytes")
    kind = _kind(raw, arrays.bare_name(media.name))
    if kind == ".bin":
        return load_bin(raw, name=media.name)
    if kind == ".npy":
        return of_array(arrays.npy(raw, name=media.name, limits=limits), name=media.name)
    readers = {".ply": load_ply, ".las": load_las, ".pcd": load_pcd, ".npz": load_npz}
    return readers.get(kind, load_text)(raw, name=media.name, limits=limits)


def _kind(raw: bytes, name: str) -> str:
    """Tell the format by the first bytes, then by the name; "" for text."""
    marks = {b"ply": ".ply", b"LASF": ".las", b"# .PCD": ".pcd", b"\x93NUMPY": ".npy", b"PK\x03\x04": ".npz"}
    told = next((kind for mark, kind in marks.items() if raw.startswith(mark)), "")
    suffix = re.sub(r".*(?=\.)", "", name)
    if not told and suffix in (".ply", ".las", ".laz", ".npy", ".npz"):
        raise arrays.damaged(name, f"it does not start as a {suffix} file does")
    return told or (suffix if suffix in (".bin", ".pcd") else "")


def of_array(values: np.ndarray, *, name: str) -> Points:
    """(points, dims), or (frames, points, dims), which become frames a tenth of a second apart."""
    if values.ndim not in (2, 3) or not values.size or values.shape[-1] < 2 or values.dtype.kind not in "iuf":
        raise InputError(
            "not a point cloud", got=f"{name}: {values.dtype} {values.shape}", fix="give (points, 3 or more)"
        )
    times = None
    if values.ndim == 3:
        times = np.repeat(np.arange(len(values)) * PERIOD_S, values.shape[1])
        values = values.reshape(-1, values.shape[-1])
    return Points(values=values, channels=named(values.shape[1]), times_s=times)


def named(dims: int) -> tuple[str, ...]:
    """Name the numbers of a point whose file does not."""
    return tuple("xyz"[i] if i < 3 else f"d{i}" for i in range(dims))


def of_columns(values: np.ndarray, names: Sequence[str], *, name: str) -> Points:
    """Split frame numbers and times off, drop padding; a frame has its first point's time."""
    lower = [n.strip().lower() for n in names]
    clock = next((i for i, n in enumerate(lower) if n in CLOCK), None)
    frame = next((i for i, n in enumerate(lower) if n in FRAME), None)
    keep = [i for i, n in enumerate(lower) if i not in (clock, frame) and n not in DULL]
    if len(keep) < 2:
        raise arrays.damaged(name, f"its columns {tuple(names)} are no points")
    times = None
    if frame is not None and clock is not None:
        _, first, where = np.unique(values[:, frame], return_index=True, return_inverse=True)
        times = values[first, clock][where]
    elif clock is not None:
        times = values[:, clock]
    elif frame is not None:
        times = values[:, frame] * PERIOD_S
    return Points(values=values[:, keep], channels=tuple(lower[i] for i in keep), times_s=times)


def load_text(raw: bytes, *, name: str, limits: Limits) -> Points:
    """CSV, TSV, XYZ: with a header, or x y z ... in that order."""
    found = arrays.sheet(arrays.as_text(raw, name=name), name=name, limits=limits)
    values = found.values.copy() if found.dates else found.values
    for column, seconds in found.dates.items():
        values[:, column] = seconds - seconds[0]
    return of_columns(values, found.names or named(values.shape[1]), name=name)


def load_npz(raw: bytes, *, name: str, limits: Limits) -> Points:
    """NumPy's archive: the largest array of two or three axes, and `times` (points,) where there are some."""
    held = {k.lower(): a for k, a in arrays.npz(raw, name=name, limits=limits).items()}
    clouds = [a for a in held.values() if a.ndim in (2, 3) and a.dtype.kind in "iuf"]
    if not clouds:
        raise arrays.damaged(name, "it holds no array of points")
    found = of_array(max(clouds, key=lambda a: a.size), name=name)
    times = next((held[k] for k in ("times", "times_s", "t", "frame") if k in held), None)
    if times is None or times.shape != (len(found.values),) or times.dtype.kind not in "iuf":
        return found
    return Points(values=found.values, channels=found.channels, times_s=times.astype(np.float64))


def load_ply(raw: bytes, *, name: str, limits: Limits) -> Points:
    """Stanford's polygon file, ascii or binary; its first element has to be `vertex`."""
    end = re.search(rb"^end_header\r?\n", raw[:100_000], re.MULTILINE)
    lines = [line.split() for line in raw[: end.start()].decode("latin-1").split("\n")] if end else []
    kind = next((line[1] for line in lines if line[:1] == ["format"] and len(line) > 1), "")
    starts = [i for i, line in enumerate(lines) if line[:1] == ["element"]]
    if end is None or not starts or lines[starts[0]][1:2] != ["vertex"] or len(lines[starts[0]]) != 3:
        raise arrays.damaged(name, "its header tells of no vertices")
    stop = starts[1] if len(starts) > 1 else len(lines)
    told = [line for line in lines[starts[0] : stop] if line[:1] == ["property"]]
    if any(len(line) != 3 or line[1] not in TYPES for line in told) or not re.fullmatch(
        r"[0-9]{1,12}", lines[starts[0]][2]
    ):
        raise arrays.damaged(name, "its vertices hold lists or numbers of an unknown type")
    fields = [(line[2], TYPES[line[1]]) for line in told]
    return of_fields(raw[end.end() :], kind, fields, count=int(lines[starts[0]][2]), name=name, limits=limits)


def of_fields(
    body: bytes, kind: str, fields: Sequence[tuple[str, str]], *, count: int, name: str, limits: Limits
) -> Points:
    """Read `count` points behind a header; `kind` tells ascii and the order of bytes."""
    if not fields or not 0 < count or count * len(fields) > limits.numbers:
        raise arrays.damaged(name, f"its header promises {count} points of {len(fields)} numbers")
    if kind.startswith("ascii"):
        values = _of_words(body.decode("latin-1").split("\n"), count, len(fields), name)
    else:
        dtype = np.dtype([(f"{i}", (">" if "big" in kind else "<") + t) for i, (_, t) in enumerate(fields)])
        if count * dtype.itemsize > len(body):
            raise arrays.damaged(
                name, f"{count} points of {dtype.itemsize} bytes do not fit into {len(body)} bytes"
            )
        found = np.frombuffer(body, dtype, count)
        with np.errstate(invalid="ignore"):  # a float32 NaN of any kind is just a NaN
            values = np.stack([found[f"{i}"].astype(np.float64) for i in range(len(fields))], 1)
    return of_columns(values, [n for n, _ in fields], name=name)


def _of_words(lines: Sequence[str], count: int, width: int, name: str) -> np.ndarray:
    rows = [line.split() for line in lines if line.strip()][:count]
    if len(rows) < count or any(len(row) < width for row in rows):
        raise arrays.damaged(name, f"its header promises {count} rows of {width} numbers")
    try:
        return np.array([row[:width] for row in rows], dtype=np.float64)
    except ValueError as reason:
        raise arrays.damaged(name, reason) from None


def load_pcd(raw: bytes, *, name: str, limits: Limits) -> Points:
    """Point Cloud Library's file, ascii or binary; fields of several numbers are taken apart."""
    found = re.search(rb"^DATA[ \t]+(\w+)[ \t]*\r?\n", raw[:100_000], re.MULTILINE)
    head = raw[: found.start()].decode("latin-1") if found else ""
    words = {line.split()[0].upper(): line.split()[1:] for line in head.split("\n") if line.strip()}
    if found is None or found[1] not in (b"ascii", b"binary"):
        raise arrays.damaged(
            name, "only ascii and binary PCD are read (pcl_convert_pcd_ascii_binary converts others)"
        )
    kinds = {
        "F4": "f4",
        "F8": "f8",
        "U1": "u1",
        "U2": "u2",
        "U4": "u4",
        "U8": "u8",
        "I1": "i1",
        "I2": "i2",
        "I4": "i4",
        "I8": "i8",
    }
    try:
        names = words["FIELDS"]
        types = [kinds[k.upper() + s] for k, s in zip(words["TYPE"], words["SIZE"], strict=True)]
        repeats = [int(n) for n in words.get("COUNT", ["1"] * len(names))]
        if sum(repeats) > 1000 or min(repeats) < 1:
            raise ValueError(f"COUNT {repeats}")
        triples = zip(names, types, repeats, strict=True)
        fields = [(n if r == 1 or n == "_" else f"{n}_{i}", t) for n, t, r in triples for i in range(r)]
        count = (
            int(words["POINTS"][0])
            if "POINTS" in words
            else math.prod(int(words[k][0]) for k in ("WIDTH", "HEIGHT"))
        )
    except (KeyError, ValueError, IndexError) as reason:
        raise arrays.damaged(name, f"its header: {reason!r}") from None
    return of_fields(raw[found.end() :], found[1].decode(), fields, count=count, name=name, limits=limits)


def extra(module: str, *, name: str) -> ModuleType:
    """Import a package of the extra `sensors`. Raises InputError that says how to get it."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise InputError(
            f"reading this file needs the package {module}, which is not installed",
            got=name,
            fix='pip install "sensorium[sensors]"',
        ) from None


def _check_las(raw: bytes, name: str) -> None:
    """Refuse counts that the bytes cannot hold: laspy would loop over them, lazrs would end the process.

    Layout: the public header block of ASPRS LAS 1.4; a packed file's points begin with the place of its table
    of chunks, which begins with a version and their number.
    """
    start, headers = struct.unpack_from("<II", raw, 96) if len(raw) >= 227 else (0, 0)
    if not 227 + 54 * headers <= start <= len(raw):
        raise arrays.damaged(name, f"its header promises points at byte {start} of {len(raw)}")
    if raw[104] < 64:  # not packed
        return
    width = struct.unpack_from("<H", raw, 105)[0]
    table = struct.unpack_from("<q", raw, start)[0] if start + 8 <= len(raw) else 0
    table = struct.unpack_from("<q", raw, len(raw) - 8)[0] if table == -1 else table
    chunks = struct.unpack_from("<I", raw, table + 4)[0] if start + 8 <= table <= len(raw) - 8 else len(raw)
    if width < 20 or chunks * width > len(raw):  # each chunk begins with one whole point
        raise arrays.damaged(name, "its table of packed chunks does not fit into it")


def load_las(raw: bytes, *, name: str, limits: Limits) -> Points:
    """Airborne lidar, plain (LAS) or compressed (LAZ): x y z intensity. Needs the extra `sensors`."""
    laspy = extra("laspy", name=name)
    _check_las(raw, name)
    try:
        calm = (laspy.LazBackend.Lazrs, laspy.LazBackend.Laszip)  # the parallel one believes any chunk's size
        with laspy.open(io.BytesIO(raw), laz_backend=calm, read_evlrs=False) as file:
            count = file.header.point_count
            if not 0 < count * 4 <= limits.numbers:
                raise arrays.damaged(name, f"its header promises {count} points")
            found = file.read()
        if len(found.points) != count:
            raise arrays.damaged(name, f"its header promises {count} points and it holds {len(found.points)}")
        columns = [found.x, found.y, found.z, found.intensity]
        values = np.stack([np.asarray(c, dtype=np.float64) for c in columns], 1)
    except (
        laspy.errors.LaspyException,
        ValueError,
        OSError,
        RuntimeError,
        LookupError,
        TypeError,
        ArithmeticError,
        MemoryError,
        AttributeError,
        AssertionError,
        struct.error,
        EOFError,
    ) as reason:
        raise reason if isinstance(reason, InputError) else arrays.damaged(name, reason) from None
    except BaseException as reason:  # a panic of lazrs; pyo3 exports no class to name it
        if type(reason).__name__ != "PanicException":
            raise
        raise arrays.damaged(name, reason) from None
    return Points(values=values, channels=("x", "y", "z", "intensity"))


def load_bin(raw: bytes, *, name: str) -> Points:
    """Rows of float32: x y z intensity (KITTI), with a ring number as fifth (nuScenes), or x y z alone."""
    if len(raw) % 4:
        raise arrays.damaged(name, f"{len(raw)} bytes are no float32 numbers")
    flat = np.frombuffer(raw, "<f4")
    five = len(flat) % 5 == 0 and _rings(flat[4::5])
    dims = 5 if five else next((d for d in (4, 3) if len(flat) % d == 0), 0)
    if not dims:
        raise arrays.damaged(name, f"{len(flat)} numbers are no points of 3, 4 or 5")
    return Points(values=flat.reshape(-1, dims), channels=("x", "y", "z", "intensity", "ring")[:dims])


def _rings(last: np.ndarray) -> bool:
    if not np.isfinite(last).all():
        return False
    return bool((last == np.floor(last)).all() and last.min() >= 0 and last.max() < 256)
