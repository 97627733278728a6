"""Warping and left-to-right search, against every path there is."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.alignment.paths import ctc_path, dtw, monotonic_search, soft_dtw, spans
from sensorium.types import InputError

CLOSE = {"abs": 1e-9, "rel": 1e-9}


def warps(rows: int, columns: int, at=(0, 0)):
    """Every warping path from a cell to the last one."""
    if at == (rows - 1, columns - 1):
        yield [at]
    for down, right in ((1, 0), (0, 1), (1, 1)):
        there = at[0] + down, at[1] + right
        if there[0] < rows and there[1] < columns:
            for rest in warps(rows, columns, there):
                yield [at, *rest]


def costs(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 4), (4, 1), (3, 5), (5, 3), (4, 4)])
def test_warping_is_the_best_and_the_sum_of_all_paths(rows, columns):
    cost = costs(3, rows, columns, seed=rows)
    value, paths = dtw(cost)
    soft = soft_dtw(cost, 0.5)
    for i in range(3):
        every = [(sum(float(cost[i][c]) for c in p), p) for p in warps(rows, columns)]
        assert float(value[i]) == pytest.approx(min(every)[0], **CLOSE)
        assert [tuple(c) for c in paths[i].tolist()] == min(every)[1]
        summed = -0.5 * np.logaddexp.reduce([-v / 0.5 for v, _ in every])
        assert float(soft[i]) == pytest.approx(summed, **CLOSE)


def test_the_gradient_is_the_share_of_paths_through_each_cell():
    cost = costs(1, 4, 3).requires_grad_()
    soft_dtw(cost, 0.3).sum().backward()
    every = [(sum(float(cost.detach()[0][c]) for c in p), p) for p in warps(4, 3)]
    weight = np.exp([-v / 0.3 for v, _ in every])
    share = np.zeros((4, 3))
    for w, (_, path) in zip(weight / weight.sum(), every, strict=True):
        for cell in path:
            share[cell] += w
    np.testing.assert_allclose(cost.grad[0], share, atol=1e-12)


def test_the_gradient_of_a_padded_batch_is_the_numeric_one():
    cost = costs(3, 4, 5).requires_grad_()
    given = {"rows": [4, 2, 1], "columns": [3, 5, 1]}
    assert torch.autograd.gradcheck(lambda c: soft_dtw(c, 0.7, **given), cost)


def test_soft_warping_nears_the_hard_one_and_its_path():
    cost = costs(2, 6, 7)
    value, paths = dtw(cost)
    leaf = cost.clone().requires_grad_()
    soft = soft_dtw(leaf, 1e-4)
    soft.sum().backward()
    torch.testing.assert_close(soft, value, atol=1e-2, rtol=0)
    for grad, path in zip(leaf.grad, paths, strict=True):
        assert {tuple(c) for c in (grad > 0.5).nonzero().tolist()} == {tuple(c) for c in path.tolist()}


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_padding_changes_no_warp(data):
    rows, columns = (data.draw(st.integers(1, 5)) for _ in range(2))
    cost = costs(1, rows, columns, seed=data.draw(st.integers(0, 99)))
    odd = data.draw(st.sampled_from([0.0, -9.0, float("nan"), float("inf"), 1e30]))
    padded = torch.full((2, rows + 2, columns + 3), odd, dtype=torch.float64)
    padded[0, :rows, :columns] = cost[0]
    padded[1] = 1.0
    held = {"rows": [rows, rows + 2], "columns": [columns, columns + 3]}
    leaf = padded.requires_grad_()
    soft = soft_dtw(leaf, 0.2, **held)
    soft.sum().backward()
    assert float(soft[0].detach()) == pytest.approx(float(soft_dtw(cost, 0.2)), **CLOSE)
    assert torch.equal(dtw(padded, **held)[1][0], dtw(cost)[1][0])
    assert float(leaf.grad[0, rows:].abs().sum() + leaf.grad[0, :, columns:].abs().sum()) == 0


def test_single_precision_over_long_sequences_stays_finite():
    cost = torch.rand(1, 200, 150, generator=torch.Generator().manual_seed(0)).requires_grad_()
    soft_dtw(cost, 0.01).sum().backward()
    assert bool(cost.grad.isfinite().all())
    for end in (0, -1):
        assert float(cost.grad[0, end, end]) == pytest.approx(1, abs=1e-3), (
            "every path enters the first and last cell"
        )


# --- one state for each frame --------------------------------------------------------------------------------------


def climbs(frames: int, states: int, optional=()):
    """Every way of frames through states in order that leaves out nothing but single optional states."""
    for way in itertools.product(range(states), repeat=frames):
        met = set(way)
        if list(way) == sorted(way) and all(s in met or s in optional for s in range(states)):
            yield way


@pytest.mark.parametrize("optional", [(), (0,), (2,), (0, 2), (1,)])
@pytest.mark.parametrize("frames", [3, 5, 6])
def test_search_is_the_best_way(frames, optional):
    scores = costs(4, frames, 3, seed=frames).log()
    may_go = torch.tensor([[s in optional for s in range(3)]] * 4)
    path, score = monotonic_search(scores, optional=may_go)
    for i in range(4):
        every = [
            (sum(float(scores[i, t, s]) for t, s in enumerate(w)), w) for w in climbs(frames, 3, optional)
        ]
        assert float(score[i]) == pytest.approx(max(every)[0], **CLOSE)
        assert tuple(path[i].tolist()) == max(every)[1]


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_padding_changes_no_way(data):
    states = data.draw(st.integers(1, 4))
    frames = data.draw(st.integers(states, 7))
    scores = costs(1, frames, states, seed=data.draw(st.integers(0, 99)))
    odd = data.draw(st.sampled_from([0.0, 99.0, float("nan"), float("-inf")]))
    padded = torch.full((2, frames + 2, states + 1), odd, dtype=torch.float64)
    padded[0, :frames, :states] = scores[0]
    padded[1] = 0.5
    path, score = monotonic_search(padded, frames=[frames, frames + 2], states=[states, states + 1])
    alone, best = monotonic_search(scores)
    assert path[0, :frames].tolist() == alone[0].tolist()
    assert path[0, frames:].tolist() == [-1, -1]
    assert float(score[0]) == pytest.approx(float(best), **CLOSE)


def collapsed(symbols, blank: int) -> list[int]:
    return [s for s, _ in itertools.groupby(symbols) if s != blank]


@pytest.mark.parametrize("labels", [[], [1], [1, 2], [2, 2], [1, 2, 1], [2, 2, 2]])
@pytest.mark.parametrize("blank", [0, 3])
def test_ctc_is_the_most_probable_of_all_symbol_rows(labels, blank):
    frames = 6
    logp = costs(1, frames, 4, seed=len(labels)).log_softmax(-1)
    padded = torch.tensor([labels + [blank] * (4 - len(labels))], dtype=torch.long)
    path, score = ctc_path(logp, padded, lengths=[len(labels)], blank=blank)
    every = [
        (sum(float(logp[0, t, s]) for t, s in enumerate(row)), row)
        for row in itertools.product(range(4), repeat=frames)
        if collapsed(row, blank) == labels
    ]
    assert float(score) == pytest.approx(max(every)[0], **CLOSE)
    said = [blank if p < 0 else labels[p] for p in path[0].tolist()]
    assert tuple(said) == max(every)[1]
    loss = torch.nn.functional.ctc_loss(
        logp.transpose(0, 1), padded[:, : len(labels)], [frames], [len(labels)], blank=blank, reduction="none"
    )
    assert float(score) <= -float(loss) + 1e-9, "one path is no more than the sum of all"


def test_ctc_rows_of_a_batch_do_not_meet():
    logp = costs(3, 8, 5).log_softmax(-1)
    labels = torch.tensor([[1, 1, 2], [3, 0, 0], [4, 2, 0]])
    path, score = ctc_path(logp, labels, frames=[8, 3, 5], lengths=[3, 1, 2])
    for i, (frames, count) in enumerate([(8, 3), (3, 1), (5, 2)]):
        alone, one = ctc_path(logp[i : i + 1, :frames], labels[i : i + 1, :count])
        assert path[i, :frames].tolist() == alone[0].tolist()
        assert set(path[i, frames:].tolist()) <= {-1}
        assert float(score[i]) == pytest.approx(float(one), **CLOSE)


def test_spans_are_half_open():
    assert spans(torch.tensor([-1, 0, 0, -1, 2, -1]), 3) == [(1, 3), None, (4, 5)]


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: soft_dtw(costs(1, 2, 2), 0.0), "gamma"),
        (lambda: dtw(costs(1, 2, 2), rows=[3]), "lengths"),
        (lambda: dtw(costs(1, 2, 2), rows=[0]), "lengths"),
        (lambda: dtw(costs(2, 2, 2), rows=[1]), "lengths"),
        (lambda: dtw(torch.full((1, 2, 2), float("nan"))), "NaN"),
        (lambda: monotonic_search(costs(1, 2, 3)), "more states than frames"),
        (lambda: monotonic_search(costs(1, 4, 3), optional=torch.tensor([[True, True, False]])), "optional"),
        (lambda: ctc_path(costs(1, 3, 4), torch.tensor([[1, 1, 1]])), "more states than frames"),
        (lambda: ctc_path(costs(1, 3, 4), torch.tensor([[0]])), "no symbols"),
        (lambda: ctc_path(costs(1, 3, 4), torch.tensor([[4]])), "no symbols"),
    ],
)
def test_what_cannot_be_is_refused(call, said):
    with pytest.raises(InputError, match=said):
        call()
