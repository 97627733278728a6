"""A folder -> Table: the one table inside; or label/file; or loose files with one stem a row."""

from collections.abc import Sequence
from pathlib import Path

from sensorium.store.formats import of_dicts, read_file, table_suffix
from sensorium.store.paths import suffix_of, unreadable
from sensorium.store.table import VALID, Table
from sensorium.types import InputError

SPLITS = ("train", "test", *VALID)
# Endings that name one kind of thing share a column.
FAMILIES = {
    "image": ".jpg .jpeg .png .webp .gif .tif .tiff .bmp",
    "audio": ".wav .flac .ogg .oga .mp3 .opus .m4a .aac .aif .aiff",
    "video": ".mp4 .mkv .webm .mov .avi .m4v",
}
FAMILY = {suffix: name for name, suffixes in FAMILIES.items() for suffix in suffixes.split()}
ASIDE = ("readme", "license", "licence", "thumbs.db", "desktop.ini", "__macosx")


def read_folder(path: Path) -> Table:
    """Read a folder.

    Exactly one table file at its top is the table. Otherwise `label/file` gives the columns file and label
    (`split/label/file` also split), and loose files give a row per stem and a column per kind of file.
    Raises InputError.
    """
    try:
        inside = _seen(path)
        tables = _tables(inside)
        if len(tables) == 1:
            return read_file(tables[0])
        folders = [p for p in inside if p.is_dir()]
        loose = [p for p in inside if p.is_file()]
        if len(tables) > 1 and (folders or len({_stem(p) for p in loose}) == len(loose)):
            listed = ", ".join(p.name for p in tables)
            raise InputError(
                "the folder holds several tables", got=f"{path}: {listed}", fix="name the one to read"
            )
        data, names, notes = _labelled(folders) if folders else _by_stem(loose)
    except (OSError, RuntimeError) as error:
        raise unreadable(error, str(path)) from error
    if not names:
        raise InputError(
            "the folder holds no files", got=str(path), fix="give label/file, or files with one stem a row"
        )
    return Table(data=data, folder=path.absolute(), source=str(path), row_ids=names, notes=notes)


def _seen(folder: Path) -> list[Path]:
    return sorted(
        p for p in folder.iterdir() if not p.name.startswith(".") and not p.name.lower().startswith(ASIDE)
    )


def _tables(inside: Sequence[Path]) -> list[Path]:
    """Table files; JSON, which is often a remark beside the data, counts where it is the only one."""
    found = [p for p in inside if table_suffix(p.name) and p.is_file()]
    rows = [p for p in found if table_suffix(p.name).removesuffix(".gz") != ".json"]
    return found if len(found) == 1 else rows


def _labelled(folders: Sequence[Path]) -> tuple[dict[str, list[object]], list[str], tuple[str, ...]]:
    """Rows of `label/file`, or of `split/label/file` where all folders are named as splits are."""
    data: dict[str, list[object]] = {"file": [], "label": []}
    if all(f.name.lower() in SPLITS for f in folders) and not any(
        p.is_file() for f in folders for p in _seen(f)
    ):
        data = {"file": [], "label": [], "split": []}
        labels = [(label, f"{f.name}/", f.name) for f in folders for label in _seen(f) if label.is_dir()]
    else:
        labels = [(label, "", "") for label in folders]
    deeper = 0
    for label, above, split in labels:
        for file in _seen(label):
            deeper += file.is_dir()
            if file.is_file():
                for column, cell in (
                    ("file", f"{above}{label.name}/{file.name}"),
                    ("label", label.name),
                    ("split", split),
                ):
                    if column in data:
                        data[column].append(cell)
    notes = (f"{deeper} folders inside label folders were not opened",) if deeper else ()
    return data, [str(f) for f in data["file"]], notes


def _by_stem(files: Sequence[Path]) -> tuple[dict[str, list[object]], list[str], tuple[str, ...]]:
    kinds = _kinds(files)
    rows: dict[str, dict[str, object]] = {}
    for file in files:
        rows.setdefault(_stem(file), {})[kinds[suffix_of(file.name)]] = file.name
    stems = sorted(rows)
    order = dict.fromkeys(sorted(set(kinds.values())))  # columns in the order of their names
    return of_dicts([order | rows[s] for s in stems]) if stems else {}, stems, ()


def _kinds(files: Sequence[Path]) -> dict[str, str]:
    """Suffix -> column. A family shares one, unless a stem has two of it (photo.jpg, photo.png)."""
    own: dict[str, list[str]] = {}
    for file in files:
        suffix = suffix_of(file.name)
        own.setdefault(FAMILY.get(suffix, suffix), []).append(_stem(file))
    clash = {family for family, stems in own.items() if len(set(stems)) < len(stems)}
    kinds = {}
    for suffix in {suffix_of(file.name) for file in files}:
        family = FAMILY.get(suffix, suffix)
        kinds[suffix] = suffix[1:] or "file" if family in clash or family == suffix else family
    return kinds


def _stem(file: Path) -> str:
    return file.name[: len(file.name) - len(suffix_of(file.name))]
