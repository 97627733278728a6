"""Tiled contrastive losses equal a dense float64 table, whatever the tile; their memory grows with the batch."""

import importlib.util
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from sensorium.alignment import group_ignored, group_positive, info_nce, sigmoid
from sensorium.types import InputError

INF = float("inf")


def unit(rows: int, width: int = 5, *, seed: int = 0, dtype=torch.float64) -> torch.Tensor:
    drawn = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return F.normalize(drawn, dim=1).to(dtype).requires_grad_()


def table(x, y, groups, present, alike, first):
    """Which cells are right answers, and which count: built as a whole, cell by cell in words."""
    rows, columns = len(x), len(y)
    own = torch.arange(rows)[:, None] + first == torch.arange(columns)[None]
    if groups is None:
        right, counts = own, torch.ones(rows, columns, dtype=torch.bool)
    else:
        if not isinstance(groups, tuple):
            groups = groups, torch.cat([groups, 10**6 + torch.arange(columns - rows)])
        same = groups[0][:, None] == groups[1][None]
        positive = alike is group_positive
        right = same if positive else own
        counts = torch.ones_like(same) if positive else own | ~same
    if present is not None:
        if not isinstance(present, tuple):
            present = present, torch.cat([present, torch.ones(columns - rows, dtype=torch.bool)])
        there = present[0][:, None] & present[1][None]
        right, counts = right & there, counts & there
    return right, counts


def dense_nce(
    x, y, scale, *, groups=None, present=None, alike=group_positive, smoothing=0.0, first=0, chunk=None
):
    right, counts = table(x, y, groups, present, alike, first)
    logits = scale * x @ y.T

    def one_way(logits, right, counts):
        keep = right.any(1)
        logits, right, counts = logits[keep], right[keep], counts[keep]
        logp = logits.masked_fill(~counts, -INF).log_softmax(1).masked_fill(~counts, 0)
        hit = (logp * right).sum(1) / right.sum(1)
        return -((1 - smoothing) * hit + smoothing * logp.sum(1) / counts.sum(1)).mean()

    return (one_way(logits, right, counts) + one_way(logits.T, right.T, counts.T)) / 2


def dense_sigmoid(x, y, scale, bias, *, groups=None, present=None, alike=group_positive, first=0, chunk=None):
    right, counts = table(x, y, groups, present, alike, first)
    if present is None:
        many = len(x)
    else:
        many = int((present[0] if isinstance(present, tuple) else present).sum())
    logits = scale * x @ y.T + bias
    return -(F.logsigmoid(torch.where(right, logits, -logits)) * counts).sum() / many


GROUPS = torch.tensor([0, 1, 0, 2, 3, 3, 0, 4, 5, 6, 5])
HERE = torch.tensor([1, 1, 0, 1, 1, 1, 1, 0, 1, 1, 1], dtype=torch.bool)
THERE = torch.tensor([1, 0, 1, 1, 1, 1, 1, 0, 1, 1, 1], dtype=torch.bool)
CASES = {
    "pairs": (11, 11, {}),
    "one pair": (1, 1, {}),
    "hard negatives": (11, 17, {}),
    "a block of the table": (4, 11, {"first": 5}),
    "smoothed": (11, 13, {"smoothing": 0.1}),
    "groups": (11, 11, {"groups": GROUPS}),
    "groups and hard negatives": (11, 14, {"groups": GROUPS}),
    "groups ignored": (11, 11, {"groups": GROUPS, "alike": group_ignored}),
    "groups ignored, smoothed": (11, 11, {"groups": GROUPS, "alike": group_ignored, "smoothing": 0.2}),
    "several columns for each row": (3, 11, {"groups": (torch.tensor([0, 3, 5]), GROUPS)}),
    "more rows than columns": (11, 3, {"groups": (GROUPS, torch.tensor([5, 0, 9]))}),
    "absent": (11, 11, {"present": HERE}),
    "absent and hard negatives": (11, 13, {"present": HERE, "smoothing": 0.1}),
    "absent on either side": (11, 11, {"present": (HERE, THERE)}),
    "absent groups": (11, 11, {"present": (HERE, THERE), "groups": GROUPS}),
    "absent ignored": (11, 11, {"present": (HERE, THERE), "groups": GROUPS, "alike": group_ignored}),
}


def gradients(loss, x, y, *numbers, times=1.0, **options):
    leaves = [v.detach().clone().requires_grad_() for v in (x, y, *map(torch.as_tensor, numbers))]
    value = loss(*leaves, **options)
    return [value.detach(), *torch.autograd.grad(times * value, leaves)]


@pytest.mark.parametrize("chunk", [1, 3, 11, 100, None])
@pytest.mark.parametrize("case", CASES)
def test_value_and_gradients_equal_the_dense_table(case, chunk):
    rows, columns, options = CASES[case]
    x, y = unit(rows), unit(columns, seed=1)
    for tiled, dense, numbers in ((info_nce, dense_nce, (7.5,)), (sigmoid, dense_sigmoid, (7.5, -2.0))):
        if tiled is sigmoid and "smoothing" in options:
            continue
        numbers = [torch.tensor(n, dtype=torch.float64) for n in numbers]
        for got, want in zip(
            gradients(partial(tiled, chunk=chunk), x, y, *numbers, times=3, **options),
            gradients(dense, x, y, *numbers, times=3, **options),
            strict=True,
        ):
            torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_single_precision_is_good_to_a_hundred_thousandth(case):
    rows, columns, options = CASES[case]
    x, y = unit(rows), unit(columns, seed=1)
    scale, bias = torch.tensor(14.3, dtype=torch.float64), torch.tensor(-2.0, dtype=torch.float64)
    single = [t.detach().float() for t in (x, y, scale, bias)]
    for got, want in zip(
        gradients(info_nce, *single[:3], **options), gradients(dense_nce, x, y, scale, **options), strict=True
    ):
        torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-5)
    if "smoothing" not in options:
        got = gradients(sigmoid, *single, **options)
        for g, w in zip(got, gradients(dense_sigmoid, x, y, scale, bias, **options), strict=True):
            torch.testing.assert_close(g.double(), w, rtol=1e-5, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 13),
    more=st.integers(0, 5),
    chunk=st.integers(1, 15),
    kinds=st.integers(1, 6),
    seed=st.integers(0, 10**6),
)
def test_any_size_tile_groups_and_absence(rows, more, chunk, kinds, seed):
    draw = torch.Generator().manual_seed(seed)
    x, y = unit(rows, seed=seed), unit(rows + more, seed=seed + 1)
    groups = torch.randint(kinds, (rows,), generator=draw)
    present = torch.rand(rows, generator=draw) < 0.7
    present[0] = True
    scale = torch.tensor(20.0, dtype=torch.float64)
    for alike in (group_positive, group_ignored):
        options = {"groups": groups, "present": present, "alike": alike, "smoothing": 0.1, "chunk": chunk}
        got = gradients(info_nce, x, y, scale, **options)
        for g, w in zip(got, gradients(dense_nce, x, y, scale, **options), strict=True):
            torch.testing.assert_close(g, w, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("loss", [partial(info_nce, scale=torch.tensor(5.0).double()), partial(sigmoid, scale=5.0, bias=-1.0)])  # fmt: skip
def test_finite_differences_agree(loss):
    x, y = unit(4, 3), unit(6, 3, seed=1)
    assert torch.autograd.gradcheck(partial(loss, groups=torch.tensor([0, 1, 0, 2]), chunk=3), (x, y))


def test_goldens_of_another_library():
    """Two draws of (3, 5) after seed 1234, at temperature 0.07; the second with labels smoothed by a tenth."""
    draw = torch.Generator().manual_seed(1234)
    x, y = torch.randn(3, 5, generator=draw), torch.randn(3, 5, generator=draw)
    assert float(info_nce(x, y, 1 / 0.07)) == pytest.approx(9.8753, abs=1e-4)
    assert float(info_nce(x, y, 1 / 0.07, smoothing=0.1)) == pytest.approx(10.2524, abs=1e-4)


def test_equal_to_open_clip():
    found = importlib.util.find_spec("open_clip")
    if found is None:
        pytest.skip("open_clip_torch is not installed")
    # the file alone: the package asks for torchvision
    spec = importlib.util.spec_from_file_location("losses", Path(found.origin).with_name("loss.py"))
    losses = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(losses)
    x, y, scale, bias = unit(37, 16), unit(37, 16, seed=1), torch.tensor(14.0).double(), torch.tensor(-3.0).double()  # fmt: skip
    pairs = ((info_nce, losses.ClipLoss(), (scale,)), (sigmoid, losses.SigLipLoss(), (scale, bias)))
    for ours, theirs, numbers in pairs:
        got = gradients(partial(ours, chunk=8), x, y, *numbers)
        for g, w in zip(got, gradients(theirs, x, y, *numbers), strict=True):
            torch.testing.assert_close(g, w, rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore")  # of the other library
def test_equal_to_transformers():
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config={**small, "vocab_size": 20, "max_position_embeddings": 8},
        vision_config={**small, "image_size": 8, "patch_size": 4},
        projection_dim=12,
    )
    torch.manual_seed(0)
    model = transformers.CLIPModel(config).eval()
    ids, pixels = torch.randint(3, 20, (7, 8)), torch.randn(7, 3, 8, 8)
    out = model(input_ids=ids, pixel_values=pixels, return_loss=True)
    scale = model.logit_scale.exp()
    ours = info_nce(out.image_embeds, out.text_embeds, scale, chunk=3)
    torch.testing.assert_close(ours, out.loss, rtol=1e-5, atol=1e-5)
    weights = [p for p in model.parameters() if p.requires_grad]
    want = torch.autograd.grad(out.loss, weights, retain_graph=True, allow_unused=True)
    got = torch.autograd.grad(ours, weights, allow_unused=True)
    assert sum(w is not None for w in want) > 20
    for g, w in zip(got, want, strict=True):
        if w is not None:
            torch.testing.assert_close(g, w, rtol=1e-4, atol=1e-5)


def saved_bytes(run) -> int:
    """Bytes that a forward pass keeps for the backward pass, each storage once."""
    kept = []

    def pack(t):
        kept.append(t)
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        run()
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in kept}.values())


@pytest.mark.parametrize("groups", [False, True])
@pytest.mark.parametrize("loss", [partial(info_nce, scale=9.0), partial(sigmoid, scale=9.0, bias=-2.0)])
def test_what_is_kept_doubles_with_the_batch(loss, groups):
    def kept(rows):
        x, y = unit(rows, 32, dtype=torch.float32), unit(rows, 32, seed=1, dtype=torch.float32)
        numbers = torch.arange(rows) // 2 if groups else None
        return saved_bytes(lambda: loss(x, y, groups=numbers, present=torch.ones(rows, dtype=torch.bool)))

    few, many = kept(256), kept(512)
    assert 2 * 256 * 32 * 4 <= few <= 3 * 2 * 256 * 32 * 4
    assert many <= 2.2 * few


@pytest.mark.parametrize("scale", [1e4, 1e30])
def test_large_logits_do_not_overflow(scale):
    x, y = unit(9, dtype=torch.float32), unit(9, seed=1, dtype=torch.float32)
    for value, *grads in (
        gradients(partial(info_nce, chunk=2), x, y, scale),
        gradients(partial(sigmoid, chunk=2), x, y, scale, -1.0),
    ):
        assert value.isfinite()
        assert value > 1
        assert all(g.isfinite().all() for g in grads)


def test_right_answers_far_below_the_others_still_count():
    """Exponentials of these logits are 0 in single precision when they are shifted by the largest of the table."""
    x = torch.tensor([[100.0, 0.0], [0.0, 1.0]], requires_grad=True)
    y = torch.tensor([[100.0, 0.0], [0.0, 1.0]])
    loss = info_nce(x, y, 1.0)
    want = dense_nce(x.detach().double(), y.double(), 1.0)
    assert float(want) > 0.1
    assert float(loss.detach()) == pytest.approx(float(want), rel=1e-5)
    loss.backward()
    assert x.grad[1].abs().max() > 0.01


@pytest.mark.parametrize("options", [{}, {"groups": torch.arange(64)}])
def test_small_gradients_of_pairs_that_are_found_do_not_drown(options):
    x = unit(64, 64)
    scale = torch.tensor(100.0, dtype=torch.float64)
    want = gradients(dense_nce, x, x, scale)
    assert 0 < want[1].abs().max() < 1e-15
    got = gradients(info_nce, x.detach().float(), x.detach().float(), scale.float(), **options)
    for g, w in zip(got[1:], want[1:], strict=True):
        torch.testing.assert_close(g.double(), w, rtol=1e-3, atol=1e-3 * float(w.abs().max()))


def test_what_absent_rows_hold_does_not_matter():
    x, y = unit(11), unit(11, seed=1)
    want = gradients(info_nce, x[HERE], y[HERE], torch.tensor(6.0).double())
    with torch.no_grad():
        spoiled = x.clone(), y.clone()
        spoiled[0][~HERE], spoiled[1][~HERE] = float("nan"), INF
    value, dx, dy, ds = gradients(partial(info_nce, present=HERE), *spoiled, torch.tensor(6.0).double())
    assert value == want[0]
    assert torch.equal(dx[HERE], want[1])
    assert torch.equal(dy[HERE], want[2])
    assert ds == want[3]
    assert not dx[~HERE].any()
    assert not dy[~HERE].any()


def test_the_order_of_rows_does_not_matter():
    x, y = unit(11), unit(11, seed=1)
    order = torch.randperm(11, generator=torch.Generator().manual_seed(3))
    for loss in (partial(info_nce, scale=8.0), partial(sigmoid, scale=8.0, bias=-2.0)):
        one = loss(x, y, groups=GROUPS, present=HERE, chunk=4)
        other = loss(x[order], y[order], groups=GROUPS[order], present=HERE[order], chunk=4)
        torch.testing.assert_close(one, other, rtol=1e-12, atol=0)


def test_inputs_are_left_as_they_are():
    x, y = unit(11), unit(11, seed=1)
    before = [t.detach().clone() for t in (x, y, GROUPS, HERE)]
    info_nce(x, y, 5.0, groups=GROUPS, present=HERE).backward()
    assert all(torch.equal(a, b) for a, b in zip(before, (x, y, GROUPS, HERE), strict=True))


def test_without_any_pair_there_is_no_loss_and_no_gradient():
    x, y = unit(3), unit(3, seed=1)
    nobody = torch.zeros(3, dtype=torch.bool)
    for loss in (partial(info_nce, scale=8.0), partial(sigmoid, scale=8.0, bias=-2.0)):
        value = loss(x, y, present=nobody)
        dx, dy = torch.autograd.grad(value, (x, y))
        assert value == 0
        assert not dx.any()
        assert not dy.any()


def test_sums_are_in_single_precision_under_autocast():
    x, y = unit(64, 32, dtype=torch.float32), unit(64, 32, seed=1, dtype=torch.float32)
    want = gradients(info_nce, x, y, 14.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = gradients(info_nce, x, y, 14.0)
    assert all(torch.equal(g, w) for g, w in zip(got, want, strict=True))


def test_half_precision_vectors_get_gradients_of_their_kind():
    x, y = unit(8, dtype=torch.bfloat16), unit(8, seed=1, dtype=torch.bfloat16)
    value = info_nce(x, y, 10.0)
    assert value.dtype == torch.float32
    (dx,) = torch.autograd.grad(value, x)
    assert dx.dtype == torch.bfloat16


def test_only_one_side_is_trained():
    x, y = unit(7), unit(7, seed=1)
    want = torch.autograd.grad(info_nce(x, y, 5.0), (x, y))
    assert torch.equal(torch.autograd.grad(info_nce(x.detach(), y, 5.0), y)[0], want[1])
    assert torch.equal(torch.autograd.grad(info_nce(x, y.detach(), 5.0), x)[0], want[0])


@pytest.mark.parametrize("loss", [partial(info_nce, scale=9.0), partial(sigmoid, scale=9.0, bias=-2.0)])
def test_second_derivatives_are_refused(loss):
    x, y = unit(4), unit(4, seed=1)
    with pytest.raises(InputError, match="second derivative"):
        torch.autograd.grad(loss(x, y), x, create_graph=True)


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"chunk": 0}, "needs a row"),
        ({"chunk": -3}, "needs a row"),
        ({"first": 1}, "one for each row"),
        ({"groups": torch.arange(3)}, "groups does not fit"),
        ({"present": torch.ones(5, dtype=torch.bool)}, "present does not fit"),
        ({"groups": (torch.arange(4), torch.arange(5))}, "groups does not fit"),
    ],
)
def test_mistakes_are_told(options, wrong):
    with pytest.raises(InputError, match=wrong):
        info_nce(unit(4), unit(4, seed=1), 5.0, **options)
