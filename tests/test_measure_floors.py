"""The floors: what they learn, what they do without input, and that they keep to their time."""

import time
import warnings

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from sensorium.measure.baselines import fit_floors
from sensorium.measure.learners import columns, fit_forest, fit_linear, telling, vectorisers
from sensorium.types import InputError


def table(rows: int = 240, classes: int = 3, seed: int = 0, empty: float = 0.2):
    """Two modalities that each tell the class in part, and a text that tells it."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, rows)
    seen = rng.normal(size=(rows, 12)).astype(np.float32)
    heard = rng.normal(size=(rows, 7)).astype(np.float32)
    seen[:, 0] += 1.6 * truth
    heard[:, 1] -= 1.6 * truth
    seen[rng.random(rows) < empty] = np.nan
    heard[rng.random(rows) < empty] = np.nan
    words = [None if rng.random() < empty else f"it is word{t} number {rng.integers(9)}" for t in truth]
    return {"image": seen, "audio": heard}, {"note": words}, truth


def fit(statistics, texts, truth, kind="category", classes=3, seconds=1.0):
    return {
        f.name: f for f in fit_floors(statistics, texts, truth, kind=kind, classes=classes, seconds=seconds)
    }


def test_every_floor_is_there_and_learns():
    floors = fit(*table())
    statistics, texts, truth = table(seed=1)
    right = {n: (f.answer(statistics, texts).argmax(1) == truth).mean() for n, f in floors.items()}
    names = [
        "image: statistics + forest",
        "image: statistics + linear",
        "audio: statistics + forest",
        "audio: statistics + linear",
    ]
    assert list(floors) == [
        "majority",
        *names,
        "note: tf-idf + linear",
        "all statistics + forest",
        "late average",
    ]
    assert all(right[n] > right["majority"] + 0.15 for n in names)
    assert right["all statistics + forest"] > max(right[n] for n in names if "forest" in n)
    assert right["note: tf-idf + linear"] > 0.8
    assert right["late average"] > right["note: tf-idf + linear"]
    assert [floors[n].modality for n in ("majority", names[0], "note: tf-idf + linear", "late average")] == [
        "",
        "image",
        "note",
        "",
    ]


def test_answers_are_probabilities_and_rows_without_the_modality_get_the_prior():
    statistics, texts, truth = table()
    gone = {k: np.full((4, v.shape[1]), np.nan, np.float32) for k, v in statistics.items()}
    prior = np.bincount(truth, minlength=4) / len(truth)
    for floor in fit(statistics, texts, truth, classes=4).values():
        said = floor.answer(statistics, texts)
        assert said.shape == (len(truth), 4)
        np.testing.assert_allclose(said.sum(1), 1, atol=1e-6)
        assert (said >= 0).all()
        np.testing.assert_allclose(
            floor.answer(gone, {"note": [None, "", "  ", None]}), np.tile(prior, (4, 1)), atol=1e-9
        )


def test_an_answer_does_not_depend_on_the_other_rows():
    statistics, texts, truth = table()
    for floor in fit(statistics, texts, truth).values():
        whole = floor.answer(statistics, texts)
        part = floor.answer({k: v[5:9] for k, v in statistics.items()}, {k: v[5:9] for k, v in texts.items()})
        np.testing.assert_allclose(part, whole[5:9], atol=1e-9)


def test_numbers_are_answered_in_their_own_unit():
    statistics, texts, truth = table(rows=400)
    value = 1e4 + 250.0 * truth
    floors = fit(statistics, texts, value, kind="number", classes=0)
    spread = value.std()
    assert floors["mean"].answer(statistics, texts) == pytest.approx(np.full(400, value.mean()))
    for name, floor in floors.items():
        error = np.abs(floor.answer(statistics, texts) - value).mean()
        assert error < (0.75 if name != "mean" else 1.0) * spread, name


def test_several_labels_have_a_probability_each():
    statistics, texts, truth = table(rows=400)
    labels = np.stack([truth == 0, truth > 0, np.zeros(400, bool), np.ones(400, bool)], 1)
    for name, floor in fit(statistics, texts, labels, kind="labels", classes=4).items():
        said = floor.answer(statistics, texts)
        assert said.shape == (400, 4)
        assert said[:, 2].max() < 0.2
        assert said[:, 3].min() > 0.8
        if name != "majority":
            assert ((said[:, 0] >= 0.5) == labels[:, 0]).mean() > 0.7, name


@pytest.mark.parametrize("kind", ["category", "labels", "number"])
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_hardly_any_rows_neither_fail_nor_warn(kind, rows):
    statistics, texts, truth = table(rows=rows)
    target = {"category": truth, "labels": np.eye(3, dtype=bool)[truth], "number": truth * 1.5}[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for floor in fit(statistics, texts, target, kind=kind, seconds=0.1).values():
            assert np.isfinite(floor.answer(statistics, texts)).all()


def test_one_class_constant_holes_and_wild_values_neither_fail_nor_warn():
    statistics, texts, truth = table(rows=60)
    odd = {
        "constant": np.ones((60, 3), np.float32), "never": np.full((60, 2), np.nan, np.float32),
        "wild": np.where(statistics["image"] > 1, np.inf, statistics["image"] * np.float32(1e30)),
    }  # fmt: skip
    blank = {"note": [" "] * 60, "unlike": [f"\u5b57{i}" if i % 2 else "\U0001f600" for i in range(60)]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        floors = fit(odd, blank, truth, seconds=0.3)
        assert list(fit(statistics, texts, np.full(60, 2), seconds=0.3)) == ["majority"]
    assert not any(n.startswith(("constant", "never", "note")) for n in floors)
    assert any(n.startswith("wild") for n in floors)
    for floor in floors.values():
        assert np.isfinite(floor.answer(odd, blank)).all()


def test_one_modality_has_no_late_average():
    statistics, _, truth = table(rows=80)
    floors = fit({"image": statistics["image"]}, {}, truth, seconds=0.3)
    assert list(floors) == ["majority", "image: statistics + forest", "image: statistics + linear"]


def test_no_rows_are_refused():
    with pytest.raises(InputError, match="nothing to learn"):
        fit({"image": np.zeros((0, 3))}, {}, np.zeros(0, int))


def test_the_time_is_kept_about():
    statistics, texts, truth = table(rows=4000, classes=8)
    noise = np.random.default_rng(1).normal(size=(4000, 80)).astype(np.float32)
    wide = {
        k: np.concatenate([v, np.where(np.isnan(v[:, :1]), np.nan, noise)], 1) for k, v in statistics.items()
    }
    began = time.process_time()
    floors = fit(wide, texts, truth, classes=8, seconds=1.0)
    assert time.process_time() - began < 2.6  # ten trees and the counting of words are always paid
    assert len(floors) == 8


def test_rare_classes_weigh_more_where_macro_f1_is_the_figure():
    texts = {"note": ["the same"] * 100}
    lopsided = fit({}, texts, np.repeat([0, 1], [80, 20]), classes=2)["note: tf-idf + linear"]
    assert lopsided.answer({}, texts)[0, 1] == pytest.approx(20**0.3 / (80**0.3 + 20**0.3), abs=0.01)
    even = fit({}, texts, np.repeat([0, 1], [60, 40]), classes=2)["note: tf-idf + linear"]
    assert even.answer({}, texts)[0, 1] == pytest.approx(0.4, abs=0.01)


@pytest.mark.parametrize("sparse", [False, True])
def test_the_linear_model_finds_what_scikit_learn_finds(sparse):
    from scipy.sparse import csr_array

    rng = np.random.default_rng(0)
    x, truth = rng.normal(size=(200, 5)), rng.integers(0, 3, 200)
    x[:, 0] += truth
    weight = rng.random(200) + 0.5
    given = csr_array(x) if sparse else x
    ours = fit_linear(given, np.eye(3)[truth], kind="category", weight=weight, decay=2.0, seconds=20)
    theirs = LogisticRegression(C=0.5, tol=1e-8, max_iter=1000).fit(x, truth, sample_weight=weight)
    np.testing.assert_allclose(ours.answers(given), theirs.predict_proba(x), atol=2e-3)
    value = (truth - 1.0)[:, None]
    ridge = Ridge(alpha=2.0).fit(x, value[:, 0])
    found = fit_linear(given, value, kind="number", weight=None, decay=2.0, seconds=20)
    np.testing.assert_allclose(found.answers(given), ridge.predict(x), atol=1e-3)
    two = fit_linear(given, (truth == 1)[:, None] * 1.0, kind="labels", weight=None, decay=2.0, seconds=20)
    single = LogisticRegression(C=0.5, tol=1e-8, max_iter=1000).fit(x, truth == 1)
    np.testing.assert_allclose(two.answers(given)[:, 0], single.predict_proba(x)[:, 1], atol=2e-3)


def test_no_time_still_gives_an_answer():
    x = np.random.default_rng(0).normal(size=(50, 4))
    found = fit_linear(
        x, np.eye(2)[(x[:, 0] > 0).astype(int)], kind="category", weight=None, decay=1.0, seconds=0.0
    )
    assert ((found.answers(x).argmax(1) == (x[:, 0] > 0)).mean()) > 0.7


def test_holes_are_filled_with_the_training_median_and_constants_dropped():
    matrix = np.array([[1.0, 5.0, np.nan], [3.0, 5.0, np.nan], [np.inf, 5.0, np.nan], [8.0, 5.0, 2.0]])
    ready = columns(matrix)
    assert ready.keep.tolist() == [True, False, False]
    assert ready.filled(matrix)[:, 0].tolist() == [1.0, 3.0, 3.0, 8.0]
    assert ready.standard(np.array([[1e9, 0, 0]])).tolist() == [[8.0]]


def test_the_most_telling_columns_are_kept():
    rng = np.random.default_rng(0)
    truth, x = rng.integers(0, 2, 300), rng.normal(size=(300, 9))
    x[:, 4] += truth
    x[:, 7] -= truth
    assert telling(x, np.eye(2)[truth], most=2).tolist() == [4, 7]


def test_texts_that_share_nothing_have_no_vocabulary():
    assert vectorisers([" ", ""], most=10) == []
    assert len(vectorisers(["abc def", "abc xyz"], most=10)) == 2


@pytest.mark.parametrize("kind", ["category", "labels", "number"])
def test_the_arrays_of_a_forest_answer_as_scikit_learn_does(kind):
    from sklearn.ensemble import ExtraTreesRegressor, RandomForestClassifier

    rng = np.random.default_rng(0)
    x = rng.integers(0, 6, (300, 5)).astype(np.float64) / 3  # equal values: bounds are met exactly
    truth = (x[:, 0] * 3).astype(int) % 3
    target = {
        "category": truth,
        "labels": np.stack([truth == 0, truth == 1, truth < 9], 1),
        "number": x[:, 1],
    }
    ours = fit_forest(x, target[kind], kind=kind, classes=4, weight=None, seconds=0.0, seed=0)
    if kind == "number":
        theirs = ExtraTreesRegressor(
            10, min_samples_leaf=2, max_features=0.3, random_state=0, warm_start=True
        )
        want = theirs.fit(x, target[kind]).predict(x)[:, None]
    else:
        theirs = RandomForestClassifier(10, max_features="sqrt", random_state=0, warm_start=True)
        said = theirs.fit(x, target[kind]).predict_proba(x)
        if kind == "category":
            want = np.concatenate([said, np.zeros((300, 1))], 1)  # the fourth class has no row
        else:
            want = np.stack([said[0][:, 1], said[1][:, 1], np.ones(300)], 1)
    np.testing.assert_allclose(ours.answers(x), want, atol=1e-6)
