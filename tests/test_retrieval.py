"""Retrieval figures against a full sort, known examples, and what a blind order gives."""

import numpy as np
import pytest

from sensorium.measure.retrieval import TOP, best_ranks, both_ways, chance, class_scores, retrieval_scores
from sensorium.types import InputError

# Two captions a picture, 4 pictures x 8 captions: picture 0 and 1 find theirs first, 2 finds it fourth, 3 seventh.
EIGHT = np.array([
    [.9, .2, .1, .1, .3, .1, .2, .1],
    [.3, .8, .5, .9, .2, .6, .5, .2],
    [.8, .7, .6, .3, .5, .4, .1, .2],
    [.7, .9, .8, .6, .5, .9, .1, .4],
])  # fmt: skip
PICTURE, CAPTION = np.arange(4), np.repeat(np.arange(4), 2)


def full_sort(score: np.ndarray, asked: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Rank of the best right answer, one query at a time; scores without ties."""
    orders = [np.argsort(-row, kind="stable") for row in score]
    return np.array([1 + np.nonzero(held[o] == a)[0][0] for o, a in zip(orders, asked, strict=True)])


def values(scores):
    return {name: score.value for name, score in scores.items()}


def test_four_pictures_and_eight_captions():
    there, back = both_ways(np.eye(4), EIGHT.T, PICTURE, CAPTION)
    assert [there[f"r@{k}"].value for k in TOP] == [0.5, 0.75, 1.0]
    assert [back[f"r@{k}"].value for k in TOP] == [0.375, 1.0, 1.0]
    assert there["median_rank"].value == 2.5
    assert there["mean_rank"].value == (1 + 1 + 4 + 7) / 4


@pytest.mark.parametrize("chunk", [None, 1, 7, 40, 1000])
@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16])
def test_full_sort(chunk, kind):
    rng = np.random.default_rng(3)
    queries, answers = rng.normal(size=(40, 24)).astype(kind), rng.normal(size=(90, 24)).astype(kind)
    held = rng.integers(0, 30, 90)
    asked = rng.choice(held, 40)
    wanted = full_sort(queries.astype(float) @ answers.astype(float).T, asked, held)
    assert np.array_equal(best_ranks(queries, answers, asked, held, chunk=chunk), wanted)


def test_order_of_rows_does_not_matter():
    rng = np.random.default_rng(4)
    queries, answers = rng.normal(size=(20, 8)), rng.normal(size=(50, 8))
    held, asked = np.arange(50) // 2, rng.integers(0, 25, 20)
    a, b = rng.permutation(20), rng.permutation(50)
    ranks = best_ranks(queries, answers, asked, held)
    assert np.array_equal(best_ranks(queries[a], answers[b], asked[a], held[b]), ranks[a])


@pytest.mark.parametrize("chunk", [None, 1, 3])
@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16])
def test_ties_share_their_places(chunk, kind):
    """All alike: the expected place of the first right one among all; and duplicates of a wrong answer."""
    rng = np.random.default_rng(0)
    same = np.repeat(rng.normal(size=(1, 33)), 101, 0).astype(kind)
    ranks = best_ranks(same[:5], same, np.arange(5), np.arange(101), chunk=chunk)
    assert np.array_equal(ranks, np.full(5, 51.0))
    two = best_ranks(same[:5], same[:100], np.arange(5), np.arange(100) // 2, chunk=chunk)
    assert np.array_equal(two, np.full(5, 1 + 98 / 3))


def test_ties_are_what_random_orders_give():
    rng = np.random.default_rng(1)
    score = rng.integers(0, 4, (6, 12)).astype(float)
    asked, held = np.arange(6), np.arange(12) % 6
    drawn = np.mean(
        [full_sort(score + rng.random(score.shape) * 0.1, asked, held) for _ in range(4000)], axis=0
    )
    assert np.allclose(best_ranks(np.eye(6), score.T, asked, held), drawn, atol=0.1)


def test_chance_is_what_random_vectors_find():
    rng = np.random.default_rng(5)
    held = np.repeat(np.arange(8), [1, 1, 2, 2, 3, 5, 6, 20])
    rights = np.bincount(held)
    told = chance(rights, len(held))
    scores = rng.normal(size=(3000, 8, len(held)))
    ranks = np.stack([best_ranks(np.eye(8), s.T, np.arange(8), held) for s in scores])
    for k in TOP:
        assert told[f"chance@{k}"] == pytest.approx((ranks <= k).mean(), abs=0.01)
    assert told["chance_mean_rank"] == pytest.approx(ranks.mean(), abs=0.15)
    assert told["chance_median_rank"] == pytest.approx(np.median(ranks), abs=1)


def test_chance_of_one_right_answer():
    told = chance(np.ones(7, int), 1000)
    assert told["chance@10"] == pytest.approx(0.01)
    assert told["chance_mean_rank"] == pytest.approx(500.5)
    assert told["chance_median_rank"] == 500
    assert chance(np.ones(3, int), 4)["chance@10"] == 1.0


def test_intervals_hold_the_figure_and_widen_with_groups():
    """Five captions of a picture that are found together are worth one, not five."""
    rng = np.random.default_rng(6)
    base, noise = rng.normal(size=(200, 16)), rng.normal(size=(200, 16))
    asked = np.repeat(np.arange(200), 5)
    queries = np.repeat(base + 1.2 * noise, 5, 0)
    found = retrieval_scores(queries, base, asked, np.arange(200))
    once = retrieval_scores(queries[::5], base, asked[::5], np.arange(200))
    for name in ("r@1", "r@5", "r@10", "mean_rank", "median_rank"):
        one = found[name]
        assert one.low <= one.value <= one.high
        assert one.value == pytest.approx(once[name].value)
        assert one.high - one.low == pytest.approx(once[name].high - once[name].low, rel=1e-6)


def test_median_is_numpys():
    rng = np.random.default_rng(7)
    for rows in (7, 8):
        queries, answers = rng.normal(size=(rows, 5)), rng.normal(size=(30, 5))
        ranks = best_ranks(queries, answers, np.arange(rows), np.arange(30))
        found = retrieval_scores(queries, answers, np.arange(rows), np.arange(30))
        assert found["median_rank"].value == np.median(ranks)


def test_classes():
    """Classes of unequal size, by hand: one query of each."""
    queries = np.array([[1.0, 0.0], [0.0, 1.0]])
    answers = np.array([[0.9, 0.0], [0.8, 0.1], [0.7, 0.95], [0.6, 0.9]])
    found = values(class_scores(queries, answers, np.array([0, 1]), np.array([0, 0, 0, 1])))
    assert found["r@1"] == 0.5
    assert found["precision@1"] == 0.5
    assert found["precision@5"] == pytest.approx((3 / 4 + 1 / 4) / 2)
    assert found["chance_precision"] == pytest.approx(0.5)
    assert found["chance@1"] == pytest.approx(0.5)


def test_queries_without_an_answer_are_left_out_both_ways():
    first, second = np.eye(4)[:3], np.eye(4)[1:]
    there, back = both_ways(first, second, np.array([0, 1, 2]), np.array([1, 2, -1]))
    assert there["r@1"].value == back["r@1"].value == 1.0


@pytest.mark.parametrize(
    ("queries", "answers", "asked", "held", "wrong"),
    [
        (np.ones((2, 3)), np.ones((2, 4)), np.arange(2), np.arange(2), "one space"),
        (np.ones((2, 3)), np.ones((2, 3)), np.arange(3), np.arange(2), "do not match up"),
        (np.ones((0, 3)), np.ones((2, 3)), np.arange(0), np.arange(2), "nothing to find"),
        (np.full((1, 3), np.nan), np.ones((2, 3)), np.arange(1), np.arange(2), "no number"),
        (np.ones((2, 3)), np.ones((2, 3)), np.array([0, 5]), np.arange(2), "no right answer"),
        (np.ones((1, 3)), np.ones((2, 3)), np.array([-1]), np.array([-1, 0]), "no right answer"),
    ],
)
def test_bad_input(queries, answers, asked, held, wrong):
    with pytest.raises(InputError, match=wrong):
        best_ranks(queries, answers, asked, held)
