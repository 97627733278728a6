"""THE loop, the only one: steps, validation, checkpoints, the end."""

import importlib.util
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from sensorium.data import ahead
from sensorium.network import JOINT, Network
from sensorium.store import append_jsonl
from sensorium.tasks import Task
from sensorium.training.answers import Held, blank_rows, means, noise_of
from sensorium.training.losses import told
from sensorium.training.plan import Examples, Plan, schedule
from sensorium.training.trainer import Trainer

GLANCE = 512  # held-out rows of an early look
OVERFIT = 1.02  # a validation loss so many times the best one tells that the last weights have learned rows by heart


def run(
    trainer: Trainer,
    *,
    folder: Path,
    valid: Examples,
    deadline_s: float | None,
    show: Callable[[dict[str, object]], None] = lambda row: None,
) -> str:
    """Train to the end of the plan; return in words why it ended. Ctrl-C leaves a usable state, too.

    `deadline_s` bounds the time of this run and of those it resumes, in seconds: when the steps turn out slower
    than planned, the schedule is shortened so that it still ends at a learning rate of zero.
    """
    started, before, saved = time.monotonic(), trainer.elapsed_s, time.monotonic()
    tell = events(folder)
    why = "the planned steps were taken"
    if not valid.rows:
        trainer.balance = trainer.balance.unchecked()
    stream = ahead(trainer.batches())
    try:
        for batch in stream:
            if trainer.step >= trainer.steps:
                break
            now = trainer.train_step(batch)
            trainer.elapsed_s = before + time.monotonic() - started
            row: dict[str, object] = {
                "step": trainer.step,
                "steps": trainer.steps,
                "loss": sum(now.values()),
                "losses": now,
            }
            row |= {
                "lr": schedule(trainer.step - 1, trainer.plan, trainer.steps),
                "elapsed_s": trainer.elapsed_s,
            }
            if valid.rows and early(trainer.step, trainer.plan.check):
                _glance(trainer, valid)
            if trainer.step % trainer.plan.check == 0 and trainer.step < trainer.steps and valid.rows:
                row |= _validate(trainer, valid)
            if deadline_s is not None:
                _hold(trainer, deadline_s)
            if trainer.step % 20 == 0 or "valid" in row or trainer.step in (1, trainer.steps):
                append_jsonl(folder / "history.jsonl", row)
                tell(row)
            show(row)
            if time.monotonic() - saved > 10 or trainer.step % trainer.plan.check == 0:
                trainer.checkpoint(folder / "checkpoint")
                saved = time.monotonic()
    except KeyboardInterrupt:
        why = f"stopped by the user after {trainer.step} of {trainer.plan.steps} steps"
    finally:
        stream.close()  # type: ignore[attr-defined]
    if trainer.steps < trainer.plan.steps and why.startswith("the planned"):
        why = "validation stopped improving or the time was up: the schedule was cut short"
    trainer.checkpoint(folder / "checkpoint")
    if trainer.kept and min(final(trainer, check(trainer, valid)).values()) > OVERFIT * trainer.best:
        trainer.mean = trainer.kept
        why += "; the last weights had overfitted, so the best ones were taken"
    trainer.network.load_state_dict(trainer.mean)
    return why


def events(folder: Path) -> Callable[[Mapping[str, object]], None]:
    """Where TensorBoard is installed (extra `track`): write its events beside the history; else do nothing."""
    if importlib.util.find_spec("tensorboard") is None:
        return lambda row: None
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder / "events"))

    def tell(row: Mapping[str, object]) -> None:
        for name in ("loss", "lr", "valid"):
            if name in row:
                writer.add_scalar(name, float(row[name]), int(row["step"]))  # type: ignore[arg-type, call-overload]
        writer.flush()

    return tell


def check(trainer: Trainer, examples: Examples) -> Held:
    """Measure the average weights on held-out rows, then go on with the current ones."""
    now = {k: v.detach().clone() for k, v in trainer.network.state_dict().items()}
    trainer.network.load_state_dict(trainer.mean)
    found = trainer.held(examples)
    trainer.network.load_state_dict(now)
    return found


def final(trainer: Trainer, found: Held) -> dict[str, float]:
    """Losses of the answers that the run may end with: of all heads together, and of the joint head where there is one."""
    said, columns = {"together": found.common}, [t.column for t in trainer.task.targets]
    joint = found.heads.get(told((columns[0], JOINT))) if columns else None
    return said if joint is None else said | {"joint": joint}


def early(step: int, check: int) -> bool:
    """Whether held-out rows are looked at before the first validation: at step 10, 20, 40, 80 and so on."""
    times = step // 10
    return step < check and step == times * 10 and times > 0 and times & (times - 1) == 0


def _glance(trainer: Trainer, valid: Examples) -> None:
    """Let the balance take note of some held-out rows."""
    some = Examples(rows=valid.rows[:GLANCE], targets={k: v[:GLANCE] for k, v in valid.targets.items()})
    found, blank = check(trainer, some), blank_rows(trainer.task, trainer.examples, some)
    trainer.balance = trainer.balance.glanced(found.heads, means(blank), noise_of(found.rows, blank))


def _validate(trainer: Trainer, valid: Examples) -> dict[str, object]:
    """Validate; let the schedule and the balance take note. Returns what the history gets."""
    found, blank = check(trainer, valid), blank_rows(trainer.task, trainer.examples, valid)
    trainer.observe(final(trainer, found))
    trainer.balance = trainer.balance.checked(
        found.heads, means(blank), lambda: check(trainer, trainer.sample()).heads, noise_of(found.rows, blank)
    )
    state = trainer.balance.state()
    weights = state.get("weights") or state.get("open")
    told_of = {"valid": found.common, "valid_losses": found.heads}
    return told_of | ({"head_weights": weights} if weights else {})


def _hold(trainer: Trainer, deadline_s: float) -> None:
    """Shorten the schedule where the pace so far would miss the deadline by more than a twentieth."""
    if trainer.step >= 20 and trainer.step % 10 == 0:
        pace = trainer.elapsed_s / trainer.step
        if trainer.elapsed_s + (trainer.steps - trainer.step) * pace > deadline_s * 1.02:
            trainer.shorten(trainer.step + int((deadline_s - trainer.elapsed_s) / pace))


def time_step(network: Network, task: Task, plan: Plan, examples: Examples, *, seconds: float = 3.0) -> float:
    """Measure seconds per training step on a copy's worth of steps; the network is put back as it was."""
    before = {k: v.detach().clone() for k, v in network.state_dict().items()}
    trainer = Trainer(network, task, plan, examples)
    took: list[float] = []
    stream = trainer.batches()
    began = time.monotonic()
    while time.monotonic() - began < seconds or len(took) < 4:
        start = time.monotonic()
        trainer.train_step(next(stream))
        took.append(time.monotonic() - start)
        if time.monotonic() - began > 4 * seconds:
            break
    network.load_state_dict(before)
    return float(np.mean(took[1:] or took))


def threads() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
