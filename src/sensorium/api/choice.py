"""Which heads answer together: chosen on validation rows by cross-fitting, with the reason."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from sensorium.api.answers import Subset, answers, figure, rows_of
from sensorium.api.heads import everyone
from sensorium.measure.baselines import Floor
from sensorium.measure.experts import JOINT, Experts, fit_average, fit_experts
from sensorium.tasks import Target, Task

LEANS = (0.0, 0.5, 1.0, 1.25)
LEAST = 0.02  # weight below which a floor has no say and is not kept
Halves = list[tuple[np.ndarray, Experts]]  # each half of the rows, with experts that did not see it


def candidates(task: Task, fusion: str, floors: Sequence[Floor]) -> dict[str, Subset]:
    """Which heads may answer together, by the fusion that was asked for; only `auto` counts floors among them."""
    own, simple = tuple(m.name for m in task.modalities), tuple(f.name for f in floors)
    joint = (JOINT,)
    if fusion == "late":
        return {"late": own}
    if fusion != "auto":
        return {"joint": joint, "joint + own heads": (JOINT, *own)} if len(own) == 1 else {fusion: joint}
    one = len(own) == 1
    late = "own heads" if one else "late"
    found = {f"joint + {late}": (JOINT, *own), "joint": joint, late: own}
    found |= {} if one else {f"{n} alone": (n,) for n in own}
    if simple:
        found |= {"floors": simple, f"{late} + floors": (*own, *simple)}
        found |= {f"joint + {late} + floors": (JOINT, *own, *simple)}
    return found


def starts(members: Subset, floors: Sequence[Floor]) -> dict[str, float]:
    """Weights before any row was seen: modalities as independent, the experts of one modality as its mean.

    The joint head has seen everything: beside it the others correct; beside floors it counts as half.
    """
    kin = {f.name: f.modality for f in floors}
    of = [kin.get(m, m) for m in members if m != JOINT]
    share = {m: 1.0 / of.count(kin.get(m, m)) for m in members if m != JOINT}
    if JOINT not in members:
        return share
    half = any(m in kin for m in members)
    return {JOINT: 0.5 if half else 1.0, **{m: v * 0.5 if half else 0.1 for m, v in share.items()}}


def choose(
    task: Task,
    heads: Mapping[str, np.ndarray],
    present: Mapping[str, np.ndarray],
    truth: np.ndarray,
    *,
    fusion: str,
    metric: str,
    floors: Sequence[Floor] = (),
) -> tuple[Experts, dict[str, object], Halves]:
    """Choose by cross-fitting on validation rows which heads answer together, and learn their weights.

    Of the candidates within half a standard error of the best figure the one with the lowest loss wins. Where the
    figure is macro F1, leaning towards rarer classes is a candidate, too: it costs likelihood and may gain F1.

    heads: name -> (n, width) logits or standardised numbers; present: name -> (n,) bool; truth: (n,) class numbers or
    numbers in their unit, (n, classes) labels. Returns the experts, what the metrics file says of the choice, and
    the experts of the chosen fusion for each half of the rows, learned on the other half.
    """
    target = task.target
    voters = everyone(heads, present)
    simple = {f.name for f in floors}
    tried: dict[str, tuple[float, float, dict[str, float], float]] = {}
    for name, members in candidates(task, fusion, floors).items():
        begin = starts(members, floors)
        for lean in LEANS if metric == "macro_f1" and target.kind == "category" else (0.0,):
            halves = _halves(target, heads, voters, truth, begin, lean)
            said = crossed(halves, target, heads, voters, len(truth))
            called = f"{name}, leaning to rare classes by {lean:g}" if lean else name
            tried[called] = (*figure(target, said, truth, metric), begin, lean)
    error = max(0.003, (0.25 / max(1, len(truth))) ** 0.5 * 0.5)
    best = max(t[0] for t in tried.values())
    near = {k: t for k, t in tried.items() if t[0] >= best - error}
    chosen = min(near, key=lambda k: near[k][1])
    experts = replace(_fitted(target, heads, voters, truth, tried[chosen][2]), lean=tried[chosen][3])
    said_little = {n for n, w in experts.weights.items() if n in simple and w < LEAST}
    experts = replace(experts, weights={n: w for n, w in experts.weights.items() if n not in said_little})
    others = sorted((k for k in tried if k != chosen), key=lambda k: -tried[k][0])
    rest = ", ".join(f"{k} {tried[k][0]:.3f}" for k in others[:4])
    reason = f"{metric} {tried[chosen][0]:.3f} on {len(truth)} validation rows" + (
        f" against {rest}" if rest else " (the only candidate)"
    )
    listed = [{"name": k, "score": round(t[0], 4), "loss": round(t[1], 4)} for k, t in tried.items()]
    told: dict[str, object] = {
        "chosen": chosen,
        "reason": reason,
        "candidates": listed,
        "weights": {k or "joint": w for k, w in experts.weights.items()},
    }
    return experts, told, _halves(target, heads, voters, truth, tried[chosen][2], tried[chosen][3])


def _fitted(target: Target, heads, voters, truth: np.ndarray, begin: Mapping[str, float]) -> Experts:
    prior = target.prior() if target.kind == "category" else np.ones(1)
    if len(truth) < 10:
        return Experts(
            weights=dict(begin), prior=tuple(np.log(prior).tolist()) if target.kind == "category" else ()
        )
    if target.kind == "category":
        return fit_experts(heads, voters, truth, start=begin, prior=prior)
    wanted = (truth - target.mean) / target.spread if target.kind == "number" else truth

    def loss(mean: np.ndarray) -> float:
        if target.kind == "number":
            return float(((mean[:, 0] - wanted) ** 2).mean())
        return float((np.logaddexp(0, mean) - wanted * mean).mean())

    return fit_average(heads, voters, start=begin, loss=loss)


def _halves(
    target: Target, heads, voters, truth: np.ndarray, begin: Mapping[str, float], lean: float
) -> Halves:
    """Each half of the rows, with experts whose weights were learned on the other half."""
    rows = np.arange(len(truth))
    found = []
    for side in (0, 1):
        fit, ask = rows[rows % 2 == side], rows[rows % 2 != side]
        if len(ask):
            part = fit if len(fit) else ask
            experts = _fitted(target, rows_of(heads, part), rows_of(voters, part), truth[part], begin)
            found.append((ask, replace(experts, lean=lean)))
    return found


def crossed(halves: Halves, target: Target, heads, voters, rows: int) -> np.ndarray:
    """Answers to each half of the rows by the experts that did not see it: (rows, classes) or (rows,)."""
    out: np.ndarray | None = None
    for ask, experts in halves:
        said = answers(experts, target, rows_of(heads, ask), rows_of(voters, ask))
        out = np.zeros((rows, *said.shape[1:])) if out is None else out
        out[ask] = said
    assert out is not None
    return out
