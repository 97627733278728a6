"""Zero-shot, few-shot, distillation, co-training and transfer, each in a planted world and beside a control that must fail."""

import json
import math
from itertools import product

import numpy as np
import pytest
import torch

from benchmarks import few_shot as bench
from sensorium.colearning import (
    TEMPLATES,
    Probe,
    answered,
    class_vectors,
    co_train,
    exchanged,
    few_shot,
    fit_probe,
    mixed_losses,
    one_modality,
    paired_test,
    prompts,
    pseudo_labels,
    shuffled_exchange,
    shuffled_names,
    strangers,
    taught_losses,
    transfer,
    zero_shot,
    zero_shot_probe,
)
from sensorium.colearning.shots import NAME
from sensorium.modalities import CARRIERS
from sensorium.types import InputError

CLASSES, WIDE, SCALE = 6, 32, 20.0


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def space(seed: int, *, rows: int = 500, noise: float = 1.8, names: float = 1.0, gap: float = 1.5):
    """Classes, vectors of a modality and vectors of names in one space with a gap between the two: labels, rows, texts."""
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> np.ndarray:
        return rng.normal(size=shape) / shape[-1] ** 0.5

    centres = draw(CLASSES, WIDE)
    labels = rng.integers(0, CLASSES, rows)
    seen = unit(gap * draw(WIDE) + centres[labels] + noise * draw(rows, WIDE))
    said = centres + names * draw(CLASSES, WIDE)
    texts = unit(gap * draw(WIDE) + said[:, None] + 0.3 * draw(CLASSES, 3, WIDE))
    return labels, seen, texts


def drawn(labels: np.ndarray, each: int, rng: np.random.Generator) -> np.ndarray:
    """Numbers of so many random rows of each class."""
    return np.concatenate([rng.permutation(np.flatnonzero(labels == c))[:each] for c in np.unique(labels)])


def right(said: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return said.argmax(1) == labels


# --- zero-shot -------------------------------------------------------------------------------------------------------


def test_a_class_is_the_mean_of_its_prompts():
    _, seen, texts = space(0)
    longer = texts * np.array([1.0, 5.0, 0.2])[:, None]  # the length of a text's vector says nothing
    means = [unit(np.mean([unit(t) for t in one], axis=0)) for one in longer]
    np.testing.assert_allclose(class_vectors(longer), means, atol=1e-12)
    logits = SCALE * seen @ np.array(means).T
    expected = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    np.testing.assert_allclose(zero_shot(3 * seen, longer, scale=SCALE), expected, atol=1e-9)


def test_prompts_that_hold_nothing_do_not_count():
    _, seen, texts = space(0)
    holes = np.concatenate([texts, np.zeros_like(texts[:, :1])], axis=1)
    np.testing.assert_allclose(class_vectors(holes), class_vectors(texts))
    holes[2] = 0
    with pytest.raises(InputError, match="no word"):
        class_vectors(holes)
    nothing = zero_shot(np.zeros((2, WIDE)), texts, scale=SCALE)
    np.testing.assert_allclose(nothing, -math.log(CLASSES))


def test_templates_hold_the_name():
    assert set(TEMPLATES) == set(CARRIERS)
    for templates in TEMPLATES.values():
        made = prompts(["a dog", "the {sea}"], templates)
        assert all("a dog" in p for p in made[0])
        assert all("the {sea}" in p for p in made[1])
        assert made[0][0] == "a dog"
    assert prompts(["x", "y"], [str.upper]) == [["X"], ["Y"]]
    for names, templates in ((["x", "y"], ["a photo"]), (["x", "y"], []), (["x"], ["{}"]), (["x", " x"], ["{}"]), (["x", ""], ["{}"])):  # fmt: skip
        with pytest.raises(InputError):
            prompts(names, templates)


# --- few-shot --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shots():
    """Rights of every way of answering, (seeds, rows), by labels of each class."""
    labels, seen, texts = space(7, rows=700)
    held, found = slice(300, None), {}
    for each, seed in product((1, 2, 4, 8), range(5)):
        rng = np.random.default_rng(seed)
        rows = drawn(labels[:300], each, rng)
        x, y = seen[rows], labels[rows]
        ways = {
            "names": few_shot(x, y, texts),
            "rows": one_modality(x, y, classes=CLASSES),
            "shuffled": few_shot(x, y, shuffled_names(texts, rng)),
            "zero": zero_shot_probe(texts, scale=SCALE),
        }
        for way, probe in ways.items():
            found.setdefault((each, way), []).append(right(probe.answer(seen[held]), labels[held]))
    return {k: np.array(v) for k, v in found.items()}


@pytest.mark.parametrize("each", [1, 2, 4, 8])
def test_names_help_and_shuffled_names_do_not(shots, each):
    gain = paired_test(shots[each, "names"], shots[each, "rows"])
    assert gain.gain > 0
    assert gain.p < 0.05
    assert min(gain.gains) > -0.02, "no draw of the labelled rows loses more than noise"
    assert paired_test(shots[each, "shuffled"], shots[each, "rows"]).gain < 0
    assert shots[each, "names"].mean() > shots[each, "zero"].mean()


def test_names_matter_less_with_every_row(shots):
    gains = [shots[k, "names"].mean() - shots[k, "rows"].mean() for k in (1, 2, 4, 8)]
    assert gains == sorted(gains, reverse=True)
    lost = [shots[k, "rows"].mean() - shots[k, "shuffled"].mean() for k in (1, 2, 4, 8)]
    assert lost[-1] < lost[0], "rows overrule wrong names"


def test_names_that_say_little_cost_little():
    labels, seen, texts = space(11, names=4.0)
    for each in (2, 8):
        found = []
        for seed in range(5):
            rows = drawn(labels[:250], each, np.random.default_rng(seed))
            x, y = seen[rows], labels[rows]
            probes = few_shot(x, y, texts), one_modality(x, y, classes=CLASSES)
            found.append([right(p.answer(seen[250:]), labels[250:]).mean() for p in probes])
        assert np.subtract(*np.mean(found, axis=0)) > -0.03


def test_no_row_leaves_the_names():
    labels, seen, texts = space(3, gap=0.0, names=0.3)
    none = few_shot(np.zeros((0, WIDE)), np.zeros(0, int), texts)
    alike = none.answer(seen).argmax(1) == zero_shot(seen, texts, scale=SCALE).argmax(1)
    assert alike.mean() > 0.9
    one = np.flatnonzero(labels == 2)[:3]
    some = few_shot(seen[one], labels[one], texts)
    assert right(some.answer(seen), labels).mean() > right(none.answer(seen), labels).mean() - 0.1


def test_captions_are_samples_too():
    labels, seen, texts = space(5, names=1.5, noise=2.5)
    better = []
    for seed in range(5):
        rows = drawn(labels[:250], 2, np.random.default_rng(seed))
        plain = few_shot(seen[rows], labels[rows], texts)
        more = few_shot(seen[rows], labels[rows], texts, captions=seen[:100], caption_labels=labels[:100])
        better.append([right(p.answer(seen[250:]), labels[250:]).mean() for p in (more, plain)])
    assert np.subtract(*np.mean(better, axis=0)) > 0.05
    with pytest.raises(InputError, match="captions have no labels"):
        few_shot(seen[:9], labels[:9], texts, captions=seen[:9])


def test_the_benchmark_tells_what_it_measures(capsys):
    bench.main(["--minutes", "0", "--seeds", "1"])
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [r["labels_of_each_class"] for r in rows] == [1, 2, 4, 8] * 3
    for row in rows:
        assert row["gain"] == pytest.approx(row["right"]["names"] - row["right"]["probe"], abs=2e-4)
    assert rows[0]["reached"]


def test_a_name_is_so_many_rows():
    labels, seen, texts = space(8, rows=40)
    names = class_vectors(texts)
    each = np.arange(CLASSES)
    twice = one_modality(
        np.concatenate([names, names, seen]), np.concatenate([each, each, labels]), classes=CLASSES
    )
    assert NAME == 2
    np.testing.assert_allclose(few_shot(5 * seen, labels, texts).weights, twice.weights, atol=1e-3)


def test_a_probe_finds_the_least_loss():
    labels, seen, _ = space(2, rows=60)
    probe = fit_probe(seen, labels, classes=CLASSES, centre=seen.mean(0), scale=5.0)
    spread = float(np.sqrt(((seen - seen.mean(0)) ** 2).sum(1).mean()))
    x = torch.from_numpy((seen - seen.mean(0)) / spread)
    weights = torch.from_numpy(probe.weights * spread).requires_grad_()
    start = torch.from_numpy(probe.start).requires_grad_()
    cost = torch.nn.functional.cross_entropy(x @ weights.T + start, torch.from_numpy(labels), reduction="sum")
    (cost + WIDE / 25 * (weights**2).sum() / 2 + 0.1 * (start**2).sum() / 2).backward()
    assert float(weights.grad.abs().max()) < 1e-3
    assert float(start.grad.abs().max()) < 1e-3


def test_what_does_not_fit_is_told():
    labels, seen, texts = space(1, rows=20)
    broken = seen.copy()
    broken[3, 4] = np.nan
    bad = [
        lambda: few_shot(seen[:, :-1], labels, texts),
        lambda: few_shot(broken, labels, texts),
        lambda: few_shot(seen, labels + 1, texts),
        lambda: few_shot(seen, labels.astype(float), texts),
        lambda: few_shot(seen, labels, texts[0]),
        lambda: one_modality(seen, np.full(20, -1), classes=CLASSES),
        lambda: zero_shot(seen, texts, scale=-1.0),
        lambda: zero_shot_probe(texts, scale=SCALE).answer(seen[:, :3]),
        lambda: co_train(seen, seen[:5], labels, classes=CLASSES),
        lambda: transfer(seen, labels, np.zeros((3, WIDE)), classes=CLASSES),
        lambda: paired_test(np.ones(1, bool), np.ones(2, bool)),
        lambda: strangers(1, np.random.default_rng(0)),
        lambda: pseudo_labels(np.ones((4, 2)), most=np.ones(3)),
    ]
    for ask in bad:
        with pytest.raises(InputError):
            ask()


# --- comparing -------------------------------------------------------------------------------------------------------


def test_the_paired_test_is_exact():
    rng = np.random.default_rng(0)
    first, second = rng.random((2, 12)) < 0.6, rng.random((2, 12)) < 0.4
    each = (first.astype(int) - second).sum(0)
    sums = np.array([np.dot(signs, each) for signs in product((-1, 1), repeat=12)])
    expected = (np.abs(sums) >= abs(each.sum())).mean()
    found = paired_test(first, second)
    assert found.p == pytest.approx(expected)
    assert found.gain == pytest.approx(each.sum() / 24)
    assert found.gains == pytest.approx((first.mean(1) - second.mean(1)).tolist())


def test_with_one_training_it_is_mcnemar():
    from scipy.stats import binomtest

    first = np.array([True] * 14 + [False] * 4 + [True] * 20)
    second = np.array([False] * 14 + [True] * 4 + [True] * 20)
    assert paired_test(first, second).p == pytest.approx(binomtest(14, 18, 0.5).pvalue)
    assert paired_test(first, first).p == 1.0


def test_strangers_keep_nothing():
    rng = np.random.default_rng(0)
    for rows in (2, 3, 50):
        dealt = strangers(rows, rng)
        assert sorted(dealt) == list(range(rows))
        assert not (dealt == np.arange(rows)).any()
    groups = np.array(list("aabbbcccd"))
    dealt = strangers(9, rng, within=groups)
    assert not (dealt == np.arange(9)).any()
    assert sorted(dealt) == list(range(9))
    assert (groups[dealt] == groups)[:8].sum() >= 7, (
        "only the one that is alone goes elsewhere, and one comes for it"
    )


# --- distillation ----------------------------------------------------------------------------------------------------


def test_a_teacher_s_loss_is_a_divergence():
    torch.manual_seed(0)
    student, teacher = torch.randn(5, 4, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)
    p, q = (torch.softmax(x / 3, 1) for x in (teacher, student))
    expected = 9 * (p * (p / q).log()).sum(1)
    torch.testing.assert_close(taught_losses(student, teacher, kind="category", temperature=3.0), expected)
    yes, no = (torch.sigmoid(x / 3) for x in (teacher, student))
    both = yes * (yes / no).log() + (1 - yes) * ((1 - yes) / (1 - no)).log()
    torch.testing.assert_close(
        taught_losses(student, teacher, kind="labels", temperature=3.0), 9 * both.mean(1)
    )
    for kind in ("category", "labels", "number"):
        alike = taught_losses(student[:, :1], student[:, :1], kind=kind)
        torch.testing.assert_close(alike, torch.zeros(5, dtype=torch.float64))
    with pytest.raises(InputError):
        taught_losses(student, teacher, kind="category", temperature=0.0)


@pytest.mark.parametrize("kind", ["category", "labels", "number"])
def test_rows_without_a_teacher_teach_nothing(kind):
    student = torch.randn(4, 3, requires_grad=True)
    teacher = torch.randn(4, 3)
    teacher[1] = torch.nan
    loss = taught_losses(student, teacher, kind=kind)
    assert answered(teacher).tolist() == [True, False, True, True]
    loss.sum().backward()
    assert float(loss[1].detach()) == 0
    assert torch.isfinite(student.grad).all(), "a masked row must not hide a gradient of NaN"
    assert not student.grad[1].any()


def test_rows_get_what_they_have():
    own, taught = (
        torch.tensor([1.0, 1.0, torch.nan, torch.nan]),
        torch.tensor([3.0, torch.nan, 3.0, torch.nan]),
    )
    known, told = torch.tensor([True, True, False, False]), torch.tensor([True, False, True, False])
    found = mixed_losses(own, taught, known=known, told=told, share=0.25)
    assert found.tolist() == [1.5, 1.0, 3.0, 0.0]
    with pytest.raises(InputError):
        mixed_losses(own, taught, known=known, told=told, share=1.5)


def student(x: torch.Tensor, labels: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """A linear classifier trained on labels (-1: none) and on what the teacher says of each row."""
    weights = torch.zeros(x.shape[1], 3, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([weights], max_iter=60)

    def closure() -> torch.Tensor:
        search.zero_grad()
        logits = x @ weights
        own = torch.nn.functional.cross_entropy(logits, labels.clamp(min=0), reduction="none")
        taught = taught_losses(logits, teacher, kind="category")
        loss = (
            mixed_losses(own, taught, known=labels >= 0, told=answered(teacher)).sum()
            + 0.5 * (weights**2).sum()
        )
        loss.backward()
        return loss

    search.step(closure)
    return weights.detach()


def test_a_teacher_that_saw_more_helps_a_student_that_sees_less():
    """The privileged modality is a clean view of what the student's rows hold noisily; it is absent at prediction."""
    gains, controls = [], []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        mix = rng.normal(size=(25, 3))
        x = rng.normal(size=(600, 25))
        clean = x @ mix / 2
        labels = (clean + rng.gumbel(size=clean.shape)).argmax(1)
        best = clean.argmax(1)[100:]
        seen, y = torch.from_numpy(x), torch.from_numpy(labels)
        privileged = fit_probe(clean[:100], labels[:100], classes=3, centre=clean[:100].mean(0))
        said = torch.from_numpy(privileged.answer(clean[:100]))
        nobody = torch.full_like(said, torch.nan)
        dealt = said[torch.from_numpy(strangers(100, rng, within=labels[:100]))]
        score = [
            (np.asarray(seen[100:] @ student(seen[:100], y[:100], t)).argmax(1) == best).mean()
            for t in (said, nobody, dealt)
        ]
        gains.append(score[0] - score[1])
        controls.append(score[2] - score[1])
    assert min(gains) > 0
    assert np.mean(gains) > 0.05
    assert np.mean(controls) < 0.01, "another row's answer, even one of the same class, is no help"


def test_a_teacher_makes_rows_without_labels_count():
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(25, 3))
    x = rng.normal(size=(800, 25))
    clean = x @ mix
    seen, y = torch.from_numpy(x), torch.from_numpy(clean.argmax(1))
    said = torch.from_numpy(clean[:400])
    few = y[:400].clone()
    few[30:] = -1
    score = [
        float(((seen[400:] @ student(seen[:400], few, t)).argmax(1) == y[400:]).double().mean())
        for t in (said, torch.full_like(said, torch.nan), said[torch.from_numpy(strangers(400, rng))])
    ]
    assert score[0] > score[1] + 0.1
    assert score[2] < score[1] + 0.02


# --- co-training -----------------------------------------------------------------------------------------------------


def test_the_surest_rows_of_each_class_are_labelled():
    said = np.array([[0.97, 0.03], [0.96, 0.04], [0.99, 0.01], [0.6, 0.4], [0.02, 0.98], [np.nan, np.nan]])
    assert pseudo_labels(said).tolist() == [0, 0, 0, -1, 1, -1]
    assert pseudo_labels(said, most=np.array([1, 5])).tolist() == [-1, -1, 0, -1, 1, -1]
    assert pseudo_labels(said, least=0.0, most=np.array([4, 0])).tolist() == [0, 0, 0, 0, -1, -1]


def test_each_is_labelled_by_the_other_and_never_where_both_are_sure_of_different_things():
    first = np.array([[0.99, 0.01], [0.99, 0.01], [0.6, 0.4], [0.99, 0.01]])
    second = np.array([[0.6, 0.4], [0.01, 0.99], [0.01, 0.99], [0.6, 0.4]])
    free = np.array([True, True, True, False])
    for_first, for_second = exchanged(first, second, free, np.array([9, 9]), least=0.95)
    assert for_first.tolist() == [-1, -1, 1, -1]
    assert for_second.tolist() == [0, -1, -1, -1]


def test_two_modalities_teach_each_other():
    """They are independent given the class; a fifth of the rows lack one of the two."""
    ways: dict = {"labels": [], "both": [], "shuffled": []}
    for seed in range(5):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 4, 600)
        views = [
            rng.normal(size=(4, 24))[labels] / 5 + spread * rng.normal(size=(600, 24)) / 5 + 1.0
            for spread in (1.6, 2.0)
        ]
        for view, lost in zip(views, np.split(rng.permutation(600)[:120], 2), strict=True):
            view[lost] = 0
        told = np.full(400, -1)
        rows = drawn(labels[:400], 3, rng)
        told[rows] = labels[rows]
        train, held = [v[:400] for v in views], [v[400:] for v in views]
        plans = {"labels": {"rounds": 0}, "both": {}, "shuffled": {"exchange": shuffled_exchange(rng)}}
        for way, plan in plans.items():
            pair = co_train(*train, told, classes=4, **plan)
            said = pair.answer(*held)
            np.testing.assert_allclose(np.exp(said).sum(1), 1)
            ways[way].append(right(said, labels[400:]))
    ways = {k: np.array(v) for k, v in ways.items()}
    gain = paired_test(ways["both"], ways["labels"])
    assert gain.gain > 0.02
    assert gain.p < 0.01
    assert paired_test(ways["shuffled"], ways["labels"]).gain < 0


def test_what_both_lack_is_answered_by_the_prior():
    labels, seen, _ = space(4, rows=60)
    pair = co_train(seen, seen[:, ::-1], labels, classes=CLASSES, rounds=0)
    nothing = pair.answer(np.zeros((1, WIDE)), np.zeros((1, WIDE)))[0]
    counts = np.bincount(labels, minlength=CLASSES) + 1
    np.testing.assert_allclose(np.exp(nothing), counts / counts.sum())
    alone = pair.answer(seen[:5], np.zeros((5, WIDE)))
    np.testing.assert_allclose(alone, pair.first.answer(seen[:5]), atol=1e-12)


# --- transfer --------------------------------------------------------------------------------------------------------


def test_labels_of_one_modality_answer_for_another():
    """Both lie in one space, each around a mean of its own; in the control they were never paired."""
    paired, apart, unpaired = [], [], []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        centres = rng.normal(size=(CLASSES, WIDE)) / WIDE**0.5
        labels, others = rng.integers(0, CLASSES, 150), rng.integers(0, CLASSES, 300)
        first, second = (
            unit(
                2 * unit(rng.normal(size=WIDE))
                + centres[y]
                + 0.7 * rng.normal(size=(len(y), WIDE)) / WIDE**0.5
            )
            for y in (labels, others)
        )
        turn = np.eye(WIDE)[rng.permutation(WIDE)] * rng.choice([-1, 1], WIDE)
        plain = fit_probe(first, labels, classes=CLASSES, centre=first.mean(0))
        paired.append(right(transfer(first, labels, second, classes=CLASSES).answer(second), others).mean())
        apart.append(right(plain.answer(second), others).mean())
        unpaired.append(
            right(
                transfer(first, labels, second @ turn, classes=CLASSES).answer(second @ turn), others
            ).mean()
        )
    assert np.mean(paired) > 0.9
    assert np.mean(paired) > np.mean(apart) + 0.1, "the gap must be taken off"
    assert np.mean(unpaired) < 1 / CLASSES + 0.15, "whole classes may fall on each other by chance"


def test_a_probe_is_arrays():
    labels, seen, texts = space(6)
    probe = few_shot(seen[:20], labels[:20], texts)
    again = Probe(**{k: np.asarray(getattr(probe, k).tolist()) for k in ("weights", "centre", "start")})
    np.testing.assert_array_equal(again.answer(seen), probe.answer(seen))
