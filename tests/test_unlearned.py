"""Each ailment of a space is found where it is, and none where all is well."""

import math

import numpy as np
import pytest
import torch

from sensorium.api.unlearned import ailments
from sensorium.representation import Space
from sensorium.training import Plan

BATCH = 64
BLIND = math.log(BATCH)


def space(**heat: float) -> Space:
    """Two senders; heat: scale of the pair."""
    made = Space(["a", "b"], 4, 8)
    with torch.no_grad():
        for scale in heat.values():
            made.heat[0] = math.log(scale)
    return made


def falling(
    first: float = BLIND, last: float = 1.0, steps: int = 60, valid: tuple[float, ...] = (3.0, 2.0, 1.5, 1.2)
) -> list[dict]:
    """A history of two losses whose mean falls."""
    rows = [
        {"loss": 2 * float(x), "losses": {"a~b": float(x), "joint": float(x)}}
        for x in np.linspace(first, last, steps)
    ]
    for place, value in zip(np.linspace(5, steps - 1, len(valid)).astype(int), valid, strict=True):
        rows[place]["valid"] = value
    return rows


def found(
    *,
    matching: str = "softmax",
    batch: int = BATCH,
    scale: float = 20.0,
    history=None,
    group=None,
    metrics=None,
) -> list[str]:
    plan = Plan(steps=60, batch=batch, matching=matching)
    rows = falling() if history is None else history
    told = ailments(space(ab=scale), plan, rows, np.arange(200) if group is None else group, metrics or {})
    assert all(set(t) == {"what", "why", "fix"} and all(t.values()) for t in told)
    return [t["what"] for t in told]


def direction(by: str, value: float) -> dict:
    return {"query": "a", "answer": "b", "by": by, "r@10": {"value": value}}


def test_nothing_is_found_where_all_is_well():
    assert found(metrics={"retrieval": [direction("network", 0.9), direction("linear", 0.8)]}) == []


def test_a_loss_that_stays_at_a_blind_guess():
    assert found(history=falling(last=BLIND)) == ["nothing was learned"]
    assert found(history=falling(last=0.9 * BLIND)) == []
    assert found(history=falling(last=BLIND), matching="sigmoid") == [], "its blind guess is another number"


def test_a_blind_guess_knows_only_the_rows_that_hold_both():
    data = {"rows": {"train": 1000}, "together": {"a ~ b": 250}}
    few = math.log(BATCH / 4)
    rows = [{"loss": 2 * few, "losses": {"match/a ~ b": few, "match/joint": few}}] * 40
    assert found(history=rows, metrics={"data": data}) == ["nothing was learned"]
    assert found(history=rows) == [], "among all rows it would be much better than a guess"


def test_the_mean_of_all_losses_counts_not_their_sum():
    many = [{"loss": 5 * 0.5 * BLIND, "losses": dict.fromkeys("vwxyz", 0.5 * BLIND)} for _ in range(20)]
    assert found(history=many) == []


@pytest.mark.parametrize("scale", [99.9, 1.01])
def test_a_temperature_at_its_bound(scale):
    assert found(scale=scale) == ["the temperature collapsed"]
    assert (
        "a ~ b"
        in ailments(space(ab=scale), Plan(steps=9, batch=BATCH), falling(), np.arange(200), {})[0]["why"]
    )


def test_a_scale_inside_its_bounds_is_well():
    assert found(scale=90.0) == []
    assert found(scale=2.0) == []


def test_small_batches():
    assert found(batch=16, history=falling(first=2.7)) == ["small batches"]


def test_rows_that_hold_the_same():
    group = np.arange(200)
    group[:30] = 0
    assert found(group=np.unique(group, return_inverse=True)[1]) == ["many rows hold the same"]


def test_a_loss_that_jumps():
    rows = falling(steps=100)
    for place in range(80, 100):
        rows[place]["loss"] = 0.02 if place % 2 else 4.0
    assert found(history=rows) == ["the loss jumps"]


def test_rows_learned_by_heart():
    assert found(history=falling(valid=(3.0, 1.0, 1.5, 2.0))) == ["rows were learned by heart"]
    assert found(history=falling(valid=(3.0, 1.0, 1.02, 1.03))) == []


def test_a_network_that_correlations_beat():
    rows = [
        direction("network", 0.2),
        direction("linear", 0.9),
        {**direction("network", 0.9), "query": "b", "answer": "a"},
    ]
    assert found(metrics={"retrieval": rows}) == ["linear correlations beat the network"]


def test_a_run_that_was_stopped_before_its_first_step():
    assert found(history=[]) == []
