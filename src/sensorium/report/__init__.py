"""Run folder -> report.html, explained row -> its page: self-contained files that open offline."""

import json
from collections.abc import Mapping
from pathlib import Path

from sensorium.report.alignment import alignment
from sensorium.report.explained import explanation
from sensorium.report.found import search_page
from sensorium.report.generated import generated_page
from sensorium.report.page import Run, page
from sensorium.store import read_json, write_bytes
from sensorium.types import InputError

__all__ = ["write_alignment", "write_explanation", "write_generated", "write_report", "write_search"]


def write_report(run_folder: str | Path) -> Path:
    """Write `report.html` from the run's own files, and nothing else; return its path.

    Reads metrics.json and, where they are, history.jsonl, examples.json, quarantine.jsonl, model.json and
    interactions.json. A part that was not recorded is said to be so; a damaged side file is named at the top. Raises InputError where there is no run, where
    metrics.json is damaged, or where the folder cannot be written.
    """
    folder = Path(run_folder)
    if not folder.is_dir():
        raise InputError(
            "there is no such run folder", got=str(folder), fix="give a folder that `sensorium fit -o` wrote"
        )
    remarks: list[str] = []
    metrics = read_json(folder / "metrics.json")
    if not isinstance(metrics, Mapping):
        raise InputError(
            "metrics.json does not hold an object",
            got=type(metrics).__name__,
            fix="run `sensorium fit` again",
        )
    run = Run(
        metrics=metrics, history=_lines(folder / "history.jsonl", remarks),
        examples=_rows(_side(folder / "examples.json", remarks)), quarantine=_lines(folder / "quarantine.jsonl", remarks),
        model=_mapping(_side(folder / "model.json", remarks)), remarks=remarks, folder=str(folder),
        interactions=_mapping(_side(folder / "interactions.json", remarks)),
    )  # fmt: skip
    write_bytes(folder / "report.html", page(run).encode("utf-8", "replace"))
    return folder / "report.html"


def write_explanation(found: Mapping, path: str | Path) -> Path:
    """Write the page of one explained row, as `Model.explain` returns it; return its path.

    Parts that are missing or odd are left out. Raises InputError where the file cannot be written.
    """
    write_bytes(Path(path), explanation(found).encode("utf-8", "replace"))
    return Path(path)


def write_alignment(found: Mapping, path: str | Path) -> Path:
    """Write the page of one aligned row; return its path. Raises InputError where the file cannot be written."""
    write_bytes(Path(path), alignment(found).encode("utf-8", "replace"))
    return Path(path)


def write_search(found: Mapping, path: str | Path) -> Path:
    """Write the page of one search; return its path. Raises InputError where the file cannot be written."""
    write_bytes(Path(path), search_page(found).encode("utf-8", "replace"))
    return Path(path)


def write_generated(found: Mapping, path: str | Path) -> Path:
    """Write the page of one text that was written; return its path. Raises InputError where the file cannot be written."""
    write_bytes(Path(path), generated_page(found).encode("utf-8", "replace"))
    return Path(path)


def _side(path: Path, remarks: list[str]) -> object:
    """A JSON file, or None where it is missing or damaged."""
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        remarks.append(f"{path.name} could not be read; what it tells is missing here.")
        return None


def _lines(path: Path, remarks: list[str]) -> list[Mapping]:
    """The objects of a file of JSON lines; a line cut off by a crash is skipped and counted."""
    found: list[Mapping] = []
    lost = 0
    if not path.exists():
        return found
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            row = json.loads(line) if line.strip() else None
        except ValueError:
            lost += 1
            continue
        if isinstance(row, Mapping):
            found.append(row)
    if lost:
        remarks.append(f"{path.name}: {lost} damaged lines were skipped.")
    return found


def _rows(value: object) -> list[Mapping]:
    return [v for v in value if isinstance(v, Mapping)] if isinstance(value, list) else []


def _mapping(value: object) -> Mapping:
    return value if isinstance(value, Mapping) else {}
