"""Searches: the beam against all texts, rules, prompts, closed sets, chance, streams."""

import itertools
import sys

import pytest
import torch
from test_translation_text import DIM, KINDS, WORDS, build, example, fresh, memory_of, rows_of

from benchmarks.generate import best_seconds, uncached, writers
from sensorium.tokens import Tokens
from sensorium.translation import closed
from sensorium.translation.beam import beam, best, length_penalty
from sensorium.translation.closed import constrained, joint
from sensorium.translation.loss import lesson, row_losses
from sensorium.translation.search import Rules, by_lot, greedy, likeliest, pieces, sample, stream
from sensorium.types import InputError

TINY = 5  # ids 2, 3 and 4 are all the words there are


def all_texts(words: int, longest: int) -> list[tuple[int, ...]]:
    return [t for n in range(longest + 1) for t in itertools.product(range(2, words), repeat=n)]


def told(decoder, memory: Tokens, texts) -> torch.Tensor:
    """(batch, texts) log-probabilities with the end, by teacher forcing of one text after the other."""
    found = []
    for text in texts:
        ids = torch.tensor([[decoder.begin, *text]]).expand(len(memory.x), -1)
        target = torch.tensor([*text, decoder.end])
        sure = decoder(memory, ids).log_softmax(-1)
        found.append(sure[:, torch.arange(len(target)), target].sum(1))
    return torch.stack(found, 1)


def text_of(ids: torch.Tensor) -> tuple[int, ...]:
    return tuple(i for i in ids.tolist() if i)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
def test_a_wide_beam_is_exhaustive(kind, alpha):
    """As wide as there are texts, and so wider than the vocabulary: the beam sorts all texts as their scores do."""
    decoder, (memory, _) = build(kind, words=TINY), example()
    texts = all_texts(TINY, 3)
    truth = told(decoder, memory, texts)
    score = truth / length_penalty(torch.tensor([len(t) + 1 for t in texts]), alpha)
    written = beam(decoder, memory, width=len(texts) + 3, alpha=alpha, rules=Rules(longest=3))
    for row in range(3):
        order = score[row].argsort(descending=True)
        count = len(texts)
        torch.testing.assert_close(written.score[row, :count], score[row, order], rtol=1e-4, atol=1e-4)
        found = [text_of(ids) for ids in written.ids[row, :count]]
        assert sorted(found) == sorted(texts)
        at = torch.tensor([texts.index(t) for t in found])
        torch.testing.assert_close(written.log_probability[row, :count], truth[row, at], rtol=1e-4, atol=1e-4)
        assert written.length[row, :count].tolist() == [len(t) for t in found]
        assert (written.log_probability[row, count:] == float("-inf")).all(), "there are no more texts"


@pytest.mark.parametrize("kind", KINDS)
def test_a_beam_of_one_is_greedy(kind):
    decoder, (memory, _) = build(kind), example(rows=6)
    prompt = torch.tensor([[3, 4], [5, 0], [0, 0], [2, 2], [0, 0], [6, 0]])
    for rules in (Rules(), Rules(longest=5, shortest=3), Rules(no_repeat=1), Rules(no_repeat=2, shortest=6)):
        for begun in (None, prompt):
            one = beam(decoder, memory, width=1, alpha=0.7, rules=rules, prompt=begun)
            simple = greedy(decoder, memory, rules=rules, prompt=begun)
            assert torch.equal(one.ids, simple.ids)
            torch.testing.assert_close(one.log_probability, simple.log_probability, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_beam_keeps_its_lines_apart(kind):
    """With the cache reordered at every step, as without a cache; a row alone as among others."""
    decoder, (memory, _) = build(kind), example(rows=4)
    kept = beam(decoder, memory, width=3)
    fresh = beam(uncached(decoder), memory, width=3)
    assert torch.equal(kept.ids, fresh.ids)
    torch.testing.assert_close(kept.score, fresh.score, rtol=1e-4, atol=1e-4)
    truth = torch.stack(
        [told(decoder, rows_of(memory, [r]), [text_of(t) for t in kept.ids[r]])[0] for r in range(4)]
    )
    torch.testing.assert_close(kept.log_probability, truth, rtol=1e-4, atol=1e-4)
    for row in range(4):
        alone = beam(decoder, rows_of(memory, [row]), width=3)
        assert [text_of(t) for t in alone.ids[0]] == [text_of(t) for t in kept.ids[row]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_wider_beam_finds_no_worse(kind):
    decoder, (memory, _) = fresh(kind).eval(), example(rows=6)
    narrow, wide = (
        beam(decoder, memory, width=w, alpha=0.0, rules=Rules(longest=4, shortest=4)) for w in (1, 40)
    )
    assert (wide.score[:, 0] >= narrow.score[:, 0] - 1e-5).all()
    assert (wide.score[:, 0] > narrow.score[:, 0] + 1e-3).any()
    assert (wide.score.diff(dim=1) <= 0).all(), "the best first"


def test_length_is_controlled():
    decoder, (memory, _) = build("classic", words=TINY), example()
    texts, width = all_texts(TINY, 3), 44
    short, long = (
        beam(decoder, memory, width=width, alpha=a, rules=Rules(longest=3)).length[:, :10].float().mean()
        for a in (0.0, 5.0)
    )
    assert len(texts) <= width
    assert short < long
    assert length_penalty(torch.tensor([1, 7]), 0.6).tolist() == pytest.approx([1.0, 2.0**0.6])
    for shortest, longest in ((2, 3), (3, 3), (0, 1)):
        rules = Rules(shortest=shortest, longest=longest)
        for written in (greedy(decoder, memory, rules=rules), beam(decoder, memory, width=4, rules=rules)):
            real = written.log_probability > float("-inf")
            assert (written.length[real] >= shortest).all()
            assert (written.length[real] <= longest).all()


@pytest.mark.parametrize("size", [1, 2, 3])
def test_no_run_is_repeated(size):
    decoder, (memory, _) = build("transformer", words=TINY, longest=12), example()
    free = greedy(decoder, memory, rules=Rules(shortest=12)).ids
    runs = [tuple(t) for t in free[0, 0].unfold(0, size, 1).tolist()]
    assert len(set(runs)) < len(runs), "without the rule it does repeat"
    rules = Rules(no_repeat=size, shortest=12)
    for written in (greedy(decoder, memory, rules=rules), beam(decoder, memory, width=3, rules=rules)):
        for text in written.ids.flatten(0, 1):
            said = text_of(text)
            runs = [said[i : i + size] for i in range(len(said) - size + 1)]
            assert len(set(runs)) == len(runs)
            if size == 1:
                assert len(said) <= 3, "with three words there are only three words to say"


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_is_gone_on_with(kind):
    decoder, (memory, _) = build(kind), example()
    prompt = torch.tensor([[4, 5, 6], [7, 0, 0], [0, 0, 0]])
    for written in (greedy(decoder, memory, prompt=prompt), beam(decoder, memory, width=3, prompt=prompt)):
        assert (written.ids[0, :, :3] == prompt[0]).all()
        assert (written.ids[1, :, 0] == 7).all()
    free, begun = greedy(decoder, memory), greedy(decoder, memory, prompt=prompt)
    assert text_of(free.ids[2, 0]) == text_of(begun.ids[2, 0])
    text = text_of(begun.ids[0, 0])
    whole = told(decoder, rows_of(memory, [0]), [text])[0, 0]
    sure = decoder(rows_of(memory, [0]), torch.tensor([[decoder.begin, 4, 5]])).log_softmax(-1)[0]
    first = sure[0, 4] + sure[1, 5] + sure[2, 6]
    torch.testing.assert_close(begun.log_probability[0, 0], whole - first, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_in_another_script_is_read_as_unknown(kind):
    decoder, (memory, _) = build(kind), example()
    foreign = torch.tensor([[4, 900, 20], [1, 21, 3], [70_000, 70_001, 70_002]])
    unknown = torch.tensor([[4, 1, 1], [1, 1, 3], [1, 1, 1]])
    a, b = (beam(decoder, memory, width=3, prompt=p) for p in (foreign, unknown))
    assert torch.equal(a.ids, b.ids)
    assert (a.ids[:, :, :3] == unknown[:, None]).all()
    assert (a.ids[:, :, 3:] != 1).all(), "what is unknown is read, not written"
    assert a.score.isfinite().all()


def test_bad_questions_are_refused():
    decoder, (memory, _) = build("classic"), example()
    for prompt in (torch.tensor([[-1]] * 3), torch.tensor([[3]]), torch.tensor([3, 4, 5]), torch.ones(3, 2)):
        with pytest.raises(InputError, match="a prompt that cannot be read"):
            greedy(decoder, memory, prompt=prompt)
    for prompt in (torch.full((3, 13), 4), torch.tensor([[0, 4], [3, 4], [0, 0]])):
        with pytest.raises(InputError, match="a prompt longer"):
            beam(decoder, memory, prompt=prompt)
    for rules in (Rules(longest=0), Rules(shortest=4, longest=3), Rules(no_repeat=-1), Rules(shortest=-1)):
        with pytest.raises(InputError, match="no text can follow"):
            greedy(decoder, memory, rules=rules)
    for more in ({"width": 0}, {"alpha": -1.0}, {"alpha": float("nan")}):
        with pytest.raises(InputError, match="no beam"):
            beam(decoder, memory, **more)
    for more in ({"temperature": 0.0}, {"top_p": 0.0}, {"top_p": 1.5}):
        with pytest.raises(InputError, match="nothing can be drawn"):
            by_lot(torch.Generator(), **more)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_to_look_at_and_no_rows(kind):
    decoder = build(kind)
    written = beam(decoder, memory_of(torch.zeros(2, 0, DIM)), width=3)
    assert torch.equal(written.ids[0], written.ids[1])
    assert written.score.isfinite().all()
    none = memory_of(torch.zeros(0, 4, DIM))
    assert beam(decoder, none, width=3).ids.shape[:2] == (0, 3)
    assert constrained(decoder, none, [(2,), (3,)]).shape == (0, 2)
    assert list(stream(decoder, none)) == []


def test_equals_come_in_order():
    scores = torch.tensor([[1.0, 3.0, 2.0, 3.0, 2.0, 2.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]])
    for count in range(1, 7):
        values, places = best(scores, count)
        assert places.tolist() == [[1, 3, 2, 4, 5, 0][:count], [0, 1, 2, 3, 4, 5][:count]]
        assert torch.equal(values, scores.gather(1, places))
    torch.manual_seed(0)
    large = torch.randint(0, 500, (4, 6000)).float()
    _, places = best(large, 8)
    assert torch.equal(places, large.sort(dim=1, descending=True, stable=True).indices[:, :8])


def test_a_decoder_that_knows_nothing_decides_the_same_each_time():
    """With all weights of the output at zero every word is as likely: the lowest ids win."""
    decoder, (memory, _) = build("classic"), example()
    with torch.no_grad():
        decoder.embedding.weight.zero_()
    written = beam(decoder, memory, width=3, alpha=0.0, rules=Rules(longest=2, shortest=2))
    assert written.ids.tolist() == [[[2, 2], [2, 3], [2, 4]]] * 3


ANSWERS = [(2, 3), (2,), (3, 4, 5), (2, 3, 4), (9, 8, 7, 6), (2, 4), (3,)]


@pytest.mark.parametrize("kind", KINDS)
def test_closed_answers_have_the_probability_of_their_text(kind):
    decoder, (memory, _) = build(kind), example()
    found = joint(decoder, memory, ANSWERS)
    torch.testing.assert_close(found, told(decoder, memory, ANSWERS), rtol=1e-4, atol=1e-4)
    given = constrained(decoder, memory, ANSWERS).exp()
    torch.testing.assert_close(given.sum(1), torch.ones(3))
    torch.testing.assert_close(given, found.softmax(1))
    found.sum().backward()
    assert all(w.grad is not None and w.grad.isfinite().all() for w in decoder.parameters())
    turned = joint(decoder, memory, ANSWERS[::-1])
    torch.testing.assert_close(turned.flip(1), found)
    given, targets = lesson(decoder, torch.tensor([[3, 4, 5]] * 3))
    loss = row_losses(decoder(memory, given), targets, smoothing=0.0)
    torch.testing.assert_close(found[:, 2], -4 * loss, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_all_texts_are_certain(kind):
    """Over the texts of up to three words, those that end and those that go on make 1."""
    decoder, (memory, _) = build(kind, words=TINY), example()
    texts = all_texts(TINY, 3)[1:]
    ended = joint(decoder, memory, texts).exp().sum(1) + told(decoder, memory, [()])[:, 0].exp()
    three = [t for t in texts if len(t) == 3]
    ids = torch.tensor([[decoder.begin, *t] for t in three])
    rest = torch.zeros(3)
    for row in range(3):
        many = memory_of(
            *(t[row : row + 1].expand(len(three), *t.shape[1:]) for t in (memory.x, memory.valid))
        )
        sure = decoder(many, ids).log_softmax(-1)
        reached = sure[:, :3].gather(2, ids[:, 1:, None])[:, :, 0].sum(1).exp()
        rest[row] = (reached * (1 - sure[:, 3, decoder.end].exp())).sum()
    torch.testing.assert_close(ended + rest, torch.ones(3), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_many_answers_take_few_passes(kind, monkeypatch):
    decoder, (memory, _) = build(kind), example(rows=5)
    answers = [(a, b, c) for a in range(2, 8) for b in range(2, 8) for c in range(2, 5)]
    passes = []
    inner = decoder.branches
    monkeypatch.setattr(
        decoder, "branches", lambda m, tree: (passes.append(len(tree.ids)), inner(m, tree))[1]
    )
    whole = joint(decoder, memory, answers)
    assert passes == [1 + 6 + 36 + 108], "shared beginnings once"
    monkeypatch.setattr(closed, "NODES", 40)
    monkeypatch.setattr(closed, "NUMBERS", 40 * 5 * DIM * 2)  # two rows at a time
    torch.testing.assert_close(joint(decoder, memory, answers), whole, rtol=1e-4, atol=1e-4)
    assert max(passes[1:]) <= 40
    assert len(passes[1:]) >= 3 * 4


def test_odd_answer_sets_are_refused():
    decoder, (memory, _) = build("classic"), example()
    for answers in ([], [(2,), ()]):
        with pytest.raises(InputError, match="without a word"):
            constrained(decoder, memory, answers)
    with pytest.raises(InputError, match="the same answer twice"):
        constrained(decoder, memory, [(2, 3), (4,), (2, 3)])
    for answer in ((2, 1), (0,), (WORDS,), (WORDS + 1,), (900,)):
        with pytest.raises(InputError, match="cannot be written"):
            constrained(decoder, memory, [(2,), answer])
    with pytest.raises(InputError, match="longer than the decoder"):
        constrained(decoder, memory, [tuple(range(2, 15))])
    assert constrained(decoder, memory, [(2, 3)]).tolist() == [[0.0]] * 3


@pytest.mark.parametrize("kind", KINDS)
def test_lots_follow_the_probabilities(kind):
    decoder, (memory, _) = build(kind, words=TINY), example()
    many = memory_of(memory.x[:1].expand(4000, -1, -1), memory.valid[:1].expand(4000, -1))
    lots = sample(decoder, many, choose=by_lot(torch.Generator().manual_seed(3)), rules=Rules(longest=2))
    texts = all_texts(TINY, 2)
    truth = told(decoder, rows_of(memory, [0]), texts)[0].exp()
    # A text of the greatest length has to end, so whatever would have followed counts for it.
    two = [i for i, t in enumerate(texts) if len(t) == 2]
    sure = decoder(rows_of(memory, [0] * len(two)), torch.tensor([[decoder.begin, *texts[i]] for i in two]))
    truth[two] = truth[two] / sure.softmax(-1)[:, 2, decoder.end]
    found = [text_of(t) for t in lots.ids[:, 0]]
    share = torch.tensor([found.count(t) / len(found) for t in texts])
    assert truth.sum().item() == pytest.approx(1, abs=1e-4)
    assert (share - truth).abs().max() < 0.03
    again = sample(decoder, many, choose=by_lot(torch.Generator().manual_seed(3)), rules=Rules(longest=2))
    assert torch.equal(lots.ids, again.ids)


def test_a_small_share_is_the_likeliest_id():
    logits = torch.tensor([[0.0, 2.0, 1.0, float("-inf")], [3.0, 0.0, 2.9, float("-inf")]])
    for choose in (
        by_lot(torch.Generator(), top_p=1e-6),
        by_lot(torch.Generator(), temperature=1e-3, top_p=0.9),
    ):
        assert all(choose(logits).tolist() == likeliest(logits).tolist() for _ in range(20))
    half = by_lot(torch.Generator().manual_seed(0), top_p=0.6)
    drawn = torch.stack([half(logits) for _ in range(200)])
    assert set(drawn[:, 0].tolist()) == {1}, "0.665 of the mass is more than the share"
    assert set(drawn[:, 1].tolist()) == {0, 2}
    every = by_lot(torch.Generator().manual_seed(0))
    drawn = torch.stack([every(logits) for _ in range(500)])
    assert set(drawn[:, 0].tolist()) == {0, 1, 2}, "what is impossible is never drawn"


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_is_the_text_word_by_word(kind):
    decoder, (memory, _) = build(kind), example()
    flow = stream(decoder, memory)
    first = next(flow)
    assert first.shape == (3,)
    assert torch.is_grad_enabled(), "between two ids the caller's own settings hold"
    ids = torch.stack([first, *flow], 1)
    assert torch.equal(ids, greedy(decoder, memory).ids[:, 0])


def test_pieces_are_whole_characters():
    raw = "naïve 文字 é".encode()
    words = lambda ids: bytes(i - 2 for i in ids).decode("utf-8", "replace")  # noqa: E731
    told = list(pieces((b + 2 for b in raw), words))
    assert "".join(told) == "naïve 文字 é"
    assert len(told) == len("naïve 文字 é"), "each as soon as it is whole"
    assert list(pieces((b + 2 for b in raw[:-1]), words))[-1] == "\ufffd", (
        "what stays broken is shown in the end"
    )
    assert list(pieces([], words)) == []


def test_the_benchmark_measures_what_it_says(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)  # as where it is not installed
    found = writers(2, 1, ids=5, depth=1)
    assert {name: write() for name, write in found.items()} == {"ours": 5, "ours, no cache": 5}
    assert all(s > 0 for s in best_seconds(found, 1).values())


def test_the_reference_writes_as_many_ids():
    pytest.importorskip("transformers")
    found = writers(1, 1, ids=4, depth=1)
    assert found["transformers"]() == 4
