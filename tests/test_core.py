"""The model rooms: parity with definitions, and the promises about absent modalities, padding, order and resuming."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from sensorium.data import ahead, buckets, collate
from sensorium.fusion import SCHEDULES, LowRankFusion, Trunk, sight
from sensorium.measure.experts import JOINT, Experts, fit_experts, log_softmax
from sensorium.modalities import CARRIERS
from sensorium.network import Network, Shape, condense
from sensorium.nn import Attention, ConvStem, MaskedBatchNorm, within
from sensorium.tasks import Target, Task, infer_target, split_rows
from sensorium.tokens import SHARED, Tokens, compact, pooled
from sensorium.training import Examples, Plan, Trainer, losses, row_losses, run, schedule
from sensorium.types import InputError, Modality

TINY = Shape(dim=16, heads=2, depth=2, width=8, tokens=4, space=8, dropout=0.0)


def modality(
    name: str, carrier: str, item: tuple[int, ...], longest: int, step_s: float = 0.0, **options: object
) -> Modality:
    return Modality(
        name=name, column=name, carrier=carrier, options=options, patches=lambda s: s.values, augment=lambda x, rng, strength: x,
        statistics=lambda x: x, item=item, longest=longest, step_s=step_s,
    )  # fmt: skip


MODALITIES = (
    modality("text", "text", (), 12, vocabulary=50),
    modality("image", "image", (32, 3), 32),
    modality("audio", "audio", (16,), 40, 0.01),
    modality("video", "video", (16, 16, 1), 6, 0.1),
    modality("series", "series", (3,), 40, 0.02),
    modality("radar", "points", (9,), 30, 0.1),
    modality("lidar", "points", (4,), 50),
    modality("table", "table", (3,), 4),
)


def patches(m: Modality, rng: np.random.Generator) -> np.ndarray:
    steps = (
        m.longest
        if m.carrier in ("image", "table")
        else int(rng.integers(max(1, m.longest // 2), m.longest + 1))
    )
    if m.carrier == "text":
        return rng.integers(2, 50, steps).astype(np.int32)
    if m.carrier in ("image", "video"):
        return rng.integers(0, 256, (steps, *m.item)).astype(np.uint8)
    if m.carrier == "table":
        return np.stack([rng.normal(size=steps), rng.integers(0, 5, steps), np.ones(steps)], 1).astype(
            np.float32
        )
    return rng.normal(size=(steps, *m.item)).astype(np.float32)


def rows_of(count: int, seed: int = 0, missing: float = 0.4) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        row = {m.name: patches(m, rng) for m in MODALITIES if rng.random() >= missing}
        rows.append(row or {"table": patches(MODALITIES[-1], rng)})
    return rows


CATEGORY = Target(column="y", kind="category", classes=("a", "b", "c"), counts=(4, 4, 4))
LABELS = Target(column="y", kind="labels", classes=("a", "b", "c"), counts=(4, 4, 4))
NUMBER = Target(column="y", kind="number")


def world(target: Target, rows: list[dict[str, np.ndarray]]) -> tuple[Task, Examples]:
    rng = np.random.default_rng(1)
    make = {
        "category": lambda: np.int64(rng.integers(3)), "labels": lambda: (rng.random(3) < 0.5).astype(np.float32),
        "number": lambda: np.float32(rng.normal()),
    }[target.kind]  # fmt: skip
    return Task(modalities=MODALITIES, targets=(target,)), Examples(
        rows=rows, targets={"y": [make() for _ in rows]}
    )


def answer(network: Network, task: Task, rows: list[dict[str, np.ndarray]]) -> torch.Tensor:
    with torch.inference_mode():
        return network(collate(rows, task.modalities))["y"][JOINT]


@pytest.mark.parametrize("target", [CATEGORY, LABELS, NUMBER], ids=lambda t: t.kind)
@pytest.mark.parametrize("fusion", ["early", "mid", "late", "tensor"])
def test_every_parameter_gets_a_finite_gradient(fusion, target):
    torch.manual_seed(0)
    task, examples = world(target, rows_of(12))
    network = Network(task, TINY, fusion=fusion)
    batch = examples.batch(task, range(12))
    encoded = network.encode(batch)
    found = losses(
        network.answer(encoded, network.fuse(encoded)),
        batch,
        task,
        {n: e.present for n, e in encoded.items()},
    )
    sum(found.values()).backward()
    lost = [n for n, p in network.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    # With normalised keys and one shared head the softmax may ignore a scale, but nothing may be cut off.
    assert lost == []


@pytest.mark.parametrize("fusion", ["early", "mid", "tensor"])
def test_rows_do_not_depend_on_their_neighbours_or_padding(fusion):
    torch.manual_seed(0)
    rows = rows_of(6)
    task, _ = world(CATEGORY, rows)
    network = Network(task, TINY, fusion=fusion).eval()
    together = answer(network, task, rows)
    alone = torch.cat([answer(network, task, [r]) for r in rows])
    torch.testing.assert_close(together, alone, atol=2e-5, rtol=1e-4)
    turned = answer(network, task, rows[::-1])
    torch.testing.assert_close(together.flip(0), turned, atol=2e-5, rtol=1e-4)


def test_an_absent_modality_is_the_same_as_one_never_sent_to_the_bit():
    torch.manual_seed(0)
    rows = rows_of(4, missing=0.0)
    task, _ = world(CATEGORY, rows)
    network = Network(task, TINY).eval()
    fewer = [{k: v for k, v in r.items() if k != "audio"} for r in rows]
    batch = collate(rows, task.modalities)
    assert torch.equal(answer(network, task, fewer), network(batch.without({"audio"}))["y"][JOINT])
    with torch.inference_mode():
        encoded = network.encode(batch)
        keep = {n: torch.ones(4, dtype=torch.bool) for n in encoded} | {
            "audio": torch.zeros(4, dtype=torch.bool)
        }
        first = network.fuse(encoded, keep)
        loud = replace(
            encoded["audio"],
            tokens=replace(encoded["audio"].tokens, x=torch.full_like(encoded["audio"].tokens.x, 1e4)),
        )
        assert torch.equal(first, network.fuse({**encoded, "audio": loud}, keep))


def test_a_network_learns_two_rows_by_heart():
    torch.manual_seed(0)
    task, examples = world(NUMBER, rows_of(4, missing=0.0))
    network = Network(task, TINY)
    trainer = Trainer(network, task, Plan(steps=150, batch=4, drop=0.0, rate=5e-3), examples)
    for batch in trainer.batches():
        found = trainer.train_step(batch)
        if trainer.step >= 150:
            break
    assert found["y/joint"] < 0.02


def test_attention_equals_its_definition():
    torch.manual_seed(0)
    layer = Attention(8, 2)
    x, mask = torch.randn(2, 5, 8), torch.rand(2, 5, 5) < 0.6
    mask |= torch.eye(5, dtype=torch.bool)
    q, kv = layer.query(x).view(2, 5, 2, 4), layer.pair(x).view(2, 5, 4, 4)
    want = torch.zeros(2, 5, 2, 4)
    for b in range(2):
        for h in range(2):
            for i in range(5):
                query = layer.norm_query(q[b, i, h])
                score = torch.stack([query @ layer.norm_key(kv[b, j, h]) / 2 for j in range(5)])
                share = score.masked_fill(~mask[b, i], -math.inf).softmax(0)
                want[b, i, h] = sum(share[j] * kv[b, j, 2 + h] for j in range(5))
    torch.testing.assert_close(layer(x, x, mask), layer.out(want.flatten(2)))


def test_low_rank_fusion_equals_the_full_tensor_and_owns_its_factors():
    torch.manual_seed(0)
    layer = LowRankFusion(2, 3, rank=4)
    z, present = torch.randn(5, 2, 3), torch.ones(5, 2, dtype=torch.bool)
    one = torch.cat([z, torch.ones(5, 2, 1)], -1)
    full = sum(
        layer.mix[r] * torch.einsum("io,jo->ijo", layer.factors[0][r], layer.factors[1][r]) for r in range(4)
    )
    want = torch.einsum("bi,bj,ijo->bo", one[:, 0], one[:, 1], full) + layer.bias
    torch.testing.assert_close(layer(z, present), want)
    assert {"factors.0", "factors.1"} <= set(layer.state_dict())
    layer(z, present).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in layer.parameters())


def test_low_rank_fusion_leaves_an_absent_modality_out():
    layer = LowRankFusion(2, 3)
    z = torch.randn(1, 2, 3)
    present = torch.tensor([[True, False]])
    assert torch.equal(layer(z, present), layer(torch.cat([z[:, :1], z[:, 1:] * 100], 1), present))


def test_sight_follows_the_policies():
    kind = torch.tensor([[SHARED, 1, 2]])
    tokens = Tokens(
        x=torch.zeros(1, 3, 1),
        kind=kind,
        place=torch.zeros(1, 3, 3),
        valid=torch.ones(1, 3, dtype=torch.bool),
    )
    assert sight(tokens, "early").all()
    assert sight(tokens, "late")[0].tolist() == [
        [True, False, False],
        [False, True, False],
        [False, False, True],
    ]
    assert sight(tokens, "bottleneck")[0].tolist() == [
        [True, True, True],
        [True, True, False],
        [True, False, True],
    ]


def test_mid_fusion_passes_news_only_through_the_bottleneck():
    torch.manual_seed(0)
    trunk = Trunk(8, 2, depth=2, schedule=SCHEDULES["mid"], shared=2).eval()
    kind = torch.tensor([[1, 2]])
    base = Tokens(x=torch.randn(1, 2, 8), kind=kind, place=torch.zeros(1, 2, 3), valid=kind > 0)
    other = replace(base, x=torch.cat([base.x[:, :1], base.x[:, 1:] + 1], 1))
    a, b = trunk(base).x, trunk(other).x
    assert torch.equal(a[:, 2], b[:, 2])  # a token of modality 1 has heard nothing yet
    assert not torch.equal(a[:, :2], b[:, :2])


def test_condense_averages_neighbours_and_keeps_short_rows():
    x = torch.arange(12.0).reshape(2, 6, 1)
    valid = torch.tensor([[True] * 6, [True, True, False, False, False, False]])
    few = condense(Tokens(x=x, kind=valid.long(), place=x.expand(-1, -1, 3), valid=valid), 3)
    assert few.x[0, :, 0].tolist() == [0.5, 2.5, 4.5]
    assert few.x[1, few.valid[1], 0].tolist() == [6.0, 7.0]


def test_compact_cuts_what_no_row_uses_and_pooled_ignores_padding():
    valid = torch.tensor([[False, True, False, True], [False, False, False, True]])
    x = torch.arange(8.0).reshape(2, 4, 1)
    few = compact(Tokens(x=x, kind=valid.long(), place=torch.zeros(2, 4, 3), valid=valid))
    assert few.x.shape == (2, 2, 1)
    assert few.x[few.valid].flatten().tolist() == [1.0, 3.0, 7.0]
    assert pooled(few).tolist() == [[2.0, 3.0], [7.0, 7.0]]


def test_conv_stem_gives_padded_rows_what_they_give_alone():
    torch.manual_seed(0)
    stem = ConvStem(3, [(4, 5, (2,)), (6, 3, (2,)), (6, 3, (1,))]).eval()
    x = torch.randn(2, 3, 17)
    x[1, :, 9:] = 0
    y, length = stem(x, torch.tensor([17, 9]))
    alone, _ = stem(x[1:, :, :9], torch.tensor([9]))
    assert length.tolist() == [5, 3]
    torch.testing.assert_close(y[1:, :, :3], alone)
    assert not y[1, :, 3:].any()


def test_losses_equal_the_references():
    logits, truth = torch.randn(7, 3), torch.randint(0, 3, (7,))
    want = torch.nn.functional.cross_entropy(logits, truth, reduction="none", label_smoothing=0.1)
    torch.testing.assert_close(row_losses(logits, truth, CATEGORY), want)


def test_schedule_warms_up_and_falls_to_zero():
    plan = Plan(steps=100, batch=4, warmup=10)
    rates = [schedule(s, plan, 100) for s in range(101)]
    assert rates[9] == max(rates) == plan.rate
    assert rates[100] == pytest.approx(0, abs=1e-12)
    assert all(a >= b for a, b in zip(rates[10:], rates[11:], strict=False))


def test_average_weights_follow_the_definition():
    torch.manual_seed(0)
    task, examples = world(CATEGORY, rows_of(6, missing=0.0))
    network = Network(task, TINY)
    trainer = Trainer(network, task, Plan(steps=4, batch=3, average=0.9), examples)
    name = "kinds.weight"
    want = network.state_dict()[name].clone()
    for batch in trainer.batches():
        keep = min(0.9, (1 + trainer.step) / (10 + trainer.step))
        trainer.train_step(batch)
        want = keep * want + (1 - keep) * network.state_dict()[name]
        if trainer.step == 4:
            break
    torch.testing.assert_close(trainer.mean[name], want)


def test_a_resumed_run_ends_with_the_same_bits(tmp_path):
    task, examples = world(CATEGORY, rows_of(10))
    plan = Plan(steps=8, batch=4, check=3)

    def fresh() -> Trainer:
        torch.manual_seed(5)
        return Trainer(Network(task, TINY), task, plan, examples)

    whole = fresh()
    (tmp_path / "a").mkdir()
    run(whole, folder=tmp_path / "a", valid=examples, deadline_s=None)
    half = fresh()
    for batch in half.batches():
        half.train_step(batch)
        if half.step == 4:
            break
    half.checkpoint(tmp_path / "b" / "checkpoint")
    again = fresh()
    assert again.resume(tmp_path / "b" / "checkpoint")
    run(again, folder=tmp_path / "b", valid=examples, deadline_s=None)
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name]), name


def test_buckets_hold_every_row_once_and_like_lengths():
    lengths = np.random.default_rng(0).integers(1, 100, 131)
    cut = buckets(lengths, 8, np.random.default_rng(1))
    assert sorted(np.concatenate(cut).tolist()) == list(range(131))
    padded = sum(len(c) * lengths[c].max() for c in cut)
    shuffled = np.random.default_rng(2).permutation(131)
    assert padded < 0.8 * sum(len(c) * lengths[c].max() for c in np.array_split(shuffled, len(cut)))


def test_ahead_hands_over_errors_and_stops_when_left():
    def items():
        yield 1
        raise InputError("broken", got=1, fix="mend")

    found = ahead(items())
    assert next(found) == 1
    with pytest.raises(InputError):
        next(found)
    endless = ahead(iter(range(10**9)))
    assert next(endless) == 0
    endless.close()


def test_experts_find_whom_to_trust():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 600)
    good = np.eye(3)[truth] * 3 + rng.normal(size=(600, 3))
    noise = rng.normal(size=(600, 3)) * 3
    voters = {"good": np.ones(600, bool), "noise": np.ones(600, bool)}
    found = fit_experts(
        {"good": good, "noise": noise}, voters, truth, start={"good": 1.0, "noise": 1.0}, prior=np.ones(3) / 3
    )
    assert found.weights["good"] > 5 * found.weights["noise"]
    said = found.combine({"good": good, "noise": noise}, voters).argmax(1)
    assert (said == truth).mean() > 0.9


def test_independent_experts_multiply_as_bayes_says():
    prior = np.array([0.5, 0.3, 0.2])
    a, b = np.random.default_rng(0).dirichlet(np.ones(3), (2, 4))
    experts = Experts(weights={"a": 1.0, "b": 1.0}, prior=tuple(np.log(prior)))
    present = {"a": np.ones(4, bool), "b": np.array([True, True, False, False])}
    got = np.exp(experts.combine({"a": np.log(a), "b": np.log(b)}, present))
    both = a * b / prior
    np.testing.assert_allclose(got[:2], (both / both.sum(1, keepdims=True))[:2])
    np.testing.assert_allclose(got[2:], a[2:])
    np.testing.assert_allclose(np.exp(log_softmax(np.log(a))), a)


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "2", "1", "3"], "category"), (["1.5", "2.25", "0.1", "7"], "number"), (["a", "b", None, "a"], "category"),
        (["a|b", "a", "b", "a|b"], "labels"), ([str(i) for i in range(300)], "number"), ([True, False, True], "category"),
    ],
)  # fmt: skip
def test_target_kinds_are_read_off_the_cells(cells, kind):
    assert infer_target("y", cells).kind == kind


def test_bad_targets_are_refused():
    with pytest.raises(InputError, match="one class"):
        infer_target("y", ["a", "a"])
    with pytest.raises(InputError, match="empty"):
        infer_target("y", [None, ""])
    with pytest.raises(InputError, match="numbers"):
        infer_target("y", ["1", "x"], kind="number")


def test_groups_stay_on_one_side():
    from sensorium.store import read

    table = read({"y": ["a", "b"] * 50, "who": [str(i // 10) for i in range(100)]})
    fit, held = split_rows(table, CATEGORY, group="who", share=0.15, seed=0)
    assert not {i // 10 for i in fit} & {i // 10 for i in held}
    assert len(fit) + len(held) == 100
    assert len(held) == 20


def test_all_carriers_have_an_encoder():
    from sensorium.encoders import ENCODERS

    assert set(ENCODERS) == set(CARRIERS)


def test_leaning_takes_the_frequency_of_the_classes_out():
    prior = np.array([0.9, 0.1])
    logits = np.log(np.array([[0.85, 0.15]]))  # above its prior the second class has the better evidence
    present = {"a": np.ones(1, bool)}
    experts = Experts(weights={"a": 1.0}, prior=tuple(np.log(prior)))
    assert experts.combine({"a": logits}, present).argmax() == 0
    fair = np.exp(replace(experts, lean=1.0).combine({"a": logits}, present))[0]
    np.testing.assert_allclose(fair, np.array([0.85 / 0.9, 0.15 / 0.1]) / (0.85 / 0.9 + 0.15 / 0.1))


def test_weights_that_overfitted_are_given_up_for_the_best_ones(tmp_path):
    task, examples = world(CATEGORY, rows_of(8, missing=0.0))
    other = Examples(
        rows=rows_of(8, seed=9, missing=0.0), targets=examples.targets
    )  # nothing to be learned for these
    torch.manual_seed(0)
    trainer = Trainer(Network(task, TINY), task, Plan(steps=60, batch=4, check=5, rate=5e-3), examples)
    why = run(trainer, folder=tmp_path, valid=other, deadline_s=None)
    assert "overfitted" in why
    assert all(torch.equal(v, trainer.kept[k]) for k, v in trainer.network.state_dict().items())


def test_batch_norm_of_real_positions_equals_the_reference_and_knows_no_padding():
    torch.manual_seed(0)
    ours, theirs = MaskedBatchNorm(5), torch.nn.BatchNorm1d(5, momentum=0.05)
    x, length = torch.randn(4, 5, 9), torch.tensor([9, 4, 1, 6])
    keep = within(length, 9).float()[:, None]
    real = torch.cat([row[:, :n] for row, n in zip(x, length.tolist(), strict=True)], 1)[None]
    want = theirs(real)
    got = ours(x * keep, keep)
    torch.testing.assert_close(
        torch.cat([row[:, :n] for row, n in zip(got, length.tolist(), strict=True)], 1)[None], want
    )
    torch.testing.assert_close(ours.mean, theirs.running_mean)
    torch.testing.assert_close(
        ours.variance, theirs.running_var, atol=0.01, rtol=0.05
    )  # theirs divides by n - 1
    assert torch.isfinite(MaskedBatchNorm(5)(torch.randn(1, 5, 1), None)).all()  # one row, one position
