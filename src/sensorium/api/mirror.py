"""Whether left and right mean anything in a column of pictures: tried on held-out rows, not assumed.

Mirrored pictures are worth as much as twice the rows, but digits, words and hands do not bear it (visual chirality,
arXiv:2003.14209). Linear correlations that never saw a mirrored picture are asked for held-out pictures as they are and mirrored:
where they find what belongs to them as well, exchanging left and right takes nothing away.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from sensorium.api.blend import Blend, Facts, first_of, things_of
from sensorium.api.heads import Rows
from sensorium.measure.retrieval import best_ranks
from sensorium.modalities import CARRIERS
from sensorium.tasks import Task

SURE = 2.0  # standard errors by which a loss must be excluded
SMALL = 0.1  # share of what the pictures tell (in log rank, beside chance) that may be lost
FEW = 50  # pictures below which nothing can be said


def mirrored(task: Task, blend: Blend, facts: Facts) -> tuple[Task, list[str]]:
    """The task, with pictures that training may mirror where that was found to be harmless, and remarks."""
    found, remarks = [], []
    for m in task.modalities:
        fit = m.carrier == "image" and "mirror" in m.options and m.name in blend.views
        if fit and not m.options["mirror"] and harmless(m.name, task, blend, facts):
            options = {**m.options, "mirror": True}
            m = CARRIERS["image"].define(m.name, m.column, **options)
            remarks.append(
                f"{m.name}: left and right mean nothing in these pictures, so training mirrors half of them"
            )
        found.append(m)
    return replace(task, modalities=tuple(found)), remarks


def harmless(name: str, task: Task, blend: Blend, facts: Facts) -> bool:
    """Whether held-out pictures find what belongs to them as well when they are mirrored."""
    places = things_of(task, facts.same, facts.rows)
    vectors = blend.linear(facts.rows)
    turned = blend.linear(_turned(name, facts.rows))
    asked = first_of(places[name])
    lost, told = [], []
    for answer in task.match:
        if answer == name or answer not in vectors:
            continue
        held = first_of(places[answer])
        some = asked[np.isin(facts.group[asked], facts.group[held])]
        if len(some) < FEW:
            continue
        ranks = [
            np.log(best_ranks(v[name][some], vectors[answer][held], facts.group[some], facts.group[held]))
            for v in (vectors, turned)
        ]
        lost.append(ranks[1] - ranks[0])
        told.append(np.log(len(held) / 2) - ranks[0])
    if not lost:
        return False
    loss, gain = np.concatenate(lost), np.concatenate(told)
    bound = loss.mean() + SURE * loss.std() / len(loss) ** 0.5
    return bool(gain.mean() > SURE * gain.std() / len(gain) ** 0.5 and bound < SMALL * gain.mean())


def _turned(name: str, rows: Rows) -> Rows:
    """The rows with their pictures mirrored."""
    made: dict[int, np.ndarray] = {}

    def turn(row: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        if name not in row:
            return dict(row)
        key = id(row[name])
        if key not in made:
            made[key] = np.ascontiguousarray(row[name][:, ::-1])
        return {**row, name: made[key]}

    return Rows(patches=[turn(r) for r in rows.patches], texts=rows.texts)
