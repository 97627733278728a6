"""Explanations find what was planted, and pass the checks that a wrong explanation fails."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from explain_worlds import OUTPUTS, TARGET, TASK, learned, world
from sklearn.metrics import roc_auc_score

from sensorium.explain import Attribution, integrated_gradients, sanity
from sensorium.explain.sanity import CELLS, cells, deletion, redrawn, redrawn_correlation, spearman
from sensorium.training import answer_all
from sensorium.types import InputError

ROWS = 12
HELD = world(ROWS, 7)


@cache
def explained() -> list[Attribution]:
    """The attributions of held-out rows for their true class."""
    return integrated_gradients(learned(), TASK, HELD.rows, OUTPUTS, which=HELD.classes)


def seen(part: np.ndarray, name: str) -> np.ndarray:
    """What people see: pixels, words, and spans of four steps (a wave is zero twice in each of its turns)."""
    if name == "text":
        return part
    return part.sum(-1) if name == "image" else np.convolve(part.sum(-1), np.ones(4), mode="same")


def auroc(attributions: list[Attribution], name: str) -> float:
    """Mean area under the curve of planted against all other places, over rows that have something planted."""
    return float(
        np.mean(
            [
                roc_auc_score(where[name].ravel(), seen(a.parts[name], name).ravel())
                for a, where in zip(attributions, HELD.planted, strict=True)
                if where[name].any()
            ]
        )
    )


def test_the_network_has_learned_the_planted_world():
    heads, _, _ = answer_all(learned(), TASK, HELD.rows)
    assert {n: (v.argmax(1) == HELD.classes).mean() >= 0.9 for n, v in heads.items()} == dict.fromkeys(
        heads, True
    )


@pytest.mark.parametrize("name", ["image", "text", "series"])
def test_planted_evidence_is_found_among_louder_things(name):
    assert auroc(explained(), name) > 0.95


def test_networks_that_learned_nothing_find_nothing():
    found = [
        integrated_gradients(redrawn(learned(), TASK, seed=seed), TASK, HELD.rows, OUTPUTS, steps=8, most=8)
        for seed in range(3)
    ]
    for name in ("image", "text", "series"):
        assert abs(np.mean([auroc(each, name) for each in found]) - 0.5) < 0.2, name


def test_attributions_are_complete_to_a_hundredth():
    for a, kind in zip(explained(), HELD.classes, strict=True):
        change = a.value - a.baseline
        assert abs(sum(a.totals.values()) - change) <= 0.01 * max(abs(change), 0.1)
        if kind < 3:
            assert a.error < 0.01
            assert change > 1, "the signs speak for their class"


def test_sanity_passes_for_a_trained_network_and_is_plain_numbers():
    rows = HELD.rows[:8]
    found = sanity(
        learned(), TASK, [{}, *rows], OUTPUTS, attributions=[explained()[0], *explained()[:8]], draws=3
    )
    told = found.to_json()
    assert told["rows"] == 8
    assert all(isinstance(v, int | float) for v in told.values())
    assert told["completeness_median"] < 0.01
    assert told["completeness_median"] <= told["completeness_most"] < 0.05
    assert found.deletion < found.random - 3 * found.random_spread
    assert abs(found.redrawn) < 0.2


def test_a_wrong_explanation_fails_deletion():
    """Attributions put on the wrong places take away no more than chance."""
    rng = np.random.default_rng(0)
    mixed = [
        replace(a, parts={n: rng.permutation(p.ravel()).reshape(p.shape) for n, p in a.parts.items()})
        for a in explained()
    ]
    some = slice(0, 8)
    falls = deletion(learned(), TASK, HELD.rows[some], OUTPUTS, mixed[some], draws=3, seed=0).mean(0)
    right = deletion(learned(), TASK, HELD.rows[some], OUTPUTS, explained()[some], draws=1, seed=0).mean(0)
    assert falls[0] > falls[1:].mean() - 0.35 * (falls[1:].mean() - right[0])
    assert right[0] < 0.5 * right[1]


def test_rank_correlations_are_those_of_each_row_and_modality():
    some = HELD.rows[:2]
    ours = explained()[:2]
    signed, sizes = redrawn_correlation(learned(), TASK, some, OUTPUTS, ours, draws=1, seed=0)
    assert len(signed) == len(sizes) == 6, "rows times modalities"
    assert sizes.mean() > signed.mean(), "sizes share the input"
    assert all(spearman(p.ravel(), 2 * p.ravel()) == pytest.approx(1) for p in ours[0].parts.values())


def test_spearman_equals_scipy_s():
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, 40), rng.normal(size=40)
    assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert spearman(np.ones(4), np.arange(4)) == 0


def test_cells_cover_a_grid_without_gaps():
    by_name = {m.name: m for m in TASK.modalities}
    found = cells(by_name["image"], (32, 20, 3))
    assert found.shape == (32, 20, 3)
    assert sorted(np.unique(found)) == list(range(4 * 3))
    assert found[0, 0].tolist() == found[7, 7].tolist() != found[0, 8].tolist()
    assert cells(by_name["series"], (10, 2))[:, 0].tolist() == [0] * 4 + [1] * 4 + [2] * 2
    assert cells(by_name["text"], (5,)).tolist() == list(range(5))
    assert set(CELLS) >= {m.carrier for m in TASK.modalities}


def test_no_rows_to_check():
    with pytest.raises(InputError, match="no row"):
        sanity(learned(), TASK, [{}], OUTPUTS)


def test_redrawn_weights_are_new_ones_of_the_same_build():
    ours, theirs = learned(), redrawn(learned(), TASK, seed=0)
    assert theirs.fusion == ours.fusion
    assert theirs.shape == ours.shape
    wide = [n for n, p in ours.named_parameters() if p.ndim >= 2]
    assert wide
    assert not [n for n in wide if np.allclose(ours.state_dict()[n], theirs.state_dict()[n])]
    assert TARGET.width == OUTPUTS.width
