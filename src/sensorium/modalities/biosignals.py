"""EDF, EDF+, BDF and WFDB -> Signal, in physical units, without another package.

Sources: Kemp & Olivan 2003 (EDF+), biosemi.com (BDF), the WFDB Applications Guide (header(5), signal(5)).
"""

import math
import re
from dataclasses import dataclass

import numpy as np

from sensorium.modalities.arrays import damaged, too_big, unpacked
from sensorium.types import InputError, Limits, Media, Signal

_EDF_WIDTHS = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)  # label sensor unit low high dlow dhigh filter samples spare


def edf(content: bytes, *, name: str, limits: Limits) -> Signal:
    """Decode EDF(+) or BDF; annotations are left out, slower channels interpolated to the fastest rate."""
    wide = content[:1] == b"\xff"  # BDF: 24 bit
    count, seconds, fields = _edf_header(content, name)
    size = 3 if wide else 2
    samples = [_whole(n, name) for n in fields[8]]
    per_record = sum(samples)
    start = 256 * (count + 1)
    told = _whole(content[236:244].decode("latin-1"), name)
    held = (len(content) - start) // max(1, per_record * size)
    records = held if told == -1 else told
    if records < 1 or records > held or min(samples, default=0) < 0:
        raise damaged(name, f"it promises {records} records and holds {held}")
    kept = [i for i in range(count) if "annotations" not in fields[0][i].lower() and samples[i] > 0]
    if not kept:
        raise damaged(name, "it holds no channel")
    most = max(samples[i] for i in kept)
    if records * most * len(kept) > limits.numbers:
        raise too_big(name, what="numbers", size=records * most * len(kept), limit=limits.numbers)
    block = _integers(content[start : start + records * per_record * size], 24 if wide else 16)
    block = block.reshape(records, per_record)
    values = np.empty((records * most, len(kept)), np.float32)
    for column, i in enumerate(kept):
        first = sum(samples[:i])
        field = [column_of[i] for column_of in fields]
        values[:, column] = _physical(block[:, first : first + samples[i]], field, most, name)
    units = {fields[2][i] for i in kept}
    return Signal(
        values=values,
        unit=units.pop() if len(units) == 1 else "",
        rate_hz=most / seconds,
        channels=tuple(fields[0][i] for i in kept),
    )


def _edf_header(content: bytes, name: str) -> tuple[int, float, list[list[str]]]:
    """Return the number of channels, seconds per record, and the fields of each channel."""
    head = content[:256].decode("latin-1")
    count = _whole(head[252:256], name)
    seconds = _number(head[244:252], name)
    if not 1 <= count <= 4096 or len(content) < 256 * (count + 1) or not 0 < seconds < 1e6:
        raise damaged(name, f"its header tells of {count} channels and records of {seconds} s")
    text, at, fields = content[256 : 256 * (count + 1)].decode("latin-1"), 0, []
    for width in _EDF_WIDTHS:
        fields.append([text[at + i * width : at + (i + 1) * width].strip() for i in range(count)])
        at += width * count
    return count, seconds, fields


def _physical(block: np.ndarray, field: list[str], most: int, name: str) -> np.ndarray:
    low, high, dlow, dhigh = (_number(text, name) for text in field[3:7])
    if dhigh == dlow:
        raise damaged(name, f"channel {field[0]!r} has no digital range")
    gain = (high - low) / (dhigh - dlow)
    values = (block.ravel().astype(np.float64) - dlow) * gain + low
    have = block.shape[1]
    if have == most:
        return values
    at = (np.arange(block.shape[0] * most) + 0.5) * have / most - 0.5
    return np.interp(at, np.arange(values.size), values)


def _whole(text: str, name: str) -> int:
    number = _number(text, name)
    if number != int(number):
        raise damaged(name, f"{text!r} in its header is no whole number")
    return int(number)


def _number(text: str, name: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or abs(number) > 1e12:
        raise damaged(name, f"{text!r} in its header is no number")
    return number


def _integers(raw: bytes, bits: int) -> np.ndarray:
    """Unpack little-endian two's complement integers of 8, 16, 24 or 32 bits."""
    if bits != 24:
        return np.frombuffer(raw, f"<i{bits // 8}")
    three = np.frombuffer(raw, np.uint8).reshape(-1, 3).astype(np.int32)
    value = three[:, 0] | three[:, 1] << 8 | three[:, 2] << 16
    return value - ((value & 0x800000) << 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Lead:
    """One signal line of a WFDB header."""

    file: str
    format: int
    offset: int  # bytes before the first sample
    gain: float  # units of the converter per physical unit
    base: float  # what the converter says at physical zero
    unit: str
    name: str


def wfdb(header: str, *, media: Media, limits: Limits) -> Signal:
    """Decode a WFDB header and the signal files beside it (formats 16, 24, 32, 61, 80, 160, 212)."""
    rate, steps, leads = _wfdb_header(header, media.name)
    if media.beside is None:
        raise InputError(
            "a WFDB header needs its .dat file beside it", got=media.name, fix="name the .hea by its path"
        )
    columns: list[np.ndarray] = []
    for file in dict.fromkeys(lead.file for lead in leads):
        ours = [lead for lead in leads if lead.file == file]
        raw = unpacked(media.beside(file), name=file, limits=limits)
        columns += _wfdb_columns(raw, ours, steps, limits)
    if len({len(column) for column in columns}) != 1:
        raise damaged(media.name, "its signals differ in length")
    order = [
        lead for file in dict.fromkeys(lead.file for lead in leads) for lead in leads if lead.file == file
    ]
    units = {lead.unit for lead in order}
    return Signal(
        values=np.stack(columns, 1),
        unit=units.pop() if len(units) == 1 else "",
        rate_hz=rate,
        channels=tuple(lead.name for lead in order),
    )


def _wfdb_header(text: str, name: str) -> tuple[float, int, list[_Lead]]:
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    first = lines[0].split() if lines else []
    if len(first) < 2 or not re.fullmatch("[0-9]{1,6}", first[1]) or "/" in first[0]:
        raise damaged(name, "its first line is none of a WFDB record of one segment")
    count = int(first[1])
    rate = _number(re.split(r"[/(]", first[2])[0], name) if len(first) > 2 else 250.0
    steps = _whole(first[3], name) if len(first) > 3 else 0
    if not 1 <= count <= 4096 or len(lines) < 1 + count or rate <= 0 or steps < 0:
        raise damaged(name, f"its header tells of {count} signals at {rate} Hz")
    return rate, steps, [_lead(line, name) for line in lines[1 : 1 + count]]


def _lead(line: str, name: str) -> _Lead:
    parts = line.split(maxsplit=8)
    form = re.fullmatch(r"(\d{1,4})(x1)?(?::\d+)?(?:\+(\d{1,12}))?", parts[1]) if len(parts) > 1 else None
    if form is None or int(form[1]) not in (16, 24, 32, 61, 80, 160, 212):
        raise InputError(
            "a WFDB signal in a format that is not read",
            got=line,
            fix="convert it with xform to format 16 (also 24, 32, 61, 80, 160 and 212 are read)",
        )
    gain = re.fullmatch(r"([-+.0-9eE]+)(?:\(([-+0-9]+)\))?(?:/(\S+))?", parts[2] if len(parts) > 2 else "200")
    if gain is None:
        raise damaged(name, f"{parts[2]!r} is no gain")
    zero = _number(parts[4], name) if len(parts) > 4 else 0.0
    return _Lead(
        file=parts[0],
        format=int(form[1]),
        offset=int(form[3] or 0),
        gain=_number(gain[1], name) or 200.0,
        base=_number(gain[2], name) if gain[2] else zero,
        unit=gain[3] or "mV",
        name=parts[8] if len(parts) > 8 else "",
    )


def _wfdb_columns(raw: bytes, leads: list[_Lead], steps: int, limits: Limits) -> list[np.ndarray]:
    """Unpack one signal file, whose samples take turns between its leads; missing samples become NaN."""
    form, count, file = leads[0].format, len(leads), leads[0].file
    if any((lead.format, lead.offset) != (form, leads[0].offset) for lead in leads):
        raise damaged(file, "its signals differ in format")
    raw = raw[leads[0].offset :]
    bits = {16: 16, 61: 16, 160: 16, 24: 24, 32: 32, 80: 8, 212: 12}[form]
    held = len(raw) * 8 // (bits * count)
    steps = steps or held
    if not 1 <= steps <= held:
        raise damaged(file, f"the header promises {steps} samples and it holds {held}")
    if steps * count > limits.numbers:
        raise too_big(file, what="numbers", size=steps * count, limit=limits.numbers)
    flat = _twelve(raw, steps * count) if bits == 12 else _samples(raw, form, steps * count, bits)
    missing = -(1 << (bits - 1))
    block = flat.reshape(steps, count)
    out = []
    for i, lead in enumerate(leads):
        column = (block[:, i].astype(np.float64) - lead.base) / lead.gain
        column[block[:, i] == missing] = np.nan
        out.append(column.astype(np.float32))
    return out


def _samples(raw: bytes, form: int, count: int, bits: int) -> np.ndarray:
    raw = raw[: count * bits // 8]
    if form == 61:
        return np.frombuffer(raw, ">i2")
    if form == 80:
        return np.frombuffer(raw, np.uint8).astype(np.int32) - 128
    if form == 160:
        return np.frombuffer(raw, "<u2").astype(np.int32) - 32768
    return _integers(raw, bits)


def _twelve(raw: bytes, count: int) -> np.ndarray:
    """Unpack format 212: two samples of 12 bits in three bytes."""
    pairs = (count + 1) // 2
    three = np.frombuffer(raw[: pairs * 3].ljust(pairs * 3, b"\0"), np.uint8).reshape(-1, 3).astype(np.int32)
    both = np.stack([three[:, 0] | (three[:, 1] & 15) << 8, three[:, 2] | (three[:, 1] >> 4) << 8], 1)
    flat = both.ravel()[:count]
    return flat - ((flat & 0x800) << 1)
