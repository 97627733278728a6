"""Small files as tests of bad input need them, and a disk that is full."""

import contextlib
import csv
import io
import resource
import struct
import wave
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image


def png(width: int = 8, height: int = 8, *, claim: tuple[int, int] | None = None) -> bytes:
    """A grey picture; `claim` is the size that its header tells instead of the real one."""
    file = io.BytesIO()
    Image.new("L", (width, height), 77).save(file, "PNG")
    raw = file.getvalue()
    if claim is None:
        return raw
    head = b"IHDR" + struct.pack(">II", *claim) + raw[24:29]
    return raw[:12] + head + struct.pack(">I", zlib.crc32(head)) + raw[33:]


def jpeg() -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(noise).save(file, "JPEG")
    return file.getvalue()


def wav(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16000)
        out.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()


def float_wav(samples: np.ndarray) -> bytes:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, samples, 16000, format="WAV", subtype="FLOAT")
    return file.getvalue()


def npy(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def write(path: Path, data: dict[str, list]) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(data)
        writer.writerows(zip(*data.values(), strict=True))
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@contextlib.contextmanager
def small_files(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes, as on a disk that is full; root is held to it, too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
