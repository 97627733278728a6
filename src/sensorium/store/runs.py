"""Files of a run folder, written whole or not at all: JSON, lines of JSON, bytes, and the lock."""

import contextlib
import datetime
import errno
import json
import math
import os
import secrets
import socket
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sensorium.types import InputError

TEMPORARY = ".sensorium-{}.tmp"
STALE_S = 600.0  # a temporary file that was not touched for so long was left by a killed process
REASONS = {
    errno.ENOENT: ("no such folder", "make the folder first, or choose another place"),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "choose another place"),
    errno.EISDIR: ("a folder is in the way", "choose another name"),
    errno.EACCES: ("the folder cannot be written: permission denied", "choose a folder that you may write"),
    errno.EPERM: ("the folder cannot be written: permission denied", "choose a folder that you may write"),
    errno.EROFS: ("the folder is read-only", "choose a folder that can be written"),
    errno.ENOSPC: ("the disk is full", "free some room, or choose another disk"),
    errno.EDQUOT: ("your share of the disk is full", "free some room, or choose another disk"),
    errno.EFBIG: (
        "the file is larger than this system allows",
        "raise the limit (ulimit -f), or choose another disk",
    ),
    errno.ELOOP: ("the links lead in a circle", "point the symbolic link at a real folder"),
    errno.ENAMETOOLONG: ("the name is too long for a file", "choose a shorter name"),
}


def unwritable(error: OSError, path: Path) -> InputError:
    """Say in plain words why the system did not write a file."""
    wrong, fix = REASONS.get(
        error.errno or 0, (f"cannot be written: {error.strerror or error}", "choose another place")
    )
    return InputError(wrong, got=str(path), fix=fix)


def write_bytes(path: str | Path, data: bytes) -> None:
    """Replace a file in one step: a reader, or a crash, sees the old or the new one.

    Raises InputError where the folder is missing or read-only, or the disk full; the old file then stays.
    """
    path = Path(path)
    try:
        if _is_special(path):
            with open(path, "wb") as file:  # a pipe or a device is written to, never replaced
                file.write(data)
            return
        path = path.resolve()  # a link stays a link
        temporary = path.parent / TEMPORARY.format(secrets.token_hex(8))
        try:
            _write_through(temporary, data)
            os.replace(temporary, path)
            _sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(error, path) from error
    except RuntimeError as error:  # what pathlib makes of a circle of links
        raise unwritable(OSError(errno.ELOOP, ""), path) from error


def _is_special(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "is a directory", str(path))
    return not stat.S_ISREG(mode)


def _write_through(path: Path, data: bytes) -> None:
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make the new name itself survive a power cut, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def plain(value: object) -> object:
    """A value as strict JSON has it: NumPy values as Python's, numbers that are not finite as null."""
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def encode_json(value: object, *, indent: int | None = None) -> bytes:
    """Strict JSON as UTF-8; names of files that are not Unicode are escaped, and read back the same."""
    value = plain(value)
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent).encode()
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False, indent=indent).encode()


def write_json(path: str | Path, value: object) -> None:
    """Write strict JSON in one step; NaN and infinities become null. Raises what `write_bytes` does."""
    write_bytes(path, encode_json(value, indent=1))


def read_json(path: str | Path, *, newest: int | None = None) -> Any:
    """Read a JSON value.

    Raises InputError where the file is missing or damaged, or where its `format` is above `newest`: a later
    version of the program wrote it.
    """
    try:
        value = json.loads(Path(path).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        reason = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read: {error}"
        raise InputError(
            f"a file of the run {reason}", got=str(path), fix="is this a folder that `fit` wrote?"
        ) from error
    said = value.get("format") if isinstance(value, dict) else None
    if newest is not None and isinstance(said, int) and said > newest:
        raise InputError(
            "the run was written by a newer version",
            got=f"{path}: format {said}, this version reads up to {newest}",
            fix="update sensorium",
        )
    return value


def append_jsonl(path: str | Path, value: object) -> None:
    """Append one line of JSON and wait until it is on disk; a line that a crash tore is cut off first."""
    path = Path(path)
    data = encode_json(value) + b"\n"
    try:
        with open(path, "ab+") as file:
            file.truncate(_whole(file))
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise unwritable(error, path) from error


def _whole(file: Any, step: int = 1 << 16) -> int:
    """The size of a file without the torn line at its end, looked for from the end."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - step)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def read_jsonl(path: str | Path) -> list[dict[str, Any]]:
    """Read the lines of a file, but for a last one that a crash tore; no file gives no lines.

    Raises InputError for a file that cannot be read and for a damaged line within it.
    """
    path = Path(path)
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(
            "a file of the run cannot be read", got=f"{path}: {error}", fix="check its permissions"
        ) from error
    return [_parsed(line, f"{path}, line {number}") for number, line in enumerate(lines, 1)]


def _parsed(line: bytes, where: str) -> dict[str, Any]:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError("a line of the run's file is damaged", got=where, fix="remove the line") from error


def make_folder(path: str | Path) -> None:
    """Make a folder of a run, if it is not there. Raises InputError."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise InputError(
            "a file is in the way of a folder", got=str(path), fix="remove it, or choose another folder"
        ) from error
    except OSError as error:
        raise unwritable(error, Path(path)) from error


def remove(path: str | Path) -> None:
    """Remove a file of a run, if it is there. Raises InputError."""
    try:
        Path(path).unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(error, Path(path)) from error


@contextlib.contextmanager
def lock(folder: str | Path) -> Iterator[None]:
    """Keep two processes from writing one run folder; makes it; ends with the process, however it ends.

    Raises InputError that says who writes the folder now. Half-written files of a killed process are removed.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / ".lock", "a+", encoding="utf-8")
    except FileExistsError as error:
        raise InputError(
            "a file is in the way of the run folder", got=str(folder), fix="choose another folder"
        ) from error
    except OSError as error:
        raise unwritable(error, folder) from error
    with file:
        _hold(file, folder)
        _sweep(folder)
        who = f"process {os.getpid()} on {socket.gethostname()} since {datetime.datetime.now():%d %b %H:%M}\n"
        try:  # past the buffer, which would fail a second time on closing
            os.ftruncate(file.fileno(), 0)
            os.write(file.fileno(), who.encode())
        except OSError as error:
            raise unwritable(error, folder) from error
        yield


def _sweep(folder: Path) -> None:
    """Remove what killed processes left half-written; young files may still be written by `predict`."""
    with contextlib.suppress(OSError):
        for pattern in (TEMPORARY, f"*/{TEMPORARY}"):
            for torn in folder.glob(pattern.format("*")):
                if time.time() - torn.stat().st_mtime > STALE_S:
                    torn.unlink(missing_ok=True)


def _hold(file: Any, folder: Path) -> None:
    try:
        import fcntl
    except ImportError:  # a system without file locks: the user alone takes care
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        who = file.read(200).strip() or "another process"
        raise InputError(
            "another process is writing this run folder",
            got=f"{folder}: {who}",
            fix="wait for it, or choose another folder",
        ) from error
