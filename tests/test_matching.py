"""Matching end to end: what belongs together is found, through a pivot too; controls stay at chance; runs come back."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from match_worlds import pivot, whole, world

import sensorium as sm
from sensorium.api.initial import Initial
from sensorium.api.opening import Wanted, plan_match
from sensorium.api.persist import norm_for
from sensorium.cli import main
from sensorium.data import Decoder, decode_rows
from sensorium.network import SIZES, Network
from sensorium.store import Table, read_jsonl
from sensorium.training import Examples, Plan, Trainer, total
from sensorium.training.replay import refuse_batch_norm
from sensorium.types import InputError, Limits


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A matcher of three sensors that saw a beside p, and b beside p, never a beside b."""
    folder = tmp_path_factory.mktemp("match") / "run"
    return sm.Matcher(["a", "p", "b"], epochs=14).fit(pivot(700), out=folder), folder


def labelled(folder: Path, name: str, rows: int, *, seed: int) -> Path:
    """A table of files of the three sensors, with a class that the hidden thing tells; returns its path."""
    hidden = np.random.default_rng(seed).normal(size=(rows, 6))
    cells = world(rows, seed=seed)
    lines = []
    for i in range(rows):
        paths = {c: f"{name}-{c}{i}.npy" for c in cells}
        for c, path in paths.items():
            np.save(folder / path, cells[c][i])
        lines.append(json.dumps({**paths, "kind": "high" if hidden[i, 0] > 0 else "low"}))
    (folder / f"{name}.jsonl").write_text("\n".join(lines), "utf-8")
    return folder / f"{name}.jsonl"


def share(found, query, answer, by="blend", figure="r@1"):
    return next(r for r in found if (r["query"], r["answer"], r["by"]) == (query, answer, by))[figure][
        "value"
    ]


def test_what_never_met_is_bound_through_a_third(run):
    found = run[0].evaluate(whole(150, seed=9))["retrieval"]
    for by in ("blend", "network", "linear"):
        assert share(found, "a", "b", by) > 10 * share(found, "a", "b", by, "chance@1")
    assert share(found, "a", "p", "joint") > 0.2  # the joint space holds single inputs, too


def test_pairs_at_random_teach_nothing():
    cells = world(500)
    order = np.random.default_rng(0).permutation(500)
    table = Table(data={"a": cells["a"], "p": [cells["p"][i] for i in order]})
    found = sm.Matcher(["a", "p"], epochs=6).fit(table).evaluate(whole(150, seed=9))["retrieval"]
    assert share(found, "a", "p", "network", "r@10") < 0.2  # chance: 10 of 150


def test_a_run_comes_back_and_gives_the_same_vectors(run):
    model, folder = run
    again = sm.load(folder)
    assert isinstance(again, sm.Matcher)
    ids, vectors, errors = model.embed(whole(20, seed=3))
    same = again.embed(whole(20, seed=3))[1]
    assert ids == [str(i) for i in range(20)]
    assert not any(errors)
    for name, v in vectors.items():
        np.testing.assert_array_equal(v, same[name])
        np.testing.assert_allclose(np.linalg.norm(v, axis=1), 1, atol=1e-5)
        assert v.shape[1] == model.width
    assert again.fingerprint() == model.fingerprint()
    described = json.loads((folder / "metrics.json").read_text())
    assert described["task"]["match"] == ["a", "p", "b"]
    assert (folder / "report.html").exists()


def test_absent_cells_have_no_vector_and_joint_vectors_take_what_is_there(run):
    table = Table(data={"a": [*world(3)["a"], None], "p": [None] * 4})
    _, vectors, errors = run[0].embed(table)
    assert vectors["a"].any(1).tolist() == [True, True, True, False]
    assert not vectors["p"].any()
    assert errors[3] == "the row has none of the matched columns"
    assert run[0].embed(table, space="joint")[1]["joint"].any(1).tolist() == [True, True, True, False]
    with pytest.raises(InputError, match="no such space"):
        run[0].embed(table, space="flat")


def test_figures_by_a_column_that_is_not_there_name_those_that_are(run):
    table = whole(20, seed=3)
    with pytest.raises(InputError, match="no such column") as told:
        run[0].evaluate(table, by="NOSUCH")
    assert told.value.got == "NOSUCH"
    assert all(column in told.value.fix for column in table.columns)


def test_a_few_rows_sort_where_no_column_holds_words(run, tmp_path):
    shots, asked = (labelled(tmp_path, n, rows, seed=seed) for n, rows, seed in (("s", 60, 4), ("q", 40, 5)))
    ask = ["predict", str(run[1]), str(asked), "--shots", str(shots), "--target", "kind"]
    main([*ask, "-o", str(tmp_path / "p.jsonl"), "--quiet"])
    found, truth = read_jsonl(tmp_path / "p.jsonl"), sm.read(asked).cells("kind")
    assert np.mean([f["prediction"] == t for f, t in zip(found, truth, strict=True)]) > 0.75, "by chance 0.5"
    with pytest.raises(InputError, match="no matched column holds words"):
        run[0].predict(asked, ["high", "low"])


def test_a_fit_goes_on_where_it_was_stopped(tmp_path):
    table = pivot(120)
    whole_run = sm.Matcher(["a", "p", "b"], epochs=4).fit(table, out=tmp_path / "one")
    again = sm.Matcher(["a", "p", "b"], epochs=4).fit(table, out=tmp_path / "one")
    assert again.fingerprint() == whole_run.fingerprint()
    with pytest.raises(InputError, match="another run"):
        sm.Matcher(["a", "p", "b"], epochs=5).fit(table, out=tmp_path / "one")


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_a_step_in_pieces_has_the_gradients_of_a_whole_one(loss):
    """One piece draws what the whole batch draws, dropout included; that several pieces agree is the cache's own test."""
    table = pivot(24)
    task, rates, _ = plan_match(table, Wanted(match=("a", "p", "b")), Limits(), Initial())
    rows, _ = decode_rows(Decoder(table, limits=Limits(), rates=rates), range(24), task.modalities)
    fit = Examples(rows=rows, targets={}, group=np.arange(24))
    found = []
    for step in (Trainer._replayed, lambda t, b: t._found(b, np.random.default_rng(0))):
        torch.manual_seed(0)
        network = Network(task, SIZES["nano"], norm=norm_for(1))
        trainer = Trainer(network, task, Plan(steps=1, batch=24, matching=loss, memory=1 << 34), fit)
        trainer.row_bytes = 1  # measuring it would draw
        torch.manual_seed(1)
        losses = step(trainer, fit.batch(task, range(24)))
        if any(v.requires_grad for v in losses.values()):
            total(losses, trainer.plan).backward()
        found.append(
            (
                {k: float(v.detach()) for k, v in losses.items()},
                {n: p.grad for n, p in network.named_parameters()},
            )
        )
    assert found[0][0] == pytest.approx(found[1][0])
    assert any(g is not None and g.abs().max() > 0 for g in found[0][1].values())
    for name, grad in found[0][1].items():
        if grad is not None:
            torch.testing.assert_close(grad, found[1][1][name], rtol=1e-4, atol=1e-6)


def test_batch_norm_is_refused_where_a_batch_is_cut():
    table = pivot(24)
    model = sm.Matcher(["a", "p", "b"], epochs=1, memory=64 << 20).fit(table)
    refuse_batch_norm(model.network.train())
    plain = sm.Matcher(["a", "p", "b"], epochs=1).fit(table)
    with pytest.raises(InputError, match="batch norm"):
        refuse_batch_norm(plain.network.train())


def test_rows_that_cannot_be_matched_are_refused():
    cells = world(40)
    with pytest.raises(InputError, match="nothing to match"):
        sm.Matcher(["a"])
    with pytest.raises(InputError, match="no such column"):
        sm.Matcher(["a", "z"], epochs=1).fit(whole(40))
    unpaired = Table(data={"a": [*cells["a"][:20], *[None] * 20], "p": [*[None] * 20, *cells["p"][20:]]})
    with pytest.raises(InputError, match="belong together"):
        sm.Matcher(["a", "p"], epochs=1).fit(unpaired)
    same = Table(data={"say": ["a red square"] * 40, "tell": ["a red square too"] * 40})
    with pytest.raises(InputError, match="hold the same"):
        sm.Matcher(["say", "tell"], epochs=1).fit(same)
    with pytest.raises(InputError, match="batch of one"):
        sm.Matcher(["a", "p"], batch=1)
    with pytest.raises(InputError, match="budget"):
        sm.Matcher(["a", "p"], minutes=0)


def test_a_locked_encoder_stays_as_it_was(run, tmp_path):
    model, folder = run
    tuned = sm.Matcher(["a", "p"], epochs=2, init=folder, lock=["a"]).fit(whole(120, seed=4))
    old, new = model.network.state_dict(), tuned.network.state_dict()
    locked = [k for k in old if k.startswith("encoders.c_a.")]
    assert locked
    assert all(torch.equal(old[k], new[k]) for k in locked)
    assert any(not torch.equal(old[k], new[k]) for k in old if k.startswith("encoders.c_p."))
    with pytest.raises(InputError, match="no encoder"):
        sm.Matcher(["x", "y"], epochs=1, init=folder).fit(
            Table(data={"x": world(40)["a"], "y": world(40)["p"]})
        )
