"""The hardest rows, as pictures, players, plots and words."""

import re
from collections.abc import Mapping, Sequence

from sensorium.report.charts import cloud, outline, small_lines
from sensorium.report.markup import (
    Html,
    duration,
    folded,
    join,
    listed,
    mapping,
    named,
    note,
    number,
    several,
    table,
    tag,
)

BASE64 = re.compile(r"[A-Za-z0-9+/\s]+={0,2}\s*")
MOST = 24  # rows in the report
SHOWN = 6  # of them at once
LONGEST = 1200  # characters of a text


def hardest(examples: Sequence[Mapping], kind: str = "category") -> Html:
    """Cards of the rows that the model got most wrong; nothing without rows. `kind` is that of the target."""
    if not examples:
        return Html("")
    cards = [_card(e, kind) for e in examples[:MOST]]
    rest = cards[SHOWN:]
    more = folded(f"{several(len(rest), 'more row')}", tag("div", *rest, class_="cards")) if rest else None
    return join(note(_about(examples, kind)), tag("div", *cards[:SHOWN], class_="cards"), more)


def _about(examples: Sequence[Mapping], kind: str) -> str:
    if kind == "number":
        return "The held-out rows whose answers are farthest off: often the rows to look at first."
    wrong = sum(_answers(e.get("predicted"), kind) != _answers(e.get("truth"), kind) for e in examples)
    if not wrong:
        return "No held-out row was answered wrong; these are the right answers that it was least sure of."
    first = "The held-out rows that the model got most wrong: mistakes it is sure of, and often mistakes in the labels."
    return (
        first if wrong >= len(examples) else f"{first} Behind them come right answers that it was unsure of."
    )


def _answers(value: object, kind: str) -> tuple[str, ...]:
    """What a row is said to be; for several labels in the order of the alphabet."""
    if isinstance(value, list | tuple):
        return tuple(sorted(str(v).strip() for v in value))
    if kind == "labels":
        return tuple(sorted(part.strip() for part in str(value).split("|") if part.strip()))
    return (_words(value),)


def _card(example: Mapping, kind: str) -> Html:
    truth, said = example.get("truth"), example.get("predicted")
    sure = number(example.get("confidence"))
    beside = f" ({100 * sure:.0f}\u202f%)" if sure is not None and 0 <= sure <= 1 else _off(truth, said, kind)
    right = _answers(truth, kind) == _answers(said, kind)
    look = None if kind == "number" else "right" if right else "wrong"
    sign = None if kind == "number" else tag("span", ", right" if right else ", wrong", class_="unseen")
    head = tag(
        "header", tag("div", tag("span", "answered"), tag("b", named(_shown(said, kind)), beside, sign, class_=look)),
        tag("div", tag("span", "truth"), tag("b", named(_shown(truth, kind)))),
    )  # fmt: skip
    found = mapping(example.get("cells"))
    there = {n: c for n, c in found.items() if isinstance(c, Mapping)}
    cells = [tag("div", tag("h3", named(n)), cell(c, str(n)), class_="cell") for n, c in there.items()]
    gone = [part for n in found if n not in there for part in (", ", named(n))][1:]
    absent = tag("div", tag("span", "absent: ", *gone, class_="absent"), class_="cell") if gone else None
    return tag("article", head, *cells, absent, tag("footer", "id ", named(example.get("id", "?")), class_="soft"), class_="card")  # fmt: skip


def _shown(value: object, kind: str) -> str:
    """An answer for people: several labels with commas between them."""
    if kind == "labels" and isinstance(value, str):
        return ", ".join(part.strip() for part in value.split("|") if part.strip()) or "no label"
    return _words(value)


def _off(truth: object, said: object, kind: str) -> str:
    """How far a number is off."""
    if kind != "number":
        return ""
    try:
        return f" (off by {abs(float(str(said)) - float(str(truth))):.3g})"
    except ValueError:
        return ""


def _words(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "no label"
    return f"{value:.4g}" if isinstance(value, float) else "\u2013" if value is None else str(value)


def cell(content: object, name: str) -> Html:
    """One input of an example; several pictures of it where the preview holds several."""
    if not isinstance(content, Mapping):
        return tag("div", "absent", class_="absent")
    parts = [draw(content, name) for key, draw in DRAWN.items() if content.get(key)]
    return join(*parts) if any(parts) else tag("div", "nothing to show", class_="absent")


def _picture(content: Mapping, name: str) -> Html:
    data = _base64(content["png"])
    if not data:
        return tag("div", "a damaged picture", class_="absent")
    small = len(data) < 1400  # so few bytes are few pixels: enlarge them as squares
    return tag(
        "img",
        src=f"data:image/png;base64,{data}",
        alt=f"{name} of this row",
        loading="lazy",
        class_="pixels" if small else None,
    )


def _sound(content: Mapping, name: str) -> Html:
    lines, data = listed(content.get("lines")), _base64(content["wav"])
    first = listed(lines[0]) if lines and isinstance(lines[0], list | tuple) else lines
    wave = outline(first, label=f"outline of the sound {name}") if first else None
    if not data:
        return join(wave, tag("div", "a damaged sound", class_="absent"))
    return join(
        wave,
        tag(
            "audio",
            controls="",
            preload="metadata",
            src=f"data:audio/wav;base64,{data}",
            aria_label=f"{name} of this row",
        ),
    )


def _series(content: Mapping, name: str) -> Html:
    if content.get("wav"):
        return Html("")
    lines = listed(content["lines"])
    many = [listed(line) for line in lines] if lines and isinstance(lines[0], list | tuple) else [lines]
    seconds, channels = number(content.get("seconds")), number(content.get("channels"))
    names = ", ".join(str(n) for n in listed(content.get("names")))
    more = f"{len(many)} of {several(channels, 'channel')}" if channels and channels > len(many) else ""
    facts = [
        names,
        more,
        f"in {content['unit']}" if content.get("unit") else "",
        duration(seconds) if seconds else "",
    ]
    about = ", ".join(f for f in facts if f)
    return join(
        small_lines(many, label=f"{name}, {len(many)} channels"),
        tag("small", about, class_="soft") if about else None,
    )


def _text(content: Mapping, name: str) -> Html:
    text = str(content["text"])
    return tag(
        "blockquote",
        text if len(text) <= LONGEST else text[:LONGEST] + "\u2026",
        dir="auto",
        tabindex="0" if len(text) > 400 else None,
    )


def _points(content: Mapping, name: str) -> Html:
    return cloud(listed(content["dots"]), label=f"{name}: points from above")


def _fields(content: Mapping, name: str) -> Html:
    rows = [
        [named(k), "\u2013" if v in (None, "") else named(v)] for k, v in mapping(content["cells"]).items()
    ]
    return table(["field", "value"], rows, caption=f"{name} of this row") if rows else Html("")


DRAWN = {"png": _picture, "wav": _sound, "lines": _series, "dots": _points, "text": _text, "cells": _fields}


def _base64(value: object) -> str:
    """The text of a data address, or nothing where it is not base64."""
    return value if isinstance(value, str) and BASE64.fullmatch(value) else ""
