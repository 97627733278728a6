"""Shapley values, interaction indices and the additive projection against brute force and planted truth."""

from itertools import combinations, permutations

import numpy as np
import pytest

from sensorium.measure.additive import additive, explained
from sensorium.measure.shapley import interaction_indices, sampled_shapley, shapley
from sensorium.types import InputError


def subsets(names):
    return [s for size in range(len(names) + 1) for s in combinations(names, size)]


def game(names, rows=30, seed=0):
    rng = np.random.default_rng(seed)
    return {s: rng.normal(size=rows) + len(s) for s in subsets(names)}


def worth(values):
    """The mean of a subset given in any order."""
    means = {frozenset(k): v.mean() for k, v in values.items()}
    return lambda *members: means[frozenset(members)]


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_exact_values_equal_all_orders(size):
    names = list("abcde"[:size])
    values = game(names, seed=size)
    v, found = worth(values), shapley(values, names)
    for name in names:
        orders = list(permutations(names))
        added = [v(*o[: o.index(name) + 1]) - v(*o[: o.index(name)]) for o in orders]
        assert found[name].value == pytest.approx(np.mean(added), abs=1e-9)
        assert found[name].low < found[name].value < found[name].high
    assert sum(s.value for s in found.values()) == pytest.approx(v(*names) - v(), abs=1e-9)


@pytest.mark.parametrize("size", [2, 3, 4])
def test_interactions_equal_all_orders_with_the_pair_as_one(size):
    names = list("abcd"[:size])
    values = game(names, seed=size)
    v = worth(values)
    for (a, b), score in interaction_indices(values, names).items():
        added = []
        for order in permutations([n for n in names if n not in (a, b)] + ["pair"]):
            before = order[: order.index("pair")]
            added.append(v(*before, a, b) - v(*before, a) - v(*before, b) + v(*before))
        assert score.value == pytest.approx(np.mean(added), abs=1e-9)


def planted(rows=400):
    """Bits about the truth: a and b play the same part and need each other, c says nothing but noise."""
    rng = np.random.default_rng(1)
    values = {}
    for s in subsets("abc"):
        pair = rng.normal(2.0, 0.5, rows) if {"a", "b"} <= set(s) else np.zeros(rows)
        values[s] = pair + (rng.normal(0, 0.2, rows) if "c" in s else 0)
    for s in (("a", "b"), ("a", "b", "c")):
        values[s] = values[s] + 0.3
    return values


def test_null_and_symmetric_players():
    names, values = ["a", "b", "c"], planted()
    found = shapley(values, names)
    assert found["a"].value == pytest.approx(found["b"].value, abs=0.05)
    assert found["c"].low < 0 < found["c"].high
    assert found["c"].high - found["c"].low < 0.1
    pairs = interaction_indices(values, names)
    assert pairs["a", "b"].low > 2
    assert abs(pairs["a", "c"].value) < 0.1


def test_exactly_symmetric_players_are_equal_and_a_null_player_is_zero():
    base = np.random.default_rng(2).normal(size=20)
    values = {s: base * len(set(s) - {"c"}) ** 2 for s in subsets("abc")}
    found = shapley(values, ["a", "b", "c"])
    assert found["a"] == found["b"]
    assert found["c"].value == found["c"].low == found["c"].high == 0


def test_subsets_are_known_whatever_their_order():
    values = game(["a", "b", "c"])
    turned = {tuple(reversed(s)): v for s, v in values.items()}
    assert shapley(turned, ["a", "b", "c"]) == shapley(values, ["a", "b", "c"])


def test_sampled_values_are_near_the_exact_ones_and_know_their_error():
    names = list("abcdef")
    values = game(names, rows=5, seed=3)
    exact, asked = shapley(values, names), []

    def value(members):
        asked.append(members)
        return values[members]

    found = sampled_shapley(value, names, permutations=200, seed=4)
    off = [(found[n].score.value - exact[n].value) / found[n].error for n in names]
    assert max(map(abs, off)) < 4
    assert 0.2 < np.std(off) < 2.5
    assert len(asked) == len(set(asked)) <= 64
    v = worth(values)
    assert sum(f.score.value for f in found.values()) == pytest.approx(v(*names) - v(), abs=1e-9)
    more = sampled_shapley(value, names, permutations=3200, seed=4)
    assert np.mean([more[n].error for n in names]) < 0.4 * np.mean([found[n].error for n in names])


def test_of_ten_modalities_an_additive_game_is_exact():
    names = [f"m{i}" for i in range(10)]
    share = {n: np.full(3, float(i)) for i, n in enumerate(names)}
    found = sampled_shapley(lambda s: sum((share[n] for n in s), np.zeros(3)), names, permutations=4)
    assert [found[n].score.value for n in names] == pytest.approx(range(10), abs=1e-9)
    assert max(f.error for f in found.values()) < 1e-9


def test_what_is_missing_is_named():
    values = game(["a", "b"])
    with pytest.raises(InputError, match="a subset has no values"):
        shapley({k: v for k, v in values.items() if k != ()}, ["a", "b"])
    with pytest.raises(InputError, match="number of rows"):
        shapley({**values, ("a",): np.zeros(3)}, ["a", "b"])
    with pytest.raises(InputError, match="finite"):
        shapley({**values, ("a",): np.full(30, -np.inf)}, ["a", "b"])
    with pytest.raises(InputError, match="sampled_shapley"):
        shapley(values, list("abcdefghi"))
    with pytest.raises(InputError, match="proper names"):
        interaction_indices(values, ["a", "a"])
    with pytest.raises(InputError, match="too few orders"):
        sampled_shapley(lambda s: np.zeros(2), ["a", "b"], permutations=1)


def grids(head, *sources):
    """Outputs for each modality from row i and the others from row j."""
    n, rows = len(sources[0]), range(len(sources[0]))
    found = np.zeros((len(sources), n, n, len(head(*(s[0] for s in sources)))))
    for m in range(len(sources)):
        for i in rows:
            for j in rows:
                found[m, i, j] = head(*(s[i if k == m else j] for k, s in enumerate(sources)))
    return list(found)


def outputs(made):
    return np.einsum("iic->ic", made[0])


def test_two_modalities_follow_the_paper():
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=(2, 12, 3))
    made = grids(lambda a, b: np.array([np.tanh(a @ b), a[0] * b[1] + b[2]]), x, z)
    found = additive(made)
    f = made[0]  # f[i, j]: first modality of row i, second of row j
    for i in range(12):
        wanted = sum(f[i, j] for j in range(12)) / 12 + sum(f[j, i] for j in range(12)) / 12
        np.testing.assert_allclose(found[i], wanted - f.reshape(-1, 2).mean(0), atol=1e-12)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_an_additive_head_is_explained(count):
    sources = np.random.default_rng(count).normal(size=(count, 15, 2))
    made = grids(lambda *x: 3 + sum((k + 1) * np.cos(v) for k, v in enumerate(x)), *sources)
    assert explained(outputs(made), additive(made)) > 0.999


def test_a_product_head_is_not():
    rng = np.random.default_rng(1)
    x, z = (v - v.mean(0) for v in rng.choice([-1.0, 1.0], size=(2, 400, 1)))
    first = x[:, None] * z[None]
    made = [first, first.transpose(1, 0, 2)]
    assert abs(explained(outputs(made), additive(made))) < 0.01


def test_the_share_is_between():
    full = np.array([[0.0], [1.0], [2.0], [3.0]])
    assert explained(full, full) == 1
    assert explained(full, np.full_like(full, full.mean())) == 0
    assert explained(full, full + 0.5) == pytest.approx(1 - 4 * 0.25 / 5)
    assert explained(np.ones((3, 2)), np.ones((3, 2))) == 1
    assert explained(np.ones((3, 2)), np.zeros((3, 2))) == 0


def test_grids_that_do_not_belong_together_are_refused():
    with pytest.raises(InputError, match="belong together"):
        additive([np.zeros((3, 3, 1))])
    with pytest.raises(InputError, match="belong together"):
        additive([np.zeros((3, 4, 1))] * 2)
    with pytest.raises(InputError, match="diagonals"):
        additive([np.zeros((3, 3, 1)), np.ones((3, 3, 1))])
    with pytest.raises(InputError, match="same two axes"):
        explained(np.zeros((3, 1)), np.zeros((3, 2)))
