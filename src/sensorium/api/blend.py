"""The vectors of a matcher: those of the network beside those of linear correlations, weighed on validation rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from sensorium.api.heads import Rows
from sensorium.measure.cca import Correlations, choose_cca
from sensorium.measure.retrieval import best_ranks
from sensorium.measure.views import (
    Pictures,
    View,
    Words,
    fit_numbers,
    fit_pictures,
    fit_words,
    unpacked,
)
from sensorium.tasks import Task
from sensorium.types import InputError, Modality

SHARES = tuple(np.linspace(0, 1, 21).tolist())  # of the network, tried on validation rows
TIED = 1e-9  # a difference of mean log ranks that is rounding
ENOUGH = 16  # groups below which correlations of anything are noise
Vectors = Mapping[str, np.ndarray]


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """How the rows of one modality become features of linear correlations."""

    modality: Modality
    view: View

    def features(self, rows: Rows) -> np.ndarray:
        """Features of rows that all have the modality, (n, d)."""
        name = self.modality.name
        if isinstance(self.view, Words):
            return self.view.features([str(t) for t in rows.texts[name]])
        patches = [r[name] for r in rows.patches]
        if isinstance(self.view, Pictures):
            return self.view.features(patches)
        return self.view.features(np.stack([self.modality.statistics(p) for p in patches]))


def seen(modality: Modality, rows: Rows, seed: int) -> tuple[Seen, np.ndarray]:
    """Learn the features of one modality from training rows that all have it; returns those of the rows as well.

    Pictures by a dictionary of patches, texts by words, all else, and pictures of several shapes, by statistics. Raises
    InputError where nothing in them varies.
    """
    name = modality.name
    patches = [r[name] for r in rows.patches]
    view: View
    if modality.carrier == "text":
        view, found = fit_words([str(t) for t in rows.texts[name]])
    elif modality.carrier == "image":
        view, found = fit_pictures(patches, seed=seed)
    else:
        view, found = fit_numbers(np.stack([modality.statistics(p) for p in patches]))
    return Seen(modality=modality, view=view), found


@dataclass(frozen=True, kw_only=True, slots=True)
class Blend:
    """Two kinds of vectors side by side: the dot product of two rows is the weighed sum of the two similarities."""

    share: float = 1.0  # of the network in the similarity, 0..1
    views: Mapping[str, Seen] = field(default_factory=dict)  # modality -> how its rows become features
    space: Correlations | None = None

    def linear(self, rows: Rows) -> dict[str, np.ndarray]:
        """Vectors of linear correlations: modality -> (n, k), zeros in rows without. Nothing where none were fitted."""
        if self.space is None:
            return {}
        found = {}
        for name, view in self.views.items():
            here = np.array([name in r for r in rows.patches], bool)
            width = self.space.projections[name].basis.shape[1]
            found[name] = np.zeros((len(here), width), np.float32)
            if here.any():
                there = np.flatnonzero(here)
                first, again = alike(name, rows, there)
                some = rows.take(there[first].tolist())
                found[name][here] = self.space.vectors(name, view.features(some))[again]
        return found

    def vectors(self, own: Vectors, rows: Rows) -> dict[str, np.ndarray]:
        """The network's vectors and those of correlations as one: modality -> (n, d) of unit length where there is one."""
        return blended(own, self.linear(rows) if self.share < 1 else {}, self.share)

    def packed(self) -> tuple[dict[str, object], dict[str, np.ndarray]]:
        """As JSON and arrays, for saving."""
        if self.space is None:
            return {"share": self.share, "views": []}, {}
        told, arrays = self.space.packed()
        found = {f"space/{k}": v for k, v in arrays.items()}
        views = []
        for number, (name, one) in enumerate(self.views.items()):
            said, held = one.view.packed()
            views.append({"name": name, **said})
            found |= {f"{number}/{k}": v for k, v in held.items()}
        return {"share": self.share, "views": views, "space": told}, found

    @classmethod
    def unpacked(cls, told: Mapping, arrays: Vectors, task: Task) -> "Blend":
        """What `packed` described, for the modalities of a task."""
        known = {m.name: m for m in task.modalities}
        views = {
            str(said["name"]): Seen(
                modality=known[said["name"]], view=unpacked(said, _under(arrays, f"{number}/"))
            )
            for number, said in enumerate(told["views"])
        }
        space = Correlations.unpacked(told["space"], _under(arrays, "space/"))
        return cls(share=float(told["share"]), views=views, space=space)


def _under(arrays: Vectors, start: str) -> dict[str, np.ndarray]:
    return {k.removeprefix(start): v for k, v in arrays.items() if k.startswith(start)}


def alike(name: str, rows: Rows, there: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which of the rows `there` hold an array for the first time, and for each row the place of its own among them.

    A picture that stands beside five captions is one array in five rows, and its features are computed once.
    """
    keys = np.array([id(rows.patches[i][name]) for i in there])
    _, first, again = np.unique(keys, return_index=True, return_inverse=True)
    return first, again.ravel()


def blended(own: Vectors, linear: Vectors, share: float) -> dict[str, np.ndarray]:
    """Side by side, each times the root of its share: (n, d + k). A modality without linear vectors has zeros there."""
    found = {}
    wide = next((v.shape[1] for v in linear.values()), 0)
    for name, mine in own.items():
        if not wide or share >= 1:
            found[name] = np.asarray(mine, np.float32)
            continue
        other = linear.get(name, np.zeros((len(mine), wide), np.float32))
        both = [np.sqrt(share) * mine, np.sqrt(1 - share) * other]
        found[name] = np.concatenate(both, 1).astype(np.float32) if share > 0 else other
    return found


def things_of(task: Task, same: Mapping[str, np.ndarray], rows: Rows) -> dict[str, np.ndarray]:
    """Modality -> (n,) which of its different things a row has, numbered from 0 by first appearance; -1 for none."""
    found = {}
    for m in task.modalities:
        here = np.array([m.name in r for r in rows.patches], bool)
        numbers = (
            np.where(here, same[m.column], -1)
            if m.column in same
            else np.where(here, np.arange(len(here)), -1)
        )
        kept, places = np.unique(numbers, return_inverse=True)
        found[m.name] = places.ravel() - int(len(kept) > 0 and kept[0] < 0)
    return found


def fit_blend(
    task: Task, rows: Rows, group: np.ndarray, same: Mapping[str, np.ndarray], *, seed: int
) -> Blend:
    """Features of every matched modality and the linear correlations between them, learned from training rows.

    Nothing where too few rows hold two of them: then the network stands alone.
    """
    meets = [sum(n in r for n in task.match) > 1 for r in rows.patches]
    if len(np.unique(group[np.array(meets)])) < ENOUGH:
        return Blend()
    places = things_of(task, same, rows)
    views: dict[str, Seen] = {}
    vectors: dict[str, np.ndarray] = {}
    for m in task.modalities:
        if not _meets(m.name, places):
            continue
        _, first = np.unique(places[m.name], return_index=True)
        some = rows.take([int(i) for i in first if places[m.name][i] >= 0])
        try:
            views[m.name], vectors[m.name] = seen(m, some, seed)
        except InputError:  # nothing varies that a linear method could use
            continue
    if len(vectors) < 2:
        return Blend()
    space = choose_cca(vectors, {n: places[n] for n in vectors}, group=group, seed=seed)
    return Blend(share=1.0, views=views, space=space)


def _meets(name: str, places: Mapping[str, np.ndarray]) -> bool:
    """Whether a modality stands beside another one in some row."""
    return any(((places[name] >= 0) & (p >= 0)).any() for n, p in places.items() if n != name)


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What validation rows hold, to weigh by."""

    rows: Rows
    group: np.ndarray  # (n,)
    same: Mapping[str, np.ndarray]


def weigh(blend: Blend, own: Vectors, facts: Facts, task: Task) -> Blend:
    """Choose how much the network says: the share with the lowest mean logarithm of the ranks of right answers.

    Of several that are equally good the middle one, which has most room on either side.
    """
    if blend.space is None:
        return blend
    linear = blend.linear(facts.rows)
    places = things_of(task, facts.same, facts.rows)
    costs = [_cost(blended(own, linear, share), places, facts.group, task.match) for share in SHARES]
    best = np.flatnonzero(np.array(costs) <= min(costs) + TIED)
    return replace(blend, share=float(SHARES[int(best[len(best) // 2])]))


def _cost(vectors: Vectors, places: Vectors, group: np.ndarray, names: Sequence[str]) -> float:
    """Mean logarithm of the rank of the first right answer, over all directions."""
    costs = []
    for query in names:
        for answer in names:
            asked, held = (first_of(places[n]) for n in (query, answer))
            asked = asked[np.isin(group[asked], group[held])]
            if query != answer and len(asked):
                ranks = best_ranks(vectors[query][asked], vectors[answer][held], group[asked], group[held])
                costs.append(float(np.log(ranks).mean()))
    return float(np.mean(costs)) if costs else 0.0


def first_of(places: np.ndarray) -> np.ndarray:
    """Rows in which a thing stands for the first time, (m,) in order; places: (n,) number of its thing, -1 for none."""
    found, first = np.unique(places, return_index=True)
    return np.sort(first[found >= 0])
