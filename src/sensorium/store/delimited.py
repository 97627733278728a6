"""Comma, tab, semicolon and bar separated text -> columns of cells, with the line of every mistake."""

import csv
import io
import re
from collections.abc import Sequence

from sensorium.types import InputError

MARKS = ",;\t|"
MISSING = frozenset({"na", "nan", "null", "none", "n/a"})  # empty, but only among numbers
LONGEST = 2**31 - 1  # characters of one field


def parse(text: str, *, source: str, mark: str | None = None) -> dict[str, list[object]]:
    """Separated text with a header -> column -> cells; a cell is a str, or None where it is blank.

    `mark` is the separator; None looks for one of `, ; tab |` in the header. Raises InputError naming the
    line for damaged quoting and for rows that are longer or shorter than the header.
    """
    mark = mark or sniff(text)
    if csv.field_size_limit() < LONGEST:
        csv.field_size_limit(LONGEST)
    reader = _reader(text, mark)
    try:
        header = [name.strip() for name in next((row for row in reader if row), [])]
        rows = [row for row in reader if row]
    except csv.Error as error:
        raise InputError(
            "the table's quoting is damaged",
            got=f"{source}, line {_line_of_fault(text, mark)}: {error}",
            fix='put cells with quotes into "..." and double the quotes inside',
        ) from error
    _check_header(header, source)
    width = len(header)
    if any(len(row) != width for row in rows):
        raise _ragged(text, mark, width, source)
    cells = zip(*rows, strict=True) if rows else ((),) * width
    return {name: blanked(column) for name, column in zip(header, cells, strict=True)}


def sniff(text: str) -> str:
    """The separator that the header speaks for: a comma where it has one, else the commonest of `; tab |`."""
    head = re.sub(r'"[^"]*"', "", text.lstrip("\r\n").split("\n", 1)[0])
    return "," if "," in head else max(MARKS, key=head.count)


def blanked(column: Sequence[str]) -> list[object]:
    """None for blank cells, and for NA, NaN, null, None where every other cell is a number."""
    cells: list[object] = [c if c and not c.isspace() else None for c in column]
    said = {c for c in cells if isinstance(c, str)}
    gone = {c for c in said if c.strip().lower() in MISSING}
    numbers = said - gone
    if gone and numbers and all(map(_is_number, numbers)):
        return [None if c in gone else c for c in cells]
    return cells


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def _reader(text: str, mark: str):
    return csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)


def _line_of_fault(text: str, mark: str) -> int:
    """The line on which the damaged row starts; a quote that is never closed is only noticed far below."""
    reader, line = _reader(text, mark), 1
    try:
        for _ in reader:
            line = reader.line_num + 1
    except csv.Error:
        pass
    return line


def _check_header(header: list[str], source: str) -> None:
    if "" in header:
        raise InputError(
            "the header has an empty name",
            got=f"{source}: {header}",
            fix="name every column; a nameless first one is often a data frame's index: leave it out",
        )
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise InputError(
            f"the header repeats {', '.join(twice)}",
            got=f"{source}: {header}",
            fix="give every column a name of its own",
        )


def _ragged(text: str, mark: str, width: int, source: str) -> InputError:
    reader, line, counted = _reader(text, mark), 1, width
    for row in reader:
        if row and len(row) != width:
            counted = len(row)
            break
        line = reader.line_num + 1
    return InputError(
        "a row has another number of cells than the header",
        got=f"{source}, line {line}: {counted} cells, the header has {width} (separated by {mark!r})",
        fix='put cells that hold the separator into "..."',
    )
