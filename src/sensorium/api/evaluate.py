"""From answers to figures: scores with intervals, subsets, robustness, the verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from sensorium.api.answers import Subset, answers, figure, left, subsets_of
from sensorium.api.controls import FITTED, MOST, Judge, controls, unused
from sensorium.api.heads import Rows, all_heads, everyone
from sensorium.api.promises import Promises, kept_promises
from sensorium.api.saying import Say, silent
from sensorium.api.thoughts import by_steps
from sensorium.measure.baselines import Floor
from sensorium.measure.conformal import fit_selective
from sensorium.measure.experts import Experts
from sensorium.measure.scores import SCORERS, Score, confusion, headline, reliability
from sensorium.network import Network
from sensorium.tasks import Target, Task

__all__ = ["FITTED", "RATES", "evaluate_rows", "floor_table", "label_table", "robustness", "verdict"]

SPLITS = {"valid": "validation"}  # as people say it
MOVED = 0.1  # of a number's spread: an answer that moves less is the same


def evaluate_rows(
    network: Network,
    task: Task,
    experts: Experts,
    floors: Sequence[Floor],
    rows: Rows,
    truth: np.ndarray,
    *,
    promises: Promises,
    seed: int = 0,
    most: int = MOST,
    say: Say = silent,
) -> tuple[dict[str, object], np.ndarray]:
    """All figures of the metrics file that rows and truth give, and the answers of the rows.

    seed, most: of the controls, that ask at most so many rows again.
    """
    target, names = task.target, [m.name for m in task.modalities]
    subsets = subsets_of(names)
    heads, present, fewer = all_heads(network, task, floors, rows, subsets=subsets)
    said = answers(experts, target, heads, everyone(heads, present))
    metric = headline(target.kind, target.counts)
    scorer = SCORERS[target.kind]
    by_subset: dict[Subset, np.ndarray] = {}
    table = []
    for subset in subsets:
        part, have = left(heads, present, fewer, subset, floors)
        found = answers(experts, target, part, everyone(part, have))
        by_subset[subset] = found
        here = np.logical_and.reduce([have[n] for n in subset])  # rows that have all of the subset
        if here.any():
            score = scorer(found[here], truth[here])[metric]
            whole = figure(target, said[here], truth[here], metric)[0]  # with all that the same rows have
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
    metrics["sets"] = kept_promises(promises, names, present, said, truth)
    judge = judge_of(network, task, experts, floors, truth, metric)
    metrics["controls"] = controls(task.modalities, rows, judge, seed=seed, most=most, say=say)
    some = list(range(min(most, len(truth))))
    metrics["steps"] = by_steps(network, lambda: judge.figure(judge.answer(rows.take(some)), some))
    if target.kind == "category":
        curve = fit_selective(said.max(1), said.argmax(1) == truth)
        metrics["selective"] = asdict(curve)
        counts = confusion(said.argmax(1), truth, len(target.classes))
        metrics["confusion"] = {"classes": list(target.classes), "counts": counts.tolist()}
        metrics["calibration"] = {"ece": metrics["scores"]["ece"]["value"], "bins": reliability(said, truth)}  # type: ignore[index]
    elif target.kind == "labels":
        metrics["labels"] = label_table(target, said >= 0.5, truth > 0.5)
    elif target.kind == "number":
        metrics["residuals"] = {"truth": truth[:1000].tolist(), "predicted": said[:1000].tolist()}
    return metrics, said


def judge_of(
    network: Network, task: Task, experts: Experts, floors: Sequence[Floor], truth: np.ndarray, metric: str
) -> Judge:
    """How the controls ask a model for answers and measure them; truth: (n, ...) of all rows."""
    target = task.target

    def answer(rows: Rows) -> np.ndarray:
        heads, present, _ = all_heads(network, task, floors, rows)
        return answers(experts, target, heads, everyone(heads, present))

    def measure(said: np.ndarray, index: Sequence[int]) -> Score | None:
        return SCORERS[target.kind](said, truth[list(index)]).get(metric)

    def differ(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        if target.kind == "number":
            return np.abs(one - other) > MOVED * target.spread
        if target.kind == "labels":
            return ((one >= 0.5) != (other >= 0.5)).any(1)
        return one.argmax(1) != other.argmax(1)

    return Judge(answer=answer, figure=measure, differ=differ)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Losses:
    """A model's answers from every subset, to see what becomes of its figure as cells are lost."""

    target: Target
    names: Sequence[str]
    by_subset: Mapping[Subset, np.ndarray]
    have: np.ndarray  # (n, modalities) bool
    truth: np.ndarray
    metric: str

    def figure(self, rates: np.ndarray, *, draws: int = 5) -> float:
        """Mean headline figure where each cell is lost with its modality's rate; rows that lose all get the prior."""
        rng, values = np.random.default_rng(0), []
        for _ in range(draws if rates.any() else 1):
            keep = self.have & (rng.random(self.have.shape) >= rates)
            said = self._blank()
            for subset, answer in self.by_subset.items():
                rows = (keep == np.array([n in subset for n in self.names])).all(1)
                said[rows] = answer[rows]
            values.append(figure(self.target, said, self.truth, self.metric)[0])
        return float(np.mean(values))

    def _blank(self) -> np.ndarray:
        if self.target.kind == "number":
            return np.full(len(self.truth), self.target.mean)
        if self.target.kind == "labels":
            return np.full(self.truth.shape, 0.5)
        return np.tile(self.target.prior(), (len(self.truth), 1))


RATES = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)


def robustness(
    task: Task,
    by_subset: Mapping[Subset, np.ndarray],
    present: Mapping[str, np.ndarray],
    truth: np.ndarray,
    metric: str,
) -> list[dict[str, object]]:
    """The headline figure as cells get lost at random: at one rate for all inputs, and for each input at its own.

    Points {modality, rate, value}; modality "" is the shared rate, a name means that this input alone is lost
    (imbalanced missing rates, arXiv:2603.09874). Nothing of it was known in training.
    """
    names = [m.name for m in task.modalities]
    have = np.stack([present[n] for n in names], 1)
    losses = _Losses(
        target=task.target, names=names, by_subset=by_subset, have=have, truth=truth, metric=metric
    )
    found: list[dict[str, object]] = []
    for number, name in [(-1, ""), *enumerate(names)]:
        for rate in RATES:
            rates = np.full(len(names), rate) if number < 0 else np.eye(len(names))[number] * rate
            found.append({"modality": name, "rate": rate, "value": round(losses.figure(rates), 4)})
    return found


def label_table(target: Target, given: np.ndarray, truth: np.ndarray) -> list[dict[str, object]]:
    """Rows, precision, recall and F1 of each label; given, truth: (n, labels) bool. None where there is nothing to divide by."""
    found = []
    for c, name in enumerate(target.classes):
        hit, said, true = (int(v.sum()) for v in (given[:, c] & truth[:, c], given[:, c], truth[:, c]))
        found.append({
            "label": name, "rows": true, "precision": round(hit / said, 4) if said else None,
            "recall": round(hit / true, 4) if true else None, "f1": round(2 * hit / (said + true), 4) if said + true else None,
        })  # fmt: skip
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
    return lines + unused(metrics.get("controls") or [])  # type: ignore[arg-type]
