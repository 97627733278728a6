"""Captions as lists of words: the longest common subsequence (ROUGE-L), and consensus (CIDEr-D)."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import exp, log

import numpy as np

from sensorium.measure.resample import Score, scored
from sensorium.types import InputError

BETA = 1.2  # weight of recall in ROUGE-L, as the COCO caption server has it
SIGMA = 6.0  # words: a caption that much longer or shorter keeps exp(-1/2) of its CIDEr-D
ORDERS = 4  # CIDEr-D counts sequences of 1 to 4 words
SCALE = 10.0  # CIDEr-D of a caption that is its only reference

Words = Sequence[str]
Gram = tuple[str, ...]


def ngrams(units: Sequence[str], n: int) -> Counter[Gram]:
    """Count the sequences of n units: words of a list, characters of a string."""
    return Counter(tuple(units[i : i + n]) for i in range(len(units) - n + 1))


def rouge_l(said: Sequence[Words], references: Sequence[Sequence[Words]], *, seed: int = 0) -> Score:
    """Mean ROUGE-L of n captions, 0..1: F of precision and recall of the longest common subsequence (Lin 2004).

    Both are the best over a caption's references, each by itself, with beta 1.2: what the COCO caption server does.
    """
    _same(said, references)
    values = np.array([_rouge_row(s, many) for s, many in zip(said, references, strict=True)])
    return scored(lambda w: {"rouge_l": w @ values / len(values)}, len(values), seed=seed)["rouge_l"]


def _rouge_row(said: Words, references: Sequence[Words]) -> float:
    if not said:
        return 0.0
    common = [_longest_common(said, r) for r in references]
    precision = max(common) / len(said)
    recall = max(c / max(len(r), 1) for c, r in zip(common, references, strict=True))
    below = recall + BETA**2 * precision
    return (1 + BETA**2) * precision * recall / below if below else 0.0


def _longest_common(a: Words, b: Words) -> int:
    """Length of the longest common subsequence: one row of the table, held as the bits of one number.

    A bit that is set says that the row does not rise there; adding carries each match to the next rise.
    """
    places: dict[str, int] = {}
    for i, word in enumerate(b):
        places[word] = places.get(word, 0) | 1 << i
    full = (1 << len(b)) - 1
    flat = full
    for word in a:
        hit = flat & places.get(word, 0)
        flat = ((flat + hit) | (flat - hit)) & full
    return len(b) - flat.bit_count()


def document_frequency(references: Sequence[Sequence[Words]]) -> Counter[Gram]:
    """In how many rows does a sequence of 1 to 4 words stand, in any reference of the row?"""
    seen: Counter[Gram] = Counter()
    for many in references:
        seen.update({gram for r in many for n in range(1, ORDERS + 1) for gram in ngrams(r, n)})
    return seen


def cider_d(
    said: Sequence[Words],
    references: Sequence[Sequence[Words]],
    *,
    corpus: Sequence[Sequence[Words]] | None = None,
    seed: int = 0,
) -> Score:
    """Mean CIDEr-D of n captions, 0..10: likeness of tf-idf vectors of 1 to 4 words (arXiv:1411.5726 sec. 3 and 8).

    Counts of the caption are clipped to those of the reference, and each reference weighs exp(-d^2 / (2 sigma^2)) for
    a difference of d words; counts are not divided by the caption's length, as in the published program. `corpus`: the
    references that tell how rare a sequence is; by default those given. With one row all are equally common, and the
    figure is 0.
    """
    _same(said, references)
    corpus = references if corpus is None else corpus
    often, rows = document_frequency(corpus), log(max(len(corpus), 1))
    values = np.array(
        [_cider_row(s, many, often, rows) for s, many in zip(said, references, strict=True)], np.float64
    )
    return scored(lambda w: {"cider_d": w @ values / len(values)}, len(values), seed=seed)["cider_d"]


def _cider_row(said: Words, references: Sequence[Words], often: Mapping[Gram, int], rows: float) -> float:
    mine = _weighed(said, often, rows)
    total = 0.0
    for reference in references:
        theirs = _weighed(reference, often, rows)
        like = sum(_clipped_cosine(a, b) for a, b in zip(mine, theirs, strict=True)) / ORDERS
        total += like * exp(-((len(said) - len(reference)) ** 2) / (2 * SIGMA**2))
    return SCALE * total / len(references)


def _weighed(text: Words, often: Mapping[Gram, int], rows: float) -> list[dict[Gram, float]]:
    """tf-idf of each order; a sequence that the corpus never held counts as if one row held it."""
    return [
        {gram: count * (rows - log(max(often.get(gram, 0), 1))) for gram, count in ngrams(text, n).items()}
        for n in range(1, ORDERS + 1)
    ]


def _clipped_cosine(a: Mapping[Gram, float], b: Mapping[Gram, float]) -> float:
    lengths = sum(v * v for v in a.values()) ** 0.5 * sum(v * v for v in b.values()) ** 0.5
    dot = sum(min(v, b[gram]) * b[gram] for gram, v in a.items() if gram in b)
    return dot / lengths if lengths else 0.0


def _same(said: Sequence[Words], references: Sequence[Sequence[Words]]) -> None:
    if not len(said) or len(said) != len(references):
        raise InputError(
            "captions and references do not match up",
            got=(len(said), len(references)),
            fix="one list a caption",
        )
    if any(not len(many) for many in references):
        raise InputError("a caption has no reference", got="an empty list", fix="give at least one for each")
