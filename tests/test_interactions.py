"""Interactions of fitted heads: gates hidden in noise, shuffled labels, calibration, numbers, too few rows."""

import json
import warnings

import numpy as np
import pytest

from sensorium.measure.interactions import NAMES, binned, decompose, posteriors_of_numbers
from sensorium.measure.partial import decompose_table
from sensorium.types import InputError

FLIP = 0.05
GATES = {
    "copy": lambda a, b: a,
    "unique": lambda a, b: a,
    "and": lambda a, b: a & b,
    "xor": lambda a, b: a ^ b,
}
DOMINANT = {"copy": "redundancy", "unique": "unique_first", "and": "synergy", "xor": "synergy"}


def channel(gate):
    """The exact atoms of a gate whose answer is flipped now and then."""
    p = np.zeros((2, 2, 2))
    for a in range(2):
        for b in range(2):
            if gate != "copy" or a == b:
                p[a, b, GATES[gate](a, b)] += 1 - FLIP
                p[a, b, 1 - GATES[gate](a, b)] += FLIP
    return decompose_table(p)


def bits(gate, rows, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 2, (2, rows))
    b = a if gate == "copy" else b
    return a, b, GATES[gate](a, b) ^ (rng.random(rows) < FLIP)


def hidden(bit, seed):
    """One bit in 32 noisy numbers."""
    rng = np.random.default_rng(seed)
    way = np.random.default_rng(9).normal(size=32)
    return (2 * bit - 1)[:, None] * 2 * way / np.linalg.norm(way) + 0.5 * rng.normal(size=(len(bit), 32))


def learned(gate, *, shuffle=False, rows=2000):
    """Answers of three small networks on rows that they have not seen, their truth, and both inputs."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    (a, b, y), (c, d, truth) = bits(gate, rows, 0), bits(gate, rows, 1)
    if shuffle:
        y, truth = np.random.default_rng(2).permutation(y), np.random.default_rng(3).permutation(truth)
    seen, new = [hidden(a, 4), hidden(b, 5)], [hidden(c, 6), hidden(d, 7)]
    heads = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for s, n in [*zip(seen, new, strict=True), (np.hstack(seen), np.hstack(new))]:
            network = MLPClassifier((24,), alpha=0.5, max_iter=12, random_state=0, learning_rate_init=0.003)
            heads.append(network.fit(s, y).predict_proba(n))
    return heads, truth, tuple(new)


@pytest.mark.parametrize("gate", GATES)
def test_gates_hidden_in_noise(gate):
    heads, truth, inputs = learned(gate)
    found, exact = decompose(*heads, truth, features=inputs if gate == "xor" else None), channel(gate)
    assert found.dominant == DOMINANT[gate]
    for name in NAMES:
        score = getattr(found, name)
        assert score.value == pytest.approx(getattr(exact, name), abs=0.1), name
        assert 0 <= score.low <= score.value <= score.high
    assert found.first.value == pytest.approx(found.redundancy.value + found.unique_first.value, abs=1e-4)
    if gate == "xor":
        assert found.synergy_clustered.value == pytest.approx(exact.synergy, abs=0.1)
        assert found.null["synergy_clustered"].mean > 0.02  # what is taken off
        assert json.loads(json.dumps(found.to_json()))["dominant"] == "synergy"


def test_shuffled_labels_tell_nothing():
    heads, truth, inputs = learned("xor", shuffle=True)
    found = decompose(*heads, truth, features=inputs)
    assert found.dominant == ""
    assert max(getattr(found, name).value for name in NAMES) < 0.02
    assert found.synergy_clustered.value < 0.02
    assert max(found.null[name].high for name in NAMES) < 0.02


def softmax(logits):
    e = np.exp(logits - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def views(classes, rows, *, strength=(2.0, 2.0), seed=0):
    """Two views of a class, independent given it, with their exact posteriors and that of both."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, rows)
    logits = [k * (k * np.eye(classes)[truth] + rng.normal(size=(rows, classes))) for k in strength]
    return softmax(logits[0]), softmax(logits[1]), softmax(logits[0] + logits[1]), truth


def told(head, truth):
    return np.mean(np.log2(head[np.arange(len(truth)), truth] * head.shape[1]))


def test_exact_posteriors_keep_their_information():
    first, second, joint, truth = views(6, 3000)
    found = decompose(first, second, joint, truth)
    for score, head in ((found.first, first), (found.second, second), (found.joint, joint)):
        assert score.low < told(head, truth) < score.high
        assert score.value == pytest.approx(told(head, truth), abs=0.03)
    parts = sum(getattr(found, name).value for name in NAMES)
    assert parts == pytest.approx(found.joint.value, abs=1e-6)
    assert found.entropy.value == pytest.approx(np.log2(6), abs=0.01)
    assert found.cells == (20, 20)


def test_confidence_of_a_head_does_not_matter():
    """Too sure or too shy: the held-out temperature undoes it."""
    first, second, joint, truth = views(3, 2000)
    plain = decompose(first, second, joint, truth)
    sure = decompose(softmax(3 * np.log(first)), softmax(0.3 * np.log(second)), joint, truth)
    for name in NAMES:
        assert getattr(sure, name).value == pytest.approx(getattr(plain, name).value, abs=0.03)


def test_answers_that_assume_other_shares_of_the_classes():
    """Heads trained as if all classes were equally frequent, judged where they are not."""
    first, second, joint, truth = views(2, 6000, strength=(1.2, 1.2))
    keep = (truth == 0) | (np.arange(6000) % 10 == 0)
    heads, truth = [h[keep] for h in (first, second, joint)], truth[keep]
    share = np.bincount(truth) / len(truth)
    right = [h * share / (h * share).sum(1, keepdims=True) for h in heads]
    plain = decompose(*right, truth)
    found = decompose(*heads, truth, prior=np.array([0.5, 0.5]))
    for name in ("first", "second", "joint", "redundancy", "synergy"):
        assert getattr(found, name).value == pytest.approx(getattr(plain, name).value, abs=0.01)
    assert found.first.value > 0.05


def test_swapping_the_modalities_swaps_what_is_unique():
    first, second, joint, truth = views(2, 1500, strength=(1.5, 0.3))
    there, back = decompose(first, second, joint, truth), decompose(second, first, joint, truth)
    assert there.unique_first.value == pytest.approx(back.unique_second.value, abs=0.02)
    assert there.unique_first.value > 0.2
    assert there.unique_second.value < 0.02
    assert there.dominant == "unique_first"


def test_intervals_cover_and_shrink():
    first, second, joint, truth = views(2, 6400, strength=(1.0, 1.0), seed=5)
    whole = decompose(first, second, joint, truth)
    parts = [decompose(*(h[i::8] for h in (first, second, joint)), truth[i::8]) for i in range(8)]
    inside = [p.redundancy.low <= whole.redundancy.value <= p.redundancy.high for p in parts]
    assert sum(inside) >= 6
    wide = np.mean([p.redundancy.high - p.redundancy.low for p in parts])
    assert 1.8 < wide / (whole.redundancy.high - whole.redundancy.low) < 4.5


def test_rows_of_unknown_class_and_classes_without_rows_are_left_out():
    first, second, joint, truth = views(4, 1200)
    heads = [np.insert(h * 0.98, 2, 0.02, axis=1) for h in (first, second, joint)]
    moved = np.where(truth >= 2, truth + 1, truth)
    unknown = np.arange(1200) % 6 == 0
    found = decompose(*heads, np.where(unknown, -1, moved))
    same = decompose(*(h[~unknown] for h in (first, second, joint)), truth[~unknown])
    assert found.rows == 1000
    assert found.redundancy.value == pytest.approx(same.redundancy.value, abs=1e-6)


def test_same_seed_same_answer():
    heads = views(3, 400)
    assert decompose(*heads, seed=3) == decompose(*heads, seed=3)


def test_too_few_rows_say_how_many_are_needed():
    first, second, joint, truth = views(14, 105)
    with pytest.raises(InputError, match="14 classes need 112"):
        decompose(first, second, joint, truth)
    with pytest.raises(InputError, match="2 classes need 100"):
        decompose(*views(2, 99))
    assert decompose(*views(2, 100)).rows == 100


def test_what_does_not_fit_is_refused():
    first, second, joint, truth = views(3, 200)
    with pytest.raises(InputError, match="do not fit"):
        decompose(first, second[:100], joint, truth)
    with pytest.raises(InputError, match="no probabilities"):
        decompose(first, second * 2, joint, truth)
    with pytest.raises(InputError, match="no class number"):
        decompose(first, second, joint, truth + 1)
    with pytest.raises(InputError, match="no class number"):
        decompose(first, second, joint, truth / 2)
    with pytest.raises(InputError, match="same class"):
        decompose(first, second, joint, np.zeros(200, int))
    with pytest.raises(InputError, match="prior"):
        decompose(first, second, joint, truth, prior=np.array([0.5, 0.5]))
    with pytest.raises(InputError, match="features"):
        decompose(first, second, joint, truth, features=(first[:10], second))


def test_numbers_become_classes_of_like_size():
    values = np.random.default_rng(0).normal(size=600)
    values[:3] = np.nan, np.inf, -np.inf
    classes, edges = binned(values, 6)
    assert (classes[:3] == -1).all()
    counts = np.bincount(classes[3:])
    assert len(edges) == 5
    assert counts.min() > 90
    assert counts.max() < 110
    assert (values[3:][classes[3:] == 2] >= edges[1]).all()
    assert (values[3:][classes[3:] == 2] < edges[2]).all()
    tied, cuts = binned(np.array([0.0] * 80 + [1.0] * 15 + [5.0] * 5), 4)
    np.testing.assert_array_equal(np.bincount(tied), [80, 20][: len(np.bincount(tied))])
    assert len(cuts) == len(np.bincount(tied)) - 1
    with pytest.raises(InputError, match="nothing to tell apart"):
        binned(np.ones(5))


def test_predicted_numbers_become_posteriors_that_are_calibrated():
    rng = np.random.default_rng(1)
    mean = rng.normal(size=4000)
    truth = mean + 0.5 * rng.normal(size=4000)
    truth[0] = np.nan
    classes, edges = binned(truth, 5)
    p = posteriors_of_numbers(mean, truth, edges)
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-9)
    np.testing.assert_allclose(p.mean(0), np.bincount(classes[1:]) / 3999, atol=0.02)
    top = p.max(1)[1:].mean()
    assert (p.argmax(1) == classes)[1:].mean() == pytest.approx(top, abs=0.03)
    far = posteriors_of_numbers(mean, mean + np.where(np.arange(4000) % 2, 0.01, 3.0), edges)
    assert far[::2].max(1).mean() > far[1::2].max(1).mean()  # a row's spread comes from the other half
    with pytest.raises(InputError, match="one predicted number"):
        posteriors_of_numbers(mean[:5], truth, edges)


def test_two_sensors_of_a_number():
    """Both predict the same number about as well: redundancy."""
    rng = np.random.default_rng(2)
    number = rng.normal(size=1500)
    one, two = number + 0.5 * rng.normal(size=(2, 1500))
    classes, edges = binned(number, 5)
    heads = [
        posteriors_of_numbers(m, number, edges) for m in (one / 1.25, two / 1.25, (one + two) / 2 / 1.125)
    ]
    found = decompose(*heads, classes)
    assert found.dominant == "redundancy"
    assert found.redundancy.value > 0.5
