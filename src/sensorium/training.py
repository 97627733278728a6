"""THE loop, the only one: plan, steps, schedule, average weights, validation, checkpoints."""

import importlib.util
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional as F

from sensorium.data import Row, ahead, augmented, buckets, collate
from sensorium.network import JOINT, Encoded, Network
from sensorium.store import append_jsonl, make_folder, write_bytes
from sensorium.tasks import Target, Task
from sensorium.tokens import Batch
from sensorium.types import InputError

OVERFIT = 1.02  # a validation loss so many times the best one tells that the last weights have learned rows by heart
SMOOTHING = 0.1  # of the labels, arXiv:1512.00567 sec. 7


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How long and how to train: fixed before the first step and saved, so that a resumed run takes the same steps."""

    steps: int
    batch: int
    rate: float = 2e-3  # highest learning rate
    warmup: int = 30  # steps
    decay: float = 0.05  # weight decay of matrices
    average: float = 0.99  # of the weights, per step
    clip: float = 2.0
    drop: float = 0.3  # share of the rows whose joint head sees a random subset of the modalities
    augment: float = 1.0  # highest strength
    check: int = 100  # steps between validations
    patience: int = 0  # validations without progress before the schedule is cut short; 0: never
    seed: int = 0
    threads: int = 0  # of one step, the faster of one and all cores when the pace was measured; 0: all
    own: float = 1.0  # weight of each modality's own head in the loss; the joint head has 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Examples:
    """Rows in memory with their targets."""

    rows: Sequence[Row]
    targets: Mapping[str, Sequence[np.ndarray | np.generic | None]]
    weight: Mapping[str, np.ndarray] = field(default_factory=dict)  # column -> weight of each row in the loss

    def batch(
        self, task: Task, index: Sequence[int] | np.ndarray, rows: Sequence[Row] | None = None
    ) -> Batch:
        """Collate the rows numbered `index` with their targets; `rows` stands in for them where given."""
        made = collate([self.rows[i] for i in index] if rows is None else rows, task.modalities)
        targets, known, weight = {}, {}, {}
        for target in task.targets:
            cells = [self.targets[target.column][i] for i in index]
            filler = np.zeros_like(next((c for c in cells if c is not None), np.zeros(())))
            targets[target.column] = torch.from_numpy(np.stack([filler if c is None else c for c in cells]))
            known[target.column] = torch.tensor([c is not None for c in cells])
            w = self.weight.get(target.column)
            weight[target.column] = (
                torch.ones(len(index)) if w is None else torch.from_numpy(w[list(index)]).float()
            )
        return Batch(parts=made.parts, rows=made.rows, targets=targets, known=known, weight=weight)


def schedule(step: int, plan: Plan, steps: int) -> float:
    """Learning rate at a step: linear warm-up, then half a cosine to zero at `steps`."""
    warmup = min(plan.warmup, max(1, steps // 10))
    if step < warmup:
        return plan.rate * (step + 1) / warmup
    share = min(1.0, (step - warmup) / max(1, steps - warmup))
    return plan.rate * 0.5 * (1 + math.cos(math.pi * share))


def row_losses(answers: Tensor, truth: Tensor, target: Target) -> Tensor:
    """Loss of each row, (rows,): smoothed cross-entropy, mean binary cross-entropy, or smooth L1.

    Smoothing is spread over the classes that training rows have; class weights belong to the row, not to the
    smoothed mass, so a rare class cannot win everything.
    """
    if target.kind == "category":
        logp = answers.log_softmax(-1)
        return -(1 - SMOOTHING) * logp.gather(1, truth[:, None])[:, 0] - SMOOTHING * logp.mean(1)
    if target.kind == "labels":
        return F.binary_cross_entropy_with_logits(answers, truth, reduction="none").mean(1)
    return F.smooth_l1_loss(answers[:, 0], truth, reduction="none")


def losses(
    answers: Mapping[str, Mapping[str, Tensor]], batch: Batch, task: Task, present: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Mean loss of every head of every target over the rows that have the target and the modality."""
    found = {}
    for target in task.targets:
        column = target.column
        for name, logits in answers[column].items():
            rows = batch.known[column] if name == JOINT else batch.known[column] & present[name]
            weight = batch.weight[column] * rows
            each = row_losses(logits, batch.targets[column], target)
            found[f"{column}/{name or 'joint'}"] = (each * weight).sum() / weight.sum().clamp(min=1e-6)
    return found


def total(found: Mapping[str, Tensor], plan: Plan) -> Tensor:
    """Sum the heads' losses: uniform unimodal losses beside the joint one (the default against imbalance)."""
    return sum(loss * (1.0 if name.endswith("/joint") else plan.own) for name, loss in found.items())


def random_subsets(
    encoded: Mapping[str, Encoded], rng: np.random.Generator, share: float
) -> dict[str, Tensor] | None:
    """For a share of the rows choose a random non-empty subset of the modalities that the row has."""
    names = list(encoded)
    if len(names) < 2 or share <= 0:
        return None
    present = np.stack([encoded[n].present.numpy() for n in names], 1)
    keep = rng.random(present.shape) < 0.5
    lone = rng.random(present.shape) * present
    keep[np.arange(len(keep)), lone.argmax(1)] = True
    keep |= (rng.random(len(keep)) >= share)[:, None]
    return {n: torch.from_numpy(keep[:, i].copy()) for i, n in enumerate(names)}


def weight_groups(network: nn.Module, decay: float) -> list[dict[str, object]]:
    """Decay matrices and filters; not biases, norms, embeddings of places and names."""
    wide = [p for p in network.parameters() if p.ndim >= 2]
    return [
        {"params": wide, "weight_decay": decay},
        {"params": [p for p in network.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]


class Trainer:
    """The state of one training run, and its steps. Everything random depends on (seed, step) alone."""

    def __init__(self, network: Network, task: Task, plan: Plan, examples: Examples):
        self.network, self.task, self.plan, self.examples = network, task, plan, examples
        self.optimizer = torch.optim.AdamW(
            weight_groups(network, plan.decay), lr=plan.rate, betas=(0.9, 0.99), fused=True
        )
        self.mean = {k: v.detach().clone() for k, v in network.state_dict().items()}
        self.step, self.steps, self.elapsed_s = 0, plan.steps, 0.0
        self.best, self.stale = math.inf, 0
        self.kept: dict[str, Tensor] = {}  # the average weights at `best`

    def batches(self) -> Iterator[Batch]:
        """Yield the batches from the current step on; the same ones whether or not the run was interrupted."""
        lengths = np.array([sum(len(a) for a in row.values()) for row in self.examples.rows])
        per_epoch = math.ceil(len(lengths) / self.plan.batch)
        epochs = self.plan.steps / per_epoch
        epoch, step = -1, self.step
        while True:
            if step // per_epoch != epoch:
                epoch = step // per_epoch
                cut = buckets(lengths, self.plan.batch, np.random.default_rng([self.plan.seed, epoch]))
            index = cut[step % per_epoch]
            # Few epochs, and the first ones of many, are better spent on the rows nearly as they are.
            ramp = min(1.0, epochs / 12) * min(1.0, 0.3 + step / per_epoch / 5)
            strength = self.plan.augment * ramp
            rng = np.random.default_rng([self.plan.seed, epoch, step, 1])
            changed = [augmented(self.examples.rows[i], self.task.modalities, rng, strength) for i in index]
            yield self.examples.batch(self.task, index, changed)
            step += 1

    def train_step(self, batch: Batch) -> dict[str, float]:
        """Take one step; return the losses by head."""
        torch.manual_seed(self.plan.seed * 1_000_003 + self.step)
        rng = np.random.default_rng([self.plan.seed, self.step, 2])
        self.network.train()
        encoded = self.network.encode(batch)
        joint = self.network.fuse(encoded, random_subsets(encoded, rng, self.plan.drop))
        answers = self.network.answer(encoded, joint)
        found = losses(answers, batch, self.task, {n: e.present for n, e in encoded.items()})
        loss = total(found, self.plan)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.plan.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = schedule(self.step, self.plan, self.steps)
        self.optimizer.step()
        self._average()
        self.step += 1
        values = {k: float(v.detach()) for k, v in found.items()}
        if not math.isfinite(sum(values.values())):
            raise InputError(
                "the loss is no longer a number", got=values, fix="look for extreme numbers in the inputs"
            )
        return values

    @torch.no_grad()
    def _average(self) -> None:
        """Exponential moving average of the weights, with a fast start so that early ones are forgotten."""
        keep = min(self.plan.average, (1 + self.step) / (10 + self.step))
        now = self.network.state_dict()
        names = [k for k in self.mean if self.mean[k].is_floating_point()]
        torch._foreach_lerp_([self.mean[k] for k in names], [now[k] for k in names], 1 - keep)

    def observe(self, loss: float) -> None:
        """Take note of a validation loss; without progress for `patience` checks the schedule is cut short.

        The rest is a cool-down of a tenth of the steps, in which the learning rate still falls to zero.
        """
        if loss < self.best - 1e-3:
            self.best, self.stale = loss, 0
            self.kept = {k: v.clone() for k, v in self.mean.items()}
            return
        self.stale += 1
        if self.plan.patience and self.stale >= self.plan.patience and self.step < self.steps * 0.85:
            self.shorten(self.step + max(20, self.plan.steps // 10))
            self.stale = -(10**6)

    def shorten(self, steps: int) -> None:
        """Bring the end of the schedule forward."""
        self.steps = max(self.step + 1, min(self.steps, steps))

    def checkpoint(self, folder: Path) -> None:
        """Write the exact state as one file that replaces the last one only when it is whole."""
        tensors = {f"now/{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"mean/{k}": v for k, v in self.mean.items()}
        tensors |= {f"kept/{k}": v for k, v in self.kept.items()}
        for number, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam/{number}/{k}": torch.as_tensor(v) for k, v in state.items()}
        numbers = {k: getattr(self, k) for k in ("step", "steps", "elapsed_s", "best", "stale")}
        make_folder(folder)
        safe = {k: v.contiguous() for k, v in tensors.items()}
        write_bytes(folder / "state.safetensors", save(safe, {"state": json.dumps(numbers)}))

    def resume(self, folder: Path) -> bool:
        """Take up the state of `checkpoint`; False where there is none. Raises InputError where it is damaged."""
        path = folder / "state.safetensors"
        if not path.exists():
            return False
        try:
            raw = path.read_bytes()
            size = int.from_bytes(raw[:8], "little")
            numbers = json.loads(json.loads(raw[8 : 8 + size])["__metadata__"]["state"])
            tensors = load(raw)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise InputError(
                "the checkpoint is damaged",
                got=f"{path}: {error}",
                fix="delete it: the training then starts anew",
            ) from error
        self.network.load_state_dict({k[4:]: v for k, v in tensors.items() if k.startswith("now/")})
        self.mean = {k[5:]: v for k, v in tensors.items() if k.startswith("mean/")}
        self.kept = {k[5:]: v for k, v in tensors.items() if k.startswith("kept/")}
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("adam/"):
                _, number, what = name.split("/", 2)
                state.setdefault(int(number), {})[what] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        for name, value in numbers.items():
            setattr(self, name, value)
        return True


@torch.inference_mode()
def encode_all(
    network: Network, task: Task, rows: Sequence[Row], *, batch: int = 64
) -> Iterator[tuple[list[int], dict]]:
    """Encode rows in batches of similar length; yields (row numbers, encoded modalities)."""
    network.eval()
    lengths = np.array([sum(len(a) for a in row.values()) for row in rows])
    order = np.argsort(lengths, kind="stable")
    for start in range(0, len(order), batch):
        index = order[start : start + batch].tolist()
        yield index, network.encode(collate([rows[i] for i in index], task.modalities))


@torch.inference_mode()
def answer_all(
    network: Network, task: Task, rows: Sequence[Row], *, subsets: Sequence[tuple[str, ...]] = ()
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[tuple[str, ...], np.ndarray]]:
    """Answers to the asked target for many rows, encoded once.

    Returns head -> (n, width) from everything a row has, modality -> (n,) who is present, and subset -> (n, width)
    of the joint head when only that subset is left. Rows without any modality hold zeros.
    """
    column, width = task.target.column, task.target.width
    names = [m.name for m in task.modalities]
    heads: dict[str, np.ndarray] = {n: np.zeros((len(rows), width), np.float32) for n in names}
    if network.fusion != "late":
        heads[JOINT] = np.zeros((len(rows), width), np.float32)
    present = {n: np.zeros(len(rows), bool) for n in names}
    fewer = {s: np.zeros((len(rows), width), np.float32) for s in subsets}
    for index, encoded in encode_all(network, task, rows):
        if not encoded:
            continue
        joint = network.fuse(encoded)
        for name, logits in network.answer(encoded, joint)[column].items():
            heads[name][index] = logits.numpy()
        for name, piece in encoded.items():
            present[name][index] = piece.present.numpy()
        for subset in subsets if JOINT in heads else ():
            inside = {n: e for n, e in encoded.items() if n in subset}
            if inside:
                logits = network.answer(inside, network.fuse(inside))[column][JOINT]
                fewer[subset][index] = logits.numpy()
    return heads, present, fewer


def valid_loss(network: Network, task: Task, examples: Examples) -> float:
    """Mean loss of the answer that the trained heads give together, on held-out rows (no smoothing for classes)."""
    heads, present, _ = answer_all(network, task, examples.rows)
    target = task.target
    known = [i for i, c in enumerate(examples.targets[target.column]) if c is not None]
    truth = torch.from_numpy(np.stack([examples.targets[target.column][i] for i in known]))
    each, votes = torch.zeros(len(known)), torch.zeros(len(known))
    for name, logits in heads.items():
        here = torch.ones(len(known)) if name == JOINT else torch.from_numpy(present[name][known]).float()
        weight = 2.0 if name == JOINT else 1.0
        each += weight * here * row_losses(torch.from_numpy(logits[known]), truth, target)
        votes += weight * here
    return float((each / votes.clamp(min=1e-6)).mean())


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
            if trainer.step % trainer.plan.check == 0 and trainer.step < trainer.steps and valid.rows:
                row["valid"] = check(trainer, valid)
                trainer.observe(float(row["valid"]))  # type: ignore[arg-type]
            if deadline_s is not None:
                _hold(trainer, deadline_s)
            if trainer.step % 20 == 0 or "valid" in row:
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
    if trainer.kept and check(trainer, valid) > OVERFIT * trainer.best:
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


def check(trainer: Trainer, valid: Examples) -> float:
    """Validate the average weights, then go on with the current ones."""
    now = {k: v.detach().clone() for k, v in trainer.network.state_dict().items()}
    trainer.network.load_state_dict(trainer.mean)
    loss = valid_loss(trainer.network, trainer.task, valid)
    trainer.network.load_state_dict(now)
    return loss


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
