"""Zero-shot: classes by their names alone, in a space that text shares (arXiv:2103.00020, sec. 3.1)."""

from collections.abc import Callable, Sequence

import numpy as np

from sensorium.colearning.probes import Probe, checked, units
from sensorium.types import InputError

# Sentences that a name stands in, by what is asked about. A text encoder has learned from sentences about things, seldom
# from bare words, and several sentences average out how a thing was put (80 of them: +3.5 points, arXiv:2103.00020,
# sec. 3.1.4). They are plain and few: a small encoder knows few words, and any word it never met is noise. The bare
# name is always among them, for tables whose texts are single words.
TEMPLATES: dict[str, tuple[str, ...]] = {
    "image": ("{}", "a photo of {}", "a picture of {}", "a close photo of {}", "there is {}"),
    "video": ("{}", "a video of {}", "somebody is doing {}", "a clip that shows {}", "there is {}"),
    "audio": ("{}", "the sound of {}", "a recording of {}", "somebody says {}", "one can hear {}"),
    "series": ("{}", "a recording of {}", "a signal of {}", "measured during {}"),
    "points": ("{}", "a scan of {}", "the shape of {}", "there is {}"),
    "text": ("{}", "this is about {}", "a text about {}", "the topic is {}"),
    "table": ("{}", "this is {}", "a case of {}"),
}


def prompts(names: Sequence[str], templates: Sequence[str | Callable[[str], str]]) -> list[list[str]]:
    """What to encode: for each class its sentences, classes x templates.

    A template is a format string with one or more `{}` for the name, or a function of the name. Raises InputError for fewer
    than two names, names that are blank or repeated, no template, and a template that does not hold the name.
    """
    said = [n.strip() for n in names]
    if len(set(said)) < max(2, len(said)) or not all(said):
        raise InputError(
            "classes are told apart by their names", got=list(names), fix="give two names or more, each once"
        )
    if not templates:
        raise InputError("there is no template", got=list(templates), fix='give one: "a photo of {}"')
    return [[_filled(t, n) for t in templates] for n in said]


def _filled(template: str | Callable[[str], str], name: str) -> str:
    if callable(template):
        return template(name)
    if "{}" not in template:
        raise InputError(
            "a template has no place for the name",
            got=template,
            fix='write {} where it goes: "a photo of {}"',
        )
    return template.replace("{}", name)  # other braces stay as they are written


def class_vectors(texts: np.ndarray) -> np.ndarray:
    """One vector of unit length for each class, (classes, d): normalise(mean over templates of normalise(text)).

    texts: (classes, templates, d) vectors of the prompts; a prompt of zeros could not be encoded and does not count.
    Raises InputError where a class has no vector.
    """
    x = np.asarray(texts, np.float64)
    if x.ndim != 3:
        raise InputError("texts are classes x templates x numbers", got=x.shape, fix="encode `prompts`")
    flat = units(checked(x.reshape(-1, x.shape[2])))
    found = flat.reshape(x.shape).sum(1)
    blank = np.flatnonzero(np.linalg.norm(found, axis=1) < 1e-9)
    if len(blank):
        raise InputError(
            "the text encoder knows no word of a class",
            got=f"class number {blank[0]}",
            fix="give it another name",
        )
    return units(found)


def zero_shot_probe(texts: np.ndarray, *, scale: float) -> Probe:
    """The classifier that names alone make: logits are scale times the cosine to each class's text.

    texts: as for `class_vectors`; scale: that of the space, above zero (CLIP's is 100). Raises InputError.
    """
    if not scale > 0:
        raise InputError("the scale must be above zero", got=scale, fix="give that of the trained space")
    weights = scale * class_vectors(texts)
    return Probe(weights=weights, centre=np.zeros(weights.shape[1]), start=np.zeros(len(weights)))


def zero_shot(vectors: np.ndarray, texts: np.ndarray, *, scale: float) -> np.ndarray:
    """Log-probabilities (n, classes) of vectors (n, d) of the shared space, from names alone.

    Vectors need not be of unit length; a row of zeros gets equal probabilities. Raises InputError.
    """
    return zero_shot_probe(texts, scale=scale).answer(units(checked(vectors)))
