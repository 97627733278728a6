"""Texts as answers: what is learned, what a decoder may see, what a row lacks, figures, closed answers, resuming."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_core import modality

import sensorium as sm
from sensorium.api.writing import Manner, say_all
from sensorium.data import collate
from sensorium.measure.text import text_scores
from sensorium.network import Network, Shape, key
from sensorium.store import read_jsonl
from sensorium.tasks import Target, Task, Wording
from sensorium.tokens import SHARED
from sensorium.training import Examples, Plan, Trainer
from sensorium.training.writing import blinded, held_texts, memories
from sensorium.translation import AttentiveDecoder, TextDecoder
from sensorium.types import InputError

SMALL = Shape(dim=32, heads=2, depth=1, width=8, tokens=4, space=8, dropout=0.0)
COLOURS, LEVELS = ("red", "blue", "green", "white"), ("low", "high")
NOTE = modality("note", "text", (), 6, vocabulary=20)
LEVEL = modality("level", "series", (1,), 8, 0.1)
DECODERS = ("transformer", "classic")
KINDS = {"transformer": TextDecoder, "classic": AttentiveDecoder}
PLAN = Plan(steps=150, batch=32, rate=4e-3, warmup=10, check=50)


def said_of(colour: int, level: int) -> str:
    return f"{COLOURS[colour]} {LEVELS[level]}"


def lamps(rows: int, decoder: str = "transformer", seed: int = 0) -> tuple[Task, Examples, list[str]]:
    """A note tells the colour of a lamp, a recording how bright it is; the text says both, and a tenth of each is missing."""
    wording = Wording(tokenizer="", vocabulary=258, longest=12, decoder=decoder)
    target = Target(column="said", kind="text", wording=wording)
    rng = np.random.default_rng(seed)
    made, cells, told = [], [], []
    for _ in range(rows):
        colour, level = int(rng.integers(4)), int(rng.integers(2))
        row = {
            "note": np.concatenate([rng.integers(10, 20, int(rng.integers(1, 4))), [2 + colour]]).astype(np.int32),
            "level": (2.0 * level - 1 + 0.2 * rng.normal(size=(int(rng.integers(5, 9)), 1))).astype(np.float32),
        }  # fmt: skip
        if rng.random() < 0.2:
            row.pop(str(rng.choice(["note", "level"])))
        made.append(row)
        told.append(said_of(colour, level))
        cells.append(target.encode([told[-1], f"a {COLOURS[colour]} lamp"][:1]))
    return (
        Task(modalities=(NOTE, LEVEL), targets=(target,)),
        Examples(rows=made, targets={"said": cells}),
        told,
    )


def untrained(decoder: str = "transformer", rows: int = 24, fusion: str = "early"):
    task, examples, told = lamps(rows, decoder)
    torch.manual_seed(0)
    return Network(task, SMALL, fusion=fusion), task, examples, told


def unigram_entropy(cells) -> float:
    """Nats per id, the end among them, of texts whose ids are drawn one by one."""
    often = Counter(int(i) for cell in cells for i in [*cell[0], -1])
    share = np.array(list(often.values())) / sum(often.values())
    return float(-(share * np.log(share)).sum())


@pytest.fixture(scope="module", params=DECODERS)
def lesson_learned(request):
    """A network of each decoder after its training, the losses on the way, and rows that it has not seen."""
    network, task, examples, _ = untrained(request.param, rows=256)
    trainer = Trainer(network, task, PLAN, examples)
    stream = trainer.batches()
    losses = [trainer.train_step(next(stream))["said/joint"] for _ in range(PLAN.steps)]
    _, unseen, told = lamps(64, request.param, seed=1)
    return network.eval(), task, examples, unseen, told, losses


def complete(examples: Examples) -> list[int]:
    return [i for i, row in enumerate(examples.rows) if len(row) == 2]


# --- what is learned -------------------------------------------------------------------------------------------------


def test_the_loss_falls_below_texts_that_are_drawn_letter_by_letter(lesson_learned):
    network, task, examples, unseen, _, losses = lesson_learned
    drawn = unigram_entropy(examples.targets["said"])
    assert losses[0] > drawn
    assert np.mean(losses[-10:]) < 0.6 * drawn
    assert held_texts(network, task, unseen).common < 0.6 * drawn


def test_rows_get_the_text_that_belongs_to_them(lesson_learned):
    network, task, _, unseen, told, _ = lesson_learned
    said = [s.text for s in say_all(network, task, unseen.rows)]
    whole = complete(unseen)
    assert np.mean([said[i] == told[i] for i in whole]) > 0.5, "one of eight by chance"
    noted = [i for i, row in enumerate(unseen.rows) if "level" not in row]
    assert np.mean([said[i].split(" ")[0] == told[i].split(" ")[0] for i in noted]) > 0.6, "of four"


def test_held_texts_are_losses_of_each_next_id_by_hand(lesson_learned):
    """Id by id with `step`, not in one pass: a tenth of the target is spread over all that can be written."""
    network, task, _, unseen, _, _ = lesson_learned
    decoder, some = network.writers[key("said")], range(6)
    cells = [unseen.targets["said"][i] for i in some]
    cells[2] = None
    part = Examples(rows=[unseen.rows[i] for i in some], targets={"said": cells})
    found = held_texts(network, task, part)
    wanted = []
    for row, cell in zip(part.rows, cells, strict=True):
        if cell is None:
            continue
        _, memory = next(memories(network, task, [row]))
        state, last, losses = decoder.start(memory, room=13), decoder.begin, []
        for i in [*cell[0].tolist(), decoder.end]:
            logits, state = decoder.step(state, torch.tensor([last]))
            told = logits[0].double().log_softmax(0).numpy()
            possible = told[np.isfinite(told)]
            assert len(possible) == decoder.vocabulary - 3
            losses.append(-0.9 * told[i] - 0.1 * possible.mean())
            last = i
        wanted.append(np.mean(losses))
    assert found.rows["said/joint"].tolist() == pytest.approx(wanted, rel=1e-4)
    assert found.common == found.heads["said/joint"] == pytest.approx(np.mean(wanted), rel=1e-4)
    nothing = held_texts(network, task, Examples(rows=part.rows, targets={"said": [None] * 6}))
    assert nothing.common == 0
    assert nothing.heads == {}


# --- who sees what ---------------------------------------------------------------------------------------------------


def test_without_any_input_all_rows_get_the_same_text(lesson_learned):
    network, task, _, unseen, _, _ = lesson_learned
    blind = say_all(network, task, unseen.rows, but=["note", "level"])
    assert len({(b.text, round(b.log_probability, 4)) for b in blind}) == 1
    assert len({s.text for s in say_all(network, task, unseen.rows)}) > 4


def test_a_row_without_inputs_gets_that_text_beside_others_too(lesson_learned):
    network, task, _, unseen, _, _ = lesson_learned
    blind = say_all(network, task, unseen.rows[:2], but=["note", "level"])
    empty = say_all(network, task, [{}, unseen.rows[0]])
    assert empty[0].text == blind[0].text
    assert empty[0].log_probability == pytest.approx(blind[0].log_probability, abs=1e-4)


def test_a_hidden_input_is_one_that_the_row_never_had(lesson_learned):
    network, task, _, unseen, _, _ = lesson_learned
    rows = [unseen.rows[i] for i in complete(unseen)][:12]
    for name in ("note", "level"):
        hidden = say_all(network, task, rows, but=[name])
        lacking = say_all(network, task, [{k: v for k, v in r.items() if k != name} for r in rows])
        assert [h.text for h in hidden] == [s.text for s in lacking]
        assert [h.log_probability for h in hidden] == pytest.approx(
            [s.log_probability for s in lacking], abs=1e-4
        )
        other = say_all(network, task, rows)
        assert [h.text for h in hidden] != [s.text for s in other]


def test_texts_come_in_the_order_of_the_rows_whatever_stands_beside_them(lesson_learned):
    network, task, _, unseen, _, _ = lesson_learned
    rows = unseen.rows[:20]
    ticks: list[int] = []
    said = [s.text for s in say_all(network, task, rows, tick=ticks.append)]
    assert ticks[-1] == 20
    assert [s.text for s in say_all(network, task, rows[::-1])][::-1] == said
    assert [say_all(network, task, [r])[0].text for r in rows[:5]] == said[:5]


def test_training_hides_everything_of_a_few_rows():
    network, task, examples, _ = untrained(rows=200)
    encoded = network.encode(collate(examples.rows, task.modalities))
    seen = blinded(None, encoded, np.random.default_rng(0))
    hidden = ~torch.stack([s for s in seen.values()]).any(0)
    assert 3 <= int(hidden.sum()) <= 20, "about a twentieth of 200"
    for name, e in encoded.items():
        assert torch.equal(seen[name], e.present & ~hidden)
    half = {n: torch.arange(200) % 2 == 0 for n in encoded}
    kept = blinded(half, encoded, np.random.default_rng(0))
    assert all(torch.equal(kept[n], half[n] & ~hidden) for n in encoded)
    assert blinded(None, {}, np.random.default_rng(0)) == {}


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("fusion", ["early", "mid", "late", "tensor"])
def test_what_a_decoder_looks_at(fusion, decoder):
    """First what all tell together, then what belongs to no input, then tokens that know their input and place."""
    picture = modality("image", "image", (32, 3), 32)
    wording = Wording(tokenizer="", vocabulary=30, longest=8, decoder=decoder)
    task = Task(modalities=(picture, NOTE), targets=(Target(column="said", kind="text", wording=wording),))
    torch.manual_seed(0)
    network = Network(task, SMALL, fusion=fusion).eval()
    assert isinstance(network.writers[key("said")], KINDS[decoder])
    assert len(network.heads) == 0
    rng = np.random.default_rng(0)
    rows = [
        {"image": rng.integers(0, 256, (32, 32, 3)).astype(np.uint8), "note": np.array([2, 3, 4], np.int32)}
        for _ in range(3)
    ]
    rows[1].pop("image")
    rows[2].pop("note")
    memory = network.memory(network.read(network.encode(collate(rows, task.modalities))))
    kinds = [memory.kind[i][memory.valid[i]].tolist() for i in range(3)]
    assert [set(k) - {SHARED} for k in kinds] == [{1, 2}, {2}, {1}]
    front = kinds[0].index(1)
    shared = {"late": 0, "tensor": 1}.get(
        fusion, 1 + (0 if network.trunk is None else network.trunk.shared.shape[0])
    )
    assert kinds[0][:front] == [SHARED] * shared
    assert not memory.place[:, :front].any()
    own = 16 + (fusion != "late")  # 4 x 4 fields of 8 pixels, and a summary in front of them
    assert kinds[0].count(1) == kinds[2].count(1) == own
    y, x = np.divmod(np.arange(16), 4)
    place = memory.place[0][memory.valid[0]][front : front + own][-16:].numpy()
    np.testing.assert_allclose(place, np.stack([0 * y, (y + 0.5) / 4, (x + 0.5) / 4], 1), atol=1e-6)


def test_a_target_of_both_kinds_has_a_decoder_and_heads():
    task, examples, told = lamps(24)
    colour = Target(column="colour", kind="category", classes=COLOURS, counts=(6, 6, 6, 6))
    both = replace(task, targets=(*task.targets, colour))
    classes = [np.int64(COLOURS.index(t.split()[0])) for t in told]
    some = Examples(rows=examples.rows, targets={**examples.targets, "colour": [*classes[:-1], None]})
    torch.manual_seed(0)
    network = Network(both, SMALL)
    trainer = Trainer(network, both, replace(PLAN, steps=60), some)
    stream = trainer.batches()
    steps = [trainer.train_step(next(stream)) for _ in range(60)]
    for name in ("said/joint", "colour/joint", "colour/note", "colour/level"):
        assert steps[-1][name] < steps[0][name]
    answers = network(some.batch(both, range(4)))
    assert set(answers) == {"colour"}
    assert answers["colour"][""].shape == (4, 4)


# --- going on --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decoder", DECODERS)
def test_an_interrupted_training_goes_on_to_the_same_bits(decoder, tmp_path):
    """With several texts to a cell, rows that share an input, dropout and blind rows: all of them are drawn."""
    shape = replace(SMALL, dropout=0.2)

    def begun() -> Trainer:
        task, examples, _ = lamps(24, decoder)
        target = task.targets[0]
        for row in examples.rows[12:]:
            row["level"] = examples.rows[5].get("level", np.zeros((5, 1), np.float32))
        cells = [
            target.encode([target.wording.write(c[0]), "a lamp", "ok"]) for c in examples.targets["said"]
        ]
        torch.manual_seed(0)
        return Trainer(
            Network(task, shape),
            task,
            replace(PLAN, steps=7, batch=8),
            replace(examples, targets={"said": cells}),
        )

    def onward(trainer: Trainer, steps: int) -> Trainer:
        stream = trainer.batches()
        for _ in range(steps):
            trainer.train_step(next(stream))
        return trainer

    whole, half = onward(begun(), 7), onward(begun(), 4)
    half.checkpoint(tmp_path)
    resumed = begun()
    assert resumed.resume(tmp_path)
    assert resumed.step == 4
    onward(resumed, 3)
    want, got = whole.network.state_dict(), resumed.network.state_dict()
    assert all(torch.equal(want[k], got[k]) for k in want)
    assert all(torch.equal(whole.mean[k], resumed.mean[k]) for k in whole.mean)
    before = half.network.state_dict()
    assert any(not torch.equal(before[k], want[k]) for k in want), (
        "the steps behind the checkpoint did something"
    )


# --- the whole way ---------------------------------------------------------------------------------------------------


def table(rows: int = 120, seed: int = 0) -> list[dict[str, object]]:
    rng = np.random.default_rng(seed)
    made = []
    for i in range(rows):
        colour, level = int(rng.integers(4)), int(rng.integers(2))
        note = "" if i % 10 == 3 else f"look at it, number {rng.integers(90)}: {COLOURS[colour]}"
        made.append({
            "id": f"r{i}", "note": note, "level": round(10.0 * level + float(rng.normal()), 3), "said": f"{said_of(colour, level)}.",
            "colour": COLOURS[colour],
        })  # fmt: skip
    return made


COLUMNS = {"note": "text", "level": "number"}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """Texts written freely, and a class beside them."""
    run = tmp_path_factory.mktemp("runs") / "open"
    columns = COLUMNS | {"said": "text:open=yes"}
    model = sm.Model("said", inputs=["note", "level"], also=["colour"], columns=columns, epochs=10)
    return model.fit(table(), out=run), run


@pytest.fixture(scope="module")
def closed(tmp_path_factory):
    """Eight texts that recur, so that they are a closed set; the older decoder."""
    columns = COLUMNS | {"said": "text:decoder=classic"}
    run = tmp_path_factory.mktemp("runs") / "closed"
    model = sm.Model("said", inputs=["note", "level"], columns=columns, epochs=5)
    return model.fit(table(), out=run), run


def test_text_and_class_are_learned_in_one_run(fitted):
    model, run = fitted
    history = read_jsonl(run / "history.jsonl")
    first, last = history[0]["losses"], history[-1]["losses"]
    assert {"said/joint", "colour/joint", "colour/note"} <= set(first)
    assert all(last[k] < first[k] for k in ("said/joint", "colour/joint", "colour/note"))
    assert model.task.target.column == "said"
    assert model.metrics["scores"]["chrf"]["value"] > model.metrics["baselines"][0]["score"]["value"]
    assert (run / "report.html").exists()


def test_a_class_with_a_text_beside_it(tmp_path):
    columns = COLUMNS | {"said": "text:open=yes"}
    model = sm.Model("colour", inputs=["note", "level"], also=["said"], columns=columns, epochs=2).fit(
        table(60), out=tmp_path
    )
    assert {"said/joint", "colour/joint"} <= set(read_jsonl(tmp_path / "history.jsonl")[0]["losses"])
    said = model.predict(table(8, seed=2))
    assert {s.value for s in said} <= set(COLOURS)
    assert [s.value for s in sm.load(tmp_path).predict(table(8, seed=2))] == [s.value for s in said]
    with pytest.raises(InputError, match="does not write"):
        model.generate(note="red")


@pytest.mark.parametrize("which", ["fitted", "closed"])
def test_figures_are_those_of_the_predictions(which, request):
    model, _ = request.getfixturevalue(which)
    unseen = table(40, seed=5)
    unseen[7]["said"] = ""
    found, said = model.evaluate(unseen), model.predict(unseen)
    known = [i for i, row in enumerate(unseen) if row["said"]]
    truth = [[str(unseen[i]["said"])] for i in known]
    want = text_scores([said[i].value for i in known], truth)
    assert found["rows"] == 39
    assert found["skipped"] == 1
    assert found["scores"] == {name: score.to_json() for name, score in want.items()}
    assert found["metric"] == "exact", "answers of three words and fewer count as right or wrong"
    blind = found["baselines"][0]
    assert blind["scores"]["distinct"]["value"] == pytest.approx(1 / 39, abs=1e-3), "one text for all"
    for subset in found["subsets"]:
        here, gone = ("note", "level") if subset["modalities"] == ["note"] else ("level", "note")
        some = [i for i in known if unseen[i][here] != ""]
        fewer = model.predict([{k: v for k, v in unseen[i].items() if k != gone} for i in some])
        score = text_scores([f.value for f in fewer], [[str(unseen[i]["said"])] for i in some])["exact"]
        assert subset["rows"] == len(some)
        assert subset["score"] == score.to_json()
        assert subset["everything"] == pytest.approx(
            np.mean([said[i].value == unseen[i]["said"] for i in some]), abs=1e-4
        )
    assert [s["modalities"] for s in found["subsets"]] == [["note"], ["table"]]


def test_a_closed_answer_is_one_of_the_set(closed):
    model, run = closed
    answers = {f"{said_of(c, v)}." for c in range(4) for v in range(2)}
    assert set(model.task.target.wording.answers) == answers
    said = model.predict(table(20, seed=3))
    for one in said:
        assert set(one.probabilities) == answers
        assert sum(one.probabilities.values()) == pytest.approx(1, abs=1e-6)
        assert one.value == max(one.probabilities, key=one.probabilities.__getitem__)
    assert len({one.value for one in said}) > 1
    assert [(s.value, s.probabilities) for s in sm.load(run).predict(table(20, seed=3))] == [
        (s.value, s.probabilities) for s in said
    ]


def test_a_free_text_has_no_probabilities_and_a_row_without_inputs_no_text(fitted):
    model, _ = fitted
    rows = [*table(3, seed=3), {"id": "bare", "note": "", "level": ""}]
    said = model.predict(rows)
    assert all(s.value and not s.error and not s.probabilities for s in said[:3])
    assert said[3].value is None
    assert "none of the modalities" in said[3].error
    one = model.generate(note=rows[0]["note"], level=rows[0]["level"])
    assert one.value == said[0].value


def test_one_at_a_time_and_a_beam_of_one_say_the_same(fitted):
    model, _ = fitted
    cells = {k: table(1, seed=3)[0][k] for k in ("note", "level")}
    greedy = Manner(beam=1, no_repeat=4)
    assert "".join(model.stream(manner=greedy, **cells)) == model.generate(manner=greedy, **cells).value
    drawn = {model.generate(manner=Manner(temperature=3.0, seed=s), **cells).value for s in range(6)}
    assert len(drawn) > 2
    again = Manner(temperature=3.0, seed=4)
    assert model.generate(manner=again, **cells).value == model.generate(manner=again, **cells).value
