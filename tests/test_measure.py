"""Scores, intervals and calibration against independent references."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from sensorium.measure import calibration, ranking, scores
from sensorium.measure.resample import weights
from sensorium.types import InputError


def some_answers(rows: int, classes: int, seed: int = 0, held: int | None = None):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, held or classes, rows)
    answers = np.round(rng.dirichlet(np.ones(classes), rows), 2) + 0.01  # rounded: with ties
    answers += 0.4 * np.eye(classes)[truth] * np.round(rng.random((rows, 1)), 1)
    return answers / answers.sum(1, keepdims=True), truth


@pytest.mark.parametrize(("rows", "classes", "held"), [(400, 2, 2), (500, 5, 5), (300, 7, 4), (900, 90, 90)])
def test_category_scores_equal_scikit_learn(rows, classes, held):
    answers, truth = some_answers(rows, classes, held=held)
    found = {k: s.value for k, s in scores.category_scores(answers, truth).items()}
    said, present = answers.argmax(1), np.unique(truth)
    onehot = np.eye(classes)[truth]
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(truth, said))
    assert found["macro_f1"] == pytest.approx(sk.f1_score(truth, said, labels=present, average="macro"))
    assert found["balanced_accuracy"] == pytest.approx(
        sk.recall_score(truth, said, labels=present, average="macro")
    )
    assert found["nll"] == pytest.approx(
        sk.log_loss(truth, np.maximum(answers, scores.TINY), labels=range(classes)), rel=1e-4
    )
    assert found["brier"] == pytest.approx(((answers - onehot) ** 2).sum(1).mean())
    areas = [sk.roc_auc_score(truth == c, answers[:, c]) for c in present]
    assert found["auroc"] == pytest.approx(np.mean(areas))
    assert found["ece"] == pytest.approx(calibration.ece(answers, truth))
    assert scores.macro_f1(said, truth) == pytest.approx(found["macro_f1"])


def test_label_scores_equal_scikit_learn():
    rng = np.random.default_rng(1)
    truth = rng.random((400, 6)) < 0.2
    truth[:, 5] = False  # a label that the truth never holds
    answers = np.round(np.clip(truth * 0.3 + rng.random((400, 6)) * 0.7, 0, 1), 2)
    found = {k: s.value for k, s in scores.label_scores(answers, truth).items()}
    said = answers >= 0.5
    assert found["micro_f1"] == pytest.approx(sk.f1_score(truth, said, average="micro"))
    assert found["macro_f1"] == pytest.approx(sk.f1_score(truth[:, :5], said[:, :5], average="macro"))
    assert found["subset_accuracy"] == pytest.approx(sk.accuracy_score(truth, said))
    precision = [sk.average_precision_score(truth[:, c], answers[:, c]) for c in range(5)]
    assert found["mean_average_precision"] == pytest.approx(np.mean(precision))
    assert found["auroc"] == pytest.approx(
        np.mean([sk.roc_auc_score(truth[:, c], answers[:, c]) for c in range(5)])
    )


def test_number_scores_equal_scikit_learn_and_scipy():
    from scipy import stats

    rng = np.random.default_rng(2)
    truth = rng.normal(5e4, 30, 300).round()
    said = truth + rng.normal(0, 20, 300).round()
    found = {k: s.value for k, s in scores.number_scores(said, truth).items()}
    assert found["r2"] == pytest.approx(sk.r2_score(truth, said))
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(truth, said))
    assert found["rmse"] == pytest.approx(sk.root_mean_squared_error(truth, said))
    assert found["pearson"] == pytest.approx(stats.pearsonr(truth, said).statistic)
    assert found["spearman"] == pytest.approx(stats.spearmanr(truth, said).statistic)


def brute(statistic, rows, draws=300):
    rng = np.random.default_rng(3)
    found = [statistic(rng.integers(0, rows, rows)) for _ in range(draws)]
    return np.quantile(found, [0.025, 0.975])


def test_intervals_agree_with_resampling_rows_one_by_one():
    answers, truth = some_answers(400, 4, seed=5)
    found, said = scores.category_scores(answers, truth), answers.argmax(1)
    slow = {
        "macro_f1": lambda i: scores.macro_f1(said[i], truth[i]),
        "auroc": lambda i: np.mean([sk.roc_auc_score(truth[i] == c, answers[i, c]) for c in range(4)]),
        "brier": lambda i: ((answers[i] - np.eye(4)[truth[i]]) ** 2).sum(1).mean(),
        "ece": lambda i: calibration.ece(answers[i], truth[i]),
    }
    for name, statistic in slow.items():
        low, high = brute(statistic, 400)
        assert (found[name].low, found[name].high) == pytest.approx((low, high), abs=0.25 * (high - low)), (
            name
        )
        assert found[name].low <= found[name].value <= found[name].high


def test_intervals_of_ranked_labels_and_numbers_agree_with_resampling():
    rng = np.random.default_rng(6)
    truth = rng.random((500, 3)) < 0.25
    answers = np.clip(truth * 0.25 + rng.random((500, 3)) * 0.7, 0, 1)
    found = scores.label_scores(answers, truth)["mean_average_precision"]
    low, high = brute(
        lambda i: np.mean([sk.average_precision_score(truth[i, c], answers[i, c]) for c in range(3)]), 500
    )
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.3 * (high - low))
    y = rng.normal(size=300)
    said = y + rng.normal(size=300)
    for name, slow in (("r2", sk.r2_score), ("rmse", sk.root_mean_squared_error)):
        score = scores.number_scores(said, y)[name]
        low, high = brute(lambda i, slow=slow: slow(y[i], said[i]), 300)
        assert (score.low, score.high) == pytest.approx((low, high), abs=0.2 * (high - low))


def test_an_interval_covers_the_true_rate_about_as_often_as_it_says():
    rng, hits = np.random.default_rng(7), 0
    for trial in range(100):
        truth = (rng.random(120) > 0.8).astype(int)  # the constant answer 0 is right in 80 %
        score = scores.category_scores(np.tile([0.9, 0.1], (120, 1)), truth, seed=trial)["accuracy"]
        hits += score.low <= 0.8 <= score.high
    assert 88 <= hits <= 100


def test_ten_rows_that_are_all_right_do_not_make_certain():
    found = scores.category_scores(np.eye(2)[[0, 1] * 5], np.array([0, 1] * 5))["accuracy"]
    assert found.value == found.high == 1.0
    assert found.low < 0.75


@pytest.mark.parametrize("kind", ["category", "labels", "number"])
def test_five_thousand_rows_are_scored_fast(kind):
    answers, truth = some_answers(5000, 10)
    given = {
        "category": (answers, truth),
        "labels": (answers, np.eye(10)[truth]),
        "number": (answers[:, 0], answers[:, 1]),
    }[kind]
    began = time.process_time()
    scores.SCORERS[kind](*given)
    assert time.process_time() - began < 0.6  # about 0.07 on a free core


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 40), st.integers(0, 10**6))
def test_slopes_of_ranked_figures_are_derivatives(rows, seed):
    rng = np.random.default_rng(seed)
    score, positive = rng.integers(0, 6, rows) / 6, rng.random(rows) < 0.5
    for figure, slow in (
        (ranking.roc_area, sk.roc_auc_score),
        (ranking.average_precision, sk.average_precision_score),
    ):
        found = figure(score, positive)
        if found is None or positive.all():
            continue
        value, slope = found
        assert value == pytest.approx(slow(positive, score))
        row, step = int(rng.integers(rows)), 1e-5
        weight = np.ones(rows)
        weight[row] += step
        moved = (slow(positive, score, sample_weight=weight) - value) / step
        assert slope[row] == pytest.approx(moved, abs=1e-3)
        assert slope.sum() == pytest.approx(0, abs=1e-9)


def test_bootstrap_weights_draw_as_many_rows_as_there_are():
    drawn = np.concatenate(list(weights(70)))
    assert drawn.shape == (1000, 70)
    assert (drawn.sum(1) == 70).all()
    assert drawn.mean() == pytest.approx(1)
    assert drawn.var() == pytest.approx(1 - 1 / 70, abs=0.03)


@pytest.mark.parametrize("scorer", scores.SCORERS.values())
def test_nothing_to_score_is_said(scorer):
    with pytest.raises(InputError, match="nothing to score"):
        scorer(np.zeros((0, 3)), np.zeros(0, int))


def test_one_row_and_one_class_are_scored_without_a_warning():
    one = scores.category_scores(np.array([[0.2, 0.8]]), np.array([1]))
    assert one["macro_f1"].low == one["macro_f1"].high == 1
    assert "auroc" not in one
    assert set(scores.number_scores(np.array([1.0]), np.array([2.0]))) == {"mae", "rmse"}
    only = scores.category_scores(np.ones((5, 1)), np.zeros(5, int))
    assert (only["accuracy"].value, only["nll"].value) == (1, 0)
    assert scores.label_scores(np.array([[0.9, 0.1]]), np.array([[True, False]]))["micro_f1"].value == 1
    none = scores.label_scores(np.full((4, 2), 0.1), np.zeros((4, 2), bool))
    assert none["subset_accuracy"].value == 1
    assert "macro_f1" not in none


def test_constant_numbers_have_errors_but_no_correlation():
    assert set(scores.number_scores(np.arange(5.0), np.full(5, 0.1))) == {"mae", "rmse"}
    assert set(scores.number_scores(np.full(5, 0.1), np.arange(5.0))) == {"r2", "mae", "rmse"}


def test_a_class_that_training_never_saw_counts_as_wrong():
    answers = np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    found = scores.category_scores(answers, np.array([0, 0, 1, -1]))
    assert found["accuracy"].value == 0.75
    assert found["macro_f1"].value == pytest.approx((0.8 + 1 + 0) / 3)
    assert found["brier"].value == pytest.approx(np.mean([0.02, 0.02, 0.08, 1 + 0.36 + 0.16]))
    table = scores.confusion(answers.argmax(1), np.array([0, 0, 1, -1]), 2)
    assert table.tolist() == [[2, 0], [0, 1]]


@pytest.mark.parametrize(
    ("answers", "truth"),
    [
        (np.ones((2, 2)), np.zeros(3, int)),
        (np.full((2, 2), np.nan), np.zeros(2, int)),
        (np.ones((2, 2)), np.array([0, 2])),
    ],
)
def test_answers_that_cannot_be_scored_are_refused(answers, truth):
    with pytest.raises(InputError):
        scores.category_scores(answers, truth)


def test_the_headline_follows_the_balance_of_the_classes():
    assert scores.headline("number") == "r2"
    assert scores.headline("labels", (5, 90)) == "micro_f1"
    assert scores.headline("category", (50, 50)) == "accuracy"
    assert scores.headline("category", {"a": 90, "b": 10}) == "macro_f1"
    assert scores.headline("category", [60, 30, 10]) == "macro_f1"
    assert scores.headline("category", [20, *[10] * 9]) == "accuracy"
    assert scores.headline("category", [200, *[10] * 9]) == "macro_f1"
    assert scores.headline("category") == "accuracy"


@pytest.mark.parametrize("true_t", [0.5, 1.0, 2.5])
def test_temperature_finds_what_the_logits_were_heated_by(true_t):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (6000, 4))
    odds = np.exp(logits)
    truth = np.array([rng.choice(4, p=o / o.sum()) for o in odds])
    assert calibration.temperature(logits * true_t, truth) == pytest.approx(true_t, rel=0.06)
    labels = rng.random((6000, 4)) < 1 / (1 + np.exp(-logits))
    assert calibration.temperature(logits * true_t, labels) == pytest.approx(true_t, rel=0.06)


def test_temperature_is_the_minimum_that_scipy_finds():
    from scipy.optimize import minimize_scalar

    rng = np.random.default_rng(1)
    logits, truth = rng.normal(0, 3, (200, 3)), rng.integers(0, 3, 200)

    def cost(log_t):
        return (
            sk.log_loss(
                truth, np.exp(logits / np.exp(log_t)) / np.exp(logits / np.exp(log_t)).sum(1, keepdims=True)
            )
            * 200
            + log_t**2 / 2
        )

    best = minimize_scalar(cost, bounds=(np.log(0.05), np.log(20)), method="bounded")
    assert calibration.temperature(logits, truth) == pytest.approx(np.exp(best.x), rel=1e-3)


def test_temperature_stays_in_bounds_and_careful_with_few_rows():
    sure = np.eye(3)[[0, 1, 2]] * 50
    assert 0.05 <= calibration.temperature(sure, np.array([0, 1, 2])) <= 20
    assert calibration.temperature(np.eye(3) * 2, np.array([0, 1, 2])) > 0.2
    assert calibration.temperature(sure, np.array([1, 2, 0])) == pytest.approx(20, rel=1e-2)
    assert calibration.temperature(np.zeros((0, 3)), np.zeros(0, int)) == 1.0


def test_reliability_bins_hold_every_row_and_give_the_error_back():
    answers, truth = some_answers(500, 3)
    bins = calibration.reliability(answers, truth, bins=15)
    assert sum(b["count"] for b in bins) == 500
    gap = sum(b["count"] * abs(b["accuracy"] - b["confidence"]) for b in bins) / 500
    assert gap == pytest.approx(calibration.ece(answers, truth))
    assert sum(b["count"] for b in calibration.reliability(answers, np.eye(3)[truth])) == 1500
    exact = calibration.ece(np.array([[0.75, 0.25]] * 4), np.array([0, 0, 0, 1]))
    assert exact == pytest.approx(0)
