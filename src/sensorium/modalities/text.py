"""Text in any language: an own byte-pair vocabulary learned from the training column, or plain bytes."""

import functools
import re
import unicodedata
from collections.abc import Sequence

import numpy as np

from sensorium.modalities import damage, options
from sensorium.types import Carrier, InputError, Limits, Media, Modality, Signal

MASK, FIRST = 1, 2  # ids: 0 is padding, 1 stands for something unknown or hidden, words start at 2
BINS = 512  # of the hashed counts for the floors


def decode(media: Media, limits: Limits) -> Signal | None:
    """Decode one text to an array of one string, in Unicode's composed form (NFC); None where it is blank.

    Bytes are UTF-8, UTF-16 where they begin with its mark, else Latin-1. Raises InputError for bytes that are
    no text and beyond `limits.characters`.
    """
    if isinstance(media.content, bytes | bytearray | memoryview):
        text = _decoded(bytes(media.content), media.name)
    elif isinstance(media.content, str | int | float):
        text = str(media.content)
    else:
        raise InputError(
            "not a text", got=type(media.content).__name__, fix="give a string, or name a .txt file"
        )
    if len(text) > limits.characters:
        raise InputError(
            "the text is too long",
            got=f"{len(text)} characters",
            fix="cut it, or raise --limit characters=...",
        )
    text = unicodedata.normalize("NFC", text.encode("utf-8", "replace").decode("utf-8")).strip()
    return Signal(values=np.array([text], dtype=object)) if text else None


def _decoded(raw: bytes, name: str) -> str:
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return raw.decode("utf-16", errors="replace")
    if b"\x00" in raw[:1000]:
        raise InputError("not a text", got=f"{name}: {raw[:20]!r}", fix="save it as UTF-8")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def survey(signals: Sequence[Signal], **given: object) -> dict[str, object]:
    """Learn options: `tokenizer` (byte-level BPE as JSON, "" for bytes), `vocabulary`, `longest`, `case`."""
    known = {"words": options.whole(300, 60_000), "longest": options.whole(1, 100_000), "case": options.flag}
    told = options.checked(given, known, carrier="text")
    if not signals:
        raise InputError(
            "no training row holds this text", got=0, fix="leave the column out, or fill some cells"
        )
    case = bool(told.get("case", False))
    texts = [str(s.values[0]) if case else str(s.values[0]).lower() for s in signals]
    json, size = "", 256
    if len(texts) >= 50 and sum(map(len, texts)) >= 5000:
        json, size = _learned(texts, int(told.get("words", 2000)))  # type: ignore[call-overload]
    lengths = [len(ids(t, json)) for t in texts[:: max(1, len(texts) // 2000)]]
    longest = max(4, min(int(np.percentile(lengths, 98)), 96 if json else 256))
    return {
        "tokenizer": json,
        "vocabulary": size + FIRST,
        "longest": int(told.get("longest", longest)),
        "case": case,
    }  # type: ignore[call-overload]


def _learned(texts: list[str], words: int) -> tuple[str, int]:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=words, min_frequency=3, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer.to_str(), tokenizer.get_vocab_size()


@functools.lru_cache(maxsize=16)
def _tokenizer(json: str):
    from tokenizers import Tokenizer

    return Tokenizer.from_str(json)


def ids(text: str, json: str) -> np.ndarray:
    """(tokens,) int32 from 2 upwards: bytes, or pairs of the learned vocabulary."""
    if not json:
        return np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.int32) + FIRST
    return np.array(_tokenizer(json).encode(text).ids, dtype=np.int32) + FIRST


def written(found: Sequence[int] | np.ndarray, json: str) -> str:
    """The text of ids as `ids` gives them; ids below 2 are passed over, bytes that are no whole letter give U+FFFD."""
    real = [int(i) - FIRST for i in found if i >= FIRST]
    if not json:
        return bytes(real).decode("utf-8", "replace")
    return _tokenizer(json).decode(real, skip_special_tokens=False).removeprefix(" ")


def words(text: str) -> list[str]:
    """Lower-case words; scripts without blanks give runs of letters."""
    return re.findall(r"\w+", text.lower())


def augment(x: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Hide a tenth of the tokens, and now and then leave out a few that follow each other."""
    if strength <= 0 or len(x) < 4:
        return x
    out = np.where(rng.random(len(x)) < 0.1 * strength, MASK, x).astype(np.int32)
    if rng.random() < 0.3 * strength:
        wide = int(rng.integers(1, max(2, len(out) // 5)))
        start = int(rng.integers(0, len(out) - wide))
        out = np.delete(out, slice(start, start + wide))
    return out


def statistics(x: np.ndarray) -> np.ndarray:
    """Hashed counts of tokens and of pairs of tokens, and the length."""
    pairs = (x[1:].astype(np.int64) * 31 + x[:-1]) % (BINS // 2) + BINS // 2
    where = np.concatenate([x % (BINS // 2), pairs]).astype(int)
    return np.concatenate([np.bincount(where, minlength=BINS), [len(x)]]).astype(np.float32)


def define(
    name: str,
    column: str,
    *,
    tokenizer: str = "",
    vocabulary: int = 258,
    longest: int = 128,
    case: bool = False,
) -> Modality:
    """Define texts of at most `longest` tokens out of `vocabulary`."""

    def patches(signal: Signal) -> np.ndarray:
        text = str(signal.values[0])
        found = ids(text if case else text.lower(), tokenizer)[:longest]
        return (
            np.where(found < vocabulary, found, MASK).astype(np.int32)
            if len(found)
            else np.array([MASK], np.int32)
        )

    return Modality(
        name=name,
        column=column,
        carrier="text",
        options={"tokenizer": tokenizer, "vocabulary": vocabulary, "longest": longest, "case": case},
        patches=patches,
        augment=augment,
        statistics=statistics,
        item=(),
        longest=longest,
    )


def preview(signal: Signal) -> dict[str, object]:
    """The first 300 characters."""
    return {"text": str(signal.values[0])[:300]}


CARRIER = Carrier(
    name="text",
    suffixes=frozenset({".txt", ".md"}),
    decode=decode,
    survey=survey,
    define=define,
    preview=preview,
    corruptions=damage.TEXT,
)
