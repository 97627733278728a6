"""A model that sees less learns from one that sees more; a teacher whose answers are dealt out anew teaches nothing."""

import numpy as np
import pytest
from match_worlds import sights

import sensorium as sm
from sensorium.store import Table
from sensorium.types import InputError


def table(rows, *, seed=0, labelled=1.0):
    """Two sensors of a hidden thing; a shows it plainly, b through noise; the class is the sign of its first number."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(rows, 4))
    names = np.where(z[:, 0] > 0, "up", "down").tolist()
    said = [n if i < labelled * rows else None for i, n in enumerate(names)]
    return Table(data={"a": sights(z, 1, noise=0.02), "b": sights(z, 2, noise=0.5), "way": said})


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher") / "run"
    sm.Model("way", inputs=["a"], epochs=8).fit(table(500), out=folder)
    return folder


def right(model, data, truth):
    return np.mean([p.value == t for p, t in zip(model.predict(data), truth, strict=True)])


def test_rows_without_a_label_teach_by_their_teacher_s_answers(teacher):
    few = table(400, seed=5, labelled=0.1)
    test = table(300, seed=9)
    taught = sm.Model("way", inputs=["b"], epochs=6, teacher=teacher, seed=1).fit(few)
    alone = sm.Model("way", inputs=["b"], epochs=6, seed=1).fit(few)
    truth = list(test.cells("way"))
    assert right(taught, test, truth) > right(alone, test, truth) + 0.03
    assert taught.metrics["data"]["rows"]["train"] > alone.metrics["data"]["rows"]["train"]


def test_a_teacher_of_another_column_is_refused(teacher):
    other = table(80)
    odd = Table(data={"b": other.cells("b"), "where": other.cells("way")})
    with pytest.raises(InputError, match="something else"):
        sm.Model("where", inputs=["b"], epochs=1, teacher=teacher).fit(odd)
