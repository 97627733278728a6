"""How often what belongs together is found: every direction, every kind of vectors, beside chance."""

from collections.abc import Mapping, Sequence

import numpy as np

from sensorium.api.blend import Blend, first_of
from sensorium.api.heads import Rows
from sensorium.measure.probes import linear_probe
from sensorium.measure.resample import scored, share
from sensorium.measure.retrieval import retrieval_scores
from sensorium.tasks import Task
from sensorium.training import Placed

PROBED = 5  # rows that a class needs for a probe


def figures(
    task: Task,
    blend: Blend,
    placed: Placed,
    rows: Rows,
    group: np.ndarray,
    same: Mapping[str, np.ndarray],
) -> list[dict[str, object]]:
    """Figures of every direction between matched columns, by kind of vectors.

    placed: the network's vectors of every row; group: (n,) which rows belong together, -1 for those that nothing is
    known of. Queries and answers are the different things of a column. A direction in which no query has an answer is left out.
    """
    own = placed.own
    kinds = {"blend": blend.vectors(own, rows), "network": own, "linear": blend.linear(rows)}
    kinds |= {"joint": placed.lone} if placed.joint.any() else {}
    found: list[dict[str, object]] = []
    for query in task.match:
        for answer in task.match:
            if query == answer:
                continue
            asked, held = (_things(task, same, own, n, group) for n in (query, answer))
            hit = np.isin(group[asked], group[held])
            asked = asked[hit]
            if not len(asked) or not len(held):
                continue
            for kind, vectors in kinds.items():
                if query in vectors and answer in vectors:
                    scores = retrieval_scores(
                        vectors[query][asked], vectors[answer][held], group[asked], group[held]
                    )
                    found.append(_told(query, answer, kind, scores, len(asked), len(held)))
    return found


def _things(
    task: Task, same: Mapping[str, np.ndarray], own: Mapping[str, np.ndarray], name: str, group: np.ndarray
) -> np.ndarray:
    """Rows with the different things of a modality that have a vector and whose group is known."""
    column = next(m.column for m in task.modalities if m.name == name)
    some = first_of(same[column]) if column in same else np.arange(len(group))
    return some[own[name][some].any(1) & (group[some] >= 0)]


def _told(
    query: str, answer: str, kind: str, scores: Mapping, queries: int, gallery: int
) -> dict[str, object]:
    return {"query": query, "answer": answer, "by": kind, "queries": queries, "gallery": gallery} | {
        name: score.to_json() for name, score in scores.items()
    }


def verdict(found: Sequence[Mapping]) -> list[str]:
    """The result in a few sentences."""
    lines = []
    for row in found:
        if row["by"] != "blend":
            continue
        beside = {r["by"]: r for r in found if (r["query"], r["answer"]) == (row["query"], row["answer"])}
        ten, chance = row["r@10"], row["chance@10"]["value"]
        told = (
            f"{row['query']} to {row['answer']}: a right one is among the first 10 of {row['gallery']} for {100 * ten['value']:.1f} % "
            f"(95 % interval {100 * ten['low']:.1f} to {100 * ten['high']:.1f}); by chance {100 * chance:.1f} %"
        )
        if "linear" in beside:
            told += f", by linear correlations {100 * beside['linear']['r@10']['value']:.1f} %"
        lines.append(told + ".")
    return lines


def probed(
    vectors: Mapping[str, np.ndarray], joint: np.ndarray, classes: np.ndarray
) -> list[dict[str, object]]:
    """How well a linear probe tells classes from vectors: of each column, of all side by side, and of the joint space.

    classes: (n,) class numbers, -1 for unknown. Each half of the rows is answered by a probe of the other half. Entries
    {vectors, rows, accuracy}; nothing where a class has too few rows to be told.
    """
    known = np.flatnonzero(classes >= 0)
    numbers, truth, often = np.unique(classes[known], return_inverse=True, return_counts=True)
    if len(numbers) < 2 or often.min() < PROBED:
        return []
    views = {**vectors, "all, side by side": np.concatenate(list(vectors.values()), 1), "joint": joint}
    found: list[dict[str, object]] = []
    for name, matrix in views.items():
        here = matrix[known].any(1)
        x, y = matrix[known][here], truth.ravel()[here]
        order = np.random.default_rng(0).permutation(len(x))
        right = np.zeros(len(x))
        for side in (0, 1):
            fit, ask = order[side::2], order[1 - side :: 2]
            if len(fit) < 10 or not len(ask):
                continue
            said = linear_probe(x[fit], y[fit], x[ask], kind="category", classes=len(numbers))
            right[ask] = said.argmax(1) == y[ask]
        score = share(
            scored(lambda w, r=right: {"accuracy": w @ r / w.sum(1)}, len(right))["accuracy"], len(right)
        )
        found.append({"vectors": name, "rows": len(right), "accuracy": score.to_json()})
    return found
