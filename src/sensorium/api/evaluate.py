"""From heads to answers to figures: the choice of fusion, subsets, robustness, the verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from sensorium.api.heads import Rows, all_heads, everyone
from sensorium.measure.baselines import Floor
from sensorium.measure.experts import JOINT, Experts, average, fit_average, fit_experts
from sensorium.measure.scores import SCORERS, Score, confusion, headline, macro_f1, reliability
from sensorium.network import Network
from sensorium.tasks import Target, Task

Subset = tuple[str, ...]
LEANS = (0.0, 0.5, 1.0, 1.25)
SPLITS = {"valid": "validation"}  # as people say it
LEAST = 0.02  # weight below which a floor has no say and is not kept


def subsets_of(names: Sequence[str]) -> list[Subset]:
    """Every non-empty subset up to five modalities; above, each alone, all, and all but one."""
    if len(names) <= 5:
        return [s for k in range(1, len(names) + 1) for s in combinations(names, k)]
    return [*((n,) for n in names), *(tuple(m for m in names if m != n) for n in names), tuple(names)]


def answers(
    experts: Experts, target: Target, heads: Mapping[str, np.ndarray], present: Mapping[str, np.ndarray]
) -> np.ndarray:
    """(n, classes) probabilities or (n,) numbers in the target's own unit."""
    if target.kind == "category":
        return np.exp(experts.combine(heads, present))
    mean = average(experts.weights, heads, present)
    if target.kind == "number":
        return mean[:, 0] * target.spread + target.mean
    return 1 / (1 + np.exp(-np.clip(mean, -50, 50)))


def truths(target: Target, cells: Sequence[np.ndarray | np.generic | None]) -> np.ndarray:
    """Encoded cells as one array, numbers in their own unit; -1 for a class that training never saw."""
    if target.kind == "category":
        return np.array([-1 if c is None else int(c) for c in cells])
    found = np.stack([c for c in cells if c is not None])
    return found * target.spread + target.mean if target.kind == "number" else found


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
) -> tuple[Experts, dict[str, object]]:
    """Choose by cross-fitting on validation rows which heads answer together, and learn their weights.

    Of the candidates within half a standard error of the best figure the one with the lowest loss wins. Where the
    figure is macro F1, leaning towards rarer classes is a candidate, too: it costs likelihood and may gain F1.

    heads: name -> (n, width) logits or standardised numbers; present: name -> (n,) bool; truth: (n,) class numbers or
    numbers in their unit, (n, classes) labels. Returns the experts and what the metrics file says of the choice.
    """
    target = task.target
    voters = everyone(heads, present)
    simple = {f.name for f in floors}
    tried: dict[str, tuple[float, float, dict[str, float], float]] = {}
    for name, members in candidates(task, fusion, floors).items():
        begin = starts(members, floors)
        for lean in LEANS if metric == "macro_f1" and target.kind == "category" else (0.0,):
            said = _crossed(target, heads, voters, truth, begin, lean)
            called = f"{name}, leaning to rare classes by {lean:g}" if lean else name
            tried[called] = (*_figure(target, said, truth, metric), begin, lean)
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
    return experts, {
        "chosen": chosen,
        "reason": reason,
        "candidates": listed,
        "weights": {k or "joint": w for k, w in experts.weights.items()},
    }


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


def _crossed(
    target: Target, heads, voters, truth: np.ndarray, begin: Mapping[str, float], lean: float
) -> np.ndarray:
    """Answers to each half of the rows with weights learned on the other half."""
    rows = np.arange(len(truth))
    out: np.ndarray | None = None
    for side in (0, 1):
        fit, ask = rows[rows % 2 == side], rows[rows % 2 != side]
        if not len(ask):
            continue
        part = fit if len(fit) else ask
        experts = _fitted(target, _rows(heads, part), _rows(voters, part), truth[part], begin)
        experts = replace(experts, lean=lean)
        said = answers(experts, target, _rows(heads, ask), _rows(voters, ask))
        out = np.zeros((len(rows), *said.shape[1:])) if out is None else out
        out[ask] = said
    assert out is not None
    return out


def _rows(arrays: Mapping[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
    return {k: v[rows] for k, v in arrays.items()}


def _figure(target: Target, said: np.ndarray, truth: np.ndarray, metric: str) -> tuple[float, float]:
    """(headline figure, mean loss)."""
    if target.kind == "category":
        given = np.where(truth >= 0, said[np.arange(len(truth)), truth], 0.0)
        loss = float(-np.log(np.maximum(given, 1e-9)).mean())
        right = (
            macro_f1(said.argmax(1), truth)
            if metric == "macro_f1"
            else float((said.argmax(1) == truth).mean())
        )
        return right, loss
    if target.kind == "labels":
        hit = (said >= 0.5) & (truth > 0.5)
        loss = float(-np.log(np.maximum(np.where(truth > 0.5, said, 1 - said), 1e-9)).mean())
        return float(2 * hit.sum() / max(1, (said >= 0.5).sum() + (truth > 0.5).sum())), loss
    square = float(((said - truth) ** 2).mean())
    return 1 - square / max(1e-12, float(truth.var())), square


def evaluate_rows(
    network: Network, task: Task, experts: Experts, floors: Sequence[Floor], rows: Rows, truth: np.ndarray
) -> tuple[dict[str, object], np.ndarray]:
    """All figures of the metrics file that rows and truth give, and the answers of the rows."""
    target, names = task.target, [m.name for m in task.modalities]
    subsets = subsets_of(names)
    heads, present, fewer = all_heads(network, task, floors, rows, subsets=subsets)
    said = answers(experts, target, heads, everyone(heads, present))
    metric = headline(target.kind, target.counts)
    scorer = SCORERS[target.kind]
    by_subset: dict[Subset, np.ndarray] = {}
    table = []
    for subset in subsets:
        part, have = _left(heads, present, fewer, subset, floors)
        found = answers(experts, target, part, everyone(part, have))
        by_subset[subset] = found
        here = np.logical_and.reduce([have[n] for n in subset])  # rows that have all of the subset
        if here.any():
            score = scorer(found[here], truth[here])[metric]
            whole = _figure(target, said[here], truth[here], metric)[0]  # with all that the same rows have
            table.append(
                {
                    "modalities": list(subset), "rows": int(here.sum()), "score": score.to_json(),
                    "everything": round(whole, 4),
                }
            )  # fmt: skip
    metrics: dict[str, object] = {
        "metric": metric, "rows": len(truth), "scores": {k: s.to_json() for k, s in scorer(said, truth).items()}, "subsets": table,
        "robustness": robustness(task, by_subset, present, truth, metric) if len(names) > 1 and len(names) <= 5 else [],
    }  # fmt: skip
    if target.kind == "category":
        counts = confusion(said.argmax(1), truth, len(target.classes))
        metrics["confusion"] = {"classes": list(target.classes), "counts": counts.tolist()}
        metrics["calibration"] = {"ece": metrics["scores"]["ece"]["value"], "bins": reliability(said, truth)}  # type: ignore[index]
    elif target.kind == "number":
        metrics["residuals"] = {"truth": truth[:1000].tolist(), "predicted": said[:1000].tolist()}
    return metrics, said


def _left(
    heads, present, fewer: Mapping[Subset, np.ndarray], subset: Subset, floors: Sequence[Floor]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The heads that are left, and who is present, when only `subset` is sent."""
    names = [*subset, *(f.name for f in floors if f.modality in subset)]
    part = {n: heads[n] for n in names}
    if JOINT in heads:
        part[JOINT] = fewer[subset]
    return part, {n: present[n] for n in names}


def robustness(
    task: Task,
    by_subset: Mapping[Subset, np.ndarray],
    present: Mapping[str, np.ndarray],
    truth: np.ndarray,
    metric: str,
) -> list[dict[str, float]]:
    """The headline figure when each cell is lost with a probability from 0 to .9; rows that lose all get the prior."""
    target, names = task.target, [m.name for m in task.modalities]
    have = np.stack([present[n] for n in names], 1)
    rng, found = np.random.default_rng(0), []
    blank = np.full(len(target.classes), 1 / max(1, len(target.classes)))
    if target.kind == "category":
        blank = target.prior()
    for rate in (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9):
        values = []
        for _ in range(1 if rate == 0 else 5):
            keep = have & (rng.random(have.shape) >= rate)
            said = (
                np.full(len(truth), target.mean)
                if target.kind == "number"
                else np.tile(blank, (len(truth), 1))
            )
            for subset, answer in by_subset.items():
                rows = (keep == np.array([n in subset for n in names])).all(1)
                said[rows] = answer[rows]
            values.append(_figure(target, said, truth, metric)[0])
        found.append({"rate": rate, "value": round(float(np.mean(values)), 4)})
    return found


def floor_table(
    floors, statistics, texts, truth: np.ndarray, target: Target, metric: str
) -> list[dict[str, object]]:
    """Score the floors on held-out rows."""
    table = []
    for floor in floors:
        said = floor.answer(statistics, texts)
        score: Score = SCORERS[target.kind](said, truth)[metric]
        table.append(
            {
                "name": floor.name,
                "modality": floor.modality,
                "score": score.to_json(),
                "seconds": round(floor.seconds, 2),
            }
        )
    return table


def verdict(metrics: Mapping[str, object]) -> list[str]:
    """The result in a few sentences, the unwelcome ones too."""
    metric = str(metrics["metric"])
    score = metrics["scores"][metric]  # type: ignore[index]
    lines = [
        f"{metric} {score['value']:.3f} (95 % interval {score['low']:.3f} to {score['high']:.3f}) on {metrics['rows']} {SPLITS.get(str(metrics.get('split')), metrics.get('split', ''))} rows."
    ]
    floors = metrics.get("baselines") or []
    if floors:
        top = max(floors, key=lambda f: f["score"]["value"])  # type: ignore[index, union-attr]
        gap = score["value"] - top["score"]["value"]  # type: ignore[index]
        where = f"is {abs(gap):.3f} {'above' if gap > 0 else 'BELOW'} it" if round(gap, 3) else "equals it"
        lines.append(f"The best floor is {top['name']} with {top['score']['value']:.3f}: the model {where}.")  # type: ignore[index]
        if top["score"]["value"] > score["high"]:  # type: ignore[index]
            lines.append("A floor wins beyond the interval: for this table it is the better choice.")
    alone = [s for s in metrics["subsets"] if len(s["modalities"]) == 1]  # type: ignore[union-attr, index]
    if len(alone) > 1:
        best = max(alone, key=lambda s: s["score"]["value"])
        gain = best["everything"] - best["score"]["value"]
        lines.append(
            f"The best single modality is {best['modalities'][0]} with {best['score']['value']:.3f}; "
            f"all that the same rows have gives {gain:+.3f}."
        )
    return lines


__all__ = [
    "answers",
    "choose",
    "evaluate_rows",
    "floor_table",
    "subsets_of",
    "truths",
    "verdict",
]
