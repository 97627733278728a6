"""What a finished fit tells of itself: whether an input was starved, and what happens when a sensor fails."""

from collections.abc import Mapping, Sequence

import numpy as np

from sensorium.api.answers import answers
from sensorium.api.heads import Rows, all_heads, everyone
from sensorium.api.interactions import Trained
from sensorium.api.robust import corruption_curves
from sensorium.api.saying import Say
from sensorium.data import Decoder, Row
from sensorium.measure.probes import Seen, diagnose
from sensorium.training import vectors_all

PROBED = 1500  # most training rows that a probe learns from
SECONDS, SHARE = 20.0, 0.15  # most seconds of damaged sensors, and their share of the training time


def starved(
    model: Trained,
    train: tuple[Sequence[Row], Sequence[object]],
    rows: Rows,
    truth: np.ndarray,
    history: Sequence[Mapping],
    *,
    seed: int,
) -> list[dict[str, object]]:
    """Whether each input's encoder learned what there is to learn from it; nothing for a single input.

    train: rows with their encoded targets (None: not known); rows, truth: held-out ones, all known, numbers standardised.
    The measure is the input's own head and its best simple model, whichever is better.
    """
    task, target = model.task, model.task.target
    if len(task.modalities) < 2 or len(truth) < 10:
        return []
    known = [i for i, c in enumerate(train[1]) if c is not None]
    some = np.random.default_rng(seed).permutation(known)[:PROBED].tolist()
    fit = _seen(model, [train[0][i] for i in some], np.stack([train[1][i] for i in some]))  # type: ignore[arg-type]
    heads, _, _ = all_heads(model.network, task, model.floors, rows)
    return diagnose(
        fit, _seen(model, rows.patches, truth), {m.name: heads[m.name] for m in task.modalities}, kind=target.kind,
        classes=len(target.classes), reference=_simple(model, heads, truth), history=history, column=target.column, seed=seed,
    )  # fmt: skip


def _seen(model: Trained, rows: Sequence[Row], truth: np.ndarray) -> Seen:
    vectors, present = vectors_all(model.network, model.task, rows)
    return Seen(vectors=vectors, present=present, truth=truth)


def _simple(model: Trained, heads: Mapping[str, np.ndarray], truth: np.ndarray) -> dict[str, np.ndarray]:
    """Modality -> answers of its simple model that is right most often, where it has one."""
    found: dict[str, tuple[float, np.ndarray]] = {}
    for floor in model.floors:
        said = heads[floor.name]
        if model.task.target.kind == "category":
            right = float((said.argmax(1) == truth).mean())
        elif model.task.target.kind == "labels":
            right = float(((said >= 0) == (truth > 0.5)).mean())
        else:
            right = -float(((said[:, 0] - truth) ** 2).mean())
        if floor.modality not in found or right > found[floor.modality][0]:
            found[floor.modality] = (right, said)
    return {k: v for k, (_, v) in found.items()}


def damaged(
    model: Trained,
    decoder: Decoder,
    rows: Rows,
    truth: np.ndarray,
    metric: str,
    *,
    seed: int,
    trained_s: float,
    say: Say,
) -> list[dict[str, object]]:
    """The headline figure under every corruption of every input, as far as SECONDS, or SHARE of the training time, reach."""

    def answer(some: Rows) -> np.ndarray:
        heads, present, _ = all_heads(model.network, model.task, model.floors, some)
        return answers(model.experts, model.task.target, heads, everyone(heads, present))

    return corruption_curves(
        answer, model.task, decoder, rows, truth, metric=metric, seed=seed, seconds=min(SECONDS, SHARE * trained_s),
        tick=lambda done, name: say("damage sensors", done, name),
    )  # fmt: skip
