"""What a model that answers with anything missing loses against models made for exactly what is there."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from sensorium.api.answers import Subset, answers, left, subsets_of
from sensorium.api.heads import Rows, all_heads, everyone
from sensorium.api.interactions import Trained
from sensorium.api.saying import Say
from sensorium.measure.resample import scored
from sensorium.store import Table
from sensorium.tasks import Target, Task, blank
from sensorium.types import InputError

MOST = 4  # inputs of which every subset gets a specialist: 15 fits
Figures = Callable[[Table], np.ndarray]  # rows -> how right each answer is, (n,)


def columns_of(task: Task) -> dict[str, list[str]]:
    """Input column -> the modalities that its cells hold: a video has two."""
    found: dict[str, list[str]] = {}
    for m in task.modalities:
        found.setdefault(m.column, []).append(m.name)
    return found


def right(target: Target, said: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """How right each answer is, (n,): 1 or 0, the share of its labels, or its part in r2."""
    if target.kind == "number":
        return 1 - (said - truth) ** 2 / max(1e-12, float(truth.var()))
    if target.kind == "labels":
        return ((said >= 0.5) == (truth > 0.5)).mean(1)
    return (said.argmax(1) == truth).astype(float)


def regrets(
    task: Task, own: Callable[[Subset], tuple[np.ndarray, np.ndarray]], specialist: Callable[[list[str], Path], Figures],
    test: Table, folder: Path, *, seed: int, say: Say,
) -> list[dict[str, object]]:  # fmt: skip
    """Train a specialist for every subset of the input columns and compare, row by row, on the rows that have it all.

    own: subset of modalities -> (rows of `test` that have all of it, how right the model is on them with that subset
    alone). specialist: (columns, folder for its run) -> a function that tells how right it is on rows of a table.
    Returns {inputs, rows, own, specialist, regret}, each with an interval over rows; regret is in points of the figure,
    and what the model pays for complete rows stands where inputs are all of them. Raises InputError for over MOST columns.
    """
    columns = columns_of(task)
    if len(columns) > MOST:
        raise InputError(
            "too many inputs to train a model for every subset of them", got=len(columns),
            fix=f"fit with at most {MOST} --inputs",
        )  # fmt: skip
    subsets, found = subsets_of(list(columns)), []
    for number, subset in enumerate(subsets):
        say("specialists", number / len(subsets), " + ".join(subset).replace("\n", ", "))
        names = tuple(n for c in subset for n in columns[c])
        rows, ours = own(names)
        if not len(rows):
            continue
        theirs = specialist([n for c in subset for n in c.split("\n")], folder / f"specialist-{number}")(
            test.take(rows.tolist())
        )
        found.append({"inputs": list(names), "rows": len(rows), **_compared(ours, theirs, seed)})
    say("specialists", 1.0, "done")
    return found


def _compared(ours: np.ndarray, theirs: np.ndarray, seed: int) -> dict[str, object]:
    each = {"own": ours, "specialist": theirs, "regret": theirs - ours}

    def measure(w: np.ndarray) -> Mapping[str, np.ndarray]:
        return {k: w @ v / w.sum(1) for k, v in each.items()}

    return {k: s.to_json() for k, s in scored(measure, len(ours), seed=seed).items()}


@contextmanager
def folder_or_temporary(out: str | Path | None) -> Iterator[Path]:
    """The folder that was asked for, or one that is gone afterwards."""
    if out is not None:
        yield Path(out)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def test_rows(table: Table) -> Table:
    """The rows that are marked test. Raises InputError for none: specialists are compared on rows that nobody learned from."""
    test = table.split("test")
    if test is None or not len(test):
        raise InputError(
            "specialists need rows to be compared on", got="no row with split = test", fix="mark some rows as test"
        )  # fmt: skip
    return test


def only(table: Table, columns: Sequence[str]) -> Table:
    """The rows that have all of these columns, test rows left out: what a specialist learns from."""
    split = table.data.get("split", [""] * len(table))
    have = [i for i in range(len(table)) if all(not blank(table.data[c][i]) for c in columns)]
    return table.take([i for i in have if str(split[i]).strip().lower() != "test"])


def own_answers(
    model: Trained, rows: Rows, truth: np.ndarray
) -> Callable[[Subset], tuple[np.ndarray, np.ndarray]]:
    """How right a model is with a subset of its inputs alone, on the rows that have all of the subset."""

    def ask(subset: Subset) -> tuple[np.ndarray, np.ndarray]:
        heads, present, fewer = all_heads(model.network, model.task, model.floors, rows, subsets=[subset])
        part, have = left(heads, present, fewer, subset, model.floors)
        able = np.flatnonzero(np.logical_and.reduce([have[n] for n in subset]))
        said = answers(model.experts, model.task.target, part, everyone(part, have))
        return able, right(model.task.target, said[able], truth[able])

    return ask
