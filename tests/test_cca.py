"""Canonical correlations against planted truth, textbook formulas and scikit-learn; several modalities, holes, choice."""

import json

import numpy as np
import pytest

from sensorium.measure import cca
from sensorium.measure.cca import Correlations, choose_cca, fit_cca
from sensorium.measure.retrieval import best_ranks
from sensorium.types import InputError


def planted(correlations, rows: int, *, wide: int = 0, seed: int = 0, sides: int = 2) -> list[np.ndarray]:
    """Views whose canonical correlations are known, mixed at random, with `wide` more columns of noise."""
    rng = np.random.default_rng(seed)
    rho = np.array(correlations)
    common = rng.normal(size=(rows, len(rho)))
    made = []
    for _ in range(sides):
        own = np.sqrt(rho) * common + np.sqrt(1 - rho) * rng.normal(size=common.shape)
        whole = np.concatenate([own, rng.normal(size=(rows, wide))], 1)
        made.append(whole @ rng.normal(size=(len(rho) + wide,) * 2) + rng.normal(size=len(rho) + wide))
    return made


def textbook(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Canonical correlations by thin SVDs of the centred data (Bjorck and Golub 1973)."""
    u, v = (np.linalg.svd(a - a.mean(0), full_matrices=False)[0] for a in (x, y))
    return np.linalg.svd(u.T @ v)[1]


def found_at_ten(space: Correlations, a: str, x: np.ndarray, b: str, y: np.ndarray) -> float:
    rows = np.arange(len(x))
    return float((best_ranks(space.vectors(a, x), space.vectors(b, y), rows, rows) <= 10).mean())


def test_planted_correlations():
    x, y = planted([0.9, 0.6, 0.3, 0.0], 5000)
    space = fit_cca({"x": x, "y": y}, shrinkage=0.0)
    assert np.allclose(space.roots, [0.9, 0.6, 0.3, 0.0], atol=0.03)
    assert np.allclose(space.projections["x"].strength, space.roots, atol=1e-9)


def test_textbook_and_scikit_learn():
    from sklearn.cross_decomposition import CCA

    x, y = planted([0.95, 0.7, 0.4], 400, wide=3)
    space = fit_cca({"x": x, "y": y}, shrinkage=0.0)
    assert np.allclose(space.roots, textbook(x, y), atol=1e-8)
    ready = {n: (v - space.projections[n].mean) @ space.projections[n].basis for n, v in (("x", x), ("y", y))}
    for own in ready.values():
        assert np.allclose(own.T @ own / len(own), np.eye(own.shape[1]), atol=1e-8)
    assert np.allclose(ready["x"].T @ ready["y"] / len(x), np.diag(space.roots), atol=1e-8)
    a, b = CCA(n_components=3, max_iter=5000, tol=1e-10).fit_transform(x, y)
    for k in range(3):
        assert np.corrcoef(a[:, k], b[:, k])[0, 1] == pytest.approx(space.roots[k], abs=1e-4)
        assert abs(np.corrcoef(a[:, k], ready["x"][:, k])[0, 1]) > 0.999


def test_units_do_not_matter_without_shrinkage():
    x, y = planted([0.8, 0.5], 300, wide=2)
    one = fit_cca({"x": x, "y": y}, shrinkage=0.0)
    other = fit_cca({"x": 1000 * x + 7, "y": y}, shrinkage=0.0)
    assert np.allclose(one.vectors("x", x), other.vectors("x", 1000 * x + 7), atol=1e-4)


def test_shrinkage_is_a_mixture_of_covariances():
    """The joint covariance mixed with a diagonal, by an eigenproblem that knows nothing of whitening."""
    from scipy.linalg import eigh

    x, y = planted([0.8, 0.5], 60, wide=2)
    s, d = 0.3, x.shape[1]
    joint = (1 - s) * np.cov(np.concatenate([x, y], 1).T, bias=True)
    for part in (slice(0, d), slice(d, None)):
        joint[part, part] += s * np.trace(joint[part, part]) / (1 - s) / d * np.eye(d)
    own = joint.copy()
    own[:d, d:] = own[d:, :d] = 0
    wanted = eigh(joint - own, own, eigvals_only=True)[::-1][:d]
    assert np.allclose(fit_cca({"x": x, "y": y}, shrinkage=s).roots, wanted, atol=1e-8)
    assert wanted.max() < textbook(x, y).max()


def test_things_that_stand_in_several_rows():
    """Five captions of a picture: by places, and with the picture repeated."""
    rng = np.random.default_rng(1)
    x, y = planted([0.9, 0.5], 60, wide=2)
    picture, caption = np.repeat(np.arange(60), 5), np.arange(300)
    captions = np.repeat(y, 5, 0) + rng.normal(size=(300, 4))
    by_place = fit_cca({"x": x, "y": captions}, {"x": picture, "y": caption})
    repeated = fit_cca({"x": x[picture], "y": captions})
    assert np.allclose(by_place.roots, repeated.roots, atol=1e-9)
    assert np.allclose(by_place.vectors("x", x), repeated.vectors("x", x), atol=1e-5)


def test_rows_of_nobody_change_nothing():
    x, y = planted([0.9, 0.5], 80, wide=2)
    rows = np.arange(80)
    one = fit_cca({"x": x, "y": y}, {"x": rows, "y": rows})
    more = np.concatenate([rows, [-1, -1]])
    other = fit_cca({"x": np.concatenate([x, x[:9] + 5]), "y": y}, {"x": more, "y": more})
    assert np.array_equal(one.roots, other.roots)


def bound(*, shuffled: bool) -> float:
    """A meets P, B meets P, A never meets B: how well A finds B in new rows."""
    a, p, b = planted([0.95] * 8, 2600, wide=4, sides=3)
    rows, none = np.arange(1000), np.full(1000, -1)
    order = np.random.default_rng(2).permutation(rows) if shuffled else rows
    places = {
        "a": np.concatenate([rows, none]), "p": np.concatenate([rows, rows + 1000]),
        "b": np.concatenate([none, order + 1000]),
    }  # fmt: skip
    space = fit_cca({"a": a[:2000], "p": p[:2000], "b": b[:2000]}, places)
    return found_at_ten(space, "a", a[2000:], "b", b[2000:])


def test_two_that_never_meet_are_bound_by_a_third():
    assert bound(shuffled=False) > 0.8
    assert bound(shuffled=True) < 0.1


def test_three_modalities_are_better_than_two():
    a, b, c = planted([0.5] * 6, 4000, sides=3)
    made = {"a": a[:3000], "b": b[:3000], "c": c[:3000]}
    space = fit_cca(made, shrinkage=0.0)
    rows = np.arange(1000)
    one = best_ranks(space.vectors("a", a[3000:]), space.vectors("c", c[3000:]), rows, rows)
    both = space.vectors("a", a[3000:]) + space.vectors("b", b[3000:])
    two = best_ranks(both, space.vectors("c", c[3000:]), rows, rows)
    assert np.log(two).mean() < np.log(one).mean() - 0.1


def test_many_columns_as_exact_as_few(monkeypatch):
    x, y = planted([0.95, 0.9, 0.8, 0.7], 3000, wide=140)
    exact = fit_cca({"x": x, "y": y}, dims=4)
    monkeypatch.setattr(cca, "DENSE", 16)
    near = fit_cca({"x": x, "y": y}, dims=4)
    assert np.allclose(exact.roots, near.roots, atol=1e-3)
    assert np.allclose(exact.vectors("x", x), near.vectors("x", x), atol=0.05)


def faint(rows: int, *, wide: int, seed: int = 0) -> list[np.ndarray]:
    """Two views of six common numbers that vary twice as much as the noise around them, turned."""
    rng = np.random.default_rng(seed)
    common, made = rng.normal(size=(rows, 6)), []
    for _ in range(2):
        whole = np.concatenate([2 * common, np.zeros((rows, wide))], 1) + rng.normal(size=(rows, 6 + wide))
        made.append(whole @ np.linalg.qr(rng.normal(size=(6 + wide,) * 2))[0])
    return made


def test_a_choice_beats_no_shrinkage_on_new_rows():
    """Hardly more rows than columns: without shrinkage every row is learned by heart."""
    x, y = faint(900, wide=120)
    train = {"x": x[:300], "y": y[:300]}
    chosen = choose_cca(train, shrinkages=(1e-6, 0.01, 0.1, 0.5))
    naive = fit_cca(train, shrinkage=1e-6)
    right, wrong = (found_at_ten(s, "x", x[300:], "y", y[300:]) for s in (chosen, naive))
    assert min(chosen.shrinkage.values()) > 1e-6
    assert right > wrong + 0.1


def test_a_choice_never_looks_at_other_rows_of_a_group():
    """Copies of one row say nothing: held out as a whole, shrinkage is chosen as strong as without them."""
    x, y = planted([0.9] * 4, 120, wide=60)
    copies = np.tile(np.arange(120), 4)
    group = copies.copy()
    whole = choose_cca({"x": x[copies], "y": y[copies]}, group=group)
    torn = choose_cca({"x": x[copies], "y": y[copies]})
    assert sum(whole.shrinkage.values()) > sum(torn.shrinkage.values())


def test_too_few_rows_for_a_choice():
    x, y = planted([0.9, 0.5], 6)
    space = choose_cca({"x": x, "y": y})
    assert set(space.shrinkage.values()) == {max(cca.SHRINKAGES)}
    assert np.isfinite(space.vectors("x", x)).all()


def test_a_modality_that_would_be_lost_by_holding_out():
    """It stands beside another one in a single group, which may be held out."""
    x, y = planted([0.9, 0.5], 60)
    rows, few = np.arange(60), np.full(60, -1)
    for seed in range(6):
        few[:] = -1
        few[seed] = seed
        space = choose_cca(
            {"x": x, "y": y, "z": y}, {"x": rows, "y": rows, "z": few}, seed=seed, shrinkages=(0.1, 0.5)
        )
        assert np.isfinite(space.vectors("z", y)).all()


def test_what_never_varies_has_no_vector():
    x, y = planted([0.95] * 4, 60)
    space = choose_cca({"x": x, "y": y, "z": np.ones((60, 3))})
    assert not space.vectors("z", np.ones((60, 3))).any()
    assert found_at_ten(space, "x", x, "y", y) > 0.5


def test_length_one_and_the_middle_is_zero():
    x, y = planted([0.9, 0.5], 100)
    space = fit_cca({"x": x, "y": y})
    made = space.vectors("x", np.concatenate([x, space.projections["x"].mean[None]]))
    assert made.dtype == np.float32
    assert np.allclose((made[:-1] ** 2).sum(1), 1, atol=1e-6)
    assert not made[-1].any()


def test_saved_and_read_again_and_the_same_twice():
    x, y = planted([0.9, 0.5], 100, wide=3)
    space, again = choose_cca({"x": x, "y": y}), choose_cca({"x": x, "y": y})
    told, arrays = space.packed()
    read = Correlations.unpacked(json.loads(json.dumps(told)), arrays)
    for other in (read, again):
        assert np.array_equal(other.vectors("y", y), space.vectors("y", y))
    assert (read.power, read.shrinkage) == (space.power, space.shrinkage)


def test_constant_columns_and_single_rows():
    x, y = planted([0.9, 0.5], 100)
    x[:, 0] = 3.0
    space = fit_cca({"x": x, "y": y})
    assert np.isfinite(space.vectors("x", x[:1])).all()
    with pytest.raises(InputError, match="depend on each other"):
        fit_cca({"x": x, "y": y}, shrinkage=0.0)


@pytest.mark.parametrize(
    ("vectors", "places", "wrong"),
    [
        ({"x": np.eye(3)}, None, "two modalities"),
        ({"x": np.eye(3), "y": np.ones(3)}, None, "no .* arrays"),
        ({"x": np.eye(3), "y": np.full((3, 2), np.nan)}, None, "no number"),
        ({"x": np.eye(3), "y": np.eye(4)}, None, "differ in their rows"),
        ({"x": np.eye(3), "y": np.eye(3)}, {"x": np.arange(3)}, "places differ"),
        ({"x": np.eye(3), "y": np.eye(3)}, {"x": np.arange(3), "y": np.arange(1, 4)}, "not there"),
        (
            {"x": np.eye(3), "y": np.eye(3)},
            {"x": np.array([0, -1]), "y": np.array([-1, 0])},
            "never stands beside",
        ),
        ({"x": np.eye(3), "y": np.eye(3)}, {"x": np.arange(3), "y": np.full(3, -1)}, "never stands beside"),
    ],
)
def test_bad_input(vectors, places, wrong):
    with pytest.raises(InputError, match=wrong):
        fit_cca(vectors, places)
