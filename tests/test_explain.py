"""The room explain: what is explained, completeness, agreement with another library, absence, places, Shapley, swaps."""

from dataclasses import replace
from itertools import combinations, permutations

import numpy as np
import pytest
import test_core
import torch
from explain_worlds import EVERY, MODALITIES, OUTPUTS, TASK, every, learned, world
from test_core import CATEGORY, LABELS, NUMBER, TINY, modality, rows_of
from torch import nn

from sensorium.data import collate
from sensorium.explain import (
    Outputs,
    integrated_gradients,
    modality_shapley,
    outputs_of,
    split,
    swapped,
)
from sensorium.explain.paths import BASELINES, Line, mean_colour, per_unit, quietest, still
from sensorium.explain.paths import Leaf as PathLeaf
from sensorium.explain.subsets import shapley
from sensorium.measure.experts import Experts, average
from sensorium.network import JOINT, Network
from sensorium.tasks import Target, Task
from sensorium.types import InputError

ALL = tuple(m.name for m in test_core.MODALITIES)
RARE = Target(column="y", kind="category", classes=("a", "b", "c"), counts=(40, 9, 1))


def heads_of(network: Network, task: Task, rows) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    with torch.inference_mode():
        encoded = network.encode(collate(rows, task.modalities))
        found = network.answer(encoded, network.fuse(encoded))["y"]
    present = {n: e.present.numpy() for n, e in encoded.items()}
    return {n: v.numpy() for n, v in found.items()}, {**present, JOINT: np.ones(len(rows), bool)}


def explained(network: Network, task: Task, rows, outputs: Outputs) -> np.ndarray:
    with still(network), torch.no_grad():
        return outputs.answer(network, network.encode(collate(rows, task.modalities))).double().numpy()


def centred(logp: np.ndarray) -> np.ndarray:
    return logp - logp.mean(-1, keepdims=True)


@pytest.mark.parametrize("weights", [EVERY, {"audio": 0.7}], ids=["all", "one"])
def test_evidence_is_the_product_of_experts_without_its_prior(weights):
    """With one named expert the rows that lack it fall back to their own heads."""
    network, task, _ = every(RARE)
    rows, experts = rows_of(9), Experts(weights=weights, prior=tuple(np.log(RARE.prior())), lean=0.25)
    want = centred(experts.combine(*heads_of(network, task, rows)) - 0.75 * np.log(RARE.prior()))
    got = explained(network, task, rows, outputs_of(RARE, experts))
    np.testing.assert_allclose(got, want, atol=2e-5)


def test_a_shift_of_the_logits_is_taken_into_account():
    network, task, _ = every(RARE)
    rows, shift = rows_of(5), 0.5 * np.log(RARE.prior())
    experts = Experts(weights=EVERY, prior=tuple(np.log(RARE.prior())))
    heads, present = heads_of(network, task, rows)
    logp = experts.combine({n: v + shift for n, v in heads.items()}, present)
    got = explained(network, task, rows, outputs_of(RARE, experts, shift=shift))
    np.testing.assert_allclose(got, centred(logp - np.log(RARE.prior())), atol=2e-5)


@pytest.mark.parametrize("weights", [EVERY, {"audio": 0.7}], ids=["all", "one"])
@pytest.mark.parametrize("target", [LABELS, Target(column="y", kind="number", mean=7.0, spread=3.0)])
def test_labels_and_numbers_are_means_of_heads(target, weights):
    network, task, _ = every(target)
    rows = rows_of(9)
    want = average(weights, *heads_of(network, task, rows)) * target.spread + target.mean
    got = explained(network, task, rows, outputs_of(target, Experts(weights=weights)))
    np.testing.assert_allclose(got, want, atol=2e-5)


def test_experts_outside_the_network_have_their_votes():
    """The parts of a mean that the network and a simple model give add up to the mean."""
    network, task, _ = every(NUMBER)
    rows = rows_of(9)
    heads, present = heads_of(network, task, rows)
    floor = np.random.default_rng(0).normal(size=(9, 1))
    weights = {**EVERY, "forest on audio": 0.9}
    want = average(
        weights, {**heads, "forest on audio": floor}, {**present, "forest on audio": present["audio"]}
    )
    votes = sum(w * present[n] for n, w in EVERY.items()) + 0.9 * present["audio"]
    own = explained(network, task, rows, outputs_of(NUMBER, Experts(weights=weights), others={"audio": 0.9}))
    np.testing.assert_allclose(own + (0.9 * present["audio"] / votes)[:, None] * floor, want, atol=2e-5)


@pytest.mark.parametrize(
    ("fusion", "target"),
    [(f, CATEGORY) for f in ("early", "mid", "late", "tensor")] + [("early", LABELS), ("mid", NUMBER)],
    ids=lambda v: v if isinstance(v, str) else v.kind,
)
def test_attributions_of_every_carrier_are_complete(fusion, target):
    network, task, outputs = every(target, fusion)
    rows = rows_of(1, seed=5, missing=0.3)
    plain = explained(network, task, rows, outputs)
    found = integrated_gradients(network, task, rows, outputs, which=[1 if target.classes else 0])
    for row, said, attribution in zip(rows, plain, found, strict=True):
        assert attribution.value == pytest.approx(said[attribution.output], abs=1e-4)
        change = attribution.value - attribution.baseline
        assert sum(attribution.totals.values()) == pytest.approx(change, abs=0.01 * abs(change) + 1e-6)
        assert attribution.error < 0.01
        assert list(attribution.parts) == [n for n in ALL if n in row], "an absent modality has no key"
        for name, part in attribution.parts.items():
            flat = name in ("text", "table")
            assert part.shape == (row[name].shape[:1] if flat else row[name].shape)
            assert np.isfinite(part).all()
            assert np.abs(part).max() > 0


def test_the_largest_output_is_explained_where_none_is_named():
    network, task, outputs = every(CATEGORY)
    rows = rows_of(4)
    want = explained(network, task, rows, outputs).argmax(1)
    found = integrated_gradients(network, task, rows, outputs, steps=4, most=4)
    assert [a.output for a in found] == want.tolist()


@pytest.mark.parametrize("target", [CATEGORY, NUMBER], ids=lambda t: t.kind)
def test_a_row_of_nothing_has_no_parts_and_the_blank_answer(target):
    network, task, outputs = every(target)
    (found,) = integrated_gradients(network, task, [{}], outputs)
    assert found.parts == {}
    assert found.value == found.baseline == outputs.blank[0] == target.mean
    (shares,) = modality_shapley(network, task, [{}], outputs)
    assert shares.values == {}
    np.testing.assert_array_equal(shares.full, outputs.blank)


def test_everything_is_left_as_it_was():
    network, task, outputs = every(CATEGORY)
    network.trunk.train()
    modes = [m.training for m in network.modules()]
    weights = {n: v.clone() for n, v in network.state_dict().items()}
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    rows = rows_of(3, missing=0.0)
    before = [{n: v.copy() for n, v in row.items()} for row in rows]
    with torch.inference_mode():
        integrated_gradients(network, task, rows[:1], outputs, steps=4, most=4)
        swapped(network, task, rows, outputs)
        assert torch.is_inference_mode_enabled()
    assert [m.training for m in network.modules()] == modes
    assert all(torch.equal(v, weights[n]) for n, v in network.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in network.parameters())
    assert not [m for m in network.modules() if m._forward_hooks]
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
    assert all((row[n] == v).all() for row, old in zip(rows, before, strict=True) for n, v in old.items())


def test_attributions_equal_those_of_captum_on_the_same_path():
    attr = pytest.importorskip("captum.attr")
    network = learned()
    row = {n: v for n, v in world(1, 11).rows[0].items() if n != "text"}
    names = list(row)
    ends = [torch.from_numpy(row[n]).float() for n in names]
    starts = [torch.from_numpy(BASELINES[n](row[n])) for n in names]

    def forward(*values: torch.Tensor) -> torch.Tensor:
        batch = collate([row] * len(values[0]), MODALITIES)
        parts = {
            n: type(p)(values=v, length=p.length, row=p.row)
            for (n, p), v in zip(batch.parts.items(), values, strict=True)
        }
        encoded = network.encode(type(batch)(parts=parts, rows=batch.rows))
        z = network.answer(encoded, network.fuse(encoded))["y"]
        total = sum(OUTPUTS.weights[n] * v for n, v in z.items())
        return total - total.mean(-1, keepdim=True)

    theirs = attr.IntegratedGradients(forward).attribute(
        tuple(e[None] for e in ends), tuple(s[None] for s in starts), target=2, n_steps=64
    )
    (ours,) = integrated_gradients(network, TASK, [row], OUTPUTS, which=[2], most=64)
    for name, want in zip(names, theirs, strict=True):
        gap = np.abs(ours.parts[name] - want[0].numpy()).max()
        assert gap < 1e-4 * np.abs(want.numpy()).max(), name


def test_the_path_is_refined_where_the_sum_is_not_right():
    network = learned()
    rows = world(2, 12).rows
    few = integrated_gradients(network, TASK, rows, OUTPUTS, steps=2, most=2)
    more = integrated_gradients(network, TASK, rows, OUTPUTS, steps=2, tolerance=3e-4)
    assert [a.steps for a in few] == [2] * 2
    assert max(a.error for a in few) > 0.01
    assert all(a.error < 3e-4 and 64 < a.steps <= 512 + 64 for a in more)


def test_pairs_of_tokens_give_half_to_each():
    pairs = torch.tensor([[1.0, 1.0], [4.0, 2.0]])
    leaf = PathLeaf(name="text", at=pairs, gap=pairs)
    assert per_unit(leaf, pairs, (3,)).tolist() == [1.0, 4.0, 3.0]
    assert per_unit(leaf, pairs, (2,)).tolist() == [2.0, 6.0]


def test_baselines_tell_nothing_of_shape_time_or_level():
    rng = np.random.default_rng(0)
    clip = rng.integers(0, 256, (3, 4, 4, 2)).astype(np.uint8)
    np.testing.assert_allclose(
        mean_colour(clip), np.broadcast_to(clip.mean((0, 1, 2)), clip.shape), rtol=1e-6
    )
    mel = rng.normal(size=(9, 5)).astype(np.float32)
    mel[4] -= 3
    assert (quietest(mel) == mel[4]).all()


def test_the_ends_of_a_line_are_the_baseline_and_the_row():
    network, task, outputs = every(CATEGORY)
    row = rows_of(1, missing=0.0)[0]
    line = Line(network, task.modalities, row)
    with still(network), torch.no_grad():
        ends, _ = line.encode(dict.fromkeys(row, torch.tensor([0.0, 1.0])), slopes=False)
        said = outputs.answer(network, ends).numpy()
    np.testing.assert_allclose(said[1], explained(network, task, [row], outputs)[0], atol=1e-4)
    bare = {n: BASELINES[m.carrier](row[n]) for n, m in zip(ALL, task.modalities, strict=True) if n != "text"}
    bare["image"], bare["video"] = row["image"] * 0, row["video"] * 0  # whole numbers of their own, below
    line.starts["image"][:], line.starts["video"][:] = 0, 0
    bare["table"] = bare["table"] * np.array([1, 0, 1], np.float32)  # and no category
    bare["text"] = row["text"]  # whose embeddings become zero
    with still(network), torch.no_grad():
        network.encoders["c_text"].embed.weight.zero_()
        network.encoders["c_text"].pairs.weight.zero_()
        ends, _ = line.encode(dict.fromkeys(row, torch.tensor([0.0])), slopes=False)
        said = outputs.answer(network, ends).numpy()
    np.testing.assert_allclose(said, explained(network, task, [bare], outputs), atol=1e-4)


@pytest.mark.parametrize("fusion", ["early", "late"])
def test_shapley_values_equal_the_mean_over_all_orders(fusion):
    network, task, outputs = every(CATEGORY, fusion)
    rows = [{k: v for k, v in r.items() if k in ALL[:5]} for r in rows_of(6, seed=2, missing=0.3)]
    for row, shares in zip(rows, modality_shapley(network, task, rows, outputs), strict=True):
        names = [n for n in ALL if n in row]
        assert list(shares.values) == names, "absent modalities have no key"
        subsets = [s for k in range(1, len(names) + 1) for s in combinations(names, k)]
        value = {
            frozenset(s): explained(network, task, [{n: row[n] for n in s}], outputs)[0] for s in subsets
        }
        value[frozenset()] = np.zeros(3)
        for name in names:
            gains = []
            for order in permutations(names):
                before = frozenset(order[: order.index(name)])
                gains.append(value[before | {name}] - value[before])
            np.testing.assert_allclose(shares.values[name], np.mean(gains, 0), atol=1e-4)
        if names:
            np.testing.assert_allclose(sum(shares.values.values()), shares.full, atol=1e-6)


def test_shapley_values_of_a_known_game():
    """A pair of gloves: two left hands and a right one; and somebody who brings nothing."""
    names = ["l", "m", "r", "none"]
    subsets = [s for k in range(5) for s in combinations(names, k)]
    worth = {s: np.array([float("r" in s and ("l" in s or "m" in s))]) for s in subsets}
    found = {n: float(v[0]) for n, v in shapley(worth, names).items()}
    assert found == pytest.approx({"l": 1 / 6, "m": 1 / 6, "r": 2 / 3, "none": 0})


def test_of_many_modalities_orders_are_drawn(monkeypatch):
    torch.manual_seed(3)
    many = tuple(modality(f"s{i}", "series", (1,), 2) for i in range(11))
    task = Task(modalities=many, targets=(CATEGORY,))
    network, outputs = Network(task, TINY), every(CATEGORY)[2]
    outputs = replace(outputs, weights={"": 1.0, "s3": 0.5})
    rng = np.random.default_rng(0)
    row = {m.name: rng.normal(size=(2, 1)).astype(np.float32) for m in many}
    (drawn,) = modality_shapley(network, task, [row], outputs)
    assert list(drawn.values) == [m.name for m in many]
    np.testing.assert_allclose(sum(drawn.values.values()), drawn.full - outputs.blank, atol=1e-6)
    assert 0 < drawn.error < 1
    assert set(drawn.subsets) == {(), tuple(row), *((n,) for n in row)}
    few = {n: row[n] for n in ("s1", "s3", "s8")}
    (exact,) = modality_shapley(network, task, [few], outputs)
    assert exact.error == 0
    monkeypatch.setattr("sensorium.explain.subsets.MOST", 2)
    mixed = modality_shapley(network, task, [few, {"s1": row["s1"]}], outputs)
    for name, value in exact.values.items():
        assert np.abs(mixed[0].values[name] - value).max() <= 4 * mixed[0].error + 1e-6
    np.testing.assert_allclose(mixed[1].values["s1"], mixed[1].full - outputs.blank, atol=1e-6)


@pytest.mark.parametrize("names", [ALL[:2], ALL[:4]], ids=len)
def test_swapped_rows_equal_rows_that_were_really_swapped(names):
    network, task, outputs = every(CATEGORY, "mid")
    rows = [{n: r[n] for n in names} for r in rows_of(5, missing=0.0)]
    grids = swapped(network, task, rows, outputs)
    assert [g.shape for g in grids] == [(5, 5, 3)] * len(names)
    plain = explained(network, task, rows, outputs)
    for name, grid in zip(names, grids, strict=True):
        np.testing.assert_allclose(grid[np.arange(5), np.arange(5)], plain, atol=1e-4)
        mixed = [{**rows[j], name: rows[i][name]} for i in range(5) for j in range(5)]
        want = explained(network, task, mixed, outputs).reshape(5, 5, 3)
        np.testing.assert_allclose(grid, want, atol=1e-4)


def test_rows_with_different_modalities_cannot_be_swapped():
    network, task, outputs = every(CATEGORY)
    whole = rows_of(2, missing=0.0)
    with pytest.raises(InputError, match="swap"):
        swapped(network, task, [whole[0], {"text": whole[1]["text"]}], outputs)
    with pytest.raises(InputError, match="too few"):
        split(network, task, whole[0], outputs, partners=[whole[1], {"text": whole[1]["text"]}])


def test_the_parts_of_a_split_add_up_and_equal_emap():
    network, rows = learned(), world(9, 13).rows
    found = split(network, TASK, rows[0], OUTPUTS, partners=rows[1:])
    assert found.partners == 8
    whole = explained(network, TASK, rows[:1], OUTPUTS)[0, found.unimodal.output]
    assert found.whole == pytest.approx(whole, abs=1e-4)
    # EMAP's formula with the row's partners as the sample over which its modalities are averaged.
    c = found.unimodal.output
    grids = [g[:, :, c] for g in swapped(network, TASK, rows, OUTPUTS)]
    grand = np.mean([g[1:, 1:].mean() for g in grids])
    assert found.unimodal.value == pytest.approx(sum(g[0, 1:].mean() for g in grids) - 2 * grand, abs=1e-4)
    (full,) = integrated_gradients(network, TASK, rows[:1], OUTPUTS, which=[c])
    for name, part in full.parts.items():
        both = found.unimodal.parts[name] + found.interaction.parts[name]
        assert np.abs(both - part).max() < 0.02 * np.abs(part).max(), name
    assert found.unimodal.error < 0.01
    assert found.interaction.error < 0.02


def test_late_fusion_has_no_interaction():
    network, task, outputs = every(CATEGORY, "late")
    rows = [{n: r[n] for n in ("series", "table")} for r in rows_of(6, missing=0.0)]
    found = split(network, task, rows[0], outputs, partners=rows[1:])
    assert found.interaction.value == pytest.approx(0, abs=1e-5)
    for name, part in found.interaction.parts.items():
        assert np.abs(part).max() < 0.01 * np.abs(found.unimodal.parts[name]).max()


def test_a_module_of_embeddings_is_the_only_one_that_is_hooked():
    """Ids and codes are explained where they become vectors; every other input is a number already."""
    network, task, _ = every(CATEGORY)
    row = rows_of(1, missing=0.0)[0]
    with still(network):
        _, leaves = Line(network, task.modalities, row).encode(dict.fromkeys(row, torch.ones(1)))
    found = sorted(leaf.name for leaf in leaves)
    assert found == sorted([*(n for n in ALL if n != "text"), "table", "text", "text"])
    assert sum(isinstance(m, nn.Embedding) for m in network.encoders.modules()) == 3
