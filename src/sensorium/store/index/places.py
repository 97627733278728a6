"""Where an index lies: a folder of this machine, or a prefix of an object store. Files are written once, never changed."""

import contextlib
import errno
import os
import re
import shutil
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sensorium.store.paths import URL, unreadable
from sensorium.store.runs import lock, unwritable, write_bytes
from sensorium.types import InputError

ALIGN = 64  # bytes: parts start where vector units like to read
OURS = re.compile(
    r"^(segment-\d{8}-\d+|near-\d{8}-\d+\.lance)$"
)  # names that an index gives; nothing else is swept
PATIENCE_S = 30.0  # how long a writer waits for another one

Parts = dict[str, tuple[int, int, int]]  # part -> (offset, bytes, CRC-32)


class Folder:
    """A folder of this machine: files are mapped into memory, and flushed to the disk before anything names them."""

    def __init__(self, path: str | Path):
        self.path = Path(path)

    def __str__(self) -> str:
        return str(self.path)

    def read(self, name: str) -> np.ndarray:
        """The bytes of a file, (n,) uint8, mapped; pages are read when they are used. Raises OSError."""
        path = self.path / name
        if path.stat().st_size == 0:
            return np.zeros(0, np.uint8)
        return np.asarray(np.memmap(path, np.uint8, mode="r"))

    def write(self, name: str, parts: Mapping[str, Sequence[np.ndarray]]) -> Parts:
        """Write parts one after the other and wait until they are on disk. Raises InputError."""
        try:
            with open(self.path / name, "wb") as file:
                told = _written(file, parts)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise unwritable(error, self.path / name) from error
        return told

    def replace(self, name: str, data: bytes) -> None:
        """Replace a file in one step, on disk when this returns. Raises InputError."""
        write_bytes(self.path / name, data)

    def remove(self, name: str) -> None:
        """Remove a file or a folder; where the system keeps it because somebody reads it, a later sweep does."""
        path = self.path / name
        with contextlib.suppress(OSError):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()

    def names(self) -> list[str]:
        """Names of the files, sorted; none where there is no folder. Raises InputError."""
        try:
            return sorted(os.listdir(self.path))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise unreadable(error, str(self.path)) from error

    def stamp(self, name: str) -> object:
        """Something that differs once a file was replaced; None where it is missing."""
        try:
            found = os.stat(self.path / name)
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def uri(self, name: str) -> str:
        """What a storage engine calls this place."""
        return str(self.path / name)

    @contextlib.contextmanager
    def writing(self, patience_s: float = PATIENCE_S) -> Iterator[None]:
        """Be the only writer; wait for another one up to `patience_s` seconds. Raises InputError."""
        end = time.monotonic() + patience_s
        with contextlib.ExitStack() as stack:
            while True:
                try:
                    stack.enter_context(lock(self.path))
                    break
                except InputError as error:
                    if "another process is writing" not in error.wrong or time.monotonic() > end:
                        raise
                    time.sleep(0.02)
            yield


class Bucket:
    """A prefix of an object store, by any file system that pyarrow knows. Objects appear whole or not at all.

    An object store has no lock: let one process write at a time. Two writers at once are noticed by the number of
    the manifest in most cases, not in all.
    """

    def __init__(self, filesystem: Any, path: str, uri: str = ""):
        """`filesystem`: a pyarrow.fs.FileSystem; `path`: bucket and prefix in it; `uri`: the same for LanceDB."""
        self.filesystem, self.path, self._uri = filesystem, path.rstrip("/"), uri.rstrip("/")

    def __str__(self) -> str:
        return self._uri or self.path

    def read(self, name: str) -> np.ndarray:
        """The bytes of an object, (n,) uint8, fetched whole. Raises OSError."""
        with self.filesystem.open_input_file(f"{self.path}/{name}") as file:
            return np.frombuffer(file.read_buffer(), np.uint8)

    def write(self, name: str, parts: Mapping[str, Sequence[np.ndarray]]) -> Parts:
        """Write parts one after the other into one object. Raises InputError."""
        try:
            with self.filesystem.open_output_stream(f"{self.path}/{name}") as file:
                return _written(file, parts)
        except OSError as error:
            raise self._refused(error) from error

    def replace(self, name: str, data: bytes) -> None:
        """Replace an object. Raises InputError."""
        self.write(name, {"": [np.frombuffer(data, np.uint8)]})

    def remove(self, name: str) -> None:
        """Remove an object or what lies under a name; an object that is gone already is no matter."""
        where = f"{self.path}/{name}"
        with contextlib.suppress(OSError):
            if name.endswith(".lance"):
                self.filesystem.delete_dir(where)
            else:
                self.filesystem.delete_file(where)

    def names(self) -> list[str]:
        """Names of the objects under the prefix, sorted. Raises InputError."""
        from pyarrow.fs import FileSelector

        try:
            found = self.filesystem.get_file_info(FileSelector(self.path, allow_not_found=True))
        except OSError as error:
            raise self._refused(error) from error
        return sorted(f.base_name for f in found)

    def stamp(self, name: str) -> object:
        """Something that differs once an object was replaced; None where it is missing. Raises InputError."""
        try:
            found = self.filesystem.get_file_info(f"{self.path}/{name}")
        except OSError as error:
            raise self._refused(error) from error
        return (found.mtime_ns, found.size) if found.is_file else None

    def uri(self, name: str) -> str:
        """What a storage engine calls this place; "" where it cannot reach it."""
        return f"{self._uri}/{name}" if self._uri else ""

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Prepare to write; nothing keeps others from it (see the class). Raises InputError."""
        try:
            self.filesystem.create_dir(self.path)
        except OSError as error:
            raise self._refused(error) from error
        yield

    def _refused(self, error: OSError) -> InputError:
        return InputError(
            f"the object store refused: {error}",
            got=str(self),
            fix="check the address, the credentials and the network",
        )


Place = Folder | Bucket


def place_of(path: "str | os.PathLike | Place") -> Place:
    """The place that a path or URI (s3://, gs://, abfs://, file://) names. Raises InputError for an unknown scheme."""
    if isinstance(path, Folder | Bucket):
        return path
    path = os.fspath(path)
    if not URL.match(path):
        return Folder(path)
    from pyarrow import ArrowInvalid
    from pyarrow.fs import FileSystem, LocalFileSystem

    try:
        filesystem, inner = FileSystem.from_uri(path)
    except (ArrowInvalid, OSError, NotImplementedError) as error:
        raise InputError(
            f"the place cannot be reached: {error}",
            got=path,
            fix="name a folder, or a URI such as s3://bucket/index",
        ) from error
    if isinstance(filesystem, LocalFileSystem):
        return Folder(inner)
    return Bucket(filesystem, inner, path.partition("?")[0])


def gone(error: OSError) -> bool:
    """Whether a file is not there: perhaps a writer has put another one in its place."""
    return isinstance(error, FileNotFoundError) or error.errno == errno.ENOENT


def _written(file: Any, parts: Mapping[str, Sequence[np.ndarray]]) -> Parts:
    """Write the arrays of each part one after the other; parts start at multiples of ALIGN bytes."""
    told, offset = {}, 0
    for name, arrays in parts.items():
        pad = -offset % ALIGN
        file.write(b"\0" * pad)
        start = offset = offset + pad
        check = 0
        for array in arrays:
            data = memoryview(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
            file.write(data)
            check = zlib.crc32(data, check)
            offset += len(data)
        told[name] = (start, offset - start, check)
    return told
