"""The default balance: a head that knows nothing by itself does not train its encoder."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_balance import trainer_of
from test_core import TINY

from sensorium.network import JOINT, Network, key
from sensorium.training import BALANCES, balance_of, blank_losses, losses, row_losses


def test_a_head_that_knows_nothing_does_not_train_its_encoder():
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
    plain = slope(BALANCES["uniform"])
    assert plain
    assert not slope(trainer.balance), "closed: no own loss moves an encoder"
    heads = [f"{c}/{n}" for c in network.columns for n in network.names]
    blank = dict.fromkeys(heads, 1.0)
    told = trainer.balance.checked({**dict.fromkeys(heads, 0.99), heads[0]: 0.5}, blank, dict)
    assert told.state() == {"open": {heads[0]: 1.0}}
    assert trainer.balance.restored(told.state()) == told
    assert told.checked(dict.fromkeys(heads, 0.99), blank, dict) == trainer.balance, "it closes again"
    some, first = slope(told), key(network.names[0])
    assert {n.partition(".")[0] for n in some} == {first}
    for name, grad in some.items():
        torch.testing.assert_close(grad, plain[name], msg=name)


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
