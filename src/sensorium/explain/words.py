"""Attributions of tokens -> attributions of the words of a text as it was written."""

import re

import numpy as np

from sensorium.types import Modality

FIRST = 2  # the id of a vocabulary's first token; below it are padding and the unknown
MOST = 1000  # words that are listed
_LONE = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"  # scripts without blanks: each character by itself
_WORD = re.compile(rf"[{_LONE}]|[^\W{_LONE}]+(?:['\u2019][^\W{_LONE}]+)*|[^\w\s]+")
Span = tuple[int, int]


def words(part: np.ndarray, modality: Modality, ids: np.ndarray, text: str | None) -> list[dict[str, object]]:
    """Words with their value, in order: `text`, `start` and `stop` in characters of the text as written, `value`.

    part: (tokens,) attributions; ids: (tokens,) the patches. Without the text, or with one that gives other tokens,
    tokens stand for words and have no place. Blanks belong to the word behind them. Words behind the last token
    that the encoder reads are left out; of more than `MOST` the largest are listed.
    """
    json, case = str(modality.options.get("tokenizer", "")), bool(modality.options.get("case", False))
    spans = None if text is None else spans_of(text, json, ids, case=case)
    if text is None or spans is None:
        found = [{"text": t, "value": float(v)} for t, v in zip(_tokens(json, ids), part, strict=True)]
    else:
        found = _joined(text, _per_character(text, spans, part), stop=max(s[1] for s in spans))
    if len(found) > MOST:
        sizes = np.array([-abs(float(w["value"])) for w in found])  # type: ignore[arg-type]
        found = [found[i] for i in np.sort(np.argsort(sizes, kind="stable")[:MOST])]
    return found


def spans_of(text: str, json: str, ids: np.ndarray, *, case: bool) -> list[Span] | None:
    """Characters (start, stop) of `text` that each of the tokens `ids` covers; None where it gives other tokens."""
    read = text if case else text.lower()
    # Lower case may be longer than what was written.
    owner = list(range(len(text))) if case else [i for i, c in enumerate(text) for _ in c.lower()]
    if len(owner) != len(read):
        return None
    if json:
        from tokenizers import Tokenizer

        made = Tokenizer.from_str(json).encode(read)
        spans, numbers = made.offsets, np.array(made.ids) + FIRST
    else:
        spans = [(i, i + 1) for i, c in enumerate(read) for _ in c.encode("utf-8")]
        numbers = np.frombuffer(read.encode("utf-8"), np.uint8).astype(int) + FIRST
    known = ids >= FIRST
    if not len(ids) or len(ids) > len(numbers) or (numbers[: len(ids)] != ids)[known].any():
        return None
    return [(owner[a], owner[b - 1] + 1) if b > a else (0, 0) for a, b in spans[: len(ids)]]


def _per_character(text: str, spans: list[Span], part: np.ndarray) -> np.ndarray:
    """Spread each token's value over its characters, blanks left out where it has others."""
    found = np.zeros(len(text))
    for (start, stop), value in zip(spans, part, strict=True):
        here = list(range(start, max(stop, start + 1)))
        solid = [i for i in here if not text[i].isspace()] or here
        found[solid] += value / len(solid)
    return found


def _joined(text: str, values: np.ndarray, *, stop: int) -> list[dict[str, object]]:
    """Sum characters to words up to `stop`; what lies between two words goes to the second, the end to the last."""
    found: list[dict[str, object]] = []
    matches = [m for m in _WORD.finditer(text) if m.start() < stop]
    before = 0
    for i, match in enumerate(matches):
        end = len(text) if i + 1 == len(matches) else match.end()
        value = float(values[before:end].sum())
        found.append({"text": match.group(), "start": match.start(), "stop": match.end(), "value": value})
        before = match.end()
    return found or [{"text": text, "start": 0, "stop": len(text), "value": float(values.sum())}]


def _tokens(json: str, ids: np.ndarray) -> list[str]:
    """What each token reads as; the unknown as a question mark."""
    if not json:
        return [
            bytes([i - FIRST]).decode("latin-1") if FIRST <= i < FIRST + 256 else "?" for i in ids.tolist()
        ]
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(json)
    return [tokenizer.decode([i - FIRST]) if i >= FIRST else "?" for i in ids.tolist()]
