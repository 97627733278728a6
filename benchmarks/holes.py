"""What an empty cell costs, and what padding costs: `python -m benchmarks.holes`. Milliseconds of training steps.

Steps over the same rows with no cell empty and with half of them empty (aim: at most 0.6 of the time), for the seen and
heard digits and for all carriers at once; and an epoch over recordings of very different length, in batches as
they come and in batches of like length.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks import emit

AIM = 0.6
BATCH = 16


def ready(source: object, target: str, inputs: Sequence[str] | None):
    """A network, its task and the rows of a table in memory, through the product's own preparation."""
    import torch

    from sensorium.api.prepare import Asked, examples, load_rows, plan_task
    from sensorium.network import SIZES, Network
    from sensorium.store import read
    from sensorium.types import Limits

    table, limits = read(source), Limits()
    asked = Asked(target=target, inputs=None if inputs is None else tuple(inputs))
    task, rates, _ = plan_task(table, asked, limits)
    table, rows, _ = load_rows(table, task, rates, limits, quarantine=None, tick=lambda done: None)
    torch.manual_seed(0)
    return Network(task, SIZES["nano"]), task, examples(table, rows, task, weighted=False)


def with_holes(rows: Sequence[dict], share: float, seed: int = 0) -> list[dict]:
    """Take the share of all cells away, evenly over the modalities, but never a row's last one."""
    rng = np.random.default_rng(seed)
    left, names = [dict(r) for r in rows], sorted({n for r in rows for n in r})
    cells = [(i, n) for i, r in enumerate(left) for n in names if n in r]
    gone, wanted = 0, round(share * len(cells))
    for i, name in (cells[k] for k in rng.permutation(len(cells))):
        if gone < wanted and len(left[i]) > 1:
            del left[i][name]
            gone += 1
    return left


def step_seconds(network, task, sets: Sequence[Sequence], rounds: int) -> list[float]:
    """Median seconds of a training step over each of several lists of batches, measured in turns.

    In turns, so that a machine that is busy for a while slows all of them.
    """
    from sensorium.training import Plan, Trainer

    trainer = Trainer(network, task, Plan(steps=10**6, batch=BATCH, drop=0.0), sets[0][0][1])
    took: list[list[float]] = [[] for _ in sets]
    for turn in range(rounds + 1):
        for which, batches in enumerate(sets):
            for batch, _ in batches:
                began = time.perf_counter()
                trainer.train_step(batch)
                if turn:
                    took[which].append(time.perf_counter() - began)
    return [float(np.median(t)) for t in took]


def batches_of(examples, task, order: Sequence[np.ndarray]) -> list[tuple]:
    """The batches of rows, each with the examples it came from."""
    return [(examples.batch(task, index), examples) for index in order]


def holes(name: str, source: object, target: str, inputs: Sequence[str] | None, rounds: int) -> None:
    """Measure steps with no cell empty and with half of them empty."""
    network, task, full = ready(source, target, inputs)
    half = replace(full, rows=with_holes(full.rows, 0.5))
    order = [
        np.arange(i, min(i + BATCH, len(full.rows))) for i in range(0, len(full.rows) - BATCH + 1, BATCH)
    ]
    filled = [sum(map(len, e.rows)) for e in (full, half)]
    whole, holed = step_seconds(network, task, [batches_of(e, task, order) for e in (full, half)], rounds)
    emit(
        "holes", world=name, modalities=[m.name for m in task.modalities], cells=filled, full_ms=round(1e3 * whole, 2),
        half_ms=round(1e3 * holed, 2), ratio=round(holed / whole, 3), aim=AIM, reached=holed / whole <= AIM,
    )  # fmt: skip


def padding(rounds: int, rows: int = 256) -> None:
    """Measure an epoch over recordings of .2 to 4 seconds in batches as they come and in buckets."""
    from sensorium.data import buckets

    rng = np.random.default_rng(0)
    seconds = np.exp(rng.uniform(math.log(0.2), math.log(4.0), rows))
    sounds = [
        {"array": rng.normal(0, 0.1, int(s * 16_000)).astype(np.float32), "sampling_rate": 16_000}
        for s in seconds
    ]
    network, task, examples = ready({"sound": sounds, "y": ["a", "b"] * (rows // 2)}, "y", ["sound"])
    lengths = np.array([sum(map(len, r.values())) for r in examples.rows])
    shuffled = rng.permutation(rows)
    orders = {
        "as they come": [shuffled[i : i + BATCH] for i in range(0, rows, BATCH)],
        "buckets": buckets(lengths, BATCH, rng),
    }
    made = [batches_of(examples, task, order) for order in orders.values()]
    took = step_seconds(network, task, made, rounds)
    for name, batches, seconds_ in zip(orders, made, took, strict=True):
        padded = sum(p.values.shape[0] * p.values.shape[1] for b, _ in batches for p in b.parts.values())
        emit(
            "padding", batches=name, real_steps=int(lengths.sum()), padded_steps=padded,
            waste=round(1 - lengths.sum() / padded, 3), step_ms=round(1e3 * seconds_, 2),
        )  # fmt: skip
    emit("padding", buckets_to_as_they_come=round(took[1] / took[0], 3))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.holes", description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)

    import torch

    from sensorium.worlds import write_digits, write_everything

    torch.set_num_threads(args.threads)
    worlds: dict[str, Callable[[Path], tuple]] = {
        "digits": lambda f: (write_digits(f, rows=args.rows, missing=0.0, engine="builtin") / "digit.csv", "digit", ["image", "audio"]),
        "everything": lambda f: (write_everything(f, rows=args.rows, missing=0.0, targets=["label"]), "label", None),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for name, make in worlds.items():
            holes(name, *make(Path(folder) / name), args.rounds)
    padding(args.rounds, rows=2 * args.rows)


if __name__ == "__main__":
    main()
