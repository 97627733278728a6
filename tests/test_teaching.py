"""A run teaches another: what it says of each row on the student's scale, and labels for rows that have none."""

from dataclasses import replace

import numpy as np
import pytest

from sensorium.api import Model
from sensorium.api.teaching import privileged, shuffled_answers, teacher_answers, with_pseudo_labels
from sensorium.store import Table
from sensorium.types import InputError


def rows(count: int, seed: int) -> dict[str, list]:
    """A class that `clear` shows, `dim` shows a little, and `z` has as a number."""
    rng = np.random.default_rng(seed)
    number = rng.integers(0, 3, count)
    corners = np.random.default_rng(99).normal(size=(3, 4, 3)) * 2
    return {
        "clear": [(corners[n] + 0.3 * rng.normal(size=(4, 3))).astype(np.float32) for n in number],
        "dim": [(corners[n, ::-1] + 4.0 * rng.normal(size=(4, 3))).astype(np.float32) for n in number],
        "y": [("red", "green", "blue")[n] for n in number],
        "z": [float(10 + 5 * n + 0.01 * i) for i, n in enumerate(number)],
    }


@pytest.fixture(scope="module")
def teacher():
    data = rows(100, 0)
    return Model("y", inputs=["clear", "dim"], size="nano", epochs=5).fit(Table(data={k: data[k] for k in ("clear", "dim", "y")}))  # fmt: skip


def test_what_only_the_teacher_reads(teacher):
    alone = replace(teacher.task, modalities=tuple(m for m in teacher.task.modalities if m.column == "dim"))
    assert privileged(teacher.task, alone) == ("clear",)
    assert privileged(teacher.task, teacher.task) == ()


def test_answers_stand_in_the_student_s_order(teacher):
    table = Table(data={k: v for k, v in rows(30, 1).items() if k != "z"})
    target = teacher.task.target
    turned = replace(target, classes=target.classes[::-1], counts=target.counts[::-1])
    plain, other = (teacher_answers(teacher, table, t) for t in (target, turned))
    assert plain.dtype == np.float32
    np.testing.assert_allclose(np.exp(plain).sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(plain[:, ::-1], other)
    best = [target.classes[i] for i in plain.argmax(1)]
    assert best == [p.value for p in teacher.predict(table)]
    wider = replace(target, classes=(*target.classes, "violet"), counts=(*target.counts, 3))
    more = np.exp(teacher_answers(teacher, table, wider))
    assert more.shape == (30, 4)
    assert (more[:, 3] < 0.01).all()
    assert (more[:, 3] > 0).all(), "nobody is told that a class is impossible"


def test_rows_that_the_teacher_cannot_answer_are_not_numbers(teacher):
    data = rows(6, 2)
    data["clear"][3] = data["dim"][3] = None
    found = teacher_answers(teacher, Table(data=data), teacher.task.target)
    assert np.isfinite(found).all(1).tolist() == [True, True, True, False, True, True]
    dealt = shuffled_answers(found, np.random.default_rng(0))
    assert np.isnan(dealt[3]).all()
    told = [0, 1, 2, 4, 5]
    assert not (dealt[told] == found[told]).all(1).any()
    np.testing.assert_allclose(np.sort(dealt[told], axis=0), np.sort(found[told], axis=0))
    data["clear"] = data["dim"] = [None] * 6
    with pytest.raises(InputError, match="none of the rows"):
        teacher_answers(teacher, Table(data=data), teacher.task.target)


def test_a_teacher_of_something_else_is_refused(teacher):
    table, target = Table(data=rows(5, 3)), teacher.task.target
    for other in (replace(target, column="x"), replace(target, kind="labels"), replace(target, classes=("cat", "dog"))):  # fmt: skip
        with pytest.raises(InputError):
            teacher_answers(teacher, table, other)
    with pytest.raises(InputError):
        with_pseudo_labels(teacher, table, replace(target, kind="number"))


def test_numbers_are_told_on_the_student_s_scale():
    data = rows(120, 4)
    model = Model("z", inputs=["clear"], size="nano", epochs=2).fit(Table(data=data))
    target = replace(model.task.target, mean=3.0, spread=4.0)
    found = teacher_answers(model, Table(data=data), target)
    expected = [(p.value - 3) / 4 for p in model.predict(Table(data=data))]
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-5)


def test_empty_cells_are_filled_where_the_run_is_sure(teacher):
    data = {k: v for k, v in rows(80, 5).items() if k != "z"}
    truth = list(data["y"])
    data["y"] = [c if i % 4 == 0 else None for i, c in enumerate(truth)]
    found = with_pseudo_labels(teacher, Table(data=data), teacher.task.target, least=0.6)
    filled = found.table.cells("y")
    assert found.empty == 60
    assert 20 < len(found.rows) <= 60
    assert all(filled[i] == truth[i] for i in range(0, 80, 4)), "what was known stays"
    assert {i for i, c in enumerate(filled) if c is not None} == {*range(0, 80, 4), *found.rows.tolist()}
    assert np.mean([filled[i] == truth[i] for i in found.rows]) > 0.9
    some = with_pseudo_labels(teacher, Table(data=data), teacher.task.target, least=0.0, share=0.2)
    counts = [sum(some.table.cells("y")[i] == c for i in some.rows) for c in teacher.classes]
    assert max(counts) <= np.ceil(0.2 * 60 * teacher.task.target.prior()).max()
    none = with_pseudo_labels(teacher, Table(data={**data, "y": truth}), teacher.task.target)
    assert (len(none.rows), none.empty) == (0, 0)
    assert "of 60 rows" in found.told()
