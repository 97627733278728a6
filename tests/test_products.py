"""What two modalities tell only together: products of their vectors beside the trunk."""

import json
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_balance import trainer_of

import sensorium as sm
from sensorium.api.prepare import Asked, examples, load_rows, plan_task
from sensorium.data import collate
from sensorium.fusion import Products
from sensorium.network import JOINT, SIZES, Network
from sensorium.training import Plan, Trainer, answer_all, run
from sensorium.types import Limits
from sensorium.worlds.planted import write_gates

PRESENT = torch.tensor([[True, True, True], [True, False, True], [False, True, False], [False, False, False]])


def made(wild: float = 0.0) -> tuple[Products, torch.Tensor]:
    torch.manual_seed(0)
    return Products(3, 5, 4), torch.randn(4, 3, 5).masked_fill(~PRESENT[:, :, None], wild)


def test_all_pairs_are_multiplied_whatever_absent_slots_hold():
    for wild in (0.0, 1e30, float("nan"), float("inf")):
        layer, z = made(wild)
        found = layer(z, PRESENT)
        for row in range(4):
            there = [m for m in range(3) if PRESENT[row, m]]
            u = {m: torch.layer_norm(z[row, m], (5,)) @ layer.maps[m] for m in there}
            pairs = list(combinations(there, 2))
            each = sum((u[i] * u[j] for i, j in pairs), torch.zeros(4)) / max(1, len(pairs)) ** 0.5
            torch.testing.assert_close(found[row], each @ layer.out, msg=str((row, wild)))
        assert not found[2:].any(), "one alone, or nothing, has no products"


def test_gradients_stay_finite_beside_absent_slots():
    layer, z = made(float("nan"))
    z.requires_grad_()
    layer(z, PRESENT).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in (z, *layer.parameters()))
    assert not z.grad[~PRESENT].any()


@pytest.mark.parametrize("fusion", ["early", "mid"])
def test_the_joint_vector_holds_the_products_of_what_it_may_see(fusion):
    trainer = trainer_of("guarded", fusion)
    network, task = trainer.network.eval(), trainer.task
    with torch.inference_mode():
        encoded = network.encode(collate(trainer.examples.rows, task.modalities))
        rows = len(trainer.examples.rows)
        keep = {n: torch.arange(rows) % (i + 2) > 0 for i, n in enumerate(encoded)}
        with_them = network.fuse(encoded, keep)
        layer, network.products = network.products, None
        without = network.fuse(encoded, keep)
        z = torch.stack([encoded[n].vector for n in network.names], 1)
        seen = torch.stack([encoded[n].present & keep[n] for n in network.names], 1)
        added = layer(z, seen)
    dim = network.shape.dim
    assert added.any()
    torch.testing.assert_close(with_them[:, :dim], without[:, :dim] + added)
    assert torch.equal(with_them[:, dim:], without[:, dim:])


def test_late_and_tensor_fusion_and_a_single_modality_have_none():
    trainer = trainer_of("guarded")
    one = replace(trainer.task, modalities=trainer.task.modalities[:1])
    shape = trainer.network.shape
    assert Network(one, shape).products is None
    assert all(Network(trainer.task, shape, fusion=f).products is None for f in ("late", "tensor"))


def test_an_exclusive_or_beside_a_bit_that_both_share_is_found(tmp_path):
    table = sm.read(write_gates(tmp_path / "world", "rdnxor", rows=2400, flip=0.0))
    task, rates, _ = plan_task(table.split("train"), Asked(target="y", inputs=("a", "b")), Limits())
    parts = {}
    for split in ("train", "valid", "test"):
        kept, rows, _ = load_rows(
            table.split(split), task, rates, Limits(), quarantine=None, tick=lambda n: None
        )
        parts[split] = examples(kept, rows, task, weighted=False)
    torch.manual_seed(0)
    network = Network(task, SIZES["nano"])
    trainer = Trainer(network, task, Plan(steps=220, batch=32, check=15, balance="guarded"), parts["train"])
    run(trainer, folder=tmp_path, valid=parts["valid"], deadline_s=None)
    said, _, _ = answer_all(network, task, parts["test"].rows)
    truth = np.array(parts["test"].targets["y"])
    right = {n: float((v.argmax(1) == truth).mean()) for n, v in said.items()}
    assert right[JOINT] > 0.95
    assert right["a"] == pytest.approx(0.5, abs=0.08)
    assert right["b"] == pytest.approx(0.5, abs=0.08)


def test_a_run_of_before_has_none_and_is_read(tmp_path):
    table = write_gates(tmp_path / "world", "copy", rows=120)
    model = sm.Model("y", inputs=["a", "b"], epochs=1).fit(table, out=tmp_path / "run")
    path = tmp_path / "run" / "model.safetensors"
    weights = load_file(path)
    old = {k: v for k, v in weights.items() if not k.startswith("products.")}
    assert len(weights) - len(old) == 2
    save_file(old, path)
    again = sm.load(tmp_path / "run")
    assert again.network.products is None
    assert len(again.predict(table)) == 120
    assert json.loads((tmp_path / "run" / "model.json").read_text())["complete"]
    assert model.network.products is not None
