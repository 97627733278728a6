"""The default balance: a head that knows nothing by itself does not train its encoder."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_balance import trainer_of
from test_core import TINY

from sensorium.network import JOINT, Network, key
from sensorium.training import BALANCES, balance_of, blank_losses, losses, row_losses, run
from sensorium.training.answers import held_rows, means, noise_of
from sensorium.training.loop import early, final


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
    assert told.open == (heads[0],)
    assert trainer.balance.restored(json.loads(json.dumps(told.state()))) == told
    assert told.checked(dict.fromkeys(heads, 0.99), blank, dict).open == (), "it closes again"
    some, first = slope(told), key(network.names[0])
    assert {n.partition(".")[0] for n in some} == {first}
    for name, grad in some.items():
        torch.testing.assert_close(grad, plain[name], msg=name)


def test_a_head_that_has_learned_all_it_can_teaches_no_more_until_it_gains_again():
    guard, blank = replace(BALANCES["guarded"], columns=("y",)), {"y/a": 1.0}
    for valid in (0.9, 0.5, 0.5, 0.498):
        guard = guard.checked({"y/a": valid}, blank, dict)
        assert guard.open == ("y/a",)
    guard = guard.checked({"y/a": 0.499}, blank, dict)
    assert guard.open == (), "three validations in which it gained less than a hundredth"
    assert guard.glanced({"y/a": 0.499}, blank, {}).open == ()
    assert guard.restored(json.loads(json.dumps(guard.state()))) == guard
    assert guard.checked({"y/a": 0.4}, blank, dict).open == ("y/a",)


def test_without_validations_or_a_joint_head_nothing_is_guarded():
    trainer = trainer_of("guarded")
    assert trainer.balance.unchecked() == BALANCES["uniform"]
    assert trainer_of("guarded", "late").balance == BALANCES["uniform"]
    assert BALANCES["blend"].unchecked() == BALANCES["blend"]


def test_no_other_constant_answer_is_better():
    trainer = trainer_of("guarded")
    task, examples = trainer.task, trainer.examples
    found = blank_losses(task, examples, examples)
    for target in task.targets:
        truth = torch.from_numpy(np.stack([c for c in examples.targets[target.column] if c is not None]))
        answer = torch.zeros(target.width, requires_grad=True)
        slow = torch.optim.LBFGS([answer], max_iter=200, line_search_fn="strong_wolfe")

        def loss(answer=answer, truth=truth, target=target, slow=slow):
            slow.zero_grad()
            mean = row_losses(answer.expand(len(truth), -1), truth.float() if target.kind == "number" else truth, target).mean()  # fmt: skip
            mean.backward()
            return mean

        slow.step(loss)
        assert found[f"{target.column}/joint"] == pytest.approx(float(loss().detach()), rel=2e-4), target.kind


def gains(rows: int, mean: float, spread: float = 1.0) -> tuple[dict, dict]:
    """Losses of a head and of a constant answer whose difference has this mean and this spread."""
    torch.manual_seed(0)
    drawn = torch.randn(rows)
    gain = mean + spread * (drawn - drawn.mean()) / drawn.std()
    return {"y/audio": 2 - gain}, {"y/audio": torch.full((rows,), 2.0)}


@pytest.mark.parametrize(
    ("mean", "spread", "open"), [(0.03, 0.2, True), (0.03, 0.4, False), (-0.03, 0.2, False)]
)
def test_what_a_head_gains_must_be_more_than_chance(mean, spread, open):
    losses_, blank = gains(400, mean, spread)
    noise = noise_of(losses_, blank)
    assert noise["y/audio"] == pytest.approx(spread / 20, rel=1e-3)
    guard = replace(BALANCES["guarded"], columns=("y",))
    told = guard.checked(means(losses_), means(blank), dict, noise)
    assert (told.open == ("y/audio",)) is open
    assert told.open == guard.glanced(means(losses_), means(blank), noise).open
    assert noise_of(*gains(9, 0.03)) == {}, "nine rows do not tell how much is chance"


def test_held_out_rows_are_looked_at_early_and_less_and_less_often(tmp_path, monkeypatch):
    assert [s for s in range(200) if early(s, 100)] == [10, 20, 40, 80]
    assert [s for s in range(200) if early(s, 20)] == [10]
    trainer = trainer_of("guarded", steps=30)
    trainer.plan = replace(trainer.plan, check=25)
    seen = []
    glanced = type(trainer.balance).glanced
    monkeypatch.setattr(type(trainer.balance), "glanced", lambda self, *a: seen.append(trainer.step) or glanced(self, *a))  # fmt: skip
    run(trainer, folder=tmp_path, valid=trainer.examples, deadline_s=None)
    assert seen == [10, 20, 25]


def test_a_run_goes_on_while_any_answer_that_it_may_end_with_improves():
    trainer = trainer_of("guarded", steps=1000)
    trainer.plan = replace(trainer.plan, patience=3)
    for number in range(10):
        trainer.step += 10
        trainer.observe({"together": 1.0 + 0.1 * number, "joint": 2.0 - 0.05 * number})
    assert trainer.steps == 1000, "own heads overfit, the joint head learns on"
    assert trainer.best == 1.0
    assert {k: round(v, 2) for k, v in trainer.lowest.items()} == {"together": 1.0, "joint": 1.55}
    for _ in range(3):
        trainer.observe({"together": 2.0, "joint": 1.55})
    assert trainer.steps < 1000, "nothing improves"
    before = trainer.kept
    trainer.observe({"together": 2.0, "joint": 0.9})
    assert trainer.best == 0.9
    assert trainer.kept is not before, "the best weights are those of the best of the answers"


def test_the_answers_that_a_run_may_end_with(tmp_path):
    trainer = trainer_of("guarded")
    found = held_rows(trainer.network, trainer.task, trainer.examples)
    assert final(trainer, found) == {"together": found.common, "joint": found.heads["y/joint"]}
    late = trainer_of("guarded", "late")
    assert set(final(late, held_rows(late.network, late.task, late.examples))) == {"together"}


def test_a_single_modality_has_nothing_to_be_guarded_from():
    trainer = trainer_of("guarded")
    task = replace(trainer.task, modalities=trainer.task.modalities[:1])
    assert balance_of("guarded", Network(task, TINY)) == BALANCES["uniform"]
