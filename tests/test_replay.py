"""The gradient cache gives the gradients of the whole batch, with the same random draws, in one process or in several."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn import functional as F

from sensorium.alignment import gather, info_nce, sigmoid
from sensorium.nn import MaskedBatchNorm
from sensorium.tokens import Batch, Part
from sensorium.training.replay import (
    Chunks,
    activation_bytes,
    average_gradients,
    chunks_for,
    encoded_in_pieces,
    refuse_batch_norm,
    replay,
    rows_of,
)
from sensorium.types import InputError

ROWS, STEPS, ITEM, WIDTH = 16, 5, 3, 6
SUBSETS = {"sound": range(16), "text": (0, 1, 2, 5, 6, 7, 8, 11, 12, 13, 14, 15), "motion": (6, 9, 10, 15)}
GROUP = torch.tensor([0, 1, 2, 3, 0, 4, 5, 6, 7, 7, 8, 9, 10, 11, 12, 6])


class Tower(nn.Module):
    """Padded steps -> unit vectors of each modality, with dropout; each row for itself."""

    def __init__(self, dropout: float):
        super().__init__()
        self.inside = nn.ModuleDict({n: nn.Linear(ITEM, 32) for n in SUBSETS})
        self.outside = nn.ModuleDict({n: nn.Linear(32, WIDTH) for n in SUBSETS})
        self.unused = nn.Linear(2, 2)
        self.heat, self.bias = nn.Parameter(torch.tensor(1.5)), nn.Parameter(torch.tensor(-2.0))
        self.dropout = dropout

    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        found = {}
        for name, part in batch.parts.items():
            real = torch.arange(part.values.shape[1])[None] < part.length[:, None]
            x = F.dropout(F.gelu(self.inside[name](part.values)), self.dropout, self.training)
            x = (x * real[:, :, None]).sum(1) / part.length[:, None]
            vectors = F.normalize(self.outside[name](x), dim=1)
            found[name] = vectors.new_zeros(batch.rows, WIDTH).index_copy(0, part.row, vectors)
        return found

    def loss(self, vectors: dict[str, torch.Tensor], group, across=None) -> torch.Tensor:
        """Every pair of modalities, softmax and sigmoid, over the rows that have both."""
        total = torch.zeros(())
        for a, b in (("sound", "text"), ("sound", "motion"), ("motion", "text")):
            x, y = vectors[a], vectors[b]
            here = (x.detach() != 0).any(1) & (y.detach() != 0).any(1)
            options = {"groups": group, "present": here, "chunk": 3, "across": across}
            total = total + info_nce(x, y, self.heat.exp(), **options)
            total = total + 0.1 * sigmoid(x, y, self.heat.exp(), self.bias, **options)
        return total


def made(dropout: float) -> Tower:
    torch.manual_seed(0)
    return Tower(dropout)


def whole() -> Batch:
    draw = torch.Generator().manual_seed(1)
    parts = {}
    for name, rows in SUBSETS.items():
        length = torch.randint(1, STEPS + 1, (len(rows),), generator=draw)
        values = torch.randn(len(rows), STEPS, ITEM, generator=draw)
        values = values * (torch.arange(STEPS)[None] < length[:, None])[:, :, None]
        parts[name] = Part(values=values, length=length, row=torch.tensor(rows))
    return Batch(parts=parts, rows=ROWS, group=GROUP)


def gradients(tower: Tower) -> dict[str, torch.Tensor]:
    return {n: p.grad.clone() for n, p in tower.named_parameters() if p.grad is not None}


def in_pieces(tower: Tower, batch: Batch, rows: int) -> dict[str, torch.Tensor]:
    """Vectors of a batch with everything kept for one backward pass; drawn in the order in which pieces are."""
    found = {n: [] for n in SUBSETS}
    for a in range(0, batch.rows, rows):
        piece = rows_of(batch, a, min(a + rows, batch.rows))
        vectors = tower(piece)
        for name in SUBSETS:
            found[name].append(vectors.get(name, torch.zeros(piece.rows, WIDTH)))
    return {n: torch.cat(v) for n, v in found.items()}


def close(got: dict, want: dict, *, tolerance: float = 1e-6) -> None:
    assert got.keys() == want.keys()
    assert len(want) > 10
    for name, grad in want.items():
        torch.testing.assert_close(
            got[name], grad, rtol=1e-5, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("rows", [1, 3, 7, 16, 100])
def test_without_dropout_equal_to_the_batch_at_once(rows):
    plain, pieced, batch = made(0.0), made(0.0), whole()
    want = plain.loss(plain(batch), GROUP)
    want.backward()
    got = replay(pieced, lambda v: pieced.loss(v, GROUP), batch, rows=rows)
    torch.testing.assert_close(got, want.detach(), rtol=1e-6, atol=1e-6)
    assert not got.requires_grad
    close(gradients(pieced), gradients(plain))


@pytest.mark.parametrize("rows", [1, 3, 7, 16])
def test_with_dropout_equal_to_everything_kept(rows):
    """The same draws, but no activation is thrown away: the graph of all pieces in one backward pass."""
    kept, pieced, batch = made(0.5), made(0.5), whole()
    torch.manual_seed(5)
    with torch.no_grad():
        assert not torch.equal(kept(batch)["sound"], kept(batch)["sound"]), "dropout is at work"
    torch.manual_seed(7)
    kept.loss(in_pieces(kept, batch, rows), GROUP).backward()
    torch.manual_seed(7)
    replay(pieced, lambda v: pieced.loss(v, GROUP), batch, rows=rows)
    close(gradients(pieced), gradients(kept))


def test_the_second_pass_draws_the_same_to_the_bit_and_the_generator_goes_on():
    tower, batch, seen = made(0.5), whole(), []

    def encode(piece):
        found = tower(piece)
        seen.append((torch.is_grad_enabled(), {n: v.detach() for n, v in found.items()}))
        return found

    torch.manual_seed(7)
    in_pieces(tower, batch, 5)
    after = torch.get_rng_state()
    torch.manual_seed(7)
    replay(encode, lambda v: tower.loss(v, GROUP), batch, rows=5)
    assert torch.equal(torch.get_rng_state(), after), "as if every piece had been encoded once"
    first, second = seen[:4], seen[4:]
    assert [s[0] for s in seen] == [False] * 4 + [True] * 4
    for (_, one), (_, two) in zip(first, second, strict=True):
        assert all(torch.equal(one[n], two[n]) for n in one)


def test_two_forward_passes_before_their_backward_passes():
    one, two, batch = made(0.5), made(0.5), whole()
    torch.manual_seed(3)
    for _ in range(2):
        replay(one, lambda v: one.loss(v, GROUP), batch, rows=4)
    torch.manual_seed(3)
    kept = [encoded_in_pieces(two, batch, rows=4) for _ in range(2)]
    sum(two.loss(k.vectors, GROUP) for k in kept).backward()
    for k in reversed(kept):
        k.backward()
    close(gradients(two), gradients(one))


def test_a_scaled_loss_scales_the_gradients():
    one, two, batch = made(0.0), made(0.0), whole()
    replay(one, lambda v: one.loss(v, GROUP), batch, rows=4)
    replay(two, lambda v: 1024 * two.loss(v, GROUP), batch, rows=4)
    close({n: g / 1024 for n, g in gradients(two).items()}, gradients(one))


def test_what_is_not_trained_gets_nothing():
    tower, batch = made(0.0), whole()
    for name in ("inside", "outside"):
        getattr(tower, name)["text"].requires_grad_(False)
    replay(tower, lambda v: tower.loss(v, GROUP), batch, rows=4)
    got = gradients(tower)
    assert not any("text" in n or "unused" in n for n in got)
    assert {"inside.sound.weight", "outside.motion.bias", "heat", "bias"} <= set(got)
    with torch.no_grad():
        value = replay(tower.eval(), lambda v: v["sound"].sum() * 0 + 2.0, batch, rows=4)
    assert float(value) == 2.0


def test_rows_are_cut_from_every_field_without_padding_of_others():
    batch = whole()
    batch = replace(
        batch,
        targets={"y": torch.arange(ROWS)},
        known={"y": torch.arange(ROWS) % 2 == 0},
        weight={"y": torch.arange(ROWS) / 2},
    )
    piece = rows_of(batch, 3, 6)
    assert piece.rows == 3
    assert set(piece.parts) == {"sound", "text"}, "no row of these has motion"
    assert piece.parts["text"].row.tolist() == [2]
    assert piece.parts["text"].values.shape[1] == int(piece.parts["text"].length.max())
    assert piece.targets["y"].tolist() == [3, 4, 5]
    assert piece.known["y"].tolist() == [False, True, False]
    assert piece.weight["y"].tolist() == [1.5, 2.0, 2.5]
    assert piece.group.tolist() == [3, 0, 4]
    assert rows_of(Batch(parts={}, rows=4), 1, 3).group is None


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(4), nn.SyncBatchNorm(4), MaskedBatchNorm(4)])
def test_batch_norm_is_refused(layer):
    network = nn.Sequential(nn.Linear(4, 4), nn.ModuleDict({"norm": layer}))
    with pytest.raises(InputError, match=f"{type(layer).__name__} at 1.norm"):
        refuse_batch_norm(network)
    layer.eval()
    refuse_batch_norm(network)  # running averages do not look at other rows
    refuse_batch_norm(nn.Sequential(nn.LayerNorm(4), nn.GroupNorm(2, 4)))


@pytest.mark.parametrize("rows", [0, -1])
def test_a_piece_needs_a_row(rows):
    with pytest.raises(InputError, match="needs a row"):
        replay(made(0.0), lambda v: v["sound"].sum(), whole(), rows=rows)


def test_a_budget_sets_both_chunks():
    ask = {"rows": 1000, "row_bytes": 50_000, "width": 64, "names": 2}
    held = 4 * 4 * 1000 * 64 * 2
    least = held + 50_000
    assert chunks_for(least, **ask) == Chunks(encoder=1, loss=2)
    more = chunks_for(held + 100 * 50_000, **ask)
    assert more == Chunks(encoder=100, loss=250)
    assert chunks_for(10**12, **ask) == Chunks(encoder=1000, loss=1000)
    assert chunks_for(held + 10**7, columns=1000, **ask) == chunks_for(held + 10**7, **ask)
    with pytest.raises(InputError, match=rf"too small(.|\n)*at least {least} bytes"):
        chunks_for(least - 1, **ask)


def test_activations_of_a_row_are_measured():
    """Input, 7000 sums of 1000 units on 7 steps, and what the last layer gets, as float32; weights do not count."""
    layer, last = nn.Linear(ITEM, 1000), nn.Linear(1000, 2)
    batch = Batch(
        parts={"a": Part(values=torch.randn(40, 7, ITEM), length=torch.full((40,), 7), row=torch.arange(40))},
        rows=40,
    )

    def encode(part):
        return {"a": last(F.gelu(layer(part.parts["a"].values)).sum(1))}

    before = torch.get_rng_state()
    found = activation_bytes(encode, batch)
    assert found == 4 * (7 * ITEM + 7 * 1000 + 1000)
    assert torch.equal(torch.get_rng_state(), before)
    assert layer.weight.grad is None
    assert activation_bytes(encode, rows_of(batch, 0, 1)) > found, "one row alone: they cannot be told apart"


def test_no_piece_keeps_more_than_the_budget():
    tower, batch = made(0.5), whole()
    row_bytes, kept = activation_bytes(tower, batch), []
    budget = 6 * row_bytes + 4 * 4 * ROWS * WIDTH * 3
    chunks = chunks_for(budget, rows=ROWS, row_bytes=row_bytes, width=WIDTH, names=3)
    assert 2 <= chunks.encoder <= 6

    def encode(piece):
        alive = {}

        def pack(t):
            if t.untyped_storage().data_ptr() not in weights:
                alive[t.untyped_storage().data_ptr()] = t
            return t

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            found = tower(piece)
        kept.append(sum(t.untyped_storage().nbytes() for t in alive.values()))
        return found

    weights = {p.untyped_storage().data_ptr() for p in tower.parameters()}
    replay(encode, lambda v: tower.loss(v, GROUP), batch, rows=chunks.encoder)
    pieces = -(-ROWS // chunks.encoder)
    assert len(kept) == 2 * pieces
    assert not any(kept[:pieces]), "the first pass keeps nothing"
    assert 0 < max(kept[pieces:]) <= budget


class Counted:
    """Count the calls of a collective, which does its work."""

    def __init__(self, name: str):
        self.name, self.real, self.calls = name, getattr(dist, name), 0

    def __enter__(self):
        def call(*args, **options):
            self.calls += 1
            return self.real(*args, **options)

        setattr(dist, self.name, call)
        return self

    def __exit__(self, *_):
        setattr(dist, self.name, self.real)


def work(rank: int, folder: str) -> None:
    """One of four processes: a step by all four, then one by the first two, each with uneven shares of the rows."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=4)
    two = dist.new_group([0, 1])
    report = {}
    for name, cuts, group in (("four", (0, 5, 6, 12, 16), dist.group.WORLD), ("two", (0, 7, 16), two)):
        if rank < len(cuts) - 1:
            tower, batch = made(0.0), whole()
            local = rows_of(batch, cuts[rank], cuts[rank + 1])

            def encode(piece, tower=tower):
                found = tower(piece)
                return found | {n: torch.zeros(piece.rows, WIDTH) for n in SUBSETS if n not in found}

            with Counted("all_reduce") as reduced:
                value = replay(
                    encode,
                    lambda v, t=tower, b=local, g=group: t.loss(v, b.group, across=g),
                    local,
                    rows=2,
                )
                average_gradients(tower.parameters(), group)
            vectors = torch.arange(rank + 1.0, requires_grad=True)
            every = gather(vectors, group)
            (every * torch.arange(len(every)) * (rank + 1)).sum().backward()
            report[name] = {
                "loss": value, "gradients": gradients(tower), "reduced": reduced.calls,
                "every": every.detach(), "pulled": vectors.grad,
            }  # fmt: skip
    torch.save(report, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parent.parent / "src")])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [paths, before]))
    try:
        mp.spawn(work, (str(folder),), nprocs=4)
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(4)]


@pytest.mark.skipif(sys.platform == "win32", reason="gloo over a file needs POSIX")
@pytest.mark.parametrize(("name", "ranks"), [("two", 2), ("four", 4)])
def test_several_processes_equal_one(reports, name, ranks):
    tower, batch = made(0.0), whole()
    loss = tower.loss(tower(batch), GROUP)
    loss.backward()
    want = gradients(tower)
    found = [r[name] for r in reports if name in r]
    assert len(found) == ranks
    for one in found:
        torch.testing.assert_close(one["loss"], loss.detach(), rtol=1e-6, atol=1e-6)
        got = {n: g for n, g in one["gradients"].items() if "unused" not in n}
        close(got, want)
        assert not one["gradients"]["unused.weight"].any(), "sent as zeros"
        assert one["reduced"] == 1


@pytest.mark.skipif(sys.platform == "win32", reason="gloo over a file needs POSIX")
def test_gathered_rows_get_the_sum_of_all_gradients(reports):
    """Process r has r + 1 rows, and weighs row j of all by j (r + 1)."""
    for rank, report in enumerate(reports):
        first = rank * (rank + 1) // 2
        assert report["four"]["every"].tolist() == [0, 0, 1, 0, 1, 2, 0, 1, 2, 3]
        assert report["four"]["pulled"].tolist() == [10 * j for j in range(first, first + rank + 1)]
