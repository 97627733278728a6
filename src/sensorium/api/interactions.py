"""What the inputs tell one by one, what either tells, and what only together: measured on a trained model."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from sensorium.api.answers import Subset, answers, left
from sensorium.api.heads import Rows, all_heads, everyone, weighs
from sensorium.api.saying import Say
from sensorium.explain import Outputs, outputs_of, swapped
from sensorium.measure.additive import additive, explained
from sensorium.measure.baselines import Floor
from sensorium.measure.experts import Experts
from sensorium.measure.interactions import Interactions, binned, decompose, posteriors_of_numbers
from sensorium.measure.resample import Score, scored
from sensorium.measure.shapley import MOST, interaction_indices, sampled_shapley, shapley
from sensorium.network import Network
from sensorium.store import Table
from sensorium.tasks import Target, Task
from sensorium.training import vectors_all
from sensorium.types import InputError

PAIRED = 4  # most inputs of which every pair is decomposed; of more, each one against the rest
LABELS = 3  # most labels that are decomposed, the most frequent ones
BINS = 6  # classes that a number is cut into
CROSSED = 150  # most rows whose inputs are swapped with each other's: as many squared answers of the trunk
ORDERS = 60  # orders of joining that are drawn where there are too many inputs to enumerate
ROWS = 3000  # most rows that are looked at
TINY = 1e-4  # least probability of the truth: one certain mistake costs 13 bits


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """A trained model as this module needs it."""

    network: Network
    task: Task
    experts: Experts
    floors: Sequence[Floor]


@dataclass(slots=True)
class _Answers:
    """A model's answers to some rows from any subset of the inputs, computed once each."""

    model: Trained
    rows: Rows
    found: dict[Subset, np.ndarray] = field(default_factory=dict)
    present: dict[str, np.ndarray] = field(default_factory=dict)

    def __call__(self, subset: Subset) -> np.ndarray:
        """(n, classes) probabilities or (n,) numbers; rows without any of the subset hold what nothing tells."""
        if subset not in self.found:
            self.prepare([subset])
        return self.found[subset]

    def prepare(self, subsets: Sequence[Subset]) -> None:
        """Compute several subsets with one pass of the encoders."""
        model, target = self.model, self.model.task.target
        heads, self.present, fewer = all_heads(
            model.network, model.task, model.floors, self.rows, subsets=subsets
        )
        for subset in subsets:
            part, have = left(heads, self.present, fewer, subset, model.floors)
            self.found[subset] = answers(model.experts, target, part, everyone(part, have))


def sampled(table: Table, seed: int) -> Table:
    """At most ROWS rows of a table, drawn at random: more would be decoded for nothing."""
    if len(table) <= ROWS:
        return table
    return table.take(np.sort(np.random.default_rng(seed).permutation(len(table))[:ROWS]))


def study(model: Trained, rows: Rows, truth: np.ndarray, *, seed: int = 0, say: Say) -> dict[str, object]:
    """Decompose what a model knows on rows that it was not trained on; JSON-able.

    rows and truth as `evaluate_rows` takes them. Raises InputError where there is one input only, or where there are too
    few rows with several inputs to say anything.
    """
    names = [m.name for m in model.task.modalities]
    if len(names) < 2:
        raise InputError(
            "there is nothing to decompose", got=f"one input: {names[0]}", fix="fit with two or more inputs"
        )
    have = np.stack([[n in r for n in names] for r in rows.patches])
    told = _Answers(model=model, rows=rows)
    say("interactions", 0.0, "answers from every subset of the inputs")
    told.prepare(_asked(names))
    remarks: list[str] = []
    atoms = _atoms(told, names, have, truth, remarks, seed, say)
    complete = np.flatnonzero(have.all(1))
    found: dict[str, object] = {"rows": len(truth), "complete_rows": len(complete), "atoms": atoms}
    if len(complete) >= 2:
        say("interactions", 0.8, "Shapley values")
        found["shapley"] = _shapley(told, names, complete, truth, seed)
        say("interactions", 0.85, "swapping inputs between rows")
        found["emap"] = _emap(model, rows, complete, truth, seed)
    elif not atoms:
        raise InputError(
            "no row has all inputs, and no two inputs meet often enough", got=remarks[:1],
            fix="give more rows with several inputs",
        )  # fmt: skip
    found["remarks"] = list(dict.fromkeys(remarks))
    found["verdict"] = [a["sentence"] for a in atoms]
    say("interactions", 1.0, "done")
    return found


def _asked(names: Sequence[str]) -> list[Subset]:
    """The subsets that are surely needed: all of few inputs; of many each one, each pair and each rest."""
    if len(names) <= MOST:
        return [s for k in range(1, len(names) + 1) for s in combinations(names, k)]
    singles = [(n,) for n in names]
    return [*singles, *(tuple(m for m in names if m != n) for n in names), tuple(names)]


def _sides(names: Sequence[str]) -> Iterator[tuple[Subset, Subset]]:
    """What is compared: every pair of few inputs, and each one against all the others."""
    if len(names) <= PAIRED:
        yield from (((a,), (b,)) for a, b in combinations(names, 2))
    if len(names) > 2:
        yield from (((n,), tuple(m for m in names if m != n)) for n in names)


def _atoms(
    told: _Answers,
    names: Sequence[str],
    have: np.ndarray,
    truth: np.ndarray,
    remarks: list[str],
    seed: int,
    say: Say,
) -> list[dict[str, object]]:
    """One entry for each two sides and each question of the target; a side that lacks rows is a remark."""
    target, found = told.model.task.target, []
    sides = list(_sides(names))
    vectors, _ = vectors_all(told.model.network, told.model.task, told.rows.patches)
    for number, (first, second) in enumerate(sides):
        say("interactions", 0.1 + 0.7 * number / len(sides), f"{' + '.join(first)} and {' + '.join(second)}")
        rows = np.flatnonzero(have[:, [n in (*first, *second) for n in names]].all(1))
        both = tuple(n for n in names if n in (*first, *second))
        sent = [told(s)[rows] for s in (first, second, both)]
        seen = [np.concatenate([vectors[n][rows] for n in s], 1) for s in (first, second)]
        for question, asked, classes in _questions(target, sent, truth[rows], remarks):
            try:
                result = decompose(
                    *asked, classes, features=(seen[0], seen[1]), seed=seed
                )  # fmt: skip
            except InputError as error:
                remarks.append(f"{error.wrong} ({error.got}); {error.fix}")  # often the same for all pairs
                continue
            entry = {"sides": [list(first), list(second)], "question": question, **result.to_json()}
            found.append(entry | {"sentence": sentence(result, _named(first), _named(second), question)})
    return found


def _questions(
    target: Target, sent: Sequence[np.ndarray], truth: np.ndarray, remarks: list[str]
) -> Iterator[tuple[str, list[np.ndarray], np.ndarray]]:
    """(name, three posteriors (n, classes), class numbers (n,)) of each question that a target asks."""
    if target.kind == "category":
        yield target.column, list(sent), truth
    elif target.kind == "number":
        classes, edges = binned(truth, BINS)
        remarks.append(
            f"{target.column} is a number: cut into {len(edges) + 1} ranges of about equally many rows"
        )
        yield target.column, [posteriors_of_numbers(s, truth, edges) for s in sent], classes
    else:
        frequent = np.argsort(-truth.mean(0), kind="stable")[:LABELS]
        if len(frequent) < len(target.classes):
            remarks.append(f"of {len(target.classes)} labels the {LABELS} most frequent were decomposed")
        for c in frequent:
            asked = [np.stack([1 - s[:, c], s[:, c]], 1) for s in sent]
            yield target.classes[c], asked, truth[:, c].astype(int)


def _named(names: Subset) -> str:
    return names[0] if len(names) == 1 else "the other inputs" if len(names) > 2 else " + ".join(names)


def sentence(found: Interactions, first: str, second: str, question: str) -> str:
    """What a decomposition says, in plain words."""
    whole = found.joint.value
    share = f"of {found.entropy.value:.2f} bits that there are to know of {question!r} the model knows {whole:.2f}"
    if not found.dominant:
        return f"{first} and {second}: {share}, and no part of it stands out from chance."
    value = getattr(found, found.dominant).value
    why = {
        "redundancy": f"mostly the same from either ({value:.2f} bits): one could stand in for the other",
        "unique_first": f"mostly from {first} alone ({value:.2f} bits)",
        "unique_second": f"mostly from {second} alone ({value:.2f} bits)",
        "synergy": f"mostly from both together ({value:.2f} bits): either alone says little",
    }
    return f"{first} and {second}: {share}, {why[found.dominant]}."


def _shapley(
    told: _Answers, names: Sequence[str], complete: np.ndarray, truth: np.ndarray, seed: int
) -> dict[str, object]:
    """What each input adds, averaged over all orders in which inputs can join: in bits (or r2) and in share right."""
    target = told.model.task.target
    units = {"number": ("r2",), "labels": ("bits",)}.get(target.kind, ("bits", "accuracy"))
    found: dict[str, object] = {"names": list(names), "rows": len(complete)}
    for unit in units:

        def worth(subset: Subset, unit: str = unit) -> np.ndarray:
            ordered = tuple(n for n in names if n in subset)
            said = told(ordered)[complete] if ordered else None
            return _worth(target, said, truth[complete], unit)

        if len(names) > MOST:
            drawn = sampled_shapley(worth, names, permutations=ORDERS, seed=seed)
            found[unit] = {k: {**v.score.to_json(), "error": round(v.error, 5)} for k, v in drawn.items()}
            continue
        values = {s: worth(s) for k in range(len(names) + 1) for s in combinations(names, k)}
        found[unit] = {k: v.to_json() for k, v in shapley(values, names, seed=seed).items()}
        pairs = interaction_indices(values, names, seed=seed)
        found[f"pairs_{unit}"] = [{"names": list(p), **v.to_json()} for p, v in pairs.items()]
        found[f"total_{unit}"] = round(float((values[tuple(names)] - values[()]).mean()), 6)
    return found


def _worth(target: Target, said: np.ndarray | None, truth: np.ndarray, unit: str) -> np.ndarray:
    """What the answers are worth, row by row; those of the prior where `said` is None."""
    rows = np.arange(len(truth))
    if target.kind == "number":
        wrong = (truth - (target.mean if said is None else said)) ** 2
        return 1 - wrong / max(1e-12, float(truth.var()))
    if target.kind == "labels":
        p = np.full(truth.shape, 0.5) if said is None else said
        return np.log2(np.maximum(np.where(truth > 0.5, p, 1 - p), TINY)).mean(1)
    p = np.tile(target.prior(), (len(truth), 1)) if said is None else said
    if unit == "accuracy":
        return (p.argmax(1) == truth).astype(float)
    return np.log2(np.maximum(np.where(truth >= 0, p[rows, truth], 0.0), TINY))


def evidence_of(model: Trained) -> Outputs:
    """The network's part of the answers as a sum that can be taken apart; floors are added by `floor_evidence`."""
    target = model.task.target
    others: dict[str, float] = {}
    for floor in model.floors:
        others[floor.modality] = others.get(floor.modality, 0.0) + model.experts.weights.get(floor.name, 0.0)
    shift = 0.5 * np.log(target.prior()) if weighs(target) else None
    return outputs_of(target, model.experts, others=others, shift=shift)


def floor_evidence(model: Trained, rows: Rows, outputs: Outputs) -> dict[str, np.ndarray]:
    """Modality -> (n, outputs): what its simple models add, on the scale of `outputs`; exact, for they only add."""
    target, found = model.task.target, {}
    if not model.floors:
        return {}
    heads, present, _ = all_heads(model.network, model.task, model.floors, rows)
    votes = sum(
        w * everyone(heads, present)[n][:, None] for n, w in model.experts.weights.items() if n in heads
    )
    for floor in model.floors:
        z = heads[floor.name].astype(np.float64)
        if target.kind == "category":
            z = z - np.asarray(model.experts.prior)
            z = z - z.mean(1, keepdims=True)
        else:
            z = z * (target.spread if target.kind == "number" else 1.0) / np.maximum(votes, 1e-9)
        z = z * model.experts.weights[floor.name] * present[floor.name][:, None]
        found[floor.modality] = found.get(floor.modality, 0.0) + z
    return found


def _emap(
    model: Trained, rows: Rows, complete: np.ndarray, truth: np.ndarray, seed: int
) -> dict[str, object]:
    """How much of the answers is a sum of what each input says by itself, and what the rest of it is worth."""
    some = np.sort(np.random.default_rng(seed).permutation(complete)[:CROSSED])
    part, truth, outputs = rows.take(some.tolist()), truth[some], evidence_of(model)
    grids = swapped(model.network, model.task, part.patches, outputs)
    full = np.einsum("iic->ic", grids[0])
    summed = additive(grids)
    simple = sum(floor_evidence(model, part, outputs).values())
    target = model.task.target
    right = [_right(target, model.experts, e + simple, truth) for e in (full, summed)]
    gap = right[0] - right[1]

    def measure(w: np.ndarray) -> Mapping[str, np.ndarray]:
        each = {"full": right[0], "additive": right[1], "gap": gap}
        return {k: w @ v / w.sum(1) for k, v in each.items()}

    found: dict[str, Score] = scored(measure, len(truth), seed=seed)
    return {
        "rows": len(truth), "r2": round(explained(full + simple, summed + simple), 4),
        "metric": {"number": "r2", "labels": "labels right"}.get(target.kind, "accuracy"),
        **{k: v.to_json() for k, v in found.items()},
    }  # fmt: skip


def _right(target: Target, experts: Experts, evidence: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """How right each row's answer is, (n,): 1 or 0, the share of its labels, or its part in r2."""
    if target.kind == "number":
        return 1 - (evidence[:, 0] - truth) ** 2 / max(1e-12, float(truth.var()))
    if target.kind == "labels":
        return ((evidence >= 0) == (truth > 0.5)).mean(1)
    total = evidence + (1 - experts.lean) * np.asarray(experts.prior)
    return (total.argmax(1) == truth).astype(float)
