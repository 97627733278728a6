"""How files are named: fragments and suffixes of cells, where a relative name starts, why a file cannot be opened."""

import errno
import math
import re
from pathlib import Path

from sensorium.types import InputError

SPAN = re.compile(r"#t=([^#]*)$")
SUFFIX = re.compile(r"\.(?=[a-z0-9]*[a-z])[a-z0-9]{1,8}(?:\.gz)?$")
URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+://")
DATA_URI = re.compile(r"data:[a-z0-9.+-]+/([a-z0-9.+-]+)(;[^,\s]*)?,", re.IGNORECASE)
ENDINGS = {
    "jpeg": "jpg",
    "mpeg": "mp3",
    "plain": "txt",
    "quicktime": "mov",
    "matroska": "mkv",
    "octet-stream": "",
}
WRITTEN = {
    "predictions": (".csv", ".jsonl", ".parquet"),
    "vectors": (".npz", ".parquet"),
}  # kind of file -> suffixes
REASONS = {
    errno.ENOENT: ("no such file or folder", "check the path"),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "check the path"),
    errno.EISDIR: ("a folder, not a file", "name the file inside"),
    errno.EACCES: ("permission denied", "let this user read it (chmod)"),
    errno.EPERM: ("permission denied", "let this user read it (chmod)"),
    errno.ELOOP: ("the links lead in a circle", "point the symbolic link at a real file"),
    errno.ENAMETOOLONG: ("the name is too long for a file", "check the path"),
}


def unreadable(error: OSError | RuntimeError | ValueError, got: str) -> InputError:
    """Say in plain words why the system did not open a file."""
    if isinstance(error, RuntimeError):  # what pathlib makes of a circle of links
        error = OSError(errno.ELOOP, "")
    if not isinstance(error, OSError):  # a zero byte, or characters that no file name can hold
        return InputError("no file can have such a name", got=got, fix="check the path")
    wrong, fix = REASONS.get(
        error.errno or 0, (f"cannot be read: {error.strerror or error}", "check the disk and try again")
    )
    return InputError(wrong, got=got, fix=fix)


def split_span(cell: str) -> tuple[str, tuple[float, float] | None]:
    """Split `talk.wav#t=12,15.5` into the name and (start, stop) in seconds.

    `#t=,5` starts at zero; `#t=3` ends at infinity. Raises InputError for a span that is damaged or empty.
    """
    found = SPAN.search(cell)
    if found is None:
        return cell, None
    first, comma, last = found[1].partition(",")
    try:
        start, stop = float(first or 0.0), float(last) if comma else math.inf
    except ValueError:
        start, stop = math.nan, math.nan
    if not (first or comma) or not 0 <= start < math.inf or math.isnan(stop):
        raise InputError("not a time span", got=cell, fix="write #t=START,STOP in seconds")
    if stop <= start:
        raise InputError("the time span is empty", got=cell, fix="write #t=START,STOP with START before STOP")
    return cell[: found.start()], (start, stop)


def span_of(cell: object) -> tuple[float, float] | None:
    """(start, stop) in seconds that a cell asks for; None for a whole file. Raises InputError."""
    return split_span(cell)[1] if isinstance(cell, str) else None


def written_as(path: str | Path, kind: str) -> str:
    """The lower-case suffix of a file of predictions or of vectors that is to be written; kind: a key of WRITTEN.

    The verbs ask before they work, the writers when they write. Raises InputError for a suffix that the kind lacks.
    """
    suffix, suffixes = Path(path).suffix.lower(), WRITTEN[kind]
    if suffix not in suffixes:
        raise InputError(
            f"no such kind of {kind} file",
            got=str(path),
            fix=f"end its name in {', '.join(suffixes[:-1])} or {suffixes[-1]}",
        )
    return suffix


def is_data_uri(cell: str) -> bool:
    """Whether a cell holds its bytes itself: `data:image/png;base64,...`."""
    return DATA_URI.match(cell[:200]) is not None


def suffix_of(cell: object) -> str:
    """The lower-case suffix of the file that a cell names, "" where there is none; `.csv.gz` is one."""
    name = str(cell.get("path") or "") if isinstance(cell, dict) else cell
    if not isinstance(name, str):
        return ""
    if uri := DATA_URI.match(name[:200]):
        kind = uri[1].lower().removeprefix("x-")
        return f".{ENDINGS.get(kind, kind)}".rstrip(".")
    found = SUFFIX.search(re.split(r"[/\\]", SPAN.sub("", name[-400:]))[-1].lower())
    return found[0] if found else ""


def exists(path: Path) -> bool:
    """Whether an ordinary file is there; names that no file can have are not."""
    try:
        return path.is_file()
    except (OSError, RuntimeError, ValueError):
        return False


def place(folder: Path | None, name: str) -> Path:
    """Where a name leads: from the table's folder, or absolute, or from a home (`~`).

    Names with backslashes between folders are understood where no file is called so.
    """
    base = folder or Path.cwd()
    path = base / name
    if name.startswith("~") and not exists(path):
        try:
            path = Path(name).expanduser()
        except RuntimeError:  # no such user
            return path
    if "\\" in name and not exists(path):
        turned = base / name.replace("\\", "/")
        return turned if exists(turned) else path
    return path


def locate(folder: Path | None, cell: str) -> tuple[Path, tuple[float, float] | None]:
    """The path and span that a cell asks for; a file whose real name holds `#` wins. Raises InputError."""
    if "#" in cell:
        whole = place(folder, cell)
        if exists(whole):
            return whole, None
    name, span = split_span(cell)
    return place(folder, name), span
