"""Edits between what was said and what should have been: word and character error rates with their parts."""

from collections.abc import Sequence

import numpy as np

from sensorium.measure.resample import Score, Statistics, scored, share
from sensorium.types import InputError

PARTS = ("substitutions", "insertions", "deletions")


def word_errors(said: Sequence[str], truth: Sequence[str], *, seed: int = 0) -> dict[str, Score]:
    """Word error rate of n texts against one reference each: edits over the words of all references.

    wer and its parts wer_substitutions, wer_insertions, wer_deletions (they add up to it; above 1 is possible), and
    wer_sentence, the share of texts with an edit. Words are what blanks part: give `measure.text.plain` texts where
    case and marks do not count. A reference may be empty: all that was said is inserted. Without a single word in any
    reference the rates are left out. Raises InputError where there are no rows or their numbers differ.
    """
    return _rates("wer", [s.split() for s in said], [t.split() for t in truth], seed)


def character_errors(said: Sequence[str], truth: Sequence[str], *, seed: int = 0) -> dict[str, Score]:
    """Character error rate: as `word_errors`, over characters (blanks count, those at the ends do not); cer, cer_*."""
    return _rates("cer", [s.strip() for s in said], [t.strip() for t in truth], seed)


def _rates(
    name: str, said: Sequence[Sequence[str]], truth: Sequence[Sequence[str]], seed: int
) -> dict[str, Score]:
    if not len(said) or len(said) != len(truth):
        raise InputError(
            "texts and references do not match up", got=(len(said), len(truth)), fix="one of each a row"
        )
    rows = [(*edits(s, t), len(t), s != t) for s, t in zip(said, truth, strict=True)]
    table = np.array(rows, np.float64)

    def measure(w: np.ndarray) -> Statistics:
        sums = w @ table
        length = np.where(sums[:, 3] > 0, sums[:, 3], np.nan)
        parts = {f"{name}_{part}": sums[:, i] / length for i, part in enumerate(PARTS)}
        return {name: sums[:, :3].sum(1) / length, **parts, f"{name}_sentence": sums[:, 4] / w.sum(1)}

    found = scored(measure, len(table), seed=seed)
    return found | {f"{name}_sentence": share(found[f"{name}_sentence"], len(table))}


def edits(said: Sequence[str], truth: Sequence[str]) -> tuple[int, int, int]:
    """Fewest (substitutions, insertions, deletions) that make `said` of `truth`, units being words or characters.

    Of the shortest ways one is taken, found backwards from the end between a common beginning and end: a deletion where
    it is among the shortest, else an insertion where that reaches a lower cost, else a match or substitution. This is
    the way that rapidfuzz, and so jiwer, takes.
    """
    said, truth = _without_common_ends(said, truth)
    if not said or not truth:
        return 0, len(said), len(truth)
    cost = _costs(said, truth)
    i, j = len(truth), len(said)
    wrong = added = lost = 0
    while i and j:
        if cost[i, j] == cost[i - 1, j] + 1:
            lost, i = lost + 1, i - 1
        elif cost[i, j - 1] < cost[i - 1, j - 1]:
            added, j = added + 1, j - 1
        else:
            wrong, i, j = wrong + (truth[i - 1] != said[j - 1]), i - 1, j - 1
    return wrong, added + j, lost + i


def _without_common_ends(said: Sequence[str], truth: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    shorter, first, last = min(len(said), len(truth)), 0, 0
    while first < shorter and said[first] == truth[first]:
        first += 1
    while last < shorter - first and said[-1 - last] == truth[-1 - last]:
        last += 1
    return said[first : len(said) - last], truth[first : len(truth) - last]


def _costs(said: Sequence[str], truth: Sequence[str]) -> np.ndarray:
    """Levenshtein's table, (truth + 1, said + 1): fewest edits between each pair of beginnings.

    Insertions run along a row, so a row is the running minimum of (cost - place) plus place.
    """
    place = np.arange(len(said) + 1)
    numbers = {unit: i for i, unit in enumerate(dict.fromkeys([*said, *truth]))}
    mine = np.array([numbers[u] for u in said])
    cost = np.empty((len(truth) + 1, len(said) + 1), np.int32)
    cost[0] = place
    for i, unit in enumerate(truth, start=1):
        above = cost[i - 1]
        row = above + 1
        row[1:] = np.minimum(row[1:], above[:-1] + (mine != numbers[unit]))
        cost[i] = np.minimum.accumulate(row - place) + place
    return cost
