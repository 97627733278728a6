"""Balance between modalities: the formulas, what the encoders get of each loss, exact resuming, and the diagnosis."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_core import CATEGORY, LABELS, MODALITIES, NUMBER, TINY, modality, rows_of, world

from sensorium.colearning import RISE, SURE, Standing, blend_weights, pareto_gradient, pareto_weight
from sensorium.measure.probes import Seen, diagnose, linear_probe, overfitting, row_figures
from sensorium.network import JOINT, Network, key
from sensorium.tasks import Task
from sensorium.training import (
    BALANCES,
    Examples,
    Plan,
    Trainer,
    answer_all,
    held_losses,
    losses,
    row_losses,
    run,
    vectors_all,
)
from sensorium.training.balance import hopeful
from sensorium.types import InputError

FUSIONS = ("early", "mid", "late", "tensor")
USED = [(b, f) for b in BALANCES for f in ("early", "late", "tensor") if (b, f) != ("joint", "late")]
SECOND = replace(NUMBER, column="z")
SOME = tuple(m for m in MODALITIES if m.name in ("audio", "series", "table"))


def pair(seed: int, agree: bool) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first, second = (torch.randn(7, generator=generator, dtype=torch.float64) for _ in range(2))
    return first, second if (float(first @ second) > 0) == agree else -second


def two_targets(rows: list | None = None) -> tuple[Task, Examples]:
    """A category, and a number beside it that half of the rows lack."""
    names = {m.name for m in SOME}
    rows = [{k: v for k, v in r.items() if k in names} for r in rows_of(14)] if rows is None else rows
    rows = [r for r in rows if r][:12]
    _, examples = world(CATEGORY, rows)
    beside = [np.float32(i % 5 - 2) if i % 2 else None for i in range(len(rows))]
    return (
        Task(modalities=SOME, targets=(CATEGORY, SECOND)),
        Examples(rows=rows, targets={**examples.targets, "z": beside}),
    )


def trainer_of(balance: str, fusion: str = "early", *, steps: int = 8, **options) -> Trainer:
    torch.manual_seed(5)
    task, examples = two_targets()
    plan = Plan(steps=steps, batch=4, check=2, balance=balance, **options)
    return Trainer(Network(task, TINY, fusion=fusion), task, plan, examples)


def graph(network: Network, task: Task, examples: Examples) -> dict:
    batch = examples.batch(task, range(len(examples.rows)))
    encoded = network.encode(batch)
    answers = network.answer(encoded, network.fuse(encoded))
    return losses(answers, batch, task, {n: e.present for n, e in encoded.items()})


# The formulas.


@pytest.mark.parametrize("seed", range(5))
def test_gradients_that_agree_are_added_and_raised(seed):
    joint, own = pair(seed, agree=True)
    assert pareto_weight(joint, own) == 0.5
    torch.testing.assert_close(pareto_gradient(joint, own), (joint + own) * RISE)


@pytest.mark.parametrize("longer", [1.0, 0.3, 4.0])
@pytest.mark.parametrize("seed", range(5))
def test_gradients_in_conflict_meet_where_the_line_between_them_is_nearest_to_zero(seed, longer):
    joint, own = pair(seed, agree=False)
    own = own * longer
    shares = np.linspace(0, 1, 20_001)
    norms = [float((w * joint + (1 - w) * own).norm()) for w in shares]
    weight = pareto_weight(joint, own)
    assert weight == pytest.approx(shares[int(np.argmin(norms))], abs=1e-4)
    merged = pareto_gradient(joint, own)
    assert float(merged @ joint) >= -1e-9
    assert float(merged @ own) >= -1e-9
    nearest = 2 * weight * joint + 2 * (1 - weight) * own
    torch.testing.assert_close(merged / merged.norm(), nearest / nearest.norm())
    longest = max(float(nearest.norm()), float((joint + own).norm()))
    assert float(merged.norm()) == pytest.approx(RISE * longest)


def test_one_gradient_alone_stays_and_two_that_cancel_leave_nothing():
    some, none = torch.tensor([1.0, -2.0]), torch.zeros(2)
    assert torch.equal(pareto_gradient(some, none), some)
    assert torch.equal(pareto_gradient(none, some), some)
    assert torch.equal(pareto_gradient(some, -3 * some), none)


def test_blended_weights_follow_the_formula():
    before = Standing(train={"a": 2.0, "b": 2.0, "c": 1.0}, valid={"a": 2.1, "b": 2.2, "c": 1.0, "d": 3.0})
    now = Standing(train={"a": 1.5, "b": 1.0, "c": 0.9}, valid={"a": 1.7, "b": 1.8, "c": 1.1, "d": 2.0})
    # Gap of a: .1 -> .2; of b: .2 -> .8; c got worse; d was never seen in training.
    worth = np.array([0.4 / 0.1**2, 0.4 / 0.6**2, 0.0])
    found = blend_weights(before, now, {"d": 7.0, "e": 2.0})
    assert [found[n] for n in "abc"] == pytest.approx((3 * worth / worth.sum()).tolist())
    assert (found["d"], found["e"]) == (1.0, 1.0)
    softened = blend_weights(before, now, {}, least=0.1)
    assert sum(softened.values()) == pytest.approx(3)
    assert softened["c"] == pytest.approx(0.1)
    still = Standing(train=before.train, valid={"a": 2.1 - 2e-2, "b": 2.2 - 4e-2, "c": 1.0 - SURE / 2})
    near = blend_weights(before, still, {})
    worth = np.array([0.02 / 0.02**2, 0.04 / 0.04**2, 0.0])
    assert [near[n] for n in "abc"] == pytest.approx((3 * worth / worth.sum()).tolist()), (
        "below SURE is noise"
    )
    worse = Standing(train=now.train, valid={n: v + 1 for n, v in before.valid.items()})
    assert blend_weights(before, worse, {"a": 0.5}) == {"a": 0.5}


def test_where_no_head_improves_the_joint_one_is_trusted():
    heads = {"y/a": 1.0, "y/b": 1.0, "y/joint": 1.0}
    found = hopeful(heads, {})
    assert found == pytest.approx({"y/a": 0.1, "y/b": 0.1, "y/joint": 2.8})
    assert hopeful({"y/a": 1.0}, {"y/a": 0.7}) == {"y/a": 0.7}
    worse = {n: v + 1 for n, v in heads.items()}
    first = BALANCES["blend"].checked(heads, {}, lambda: heads)
    assert set(first.weights.values()) == {1.0}
    assert first.checked(worse, {}, lambda: heads).weights == found


# What the parameters get.


@pytest.mark.parametrize("fusion", FUSIONS)
def test_uniform_is_the_plain_sum_to_the_bit(fusion):
    trainer = trainer_of("uniform", fusion, drop=0.0)
    network, task, examples = trainer.network, trainer.task, trainer.examples
    found = graph(network, task, examples)
    sum(found.values()).backward()
    want = [p.grad.clone() for p in network.parameters()]
    network.zero_grad()
    trainer.balance.backward(graph(network, task, examples), network, trainer.plan)
    assert all(torch.equal(p.grad, w) for p, w in zip(network.parameters(), want, strict=True))


@pytest.mark.parametrize("fusion", ["early", "mid", "tensor"])
def test_joint_alone_trains_encoders_by_the_joint_losses_and_own_heads_beside_them(fusion):
    trainer = trainer_of("joint", fusion)
    network, task, examples = trainer.network, trainer.task, trainer.examples
    found = graph(network, task, examples)
    sum(v for (_, head), v in found.items() if head == JOINT).backward()
    want = {n: p.grad.clone() for n, p in network.encoders.named_parameters()}
    network.zero_grad()
    batch = examples.batch(task, range(len(examples.rows)))
    encoded = network.encode(batch)
    answers = network.answer(trainer.balance.heard(encoded), network.fuse(encoded))
    found = losses(answers, batch, task, {n: e.present for n, e in encoded.items()})
    trainer.balance.backward(found, network, trainer.plan)
    for name, parameter in network.encoders.named_parameters():
        torch.testing.assert_close(parameter.grad, want[name], msg=name)
    own = [network.heads[key(c)][key(n)] for c in network.columns for n in network.names]
    assert all(p.grad is not None and p.grad.any() for h in own for p in h.parameters())


def test_late_fusion_has_no_joint_loss_to_train_by():
    with pytest.raises(InputError, match="late fusion has no joint head"):
        trainer_of("joint", "late")
    with pytest.raises(InputError, match="no such balance"):
        trainer_of("fair")


@pytest.mark.parametrize("fusion", FUSIONS)
def test_pareto_merges_what_each_encoder_gets_and_leaves_heads_and_trunk_the_sum(fusion):
    trainer = trainer_of("pareto", fusion)
    network, task, examples = trainer.network, trainer.task, trainer.examples
    lacking = replace(examples, rows=[{k: v for k, v in r.items() if k != "audio"} for r in examples.rows])
    joint = {n: v for n, v in graph(network, task, lacking).items() if n[1] == JOINT}
    own = {n: v for n, v in graph(network, task, lacking).items() if n[1] != JOINT}
    trainer.balance.backward(graph(network, task, lacking), network, trainer.plan)
    assert all(p.grad is None for p in network.encoders[key("audio")].parameters())
    for name in set(network.names) - {"audio"}:
        parameters = list(network.encoders[key(name)].parameters())

        def flat(found, parameters=parameters):
            grads = torch.autograd.grad(sum(found.values()), parameters, retain_graph=True, allow_unused=True)
            return torch.cat([torch.zeros(p.numel()) if g is None else g.flatten() for p, g in zip(parameters, grads, strict=True)])  # fmt: skip

        mine = flat({n: v for n, v in own.items() if n[1] == name})
        want = pareto_gradient(flat(joint), mine) if joint else mine
        got = torch.cat([p.grad.flatten() for p in parameters])
        torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-3, msg=name)
    rest = [(n, p) for n, p in network.named_parameters() if not n.startswith("encoders.") and p.grad is not None]  # fmt: skip
    wanted = torch.autograd.grad(sum({**joint, **own}.values()), [p for _, p in rest], allow_unused=True)
    for (name, parameter), grad in zip(rest, wanted, strict=True):
        torch.testing.assert_close(parameter.grad, grad, atol=1e-5, rtol=1e-3, msg=name)


def test_blend_weighs_each_head_by_its_own_weight():
    trainer = trainer_of("blend")
    network, task, examples = trainer.network, trainer.task, trainer.examples
    trainer.balance = replace(trainer.balance, weights={"y/audio": 0.0, "y/joint": 3.0})
    trainer.balance.backward(graph(network, task, examples), network, trainer.plan)
    heads = network.heads[key("y")]
    assert not any(p.grad.any() for p in heads[key("audio")].parameters())
    got = heads[key(JOINT)].layers[2].weight.grad.clone()
    network.zero_grad()
    sum(graph(network, task, examples).values()).backward()
    torch.testing.assert_close(got, 3 * heads[key(JOINT)].layers[2].weight.grad)


# Training.


@pytest.mark.parametrize(("balance", "fusion"), USED)
def test_every_balance_trains_and_resumes_with_the_same_bits(balance, fusion, tmp_path):
    whole = trainer_of(balance, fusion, steps=6)
    run(whole, folder=tmp_path, valid=whole.examples, deadline_s=None)
    half = trainer_of(balance, fusion, steps=6)
    (tmp_path / "half").mkdir()

    def leave(row: dict) -> None:
        if row["step"] == 4:
            raise KeyboardInterrupt

    run(half, folder=tmp_path / "half", valid=half.examples, deadline_s=None, show=leave)
    again = trainer_of(balance, fusion, steps=6)
    assert again.resume(tmp_path / "half" / "checkpoint")
    assert again.step == 4
    run(again, folder=tmp_path / "half", valid=again.examples, deadline_s=None)
    assert again.balance == whole.balance
    for name, value in whole.network.state_dict().items():
        assert torch.isfinite(value).all()
        assert torch.equal(value, again.network.state_dict()[name]), name


def test_blend_estimates_its_weights_at_the_validations(tmp_path):
    trainer = trainer_of("blend")
    run(trainer, folder=tmp_path, valid=trainer.examples, deadline_s=None)
    rows = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    weights = [r["head_weights"] for r in rows if "head_weights" in r]
    assert set(weights[0].values()) == {1.0}
    assert len({json.dumps(w) for w in weights}) > 1, "nothing was estimated"
    for each in weights:
        assert sum(each.values()) == pytest.approx(len(each))
        assert min(each.values()) >= 0.1 - 1e-9
    assert trainer.balance.weights == weights[-1]


def test_a_plan_of_before_is_uniform_and_a_checkpoint_of_before_resumes(tmp_path):
    saved = {k: v for k, v in asdict(Plan(steps=3, batch=2)).items() if k != "balance"}
    assert Plan(**saved).balance == "uniform"
    assert json.loads(json.dumps(asdict(Plan(steps=3, batch=2, balance="blend"))))["balance"] == "blend"
    trainer = trainer_of("blend")
    trainer.checkpoint(tmp_path)
    path = tmp_path / "state.safetensors"
    raw, lost = path.read_bytes(), b', \\"balance\\": {\\"weights\\": {}, \\"train\\": {}, \\"valid\\": {}}'
    assert lost in raw
    size = int.from_bytes(raw[:8], "little")
    path.write_bytes((size - len(lost)).to_bytes(8, "little") + raw[8:].replace(lost, b""))
    assert trainer_of("blend").resume(tmp_path)


def test_validation_losses_of_every_head_are_in_the_history(tmp_path):
    trainer = trainer_of("uniform")
    run(trainer, folder=tmp_path, valid=trainer.examples, deadline_s=None)
    rows = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    checked = [r for r in rows if "valid" in r]
    assert checked
    for row in checked:
        assert set(row["losses"]) <= set(row["valid_losses"])
        assert {"y/joint", "z/joint", "y/audio", "z/audio"} <= set(row["valid_losses"])


def test_losses_of_heads_on_held_out_rows_equal_the_obvious_way():
    trainer = trainer_of("uniform")
    network, task, examples = trainer.network.eval(), trainer.task, trainer.examples
    common, alone = held_losses(network, task, examples)
    want, each, votes = {}, np.zeros(len(examples.rows)), np.zeros(len(examples.rows))
    for i, row in enumerate(examples.rows):
        one = examples.batch(task, [i], [row])
        with torch.inference_mode():
            answers = network(one)
        for target in task.targets:
            for head, logits in answers[target.column].items():
                if examples.targets[target.column][i] is None:
                    continue
                loss = float(row_losses(logits, one.targets[target.column], target))
                want.setdefault(f"{target.column}/{head or 'joint'}", []).append(loss)
                if target is task.target:
                    each[i] += loss * (2 if head == JOINT else 1)
                    votes[i] += 2 if head == JOINT else 1
    assert set(alone) == set(want)
    for name, rows in want.items():
        assert alone[name] == pytest.approx(np.mean(rows), abs=1e-4), name
    assert common == pytest.approx((each / votes).mean(), abs=1e-4)


def test_a_modality_called_joint_has_a_loss_of_its_own():
    named = modality("joint", "series", (3,), 5)
    task = Task(modalities=(named, MODALITIES[-1]), targets=(CATEGORY,))
    rows = [
        {"joint": np.ones((5, 3), np.float32) * i, "table": np.ones((4, 3), np.float32)} for i in range(3)
    ]
    examples = Examples(rows=rows, targets={"y": [np.int64(i) for i in range(3)]})
    torch.manual_seed(0)
    network = Network(task, TINY)
    trainer = Trainer(network, task, Plan(steps=2, batch=3, drop=0.0), examples)
    before = network.heads[key("y")][key("joint")].layers[2].weight.clone()
    said = trainer.train_step(examples.batch(task, range(3)))
    assert set(said) == {"y/joint", 'y/"joint"', "y/table"}
    assert not torch.equal(before, network.heads[key("y")][key("joint")].layers[2].weight)


# The diagnosis.


def test_vectors_are_what_the_own_heads_read():
    trainer = trainer_of("uniform")
    network, task, rows = trainer.network, trainer.task, trainer.examples.rows
    vectors, present = vectors_all(network, task, rows)
    heads, also, _ = answer_all(network, task, rows)
    for name in network.names:
        assert np.array_equal(present[name], also[name])
        assert not vectors[name][~present[name]].any()
        with torch.inference_mode():
            said = network.heads[key("y")][key(name)](torch.from_numpy(vectors[name])).numpy()
        np.testing.assert_allclose(said[present[name]], heads[name][present[name]], atol=1e-5)


def planted(kind: str, rows: int, seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Vectors of a modality that tells the target, and of one that tells nothing."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(rows, 3))
    noise = rng.normal(size=(rows, 6))
    truth = {
        "category": hidden.argmax(1), "labels": (hidden > 0).astype(np.float32), "number": hidden[:, 0].astype(np.float32),
    }[kind]  # fmt: skip
    told = np.concatenate([hidden + 0.1 * rng.normal(size=hidden.shape), noise[:, :3]], 1)
    return {"good": told, "bare": noise}, truth


def logits_of(truth: np.ndarray, kind: str) -> np.ndarray:
    """Answers that are right."""
    if kind == "category":
        return np.eye(3)[truth] * 4
    return truth * 8 - 4 if kind == "labels" else truth[:, None] * 1.0


@pytest.mark.parametrize("kind", ["category", "labels", "number"])
def test_a_probe_finds_what_is_there_and_nothing_else(kind):
    (train, truth), (held, want) = planted(kind, 400), planted(kind, 300, seed=1)
    good, bare = (
        row_figures(linear_probe(train[n], truth, held[n], kind=kind, classes=3), want, kind=kind).mean()
        for n in ("good", "bare")
    )
    assert good > 0.9
    assert bare < {"category": 0.45, "labels": 0.6, "number": 0.1}[kind]


def test_a_probe_equals_scikit_learn_s():
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(0)
    x, held = rng.normal(size=(200, 4)), rng.normal(size=(50, 4))
    y = (x @ [1.0, -2.0, 0.5, 0.0] + 0.1 * rng.normal(size=200)).astype(np.float32)
    said = linear_probe(x, y, held, kind="number", classes=0)[:, 0]
    scaled = [(v - x.mean(0)) / x.std(0) for v in (x, held)]
    each = [Ridge(alpha=a).fit(scaled[0], y).predict(scaled[1]) for a in (3.0, 30.0, 300.0)]
    assert min(np.abs(said - e).max() for e in each) < 1e-3


@pytest.mark.parametrize("kind", ["category", "labels", "number"])
def test_a_starved_encoder_is_told_from_one_that_has_nothing_to_learn(kind):
    (train, truth), (held, want) = planted(kind, 400), planted(kind, 300, seed=1)
    ones = {n: np.ones(400, bool) for n in train}
    there = {n: np.arange(300) % 10 > 0 for n in held}
    poor = np.roll(logits_of(want, kind), 7, axis=0)
    seen = Seen(vectors=train, present=ones, truth=truth), Seen(vectors=held, present=there, truth=want)
    able = diagnose(*seen, {"good": logits_of(want, kind), "bare": poor}, kind=kind, classes=3,
                    reference={"good": logits_of(want, kind), "bare": logits_of(want, kind)})  # fmt: skip
    assert json.loads(json.dumps(able)) == able
    good, bare = able
    assert (good["modality"], good["rows"], good["under_used"]) == ("good", 270, False)
    assert bare["under_used"] is True
    assert bare["gap"]["low"] > 0
    assert "not starved" in good["words"]
    assert "starved, it knows more" in bare["words"]
    assert "a model of bare alone" in bare["words"]
    (empty,) = diagnose(*seen, {"bare": poor}, kind=kind, classes=3, reference={"bare": poor})
    assert not empty["under_used"], "a modality that tells nothing is not starved"
    few = {"bare": np.arange(300) < 9}
    some = Seen(vectors=held, present=few, truth=want)
    short = diagnose(seen[0], some, {"bare": poor}, kind=kind, classes=3, reference={"bare": np.where(np.arange(300)[:, None] < 8, logits_of(want, kind), poor)})  # fmt: skip
    assert short[0]["rows"] == 9
    none = Seen(vectors=held, present={"bare": np.zeros(300, bool)}, truth=want)
    assert diagnose(seen[0], none, {"bare": poor}, kind=kind, classes=3) == []


def test_few_rows_tell_nothing_about_a_small_gap():
    (train, truth), (held, want) = planted("category", 400), planted("category", 30, seed=1)
    seen = (
        Seen(vectors={"good": train["good"]}, present={"good": np.ones(400, bool)}, truth=truth),
        Seen(vectors={"good": held["good"]}, present={"good": np.ones(30, bool)}, truth=want),
    )
    said = linear_probe(train["good"], truth, held["good"], kind="category", classes=3)
    wrong = np.flatnonzero(said.argmax(1) != want)
    own = said.copy()
    better = said.copy()
    better[wrong[:1]] = np.eye(3)[want[wrong[:1]]] * 99
    assert len(wrong) >= 1
    (told,) = diagnose(*seen, {"good": own}, kind="category", classes=3, reference={"good": better})
    assert told["under_used"] is None
    assert "too few rows" in told["words"]


def test_overfitting_to_generalisation_by_hand():
    rows = [
        {"losses": {"y/a": 2.0}}, {"losses": {"y/a": 1.8}, "valid_losses": {"y/a": 2.0}}, {"losses": {"y/a": 1.2}},
        {"losses": {"y/a": 1.0}, "valid_losses": {"y/a": 1.6}},
    ]  # fmt: skip
    # The gap grows from .1 to .5, the held-out loss falls by .4.
    assert overfitting(rows, "y/a") == {"generalised": 0.4, "overfitted": 0.4, "ratio": 1.0}
    assert overfitting(rows[:2], "y/a") is None
    assert overfitting(rows, "y/b") is None
    rising = [*rows[:2], {"losses": {"y/a": 1.0}, "valid_losses": {"y/a": 2.5}}]
    assert overfitting(rising, "y/a") == {"generalised": -0.5, "overfitted": 1.4}


def test_the_diagnosis_of_a_trained_network(tmp_path: Path):
    """From network to words: arrays of the training room go into the diagnosis as they are."""
    trainer = trainer_of("uniform", steps=20)
    run(trainer, folder=tmp_path, valid=trainer.examples, deadline_s=None)
    network, task, examples = trainer.network, trainer.task, trainer.examples
    vectors, present = vectors_all(network, task, examples.rows)
    heads, _, _ = answer_all(network, task, examples.rows)
    seen = Seen(vectors=vectors, present=present, truth=np.array(examples.targets["y"]))
    history = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    own = {n: heads[n] for n in network.names}
    found = diagnose(seen, seen, own, kind="category", classes=3, history=history, column="y")
    assert [f["modality"] for f in found] == [n for n in network.names if present[n].sum() >= 5]
    assert all(f["learning"] is not None for f in found)
    assert json.loads(json.dumps(found)) == found


def test_labels_count_each_label():
    truth = np.array([[1.0, 0.0, 0.0]])
    assert row_figures(np.array([[3.0, 1.0, -1.0]]), truth, kind=LABELS.kind)[0] == pytest.approx(2 / 3)
