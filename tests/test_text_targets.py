"""What is a text target, how it is spelled, and what rows that share a file cost: read once, encoded once."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_core import TINY, modality

from sensorium.data import Decoder, augmented, buckets, collate, companions, decode_rows
from sensorium.modalities import CARRIERS
from sensorium.network import Network
from sensorium.nn import MaskedBatchNorm, SampleNorm
from sensorium.store import read
from sensorium.tasks import Target, Task, Wording, infer_target, target_kind, texts_of
from sensorium.training.plan import texts
from sensorium.training.replay import replay, rows_of
from sensorium.types import InputError, Limits

COLOURS = ("red", "blue", "green", "grey", "black", "white", "brown", "pink")
SHAPES = ("circle", "square", "star", "cross", "heart")
ODD = (
    "Größe: 3 µm, naïve", "二つの赤い円があります。", "كرة حمراء على اليسار", "a 👩‍🚀 beside 🇩🇪 and 🔴🔴", "\u0130stanbul'da \u0131slak",
    "x", "  two   blanks\tand\na line ", "e\u0301te\u0301", "\u2026 \u2014 \u00a0 end", "0", "<b>&amp;</b> | a|b",
)  # fmt: skip


def sentences(count: int) -> list[str]:
    """That many different sentences of six words and more."""
    every = [
        f"a {a} {s} is {where} a {b} {t}"
        for a in COLOURS for s in SHAPES for where in ("above", "below") for b in COLOURS for t in SHAPES
    ]  # fmt: skip
    return every[:: max(1, len(every) // count)][:count]


def worded(cells: list, **given: str) -> Wording:
    target = infer_target("said", cells, kind="text", given=given)
    assert target.kind == "text"
    assert target.wording is not None
    return target.wording


# --- which kind a column is ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([[s, s.replace("is", "stands")] for s in sentences(40)], "text"),
        ([["red", "large star"], ["red"], ["blue", "circle"]] * 20, "labels"),
        (sentences(60), "text"),
        (sentences(60) + [None, ""] * 30, "text"),
        (["yes", "no", "a red star", "two"] * 30, "category"),
        ([f"{c} {s}" for c in COLOURS for s in SHAPES] * 6, "category"),  # 40 answers that recur
        ([f"chair {i % 120}" for i in range(500)], "category"),  # 120 short answers, four times each
        ([f"chair, table {i}" for i in range(90)], "text"),  # none recurs: there is nothing to count
        ([f"number {i} of all the long answers" for i in range(120)] * 2, "text"),
        ([f"number {i} of all the long answers" for i in range(60)] * 8, "category"),
    ],
    ids=["several-sentences", "lists-of-labels", "sentences", "holes", "answers", "40-answers", "120-answers", "names", "long-answers", "long-answers-that-recur"],
)  # fmt: skip
def test_the_kind_is_read_off_the_cells(cells, kind):
    assert target_kind([c for c in cells if c]) == kind
    assert infer_target("said", cells).kind == kind


def test_a_kind_that_is_named_is_taken():
    answers = ["yes", "no", "yes"] * 30
    assert infer_target("said", answers).kind == "category"
    assert infer_target("said", answers, kind="text").wording.answers == ("no", "yes")
    with pytest.raises(InputError, match="empty"):
        infer_target("said", [None, "", "  "], kind="text")


# --- how texts are spelled -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("learned", [False, True], ids=["bytes", "pairs"])
@pytest.mark.parametrize("text", ODD)
def test_what_is_read_is_written_again(text, learned):
    """Also letters that no training text had."""
    wording = worded(sentences(400) if learned else ["a red star"], longest="400")
    assert bool(wording.tokenizer) == learned
    found = wording.read(text)
    assert found.min() >= 2
    assert found.max() < wording.vocabulary
    assert wording.write(found) == wording.plain(text)
    assert wording.plain(wording.plain(text)) == wording.plain(text)
    assert wording.plain("e\u0301te\u0301\u00a0 a") == "\u00e9t\u00e9 a", "one spelling of the same letters"


def test_a_learned_vocabulary_is_shorter_than_bytes():
    text = sentences(400)[7]
    assert len(worded(sentences(400)).read(text)) * 2 < len(worded([text]).read(text)) == len(text)


def test_letter_case_stays_unless_it_is_let_go():
    cells = ["The Red Star", "a Blue one"]
    assert worded(cells).write(worded(cells).read("The Red Star")) == "The Red Star"
    small = worded(cells, case="no")
    assert small.write(small.read("The Red Star")) == "the red star"


def test_a_text_is_cut_at_the_longest_and_half_a_letter_does_no_harm():
    wording = worded(["short", "äöü"], longest="5")
    assert len(wording.read("äöü")) == 5
    assert wording.write(wording.read("äöü")) == "äö\ufffd"
    assert wording.write([]) == ""
    assert wording.write([0, 1, 0]) == "", "padding and what is unknown are no letters"


def test_the_longest_training_text_can_be_written():
    cells = [*["a star"] * 60, " ".join(["very"] * 12) + " red"]
    wording = worded(cells)
    assert wording.write(wording.read(cells[-1])) == cells[-1]
    assert worded(["x" * 1000, "y"]).longest == 128, "no decoder grows without being asked"


# --- a closed set of answers -----------------------------------------------------------------------------------------


def test_answers_that_recur_are_a_closed_set():
    cells = ["Yes", "no", "two  red stars", ["no", "Yes"], None, " no "] * 4
    wording = worded(cells)
    assert wording.answers == ("Yes", "no", "two red stars")
    assert worded(cells, case="no").answers == ("no", "two red stars", "yes")
    assert worded(cells, open="yes").answers == ()
    assert worded(sentences(60)).answers == ()
    assert len(worded(sentences(60), open="no").answers) == 60
    assert worded(["one"] * 9).answers == (), "one text alone is no choice"


def test_an_answer_that_would_be_cut_leaves_the_set_open():
    cells = ["no", "this answer is far too long"] * 9
    assert len(worded(cells).answers) == 2
    assert worded(cells, longest="8").answers == ()


@pytest.mark.parametrize(
    "given",
    [
        {"decoder": "lstm"}, {"open": "maybe"}, {"words": "7"}, {"words": "many"}, {"longest": "0"}, {"longest": "-1"},
        {"case": "perhaps"}, {"colour": "red"},
    ],
    ids=str,
)  # fmt: skip
def test_options_that_mean_nothing_are_refused(given):
    with pytest.raises(InputError):
        worded(sentences(60), **given)


def test_options_do_what_they_say():
    assert worded(sentences(60)).decoder == "transformer"
    assert worded(sentences(60), decoder="classic").decoder == "classic"
    assert (
        worded(sentences(400), words="300").vocabulary == 302 < worded(sentences(400), words="400").vocabulary
    )


# --- cells as arrays -------------------------------------------------------------------------------------------------


def test_several_references_are_padded_behind():
    wording = worded(["a red star", "no", "yes"])
    target = Target(column="said", kind="text", wording=wording)
    found = target.encode(["a red star", None, " ", "no"])
    assert found.dtype == np.int64
    assert found.shape == (2, 10)
    assert [wording.write(line) for line in found] == ["a red star", "no"]
    assert (found[1, 2:] == 0).all()
    assert target.encode("yes").shape == (1, 3)
    for nothing in (None, "", "  ", [], [None, ""], float("nan")):
        assert target.encode(nothing) is None
    assert texts_of(["a\n b", 3, None]) == ["a b", "3"]


def test_a_batch_takes_one_of_several_texts_each_time():
    target = Target(column="said", kind="text", wording=worded(["ab", "abcd"]))
    cells = [target.encode(["ab", "abcd", "a"]), None, target.encode("abc")]
    first = texts(cells, None)
    assert first.shape == (3, 3), "no wider than the longest that was taken"
    assert [target.wording.write(line) for line in first] == ["ab", "", "abc"]
    rng = np.random.default_rng(0)
    drawn = Counter(target.wording.write(texts(cells, rng)[0]) for _ in range(300))
    assert set(drawn) == {"ab", "abcd", "a"}
    assert min(drawn.values()) > 60
    assert texts([None, None], rng).shape == (2, 1)


# --- rows that share a file ------------------------------------------------------------------------------------------

PICTURE = modality("image", "image", (32, 3), 32)
QUESTION = modality("question", "text", (), 12, vocabulary=50)
ASKED = Task(
    modalities=(PICTURE, QUESTION),
    targets=(Target(column="said", kind="text", wording=Wording(tokenizer="", vocabulary=40, longest=12)),),
)


def album(rows: int = 12, pictures: int = 4, seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Rows of which several ask about the same picture; the last has none."""
    rng = np.random.default_rng(seed)
    shown = [rng.integers(0, 256, (32, 32, 3)).astype(np.uint8) for _ in range(pictures)]
    made = [
        {"image": shown[i % pictures], "question": rng.integers(2, 50, 4 + i % 3).astype(np.int32)} for i in range(rows)
    ]  # fmt: skip
    made[-1].pop("image")
    return made


def gradients(network: Network, batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """What a network makes of a batch, and the gradients of a sum of it in which every number has a weight."""
    network.zero_grad()
    encoded = network.encode(batch)
    fused = network.read(encoded)
    memory = network.memory(fused)
    x = torch.cat([fused.joint, memory.x.masked_fill(~memory.valid[:, :, None], 0).flatten(1)], 1)
    (x * torch.linspace(-1, 1, x.shape[1])).sum().backward()
    return x.detach(), {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("norm", [MaskedBatchNorm, SampleNorm])
def test_a_shared_picture_is_encoded_once_and_nothing_else_changes(norm):
    torch.manual_seed(0)
    network = Network(ASKED, TINY, norm=norm)
    if norm is MaskedBatchNorm:
        network.eval()  # in training its averages are over pictures that are there, and those are fewer
    rows = album()
    shared, plain = (collate(rows, ASKED.modalities, once=once) for once in (True, False))
    assert shared.parts["image"].values.shape[0] == 4
    assert plain.parts["image"].values.shape[0] == 11
    assert shared.parts["question"].source is None
    got, want = gradients(network, shared), gradients(network, plain)
    torch.testing.assert_close(got[0], want[0], rtol=1e-5, atol=1e-5)
    assert set(got[1]) == set(want[1])
    for name, grad in want[1].items():
        scale = max(1.0, float(grad.abs().max()))
        torch.testing.assert_close(got[1][name], grad, rtol=1e-5, atol=1e-5 * scale, msg=name)


def test_companions_are_rows_that_share_an_array():
    rows = album(rows=12, pictures=4)
    found = companions(rows, ASKED.modalities)
    assert found[:11].tolist() == [i % 4 for i in range(11)]
    assert found[11] not in found[:11], "a row without a picture stands alone"
    alone = [{"image": r["image"].copy()} for r in rows if "image" in r]
    assert companions(alone, ASKED.modalities) is None
    assert companions(album(rows=12, pictures=9), ASKED.modalities) is None, "hardly any is shared"


@pytest.mark.parametrize("size", [4, 7, 16])
def test_a_round_of_batches_holds_every_row_once_and_companions_side_by_side(size):
    rng = np.random.default_rng(1)
    together = rng.permutation(np.repeat(np.arange(30), 4))
    lengths = rng.integers(5, 60, len(together))
    cut = buckets(lengths, size, np.random.default_rng(2), together)
    assert sorted(np.concatenate(cut).tolist()) == list(range(len(together)))
    pictures = sum(len(set(together[b].tolist())) for b in cut)  # of all batches: what is encoded
    apart = sum(len(set(together[b].tolist())) for b in buckets(lengths, size, np.random.default_rng(2)))
    assert pictures <= 30 + 2 * len(cut), "a batch cuts the group at each of its ends at most"
    assert pictures < 0.75 * apart
    again = buckets(lengths, size, np.random.default_rng(3), together)
    assert [b.tolist() for b in again] != [b.tolist() for b in cut]


def test_what_is_changed_for_training_stays_shared():
    def darker(x: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
        return (x * rng.uniform(0.5, 0.9)).astype(x.dtype)

    modalities = (replace(PICTURE, augment=darker), QUESTION)
    rows = album(rows=8, pictures=4)[:7]
    found = augmented(rows, modalities, np.random.default_rng(0), 1.0)
    assert all(found[i]["image"] is found[i + 4]["image"] for i in range(3))
    assert len({id(r["image"]) for r in found}) == 4
    assert all(
        (f["image"] <= r["image"]).all() and (f["image"] != r["image"]).any()
        for f, r in zip(found, rows, strict=True)
    )
    assert [sorted(f) for f in found] == [sorted(r) for r in rows]


# --- files that several rows name ------------------------------------------------------------------------------------


@pytest.fixture
def pictures(tmp_path):
    """A table whose rows share pictures and recordings; one picture is damaged, one is missing, and some cells are empty."""
    from PIL import Image
    from scipy.io import wavfile

    rng = np.random.default_rng(0)
    for i in range(3):
        Image.fromarray(rng.integers(0, 256, (40, 40, 3)).astype(np.uint8)).save(tmp_path / f"{i}.png")
        wavfile.write(tmp_path / f"{i}.wav", 8000, (rng.normal(size=4000) * 3000).astype(np.int16))
    (tmp_path / "bad.png").write_bytes((tmp_path / "0.png").read_bytes()[:90])
    (tmp_path / "bad.wav").write_bytes(b"RIFF no sound")
    image = [
        "0.png",
        "1.png",
        "0.png",
        "bad.png",
        "",
        "bad.png",
        "lost.png",
        "0.png",
        "1.png",
        "lost.png",
        "bad.png",
        "2.png",
    ]
    sound = [
        "0.wav",
        "0.wav",
        "",
        "1.wav",
        "1.wav",
        "bad.wav",
        "0.wav",
        "bad.wav",
        "0.wav#t=0,.25",
        "",
        "0.wav#t=0,.25",
        "2.wav",
    ]
    asked = [f"what is it {i // 3}?" for i in range(12)]
    rows = [{"image": i, "sound": s, "question": q} for i, s, q in zip(image, sound, asked, strict=True)]
    return read(rows), tmp_path


def looked_at(table, folder) -> tuple[Decoder, tuple]:
    decoder = Decoder(replace(table, folder=folder), limits=Limits())
    made = tuple(
        CARRIERS[carrier].define(name, name, **CARRIERS[carrier].survey([decoder.signal(0, name, carrier)]))
        for name, carrier in (("image", "image"), ("sound", "audio"), ("question", "text"))
    )
    return decoder, made


def test_a_file_is_read_once_and_every_row_has_what_it_had(pictures, monkeypatch):
    decoder, modalities = looked_at(*pictures)
    order = [7, 0, 3, 1, 2, 4, 5, 6, 8, 9, 10, 11]
    alone = [decoder.patches(row, modalities) for row in order]
    seen: Counter = Counter()
    real = Decoder.signal

    def counted(self, row, column, carrier, **how):
        seen[column, self.table.cells(column)[row]] += 1
        return real(self, row, column, carrier, **how)

    monkeypatch.setattr(Decoder, "signal", counted)
    ticks: list[int] = []
    rows, faults = decode_rows(decoder, order, modalities, tick=ticks.append)
    assert ticks == list(range(1, 13))
    for (row, fault), got, wrong in zip(alone, rows, faults, strict=True):
        assert list(got) == list(row), "the same inputs in the same order"
        assert all(np.array_equal(got[name], row[name]) for name in row)
        assert Counter(wrong) == Counter(fault)
    named = {k: n for k, n in seen.items() if k[0] != "question" and k[1]}
    assert set(named.values()) == {1}
    assert len(named) == 5 + 5, "pictures and recordings, each once, those that cannot be read too"
    at = {row: i for i, row in enumerate(order)}
    assert rows[at[0]]["image"] is rows[at[2]]["image"] is rows[at[7]]["image"]
    assert [[f.column for f in faults[at[i]]] for i in (3, 5, 6, 9, 11)] == [
        ["image"], ["image", "sound"], ["image"], ["image"], []
    ]  # fmt: skip
    assert "image" not in rows[at[10]]
    assert "sound" in rows[at[10]], "one damaged cell takes nothing from the others"


# --- pieces of a batch that shares -----------------------------------------------------------------------------------


def test_pieces_of_a_batch_that_shares_are_those_rows():
    rows = album()
    whole = collate(rows, ASKED.modalities, once=True)
    for a, b in ((0, 5), (5, 12), (11, 12)):
        piece, want = rows_of(whole, a, b), collate(rows[a:b], ASKED.modalities)
        assert set(piece.parts) == set(want.parts)
        for name, part in want.parts.items():
            got = piece.parts[name].own()
            assert torch.equal(got.row, part.row)
            assert torch.equal(got.length, part.length)
            assert torch.equal(got.values, part.values)


def test_replay_of_a_batch_that_shares_has_the_gradients_of_the_whole():
    task = Task(modalities=ASKED.modalities, match=("image", "question"))
    torch.manual_seed(0)
    network = Network(task, TINY, norm=SampleNorm)
    batch = collate(album(), task.modalities, once=True)

    def encode(part):
        return network.place(network.encode(part))

    def loss(vectors):
        return sum((v * torch.linspace(-1, 2, v.numel()).view_as(v)).sum() for v in vectors.values())

    loss(encode(batch)).backward()
    want = {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}
    network.zero_grad()
    replay(encode, loss, batch, rows=5)
    got = {n: p.grad for n, p in network.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert {n for n, g in want.items() if g.abs().sum() > 0} == set(got)
    for name, grad in got.items():
        torch.testing.assert_close(grad, want[name], rtol=1e-4, atol=1e-5, msg=name)
