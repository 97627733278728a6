"""Optimal transport, against the exact assignment and the exact linear programme."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.alignment.transport import sinkhorn
from sensorium.types import InputError


def costs(*shape: int, seed: int = 0, dtype=torch.float64) -> torch.Tensor:
    return torch.rand(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def programme(cost: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """The exact cost of moving masses a onto masses b."""
    from scipy.optimize import linprog

    rows, columns = cost.shape
    sums = np.zeros((rows + columns, rows * columns))
    for i in range(rows):
        sums[i, i * columns : (i + 1) * columns] = 1
    for j in range(columns):
        sums[rows + j, j::columns] = 1
    return float(linprog(cost.ravel(), A_eq=sums, b_eq=np.concatenate([a, b])).fun)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("points", [1, 2, 5, 12, 20])
def test_within_one_percent_of_the_exact_assignment(points, dtype):
    from scipy.optimize import linear_sum_assignment

    cost = costs(5, points, points, seed=points, dtype=dtype)
    plan, value = sinkhorn(cost)
    for i in range(5):
        exact = cost[i].numpy()[linear_sum_assignment(cost[i].numpy())].mean()
        assert exact * (1 - 1e-5) <= float(value[i]) <= exact * 1.01
    assert plan.min() >= 0
    for axis in (1, 2):
        torch.testing.assert_close(plan.sum(axis), torch.full((5, points), 1 / points, dtype=dtype))


def test_masses_need_not_be_equal():
    cost = costs(1, 4, 6, seed=3)
    a, b = torch.tensor([[1.0, 2, 3, 4]]) / 10, torch.tensor([[5.0, 0, 1, 1, 2, 1]]) / 10
    plan, value = sinkhorn(cost, row_mass=a * 7, column_mass=b * 3)
    exact = programme(cost[0].numpy(), a[0].double().numpy(), b[0].double().numpy())
    assert exact - 1e-9 <= float(value) <= exact * 1.01
    torch.testing.assert_close(plan.sum(2)[0], a[0].double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(plan.sum(1)[0], b[0].double(), atol=1e-6, rtol=0)
    assert float(plan[0, :, 1].sum()) == 0


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 99), st.sampled_from([0.0, 1e9, float("nan")]))
@settings(max_examples=20, deadline=None)
def test_points_that_are_not_there_change_nothing(rows, columns, seed, odd):
    cost = costs(1, rows, columns, seed=seed)
    padded = torch.full((1, rows + 2, columns + 1), odd, dtype=torch.float64)
    padded[0, :rows, :columns] = cost[0]
    there = torch.arange(rows + 2)[None] < rows, torch.arange(columns + 1)[None] < columns
    plan, value = sinkhorn(padded, eps=0.05, rows=there[0], columns=there[1])
    alone, own = sinkhorn(cost, eps=0.05)
    torch.testing.assert_close(value, own, atol=1e-9, rtol=0)
    torch.testing.assert_close(plan[:, :rows, :columns], alone, atol=1e-9, rtol=0)
    assert float(plan[:, rows:].sum() + plan[:, :, columns:].sum()) == 0


def test_a_lower_blur_costs_less():
    cost = costs(1, 8, 8)
    value = [float(sinkhorn(cost, eps=e)[1]) for e in (1.0, 0.1, 0.01, 0.001)]
    assert value == sorted(value, reverse=True)
    assert value[0] == pytest.approx(float(cost.mean()), rel=0.25), "much blur spreads the mass evenly"


def test_the_gradient_is_the_plan():
    cost = costs(2, 3, 4).requires_grad_()
    plan, value = sinkhorn(cost)
    value.sum().backward()
    torch.testing.assert_close(cost.grad, plan)


def test_a_costlier_permutation_of_points_permutes_the_plan():
    cost = costs(1, 5, 5)
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(sinkhorn(cost[:, order])[0], sinkhorn(cost)[0][:, order], atol=1e-9, rtol=0)


def test_one_batch_holds_problems_of_any_scale():
    """The slow one does not spoil the quick one, nor the other way round."""
    cost = torch.cat([costs(1, 6, 6), 100 * costs(1, 6, 6, seed=1)])
    _, value = sinkhorn(cost)
    for i in range(2):
        assert float(value[i]) == pytest.approx(float(sinkhorn(cost[i : i + 1])[1]), rel=1e-2)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"eps": 0.0}, "eps"),
        ({"rows": torch.zeros(1, 2, dtype=torch.bool)}, "no mass"),
        ({"column_mass": torch.tensor([[1.0, -1.0]])}, "no mass"),
    ],
)
def test_what_cannot_be_moved_is_refused(given, said):
    with pytest.raises(InputError, match=said):
        sinkhorn(costs(1, 2, 2), **given)
    with pytest.raises(InputError, match="not finite"):
        sinkhorn(torch.full((1, 2, 2), float("nan")))
