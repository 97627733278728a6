"""Why a space was not learned, or not well: what the history and the rows say, each with what to do about it."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from sensorium.representation import Space
from sensorium.training import Plan

LATE = 0.2  # share of the steps that counts as the end of a training
BLIND = 0.97  # a loss above so much of that of a blind guess is none that was learned
FEW = 32  # rows in a batch below which the others hardly tell what is wrong
OFTEN = 0.1  # share of the rows in one group from which a batch holds few counterexamples
GROWN = 1.05  # a validation loss so many times its best is a network that learns rows by heart


def ailments(
    space: Space, plan: Plan, history: Sequence[Mapping], group: np.ndarray, metrics: Mapping
) -> list[dict[str, str]]:
    """What stands in the way of learning: entries {what, why, fix}; none where nothing was found.

    group: (n,) which training rows belong together. Looks for a loss that never left that of a blind guess, a
    temperature at its bound, batches too small, duplicates, learning by heart, a loss that jumps, and a network that linear
    correlations beat.
    """
    found = []
    losses = [float(h["loss"]) / max(1, len(h.get("losses", {}))) for h in history if "loss" in h]
    end = losses[-max(1, int(len(losses) * LATE)) :]
    blind = _blind(plan, history, metrics)
    if plan.matching == "softmax" and end and float(np.mean(end)) > BLIND * blind:
        found.append(_one(
            "nothing was learned", f"the training loss ends at {np.mean(end):.2f}; a blind guess among the rows of a batch that hold both has {blind:.2f}",
            "check that the columns of a row belong together; give more rows or minutes",
        ))  # fmt: skip
    if len(end) > 4 and float(np.std(end)) > 0.5 * float(np.mean(end)):
        found.append(_one(
            "the loss jumps", f"{np.mean(end):.2f} +- {np.std(end):.2f} in the last fifth of the steps", "more rows in a batch, or another seed",
        ))  # fmt: skip
    scales = {
        f"{a or 'joint'} ~ {b or 'joint'}": float(h.exp())
        for (a, b), h in zip(space.pairs, space.heat.detach(), strict=True)
    }
    cold = [n for n, s in scales.items() if s > 0.99 * math.exp(space.COLDEST)]
    warm = [n for n, s in scales.items() if s < 1.5]
    if cold or warm:
        found.append(_one(
            "the temperature collapsed", f"{', '.join(cold + warm)}: scale {', '.join(f'{scales[n]:.1f}' for n in cold + warm)}; it may be 1 to 100",
            "wrong pairs or duplicates among the rows do that; look at the rows that are found first",
        ))  # fmt: skip
    if plan.batch < FEW:
        found.append(_one(
            "small batches", f"{plan.batch} rows are compared at a step", "give more rows; linear correlations count for more here",
        ))  # fmt: skip
    share = float(np.bincount(group).max()) / len(group)
    if share > OFTEN:
        found.append(_one(
            "many rows hold the same", f"{share:.0%} of the rows belong together, so that few are left to be told from",
            "give rows that differ",
        ))  # fmt: skip
    valid = [float(h["valid"]) for h in history if "valid" in h]
    if len(valid) > 3 and valid[-1] > GROWN * min(valid):
        found.append(_one(
            "rows were learned by heart", f"validation loss {min(valid):.2f} at its best, {valid[-1]:.2f} in the end; the best weights were taken",
            "more rows, or fewer minutes",
        ))  # fmt: skip
    beaten = _beaten(metrics.get("retrieval") or [])
    if beaten:
        found.append(_one(
            "linear correlations beat the network", "; ".join(beaten), "their vectors count for more in the answers; more rows would help the network",
        ))  # fmt: skip
    return found


def _blind(plan: Plan, history: Sequence[Mapping], metrics: Mapping) -> float:
    """Mean over the losses of a step of what a blind guess has: that of a pair knows only the rows that hold both."""
    data = metrics.get("data") or {}
    rows = (data.get("rows") or {}).get("train") or 1
    shares = {pair: count / rows for pair, count in (data.get("together") or {}).items()}
    named = [str(n).partition("/")[2] for h in history[-1:] for n in h.get("losses", {})]
    here = [shares.get(n, max(shares.values(), default=1.0)) for n in named] or [1.0]
    return float(np.mean([math.log(max(2.0, plan.batch * s)) for s in here]))


def _one(what: str, why: str, fix: str) -> dict[str, str]:
    return {"what": what, "why": why, "fix": fix}


def _beaten(retrieval: Sequence[Mapping]) -> list[str]:
    """Directions in which the network alone finds less than linear correlations."""
    by = {(r["query"], r["answer"], r["by"]): r["r@10"]["value"] for r in retrieval}
    return [
        f"{q} to {a}: {100 * value:.1f} % of the network among the first 10, {100 * by[q, a, 'linear']:.1f} % of correlations"
        for (q, a, kind), value in by.items()
        if kind == "network" and (q, a, "linear") in by and by[q, a, "linear"] > value
    ]
