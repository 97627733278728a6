"""Vectors of a network beside those of linear correlations: weighed sums, chosen shares, saved; and mirrored pictures."""

from dataclasses import replace

import numpy as np
import pytest
from match_worlds import pivot, whole

from sensorium.api.blend import SHARES, Blend, Facts, blended, fit_blend, things_of, weigh
from sensorium.api.heads import Rows
from sensorium.api.initial import Initial
from sensorium.api.mirror import harmless, mirror_remarks
from sensorium.api.opening import Wanted, plan_match
from sensorium.api.pairs import sorted_out
from sensorium.data import Decoder, decode_rows
from sensorium.modalities import CARRIERS
from sensorium.store import Table
from sensorium.tasks import Task
from sensorium.types import Limits

NAMES = ("a", "p", "b")


def unit(x: np.ndarray) -> np.ndarray:
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def opened(table: Table) -> tuple[Task, Rows, dict[str, np.ndarray]]:
    """A task of three sensors, its decoded rows, and which cells are the same."""
    task, rates, _ = plan_match(table, Wanted(match=NAMES), Limits(), Initial())
    rows, _ = decode_rows(Decoder(table, limits=Limits(), rates=rates), range(len(table)), task.modalities)
    return task, Rows(patches=rows), sorted_out(table, NAMES)


@pytest.fixture(scope="module")
def fitted() -> tuple[Task, Blend, Facts]:
    """Linear correlations of sensors that met only through a third, and held-out rows that hold all three."""
    table = pivot(240)
    task, rows, same = opened(table)
    blend = fit_blend(task, rows, np.arange(240), same, seed=0)
    _, held, held_same = opened(whole(60, seed=7))
    return task, blend, Facts(rows=held, group=np.arange(60), same=held_same)


def perfect(vectors: dict[str, np.ndarray]) -> bool:
    """Whether each row of a modality is nearest to its own row of every other."""
    pairs = [(a, b) for a in NAMES for b in NAMES if a != b]
    return all(((vectors[a] @ vectors[b].T).argmax(1) == np.arange(60)).all() for a, b in pairs)


@pytest.fixture
def drawn() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """A network's vectors of 5 rows, and linear ones of another width."""
    rng = np.random.default_rng(0)
    own = {n: unit(rng.normal(size=(5, 8))) for n in "ab"}
    return own, {n: unit(rng.normal(size=(5, 3))) for n in "ab"}


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_dot_product_is_the_weighed_sum_of_two_similarities(drawn, share):
    own, linear = drawn
    both = blended(own, linear, share)
    expected = share * (own["a"] @ own["b"].T) + (1 - share) * (linear["a"] @ linear["b"].T)
    np.testing.assert_allclose(both["a"] @ both["b"].T, expected, atol=1e-6)
    for vectors in both.values():
        assert vectors.shape == (5, {0.0: 3, 0.3: 11, 1.0: 8}[share])
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_a_modality_without_linear_vectors_has_zeros_there(drawn):
    own, linear = drawn
    both = blended(own, {"a": linear["a"]}, 0.5)
    assert both["b"].shape == both["a"].shape
    assert not both["b"][:, 8:].any()
    np.testing.assert_allclose(both["a"] @ both["b"].T, 0.5 * (own["a"] @ own["b"].T), atol=1e-6)
    assert not blended(own, {"a": linear["a"]}, 0.0)["b"].any()


def test_an_absent_cell_stays_without_a_vector(fitted):
    task, blend, facts = fitted
    rows = [dict(r) for r in facts.rows.patches[:4]]
    del rows[1]["a"], rows[2]["a"]
    linear = blend.linear(Rows(patches=rows))
    assert linear["a"].any(1).tolist() == [True, False, False, True]
    np.testing.assert_allclose(linear["a"][[0, 3]], blend.linear(facts.rows)["a"][[0, 3]], atol=1e-6)
    nowhere = blend.linear(Rows(patches=[{"b": r["b"]} for r in rows]))
    assert not nowhere["a"].any()
    assert nowhere["a"].shape == linear["a"].shape


def test_correlations_find_what_never_met(fitted):
    _, blend, facts = fitted
    linear = blend.linear(facts.rows)
    ranks = (-linear["a"] @ linear["b"].T).argsort(1)
    right = [i in row[:10] for i, row in enumerate(ranks)]
    assert np.mean(right) > 0.5, "by chance 0.17"


def test_the_share_that_finds_best_is_chosen(fitted):
    task, blend, facts = fitted
    rng = np.random.default_rng(1)
    noise = {n: unit(rng.normal(size=(60, 16))) for n in NAMES}
    assert weigh(blend, noise, facts, task).share < 0.3
    secret = unit(rng.normal(size=(60, 16)))
    cells = [r["a"] for r in facts.rows.patches]
    mixed = [{**r, "a": cells[i - 7]} for i, r in enumerate(facts.rows.patches)]
    muddled = replace(facts, rows=Rows(patches=mixed))  # correlations are led astray, the network is not
    assert weigh(blend, dict.fromkeys(NAMES, secret), muddled, task).share > 0.3
    half = {n: unit(secret + 0.6 * rng.normal(size=secret.shape) / 4 * 1.5) for n in NAMES}
    chosen = weigh(blend, half, facts, task).share
    assert 0 < chosen < 1, "both know something"
    assert weigh(Blend(), noise, facts, task).share == 1


def test_of_shares_that_find_equally_well_the_middle_is_chosen(fitted):
    task, blend, facts = fitted
    same = blend.linear(facts.rows)
    assert weigh(blend, same, facts, task).share == 0.5, "every share gives the same similarities"
    secret = dict.fromkeys(NAMES, unit(np.random.default_rng(2).normal(size=(60, 16))))
    chosen = weigh(blend, secret, facts, task).share
    best = [s for s in SHARES if perfect(blended(secret, same, s))]
    assert len(best) > 4, "a network that knows all may be asked a little less"
    assert best[0] < chosen < best[-1]
    assert abs(best.index(chosen) - (len(best) - 1) / 2) < 1


def test_a_blend_comes_back_from_its_files(fitted):
    task, blend, facts = fitted
    told, arrays = replace(blend, share=0.35).packed()
    again = Blend.unpacked(told, arrays, task)
    assert again.share == 0.35
    for name, vectors in blend.linear(facts.rows).items():
        np.testing.assert_array_equal(again.linear(facts.rows)[name], vectors)
    assert Blend().packed() == ({"share": 1.0, "views": []}, {})


def test_too_few_rows_leave_the_network_alone():
    task, rows, same = opened(whole(12))
    blend = fit_blend(task, rows, np.arange(12), same, seed=0)
    assert blend.space is None
    assert blend.share == 1
    assert blend.linear(rows) == {}
    twins = fit_blend(
        task, *(opened(whole(40))[1:2]), np.repeat(np.arange(10), 4), opened(whole(40))[2], seed=0
    )
    assert twins.space is None, "forty rows of ten things are ten"


def test_a_column_in_which_nothing_varies_is_left_out():
    table = whole(60)
    flat = Table(data={**table.data, "b": [np.zeros_like(table.cells("b")[0])] * 60})
    task, rows, same = opened(flat)
    blend = fit_blend(task, rows, np.arange(60), same, seed=0)
    assert set(blend.views) <= {"a", "p"}
    assert {"a", "p"} <= set(blend.views)


def test_things_are_numbered_by_what_they_hold():
    task, rows, _ = opened(whole(4))
    some = Rows(patches=[rows.patches[0], rows.patches[1], {}, rows.patches[3]])
    same = {"a": np.array([0, 1, -1, 0]), "p": np.array([-1, 5, -1, 5])}
    found = things_of(task, same, some)
    assert found["a"].tolist() == [0, 1, -1, 0]
    assert found["p"][1] == found["p"][3] >= 0
    assert found["b"].tolist() == [0, 1, -1, 2], "without a column every cell is another thing"


# mirrored pictures

COLOURS = {
    "red": (230, 20, 20),
    "green": (20, 210, 30),
    "blue": (20, 30, 240),
    "white": (250, 250, 250),
    "black": (0, 0, 0),
}


def spotted(first: str, second: str, size: int, rng: np.random.Generator) -> np.ndarray:
    """Spots of one size on a ground, anywhere: left and right mean nothing."""
    pixels = rng.normal(COLOURS[first], 8, (32, 32, 3))
    for y, x in rng.integers(0, 32 - size, (40 // size, 2)):
        pixels[y : y + size, x : x + size] = COLOURS[second]
    return pixels.clip(0, 255).astype(np.uint8)


def pointed(first: str, second: str, right: int, rng: np.random.Generator) -> np.ndarray:
    """An arrow head on a ground that points left or right."""
    pixels = rng.normal(COLOURS[first], 8, (32, 32, 3))
    y, x = np.mgrid[:32, :32]
    inside = np.abs(y - 16 - rng.integers(-2, 3)) < (x if right else 31 - x) / 2
    pixels[inside] = COLOURS[second]
    return pixels.clip(0, 255).astype(np.uint8)


def pictured(paint, options: dict[int, str], rows: int, seed: int) -> tuple[Rows, np.ndarray]:
    """Rows of pictures with captions, and which of them say the same."""
    rng = np.random.default_rng(seed)
    patches, said = [], []
    for _ in range(rows):
        first, second = rng.choice(list(COLOURS), 2, replace=False).tolist()
        option = int(rng.choice(list(options)))
        patches.append({"photo": paint(first, second, option, rng), "caption": np.zeros(3, np.int64)})
        said.append(f"{second} {options[option]} on {first}")
    return Rows(patches=patches, texts={"caption": said}), np.unique(said, return_inverse=True)[1].ravel()


def tried(paint, options: dict[int, str]) -> tuple[Task, Blend, Facts]:
    """Correlations of pictures and captions, and held-out rows."""
    task = Task(
        modalities=(CARRIERS["image"].define("photo", "photo", side=32), CARRIERS["text"].define("caption", "caption")), match=("photo", "caption"),
    )  # fmt: skip
    rows, said = pictured(paint, options, 220, 0)
    blend = fit_blend(task, rows, said, {"caption": said}, seed=0)
    held, held_said = pictured(paint, options, 110, 1)
    return task, blend, Facts(rows=held, group=held_said, same={"caption": held_said})


def test_pictures_without_left_and_right_may_be_mirrored():
    task, blend, facts = tried(spotted, {2: "dots", 4: "spots", 8: "blots"})
    assert harmless("photo", task, blend, facts)
    remarks = mirror_remarks(task, blend, facts)
    assert len(remarks) == 1
    assert "--column photo=image:mirror=yes" in remarks[0]
    few = Facts(
        rows=facts.rows.take(range(30)), group=facts.group[:30], same={"caption": facts.same["caption"][:30]}
    )
    assert not harmless("photo", task, blend, few), "thirty pictures prove nothing"
    assert mirror_remarks(task, Blend(), facts) == []


def test_pictures_whose_words_tell_left_from_right_are_not_mirrored():
    task, blend, facts = tried(pointed, {0: "left", 1: "right"})
    assert not harmless("photo", task, blend, facts)
    assert mirror_remarks(task, blend, facts) == []
