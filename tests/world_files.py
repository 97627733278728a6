"""Reading back what a world wrote: tables of JSON lines, and facts and programs inside them."""

import json
from pathlib import Path


def read_tables(folder: Path, *names: str) -> dict[str, list[dict]]:
    """The rows of `name.jsonl` in a folder for each name."""
    return {name: read_lines(folder / f"{name}.jsonl") for name in names}


def read_lines(path: Path) -> list[dict]:
    """The rows of one file of JSON lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def tupled(value: object) -> object:
    """JSON has lists where facts and programs have tuples."""
    return tuple(map(tupled, value)) if isinstance(value, list) else value
