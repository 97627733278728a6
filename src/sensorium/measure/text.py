"""How good is generated text? Figures against one or more references a row, with intervals over rows.

Every figure is made of sums over rows, so a bootstrap sample is a weighted sum and costs no second count of words.
What depends on all rows at once and is no sum stays as it is for the given rows: the inverse document frequencies of
CIDEr-D, the choice of the best reference of a row in chrF, and how often a sentence is said.
"""

import re
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np

from sensorium.measure.captions import cider_d, ngrams, rouge_l
from sensorium.measure.resample import Score, Statistics, scored, share
from sensorium.types import InputError

ORDERS = 4  # BLEU counts sequences of 1 to 4 words
CHARACTERS = 6  # chrF counts sequences of 1 to 6 characters
REPEATED = 3  # words of a sequence that a good sentence does not say twice

Tokenizer = Callable[[str], Sequence[str]]

_MARKS = re.compile(r"[^\w\s']|_")
_ENTITIES = {"&quot;": '"', "&amp;": "&", "&lt;": "<", "&gt;": ">"}
# The rules of mteval-v13a: marks stand alone; a point or comma does so unless digits surround it; so does a dash
# behind a digit.
_RULES_13A = (
    (re.compile(r"([{|}~\[\\\]^_`!\"#$%&()*+:;<=>?@/])"), r" \1 "),
    (re.compile(r"([^0-9])([.,])"), r"\1 \2 "),
    (re.compile(r"([.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)


def plain(text: str) -> str:
    """Lower case, no marks but the apostrophe, one space between words."""
    return " ".join(_MARKS.sub(" ", text.lower()).split())


def words(text: str) -> list[str]:
    """Cut the `plain` text into its words: what captions are compared by."""
    return plain(text).split()


def words_13a(text: str) -> list[str]:
    """Cut a text as mteval-v13a does, case kept and marks as words of their own: what translations are compared by."""
    text = text.replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for entity, mark in _ENTITIES.items():
        text = text.replace(entity, mark)
    text = f" {text.rstrip()} "
    for rule, put in _RULES_13A:
        text = rule.sub(put, text)
    return text.split()


def text_scores(
    said: Sequence[str], references: Sequence[Sequence[str]], *, cut: Tokenizer = words, seed: int = 0
) -> dict[str, Score]:
    """Score n generated texts against n lists of references; every figure of this file, by name.

    bleu1..bleu4 and chrf (0..100), rouge_l (0..1), cider_d (0..10), exact, distinct and repeated (0..1). `cut` makes
    words of a text for all figures but chrf and exact. Raises InputError where there are no rows, a row has no
    reference, or the lists differ in length.
    """
    check(said, references)
    tokens = [list(cut(s)) for s in said]
    targets = [[list(cut(r)) for r in row] for row in references]
    return {
        **bleu(said, references, cut=cut, seed=seed),
        "chrf": chrf(said, references, seed=seed),
        "rouge_l": rouge_l(tokens, targets, seed=seed),
        "cider_d": cider_d(tokens, targets, seed=seed),
        "exact": exact_match(said, references, seed=seed),
        "distinct": distinct(tokens, seed=seed),
        "repeated": repeated(tokens, seed=seed),
    }


def bleu(
    said: Sequence[str], references: Sequence[Sequence[str]], *, cut: Tokenizer = words_13a, seed: int = 0
) -> dict[str, Score]:
    """Corpus BLEU of sequences up to 1, 2, 3 and 4 words, 0..100: bleu1, bleu2, bleu3, bleu4.

    Papineni et al. 2002, with the closest reference length (the shorter of two) and, where an order has no match, half
    of the smallest possible count, halved again for each further such order: what sacrebleu does by default.
    """
    check(said, references)
    rows = [
        _bleu_row(list(cut(s)), [list(cut(r)) for r in many])
        for s, many in zip(said, references, strict=True)
    ]
    table = np.array(rows, np.float64)
    return scored(lambda w: _bleu(w @ table), len(table), seed=seed)


def _bleu_row(said: list[str], references: list[list[str]]) -> list[int]:
    """Matches per order, sequences per order, length, closest reference length."""
    matches, totals = [], []
    for n in range(1, ORDERS + 1):
        found, allowed = ngrams(said, n), Counter()
        for reference in references:
            allowed |= ngrams(reference, n)
        matches.append((found & allowed).total())
        totals.append(found.total())
    closest = min((len(r) for r in references), key=lambda size: (abs(size - len(said)), size))
    return [*matches, *totals, len(said), closest]


def _bleu(sums: np.ndarray) -> Statistics:
    match, total = sums[:, :ORDERS], sums[:, ORDERS : 2 * ORDERS]
    length, wanted = sums[:, -2], sums[:, -1]
    zeros = np.cumsum(match == 0, axis=1)
    precision = np.where(match > 0, match, 0.5**zeros) / np.where(total > 0, total, np.inf)
    brevity = np.exp(np.minimum(0.0, 1 - wanted / np.where(length > 0, length, np.nan)))
    some = (match[:, 0] > 0) & (length > 0)
    with np.errstate(divide="ignore"):
        logs = np.cumsum(np.log(precision), axis=1) / np.arange(1, ORDERS + 1)
    return {
        f"bleu{n}": np.where(some, 100 * brevity * np.exp(logs[:, n - 1]), 0.0) for n in range(1, ORDERS + 1)
    }


def chrf(
    said: Sequence[str], references: Sequence[Sequence[str]], *, seed: int = 0, beta: float = 2.0
) -> Score:
    """Character F-score of the corpus over sequences of 1 to 6 characters without spaces, 0..100 (Popović 2015).

    Each row counts by its best reference; orders that a text is too short for do not count. `beta` is the weight of
    recall against precision.
    """
    check(said, references)
    table = np.array([_chrf_row(s, many, beta) for s, many in zip(said, references, strict=True)], np.float64)
    return scored(lambda w: {"chrf": _chrf(w @ table, beta)}, len(table), seed=seed)["chrf"]


def _chrf_row(said: str, references: Sequence[str], beta: float) -> list[int]:
    """(said, wanted, matched) of each order, for the best reference."""
    mine = [ngrams("".join(said.split()), n) for n in range(1, CHARACTERS + 1)]
    options = []
    for reference in references:
        theirs = [ngrams("".join(reference.split()), n) for n in range(1, CHARACTERS + 1)]
        options.append(
            [
                c
                for a, b in zip(mine, theirs, strict=True)
                for c in (a.total() if b else 0, b.total(), (a & b).total())
            ]
        )
    best = int(np.argmax(_chrf(np.array(options, np.float64), beta)))
    return options[best]


def _chrf(sums: np.ndarray, beta: float) -> np.ndarray:
    """(samples, 3 x orders) sums -> (samples,) scores, 0..100."""
    made, wanted, match = sums[:, 0::3], sums[:, 1::3], sums[:, 2::3]
    counts = (made > 0) & (wanted > 0)
    orders = np.maximum(counts.sum(1), 1)
    precision = np.where(counts, match / np.maximum(made, 1), 0).sum(1) / orders
    recall = np.where(counts, match / np.maximum(wanted, 1), 0).sum(1) / orders
    return 100 * f_score(precision, recall, beta)


def f_score(precision: np.ndarray, recall: np.ndarray, beta: float = 1.0) -> np.ndarray:
    """Weighted harmonic mean of precision and recall, zero where both are zero; any shape."""
    below = beta**2 * precision + recall
    return (1 + beta**2) * precision * recall / np.where(below > 0, below, 1)


def exact_match(said: Sequence[str], references: Sequence[Sequence[str]], *, seed: int = 0) -> Score:
    """Share of rows whose `plain` text is that of one of their references."""
    check(said, references)
    hits = [plain(s) in {plain(r) for r in many} for s, many in zip(said, references, strict=True)]
    return share(_mean(np.array(hits, np.float64), seed), len(hits))


def distinct(said: Sequence[Sequence[str]], *, seed: int = 0) -> Score:
    """Number of different sentences (as words) over the number of rows: 1 / n where all rows say the same.

    A sentence that m rows say counts 1 / m in each of them; the interval takes these parts as given, because a
    bootstrap sample repeats rows and would call every text less varied than it is.
    """
    _some(said)
    often = Counter(map(tuple, said))
    return _mean(np.array([1 / often[tuple(s)] for s in said]), seed)


def repeated(said: Sequence[Sequence[str]], *, size: int = REPEATED, seed: int = 0) -> Score:
    """Share of the sequences of `size` words that their own sentence said before; 0 where no text is so long."""
    _some(said)
    counts = [ngrams(s, size) for s in said]
    table = np.array([[c.total() - len(c), c.total()] for c in counts], np.float64)
    return scored(lambda w: {"repeated": _ratio(w @ table)}, len(table), seed=seed)["repeated"]


def commonest(texts: Sequence[str]) -> str:
    """Give the text that stands there most often, the first of equals: a caption that has seen no picture."""
    _some(texts)
    return Counter(texts).most_common(1)[0][0]


def beside(
    answers: Mapping[str, Sequence[str]],
    references: Sequence[Sequence[str]],
    *,
    cut: Tokenizer = words,
    seed: int = 0,
) -> dict[str, dict[str, Score]]:
    """Score several answers to the same rows: figure -> who -> Score, in the order given.

    Meant for what gives a figure its meaning: a blind answer (`commonest` of the training captions in every row), and
    a round trip through a perfect middle (a text made from the truth by an independent judge).
    """
    scores = {who: text_scores(said, references, cut=cut, seed=seed) for who, said in answers.items()}
    if not scores:
        raise InputError("nobody answered", got=answers, fix="give at least one list of texts")
    return {
        figure: {who: found[figure] for who, found in scores.items()}
        for figure in next(iter(scores.values()))
    }


def printed(table: Mapping[str, Mapping[str, Score]]) -> str:
    """Write the figures of `beside` as lines of text: a row per figure, a column per answer, with intervals."""
    names = list(next(iter(table.values())))
    cells = [["", *names]]
    for figure, found in table.items():
        cells.append([figure, *(f"{s.value:.4g} ({s.low:.4g} to {s.high:.4g})" for s in found.values())])
    wide = [max(len(row[k]) for row in cells) for k in range(len(names) + 1)]
    padded = ("  ".join(c.ljust(w) for c, w in zip(row, wide, strict=True)).rstrip() for row in cells)
    return "\n".join(padded)


def against_rest(references: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """Take the first reference of each row as an answer to the others: how well people agree, a ceiling.

    Returns (n texts, n lists). Raises InputError where a row has fewer than two references.
    """
    few = [i for i, row in enumerate(references) if len(row) < 2]
    if few:
        raise InputError(
            "one reference cannot agree with itself", got=f"row {few[0]}", fix="give two or more"
        )
    return [row[0] for row in references], [list(row[1:]) for row in references]


def tuple_f1(
    said: Sequence[Sequence[Hashable]],
    truth: Sequence[Sequence[Hashable]],
    *,
    expected: Sequence[Sequence[Hashable]] | None = None,
    seed: int = 0,
) -> dict[str, Score]:
    """Compare n sets of facts: tuple_precision, tuple_recall and tuple_f1 over all facts, all_right (share of rows).

    A fact is any hashable, such as ("left of", "red circle", "blue star"). `truth`: what holds; `expected`: what
    should have been said, where that is less than all that holds. Precision counts facts said that hold, recall those
    expected that were said. A row is all right where it says what was expected and nothing that does not hold. In the
    manner of SPICE (arXiv:1607.08822 sec. 3.2), on facts that a grammar reads instead of a parser that may err.
    """
    expected = truth if expected is None else expected
    if not len(said) == len(truth) == len(expected):
        raise InputError("facts and truth differ in rows", got=(len(said), len(truth)), fix="one set a row")
    _some(said)
    sets = [(set(s), set(t), set(e)) for s, t, e in zip(said, truth, expected, strict=True)]
    rows = [[len(s & t), len(s), len(s & e), len(e), e <= s <= t | e] for s, t, e in sets]
    table = np.array(rows, np.float64)

    def measure(w: np.ndarray) -> Statistics:
        sums = w @ table
        precision, recall = _ratio(sums[:, :2]), _ratio(sums[:, 2:4])
        f1 = f_score(precision, recall)
        return {
            "tuple_precision": precision, "tuple_recall": recall, "tuple_f1": f1, "all_right": sums[:, 4] / w.sum(1)
        }  # fmt: skip

    found = scored(measure, len(table), seed=seed)
    return found | {"all_right": share(found["all_right"], len(table))}


def _ratio(pair: np.ndarray) -> np.ndarray:
    """(samples, 2) -> first over second, 0 where there is nothing."""
    return pair[:, 0] / np.maximum(pair[:, 1], 1)


def _mean(values: np.ndarray, seed: int) -> Score:
    return scored(lambda w: {"mean": w @ values / len(values)}, len(values), seed=seed)["mean"]


def _some(rows: Sequence[object]) -> None:
    if not len(rows):
        raise InputError("there is nothing to score", got="0 rows", fix="give at least one text")


def check(said: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    """Raise InputError unless there are rows, one list of references for each, and none of the lists is empty."""
    _some(said)
    if len(said) != len(references):
        raise InputError(
            "texts and references do not match up", got=(len(said), len(references)), fix="one list a text"
        )
    for row, many in enumerate(references):
        if isinstance(many, str) or not len(many):
            raise InputError(
                "a row needs a list of references",
                got=f"row {row}: {many!r}",
                fix="give [text, ...] for each row",
            )
