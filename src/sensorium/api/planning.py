"""How long to train, in which batches, on how many threads: decided before the first step."""

from dataclasses import replace
from typing import Protocol, runtime_checkable

import torch

from sensorium.api.saying import Say
from sensorium.network import Network
from sensorium.tasks import Task
from sensorium.training import Examples, Plan, threads, time_step

MINUTES = 5.0  # training time where neither minutes nor epochs are given
ENDLESS = 10**6
ASKED = 128  # rows of a batch where several questions share one picture
PAIRS = 256  # most rows that are compared with each other at a step, where modalities are matched


@runtime_checkable
class Budget(Protocol):
    """How long a user wants to wait."""

    @property
    def epochs(self) -> int | None:
        """Passes over the rows; None: minutes decide."""

    @property
    def minutes(self) -> float | None:
        """Of the training steps; None: the default."""


def planned(budget: Budget, network: Network, task: Task, fit: Examples, say: Say, *, wanted: Plan) -> Plan:
    """Measure the pace and fix the plan of a run: steps, threads, checks; all else as `wanted` has it (a batch of 0: chosen)."""
    rows = len(fit.rows)
    usual = 16 if rows < 600 else ASKED if task.question and rows > 20 * ASKED else 32
    few = min(PAIRS, rows // 4) if task.match else min(usual, rows)
    batch = max(2, min(wanted.batch or few, rows))
    draft = replace(wanted, steps=ENDLESS, batch=batch)
    per_epoch = -(-rows // batch)
    used = 0
    if budget.epochs is not None:
        steps = budget.epochs * per_epoch
    else:
        say("pace", 0.0, "measuring the pace")
        paces = {n: _pace(n, network, task, draft, fit) for n in sorted({1, threads()})}
        used = min(paces, key=lambda n: paces[n])
        most = max(1200, min(60 * per_epoch, 6000)) if budget.minutes is None else ENDLESS
        steps = max(20, min(most, int((budget.minutes or MINUTES) * 60 / paces[used] * 0.92)))
    check = max(10, min(per_epoch * 2, steps // 20))
    patience = 0 if budget.epochs is not None else 12
    return replace(draft, steps=steps, check=check, patience=patience, threads=used)


def _pace(count: int, network: Network, task: Task, draft: Plan, fit: Examples) -> float:
    """Seconds per step with that many threads; with busy cores several threads mostly wait for each other."""
    torch.set_num_threads(count)
    return time_step(network, task, draft, fit)
