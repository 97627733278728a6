"""Classes by their names, and by a few labelled rows: what a matcher answers without having been trained for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sensorium.colearning import TEMPLATES, Probe, few_shot, one_modality, prompts, zero_shot_probe
from sensorium.tasks import Task, blank, label
from sensorium.types import InputError, Modality

SCALE = 20.0  # what cosines are multiplied with: blended ones have no temperature that was trained


@dataclass(frozen=True, kw_only=True, slots=True)
class Named:
    """A classifier for each modality that is not the one the names are written in; those of a row answer together."""

    names: tuple[str, ...]
    probes: Mapping[str, Probe] = field(default_factory=dict)  # modality -> classifier

    def answer(self, vectors: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """(n, classes) probabilities, and (n,) which rows have anything to answer from.

        A product over modalities: an absent one drops out.
        """
        rows = len(next(iter(vectors.values())))
        total, here = np.zeros((rows, len(self.names))), np.zeros(rows, bool)
        for name, probe in self.probes.items():
            some = vectors[name].any(1)
            total[some] += probe.answer(vectors[name][some])
            here |= some
        total -= total.max(1, keepdims=True)
        said = np.exp(total)
        return said / said.sum(1, keepdims=True), here


def spoken(task: Task) -> bool:
    """Whether a matched modality holds words, so that classes can be told by their names."""
    return any(m.name in task.match and m.carrier == "text" for m in task.modalities)


def worded(task: Task) -> Modality:
    """The matched modality that names are written in: the first text. Raises InputError where there is none."""
    for m in task.modalities:
        if m.name in task.match and m.carrier == "text":
            return m
    raise InputError(
        "no matched column holds words, so a class cannot be told by its name",
        got=list(task.match),
        fix="match a column of texts, or give labelled rows as --shots",
    )


def sentences(
    task: Task, names: Sequence[str], templates: Sequence[str] | None
) -> dict[str, list[list[str]]]:
    """What to encode for each modality that is asked about: classes x templates. Raises InputError."""
    words = worded(task).name
    return {
        m.name: prompts(names, templates or TEMPLATES[m.carrier])
        for m in task.modalities
        if m.name in task.match and m.name != words
    }


def by_names(names: Sequence[str], texts: Mapping[str, np.ndarray]) -> Named:
    """Zero-shot: texts: modality -> (classes, templates, d) vectors of its sentences."""
    return Named(names=tuple(names), probes={m: zero_shot_probe(t, scale=SCALE) for m, t in texts.items()})


def by_shots(
    names: Sequence[str],
    texts: Mapping[str, np.ndarray],
    vectors: Mapping[str, np.ndarray],
    labels: np.ndarray,
) -> Named:
    """Few-shot: the names, and labelled rows of each modality beside them; labels: (n,) class numbers, -1 for none.

    texts: modality -> (classes, templates, d); {} where no matched column holds words: then every modality is asked about.
    A modality of which no labelled row holds anything is answered by the names alone. Where the matched texts know no
    word of some name (classes such as `k17`), or there are none, the rows answer alone. Raises InputError where neither
    is there, and for fewer than two classes.
    """
    if len(names) < 2:
        raise InputError(
            "one class leaves nothing to tell apart", got=list(names), fix="label rows of two classes or more"
        )
    probes = {}
    for m in texts or vectors:
        if m in texts and texts[m].any((1, 2)).all():
            probes[m] = few_shot(vectors[m], labels, texts[m])
        elif vectors[m][labels >= 0].any():
            probes[m] = one_modality(vectors[m], labels, classes=len(names))
    if not probes:
        raise InputError(
            "no labelled row holds anything, and the names say nothing",
            got=f"{len(labels)} rows",
            fix="give labelled rows that fill the matched columns",
        )
    return Named(names=tuple(names), probes=probes)


def numbered(cells: Sequence[object], names: Sequence[str]) -> np.ndarray:
    """Class numbers of cells, (n,), -1 for an empty one. Raises InputError for a class that is not among the names."""
    known = {n: i for i, n in enumerate(names)}
    said = [None if blank(c) else label(c) for c in cells]
    odd = next((s for s in said if s is not None and s not in known), None)
    if odd is not None:
        raise InputError(
            "a labelled row has a class that is not asked for", got=odd, fix=f"among {', '.join(names)}"
        )
    return np.array([-1 if s is None else known[s] for s in said])
