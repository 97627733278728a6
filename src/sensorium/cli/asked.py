"""Words of the command line -> values."""

from collections.abc import Iterable
from dataclasses import fields, replace

from sensorium.types import InputError, Limits


def split_names(text: str | None) -> list[str] | None:
    """`A,B` as a list; None where nothing was said."""
    return [n.strip() for n in text.split(",") if n.strip()] if text else None


def limits_of(said: Iterable[str]) -> Limits:
    """Apply `--limit NAME=NUMBER`. Raises InputError for an unknown name and for what is no number above zero."""
    limits, names = Limits(), [f.name for f in fields(Limits)]
    for text in said:
        name, _, value = text.partition("=")
        if name not in names:
            raise InputError("no such limit", got=text, fix=f"one of {', '.join(names)}")
        try:
            number = int(float(value))
        except (ValueError, OverflowError):
            number = 0
        if number < 1:
            raise InputError("a limit is a number above zero", got=text, fix=f"--limit {name}=1e9")
        limits = replace(limits, **{name: number})
    return limits


def columns_of(said: Iterable[str]) -> dict[str, str]:
    """`--column NAME=KIND:opt=value` as name -> the rest."""
    found: dict[str, str] = {}
    for text in said:
        name, _, kind = (part.strip() for part in text.partition("="))
        if not name or not kind:
            raise InputError("a column needs a kind", got=text, fix="--column NAME=KIND[:opt=value,...]")
        found[name] = kind
    return found


def memory_of(text: str | None) -> int:
    """Bytes as people write them: 512M, 2G, 1e9; 0 where nothing was said. Raises InputError."""
    if not text:
        return 0
    units = {"k": 2**10, "m": 2**20, "g": 2**30}
    said = text.strip().lower().removesuffix("b").removesuffix("i")
    unit = units.get(said[-1:], 1)
    try:
        found = int(float(said.rstrip("kmg")) * unit)
    except (ValueError, OverflowError):
        found = 0
    if found < 2**20:
        raise InputError("no amount of memory", got=text, fix="write it as 512M or 2G, one megabyte at least")
    return found
