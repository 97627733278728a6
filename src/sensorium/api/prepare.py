"""From a table to a task and rows in memory: kinds, rates, surveys, decoding, quarantine."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sensorium.api.heads import Rows
from sensorium.api.saying import Say
from sensorium.data import Decoder, Fault, Row, decode_rows
from sensorium.modalities import CARRIERS
from sensorium.modalities.series import infer_rate
from sensorium.store import Table, append_jsonl, split_span
from sensorium.tasks import (
    Column,
    Target,
    Task,
    asking,
    blank,
    infer_columns,
    infer_target,
    label,
    parse_column,
    split_rows,
)
from sensorium.training import Examples
from sensorium.types import InputError, Limits, Modality, Signal

SURVEYED = 300  # rows that options are learned from
SILENT = 60  # videos that are listened to before the column counts as silent
BAD_SHARE = 0.05  # more unreadable rows than this stop a fit


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What the user asked for; two fits that ask the same continue each other."""

    target: str
    inputs: tuple[str, ...] | None = None
    also: tuple[str, ...] = ()
    columns: Mapping[str, str] | None = None
    size: str | None = None
    fusion: str = "auto"
    seed: int = 0
    minutes: float | None = None
    epochs: int | None = None
    group: str | None = None
    balance: str = "guarded"
    teacher: str | None = None
    steps: int | None = None  # of reasoning about a question

    def only(self, inputs: Sequence[str]) -> "Asked":
        """The same from these inputs alone, without what only helps: for a model that is compared with."""
        kinds = {k: v for k, v in (self.columns or {}).items() if k in (*inputs, self.target)}
        return replace(self, inputs=tuple(inputs), columns=kinds, also=(), teacher=None)


def asked_of(saved: Mapping) -> Asked:
    """What a run's mark says was asked for."""
    inputs, also = saved["inputs"], tuple(saved["also"])
    return Asked(**{**saved, "inputs": None if inputs is None else tuple(inputs), "also": also})


def cut(table: Table, valid: Table | None, asked: Asked) -> tuple[Table, Table]:
    """Training and validation rows: by the column `split` where there is one; rows marked test are never opened.

    Training rows without a target are left out, but where there is a teacher to answer them.
    """
    train = table.split("train")
    if valid is None and train is not None:
        valid = table.split("valid")
    train = table if train is None else train
    if not len(train):
        raise InputError(
            "no training row", got=f"{len(table)} rows, none with split = train", fix="mark rows as train"
        )
    filled = np.array([i for i, c in enumerate(train.cells(asked.target)) if not blank(c)], dtype=np.int64)
    rest = np.setdiff1d(np.arange(len(train)), filled) if asked.teacher else np.zeros(0, np.int64)
    if valid is not None and len(valid):
        return train.take(np.sort(np.concatenate([filled, rest]))), valid
    some = train.take(filled)
    target = _target(asked.target, some, asked.columns or {})
    fit, held = split_rows(some, target, group=asked.group, share=0.15, seed=asked.seed)
    return train.take(np.sort(np.concatenate([filled[fit], rest]))), some.take(held)


def rates_of(table: Table, columns: Sequence[Column], limits: Limits) -> tuple[dict[str, float], list[str]]:
    """Samples per second of series columns: given, or guessed where cells ask for seconds of files without a clock."""
    rates, remarks = {}, []
    for column in columns:
        if column.carrier != "series":
            continue
        if "rate" in column.given:
            try:
                rates[column.name] = float(column.given["rate"])
            except ValueError:
                raise InputError(
                    "a rate is a number of samples per second", got=column.given["rate"], fix="rate=360"
                ) from None
            continue
        last: dict[str, float] = defaultdict(float)
        for cell in table.cells(column.name):
            if isinstance(cell, str) and "#t=" in cell:
                name, span = split_span(cell)
                if span and np.isfinite(span[1]):
                    last[name] = max(last[name], span[1])
        pairs = []
        named = replace(table, data={column.name: list(last)[:40]}, row_ids=None)
        decoder = Decoder(named, limits=limits)
        for row, name in enumerate(list(last)[:40]):
            try:
                signal = decoder.signal(row, column.name, "series")
            except InputError:  # its rows are set aside when they are read
                continue
            if signal is not None and signal.rate_hz is None and signal.times_s is None:
                pairs.append((len(signal.values), last[name]))
        rate = infer_rate(pairs) if pairs else None
        if rate:
            rates[column.name] = rate
            remarks.append(
                f"{column.name}: no rate in the files; {rate:g} Hz fits them (override: --column {column.name}=series:rate=...)"
            )
    return rates, remarks


def surveyed(table: Table, columns: Sequence[Column], decoder: Decoder, seed: int) -> tuple[Modality, ...]:
    """Look at some rows and define a modality per column; a video column with sound gives two, table columns one."""
    order = np.random.default_rng(seed).permutation(len(table))
    found: list[Modality] = []
    taken = {c.name for c in columns if c.carrier != "table"}
    fields = [c for c in columns if c.carrier == "table"]
    jobs = [(c.name, c.name, c.carrier, dict(c.given)) for c in columns if c.carrier != "table"]
    jobs += [(_free(f"{c.name}.audio", taken), c.name, "audio", {}) for c in columns if c.carrier == "video"]
    if fields:
        jobs.append((_free("table", taken), "\n".join(c.name for c in fields), "table", {}))
    for name, column, carrier, given in jobs:
        rows = _filled(table, order, column, carrier)
        of_video = carrier == "audio" and name != column
        signals = _sample(decoder, rows, column, carrier, of_video=of_video)
        if not signals and of_video:
            continue
        if not signals:
            raise InputError(
                f"no cell of {column!r} could be read as {carrier}",
                got=_first_fault(decoder, rows, column, carrier),
                fix=f"name its kind: --column {column}=KIND",
            )
        options = CARRIERS[carrier].survey(signals, **given)
        found.append(CARRIERS[carrier].define(name, column, **options))
    return tuple(found)


def _free(name: str, taken: set[str]) -> str:
    """A name for a modality that no column has: a user's column may be called `table`."""
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _filled(table: Table, order: np.ndarray, column: str, carrier: str) -> np.ndarray:
    """Rows to look at: for words and fields the first ones, else some at random that hold something."""
    if carrier == "table":
        return np.arange(len(table))
    cells = table.cells(column)
    if carrier == "text":
        return np.array([i for i, c in enumerate(cells) if not blank(c)], dtype=int)
    return np.array([i for i in order if not blank(cells[i])], dtype=int)[: 2 * SURVEYED]


def _sample(decoder: Decoder, rows: np.ndarray, column: str, carrier: str, *, of_video: bool) -> list[Signal]:
    """Signals of some rows; of videos none after a while without a sound."""
    signals: list[Signal] = []
    most = 60 if carrier == "video" else 2000 if carrier in ("text", "table") else SURVEYED
    for looked, row in enumerate(rows):
        if len(signals) >= most or (of_video and looked >= SILENT and not signals):
            break
        try:
            signal = decoder.signal(int(row), column, carrier, of_video=of_video)
        except InputError:
            continue
        if signal is not None:
            signals.append(signal)
    return signals


def _first_fault(decoder: Decoder, rows: np.ndarray, column: str, carrier: str) -> str:
    for row in rows:
        try:
            decoder.signal(int(row), column, carrier)
        except InputError as error:
            return f"{error.wrong} ({error.got})"
    return "only empty cells"


def plan_task(table: Table, asked: Asked, limits: Limits) -> tuple[Task, dict[str, float], list[str]]:
    """Read the task off the training rows: targets, modalities, rates; with remarks for the user."""
    spoken = dict(asked.columns or {})
    targets = [asked.target, *asked.also]
    for name in targets:
        if name not in table.columns:
            raise InputError(
                "no such target column", got=name, fix=f"the columns are {', '.join(table.columns)}"
            )
    found = tuple(_target(t, table, spoken) for t in targets)
    columns, remarks = infer_columns(
        table,
        targets=targets,
        inputs=asked.inputs,
        spoken={k: v for k, v in spoken.items() if k not in targets},
        group=asked.group,
    )
    rates, more = rates_of(table, columns, limits)
    if table.duplicate_ids:
        remarks.append(
            f"{len(table.duplicate_ids)} ids stand in several rows, such as {table.duplicate_ids[0]!r}"
        )
    modalities = surveyed(table, columns, Decoder(table, limits=limits, rates=rates), asked.seed)
    return (
        Task(modalities=modalities, targets=found, question=asking(table, modalities)), rates, remarks + more
    )  # fmt: skip


def _target(name: str, table: Table, spoken: Mapping[str, str]) -> Target:
    kind, given = parse_column(spoken[name]) if name in spoken else (None, {})
    return infer_target(name, table.cells(name), kind=kind, given=given)


def load_rows(
    table: Table,
    task: Task,
    rates: Mapping[str, float],
    limits: Limits,
    *,
    quarantine: Path | None,
    tick: Callable[[int], None],
) -> tuple[Table, list[Row], int]:
    """Decode all rows; those with an unreadable cell are set aside and written to `quarantine`.

    Rows without any modality are set aside too. Raises InputError where more than 5 % cannot be read.
    """
    decoder = Decoder(table, limits=limits, rates=rates)
    rows, faults = decode_rows(decoder, range(len(table)), task.modalities, tick=tick)
    good = [i for i, f in enumerate(faults) if not f and rows[i]]
    bad = [i for i, f in enumerate(faults) if f]
    if quarantine is not None:
        for i in bad:
            _note(quarantine, table, i, faults[i])
    if len(bad) > BAD_SHARE * len(table):
        fault = faults[bad[0]][0]
        raise InputError(
            f"{len(bad)} of {len(table)} rows have a cell that cannot be read",
            got=f"row {table.ids[bad[0]]}, {fault.column}: {fault.reason}",
            fix="repair the files, or empty the cells where nothing was recorded",
        )
    if not good:
        raise InputError(
            "no row has anything to learn from", got=f"{len(table)} rows", fix="fill some input cells"
        )
    return (table if len(good) == len(table) else table.take(good)), [rows[i] for i in good], len(bad)


def _note(path: Path, table: Table, row: int, faults: Sequence[Fault]) -> None:
    for fault in faults:
        append_jsonl(path, {"id": table.ids[row], "row": row, "column": fault.column, "reason": fault.reason})


def examples(table: Table, rows: Sequence[Row], task: Task, *, weighted: bool) -> Examples:
    """Rows with their targets; rarer classes weigh more where the headline figure is macro F1."""
    targets = {
        t.column: [t.encode(c) for c in table.cells(t.column)]
        if t.column in table.columns
        else [None] * len(rows)
        for t in task.targets
    }
    weight = {}
    if weighted:
        main = task.target
        counts = np.array(main.counts, dtype=float)
        share = np.sqrt(counts.sum() / np.maximum(counts, 1) / len(counts))
        share = np.minimum(share / ((share * counts).sum() / counts.sum()), 10)
        weight[main.column] = np.array(
            [1.0 if c is None else share[int(c)] for c in targets[main.column]], dtype=np.float32
        )
    return Examples(rows=rows, targets=targets, weight=weight)


def truth_of(table: Table, target: Target) -> tuple[np.ndarray, list[str]]:
    """Numbers of the rows whose target says something, and remarks on classes that training never saw.

    Rows of such a class are among them: no answer can be right, and a figure that left them out would flatter.
    """
    cells = table.cells(target.column)
    named = target.kind == "category"
    said = [i for i, c in enumerate(cells) if target.encode(c) is not None or (named and not blank(c))]
    unseen = sorted({label(c) for c in cells if not blank(c)} - set(target.classes)) if named else []
    told = f"classes that training never saw: {', '.join(unseen[:5])}; their rows count as wrong"
    return np.array(said, dtype=int), [told] if unseen else []


def with_texts(decoder: Decoder, task: Task, patches: Sequence[Row]) -> Rows:
    """Decoded rows with their texts as written; row i is row i of the decoder's table."""
    texts: dict[str, list[str | None]] = {}
    for m in task.modalities:
        if m.carrier == "text":
            found = (
                decoder.signal(i, m.column, "text") if m.name in row else None
                for i, row in enumerate(patches)
            )
            texts[m.name] = [None if s is None else str(s.values[0]) for s in found]
    return Rows(patches=patches, texts=texts)


def decoded(decoder: Decoder, task: Task, say: Say) -> tuple[list[Row], list[str]]:
    """All rows of a table and, for each, why it has no answer ("" where it has one). Raises InputError without any input column."""
    columns = {c for m in task.modalities for c in m.column.split("\n")}
    if not columns & set(decoder.table.columns):
        raise InputError(
            "the table has none of the input columns",
            got=decoder.table.columns,
            fix=f"give {', '.join(sorted(columns))}",
        )
    total = len(decoder.table)
    rows, faults = decode_rows(
        decoder, range(total), task.modalities, tick=lambda n: say("read", n / total, f"{n} of {total}")
    )  # fmt: skip
    errors = [
        "; ".join(f"{f.column}: {f.reason}" for f in fault)
        or ("" if row else "the row has none of the modalities")
        for row, fault in zip(rows, faults, strict=True)
    ]
    return rows, errors


def known_rows(decoder: Decoder, task: Task, say: Say) -> tuple[Table, list[Row], list[str]]:
    """The readable rows of a table whose target is filled: them, decoded, and remarks. Raises InputError for none."""
    target, table = task.target, decoder.table
    if target.column not in table.columns:
        raise InputError(
            "the table has no target column to compare with",
            got=table.columns,
            fix=f"add {target.column!r}",
        )
    known, remarks = truth_of(table, target)
    if not any(target.encode(c) is not None for c in table.cells(target.column)):
        raise InputError(
            "no row has a target that training knew", got=f"{len(table)} rows", fix=f"fill {target.column!r}"
        )
    part = table.take(known)
    rows, errors = decoded(Decoder(part, limits=decoder.limits, rates=decoder.rates), task, say)
    good = [i for i, e in enumerate(errors) if not e]
    if not good:
        raise InputError("no row can be read", got=errors[0], fix="check the input columns")
    return part.take(good), [rows[i] for i in good], remarks
