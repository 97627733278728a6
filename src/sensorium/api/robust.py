"""How the answers hold up when a sensor fails: the headline figure under every corruption of every modality."""

import os
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from sensorium.api.heads import Rows
from sensorium.data import Decoder
from sensorium.measure.scores import SCORERS
from sensorium.modalities import CARRIERS
from sensorium.tasks import Task
from sensorium.types import InputError, Modality, Signal

SEVERITIES = (1, 2, 3, 4, 5)
TOGETHER = "all at once"  # the curve of all modalities, whose name is ""
LEAST = 30  # rows below which a budget does not press the sample
HELD = 256_000_000  # most bytes of decoded signals that are held at once
Point = dict[str, object]
Tick = Callable[[float, str], None]  # (done 0..1, what is measured now)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Cell:
    """What the model is given of one cell."""

    patches: np.ndarray
    text: str | None  # as written, where the cell is a text


Cells = Mapping[int, Sequence[_Cell]]  # row -> its cell at each of SEVERITIES


@dataclass(frozen=True, kw_only=True, slots=True)
class _Held:
    """Held-out rows, the model that answers them, and the figure."""

    answer: Callable[[Rows], np.ndarray]
    task: Task
    decoder: Decoder
    rows: Rows
    truth: np.ndarray
    metric: str
    seed: int

    def figure(self, said: np.ndarray, index: Sequence[int]) -> float | None:
        """The headline figure of some rows; None where it is not defined."""
        score = SCORERS[self.task.target.kind](said, self.truth[list(index)]).get(self.metric)
        return None if score is None or not np.isfinite(score.value) else float(score.value)

    def clean(self, index: Sequence[int]) -> float | None:
        """The figure of some rows as they are."""
        return self.figure(self.answer(self.rows.take(index)), index)

    def curve(self, index: Sequence[int], cells: Mapping[str, Cells], name: tuple[str, str]) -> list[Point]:
        """The points at severities 1 to 5, all answered in one go; `cells` are those of each damaged modality."""
        several = [self._with(index, cells, k) for k in range(len(SEVERITIES))]
        texts = {m: [t for rows in several for t in rows.texts[m]] for m in self.rows.texts}
        said = self.answer(Rows(patches=[p for rows in several for p in rows.patches], texts=texts))
        parts = np.split(said, len(SEVERITIES))
        return [_point(name, s, self.figure(part, index), len(index)) for s, part in zip(SEVERITIES, parts, strict=True)]  # fmt: skip

    def _with(self, index: Sequence[int], cells: Mapping[str, Cells], severity: int) -> Rows:
        some = self.rows.take(index)
        patches, texts = [dict(row) for row in some.patches], {k: list(v) for k, v in some.texts.items()}
        for modality, damaged in cells.items():
            for place, row in enumerate(index):
                if row in damaged:
                    patches[place][modality] = damaged[row][severity].patches
                    if modality in texts:
                        texts[modality][place] = damaged[row][severity].text
        return replace(some, patches=patches, texts=texts)


def corruption_curves(
    answer: Callable[[Rows], np.ndarray],
    task: Task,
    decoder: Decoder,
    rows: Rows,
    truth: np.ndarray,
    *,
    metric: str,
    seed: int = 0,
    most: int = 150,
    seconds: float = 30.0,
    tick: Tick = lambda done, name: None,
) -> list[Point]:
    """Measure the headline figure while one modality's cells are damaged, all others clean.

    Args:
        answer: rows -> (n, classes) probabilities or (n,) numbers in their own unit, as `answers.answers` gives.
        task: its modalities name the carriers, and so the corruptions.
        decoder: of the table whose row i is row i of `rows` and of `truth`.
        rows: the clean patches and texts.
        truth: (n,) class numbers or numbers, or (n, classes) labels, as `answers.truths` gives.
        metric: the headline figure, one that the scorer of the target's kind gives.
        seed: of the choice of rows and of all damage.
        most: rows that are looked at; of a modality, those among them that have it.
        seconds: budget; what no longer fits is left out, and a slow modality gets fewer rows (LEAST at least).
        tick: told what is measured.

    Returns a point {modality, corruption, severity, value, rows} for severities 0 (clean, the same rows) to 5 of
    each curve. A curve for which no time was left is one point of 0 rows whose value is None; so is, with its rows,
    one whose damaged cells the carrier refuses or whose figure is not defined. A corruption that changes no
    cell, such as misspelt words in a table of numbers, has none. Modality "" is all of them at once: each cell gets
    one of its own corruptions, drawn at random.
    """
    held = _Held(answer=answer, task=task, decoder=decoder, rows=rows, truth=truth, metric=metric, seed=seed)
    order = np.random.default_rng(seed).permutation(len(rows.patches))[:most].tolist()
    end, found, mixed = time.monotonic() + seconds, [], {}
    for i, modality in enumerate(task.modalities):
        tick(i / len(task.modalities), modality.name)
        now = time.monotonic()
        have = [r for r in order if modality.name in rows.patches[r]]
        until = now + (end - now) / (len(task.modalities) - i)
        if have and CARRIERS[modality.carrier].corruptions:
            points, mixed[modality.name] = _of_modality(held, modality, have, until)
            found += points
    return found + (_together(held, order, mixed, end) if len(task.modalities) > 1 else [])


def _point(name: tuple[str, str], severity: int, value: float | None, rows: int) -> Point:
    return {"modality": name[0], "corruption": name[1], "severity": severity, "value": value, "rows": rows}


def _of_modality(
    held: _Held, modality: Modality, have: Sequence[int], until: float
) -> tuple[list[Point], dict[int, Sequence[_Cell]]]:
    """The curves of one modality, and for each row the cells of one corruption drawn among those measured."""
    named = CARRIERS[modality.carrier].corruptions
    drawn: dict[int, Sequence[_Cell]] = {}
    signals = _decoded(held.decoder, modality, have, until)
    index, clean, last = _affordable(held, modality, signals, until)
    points: list[Point] = []
    measured = 0
    for corruption in named:
        name = (modality.name, corruption)
        began = time.monotonic()
        late = began + last >= until
        cells = None if late else _damaged(held, modality, corruption, signals, index)
        if cells is None:
            points.append(_point(name, SEVERITIES[-1], None, 0 if late else len(index)))
            continue
        if _changes(held, modality, cells):
            measured += 1
            points += [_point(name, 0, clean, len(index)), *held.curve(index, {modality.name: cells}, name)]
            drawn |= {
                r: c for r, c in cells.items() if _dice(held, r, *name, "drawn").random() * measured < 1
            }
            last = time.monotonic() - began
    return points, drawn


def _decoded(decoder: Decoder, modality: Modality, have: Sequence[int], until: float) -> dict[int, Signal]:
    """The signals of some rows, decoded once: as many as a third of the time and HELD bytes allow, LEAST before time."""
    found: dict[int, Signal] = {}
    stop, size = time.monotonic() + (until - time.monotonic()) / 3, 0
    for row in have:
        now = time.monotonic()
        if size > HELD or now > until or (now > stop and len(found) >= LEAST):
            break
        signal = decoder.of(row, modality)
        if signal is not None:
            found[row] = signal
            size += signal.values.nbytes
    return found


def _affordable(
    held: _Held, modality: Modality, signals: Mapping[int, Signal], until: float
) -> tuple[list[int], float | None, float]:
    """The rows whose curves fit into the time, by a trial on two of them, and their clean figure.

    Third come the seconds to expect of the first curve: infinite where no time is left.
    """
    index = list(signals)
    if not index or time.monotonic() > until:
        return index, None, float("inf")
    names = list(CARRIERS[modality.carrier].corruptions)
    began = time.monotonic()
    for name in names:
        _damaged(held, modality, name, signals, index[:2])
    damaging = (time.monotonic() - began) / min(2, len(index)) / len(names)
    began = time.monotonic()
    clean = held.clean(index)
    each = damaging + len(SEVERITIES) * (time.monotonic() - began) / len(index)
    fits = int((until - time.monotonic()) / max(each * len(names), 1e-9))
    if fits < len(index) and len(index) > LEAST:
        index = index[: max(LEAST, fits)]
        clean = held.clean(index)
    return index, clean, 0.0  # a trial is mostly warming up: the first curve tells what one takes


def _damaged(
    held: _Held, modality: Modality, corruption: str, signals: Mapping[int, Signal], index: Sequence[int]
) -> dict[int, Sequence[_Cell]] | None:
    """Each row's cell at each severity; None where the carrier cannot read what the corruption made."""
    change = CARRIERS[modality.carrier].corruptions[corruption]

    def cells(row: int) -> list[_Cell]:
        return [
            _cell(held, modality, row, change(signals[row], _dice(held, row, modality.name, corruption), s))
            for s in SEVERITIES
        ]

    from threadpoolctl import threadpool_limits

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
    try:
        with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(cores) as pool:
            return dict(zip(index, pool.map(cells, index), strict=True))
    except InputError:
        return None


def _dice(held: _Held, row: int, *names: str) -> np.random.Generator:
    """Chance of one row and purpose: the same at every severity, and whatever else is measured."""
    return np.random.default_rng([held.seed, row, *(zlib.crc32(n.encode()) for n in names)])


def _cell(held: _Held, modality: Modality, row: int, signal: Signal) -> _Cell:
    """What the model is given of a signal; a cell that would count as empty keeps its clean content."""
    made = modality.patches(signal)
    if modality.carrier == "table" and not made[:, 2].any():
        made = held.rows.patches[row][modality.name]
    return _Cell(patches=made, text=str(signal.values[0]) if modality.carrier == "text" else None)


def _changes(held: _Held, modality: Modality, cells: Cells) -> bool:
    """Whether a corruption changes any cell at all."""
    texts = held.rows.texts.get(modality.name)
    return any(
        not np.array_equal(held.rows.patches[row][modality.name], cell.patches)
        or (texts is not None and texts[row] != cell.text)
        for row, several in cells.items()
        for cell in several
    )


def _together(held: _Held, order: Sequence[int], mixed: Mapping[str, Cells], end: float) -> list[Point]:
    """The curve of all modalities at once, over the rows all of whose modalities have been damaged."""
    name, names = ("", TOGETHER), {m.name for m in held.task.modalities}
    index = [r for r in order if all(r in mixed.get(n, {}) for n in names & set(held.rows.patches[r]))]
    if not index or time.monotonic() > end:
        return [_point(name, SEVERITIES[-1], None, 0)]
    return [_point(name, 0, held.clean(index), len(index)), *held.curve(index, mixed, name)]


__all__ = ["TOGETHER", "corruption_curves"]
