"""How long to train, in which batches, on how many threads: decided before the first step."""

from collections.abc import Callable

import torch

from sensorium.api.prepare import Asked
from sensorium.network import Network
from sensorium.tasks import Task
from sensorium.training import Examples, Plan, threads, time_step

MINUTES = 5.0  # training time where neither minutes nor epochs are given
ENDLESS = 10**6
Say = Callable[[str, float, str], None]


def planned(asked: Asked, network: Network, task: Task, fit: Examples, say: Say) -> Plan:
    """Measure the pace and fix the plan of a run."""
    rows = len(fit.rows)
    batch = max(2, min(32, 16 if rows < 600 else 32, rows))
    per_epoch = -(-rows // batch)
    used = 0
    if asked.epochs is not None:
        steps = asked.epochs * per_epoch
    else:
        say("pace", 0.0, "measuring the pace")
        draft = Plan(steps=ENDLESS, batch=batch, seed=asked.seed, balance=asked.balance)
        paces = {n: _pace(n, network, task, draft, fit) for n in sorted({1, threads()})}
        used = min(paces, key=lambda n: paces[n])
        wanted = max(1200, min(60 * per_epoch, 6000)) if asked.minutes is None else ENDLESS
        steps = max(20, min(wanted, int((asked.minutes or MINUTES) * 60 / paces[used] * 0.92)))
    return Plan(
        steps=steps, batch=batch, seed=asked.seed, check=max(10, min(per_epoch * 2, steps // 20)),
        patience=0 if asked.epochs is not None else 12, threads=used  , balance=asked.balance,
    )  # fmt: skip


def _pace(count: int, network: Network, task: Task, draft: Plan, fit: Examples) -> float:
    """Seconds per step with that many threads; with busy cores several threads mostly wait for each other."""
    torch.set_num_threads(count)
    return time_step(network, task, draft, fit)
