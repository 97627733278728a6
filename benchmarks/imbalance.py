"""Does a strong modality starve a weak one? `python -m benchmarks.imbalance`. Accuracies in points, by balance.

The world: `a` is learned at once but often lies, `b` is hard and does not. Every balance and a specialist for each column
take the same steps over the same rows. Aims: the joint loss alone ends at least 2 points under the better specialist; the
default is within 1 point of the product of the specialists, and with one column within 1 point of its specialist.
"""

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import emit

OPTIONS = ("guarded", "joint", "uniform", "pareto", "blend")
COLUMNS = ("a", "b")
WORSE, NEAR = 2.0, 1.0  # points


@dataclass(frozen=True, kw_only=True, slots=True)
class Ready:
    """The three parts of the world for some of its columns."""

    task: object
    train: object
    valid: object
    test: object


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """A network that was trained, and its heads' answers on rows it did not learn from."""

    network: object
    ready: Ready
    valid: Mapping[str, np.ndarray]  # head -> (n, classes)
    test: Mapping[str, np.ndarray]
    alone: Mapping[str, np.ndarray]  # column -> the joint head's test answers from that column alone
    seconds: float
    history: Sequence[Mapping]


def ready(path: Path, inputs: Sequence[str]) -> Ready:
    """Read the world through the product's own preparation."""
    from sensorium.api.prepare import Asked, examples, load_rows, plan_task
    from sensorium.store import read
    from sensorium.types import Limits

    table, limits = read(path), Limits()
    parts = {
        s: table.take(np.flatnonzero(np.array(table.cells("split")) == s).tolist())
        for s in ("train", "valid", "test")
    }
    asked = Asked(target="y", inputs=tuple(inputs), columns={"y": "category"})
    task, rates, _ = plan_task(parts["train"], asked, limits)
    made = {}
    for name, part in parts.items():
        kept, rows, _ = load_rows(part, task, rates, limits, quarantine=None, tick=lambda done: None)
        made[name] = examples(kept, rows, task, weighted=False)
    return Ready(task=task, **made)


def trained(world: Ready, *, balance: str, steps: int, batch: int, seed: int) -> Trained:
    """Train as the product does, with a fixed number of steps, and answer the held-out rows."""
    import torch

    from sensorium.network import SIZES, Network
    from sensorium.training import Plan, Trainer, answer_all, run

    torch.manual_seed(seed)
    network = Network(world.task, SIZES["nano"])
    plan = Plan(steps=steps, batch=batch, seed=seed, check=max(1, steps // 20), balance=balance)
    trainer, began, history = Trainer(network, world.task, plan, world.train), time.process_time(), []
    with tempfile.TemporaryDirectory() as folder:
        run(trainer, folder=Path(folder), valid=world.valid, deadline_s=None, show=history.append)
    took = time.process_time() - began
    names = [m.name for m in world.task.modalities]
    valid, _, _ = answer_all(network, world.task, world.valid.rows)
    test, _, alone = answer_all(network, world.task, world.test.rows, subsets=[(n,) for n in names])
    return Trained(
        network=network, ready=world, valid=valid, test=test, seconds=round(took, 1), history=history,
        alone={s[0]: v for s, v in alone.items()},
    )  # fmt: skip


def truth_of(part: object) -> np.ndarray:
    """Class numbers, (n,)."""
    return np.array(part.targets["y"])


def points(logits: np.ndarray, truth: np.ndarray) -> float:
    """Accuracy in percent."""
    return round(100 * float((logits.argmax(1) == truth).mean()), 2)


def product(
    valid: Mapping[str, np.ndarray], test: Mapping[str, np.ndarray], start: Mapping[str, float], world: Ready
) -> float:
    """Accuracy of the product of the heads in `start`, weighed on the valid rows."""
    from sensorium.measure.experts import fit_experts

    truth = truth_of(world.valid)
    everyone = {n: np.ones(len(truth), bool) for n in start}
    experts = fit_experts(valid, everyone, truth, start=start, prior=world.task.target.prior())
    there = {n: np.ones(len(truth_of(world.test)), bool) for n in start}
    return points(experts.combine({n: test[n] for n in start}, there), truth_of(world.test))


def figures(made: Trained) -> dict[str, object]:
    """Accuracies of a network of both columns: by both, and by each alone."""
    truth = truth_of(made.ready.test)
    own = dict.fromkeys(COLUMNS, 1.0)
    return {
        "joint_head": points(made.test[""], truth),
        "product": product(made.valid, made.test, own, made.ready),
        "all_heads": product(made.valid, made.test, {"": 1.0, "a": 0.5, "b": 0.5}, made.ready),
        **{f"own_head_{n}": points(made.test[n], truth) for n in COLUMNS},
        **{f"joint_head_{n}_only": points(v, truth) for n, v in made.alone.items()},
        "seconds": made.seconds,
    }


def diagnosis(made: Trained, reference: Mapping[str, np.ndarray]) -> list[dict[str, object]]:
    """What the probes say of both encoders on the test rows, beside the specialists."""
    from sensorium.measure.probes import Seen, diagnose
    from sensorium.training import vectors_all

    def seen(part: object) -> Seen:
        vectors, present = vectors_all(made.network, made.ready.task, part.rows)
        return Seen(vectors=vectors, present=present, truth=truth_of(part))

    own = {n: made.test[n] for n in COLUMNS}
    return diagnose(
        seen(made.ready.train), seen(made.ready.test), own, kind="category",
        classes=len(made.ready.task.target.classes), reference=reference, history=made.history, column="y",
    )  # fmt: skip


def world_of(folder: Path, *, rows: int, seed: int, steps: int, batch: int, options: Sequence[str]) -> None:
    """Measure one seed: specialists, then every balance."""
    from sensorium.worlds.planted import write_imbalance

    path = write_imbalance(folder, rows=rows, seed=seed)
    budget = {"steps": steps, "batch": batch, "seed": seed}
    single = {n: trained(ready(path, [n]), balance="uniform", **budget) for n in COLUMNS}
    both = ready(path, COLUMNS)
    truth = truth_of(both.test)
    alone = {n: points(m.test[n], truth) for n, m in single.items()}
    heads = [{n: getattr(m, side)[n] for n, m in single.items()} for side in ("valid", "test")]
    fused = product(*heads, dict.fromkeys(COLUMNS, 1.0), both)
    emit("imbalance", what="specialists", rows=rows, **budget, **alone, product=fused, seconds=[m.seconds for m in single.values()])  # fmt: skip
    for balance in options:
        made = trained(both, balance=balance, **budget)
        found = figures(made)
        best = max(alone.values())
        aims = {
            "joint_under_best_single": round(best - found["joint_head"], 2),
            "all_heads_to_product_of_specialists": round(found["all_heads"] - fused, 2),
            **{f"own_head_{n}_to_specialist": round(found[f"own_head_{n}"] - alone[n], 2) for n in COLUMNS},
        }
        told = diagnosis(made, heads[1])
        emit("imbalance", what=balance, rows=rows, **budget, **found, aims=aims, starved={d["modality"]: d["under_used"] for d in told}, diagnosis=told)  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.imbalance", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--rows", type=int, default=12_000)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--options", nargs="+", default=list(OPTIONS), choices=OPTIONS)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)

    import torch

    torch.set_num_threads(args.threads)
    for seed in args.seeds:
        with tempfile.TemporaryDirectory() as folder:
            world_of(
                Path(folder), rows=args.rows, seed=seed, steps=args.steps, batch=args.batch,
                options=args.options,
            )  # fmt: skip


if __name__ == "__main__":
    main()
