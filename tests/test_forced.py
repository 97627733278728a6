"""Word times that are learned from transcripts alone, on sounds whose times are known."""

import numpy as np
import pytest

from sensorium.alignment.forced import (
    cepstra,
    chain,
    equal_shares,
    learn_words,
    speech_span,
    word_times,
)
from sensorium.types import InputError

BANDS, STEP_S = 24, 0.01
WORDS = ("go", "left", "now", "seven", "a", "blue")
LETTERS = sorted(set("".join(WORDS)))
SHAPES = dict(zip(LETTERS, np.random.default_rng(7).normal(0, 12, (len(LETTERS), BANDS)), strict=True))


def utterance(words, rng) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """Log-mel frames of words with pauses of any length, and their times; letters last 4 to 16 frames each."""
    frames, times, at = [], [], 0

    def say(shape, count):
        nonlocal at
        frames.append(shape + rng.normal(0, 3, (count, BANDS)))
        at += count

    say(np.full(BANDS, -30.0), int(rng.integers(15, 60)))
    for word in words:
        began = at
        for letter in word.lower():
            say(SHAPES[letter], int(rng.integers(4, 17)))
        times.append((began * STEP_S, at * STEP_S))
        if rng.random() < 0.3:
            say(np.full(BANDS, -30.0), int(rng.integers(3, 20)))
    say(np.full(BANDS, -30.0), int(rng.integers(15, 60)))
    return np.concatenate(frames).astype(np.float32), times


def corpus(rows: int, seed: int, words=WORDS):
    rng = np.random.default_rng(seed)
    said = [[words[i] for i in rng.integers(0, len(words), int(rng.integers(2, 6)))] for _ in range(rows)]
    spoken = [utterance(s, rng) for s in said]
    return [m for m, _ in spoken], [" ".join(s) for s in said], [t for _, t in spoken]


def off_ms(found, times) -> np.ndarray:
    """Milliseconds between told and true starts and ends."""
    pairs = [(s, t) for row, true in zip(found, times, strict=True) for s, t in zip(row, true, strict=True)]
    return 1000 * np.abs([[s.start_s - a, s.stop_s - b] for s, (a, b) in pairs])


@pytest.fixture(scope="module")
def learned():
    mels, said, _ = corpus(80, seed=0)
    return learn_words(mels, said)


def test_times_are_found_without_any(learned):
    mels, said, times = corpus(25, seed=1)
    found = word_times(learned, mels, said, step_s=STEP_S)
    off = off_ms(found, times)
    assert np.median(off) <= 10
    assert np.percentile(off, 90) <= 40
    equal = off_ms([equal_shares(m, t, step_s=STEP_S) for m, t in zip(mels, said, strict=True)], times)
    assert np.median(equal) > 5 * np.median(off), "equal shares are no such alignment"
    early = word_times(learn_words(*corpus(80, seed=0)[:2], rounds=0), mels, said, step_s=STEP_S)
    assert off.mean() < 0.7 * off_ms(early, times).mean(), "rounds of learning make it better"
    assert [[s.word for s in row] for row in found] == [t.split() for t in said]
    for row in found:
        assert all(s.start_s < s.stop_s for s in row)
        assert all(a.stop_s <= b.start_s + 1e-9 for a, b in zip(row, row[1:], strict=False))


def test_a_word_never_heard_is_put_together_from_its_letters(learned):
    mels, said, times = corpus(15, seed=2, words=("wave", "Noel", "gas"))
    off = off_ms(word_times(learned, mels, said, step_s=STEP_S), times)
    assert np.median(off) <= 30
    assert np.percentile(off, 75) <= 60


def test_what_was_not_said_scores_low(learned):
    rng = np.random.default_rng(3)
    mel, _ = utterance(["seven", "blue"], rng)
    right, wrong = word_times(learned, [mel, mel], ["seven blue", "left now"], step_s=STEP_S)
    assert min(s.score for s in right) > max(s.score for s in wrong)


def test_rows_do_not_meet_and_learning_is_repeatable(learned):
    mels, said, _ = corpus(6, seed=4)
    together = word_times(learned, mels, said, step_s=STEP_S)
    alone = [word_times(learned, [m], [t], step_s=STEP_S)[0] for m, t in zip(mels, said, strict=True)]
    assert [[(s.word, s.start_s, s.stop_s) for s in r] for r in together] == [
        [(s.word, s.start_s, s.stop_s) for s in r] for r in alone
    ]
    first, second = (learn_words(mels, said, rounds=2) for _ in range(2))
    np.testing.assert_array_equal(first.pause.mean, second.pause.mean)


def test_sounds_of_even_loudness_have_no_pause():
    rng = np.random.default_rng(5)
    said = ["go a", "a go", "now go", "a now", "go now a", "now a now"] * 3
    mels = [
        np.concatenate([SHAPES[c] + rng.normal(0, 1, (10, BANDS)) for c in t.replace(" ", "")]) for t in said
    ]
    mels = [m - m.mean(1, keepdims=True) for m in mels]
    models = learn_words([*mels, mels[0]], [*said, ""])
    found, nothing = word_times(models, [mels[0], mels[0]], ["go a", " "], step_s=STEP_S)
    assert nothing == []
    assert found[0].start_s == 0
    assert found[0].stop_s == found[1].start_s == pytest.approx(0.195, abs=0.04)
    assert found[1].stop_s == pytest.approx(0.295)


def test_a_transcript_is_a_chain():
    line = chain("I Go")
    assert line.words == ["I", "Go"]
    assert line.owner.tolist() == [-1, 0, 0, 0, -1, 1, 1, 1, 1, -1]
    assert line.states[5] == ("word", "go", 0)
    assert [s[1:] for s in line.letters[5:9]] == [("g", 0), ("g", 1), ("o", 0), ("o", 1)]
    assert chain("?!").owner.tolist() == [-1, 0, 0, 0, 0, -1]


def test_the_span_of_speech_leaves_clicks_out():
    rng = np.random.default_rng(0)
    mel = np.full((300, BANDS), -60.0) + rng.normal(0, 1, (300, BANDS))
    mel[100:200] += 40
    mel[150:155] -= 40  # a stop inside
    mel[20:23] += 60  # a click before
    first, last = speech_span(mel)
    assert abs(first - 100) <= 5
    assert abs(last - 200) <= 5
    assert speech_span(np.zeros((7, 3))) == (0, 7)


def test_cepstra_are_the_cosines_of_the_bands():
    from scipy.fft import dct

    mel = np.random.default_rng(0).normal(size=(9, BANDS))
    found = cepstra(mel)
    assert found.shape == (9, 39)
    expected = dct(mel, axis=1, norm="ortho")[:, :13]
    expected[:, 0] *= np.sqrt(2)  # the loudness, without the ortho scaling of its cosine
    np.testing.assert_allclose(found[:, :13], expected, atol=1e-9)
    ramp = np.repeat(np.arange(9.0)[:, None], BANDS, 1)
    slopes = cepstra(ramp)[:, 13]
    np.testing.assert_allclose(slopes[2:-2], np.diff(cepstra(ramp)[:, 0])[2:-2].mean(), atol=1e-9)


def test_what_cannot_be_aligned_is_refused(learned):
    mel = np.zeros((50, BANDS), np.float32)
    with pytest.raises(InputError, match="too short"):
        word_times(learned, [mel[:5]], ["seven seven"], step_s=STEP_S)
    with pytest.raises(InputError, match="bands"):
        word_times(learned, [mel[:, :8]], ["go"], step_s=STEP_S)
    with pytest.raises(InputError, match="no clip"):
        learn_words([mel], [""])
    with pytest.raises(InputError, match="do not fit"):
        learn_words([mel], ["go", "left"])
