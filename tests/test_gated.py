"""Words that look at pictures: what the gate computes, and what absence and padding leave alone."""

import numpy as np
import pytest
import torch

from sensorium.fusion import GatedVision
from sensorium.tokens import Tokens

DIM = 4
WORDS = torch.tensor([[True, True, True], [True, True, False], [True, False, False], [True, True, True]])
SEEN = torch.tensor([[True, True], [False, True], [False, False], [True, False]])


def tokens(x, valid, kind=1):
    return Tokens(
        x=x,
        kind=torch.full(valid.shape, kind),
        place=torch.zeros(*valid.shape, 3, dtype=x.dtype),
        valid=valid,
    )


def made(*, heads=1, wild=0.0, dtype=torch.float32):
    torch.manual_seed(0)
    layer = GatedVision(DIM, heads=heads).to(dtype)
    text, vision = (
        torch.randn(*valid.shape, DIM, dtype=dtype).masked_fill(~valid[:, :, None], wild)
        for valid in (WORDS, SEEN)
    )
    return layer, text, vision


def rms(x, weight):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + np.finfo(np.float64).eps) * weight


def by_hand(layer, words, pictures):
    """The paper's three lines for one row and one head, in numpy: (words, dim), (tokens, dim) -> H', lambda."""
    p = {name: value.detach().numpy() for name, value in layer.named_parameters()}
    query = rms(words @ p["attention.query.weight"].T, p["attention.norm_query.weight"])
    key, value = np.split(pictures @ p["attention.pair.weight"].T, 2, axis=1)
    scores = query @ rms(key, p["attention.norm_key.weight"]).T / np.sqrt(DIM)
    weights = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    looked = weights @ value @ p["attention.out.weight"].T
    share = 1 / (1 + np.exp(-(np.hstack([words, looked]) @ p["gate.weight"].T + p["gate.bias"])))
    return (1 - share) * words + share * looked, share


def test_every_row_is_what_the_formula_gives_by_hand():
    layer, text, vision = made(dtype=torch.float64)
    found, share = layer(tokens(text, WORDS), tokens(vision, SEEN, 2))
    for row in (0, 1, 3):
        words, pictures = text[row, WORDS[row]].numpy(), vision[row, SEEN[row]].numpy()
        mixed, gate = by_hand(layer, words, pictures)
        assert np.ptp(gate) > 0.05, "a gate that is the same everywhere would prove little"
        np.testing.assert_allclose(found.x[row, WORDS[row]].detach().numpy(), mixed, rtol=1e-12)
        np.testing.assert_allclose(share[row, WORDS[row]].detach().numpy(), gate, rtol=1e-12)


def test_a_tiny_case_with_numbers_anyone_can_check():
    layer = GatedVision(1).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(1.0)
        layer.gate.bias.zero_()
    # One number: normalised queries and keys are signs, so the weights of 2 and -1 are e and 1/e, over their sum.
    text, vision = torch.tensor([[[3.0]]]).double(), torch.tensor([[[2.0], [-1.0]]]).double()
    found, share = layer(tokens(text, torch.ones(1, 1).bool()), tokens(vision, torch.ones(1, 2).bool()))
    looked = (2 * np.e - 1 / np.e) / (np.e + 1 / np.e)
    gate = 1 / (1 + np.exp(-(3 + looked)))
    assert share.item() == pytest.approx(gate, rel=1e-9)
    assert found.x.item() == pytest.approx((1 - gate) * 3 + gate * looked, rel=1e-9)


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("wild", [1e30, float("nan"), float("inf")])
def test_padding_is_not_read_whatever_it_holds(heads, wild):
    clean, wild = made(heads=heads), made(heads=heads, wild=wild)
    one, share = clean[0](tokens(clean[1], WORDS), tokens(clean[2], SEEN))
    other, same = wild[0](tokens(wild[1], WORDS), tokens(wild[2], SEEN))
    assert torch.equal(one.x[WORDS], other.x[WORDS])
    assert torch.equal(share, same)
    assert not share[~WORDS].any()


def test_more_padding_changes_nothing():
    layer, text, vision = made(dtype=torch.float64)
    found, share = layer(tokens(text, WORDS), tokens(vision, SEEN))
    far = torch.nn.functional.pad
    wider, same = layer(
        tokens(far(text, (0, 0, 0, 2), value=7.0), far(WORDS, (0, 2), value=False)),
        tokens(far(vision, (0, 0, 3, 1), value=7.0), far(SEEN, (3, 1), value=False)),
    )
    torch.testing.assert_close(wider.x[:, :3], found.x, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(same[:, :3], share, rtol=1e-12, atol=1e-12)


def test_the_order_of_pictures_does_not_matter_but_their_content_does():
    layer, text, vision = made(dtype=torch.float64)
    found, _ = layer(tokens(text, WORDS), tokens(vision, SEEN))
    turned, _ = layer(tokens(text, WORDS), tokens(vision.flip(1), SEEN.flip(1)))
    torch.testing.assert_close(turned.x, found.x, rtol=1e-12, atol=1e-12)
    other, _ = layer(tokens(text, WORDS), tokens(vision + 1, SEEN))
    assert not torch.isclose(other.x[[0, 1, 3]], found.x[[0, 1, 3]])[WORDS[[0, 1, 3]]].any()


@pytest.mark.parametrize("places", [0, 2])
def test_without_a_picture_words_stay_to_the_bit(places):
    layer, text, vision = made()
    text[2, 0, 0] = -0.0  # minus zero plus zero is another number to the bit
    text.requires_grad_()
    nothing = torch.zeros(4, places, dtype=torch.bool)
    found, share = layer(tokens(text, WORDS), tokens(vision[:, :places] * float("nan"), nothing))
    assert found.x.detach().numpy().tobytes() == text.detach().numpy().tobytes()
    assert not share.any()
    found.x.square().sum().backward()
    torch.testing.assert_close(text.grad, 2 * text.detach())
    assert all(p.grad is None or not p.grad.any() for p in layer.parameters())


def test_gradients_reach_pictures_and_words_and_nothing_that_is_absent():
    layer, text, vision = made(wild=float("nan"))
    text.requires_grad_()
    vision.requires_grad_()
    found, _ = layer(tokens(text, WORDS), tokens(vision, SEEN))
    found.x[WORDS].square().sum().backward()
    assert all(torch.isfinite(p.grad).all() and p.grad.any() for p in (text, vision, *layer.parameters()))
    assert vision.grad[SEEN].any(1).all()
    assert not vision.grad[~SEEN].any()
    assert not text.grad[~WORDS].any()


def test_the_rest_of_a_token_is_the_text_s():
    layer, text, vision = made()
    given = tokens(text, WORDS, 5)
    found, share = layer(given, tokens(vision, SEEN, 6))
    assert found.kind is given.kind
    assert found.place is given.place
    assert found.valid is given.valid
    assert share.shape == text.shape
    assert ((share >= 0) & (share <= 1)).all()


def test_a_gate_learns_to_take_only_what_is_seen():
    """Words that should say what the picture shows: the gate opens, and rows without a picture are not touched."""
    torch.manual_seed(0)
    layer = GatedVision(DIM)
    words, pictures = torch.randn(64, 2, DIM), torch.randn(64, 1, DIM)
    there = (torch.arange(64) % 4 > 0)[:, None]
    text, vision = tokens(words, torch.ones(64, 2).bool()), tokens(pictures, there)
    wanted = torch.where(there[:, :, None], pictures.expand(-1, 2, -1), words)
    steps = torch.optim.Adam(layer.parameters(), lr=0.03)
    for _ in range(300):
        steps.zero_grad()
        found, share = layer(text, vision)
        loss = (found.x - wanted).square().mean()
        loss.backward()
        steps.step()
    assert loss < 0.02
    assert share[there[:, 0]].mean() > 0.9
    assert not share[~there[:, 0]].any()
