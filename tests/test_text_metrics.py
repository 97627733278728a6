"""Figures of generated text against references, by hand, and by invariances; and what their intervals are worth."""

import math
import random

import numpy as np
import pytest

from sensorium.measure.captions import cider_d, rouge_l
from sensorium.measure.edit import character_errors, edits, word_errors
from sensorium.measure.text import (
    against_rest,
    beside,
    bleu,
    chrf,
    commonest,
    distinct,
    exact_match,
    plain,
    printed,
    repeated,
    text_scores,
    tuple_f1,
    words,
    words_13a,
)
from sensorium.types import InputError

WORDS = "a b c d e Red , . 3.5 x-y 3-4 $5 & don't (g) &quot; 7, \u00e9t\u00e9".split()


def sentences(rng, count, *, shortest=0, longest=9):
    return [" ".join(rng.choices(WORDS, k=rng.randint(shortest, longest))) for _ in range(count)]


def several(rng, rows, references=3):
    return sentences(rng, rows), [sentences(rng, references, shortest=1) for _ in range(rows)]


@pytest.mark.parametrize("seed", range(40))
def test_sacrebleu(seed):
    sacrebleu = pytest.importorskip("sacrebleu")
    rng = random.Random(seed)
    said, references = several(rng, rng.randint(1, 12))
    streams = [list(s) for s in zip(*references, strict=True)]
    ours = bleu(said, references)
    for order in range(1, 5):
        theirs = sacrebleu.BLEU(max_ngram_order=order).corpus_score(said, streams).score
        assert ours[f"bleu{order}"].value == pytest.approx(theirs, abs=1e-8)
    assert chrf(said, references).value == pytest.approx(
        sacrebleu.CHRF().corpus_score(said, streams).score, abs=1e-8
    )


def test_bleu_by_hand():
    """Five of six words, three of five pairs, one of four triples, no four: a half match."""
    found = bleu(["the cat sat on a mat"], [["the cat is on a mat"]])
    assert found["bleu1"].value == pytest.approx(100 * 5 / 6)
    assert found["bleu2"].value == pytest.approx(100 * math.sqrt(5 / 6 * 3 / 5))
    assert found["bleu3"].value == pytest.approx(100 * (5 / 6 * 3 / 5 * 1 / 4) ** (1 / 3))
    assert found["bleu4"].value == pytest.approx(100 * (5 / 6 * 3 / 5 * 1 / 4 * 0.5 / 3) ** 0.25)
    short = bleu(["the cat"], [["the cat sat"]], cut=words)["bleu1"]
    assert short.value == pytest.approx(100 * math.exp(1 - 3 / 2))
    assert bleu(["", ""], [["a"], ["b"]])["bleu4"].value == 0


def test_words():
    assert words("The cat's hat, NOT 3.5 (red_blue)!") == [
        "the",
        "cat's",
        "hat",
        "not",
        "3",
        "5",
        "red",
        "blue",
    ]
    assert words_13a('A "red" one, 3.5 x-y 3-4.') == [
        "A",
        '"',
        "red",
        '"',
        "one",
        ",",
        "3.5",
        "x-y",
        "3",
        "-",
        "4",
        ".",
    ]
    assert plain("  A,  B ") == "a b"


@pytest.mark.parametrize("seed", range(60))
def test_jiwer(seed):
    jiwer = pytest.importorskip("jiwer")
    rng = random.Random(seed)
    truth = [" ".join(rng.choices("abc", k=rng.randint(1, 10))) for _ in range(8)]
    said = [" ".join(rng.choices("abcd", k=rng.randint(0, 10))) for _ in range(8)]
    for measure, theirs, name in (
        (word_errors, jiwer.process_words(truth, said), "wer"),
        (character_errors, jiwer.process_characters(truth, said), "cer"),
    ):
        ours = measure(said, truth)
        length = theirs.hits + theirs.substitutions + theirs.deletions
        assert ours[name].value == pytest.approx(getattr(theirs, name))
        for part in ("substitutions", "insertions", "deletions"):
            assert ours[f"{name}_{part}"].value * length == pytest.approx(getattr(theirs, part))


def slow_distance(a, b):
    if not a or not b:
        return len(a) + len(b)
    return min(
        slow_distance(a[1:], b) + 1, slow_distance(a, b[1:]) + 1, slow_distance(a[1:], b[1:]) + (a[0] != b[0])
    )


def test_edits_are_the_fewest():
    rng = random.Random(1)
    for _ in range(60):
        said, truth = (rng.choices("abc", k=rng.randint(0, 6)) for _ in range(2))
        wrong, added, lost = edits(said, truth)
        assert wrong + added + lost == slow_distance(said, truth)
        assert len(truth) + added - lost == len(said)


def test_errors_of_silence():
    found = word_errors(["hello there", "", "a b"], ["", "", "a c"])
    assert found["wer"].value == pytest.approx(3 / 2)
    assert found["wer_insertions"].value == pytest.approx(1)
    assert found["wer_sentence"].value == pytest.approx(2 / 3)
    assert "wer" not in word_errors(["oh"], [""])


def test_rouge_by_hand():
    """Best precision 3/4 is that of the first reference, best recall 2/2 that of the second."""
    said, references = [["a", "b", "c", "d"]], [[["a", "x", "c", "d", "y"], ["b", "d"]]]
    precision, recall = 3 / 4, 1.0
    wanted = 2.44 * precision * recall / (recall + 1.44 * precision)
    assert rouge_l(said, references).value == pytest.approx(wanted)
    assert rouge_l([[]], [[["a"]]]).value == 0


def test_longest_common_subsequence():
    rng = random.Random(2)
    for _ in range(100):
        a, b = (rng.choices("abcd", k=rng.randint(1, 12)) for _ in range(2))
        table = np.zeros((len(a) + 1, len(b) + 1), int)
        for i in range(len(a)):
            for j in range(len(b)):
                same = a[i] == b[j]
                table[i + 1, j + 1] = table[i, j] + 1 if same else max(table[i, j + 1], table[i + 1, j])
        p, r = table[-1, -1] / len(a), table[-1, -1] / len(b)
        wanted = 2.44 * p * r / (r + 1.44 * p) if p else 0
        assert rouge_l([a], [[b]]).value == pytest.approx(wanted)


def paper_cider_d(said, references, sigma=6.0):
    """From the paper's formulas, with arrays over the whole vocabulary and no dictionary of weights."""
    everything = [said, *[list(r) for r in zip(*references, strict=True)]]
    total = np.zeros(len(said))
    for n in range(1, 5):
        cut = [[[tuple(t[i : i + n]) for i in range(len(t) - n + 1)] for t in texts] for texts in everything]
        vocabulary = sorted({g for texts in cut for t in texts for g in t})
        counts = np.array([[[t.count(g) for g in vocabulary] for t in texts] for texts in cut], float)
        if not vocabulary:
            continue
        holds = (counts[1:] > 0).any(0).sum(0)
        weighed = counts * np.log(len(said) / np.maximum(holds, 1))
        for r, reference in enumerate(weighed[1:]):
            above = (np.minimum(weighed[0], reference) * reference).sum(1)
            below = np.linalg.norm(weighed[0], axis=1) * np.linalg.norm(reference, axis=1)
            gap = np.array([len(a) - len(b) for a, b in zip(said, everything[r + 1], strict=True)])
            like = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
            total += 10 * like * np.exp(-(gap**2) / (2 * sigma**2)) / 4 / (len(everything) - 1)
    return total.mean()


@pytest.mark.parametrize("seed", range(10))
def test_cider_d_of_the_paper(seed):
    rng = random.Random(seed)
    said = [rng.choices("abcdef", k=rng.randint(1, 9)) for _ in range(7)]
    references = [[rng.choices("abcdef", k=rng.randint(1, 9)) for _ in range(3)] for _ in range(7)]
    assert cider_d(said, references).value == pytest.approx(paper_cider_d(said, references))


def test_cider_d_invariances():
    rng = random.Random(5)
    said = [rng.choices("abcdef", k=8) for _ in range(9)]
    references = [[rng.choices("abcdef", k=8) for _ in range(3)] for _ in range(9)]
    value = cider_d(said, references).value
    order = rng.sample(range(9), 9)
    assert cider_d([said[i] for i in order], [references[i][::-1] for i in order]).value == pytest.approx(
        value
    )
    renamed = dict(zip("abcdef", "uvwxyz", strict=True))
    other = [[renamed[w] for w in s] for s in said]
    others = [[[renamed[w] for w in r] for r in row] for row in references]
    assert cider_d(other, others).value == pytest.approx(value)
    own = [[s] for s in said]
    assert cider_d(said, own).value == pytest.approx(10)
    assert cider_d(said, own, corpus=references).value == pytest.approx(10, abs=1e-9)


def test_cider_d_forgives_no_stuffing():
    """Saying a rare word again and again gains nothing, and nor does a longer caption."""
    references = [[["a", "red", "star", "on", "it"]], [["a", "blue", "ring", "on", "it"]]]
    said = cider_d([["a", "red", "star", "on", "it"], ["a"]], references).value
    stuffed = cider_d([["a", "red", "star", "star", "star", "star", "on", "it"], ["a"]], references).value
    assert stuffed < said


def test_tuple_f1():
    held = [[("red", "ring"), ("left", "x"), ("above", "y")], [("blue", "star")]]
    expected = [[("red", "ring"), ("left", "x")], [("blue", "star")]]
    said = [[("red", "ring"), ("above", "y"), ("no", "no"), ("no", "no")], [("blue", "star")]]
    found = tuple_f1(said, held, expected=expected)
    assert found["tuple_precision"].value == pytest.approx(3 / 4)
    assert found["tuple_recall"].value == pytest.approx(2 / 3)
    assert found["tuple_f1"].value == pytest.approx(2 * 3 / 4 * 2 / 3 / (3 / 4 + 2 / 3))
    assert found["all_right"].value == pytest.approx(0.5)
    assert tuple_f1([[], []], held)["tuple_f1"].value == 0


def test_variety():
    said = [["a", "b", "c"], ["a", "b", "c"], ["a", "b", "c", "a", "b", "c"], ["x"]]
    assert distinct(said).value == pytest.approx(3 / 4)
    assert distinct([["a"]] * 8).value == pytest.approx(1 / 8)
    assert repeated(said).value == pytest.approx(1 / 6)
    assert repeated([["a"]]).value == 0


def test_exact_and_commonest():
    assert exact_match(["A red ring.", "no"], [["x", "a red ring"], ["yes"]]).value == 0.5
    assert commonest(["b", "a", "a", "b"]) == "b"


def test_beside_shows_what_is_blind():
    rng = random.Random(7)
    references = [sentences(rng, 3, shortest=4) for _ in range(30)]
    own, rest = against_rest([[*row, row[0]] for row in references])
    table = beside({"model": own, "blind": [commonest(own)] * 30}, rest)
    assert set(table) == set(text_scores(own, rest))
    for figure in ("bleu4", "chrf", "rouge_l", "cider_d", "exact", "distinct"):
        assert table[figure]["model"].value > table[figure]["blind"].value
    assert table["exact"]["model"].value == 1
    head, *rows = printed(table).splitlines()
    assert head.split() == ["model", "blind"]
    exact = next(r for r in rows if r.startswith("exact"))
    assert exact.split("(")[0].split() == ["exact", "1"]
    assert f"({table['chrf']['blind'].low:.4g} to " in "".join(rows)
    with pytest.raises(InputError, match="agree with itself"):
        against_rest([["one"]])


def test_intervals_are_those_of_rows_drawn_again():
    """The quick interval from sums is the slow one: draw rows, count everything anew."""
    rng, draw = random.Random(11), np.random.default_rng(0)
    said, references = several(rng, 60)
    slow = {name: [] for name in ("bleu2", "chrf", "wer")}
    for _ in range(150):
        rows = draw.integers(0, 60, 60)
        some, few = [said[i] for i in rows], [references[i] for i in rows]
        slow["bleu2"].append(quick(lambda a=some, b=few: bleu(a, b)["bleu2"]))
        slow["chrf"].append(quick(lambda a=some, b=few: chrf(a, b)))
        slow["wer"].append(quick(lambda a=some, b=few: word_errors(a, [r[0] for r in b])["wer"]))
    found = {**bleu(said, references), "chrf": chrf(said, references)}
    found |= word_errors(said, [r[0] for r in references])
    for name, drawn in slow.items():
        low, high = np.quantile(drawn, [0.025, 0.975])
        score = found[name]
        assert score.low < score.value < score.high
        assert (score.high - score.low) == pytest.approx(high - low, rel=0.35)


def quick(measure):
    """The value alone: with no bootstrap inside the bootstrap."""
    from sensorium.measure import resample

    kept, resample.FEWEST, resample.DRAWS = (resample.FEWEST, resample.DRAWS), 1, 1
    try:
        return measure().value
    finally:
        resample.FEWEST, resample.DRAWS = kept


def test_mistakes_are_told():
    for said, references in (([], []), (["a"], [[]]), (["a"], ["a"]), (["a"], [["a"], ["b"]])):
        with pytest.raises(InputError):
            text_scores(said, references)
    with pytest.raises(InputError):
        word_errors(["a"], [])
    with pytest.raises(InputError):
        tuple_f1([[]], [])
    with pytest.raises(InputError):
        cider_d([["a"]], [[]])
    with pytest.raises(InputError):
        beside({}, [["a"]])
