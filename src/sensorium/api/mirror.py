"""Whether left and right mean anything in a column of pictures: tried on held-out rows, and told.

Mirrored pictures are worth as much as more rows, but digits, words and hands do not bear it (visual chirality,
arXiv:2003.14209). Linear correlations that never saw a mirrored picture are asked for held-out pictures as they are and mirrored:
where they find what belongs to them as well, exchanging left and right takes nothing away that they can see. They cannot
see everything ("the circle left of the square"), so nothing is mirrored unless `mirror=yes` is said.
"""

from collections.abc import Mapping

import numpy as np

from sensorium.api.blend import Blend, Facts, first_of, things_of
from sensorium.api.heads import Rows
from sensorium.measure.retrieval import best_ranks
from sensorium.tasks import Task

SURE = 2.0  # standard errors by which a loss must be excluded
SMALL = 0.1  # share of what the pictures tell (in log rank, beside chance) that may be lost
FEW = 50  # pictures below which nothing can be said


def mirror_remarks(task: Task, blend: Blend, facts: Facts) -> list[str]:
    """A line for each column of pictures that training may well mirror."""
    return [
        f"{m.name}: left and right seem to mean nothing in these pictures; if they do not, --column {m.column}=image:mirror=yes "
        "trains on mirrored ones, too"
        for m in task.modalities
        if m.carrier == "image"
        and not m.options.get("mirror")
        and m.name in blend.views
        and harmless(m.name, task, blend, facts)
    ]


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
