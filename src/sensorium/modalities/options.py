"""What `--column NAME=KIND:option=value` may say: strings or values in, checked values out."""

from collections.abc import Callable, Mapping
from typing import Any

from sensorium.types import InputError

Check = Callable[[object], object]  # raises ValueError, saying what it wants


def checked(given: Mapping[str, object], known: Mapping[str, Check], *, carrier: str) -> dict[str, Any]:
    """Return `given` with every value parsed; those that are None are left out.

    Raises InputError for an option that `carrier` does not know and for a value that its check refuses.
    """
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in known:
            raise InputError(
                f"{carrier} has no option {name!r}",
                got=f"{name}={value}",
                fix=f"use one of: {', '.join(sorted(known))}",
            )
        if value is not None:
            values[name] = _parsed(name, value, known[name], carrier)
    return values


def _parsed(name: str, value: object, check: Check, carrier: str) -> object:
    try:
        return check(value)
    except (ValueError, TypeError, OverflowError) as reason:
        raise InputError(
            f"the option {name!r} of {carrier} cannot be understood: {reason}",
            got=f"{name}={value}",
            fix=f"write it like --column NAME={carrier}:{name}=VALUE",
        ) from None


def whole(low: int, high: int) -> Check:
    """Accept a whole number from `low` to `high`."""

    def check(value: object) -> int:
        number = float(str(value))
        if number != int(number) or not low <= number <= high:
            raise ValueError(f"a whole number from {low} to {high} is needed")
        return int(number)

    return check


def number(low: float, high: float) -> Check:
    """Accept a finite number above `low` and up to `high`."""

    def check(value: object) -> float:
        got = float(str(value))
        if not low < got <= high:
            raise ValueError(f"a number above {low:g} and up to {high:g} is needed")
        return got

    return check


def flag(value: object) -> bool:
    """Accept true/false, yes/no, on/off, 1/0."""
    said = str(value).strip().lower()
    if said in {"true", "yes", "on", "1"}:
        return True
    if said in {"false", "no", "off", "0"}:
        return False
    raise ValueError("true or false is needed")


def names(value: object) -> list[str]:
    """Accept a list of names, or one string with `|` between them."""
    parts = value.split("|") if isinstance(value, str) else [str(v) for v in _items(value)]
    if not all(part.strip() for part in parts):
        raise ValueError("names with | between them are needed")
    return [part.strip() for part in parts]


def _items(value: object) -> list[object]:
    if isinstance(value, list | tuple):
        return list(value)
    raise ValueError("a list of names is needed")


def word(value: object) -> str:
    """Accept any text."""
    return str(value)
