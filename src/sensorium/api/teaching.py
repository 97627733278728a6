"""A run as a teacher: what it answers for rows that a student learns from, and labels for rows that have none.

The teacher may read columns that the student will never see (privileged information, arXiv:1511.03643). Its answers
are made once, before the first step, so that a training needs no second network in memory and resumes exactly.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np

from sensorium.colearning import pseudo_labels, strangers
from sensorium.store import Table
from sensorium.tasks import Target, Task, blank
from sensorium.types import InputError, Prediction

RARE = 1e-3  # least probability of a teacher's answer: nobody is told that a class is impossible
SURE = 0.95  # probability from which an answer may stand for a label


@runtime_checkable
class Teacher(Protocol):
    """What a trained run must give; `api.load` returns such a value."""

    task: Task

    def predict(self, data: object) -> list[Prediction]:
        """One answer for each row."""


def privileged(teacher: Task, student: Task) -> tuple[str, ...]:
    """Columns that the teacher reads and the student does not, in the teacher's order."""
    own = {c for m in student.modalities for c in m.column.split("\n")}
    return tuple(c for m in teacher.modalities for c in m.column.split("\n") if c not in own)


def teacher_answers(teacher: Teacher, table: Table, target: Target) -> np.ndarray:
    """What the teacher says of each row as the student's heads would say it, (n, width) float32.

    Log-probabilities of a category in the order of the student's classes, logits of labels, standardised numbers; not
    numbers (NaN) in rows that the teacher cannot answer. A class that the teacher never saw gets RARE; one that only it
    knows is left out and the others share its part. Raises InputError where the teacher answers another column, of
    another kind, with no class in common, or no row at all.
    """
    _comparable(teacher.task.target, target)
    said = teacher.predict(table)
    found = np.full((len(said), target.width), np.nan, np.float32)
    for i, one in enumerate(said):
        if not one.error:
            found[i] = _as_head(one, target)
    if not np.isfinite(found).all(1).any():
        raise InputError(
            "the teacher answers none of the rows",
            got=next((p.error for p in said if p.error), f"{len(said)} rows"),
            fix="give rows that hold columns which the teacher was trained on",
        )
    return found


def _comparable(teacher: Target, student: Target) -> None:
    if (teacher.column, teacher.kind) != (student.column, student.kind):
        raise InputError(
            "the teacher answers something else",
            got=f"{teacher.column} ({teacher.kind})",
            fix=f"give a run for {student.column} ({student.kind})",
        )
    if student.classes and not set(teacher.classes) & set(student.classes):
        raise InputError(
            "the teacher knows none of the classes",
            got=teacher.classes,
            fix=f"one for {', '.join(student.classes)}",
        )


def _as_head(said: Prediction, target: Target) -> np.ndarray:
    if target.kind == "number":
        return np.array([(float(said.value) - target.mean) / target.spread])  # type: ignore[arg-type]
    p = np.array([said.probabilities.get(c, 0.0) for c in target.classes])
    if target.kind == "labels":
        p = np.clip(p, RARE, 1 - RARE)
        return np.log(p) - np.log1p(-p)
    p = np.maximum(p, RARE)
    return np.log(p / p.sum())


def shuffled_answers(
    answers: np.ndarray, rng: np.random.Generator, *, within: Sequence[object] | None = None
) -> np.ndarray:
    """The control: rows that have an answer are given another such row's; within: (n,) classes, from the same class."""
    told = np.flatnonzero(np.isfinite(answers).all(1))
    group = None if within is None else np.array([str(within[i]) for i in told])
    found = answers.copy()
    found[told] = answers[told][strangers(len(told), rng, within=group)]
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Labelled:
    """A table whose empty target cells were filled where a run was sure."""

    table: Table
    rows: np.ndarray  # numbers of the rows that were filled
    empty: int  # rows that had no target before

    def told(self) -> str:
        """One line for people."""
        return f"{len(self.rows)} of {self.empty} rows without a target were labelled by a run"


def with_pseudo_labels(
    teacher: Teacher, table: Table, target: Target, *, least: float = SURE, share: float = 1.0
) -> Labelled:
    """Fill empty cells of a category's column with the teacher's answer where it is sure enough (arXiv:2001.07685).

    least: 0..1, the probability asked for; share: 0..1, of the empty rows to fill at most, the surest ones, of each
    class in proportion to its training rows. Only the training's rows should be given: figures that are measured on
    such labels say how alike two models are. Raises InputError for another kind of target.
    """
    _comparable(teacher.task.target, target)
    if target.kind != "category":
        raise InputError("only a class can be filled in", got=target.kind, fix="teach by answers instead")
    cells = list(table.cells(target.column)) if target.column in table.columns else [None] * len(table)
    empty = [i for i, c in enumerate(cells) if blank(c)]
    if not empty:
        return Labelled(table=table, rows=np.zeros(0, np.int64), empty=0)
    said = teacher.predict(table.take(empty))
    known = [[p.probabilities.get(c, 0.0) if not p.error else math.nan for c in target.classes] for p in said]
    most = np.ceil(share * len(empty) * target.prior())
    labels = pseudo_labels(np.array(known), least=least, most=most)
    filled = np.flatnonzero(labels >= 0)
    for i in filled.tolist():
        cells[empty[i]] = target.classes[labels[i]]
    return Labelled(
        table=replace(table, data={**table.data, target.column: cells}, row_ids=table.ids),
        rows=np.array(empty, dtype=np.int64)[filled],
        empty=len(empty),
    )
