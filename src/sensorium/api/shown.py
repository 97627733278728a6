"""Searches among held-out rows, as a report shows them: drawn at random, not picked."""

from collections.abc import Mapping

import numpy as np

from sensorium.api.blend import first_of, things_of
from sensorium.api.heads import Rows
from sensorium.data import Decoder
from sensorium.modalities import CARRIERS
from sensorium.tasks import Task
from sensorium.types import Modality

MOST = 10  # searches
ANSWERS = 4  # of each


def searches(
    task: Task,
    decoder: Decoder,
    vectors: Mapping[str, np.ndarray],
    rows: Rows,
    group: np.ndarray,
    same: Mapping[str, np.ndarray],
    *,
    seed: int = 0,
) -> list[dict[str, object]]:
    """Entries {query, answer, id, cell, rank, answers: [{id, score, right, cell}]} with small previews of every cell."""
    places = things_of(task, same, rows)
    kinds = {m.name: m for m in task.modalities}
    pairs = [(q, a) for q in task.match for a in task.match if q != a]
    rng = np.random.default_rng(seed)
    found: list[dict[str, object]] = []
    for query, answer in pairs[:MOST]:
        asked, held = first_of(places[query]), first_of(places[answer])
        asked = asked[np.isin(group[asked], group[held])]
        for row in rng.permutation(asked)[: max(1, MOST // len(pairs))]:
            score = vectors[answer][held] @ vectors[query][row]
            order = np.argsort(-score, kind="stable")
            right = group[held[order]] == group[row]
            answers = [{
                "id": decoder.table.ids[held[i]], "score": round(float(score[i]), 4), "right": bool(r),
                "cell": _preview(decoder, int(held[i]), kinds[answer]),
            } for i, r in zip(order[:ANSWERS], right, strict=False)]  # fmt: skip
            found.append({
                "query": query, "answer": answer, "id": decoder.table.ids[row], "cell": _preview(decoder, int(row), kinds[query]),
                "rank": int(np.argmax(right)) + 1, "answers": answers,
            })  # fmt: skip
    return found


def _preview(decoder: Decoder, row: int, modality: Modality) -> dict[str, object] | None:
    signal = decoder.of(row, modality)
    return None if signal is None else CARRIERS[modality.carrier].preview(signal)
