"""When each word of a row was said, learned from the rows of its table that have both a text and a sound."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sensorium.alignment.forced import Spoken, WordModels, chain, learn_words, word_times
from sensorium.api.saying import Say
from sensorium.data import Decoder, decode_rows
from sensorium.explain.places import clock
from sensorium.explain.words import words
from sensorium.modalities import CARRIERS
from sensorium.tasks import blank
from sensorium.types import InputError, Modality, Signal

LEARNED = 1000  # rows at most that word times are learned from
FEWEST = 20  # rows at least: from fewer, hardly a word is heard twice
SOUND_S = 3600.0  # seconds of sound that are learned from at most
PIECE = 100  # rows that are read at a time
STEP_S, BANDS = 0.01, 64  # of the frames in which words are looked for
LONGEST = 20_000  # frames of one sound


@dataclass(frozen=True, kw_only=True, slots=True)
class Heard:
    """Models of words, and how many rows they were learned from; None where those are too few."""

    models: WordModels | None
    rows: int
    sound: Modality

    def times(self, signal: Signal, text: str) -> list[Spoken] | None:
        """When each word of `text` is said in a sound, in seconds; None without models, without words and where they cannot all fit."""
        said = transcript(text)
        if self.models is None or not said:
            return None
        mel = self.sound.patches(signal)
        if int((chain(said).owner >= 0).sum()) > len(mel):
            return None
        start_s, step_s = clock(self.sound, len(mel), signal)
        found = word_times(self.models, [mel], [said], step_s=step_s)[0]
        return [
            Spoken(word=w.word, start_s=start_s + w.start_s, stop_s=start_s + w.stop_s, score=w.score)
            for w in found
        ]


def hear(decoder: Decoder, text: Modality, sound: Modality, own: Sequence[int], say: Say) -> Heard:
    """Learn from at most LEARNED rows that hold both and SOUND_S of sound, the rows `own` first; nothing from fewer than FEWEST.

    Rows that cannot be read, and sounds and texts that came before, are left out.
    """
    fine = CARRIERS["audio"].define(
        sound.name, sound.column, rate_hz=16000, bands=BANDS, hop_s=STEP_S, longest=LONGEST
    )
    mels: list[np.ndarray] = []
    texts: list[str] = []
    chosen = _rows_with_both(decoder, text, sound, own)
    for start in range(0, len(chosen), PIECE):
        few = chosen[start : start + PIECE]
        rows, faults = decode_rows(
            decoder, few, [fine],
            tick=lambda n, at=start: say("listen", (at + n) / len(chosen), f"{at + n} of {len(chosen)} rows with sound and words"),
        )  # fmt: skip
        for number, row, fault in zip(few, rows, faults, strict=True):
            said = "" if fault or fine.name not in row else _said(decoder, number, text)
            if said:
                mels.append(row[fine.name])
                texts.append(said)
        if sum(map(len, mels)) * STEP_S > SOUND_S:
            break
    fits = [
        i
        for i, (m, t) in enumerate(zip(mels, texts, strict=True))
        if int((chain(t).owner >= 0).sum()) <= len(m)
    ]
    if len(fits) < FEWEST:
        return Heard(models=None, rows=len(fits), sound=fine)
    say("listen", 1.0, f"learning words from {len(fits)} rows")
    models = learn_words([mels[i] for i in fits], [texts[i] for i in fits])
    return Heard(models=models, rows=len(fits), sound=fine)


def _rows_with_both(decoder: Decoder, text: Modality, sound: Modality, own: Sequence[int]) -> list[int]:
    """Rows that fill both columns, `own` first, the others from all over the table; the same pair of cells only once."""
    table = decoder.table
    seen: set[tuple[object, object]] = set()
    found = []
    for i in range(len(table)):
        both = table.cells(text.column)[i], table.cells(sound.column)[i]
        same = both[0], both[1] if isinstance(both[1], str) else id(both[1])
        if not any(map(blank, both)) and same not in seen:
            seen.add(same)
            found.append(i)
    mine = [i for i in found if i in set(own)]
    rest = [i for i in found if i not in set(own)]
    few = min(len(rest), LEARNED - len(mine))
    return mine + [rest[i * len(rest) // max(few, 1)] for i in range(few)]


def _said(decoder: Decoder, row: int, text: Modality) -> str:
    """The words of a row; "" where it has none, or cannot be read."""
    try:
        signal = decoder.of(row, text)
    except InputError:
        return ""
    return "" if signal is None else transcript(str(signal.values[0]))


def transcript(text: str) -> str:
    """The words of a text with blanks between, as explanations tell them apart, without what nobody says aloud."""
    byte = CARRIERS["text"].define("text", "text", longest=len(text.encode("utf-8", "replace")) * 2 + 4)
    ids = byte.patches(Signal(values=np.array([text], dtype=object)))
    found = [str(w["text"]) for w in words(np.zeros(len(ids)), byte, ids, text)]
    return " ".join(w for w in found if any(c.isalnum() for c in w))
