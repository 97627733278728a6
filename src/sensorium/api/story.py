"""What a report shows of rows: which inputs they have, and the ones that were answered worst."""

import platform
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

import sensorium
from sensorium.api.answers import value_of
from sensorium.api.persist import State
from sensorium.api.prepare import Asked
from sensorium.data import Decoder, Row
from sensorium.modalities import CARRIERS
from sensorium.tasks import Task


def patterns(task: Task, rows: Sequence[Row]) -> list[dict[str, object]]:
    """The 20 most frequent sets of inputs that rows have together."""
    counts: dict[tuple[str, ...], int] = {}
    for row in rows:
        key = tuple(m.name for m in task.modalities if m.name in row)
        counts[key] = counts.get(key, 0) + 1
    return [
        {"modalities": list(k), "rows": v} for k, v in sorted(counts.items(), key=lambda p: -p[1])[:20]
    ]  # fmt: skip


def story(
    model: State,
    asked: Asked,
    found: Mapping,
    fusion: Mapping[str, object],
    metrics: Mapping[str, object],
    *,
    steps: int,
    seconds: float,
) -> dict[str, object]:
    """The metrics file of a run: what was learned from what, how, where, and how well."""
    target, rows = model.task.target, found["rows"]
    return {
        "task": {
            "target": target.column, "kind": target.kind, "classes": list(target.classes), "also": [t.column for t in model.task.targets[1:]],
            "inputs": [{"name": m.name, "carrier": m.carrier, "summary": f"{m.longest} steps of {m.item}"} for m in model.task.modalities],
        },
        "data": {
            "source": found["train"].source, "rows": {"train": len(rows), "valid": len(found["held_rows"])},
            "present": {m.name: round(sum(m.name in r for r in rows) / len(rows), 4) for m in model.task.modalities},
            "patterns": patterns(model.task, rows),
            "class_counts": dict(zip(target.classes, target.counts, strict=True)), "quarantined": found["lost"], "warnings": found["remarks"],
        },
        "plan": {
            "size": model.size, "parameters": sum(p.numel() for p in model.network.parameters()), "steps": steps,
            "planned_steps": model.plan.steps, "batch": model.plan.batch, "epochs": round(steps / -(-len(rows) // model.plan.batch), 1),
            "precision": "float32", "threads": torch.get_num_threads(), "seed": model.plan.seed, "minutes": asked.minutes,
            "training_seconds": round(seconds, 1), "seconds": round(time.monotonic() - found["began"], 1), "stopped": found["why"],
        },
        "machine": {"python": platform.python_version(), "torch": torch.__version__, "processor": platform.machine(), "sensorium": sensorium.__version__},
        "fusion": fusion, "split": "valid", **metrics,
    }  # fmt: skip


def hardest(
    task: Task, decoder: Decoder, said: np.ndarray, truth: np.ndarray, *, most: int = 12,
    more: Callable[[int], Mapping[str, object]] = lambda row: {},
) -> list[dict[str, object]]:  # fmt: skip
    """The rows that the model got most wrong, with a small preview of every cell, and what `more` tells of a row."""
    target, table = task.target, decoder.table
    if target.kind == "category":
        wrong = 1 - np.where(truth >= 0, said[np.arange(len(truth)), truth], 0.0)
    else:
        wrong = np.abs(said - truth).reshape(len(truth), -1).mean(1)
    shown = []
    for row in np.argsort(-wrong)[:most]:
        cells: dict[str, object] = {}
        for m in task.modalities:
            signal = decoder.of(int(row), m)
            cells[m.name] = None if signal is None else CARRIERS[m.carrier].preview(signal)
        answer, _ = value_of(target, said[row])
        shown.append({
            "id": table.ids[int(row)], "truth": str(table.cells(target.column)[int(row)]),
            "predicted": _told(answer),
            "confidence": float(said[row].max()) if target.kind == "category" else None, "cells": cells,
            **more(int(row)),
        })  # fmt: skip
    return shown


def _told(answer: object) -> str:
    if isinstance(answer, tuple):
        return " | ".join(answer) or "no label"
    return f"{answer:.4g}" if isinstance(answer, float) else str(answer)
