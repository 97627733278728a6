"""What a matcher was asked for, and the task that is read off its table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sensorium.api.initial import Initial, inherited
from sensorium.api.prepare import rates_of, surveyed
from sensorium.data import Decoder, Row
from sensorium.store import Table
from sensorium.tasks import Column, Task, as_number, blank, infer_carrier, infer_columns
from sensorium.types import InputError, Limits


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What the user asked for; two fits that ask the same continue each other."""

    match: tuple[str, ...]
    columns: Mapping[str, str] | None = None
    size: str | None = None
    seed: int = 0
    minutes: float | None = None
    epochs: int | None = None
    loss: str = "softmax"
    batch: int = 0
    memory: int = 0
    init: str | None = None
    lock: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Things:
    """Rows to learn from or to measure on: decoded, with what they hold and which belong together."""

    table: Table
    rows: Sequence[Row]
    group: np.ndarray  # (n,)
    same: Mapping[str, np.ndarray]  # column -> (n,) number of the thing in it, -1 for none


def plan_match(
    train: Table, asked: Wanted, limits: Limits, start: Initial
) -> tuple[Task, dict[str, float], list[str]]:
    """Read off the training rows what is matched: modalities, rates, remarks. Raises InputError for fewer than two."""
    spoken = dict(asked.columns or {})
    for name in asked.match:
        # Few different words are classes for a target; here they are words.
        said = [c for c in train.cells(name) if not blank(c)]
        words = bool(said) and sum(as_number(c) is None for c in said) > len(said) / 2
        if name not in spoken and words and infer_carrier(train, name) == "table":
            spoken[name] = "text"
    columns, remarks = infer_columns(
        train, targets=[], inputs=asked.match,
        spoken={k: v for k, v in spoken.items() if k in asked.match}, group=None,
    )  # fmt: skip
    if len(columns) < 2:
        raise InputError(
            "fewer than two of the columns hold anything to match",
            got=[c.name for c in columns],
            fix="fill the cells, or name other columns",
        )
    rates, more = rates_of(train, columns, limits)
    decoder = Decoder(train, limits=limits, rates=rates)
    fields = [c for c in columns if c.carrier == "table"]
    rest = [c for c in columns if c.carrier != "table"]
    modalities = [*surveyed(train, rest, decoder, asked.seed)] if rest else []
    for column in fields:  # each matched by itself, not as one
        alone = Column(name=column.name, carrier="table", given=column.given)
        made = surveyed(train, [alone], decoder, asked.seed)[0]
        modalities.append(replace(made, name=column.name))
    names = tuple(m.name for m in modalities)
    return Task(modalities=inherited(modalities, start), match=names), rates, remarks + more
