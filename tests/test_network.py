"""The promises of the network, over every carrier, target and fusion: gradients, absence, padding, empty batches, shapes."""

from dataclasses import replace

import jaxtyping
import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from test_core import CATEGORY, LABELS, MODALITIES, NUMBER, TINY, rows_of, world
from torch import nn

from sensorium.data import collate
from sensorium.fusion import SCHEDULES, LowRankFusion, Trunk
from sensorium.network import Network, spread
from sensorium.nn import Attention
from sensorium.representation import Head
from sensorium.tokens import SHARED, Batch, Tokens, pooled
from sensorium.training import Examples, Plan, Trainer, losses, schedule, total, weight_groups

FUSIONS = ("early", "mid", "late", "tensor")
WILD = (1e30, float("inf"), float("-inf"), float("nan"))


def made(fusion: str, target=CATEGORY, rows=None):
    torch.manual_seed(0)
    task, examples = world(target, rows_of(12) if rows is None else rows)
    return Network(task, TINY, fusion=fusion), task, examples


def heads(network: Network, batch: Batch) -> dict[str, torch.Tensor]:
    with torch.inference_mode():
        return network(batch)["y"]


@pytest.mark.parametrize("target", [CATEGORY, LABELS, NUMBER], ids=lambda t: t.kind)
@pytest.mark.parametrize("fusion", FUSIONS)
def test_no_parameter_is_cut_off(fusion, target):
    """A gradient of exactly zero in a whole parameter means that it stands beside the path, not in it."""
    network, task, examples = made(fusion, target)
    batch = examples.batch(task, range(12))
    encoded = network.encode(batch)
    answers = network.answer(encoded, network.fuse(encoded))
    found = losses(answers, batch, task, {n: e.present for n, e in encoded.items()})
    total(found, Plan(steps=1, batch=12)).backward()
    dead = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert dead == []


@pytest.mark.parametrize("fusion", FUSIONS)
def test_the_optimizer_holds_every_parameter_once(fusion):
    network, _, _ = made(fusion)
    held = [p for group in weight_groups(network, 0.1) for p in group["params"]]
    assert len(held) == len({id(p) for p in held})
    assert {id(p) for p in held} == {id(p) for p in network.parameters()}


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("gone", [m.name for m in MODALITIES])
def test_each_absent_modality_is_the_same_as_one_never_sent_to_the_bit(fusion, gone):
    network, task, _ = made(fusion)
    network.eval()
    rows = rows_of(4, missing=0.0)
    never = heads(
        network, collate([{k: v for k, v in r.items() if k != gone} for r in rows], task.modalities)
    )
    batch = collate(rows, task.modalities)
    sent = heads(network, batch.without({gone}))
    assert gone not in sent
    assert all(torch.equal(never[n], sent[n]) for n in never)
    with torch.inference_mode():
        encoded = network.encode(batch)
        keep = {n: torch.full((4,), n != gone) for n in encoded}
        joint = network.fuse(encoded, keep)
        masked = network.answer(encoded, joint)["y"]
    if joint is not None:
        torch.testing.assert_close(masked[""], never[""], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("wild", WILD)
@pytest.mark.parametrize("fusion", ["early", "mid", "tensor"])
def test_nothing_in_a_masked_slot_moves_a_bit(fusion, wild):
    """Rows that have a modality stand beside rows that lack it, so that its slots are there, only masked."""
    network, task, _ = made(fusion)
    network.eval()
    with torch.inference_mode():
        encoded = network.encode(collate(rows_of(6, missing=0.0), task.modalities))
        for name, piece in encoded.items():
            keep = {n: torch.ones(6, dtype=torch.bool) for n in encoded}
            keep[name] = torch.tensor([True, False] * 3)
            seen = (piece.tokens.valid & keep[name][:, None])[:, :, None]
            loud = replace(piece, tokens=replace(piece.tokens, x=piece.tokens.x.masked_fill(~seen, wild)))
            before, after = network.fuse(encoded, keep), network.fuse({**encoded, name: loud}, keep)
            assert torch.equal(before, after), name


@pytest.mark.parametrize("wild", WILD)
def test_gradients_stay_finite_beside_masked_slots(wild):
    torch.manual_seed(0)
    layer, present = LowRankFusion(2, 4), torch.tensor([[True, True], [True, False]])
    z = torch.randn(2, 2, 4).masked_fill(~present[:, :, None], wild).requires_grad_()
    layer(z, present).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in (z, *layer.parameters()))
    trunk, valid = (
        Trunk(8, 2, depth=2, schedule=SCHEDULES["mid"]),
        torch.tensor([[True, True], [True, False]]),
    )
    x = torch.randn(2, 2, 8).masked_fill(~valid[:, :, None], wild).requires_grad_()
    out = trunk(Tokens(x=x, kind=valid * 1, place=torch.zeros(2, 2, 3), valid=valid))
    (out.x * out.valid[:, :, None]).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in (x, *trunk.parameters()))
    assert not x.grad[1, 1].any()


@pytest.mark.parametrize("wild", WILD)
def test_pooling_leaves_padding_out_whatever_it_holds(wild):
    valid = torch.tensor([[True, False], [False, False]])
    x = torch.tensor([[[2.0], [wild]], [[wild], [wild]]])
    found = pooled(Tokens(x=x, kind=valid.long(), place=torch.zeros(2, 2, 3), valid=valid))
    assert found.tolist() == [[2.0, 2.0], [0.0, 0.0]]


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_head_answers_a_row_alone_as_in_a_batch_in_any_order(fusion):
    network, task, _ = made(fusion)
    network.eval()
    rows = rows_of(6)
    order = [3, 0, 5, 1, 4, 2]
    together = heads(network, collate(rows, task.modalities))
    turned = heads(network, collate([rows[i] for i in order], task.modalities))
    for i, row in enumerate(rows):
        alone = heads(network, collate([row], task.modalities))
        assert set(alone) == set(row) | ({""} if fusion != "late" else set())
        for name, found in alone.items():
            torch.testing.assert_close(found[0], together[name][i], atol=2e-5, rtol=1e-4)
            torch.testing.assert_close(found[0], turned[name][order.index(i)], atol=2e-5, rtol=1e-4)


def test_batches_of_nothing():
    assert collate([], MODALITIES) == Batch(parts={}, rows=0)
    assert collate([{}], MODALITIES) == Batch(parts={}, rows=1)
    network, task, examples = made("early")
    assert network.encode(collate([{}], task.modalities)) == {}
    row = rows_of(1)[0]
    mixed = heads(network.eval(), collate([{}, row, {}], task.modalities))
    alone = heads(network, collate([row], task.modalities))
    assert all(torch.isfinite(v).all() for v in mixed.values()), (
        "rows without anything are finite, and unread"
    )
    for name, found in alone.items():
        torch.testing.assert_close(mixed[name][1], found[0], atol=2e-5, rtol=1e-4)
    none = Tokens(
        x=torch.zeros(0, 2, 4), kind=torch.zeros(0, 2, dtype=torch.long), place=torch.zeros(0, 2, 3),
        valid=torch.zeros(0, 2, dtype=torch.bool),
    )  # fmt: skip
    wide = spread(none, torch.zeros(0, dtype=torch.long), 3, 1)
    assert wide.x.shape == (3, 2, 4)
    assert not wide.valid.any()


@pytest.mark.parametrize("fusion", FUSIONS)
def test_one_row_trains(fusion):
    network, task, examples = made(fusion, rows=rows_of(1, missing=0.0))
    trainer = Trainer(network, task, Plan(steps=2, batch=1), examples)
    for batch in trainer.batches():
        assert all(np.isfinite(list(trainer.train_step(batch).values())))
        if trainer.step == 2:
            break
    assert all(torch.isfinite(v).all() for v in network.state_dict().values())


@pytest.mark.parametrize("fusion", FUSIONS)
def test_saved_and_loaded_weights_answer_to_the_bit(fusion):
    network, task, _ = made(fusion)
    batch = collate(rows_of(5), task.modalities)
    again = Network(task, TINY, fusion=fusion)
    again.load_state_dict(load(save({k: v.contiguous() for k, v in network.state_dict().items()})))
    first, second = heads(network.eval(), batch), heads(again.eval(), batch)
    assert all(torch.equal(first[n], second[n]) for n in first)


def test_the_factors_of_low_rank_fusion_are_trained_and_saved():
    network, task, examples = made("tensor")
    names = [n for n, _ in network.named_parameters() if "factors" in n]
    assert len(names) == len(MODALITIES)
    before = {n: network.state_dict()[n].clone() for n in names}
    trainer = Trainer(network, task, Plan(steps=2, batch=12, drop=0.0), examples)
    trainer.train_step(examples.batch(task, range(12)))
    assert not [n for n in names if torch.equal(before[n], network.state_dict()[n])]
    assert set(names) <= set(trainer.mean)


def test_attention_equals_torch_s_own():
    torch.manual_seed(0)
    layer, theirs = Attention(8, 2), nn.MultiheadAttention(8, 2, bias=False, batch_first=True)
    layer.norm_query = layer.norm_key = nn.Identity()  # the one thing that theirs has not
    theirs.in_proj_weight.data = torch.cat([layer.query.weight, layer.pair.weight]).detach()
    theirs.out_proj.weight.data = layer.out.weight.detach().clone()
    x, seen = torch.randn(3, 4, 8), torch.randn(3, 6, 8)
    mask = torch.rand(3, 4, 6) < 0.6
    mask[:, :, 0] = True
    want, _ = theirs(x, seen, seen, attn_mask=~mask.repeat_interleave(2, 0), need_weights=False)
    torch.testing.assert_close(layer(x, seen, mask), want)


def test_the_schedule_equals_torch_s_linear_and_cosine_ones():
    plan = Plan(steps=100, batch=4, warmup=10)
    weight = nn.Parameter(torch.zeros(1))

    def rates(make, count: int) -> list[float]:
        optimizer = torch.optim.SGD([weight], lr=plan.rate)
        scheduler, found = make(optimizer), []
        for _ in range(count):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        return found

    rise = rates(lambda o: torch.optim.lr_scheduler.LinearLR(o, start_factor=0.1, total_iters=9), 10)
    fall = rates(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=90), 90)
    assert [schedule(s, plan, 100) for s in range(100)] == pytest.approx(rise + fall, abs=1e-12)
    assert schedule(40, plan, 40) == pytest.approx(0, abs=1e-12)


def test_average_weights_equal_torch_s_own():
    network, task, examples = made("early")
    plan = Plan(steps=3, batch=12, average=0.1)  # below the fast start, so that the decay is constant
    trainer = Trainer(network, task, plan, examples)
    theirs = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.1)
    )
    theirs.update_parameters(network)  # the first call copies, as our start does
    for batch in trainer.batches():
        trainer.train_step(batch)
        theirs.update_parameters(network)
        if trainer.step == 3:
            break
    for name, value in theirs.module.named_parameters():
        torch.testing.assert_close(trainer.mean[name], value.detach(), msg=name)


def test_shapes_are_executed_in_tests():
    """What `conftest.py` hooks in works: a wrong shape fails by its name, not far below by a product of matrices."""
    head = Head(4, 3)
    assert head(torch.zeros(2, 8)).shape == (2, 3)
    with pytest.raises(jaxtyping.TypeCheckError, match="vector"):
        head(torch.zeros(2, 1, 8))
    with pytest.raises(jaxtyping.TypeCheckError, match="present"):
        LowRankFusion(2, 3)(torch.zeros(5, 2, 3), torch.ones(4, 2, dtype=torch.bool))
    x, place, valid = torch.zeros(2, 3, 4), torch.zeros(2, 3, 3), torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(jaxtyping.TypeCheckError, match="kind"):
        Tokens(x=x, kind=torch.full((2, 4), SHARED), place=place, valid=valid)


@pytest.mark.parametrize("target", [CATEGORY, LABELS, NUMBER], ids=lambda t: t.kind)
def test_a_row_without_the_target_does_not_move_the_loss(target):
    network, task, whole = made("early", target, rows_of(3, missing=0.0))
    network.eval()
    cell = whole.targets["y"][1]
    holes = Examples(rows=whole.rows, targets={"y": [None, cell, None]})
    alone = Examples(rows=whole.rows[1:2], targets={"y": [cell]})

    def loss(examples: Examples, index: range) -> dict[str, torch.Tensor]:
        batch = examples.batch(task, index)
        encoded = network.encode(batch)
        present = {n: e.present for n, e in encoded.items()}
        return losses(network.answer(encoded, network.fuse(encoded)), batch, task, present)

    some, one = loss(holes, range(3)), loss(alone, range(1))
    assert set(some) == set(one)
    for name, value in some.items():
        torch.testing.assert_close(value, one[name], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_batch_without_anything_has_no_answers(fusion):
    network, task, _ = made(fusion)
    for rows in ([], [{}], [{}, {}]):
        assert heads(network.eval(), collate(rows, task.modalities)) == {}


@pytest.mark.parametrize("wild", [3.0, float("nan"), float("inf")])
def test_nothing_behind_the_end_of_a_row_moves_a_bit(wild):
    """`collate` pads with zeros, but what the padding holds is nobody's business."""
    network, task, _ = made("early")
    network.eval()
    batch = collate(rows_of(6, missing=0.0), task.modalities)
    want = heads(network, batch)
    for name, part in batch.parts.items():
        values = part.values.clone()
        for row, length in zip(values, part.length.tolist(), strict=True):
            row[length:] = wild if row.dtype == torch.float32 else 3
        if name == "table":  # a field that the row lacks is padding, too
            values[:, 1, 2] = 0
            quiet = values.clone()
            quiet[:, 1, :2] = 0
            values[:, 1, :2] = wild
            plain = replace(batch, parts={**batch.parts, name: replace(part, values=quiet)})
            want = heads(network, plain)
        found = heads(network, replace(batch, parts={**batch.parts, name: replace(part, values=values)}))
        assert all(torch.equal(want[n], found[n]) for n in want), name
        want = heads(network, batch)
