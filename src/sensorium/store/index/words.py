"""Full-text search: an inverted index per segment, and BM25 over all of them (Robertson and Zaragoza 2009, section 3)."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

K1, B = 1.2, 0.75  # how soon a repeated word stops to count; how much long texts are held back
ALONE = (
    "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"  # kana and Han: no spaces between words, so each sign is a term
)
TERM = re.compile(f"[{ALONE}]|(?:(?![{ALONE}_])\\w)+")


def terms(text: str) -> list[str]:
    """The words of a text: without case, compatibility forms made one (NFKC); no stemming."""
    return TERM.findall(unicodedata.normalize("NFKC", text).casefold())


@dataclass(frozen=True, kw_only=True, eq=False)
class Postings:
    """Which rows of a segment hold which words."""

    table: Any  # pyarrow: term, rows (list of int32, ascending), counts (list of int32)
    lengths: np.ndarray  # (rows,) int32: words per row

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Term -> its place in the table."""
        return {term: i for i, term in enumerate(self.table.column("term").to_pylist())}

    def of(self, term: str) -> tuple[np.ndarray, np.ndarray]:
        """Rows that hold a term, and how often, (p,) each; empty where none does."""
        at = self.numbers.get(term)
        if at is None:
            return np.zeros(0, np.int32), np.zeros(0, np.int32)
        row = self.table.slice(at, 1)
        return tuple(row.column(c).combine_chunks().flatten().to_numpy() for c in ("rows", "counts"))


def postings(texts: Sequence[str]) -> Postings:
    """The inverted index of rows, one text each."""
    import pyarrow as pa

    rows, counts = defaultdict(list), defaultdict(list)
    lengths = np.zeros(len(texts), np.int32)
    for number, text in enumerate(texts):
        found = Counter(terms(text)) if text else {}
        lengths[number] = sum(found.values())
        for term, count in found.items():
            rows[term].append(number)
            counts[term].append(count)
    order = sorted(rows)
    lists = pa.large_list(pa.int32())
    table = pa.table(
        {
            "term": pa.array(order, pa.large_string()),
            "rows": pa.array([rows[t] for t in order], lists),
            "counts": pa.array([counts[t] for t in order], lists),
        }
    )
    return Postings(table=table, lengths=lengths)


def bm25(segments: Sequence[tuple[int, Postings]], query: str, alive: np.ndarray) -> np.ndarray:
    """(n,) float32: the BM25 score of every row for the words of a query; 0 where a row holds none of them.

    segments: (number of the first row, postings); alive: (n,) bool, rows that count. The weight of a word is
    ln(1 + (N - df + 0.5) / (df + 0.5)), never negative.
    """
    lengths = np.zeros(len(alive), np.float32)
    for first, held in segments:
        lengths[first : first + len(held.lengths)] = held.lengths
    documents = int((alive & (lengths > 0)).sum())
    scores = np.zeros(len(alive), np.float32)
    if not documents:
        return scores
    norms = K1 * (1 - B + B * lengths / lengths[alive].sum() * documents)
    for term, times in Counter(terms(query)).items():
        rows, counts = _everywhere(segments, term)
        living = alive[rows]
        rows, counts = rows[living], counts[living]
        weight = times * np.log1p((documents - len(rows) + 0.5) / (len(rows) + 0.5))
        scores[rows] += weight * counts * (K1 + 1) / (counts + norms[rows])
    return scores


def _everywhere(segments: Sequence[tuple[int, Postings]], term: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows of all segments that hold a term, and how often."""
    found = [(first, *held.of(term)) for first, held in segments]
    rows = np.concatenate([first + rows.astype(np.int64) for first, rows, _ in found])
    return rows, np.concatenate([counts for _, _, counts in found])
