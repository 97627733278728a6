"""The decomposition of exact tables: known gates, an independent solver, and what must hold for every table."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sensorium.measure.partial import decompose_table, information, union_information
from sensorium.types import InputError


def table(shape, outcomes):
    """Put equal mass on each outcome (x1, x2, y)."""
    found = np.zeros(shape)
    for outcome in outcomes:
        found[outcome] += 1 / len(outcomes)
    return found


BITS = [(a, b) for a in range(2) for b in range(2)]
GATES = {  # redundancy, unique first, unique second, synergy in bits
    "and": (table((2, 2, 2), [(a, b, a & b) for a, b in BITS]), (0.3113, 0, 0, 0.5)),
    "or": (table((2, 2, 2), [(a, b, a | b) for a, b in BITS]), (0.3113, 0, 0, 0.5)),
    "xor": (table((2, 2, 2), [(a, b, a ^ b) for a, b in BITS]), (0, 0, 0, 1)),
    "copy": (table((2, 2, 2), [(a, a, a) for a in range(2)]), (1, 0, 0, 0)),
    "unique": (table((2, 2, 2), [(a, b, a) for a, b in BITS]), (0, 1, 0, 0)),
    "two bits": (table((2, 2, 4), [(a, b, 2 * a + b) for a, b in BITS]), (0, 1, 1, 0)),
    "rdnxor": (
        table((4, 4, 4), [(2 * r + a, 2 * r + b, 2 * r + (a ^ b)) for r in range(2) for a, b in BITS]),
        (1, 0, 0, 1),
    ),
}


def parts(found):
    return np.array([found.redundancy, found.unique_first, found.unique_second, found.synergy])


@pytest.mark.parametrize("name", GATES)
def test_gates(name):
    p, truth = GATES[name]
    found = decompose_table(p)
    np.testing.assert_allclose(parts(found), truth, atol=1e-4)
    assert found.both == pytest.approx(information(p.reshape(-1, p.shape[2])) / np.log(2), abs=1e-6)


def least_information(p):
    """The union information in bits by another route: SLSQP over the polytope of tables with these marginals."""
    from scipy.optimize import LinearConstraint, minimize

    a, b, y = p.shape
    where = np.arange(p.size).reshape(p.shape)
    sums = [where[i, :, k] for i in range(a) for k in range(y)]
    sums += [where[:, j, k] for j in range(b - 1) for k in range(y)]
    equal = np.zeros((len(sums), p.size))
    for row, index in zip(equal, sums, strict=True):
        row[index] = 1

    def loss(q):
        q = np.maximum(q.reshape(p.shape), 1e-12)
        logs = np.log(q / q.sum(2, keepdims=True))
        return (q * logs).sum(), logs.ravel()

    begin = (p.sum(1)[:, None] * p.sum(0)[None] / p.sum((0, 1))).ravel()
    found = minimize(
        loss,
        begin,
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * p.size,
        constraints=LinearConstraint(equal, equal @ p.ravel(), equal @ p.ravel()),
        options={"maxiter": 500, "ftol": 1e-10},
    )
    classes = p.sum((0, 1))
    return (found.fun - (classes * np.log(classes)).sum()) / np.log(2)


@pytest.mark.parametrize(("shape", "seed"), [((3, 3, 2), 0), ((3, 3, 2), 1), ((4, 3, 3), 2), ((2, 5, 3), 3)])
def test_an_independent_solver_agrees(shape, seed):
    p = np.random.default_rng(seed).gamma(0.6, size=shape)
    p /= p.sum()
    union = union_information(p.sum(1), p.sum(0))
    assert union.gap < 2e-6
    assert union.value / np.log(2) == pytest.approx(least_information(p), abs=0.002)


def test_a_larger_table_comes_with_a_proof():
    p = np.random.default_rng(4).gamma(0.3, size=(12, 9, 6))
    p /= p.sum()
    union = union_information(p.sum(1), p.sum(0))
    assert 0 <= union.gap <= 2e-6
    inside = np.exp(union.a[:, None] + union.b[None]).sum(2)
    assert inside.max() <= 1  # so that the dual value is a lower bound, whatever the solver did
    entropy = -(p.sum((0, 1)) * np.log(p.sum((0, 1)))).sum()
    bound = (p.sum(1) * union.a).sum() + (p.sum(0) * union.b).sum() + entropy
    assert bound == pytest.approx(union.value - union.gap, abs=1e-9)


SHAPES = st.tuples(*[st.integers(1, 4)] * 3)
TABLES = SHAPES.flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.sampled_from([0, 1e-9, 0.01, 0.3, 1.0, 7.0]))
).filter(lambda t: t.sum() > 0.01)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(TABLES)
def test_what_holds_for_every_table(counts):
    found = decompose_table(counts)
    p = counts / counts.sum()
    assert parts(found).min() >= -1e-9
    whole = [information(t) / np.log(2) for t in (p.sum(1), p.sum(0), p.reshape(-1, p.shape[2]))]
    np.testing.assert_allclose([found.first, found.second, found.both], whole, atol=1e-6)
    swapped = decompose_table(counts.transpose(1, 0, 2))
    np.testing.assert_allclose(parts(swapped), parts(found)[[0, 2, 1, 3]], atol=1e-5)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(arrays(np.float64, (3, 3), elements=st.floats(0.01, 1)), st.integers(1, 4))
def test_noise_tells_nothing(pair, size):
    """A source that is independent of all else has no share, alone or together."""
    noise = np.arange(1, size + 1) / np.arange(1, size + 1).sum()
    found = decompose_table(pair[:, None, :] * noise[None, :, None])
    np.testing.assert_allclose(parts(found), [0, information(pair / pair.sum()) / np.log(2), 0, 0], atol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (np.zeros((2, 2, 2)), "sums to zero"),
        (np.ones((2, 2)), "three axes"),
        (np.ones((2, 0, 2)), "three axes"),
        (np.array([[[1.0, -0.5]]]), "negative"),
        (np.array([[[1.0, np.nan]]]), "not finite"),
        (np.array([[[1.0, np.inf]]]), "not finite"),
        (np.array([[["a", "b"]]]), "real number"),
    ],
)
def test_what_is_no_table_is_refused(wrong, told):
    with pytest.raises(InputError, match=told):
        decompose_table(wrong)
