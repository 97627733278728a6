"""Samples -> Batch: decoding workers, the cache, length buckets, augmentation, the prefetching thread."""

import math
import os
import queue
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch

from sensorium.modalities import CARRIERS, carrier_of
from sensorium.store import Table, looks_like_path, media, split_span, suffixes_of
from sensorium.tokens import Batch, Part
from sensorium.types import InputError, Limits, Media, Modality, Signal

Row = dict[str, np.ndarray]  # modality name -> patches; an absent modality is an absent key
MANY = 16  # rows from which it pays to look the libraries' threads up
SLICED = ("series", "audio")  # carriers of which one long file often serves many rows


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """A cell that could not be read."""

    column: str
    reason: str


class Decoder:
    """Cells of one table -> signals and patches. Safe to use from several threads."""

    def __init__(self, table: Table, *, limits: Limits, rates: Mapping[str, float] | None = None):
        self.table, self.limits, self.rates = table, limits, dict(rates or {})
        self._whole: OrderedDict[tuple[str, str], Signal | None] = OrderedDict()
        self._written: dict[str, bool] = {}  # column -> whether its cells name files of text
        self._lock = threading.Lock()

    def signal(self, row: int, column: str, carrier: str, *, of_video: bool = False) -> Signal | None:
        """Decode one cell; None where it is empty or holds no such signal. Raises InputError.

        `of_video`: the sound of a column of videos is asked for; frames that Python handed over have none.
        """
        if carrier == "table":
            return CARRIERS["table"].decode(Media(content=self._fields(row, column)), self.limits)
        if column not in self.table.data:
            return None
        cell = self.table.cells(column)[row]
        if (
            cell is None
            or (isinstance(cell, str) and not cell.strip())
            or (isinstance(cell, float) and math.isnan(cell))
        ):
            return None
        if carrier == "text" and isinstance(cell, str | int | float) and not self._names_texts(column):
            return CARRIERS["text"].decode(Media(content=str(cell), name=column), self.limits)
        found = media(self.table, cell, limits=self.limits)
        if of_video and isinstance(found.content, np.ndarray):
            return None
        if column in self.rates and found.rate_hz is None:
            found = replace(found, rate_hz=self.rates[column])
        if found.span_s is not None and carrier in SLICED and isinstance(cell, str):
            whole = self._of_file(split_span(cell)[0], carrier, found)
            return None if whole is None else whole.cut(*found.span_s)
        return CARRIERS[carrier].decode(found, self.limits)

    def of(self, row: int, modality: Modality) -> Signal | None:
        """Decode the cell that holds a modality; None where it is absent. Raises InputError."""
        of_video = modality.carrier == "audio" and modality.name != modality.column
        return self.signal(row, modality.column, modality.carrier, of_video=of_video)

    def _of_file(self, name: str, carrier: str, found: Media) -> Signal | None:
        with self._lock:
            if (name, carrier) in self._whole:
                self._whole.move_to_end((name, carrier))
                return self._whole[name, carrier]
        signal = CARRIERS[carrier].decode(replace(found, span_s=None), self.limits)
        with self._lock:
            self._whole[name, carrier] = signal
            while len(self._whole) > 4:
                self._whole.popitem(last=False)
        return signal

    def _names_texts(self, column: str) -> bool:
        """Whether the cells of a text column are names of files; a single `notes.txt` among sentences is none."""
        if column not in self._written:
            said = [c for c in self.table.cells(column) if isinstance(c, str) and c.strip()]
            sample = said[:: max(1, len(said) // 200)]
            kinds = Counter(carrier_of(s) for s in suffixes_of(sample).elements())
            named = 2 * kinds["text"] > len(sample) and looks_like_path(self.table, sample)
            self._written[column] = named  # two threads that both look find the same
        return self._written[column]

    def _fields(self, row: int, columns: str) -> dict[str, object]:
        return {c: self.table.data[c][row] if c in self.table.data else None for c in columns.split("\n")}

    def again(self, rows: Sequence[int], modality: Modality) -> dict[int, int]:
        """Which of `rows` name the same file as an earlier one of them: its number -> the earlier row."""
        first: dict[str, int] = {}
        found: dict[int, int] = {}
        if modality.carrier in ("table", "text") or modality.column not in self.table.data:
            return found
        cells = self.table.cells(modality.column)
        for row in rows:
            if isinstance(cells[row], str) and first.setdefault(cells[row], row) != row:
                found[row] = first[cells[row]]
        return found

    def patches(self, row: int, modalities: Sequence[Modality]) -> tuple[Row, list[Fault]]:
        """Decode one row; what cannot be read is a fault, never an absence."""
        found: Row = {}
        faults: list[Fault] = []
        for modality in modalities:
            try:
                signal = self.of(row, modality)
                if signal is None:
                    continue
                made = modality.patches(signal)
                if modality.carrier != "table" or made[:, 2].any():  # fields that all say NA are absent
                    found[modality.name] = made
            except InputError as error:
                faults.append(Fault(column=modality.column.replace("\n", ","), reason=str(error)))
            except MemoryError:
                faults.append(Fault(column=modality.column, reason="the cell does not fit into memory"))
        return found, faults


def alone() -> AbstractContextManager:
    """Keep matrix products to the thread that asks for them.

    Where the workers are the threads; and where another process may be busy: two threads that share a core with it
    mostly wait for each other (a decomposition took ten times as long).
    """
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1, user_api="blas")


def decode_rows(
    decoder: Decoder,
    rows: Sequence[int],
    modalities: Sequence[Modality],
    *,
    tick: Callable[[int], None] = lambda n: None,
) -> tuple[list[Row], list[list[Fault]]]:
    """Decode many rows with as many threads as cores, in order; `tick(done)` is called as they come.

    A file that several rows name is read once, and its array belongs to all of them.
    """
    results: list[Row] = []
    faults: list[list[Fault]] = []
    again = {m.name: decoder.again(rows, m) for m in modalities}
    order = {m.column.replace("\n", ","): i for i, m in reversed(list(enumerate(modalities)))}
    number: dict[int, int] = {}
    for i, row in enumerate(rows):
        number.setdefault(row, i)

    def read(row: int) -> tuple[Row, list[Fault]]:
        return decoder.patches(row, [m for m in modalities if row not in again[m.name]])

    cores = max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)
    with alone() if len(rows) > MANY else nullcontext(), ThreadPoolExecutor(cores) as pool:
        for row, (made, fault) in zip(rows, pool.map(read, rows, chunksize=8), strict=True):
            for m in modalities:
                if row in again[m.name]:  # an earlier row, so it has been read
                    source = number[again[m.name][row]]
                    made |= {m.name: results[source][m.name]} if m.name in results[source] else {}
                    fault = fault + [f for f in faults[source] if f.column == m.column and f not in fault]
            fault = sorted(fault, key=lambda f: order.get(f.column, 0))
            results.append({m.name: made[m.name] for m in modalities if m.name in made})
            faults.append(fault)
            tick(len(results))
    return results, faults


def collate(rows: Sequence[Row], modalities: Sequence[Modality], *, once: bool = False) -> Batch:
    """Pad each modality over the rows that have it.

    `once`: an array that several rows share (several questions about one picture) is there, and encoded, only once.
    """
    parts = {}
    for modality in modalities:
        have = [i for i, row in enumerate(rows) if modality.name in row]
        if not have:
            continue
        whole = [rows[i][modality.name] for i in have]
        source = None
        if once and len(first := {id(a): a for a in whole}) < len(whole):
            number = {one: k for k, one in enumerate(first)}
            source = torch.tensor([number[id(a)] for a in whole])
            whole = list(first.values())
        arrays = [a[: max(modality.longest, 1)] for a in whole]
        length = np.array([len(a) for a in arrays])
        values = np.zeros((len(arrays), length.max(), *modality.item), dtype=arrays[0].dtype)
        for target, array in zip(values, arrays, strict=True):
            target[: len(array)] = array
        parts[modality.name] = Part(
            values=torch.from_numpy(values), length=torch.from_numpy(length), row=torch.tensor(have), source=source
        )  # fmt: skip
    return Batch(parts=parts, rows=len(rows))


def companions(rows: Sequence[Row], modalities: Sequence[Modality]) -> np.ndarray | None:
    """(n,) the number of the array that each row shares with most others; None where hardly any is shared."""
    best, shared = None, len(rows) // 4
    for modality in modalities:
        number: dict[int, int] = {}
        alone = len(rows)  # rows without it stand alone
        found = [
            number.setdefault(id(r[modality.name]), len(number)) if modality.name in r else -1 for r in rows
        ]
        spared = sum(f >= 0 for f in found) - len(number)
        if spared > shared:
            best, shared = np.array([f if f >= 0 else alone + i for i, f in enumerate(found)]), spared
    return best


def buckets(
    lengths: np.ndarray, size: int, rng: np.random.Generator, together: np.ndarray | None = None
) -> list[np.ndarray]:
    """Shuffle rows into batches of `size` rows of similar length; every row once.

    Rows are shuffled, sorted by length within blocks of eight batches, cut, and the batches shuffled again: little
    padding, yet no batch holds the same rows twice in a row of epochs. `together`: rows of one number (`companions`) are
    neighbours, so that what they share is encoded once for most of them.
    """
    order = rng.permutation(len(lengths))
    if together is not None:
        _, group = np.unique(together, return_inverse=True)
        place = rng.permutation(int(group.max()) + 1)
        order = order[np.argsort(place[group[order]], kind="stable")]
        lengths = np.bincount(group, lengths)[group] / np.bincount(group)[group]  # a group stays whole
    blocks = [order[i : i + 8 * size] for i in range(0, len(order), 8 * size)]
    batches = []
    for block in blocks:
        by_length = block[np.argsort(lengths[block], kind="stable")]
        batches += [by_length[i : i + size] for i in range(0, len(by_length), size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def augmented(
    rows: Sequence[Row], modalities: Sequence[Modality], rng: np.random.Generator, strength: float
) -> list[Row]:
    """Return rows with these modalities changed as that sensor may change in the world; what they share stays shared."""
    changed: dict[tuple[str, int], np.ndarray] = {}
    found: list[Row] = []
    for row in rows:
        found.append(dict(row))
        for m in modalities:
            if m.name in row:
                known = (m.name, id(row[m.name]))
                if known not in changed:
                    changed[known] = m.augment(row[m.name], rng, strength)
                found[-1][m.name] = changed[known]
    return found


def ahead(items: Iterable, depth: int = 3) -> Iterator:
    """Make the next items in a thread while the current one is used; errors come out where they belong."""
    made: queue.Queue = queue.Queue(depth)
    stop = threading.Event()
    end = object()

    def work() -> None:
        try:
            for item in items:
                while not stop.is_set():
                    try:
                        made.put(item, timeout=0.1)
                        break
                    except queue.Full:
                        continue
                if stop.is_set():
                    return
            made.put(end)
        except BaseException as error:
            made.put(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while (item := made.get()) is not end:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join(timeout=5)
