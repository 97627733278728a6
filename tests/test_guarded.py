"""The default balance: a head that knows nothing by itself hardly moves its encoder."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_balance import trainer_of
from test_core import TINY

from sensorium.network import JOINT, Network, key
from sensorium.training import BALANCES, balance_of, blank_losses, losses, row_losses
from sensorium.training.balance import FAINT


def test_a_head_that_knows_nothing_reaches_its_encoder_faintly():
    trainer = trainer_of("guarded", drop=0.0)
    network, task, examples = trainer.network, trainer.task, trainer.examples
    batch = examples.batch(task, range(len(examples.rows)))

    def slope(balance):
        network.zero_grad()
        encoded = network.encode(batch)
        answers = network.answer(balance.heard(encoded), network.fuse(encoded))
        found = losses(answers, batch, task, {n: e.present for n, e in encoded.items()})
        sum(v for (_, head), v in found.items() if head != JOINT).backward()
        return {n: p.grad.clone() for n, p in network.encoders.named_parameters() if p.grad is not None}

    network.eval()
    plain, shut = slope(BALANCES["uniform"]), slope(trainer.balance)
    for name, grad in plain.items():
        torch.testing.assert_close(shut[name], FAINT * grad, rtol=1e-3, atol=1e-6, msg=name)
    heads = [f"{c}/{n}" for c in network.columns for n in network.names]
    blank = dict.fromkeys(heads, 1.0)
    told = trainer.balance.checked({**dict.fromkeys(heads, 0.99), heads[0]: 0.5}, blank, dict)
    assert told.state()["reach"] == {**dict.fromkeys(heads, FAINT), heads[0]: 1.0}
    assert trainer.balance.restored(told.state()) == told
    first, other = key(network.names[0]), key(network.names[1])
    some = slope(told)
    for name, grad in plain.items():
        if name.startswith((f"{first}.", f"{other}.")):
            share = 1.0 if name.startswith(f"{first}.") else FAINT
            torch.testing.assert_close(some[name], share * grad, rtol=1e-3, atol=1e-6, msg=name)


def test_without_validations_or_a_joint_head_nothing_is_guarded():
    trainer = trainer_of("guarded")
    assert trainer.balance.unchecked() == BALANCES["uniform"]
    assert trainer_of("guarded", "late").balance == BALANCES["uniform"]
    assert BALANCES["blend"].unchecked() == BALANCES["blend"]


def test_a_constant_answer_costs_what_the_best_one_costs():
    trainer = trainer_of("guarded")
    task, examples = trainer.task, trainer.examples
    found = blank_losses(task, examples, examples)
    for target in task.targets:
        cells = [c for c in examples.targets[target.column] if c is not None]
        truth = torch.from_numpy(np.stack(cells))
        if target.kind == "category":
            logs = torch.log(torch.bincount(truth, minlength=len(target.classes)) / len(truth) + 1e-6)
            want = float(row_losses(logs.expand(len(truth), -1), truth, target).mean())
            assert found[f"{target.column}/joint"] == pytest.approx(want, rel=1e-5)
            wrong = logs + torch.linspace(0, 1, len(logs))
            assert float(row_losses(wrong.expand(len(truth), -1), truth, target).mean()) > want - 0.02


def test_a_single_modality_has_nothing_to_be_guarded_from():
    trainer = trainer_of("guarded")
    task = replace(trainer.task, modalities=trainer.task.modalities[:1])
    assert balance_of("guarded", Network(task, TINY)) == BALANCES["uniform"]
