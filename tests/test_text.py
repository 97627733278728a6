"""Text: encodings, an own vocabulary, any language, hidden and dropped tokens."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.modalities import CARRIERS, carrier_of
from sensorium.modalities.text import MASK, words
from sensorium.types import InputError, Limits, Media, Modality, Signal

TEXT = CARRIERS["text"]
SAMPLES = ["Grüße, Welt!", "שלום עולם", "مرحبا بالعالم", "日本語のテキスト", "🎉👩‍👩‍👧 party", "नमस्ते दुनिया"]


def read(content: object) -> Signal | None:
    return TEXT.decode(Media(content=content, name="a.txt"), Limits())


def signals(*texts: str) -> list[Signal]:
    return [Signal(values=np.array([t], dtype=object)) for t in texts]


def learned(*texts: str, **given: object) -> Modality:
    return TEXT.define("t", "t", **json.loads(json.dumps(TEXT.survey(signals(*texts), **given))))


def corpus(count: int = 400) -> list[str]:
    rng = np.random.default_rng(0)
    vocabulary = [f"{a}{b}" for a in ("kettle", "river", "blue", "walking") for b in ("", "s", "ing", "ed")]
    return [" ".join(rng.choice(vocabulary, 12)) for _ in range(count)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_encodings(encoding: str):
    assert read("Grüße, Welt!".encode(encoding)).values[0] == "Grüße, Welt!"


@pytest.mark.parametrize("blank", ["", "  \n\t", b"", b"\xef\xbb\xbf \r\n"])
def test_blank_is_absent(blank: object):
    assert read(blank) is None


def test_letters_are_composed_and_lone_surrogates_survive():
    assert read("e\u0301").values[0] == "é"
    assert read("a\ud800b").values[0] == "a?b"
    assert read("  kept  ").values.shape == (1,)


@pytest.mark.parametrize("wrong", [b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", np.zeros(3), ["a"]])
def test_what_is_no_text_is_refused(wrong: object):
    with pytest.raises(InputError):
        read(wrong)


def test_too_long_is_refused():
    with pytest.raises(InputError):
        TEXT.decode(Media(content="a" * 11), Limits(characters=10))


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=60))
def test_any_bytes_are_text_or_an_input_error(content: bytes):
    modality = learned("a few words")
    try:
        signal = read(content)
    except InputError:
        return
    if signal is not None:
        ids = modality.patches(signal)
        assert ids.min() >= MASK
        assert ids.max() < modality.options["vocabulary"]


def test_few_texts_are_bytes_and_many_get_a_vocabulary():
    few, many = learned(*corpus(10)), learned(*corpus())
    assert few.options["vocabulary"] == 258
    assert many.options["vocabulary"] > 258
    text = signals(corpus()[0])[0]
    assert len(many.patches(text)) < len(text.values[0]) / 3
    assert len(few.patches(text)) >= len(text.values[0]) * 0.9


@pytest.mark.parametrize("text", SAMPLES)
@pytest.mark.parametrize("count", [10, 400])
def test_any_language_fits_both_vocabularies(text: str, count: int):
    modality = learned(*corpus(count), longest=200)
    ids = modality.patches(signals(text)[0])
    assert (ids.dtype, ids.ndim) == (np.int32, 1)
    assert 2 <= ids.min() <= ids.max() < modality.options["vocabulary"]
    others = [modality.patches(s) for s in signals(*SAMPLES) if s.values[0] != text]
    assert not any(np.array_equal(ids, o) for o in others)


def test_the_vocabulary_survives_json_and_learning_is_repeatable():
    assert TEXT.survey(signals(*corpus())) == TEXT.survey(signals(*corpus()))
    assert learned(*corpus()).item == ()


def test_case_counts_only_where_asked():
    lower, cased = learned(*corpus()), learned(*corpus(), case="true")
    small, large = signals("kettle river", "KETTLE River")
    assert np.array_equal(lower.patches(small), lower.patches(large))
    assert not np.array_equal(cased.patches(small), cased.patches(large))


def test_long_texts_are_cut():
    modality = learned(*corpus(), longest="7")
    assert len(modality.patches(signals(" ".join(corpus()))[0])) == modality.longest == 7


def test_unknown_options_are_refused():
    for wrong in ({"colour": "red"}, {"longest": "many"}, {"case": "perhaps"}):
        with pytest.raises(InputError):
            learned("a", **wrong)
    with pytest.raises(InputError):
        TEXT.survey([])


def test_augmentation_hides_and_drops():
    modality = learned(*corpus())
    ids, rng = modality.patches(signals(corpus()[0])[0]), np.random.default_rng(0)
    before = ids.copy()
    assert np.array_equal(modality.augment(ids, rng, 0.0), ids)
    outs = [modality.augment(ids, rng, 1.0) for _ in range(200)]
    assert all(0 < len(o) <= len(ids) and o.dtype == np.int32 for o in outs)
    hidden = np.mean([np.mean(o == MASK) for o in outs])
    assert 0.05 < hidden < 0.15
    assert any(len(o) < len(ids) for o in outs)
    assert np.array_equal(ids, before)
    assert len(modality.augment(ids[:1], rng, 1.0)) == 1


def test_statistics_tell_texts_apart():
    modality = learned(*corpus())
    one, same, other = (
        modality.statistics(modality.patches(s)) for s in signals("blue kettle", "blue kettle", "river")
    )
    assert one.shape == other.shape
    assert one.dtype == np.float32
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_words_preview_and_suffix():
    assert words("It's a RED kettle, Grüße!") == ["it", "s", "a", "red", "kettle", "grüße"]
    assert len(TEXT.preview(signals("x" * 1000)[0])["text"]) == 300
    assert carrier_of("notes.TXT") == "text"
