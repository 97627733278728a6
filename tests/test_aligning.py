"""Which parts of one row's cells belong together: planted truth, what is refused, the page, the command."""

import json

import numpy as np
import pytest
import torch
from test_report import Page

from sensorium.alignment.forced import chain
from sensorium.api import Model
from sensorium.api.aligning import align
from sensorium.api.blend import Blend
from sensorium.api.hearing import FEWEST, hear, transcript
from sensorium.api.initial import Initial
from sensorium.api.matching import Matcher
from sensorium.api.opening import plan_match
from sensorium.api.pairs import decoded, spread
from sensorium.api.sides import (
    PARTS,
    PATCHES,
    STEPS,
    WORDS,
    Side,
    in_order,
    merged,
    moments,
    spoken,
    transported,
    warped,
)
from sensorium.cli.aligning import align as align_verb
from sensorium.data import Decoder
from sensorium.modalities import CARRIERS
from sensorium.network import SIZES, Network
from sensorium.report import write_alignment
from sensorium.store import Table
from sensorium.training import Examples, Plan, Trainer, run
from sensorium.types import InputError, Limits, Signal

NAMES = ("red", "green", "blue", "yellow")
COLOURS = ((220, 40, 40), (40, 200, 60), (50, 70, 230), (230, 220, 50))
PITCH_HZ = {"do": (300, 500), "re": (900, 1400), "mi": (2000, 2600), "fa": (3500, 4500)}
RATE_HZ = 8000


def quiet(*_: object) -> None:
    """Show nothing."""


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def side(kind: str, vectors: np.ndarray, **more) -> Side:
    parts = more.pop("parts", tuple(f"p{i}" for i in range(len(vectors))))
    owner = more.pop("owner", np.arange(len(vectors)))
    return Side(name=kind, kind=kind, vectors=unit(vectors), owner=owner, parts=parts, **more)


# --- planted truth -------------------------------------------------------------------------------------------------


def test_words_of_several_pieces_find_their_patches():
    rng = np.random.default_rng(0)
    places = np.array([3, 11, 6])  # of the words, among 4 x 4 patches
    meant = unit(rng.normal(size=(3, 32)))
    ground = unit(rng.normal(size=32))
    patches = ground + 0.3 * rng.normal(size=(16, 32)) / 32**0.5
    patches[places] = meant + 0.5 * ground
    owner = np.array([0, 1, 1, 1, 2])  # the second word has three pieces
    tokens = meant[owner] + 0.6 * ground + 0.3 * rng.normal(size=(5, 32)) / 32**0.5
    said = side(WORDS, tokens, owner=owner, parts=("a", "bcd", "e"))
    plan, cost, even = transported(said, side(PATCHES, patches, shape=(4, 4)))
    assert plan.shape == (3, 16)
    assert plan.argmax(1).tolist() == places.tolist()
    np.testing.assert_allclose(plan.sum(1), 1 / 3, atol=1e-6, err_msg="each word weighs the same")
    np.testing.assert_allclose(plan.sum(0), 1 / 16, atol=1e-6, err_msg="and each patch")
    np.testing.assert_allclose(plan[np.arange(3), places], 1 / 16, atol=2e-3, err_msg="all of its patch")
    assert cost < even


def test_recordings_are_warped_onto_each_other():
    rng = np.random.default_rng(1)
    course = rng.normal(size=(40, 24)).cumsum(0)
    slow = np.minimum(
        (np.arange(60) ** 1.5 / 60**0.5 * 40 / 60).astype(int), 39
    )  # step of `course` at each of 60
    a = side(STEPS, course + 5.0, step_s=0.1)
    b = side(STEPS, course[slow] + 0.1 * rng.normal(size=(60, 24)) - 3.0, step_s=0.2)
    cells, cost, even = warped(a, b)
    off = [abs(i - slow[j]) for i, j in cells]
    straight = np.abs(np.arange(60) * 40 // 60 - slow)
    assert np.mean(off) < 0.6
    assert straight.mean() > 4, "the straight path is no such alignment"
    assert cost < 0.6 * even
    assert cells[0] == (0, 0)
    assert cells[-1] == (39, 59)


def test_words_are_laid_over_steps_in_their_order():
    rng = np.random.default_rng(2)
    meant = rng.normal(size=(4, 24))
    cuts = [0, 5, 7, 18, 30]
    at = np.repeat(np.arange(4), np.diff(cuts))
    found, cost, even = in_order(
        side(WORDS, meant + 2.0), side(STEPS, meant[at] + 0.3 * rng.normal(size=(30, 24)) - 1.0)
    )
    assert found == list(zip(cuts, cuts[1:], strict=False))
    assert cost < 0.5 * even
    with pytest.raises(InputError, match="more states than frames"):
        in_order(side(WORDS, meant), side(STEPS, meant[:2]))


def test_pieces_are_merged_to_words_and_punctuation_is_left_out():
    text = CARRIERS["text"]
    sentences = [
        f"the {a} kettle, on {b} table!" for a in ("redder", "bluish", "greenest") for b in NAMES
    ] * 20
    signals = [Signal(values=np.array([s], dtype=object)) for s in sentences]
    for options in (text.survey(signals, words=300), {"longest": 200}):  # learned pairs of letters, and bytes
        m = text.define("t", "t", **options)
        ids = m.patches(signals[0])
        owner, said = merged(m, ids, sentences[0])
        assert said == ("the", "redder", "kettle", ",", "on", "red", "table", "!")
        assert len(owner) == len(ids)
        assert (np.diff(owner) >= 0).all()
        assert (np.bincount(owner) > 0).all()
        clean = spoken(side(WORDS, np.eye(len(ids)), owner=owner, parts=said))
        assert clean.parts == ("the", "redder", "kettle", "on", "red", "table")
        assert len(clean.vectors) == len(clean.owner) == (~np.isin(owner, [3, 7])).sum()
        assert clean.owner.max() == 5
    owner, said = merged(m, ids, None)
    assert len(said) == len(ids)
    assert owner.tolist() == list(range(len(ids)))
    alone = side(WORDS, np.eye(2), parts=("!", "?"))
    assert spoken(alone) is alone


def test_recordings_are_cut_into_moments():
    cut = moments(side(STEPS, np.eye(30), start_s=0.5, step_s=0.1), most=3)
    assert np.bincount(cut.owner).tolist() == [10, 10, 10]
    assert cut.parts[0] == "0.45 \u2013 1.45\u202fs"
    assert moments(side(STEPS, np.eye(5)), most=2).parts == ("steps 1 to 3", "steps 4 to 5")
    other = side(PARTS, np.eye(5))
    assert moments(other, most=2) is other


# --- when words are said -------------------------------------------------------------------------------------------


def sung(words, rng) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """A sound of words, each with a pitch of its own, and their times in seconds."""
    pieces, times, at = [0.002 * rng.normal(size=int(rng.integers(1500, 4000)))], [], 0
    at = len(pieces[0])
    for word in words:
        long = int(rng.integers(1200, 3200))
        t = np.arange(long) / RATE_HZ
        first, second = PITCH_HZ[word]
        tone = np.where(t < t[-1] / 2, np.sin(2 * np.pi * first * t), np.sin(2 * np.pi * second * t))
        pieces.append(0.4 * tone + 0.002 * rng.normal(size=long))
        times.append((at / RATE_HZ, (at + long) / RATE_HZ))
        at += long
    pieces.append(0.002 * rng.normal(size=int(rng.integers(1500, 4000))))
    return np.concatenate(pieces).astype(np.float32), times


@pytest.fixture(scope="module")
def choir() -> tuple[Table, list[list[tuple[float, float]]]]:
    """Sounds with what is sung, the last without words, and a series beside some."""
    rng = np.random.default_rng(3)
    said = [[list(PITCH_HZ)[i] for i in rng.integers(0, 4, 3)] for _ in range(40)]
    made = [sung(s, rng) for s in said]
    sounds = [{"array": s, "sampling_rate": RATE_HZ} for s, _ in made]
    series = [rng.normal(size=(60, 3)).astype(np.float32) for _ in made]
    table = Table(data={
        "id": [f"n{i}" for i in range(40)], "voice": sounds, "text": [*[", ".join(s) + "." for s in said[:-1]], None],
        "hand": [None if i % 4 == 1 else s for i, s in enumerate(series)],
    })  # fmt: skip
    return table, [t for _, t in made]


def untrained(table: Table, match: tuple[str, ...], columns: dict[str, str]) -> Matcher:
    """A matcher as it is before its first step: its weights are those of the seed."""
    made = Matcher(match, columns=columns, size="nano")
    made.task, made.rates, _ = plan_match(table, made.asked, made.limits, Initial())
    torch.manual_seed(0)
    made.network = Network(made.task, SIZES["nano"])
    made.size, made.plan, made.blend = "nano", Plan(steps=0, batch=2), Blend()
    return made


@pytest.fixture(scope="module")
def singer(choir) -> Matcher:
    return untrained(choir[0], ("voice", "text", "hand"), {"text": "text", "hand": "series:rate=20"})


@pytest.fixture(scope="module")
def second(choir, singer) -> dict[str, object]:
    """The row n2 of the sounds, aligned."""
    return align(singer, choir[0], "n2")


def test_word_times_are_learned_from_the_rows_of_the_table(choir, singer, second):
    table, times = choir
    off = []
    (zeroth,) = align(singer, table, 0, columns=["voice", "text"])["pairs"]
    for row, pair in ((0, zeroth), (2, second["pairs"][0])):
        assert pair["columns"] == ["text", "voice"]
        assert (pair["method"], pair["rows"]) == ("word models", 39)
        assert [w["word"] for w in pair["words"]] == transcript(table.cells("text")[row]).split()
        off += [
            (w["start_s"] - a, w["stop_s"] - b) for w, (a, b) in zip(pair["words"], times[row], strict=True)
        ]
    assert np.median(np.abs(off)) < 0.03


def test_few_rows_are_too_few_to_learn_words_from(choir, singer):
    few = choir[0].take(range(FEWEST - 1))
    (pair,) = align(singer, few, 0, columns=["voice", "text"])["pairs"]
    assert pair["method"] == "order"
    assert f"from {FEWEST} rows" in pair["told"]
    assert f"here are {FEWEST - 1}" in pair["told"]
    stops = [w["stop_s"] for w in pair["words"]]
    assert [w["start_s"] for w in pair["words"]][1:] == stops[:-1]
    assert stops[-1] <= len(choir[0].cells("voice")[0]["array"]) / RATE_HZ + 0.1
    assert pair["strangers"]["rows"] > 10


def test_rows_that_cannot_be_heard_are_left_out(choir, singer):
    table = choir[0]
    voices = list(table.cells("voice"))
    voices[5] = {"array": np.full(900, np.nan, np.float32), "sampling_rate": RATE_HZ}
    broken = Table(data={**table.data, "voice": voices})
    text, voice = (next(m for m in singer.task.modalities if m.name == n) for n in ("text", "voice"))
    found = hear(Decoder(broken, limits=Limits()), text, voice, [0], quiet)
    assert found.rows == 38
    signal = Decoder(table, limits=Limits()).of(0, voice)
    assert found.times(signal, "") is None
    assert found.times(signal, "do " * 3000) is None, "more words than fit into the sound"
    assert len(found.times(signal, "Do, do!")) == 2


def test_a_transcript_is_what_is_said_aloud():
    assert transcript("Don't  stop \u2013 (now)!") == "Don't stop now"
    assert transcript("\u4f60\u597d") == "\u4f60 \u597d"
    assert transcript(" ... ") == ""
    assert chain(transcript("a, b.")).words == ["a", "b"]


# --- a whole row ---------------------------------------------------------------------------------------------------


def test_each_pair_is_a_section_with_its_own_clock(choir, second):
    found = second
    assert found["id"] == "n2"
    assert [(p["columns"], p["method"]) for p in found["pairs"]] == [
        (["text", "voice"], "word models"), (["voice", "hand"], "warping"), (["text", "hand"], "order"),
    ]  # fmt: skip
    path = np.array(found["pairs"][1]["path"])
    assert (np.diff(path, axis=0) >= 0).all()
    seconds = len(choir[0].cells("voice")[2]["array"]) / RATE_HZ
    assert path[0, 0] == 0
    assert seconds - 0.2 < path[-1, 0] <= seconds
    assert 2.6 < path[-1, 1] <= 3.0, "sixty steps at twenty a second"
    json.dumps(found)


@pytest.fixture(scope="module")
def painted() -> Table:
    """Pictures of coloured squares with two captions each, and numbers."""
    rng = np.random.default_rng(4)
    pictures, texts = [], []
    for _ in range(24):
        picture = rng.integers(70, 110, (48, 48, 3)).astype(np.uint8)
        chosen = rng.permutation(4)[:2]
        for c, cell in zip(chosen, rng.permutation(9), strict=False):
            y, x = divmod(int(cell), 3)
            picture[16 * y : 16 * y + 16, 16 * x : 16 * x + 16] = COLOURS[c]
        pictures.append(picture)
        texts.append([f"a {NAMES[c]} square, there" for c in chosen])
    return Table(data={
        "picture": pictures, "texts": texts, "size": rng.normal(size=24).tolist(), "other": ["x"] * 24,
    })  # fmt: skip


@pytest.fixture(scope="module")
def painter(painted) -> Matcher:
    match = ("picture", "texts", "size")
    return untrained(spread(painted, match).table, match, {"texts": "text"})


@pytest.fixture(scope="module")
def third(painted, painter) -> dict[str, object]:
    """The row 3 of the pictures, aligned."""
    return align(painter, painted, 3)


def test_every_text_of_a_cell_is_aligned_with_the_picture(painted, third):
    found = third
    kinds = [(p["columns"], p["method"], p.get("text")) for p in found["pairs"]]
    one, two = painted.cells("texts")[3]
    assert kinds == [
        (["texts", "picture"], "transport", one), (["texts", "picture"], "transport", two),
        (["picture", "size"], "transport", None), (["texts", "size"], "transport", one), (["texts", "size"], "transport", two),
    ]  # fmt: skip
    first = found["pairs"][0]
    assert [w["word"] for w in first["words"]] == one.replace(",", "").split()
    plan = np.array(first["shown"]["plan"])
    assert plan.shape == (9, 4)
    np.testing.assert_allclose(plan.sum(0), 1, atol=1e-3)
    for i, word in enumerate(first["words"]):
        y, x = divmod(int(plan[:, i].argmax()), 3)
        assert (word["y"], word["x"]) == (round((y + 0.5) / 3, 4), round((x + 0.5) / 3, 4))
        assert word["mass"] == pytest.approx(plan[:, i].max(), abs=1e-3)
    assert found["pairs"][3]["links"][0]["to"] == "size"
    assert first["strangers"]["rows"] > 8
    assert 0 <= first["strangers"]["dearer"] <= first["strangers"]["rows"]


def squares(rows: int, seed: int) -> tuple[Table, list[dict[str, int]]]:
    """Pictures of two coloured squares on 3 x 3 places, both colours as text, and the place of each."""
    rng = np.random.default_rng(seed)
    pictures, texts, where = [], [], []
    for _ in range(rows):
        picture = rng.integers(70, 110, (48, 48, 3)).astype(np.uint8)
        chosen, cells = rng.permutation(4)[:2].tolist(), rng.permutation(9)[:2].tolist()
        for c, cell in zip(chosen, cells, strict=True):
            y, x = divmod(cell, 3)
            picture[16 * y + 2 : 16 * y + 14, 16 * x + 2 : 16 * x + 14] = COLOURS[c]
        pictures.append(picture)
        texts.append(" ".join(NAMES[c] for c in chosen))
        where.append({NAMES[c]: cell for c, cell in zip(chosen, cells, strict=True)})
    return Table(data={"picture": pictures, "text": texts}), where


def test_a_matcher_that_learned_colours_knows_where_they_are(tmp_path):
    table, _ = squares(240, seed=0)
    made = untrained(table, ("picture", "text"), {"text": "text"})
    rows, _ = decoded(table, made.task, made.rates, made.limits, say=quiet, stage="")
    same = np.unique(table.cells("text"), return_inverse=True)[1].ravel()
    examples = Examples(rows=rows, targets={}, group=same)
    plan = Plan(steps=100, batch=32, drop=0.0, check=100)
    run(Trainer(made.network, made.task, plan, examples), folder=tmp_path, valid=Examples(rows=rows[:8], targets={}, group=same[:8]), deadline_s=None)  # fmt: skip
    asked, where = squares(10, seed=9)
    found = []
    for row in range(10):
        (pair,) = align(made, asked, row)["pairs"]
        for word in pair["words"]:
            y, x = divmod(where[row][word["word"]], 3)
            found.append((word["y"], word["x"]) == (round((y + 0.5) / 3, 4), round((x + 0.5) / 3, 4)))
    assert np.mean(found) > 0.35, "one in nine by chance"


def test_what_cannot_be_aligned_is_said(painted, painter, choir, singer):
    with pytest.raises(InputError, match="no such row"):
        align(painter, painted, 99)
    with pytest.raises(InputError, match="not matched"):
        align(painter, painted, 0, columns=["picture", "other"])
    with pytest.raises(InputError, match="nothing to be aligned with"):
        align(painter, painted, 0, columns=["picture"])
    with pytest.raises(InputError, match="empty there"):
        align(singer, choir[0], "n39", columns=["voice", "text"])
    with pytest.raises(InputError, match="two columns must be filled"):
        align(singer, Table(data={"voice": choir[0].cells("voice")}), 0)
    with pytest.raises(InputError, match="matches nothing"):
        align(Model("other"), painted, 0)
    broken = Table(data={"picture": [np.zeros((0, 3), np.uint8)], "texts": ["a red square"]})
    with pytest.raises(InputError, match="picture cannot be read"):
        align(painter, broken, 0)


def test_the_page_shows_every_pair(second, third, tmp_path):
    page = Page(write_alignment(third, tmp_path / "a.html").read_text("utf-8"))
    assert "texts and picture" in page.words()
    assert "square" in page.words()
    assert "spread evenly" in page.words()
    sound = write_alignment(second, tmp_path / "b.html").read_text("utf-8")
    assert "words, as aligned" in Page(sound).words()
    assert sound.count('class="plot"') == 2
    odd = {
        "id": "<b>",
        "pairs": [
            {"columns": ["<i>"], "shown": {"plan": [[1]], "parts": 3}},
            {"shown": {"similarity": 7}},
            5,
        ],
    }
    text = write_alignment(odd, tmp_path / "c.html").read_text("utf-8")
    assert "<i>" not in text
    assert "There is no picture of this." in Page(text).words()


def test_the_command_prints_and_draws(choir, singer, tmp_path, capsys):
    import argparse

    from sensorium.cli.screen import Progress

    singer.save(tmp_path / "run")
    rng = np.random.default_rng(5)
    data = tmp_path / "data.jsonl"
    lines = []
    for i in range(3):
        np.save(tmp_path / f"{i}.npy", rng.normal(size=(60, 3)).astype(np.float32))
        lines.append(json.dumps({"id": f"r{i}", "hand": f"{i}.npy", "text": "do re mi"}))
    data.write_text("\n".join(lines), "utf-8")
    asked = {"run": str(tmp_path / "run"), "data": str(data), "row": "r1", "columns": None, "split": None, "limit": [], "quiet": True, "progress": Progress(True)}  # fmt: skip
    align_verb(argparse.Namespace(**asked, out=None, json=False))
    told = capsys.readouterr().out
    assert "text and hand, by order" in told
    assert (tmp_path / "run" / "align-1.html").is_file()
    align_verb(argparse.Namespace(**asked, out=str(tmp_path / "x.html"), json=True))
    found = json.loads(capsys.readouterr().out)
    assert [w["word"] for w in found["pairs"][0]["words"]] == ["do", "re", "mi"]
    assert "shown" not in found["pairs"][0]
    assert found["page"] == str(tmp_path / "x.html")
