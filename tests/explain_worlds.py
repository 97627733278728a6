"""A small world with planted evidence, and a network that has learned it: what explanations are tested on."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import test_core
import torch
from test_core import TINY, modality, rows_of

from sensorium.data import collate
from sensorium.explain import Outputs, outputs_of
from sensorium.measure.experts import Experts
from sensorium.network import JOINT, Network, Shape
from sensorium.tasks import Target, Task
from sensorium.training import Examples, Plan, Trainer

SMALL = Shape(dim=32, heads=2, depth=1, width=12, tokens=6, space=16, dropout=0.0)
SIDE, SQUARE, WORDS, STEPS, BURST = 32, 8, 16, 64, 12
MODALITIES = (
    modality("image", "image", (SIDE, 3), SIDE),
    modality("text", "text", (), WORDS, vocabulary=60),
    modality("series", "series", (2,), STEPS, 0.02),
)
CLASSES = ("a", "b", "c", "none")  # the last one has no sign: else one class could do without
TARGET = Target(column="y", kind="category", classes=CLASSES, counts=(1, 1, 1, 1))
TASK = Task(modalities=MODALITIES, targets=(TARGET,))
OUTPUTS = Outputs(
    column="y", kind="category", width=4, weights={"": 1.0, "image": 0.5, "text": 0.5, "series": 0.5}
)
EVERY = {JOINT: 0.8, **{m.name: 0.4 for m in test_core.MODALITIES}}  # weights of the heads over every carrier


@dataclass(frozen=True)
class World:
    """Rows, their classes, and where in each modality the class was planted (True)."""

    rows: list[dict[str, np.ndarray]]
    classes: list[int]
    planted: list[dict[str, np.ndarray]]


def picture(rng: np.random.Generator, kind: int) -> tuple[np.ndarray, np.ndarray]:
    """Grey noise, a bright square of the class's colour, and a white square that tells nothing."""
    pixels = rng.normal(110, 25, (SIDE, SIDE, 3))
    corners = rng.permutation([(y, x) for y in (1, 12, 23) for x in (1, 12, 23)])[:2] + rng.integers(-1, 2, 2)
    (y, x), (v, u) = corners
    pixels[v : v + SQUARE, u : u + SQUARE] = 220
    where = np.zeros((SIDE, SIDE), bool)
    if kind < 3:
        where[y : y + SQUARE, x : x + SQUARE] = True
        pixels[where] = 40 + 190 * np.eye(3)[kind]
    return np.clip(pixels, 0, 255).astype(np.uint8), where


def sentence(rng: np.random.Generator, kind: int) -> tuple[np.ndarray, np.ndarray]:
    """Random words, and one of the two that the class has."""
    ids = rng.integers(10, 60, int(rng.integers(8, WORDS + 1))).astype(np.int32)
    where = np.zeros(len(ids), bool)
    at = int(rng.integers(len(ids)))
    if kind < 3:
        ids[at], where[at] = 2 + 2 * kind + int(rng.integers(2)), True
    return ids, where


def recording(rng: np.random.Generator, kind: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise, a burst of the class's frequency, and a plain bump that tells nothing."""
    x = rng.normal(0, 0.3, (STEPS, 2)).astype(np.float32)
    starts = rng.permutation([1, 17, 33, 49])[:2] + rng.integers(0, 3, 2)
    time = np.arange(BURST)
    where = np.zeros(STEPS, bool)
    x[starts[1] : starts[1] + BURST] += 1.5
    if kind < 3:
        where[starts[0] : starts[0] + BURST] = True
        x[where] += 2 * np.sin(time * (0.5, 1.2, 2.4)[kind])[:, None]
    return x, where


def world(count: int, seed: int, missing: float = 0.0) -> World:
    rng = np.random.default_rng(seed)
    rows, classes, planted = [], [], []
    for i in range(count):
        kind = i % 4
        made = {"image": picture(rng, kind), "text": sentence(rng, kind), "series": recording(rng, kind)}
        gone = rng.random(3) < missing
        kept = [n for n, g in zip(made, gone, strict=True) if not g] or ["text"]
        rows.append({n: made[n][0] for n in kept})
        planted.append({n: made[n][1] for n in kept})
        classes.append(kind)
    return World(rows=rows, classes=classes, planted=planted)


def trained(fusion: str = "early", steps: int = 200) -> Network:
    """A few seconds of training on the planted world; the weights are their running average."""
    known = world(240, 0, missing=0.1)
    torch.manual_seed(0)
    network = Network(TASK, SMALL, fusion=fusion)
    examples = Examples(rows=known.rows, targets={"y": [np.int64(c) for c in known.classes]})
    trainer = Trainer(network, TASK, Plan(steps=steps, batch=16, rate=4e-3, average=0.95), examples)
    for batch in trainer.batches():
        trainer.train_step(batch)
        if trainer.step == steps:
            break
    network.load_state_dict(trainer.mean)
    return network.eval()


@cache
def learned() -> Network:
    """The network that all tests of a run share; nobody changes it."""
    return trained()


def every(target: Target, fusion: str = "early") -> tuple[Network, Task, Outputs]:
    """An untrained network over every carrier, its norms as if they had seen data."""
    torch.manual_seed(3)
    task = Task(modalities=test_core.MODALITIES, targets=(target,))
    network = Network(task, TINY, fusion=fusion)
    network.train()(collate(rows_of(8, missing=0.0), task.modalities))
    experts = Experts(weights=EVERY, prior=tuple(np.log(target.prior())) if target.classes else ())
    return network.eval(), task, outputs_of(target, experts)
