"""Decoders of text: what they may see, what they learn, and what odd memories and vocabularies do to them."""

from dataclasses import replace

import pytest
import torch

from benchmarks.generate import uncached
from sensorium.tokens import Tokens
from sensorium.translation import AttentiveDecoder, TextDecoder
from sensorium.translation.closed import prefix_tree
from sensorium.translation.loss import lesson, row_losses, taught, token_loss, unevenness
from sensorium.translation.search import Rules, greedy
from sensorium.types import InputError

WORDS, DIM = 20, 32
KINDS = ["transformer", "classic"]


def memory_of(x: torch.Tensor, valid: torch.Tensor | None = None) -> Tokens:
    valid = torch.ones(x.shape[:2], dtype=torch.bool) if valid is None else valid
    return Tokens(x=x, kind=valid.long(), place=torch.zeros(*x.shape[:2], 3), valid=valid)


def fresh(kind: str, *, words: int = WORDS, dim: int = DIM, longest: int = 12, **more):
    torch.manual_seed(0)
    if kind == "classic":
        return AttentiveDecoder(words, dim, longest=longest, **more)
    return TextDecoder(words, dim, heads=4, depth=2, longest=longest, **more)


def build(kind: str, **more):
    decoder = fresh(kind, **more)
    with torch.no_grad():  # larger than at the start, so that answers differ clearly
        decoder.embedding.weight.normal_(0, 0.3)
    return decoder.eval()


def example(rows: int = 3, tokens: int = 5, steps: int = 9):
    torch.manual_seed(1)
    valid = torch.ones(rows, tokens, dtype=torch.bool)
    valid[1, 1], valid[-1] = False, False
    ids = torch.randint(2, WORDS, (rows, steps))
    ids[:, 0] = WORDS
    return memory_of(torch.randn(rows, tokens, DIM), valid), ids


def rows_of(memory: Tokens, rows) -> Tokens:
    return Tokens(
        x=memory.x[rows], kind=memory.kind[rows], place=memory.place[rows], valid=memory.valid[rows]
    )


def said(logits: torch.Tensor) -> torch.Tensor:
    """Logits without the ids that are never written."""
    return logits[..., [*range(2, WORDS), WORDS + 1]]


@pytest.mark.parametrize("kind", KINDS)
def test_step_by_step_is_teacher_forcing(kind):
    decoder, (memory, ids) = build(kind).double(), example()
    memory = replace(memory, x=memory.x.double())
    whole = decoder(memory, ids)
    state = decoder.start(memory, room=ids.shape[1])
    steps = torch.stack([decoder.step(state, ids[:, i])[0] for i in range(ids.shape[1])], 1)
    torch.testing.assert_close(said(steps), said(whole), rtol=1e-11, atol=1e-11)
    assert state.length == ids.shape[1]


@pytest.mark.parametrize("kind", KINDS)
def test_the_cache_gives_the_bits_of_a_fresh_start(kind):
    """What is kept from step to step is, to the bit, what reading the text again gives; also after a reordering."""
    decoder, (memory, ids) = build(kind), example()
    swap = torch.tensor([1, 0, 2, 3, 5, 4])
    ids = torch.cat([ids, ids.flip(1)], 0)
    kept = decoder.start(memory, room=9, copies=2)
    for at in range(9):
        logits, kept = decoder.step(kept, ids[:, at])
        fresh = decoder.start(memory, room=9, copies=2)
        for earlier in range(at + 1):
            again, fresh = decoder.step(fresh, ids[:, earlier])
        assert torch.equal(logits, again)
        kept.reorder(swap)
        ids = ids[swap]


@pytest.mark.parametrize("kind", KINDS)
def test_cache_on_and_off_write_the_same(kind):
    decoder, (memory, _) = build(kind), example()
    for rules in (Rules(), Rules(shortest=5, no_repeat=2)):
        on, off = greedy(decoder, memory, rules=rules), greedy(uncached(decoder), memory, rules=rules)
        assert torch.equal(on.ids, off.ids)
        torch.testing.assert_close(on.log_probability, off.log_probability, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_sees_what_comes_later_or_what_is_invalid(kind):
    decoder, (memory, ids) = build(kind), example()
    before = decoder(memory, ids)
    later = ids.clone()
    later[:, 5:] = 7
    assert torch.equal(said(decoder(memory, later))[:, :5], said(before)[:, :5])
    assert not torch.equal(said(decoder(memory, later))[:, 5:], said(before)[:, 5:])
    spoiled = replace(memory, x=memory.x.masked_fill(~memory.valid[:, :, None], float("nan")))
    assert torch.equal(said(decoder(spoiled, ids)), said(before))
    for row in range(len(ids)):
        alone = decoder(rows_of(memory, slice(row, row + 1)), ids[row : row + 1])
        torch.testing.assert_close(said(alone), said(before)[row : row + 1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_memory_is_a_language_model(kind):
    decoder, (memory, ids) = build(kind), example()
    last = ids[-1:]
    none = decoder(memory_of(torch.zeros(1, 0, DIM)), last)
    assert said(none).isfinite().all()
    torch.testing.assert_close(said(decoder(memory, ids))[-1:], said(none), rtol=1e-4, atol=1e-4)
    assert greedy(decoder, memory_of(torch.zeros(2, 0, DIM))).ids.shape[0] == 2
    assert greedy(decoder, memory_of(torch.zeros(0, 4, DIM))).ids.shape[0] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_looks_are_shares_of_valid_tokens(kind):
    decoder, (memory, ids) = build(kind), example()
    logits, looks = decoder.with_looks(memory, ids)
    torch.testing.assert_close(said(logits), said(decoder(memory, ids)), rtol=1e-4, atol=1e-4)
    assert looks.shape == (3, 9, 5)
    assert (looks >= 0).all()
    assert (looks.sum(-1) < 1).all()
    assert (looks[memory.valid[:, None].expand_as(looks)] > 0).all()
    assert (looks[~memory.valid[:, None].expand_as(looks)] == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_branch_is_a_text(kind):
    """Each node of a tree gives what reading its whole beginning gives."""
    decoder, (memory, _) = build(kind), example()
    answers = [(2, 3, 4), (2, 3), (5,), (2, 6, 7, 8), (5, 3)]
    tree, nodes = prefix_tree(decoder, answers)
    assert len(tree.ids) == 9, "(), 2, 5, 23, 26, 53, 234, 267, 2678"
    told = decoder.logits(decoder.branches(memory, tree))
    for beginning, node in [((), 0), *zip(answers, nodes.tolist(), strict=True)]:
        ids = torch.tensor([decoder.begin, *beginning]).expand(3, -1)
        torch.testing.assert_close(
            said(told[:, node]), said(decoder(memory, ids)[:, -1]), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("kind", KINDS)
def test_padding_unknown_and_begin_are_never_written(kind):
    decoder, (memory, ids) = build(kind), example()
    sure = decoder(memory, ids).softmax(-1)
    assert (sure[:, :, [0, 1, decoder.begin]] == 0).all()
    torch.testing.assert_close(sure.sum(-1), torch.ones(3, 9))


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_learns(kind):
    decoder, (memory, ids) = build(kind).train(), example()
    given, targets = lesson(decoder, ids[:, 1:])
    logits, looks = decoder.with_looks(memory, given)
    loss = token_loss(logits, targets) + unevenness(looks, taught(targets), memory.valid).mean()
    loss.backward()
    for name, weight in decoder.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
        assert weight.grad.abs().max() > 0, name


@pytest.mark.parametrize("kind", KINDS)
def test_both_learn_to_copy_backwards(kind):
    """The memory holds up to six marked tokens; the text is their marks from the last to the first."""
    words, longest, steps = 8, 6, 200
    decoder = fresh(kind, words=words + 2, dim=48, longest=longest, dropout=0.0).train()
    marks, places = torch.randn(words, 48), torch.randn(longest, 48)

    def world(rows: int):
        length = torch.randint(2, longest + 1, (rows,))
        valid = torch.arange(longest) < length[:, None]
        word = torch.randint(0, words, (rows, longest))
        back = (length[:, None] - 1 - torch.arange(longest)).clamp(min=0)
        text = (word.gather(1, back) + 2).masked_fill(~valid, 0)
        return memory_of(marks[word] + places, valid), text

    optimiser = torch.optim.AdamW(decoder.parameters(), lr=6e-3, betas=(0.9, 0.98))
    plan = torch.optim.lr_scheduler.OneCycleLR(optimiser, 6e-3, total_steps=steps)
    for _ in range(steps):
        memory, text = world(64)
        given, targets = lesson(decoder, text)
        loss = token_loss(decoder(memory, given), targets, smoothing=0.05)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        optimiser.step()
        plan.step()
    memory, text = world(200)
    written = greedy(decoder.eval(), memory).ids[:, 0]
    wide = torch.nn.functional.pad(written, (0, longest - written.shape[1]))
    right = (wide == text).all(1).float().mean()
    assert right > 0.9, f"{right:.3f} of the texts are right"
    # The first word is the mark of the last valid token, so that is where it looks.
    _, looks = decoder.with_looks(memory, lesson(decoder, text)[0])
    assert (looks[:, 0].argmax(1) == memory.valid.sum(1) - 1).float().mean() > 0.8


def test_a_lesson_is_shifted_by_one():
    decoder = build("classic")
    given, targets = lesson(decoder, torch.tensor([[4, 5, 0, 0], [6, 1, 7, 0], [0, 0, 0, 0]]))
    assert given.tolist() == [[20, 4, 5, 0], [20, 6, 1, 7], [20, 0, 0, 0]]
    assert targets.tolist() == [[4, 5, 21, 0], [6, 1, 7, 21], [0, 0, 0, 0]]
    assert taught(targets).sum(1).tolist() == [3, 3, 0], "nobody learns to say unknown"
    given, targets = lesson(decoder, torch.zeros(0, 3, dtype=torch.long))
    assert given.shape == targets.shape == (0, 1)


def test_the_loss_is_cross_entropy_of_what_can_be_written():
    torch.manual_seed(0)
    logits, targets = torch.randn(3, 4, 7), torch.tensor([[2, 3, 6, 0], [4, 1, 6, 0], [0, 0, 0, 0]])
    logits[:, :, [0, 1, 5]] = float("-inf")
    can = [2, 3, 4, 6]
    smooth = torch.full((7,), 0.0)
    smooth[can] = 0.2 / 4
    expected = torch.zeros(3, 4)
    for row, at in taught(targets).nonzero().tolist():
        told = logits[row, at, can].log_softmax(0)
        share = smooth[can].clone()
        share[can.index(int(targets[row, at]))] += 0.8
        expected[row, at] = -(share * told).sum()
    found = row_losses(logits, targets, smoothing=0.2)
    torch.testing.assert_close(found, expected.sum(1) / torch.tensor([3.0, 2.0, 1.0]))
    assert found[2] == 0, "a row without a target costs nothing"
    torch.testing.assert_close(token_loss(logits, targets, smoothing=0.2), expected.sum() / 5)
    assert token_loss(logits[2:], targets[2:]) == 0
    logits.requires_grad_()
    token_loss(logits, targets).backward()
    assert logits.grad.isfinite().all()
    assert (logits.grad[:, :, [0, 1, 5]] == 0).all()


def test_unevenness_is_zero_for_an_even_look():
    valid = torch.tensor([[True, True, False]])
    real = torch.tensor([[True, True, False]])
    even = torch.tensor([[[0.9, 0.1, 0.0], [0.1, 0.9, 0.0], [1.0, 0.0, 0.0]]])
    assert unevenness(even, real, valid).item() == pytest.approx(0)
    one = torch.tensor([[[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    assert unevenness(one, real, valid).item() == pytest.approx(2)


@pytest.mark.parametrize("kind", KINDS)
def test_bad_decoders_and_texts_are_refused(kind):
    with pytest.raises(InputError, match="without a word"):
        build(kind, words=2)
    with pytest.raises(InputError, match="no length"):
        build(kind, longest=0)
    decoder, (memory, ids) = build(kind, longest=4), example()
    with pytest.raises(InputError, match="longer than the decoder"):
        decoder(memory, ids)
    with pytest.raises(InputError, match="longer than the decoder"):
        greedy(decoder, memory, rules=Rules(longest=5))


def test_a_full_cache_says_so():
    decoder, (memory, ids) = build("transformer"), example()
    state = decoder.start(memory, room=1)
    decoder.step(state, ids[:, 0])
    with pytest.raises(InputError, match="the cache is full"):
        decoder.step(state, ids[:, 1])
