"""The state of one training run, and its steps."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from sensorium.data import augmented, buckets, companions
from sensorium.network import Encoded, Network
from sensorium.store import make_folder, write_bytes
from sensorium.tasks import Task
from sensorium.tokens import Batch
from sensorium.training.answers import Held, held_rows
from sensorium.training.balance import balance_of
from sensorium.training.losses import Named, losses, told, total
from sensorium.training.matching import held_matches, match_losses, match_vectors, matching_of
from sensorium.training.plan import Examples, Plan, schedule
from sensorium.training.replay import activation_bytes, chunks_for, refuse_batch_norm, replay
from sensorium.training.writing import blinded, held_texts, spotted, write_losses
from sensorium.types import InputError

PROGRESS = 1e-3  # of a validation loss: less is noise
SAMPLE = 512  # training rows that are looked at without noise where a balance asks for it


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
        self.matching = matching_of(plan.matching)
        if network.space is not None:
            self.matching.begin(network.space, plan.batch)
        self.mean = {k: v.detach().clone() for k, v in network.state_dict().items()}
        self.step, self.steps, self.elapsed_s = 0, plan.steps, 0.0
        self.best, self.stale = math.inf, 0
        self.lowest: dict[str, float] = {}  # answer -> its lowest validation loss
        self.kept: dict[str, Tensor] = {}  # the average weights at `best`
        self.row_bytes = 0  # activations of one row, measured at the first step that needs it
        self.balance = balance_of(plan.balance, network)

    def batches(self) -> Iterator[Batch]:
        """Yield the batches from the current step on; the same ones whether or not the run was interrupted."""
        lengths = np.array([sum(len(a) for a in row.values()) for row in self.examples.rows])
        # What is compared with each other should differ; what is asked about one picture shares its encoding.
        together = companions(self.examples.rows, self.task.modalities) if self.task.targets else None
        # A question without a word is another question, and its answer no longer true.
        changing = [m for m in self.task.modalities if m.name != self.task.question]
        per_epoch = math.ceil(len(lengths) / self.plan.batch)
        epochs = self.plan.steps / per_epoch
        epoch, step = -1, self.step
        while True:
            if step // per_epoch != epoch:
                epoch = step // per_epoch
                cut = buckets(
                    lengths, self.plan.batch, np.random.default_rng([self.plan.seed, epoch]), together
                )
            index = cut[step % per_epoch]
            # Few epochs, and the first ones of many, are better spent on the rows nearly as they are.
            ramp = min(1.0, epochs / 12) * min(1.0, 0.3 + step / per_epoch / 5)
            strength = self.plan.augment * ramp
            rng = np.random.default_rng([self.plan.seed, epoch, step, 1])
            changed = augmented([self.examples.rows[i] for i in index], changing, rng, strength)
            yield self.examples.batch(self.task, index, changed, rng)
            step += 1

    def sample(self) -> Examples:
        """Some training rows as they are, the same ones at every call."""
        rows = self.examples.rows
        chosen = np.random.default_rng([self.plan.seed, 3]).permutation(len(rows))[:SAMPLE].tolist()
        targets = {k: [v[i] for i in chosen] for k, v in self.examples.targets.items()}
        return Examples(rows=[rows[i] for i in chosen], targets=targets)

    def held(self, examples: Examples) -> Held:
        """Losses on held-out rows of the weights as they are; those of matching where there is no target."""
        if not self.task.targets:
            common, heads = held_matches(self.network, self.task, examples, self.matching)
            return Held(common=common, heads=heads)
        if self.task.target.wording is not None:
            return held_texts(self.network, self.task, examples)
        return held_rows(self.network, self.task, examples)

    def train_step(self, batch: Batch) -> dict[str, float]:
        """Take one step; return the losses by head."""
        torch.manual_seed(self.plan.seed * 1_000_003 + self.step)
        rng = np.random.default_rng([self.plan.seed, self.step, 2])
        self.network.train()
        self.optimizer.zero_grad(set_to_none=True)
        if self.plan.memory and not self.task.targets:
            found = self._replayed(batch)
        else:
            found = self._found(batch, rng)
            if found:  # rows that have nothing in common teach nothing
                self.balance.backward(found, self.network, self.plan)
        nn.utils.clip_grad_norm_(self.network.parameters(), self.plan.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = schedule(self.step, self.plan, self.steps)
        self.optimizer.step()
        if self.network.space is not None:
            self.network.space.hold()
        self._average()
        self.step += 1
        values = {told(k): float(v.detach()) for k, v in found.items()}
        if not math.isfinite(sum(values.values())):
            raise InputError(
                "the loss is no longer a number", got=values, fix="look for extreme numbers in the inputs"
            )
        return values

    def _found(self, batch: Batch, rng: np.random.Generator) -> dict[Named, Tensor]:
        """The losses of a batch that is encoded at once: of the heads, and of the shared space."""
        encoded = self.network.encode(batch)
        found: dict[Named, Tensor] = {}
        if self.task.targets:
            keep = random_subsets(encoded, rng, self.plan.drop)
            fused = self.network.read(encoded, blinded(keep, encoded, rng) if self.network.written else keep)
            joint = None if fused is None else fused.joint
            answers = self.network.answer(self.balance.heard(encoded), joint)
            found |= losses(answers, batch, self.task, {n: e.present for n, e in encoded.items()})
            if fused is not None:
                found |= write_losses(self.network, fused, batch, self.task)
                found |= spotted(self.network, encoded, batch)
        if self.network.space is not None:
            vectors = match_vectors(self.network, encoded)
            found |= match_losses(vectors, self.network.space, batch, self.matching)
        return found

    def _replayed(self, batch: Batch) -> dict[Named, Tensor]:
        """The losses of a batch that is encoded in pieces, so that a step holds no more than the plan's memory."""
        space, found = self.network.space, {}
        assert space is not None, "a plan with a memory budget is for matching"
        refuse_batch_norm(self.network)

        def encode(part: Batch) -> dict[str, Tensor]:
            return match_vectors(self.network, self.network.encode(part))

        if not self.row_bytes:
            self.row_bytes = activation_bytes(encode, batch)
        chunks = chunks_for(
            self.plan.memory, rows=batch.rows, row_bytes=self.row_bytes, width=self.network.shape.space,
            names=len(space.names) + 2,
        )  # fmt: skip

        def loss(vectors: Mapping[str, Tensor]) -> Tensor:
            found.update(match_losses(vectors, space, batch, self.matching, chunk=chunks.loss))
            return total(found, self.plan) if found else torch.zeros(())

        replay(encode, loss, batch, rows=chunks.encoder)
        return {k: v.detach() for k, v in found.items()}

    @torch.no_grad()
    def _average(self) -> None:
        """Exponential moving average of the weights, with a fast start so that early ones are forgotten."""
        keep = min(self.plan.average, (1 + self.step) / (10 + self.step))
        now = self.network.state_dict()
        names = [k for k in self.mean if self.mean[k].is_floating_point()]
        torch._foreach_lerp_([self.mean[k] for k in names], [now[k] for k in names], 1 - keep)

    def observe(self, losses: Mapping[str, float]) -> None:
        """Take note of the validation losses of the answers that the run may end with, by name.

        Without progress of any of them for `patience` checks the schedule is cut short: where the own heads learn rows by
        heart while the joint head still improves, there is something to wait for, and the other way round. The weights
        with the lowest loss of all are kept. The rest is a cool-down of a tenth of the steps, in which the learning rate
        still falls to zero.
        """
        better = {k: v for k, v in losses.items() if v < self.lowest.get(k, math.inf) - PROGRESS}
        self.lowest |= better
        if min(losses.values()) < self.best - PROGRESS:
            self.best = min(losses.values())
            self.kept = {k: v.clone() for k, v in self.mean.items()}
        if better:
            self.stale = min(self.stale, 0)
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
        numbers = {
            k: getattr(self, k)
            for k in ("step", "steps", "elapsed_s", "best", "stale", "lowest", "row_bytes")
        }
        numbers["balance"] = self.balance.state()
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
        self.balance = self.balance.restored(numbers.pop("balance", {}))  # older ones hold none
        for name, value in numbers.items():
            setattr(self, name, value)
        return True
