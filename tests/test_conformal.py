"""Promised coverage, in every pattern of missing modalities, against ground truth and brute force."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.measure.conformal import Conformal, class_scores, fit_conformal, fit_selective, quantile

BOTH, FIRST, SECOND = frozenset("ab"), frozenset("a"), frozenset("b")


def world(rows, seed):
    """Two modalities that show one of five classes; each is missing in a third of the rows. Posteriors are exact."""
    rng = np.random.default_rng(seed)
    truth, sharp = rng.integers(0, 5, rows), {"a": 3.0, "b": 1.0}
    kind = rng.integers(0, 3, rows)
    patterns = [(BOTH, FIRST, SECOND)[k] for k in kind]
    logits = np.zeros((rows, 5))
    for name, s in sharp.items():
        x = np.eye(5)[truth] * s + rng.normal(size=(rows, 5)) * math.sqrt(s)
        logits += x * np.array([name in p for p in patterns])[:, None]
    p = np.exp(logits - logits.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True), truth, patterns


def of(patterns, pattern):
    return np.array([p == pattern for p in patterns])


def test_every_pattern_is_covered_where_a_threshold_of_complete_rows_is_not():
    p, truth, patterns = world(2000, 0)
    scores = class_scores(p)[np.arange(2000), truth]
    by = {k: scores[of(patterns, k)] for k in (BOTH, FIRST, SECOND)}
    each = fit_conformal(by, pooled=scores)
    naive = Conformal(pooled=quantile(by[BOTH], 0.9))
    p, truth, patterns = world(6000, 1)
    rows = np.arange(6000)
    held, short = each.classes(p, patterns)[rows, truth], naive.classes(p, patterns)[rows, truth]
    for pattern in (BOTH, FIRST, SECOND):
        assert held[of(patterns, pattern)].mean() == pytest.approx(0.9, abs=0.025)
    assert short[of(patterns, SECOND)].mean() < 0.8
    assert each.classes(p, patterns).sum(1)[of(patterns, BOTH)].mean() < 1.5


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.floats(0.05, 0.95))
def test_the_quantile_is_the_smallest_that_promises(scores, level):
    found = quantile(np.array(scores), level)
    inside = [
        s
        for s in [*scores, math.inf]
        if (np.array(scores) <= s).sum() >= math.ceil((len(scores) + 1) * level)
    ]
    assert found == min(inside, default=math.inf)


def test_few_rows_promise_nothing_and_a_set_is_never_empty():
    assert quantile(np.zeros(5), 0.9) == math.inf
    few = fit_conformal({BOTH: np.zeros(99)}, pooled=np.full(400, 0.2))
    assert few.threshold(BOTH) == pytest.approx(0.2)
    sure = fit_conformal({BOTH: np.zeros(200)}, pooled=np.zeros(200))
    assert sure.classes(np.array([[0.4, 0.35, 0.25]]), [BOTH]).tolist() == [[True, False, False]]
    assert Conformal().classes(np.array([[0.9, 0.1]]), [BOTH]).all()


def test_ranges_of_numbers_hold_the_truth():
    rng = np.random.default_rng(0)
    noise = {BOTH: 0.5, FIRST: 2.0}
    draw = lambda k, n: rng.normal(size=n) * noise[k]  # noqa: E731
    fit = fit_conformal({k: np.abs(draw(k, 1000)) for k in noise}, pooled=np.abs(draw(FIRST, 10)))
    for k in noise:
        wrong = draw(k, 4000)
        low, high = fit.ranges(wrong, [k] * 4000).T
        assert ((low <= 0) & (high >= 0)).mean() == pytest.approx(0.9, abs=0.03)


def test_confidence_below_which_to_say_nothing():
    confidence = np.array([0.9, 0.9, 0.8, 0.7, 0.6])
    right = np.array([True, True, True, False, True])
    curve = fit_selective(confidence, right)
    assert curve.confidence == (0.9, 0.8, 0.7, 0.6)
    assert curve.risk == (0.0, 0.0, 0.25, 0.2)
    assert curve.coverage == (0.4, 0.6, 0.8, 1.0)
    assert curve.least_confidence(0.0) == 0.8
    assert curve.least_confidence(0.2) == 0.6
    assert fit_selective(confidence, ~right).least_confidence(0.1) == math.inf
    assert fit_selective(np.zeros(0), np.zeros(0, bool)).least_confidence(0.5) == math.inf
