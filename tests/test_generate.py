"""Texts on demand: the verb `generate`, its page, `predict` of texts, and what happens where input is odd."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sensorium as sm
from sensorium.api.generating import written_row
from sensorium.api.model import Model
from sensorium.api.texts import Manner
from sensorium.cli import main
from sensorium.cli import writing as verb
from sensorium.data import Decoder
from sensorium.report import write_generated
from sensorium.report.generated import generated_page
from sensorium.store import Table
from sensorium.tasks import infer_target, texts_of
from sensorium.types import InputError, Limits

COLOURS = {"red": (200, 30, 30), "green": (30, 180, 40), "blue": (30, 60, 210)}
READ = 30  # bytes of a question that the model reads
WROTE = 16  # most bytes of what it writes
SOME = 6  # fewest bytes that are asked for: so short a training ends most texts at once
GREEDY = Manner(beam=1, shortest=SOME)


def picture(left: str, right: str) -> np.ndarray:
    """Two halves of a colour each, (16, 16, 3)."""
    found = np.zeros((16, 16, 3), np.uint8)
    found[:, :8], found[:, 8:] = COLOURS[left], COLOURS[right]
    return found


def world(folder: Path, rows: int = 20) -> list[dict]:
    """Pictures of two halves as files, clips that turn from one colour to the other, a question and two ways to say it."""
    rng, found = np.random.default_rng(0), []
    for i in range(rows):
        left, right = rng.choice(list(COLOURS), 2).tolist()
        Image.fromarray(picture(left, right)).save(folder / f"{i}.png")
        side, answer = ("left", left) if i % 2 else ("right", right)
        found.append({
            "id": f"r{i}", "image": str(folder / f"{i}.png"), "clip": np.stack([picture(left, left)] * 2 + [picture(right, right)] * 2),
            "question": f"which one is on the {side}?", "answer": answer, "caption": [f"{left} and {right}", f"{left}, {right}"],
            "split": "valid" if i % 5 == 4 else "train",
        })  # fmt: skip
    return found


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A folder with `t.jsonl` (without clips), a run `free` that writes captions, and a run `closed` that picks answers."""
    folder = tmp_path_factory.mktemp("generate")
    rows = world(folder)
    bare = [{k: v for k, v in r.items() if k != "clip"} for r in rows]
    (folder / "t.jsonl").write_text("\n".join(map(json.dumps, bare)))
    kinds = {"caption": f"text:longest={WROTE}", "question": f"text:longest={READ}"}
    Model("caption", inputs=["image", "clip", "question"], columns=kinds, epochs=2).fit(
        rows, out=folder / "free"
    )
    kinds = {"answer": "text:open=no", "question": f"text:longest={READ}"}
    Model("answer", inputs=["question"], columns=kinds, epochs=1).fit(bare, out=folder / "closed")
    return folder


@pytest.fixture(scope="module")
def free(home) -> Model:
    """The run that writes captions."""
    return sm.load(home / "free")


@pytest.fixture(scope="module")
def closed(home) -> Model:
    """The run that picks one of three answers."""
    return sm.load(home / "closed")


@pytest.fixture
def here(home, monkeypatch, capsys) -> Path:
    """The folder as the working folder, with nothing printed so far."""
    monkeypatch.chdir(home)
    capsys.readouterr()
    return home


def wrote(model: Model, manner: Manner = GREEDY, **cells: object) -> dict:
    """What `written_row` makes of some cells."""
    table = Table(data={n: [v] for n, v in cells.items()}, folder=Path.cwd())
    return written_row(model.network, model.task, Decoder(table, limits=Limits()), manner=manner)


def told(capsys, *words: str) -> dict:
    """What a verb prints as JSON."""
    main([*words, "--json"])
    return json.loads(capsys.readouterr().out)


def refusal(capsys, *words: str) -> str:
    """What a verb that is refused says; its exit code is 2."""
    with pytest.raises(SystemExit) as stopped:
        main([*words, "--quiet"])
    assert stopped.value.code == 2
    return capsys.readouterr().err


# the verb


def test_a_text_with_its_page(here, free, capsys):
    question = "which one is on the left?"
    found = told(capsys, "generate", "free", "--image", "3.png", "--text", question, "--shortest", str(SOME))
    assert set(found) == {"text", "log_probability", "probabilities", "remarks", "page"}
    expected = free.generate(image=str(here / "3.png"), question=question, manner=Manner(shortest=SOME))
    assert found["text"] == expected.value
    assert found["log_probability"] < 0
    assert found["probabilities"] == {}
    assert Path(found["page"]) == Path("free/generate.html")
    page = Path(found["page"]).read_text(encoding="utf-8")
    assert question in page
    assert "data:image/png;base64," in page
    assert "Where it looked, word by word" in page
    assert "clip" in page
    assert "absent" in page  # the clip was not given
    assert "<script" not in page


def test_people_read_the_text_first(here, free, capsys):
    main(["generate", "free", "--image", "3.png", "-o", "mine.html", "--shortest", str(SOME), "--quiet"])
    first, second, last = capsys.readouterr().out.splitlines()
    assert first == free.generate(image="3.png", manner=Manner(shortest=SOME)).value
    assert second.startswith("log-probability -")
    assert last == "picture: mine.html"
    assert Path("mine.html").exists()


def test_a_row_of_a_table_by_id_and_by_number(here, capsys):
    main(["predict", "free", "t.jsonl", "-o", "p.csv", "--shortest", "6", "--quiet"])
    capsys.readouterr()
    with open("p.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert set(rows[0]) == {"id", "prediction", "error"}  # an open target has no probabilities
    by_id = told(capsys, "generate", "free", "t.jsonl", "--row", "r7", "--shortest", "6")
    by_number = told(capsys, "generate", "free", "t.jsonl", "--row", "7", "--shortest", "6")
    assert by_id == by_number
    assert by_id["text"] == rows[7]["prediction"]
    assert by_id["page"].endswith("generate-7.html")
    truth = json.loads((here / "t.jsonl").read_text().splitlines()[7])["caption"]
    assert truth[0] in Path(by_id["page"]).read_text(encoding="utf-8")


def test_another_column_of_the_kind_is_asked_by_name(here, capsys):
    by_kind = told(capsys, "generate", "free", "--text", "which?")
    by_name = told(capsys, "generate", "free", "--ask", "question=which?")
    assert by_kind == by_name


def test_streamed_pieces_are_the_greedy_text(here, free, capsys):
    pieces = list(free.stream(image="3.png", manner=GREEDY))
    assert "".join(pieces) == free.generate(image="3.png", manner=GREEDY).value
    assert pieces
    main(["generate", "free", "--image", "3.png", "--stream", "--shortest", str(SOME), "--quiet"])
    assert capsys.readouterr().out.startswith("".join(pieces) + "\nlog-probability -")


def test_a_page_shows_the_text_that_was_streamed_whatever_the_beam(free, home):
    table, heard = Table(data={"image": ["3.png"]}, folder=home), []
    decoder, wide = Decoder(table, limits=Limits()), Manner(beam=4, shortest=SOME)
    found = written_row(free.network, free.task, decoder, manner=wide, hear=heard.append)
    assert "".join(heard) == found["said"]
    assert found["said"] == wrote(free, image=str(home / "3.png"))["said"]


def test_by_lot_the_seed_decides_and_a_stream_draws_the_same(free, home):
    cells = {"image": str(home / "3.png")}
    lots = [Manner(temperature=1.5, seed=s) for s in (1, 1, 2)]
    one, again, other = (free.generate(manner=m, **cells).value for m in lots)
    assert one == again
    assert one != other
    assert "".join(free.stream(manner=lots[0], **cells)) == one


def test_a_closed_set_gives_the_likeliest_answers(here, closed, capsys):
    found = told(capsys, "generate", "closed", "--text", "which one is on the left?")
    chances = list(found["probabilities"].values())
    assert set(found["probabilities"]) == set(COLOURS)
    assert sum(chances) == pytest.approx(1, abs=1e-4)
    assert chances == sorted(chances, reverse=True)
    assert next(iter(found["probabilities"])) == found["text"]
    assert np.exp(found["log_probability"]) == pytest.approx(chances[0], abs=1e-3)
    assert list(closed.stream(question="which one is on the left?")) == [found["text"]]
    main(["generate", "closed", "--text", "which one is on the left?", "--quiet"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:5]] == list(found["probabilities"])


def test_five_answers_are_shown_and_the_others_summed_up():
    found = {"said": "a<b", "probabilities": {"a<b": 0.4, **{f"w{i}": 0.1 for i in range(6)}}, "log_probability": -0.9}  # fmt: skip
    page = generated_page(found)
    assert "a&lt;b" in page
    assert "a<b" not in page
    assert "w3" in page
    assert "w4" not in page
    assert "The other 2 answers share 20.0" in page
    assert "Nothing was written" in generated_page({"cells": 3, "words": None, "probabilities": []})


def test_predict_has_a_column_for_each_of_a_few_answers(here, monkeypatch, capsys):
    main(["predict", "closed", "t.jsonl", "-o", "p.csv", "--quiet"])
    assert Path("p.csv").read_text().splitlines()[0] == "id,prediction,p_blue,p_green,p_red,error"
    monkeypatch.setattr(verb, "COLUMNS", 2)
    main(["predict", "closed", "t.jsonl", "-o", "p.csv", "--quiet"])
    assert Path("p.csv").read_text().splitlines()[0] == "id,prediction,error"


def test_predict_searches_as_it_is_told(here, free, capsys):
    main(["predict", "free", "t.jsonl", "-o", "p.csv", "--longest", "2", "--beam", "1", "--quiet"])
    with open("p.csv", newline="", encoding="utf-8") as file:
        said = [r["prediction"] for r in csv.DictReader(file)]
    table = sm.read("t.jsonl")
    assert said == [p.value for p in free.generate(table, manner=Manner(longest=2, beam=1))]
    assert all(len(s) <= 2 for s in said)


# the same text, however it is asked for


def test_alone_in_a_batch_and_after_saving(home, free, tmp_path):
    table = sm.read(home / "t.jsonl").take(list(range(6)))
    together = [p.value for p in free.generate(table, manner=GREEDY)]
    assert all(together)
    assert together == [free.generate(table.take([i]), manner=GREEDY)[0].value for i in range(6)]
    free.save(tmp_path / "copy")
    assert together == [p.value for p in sm.load(tmp_path / "copy").generate(table, manner=GREEDY)]


# odd cells


def test_a_long_question_is_read_to_the_limit_and_it_is_said(free, here, capsys):
    long = "which one is on the left side, or on the right one?"
    assert (
        wrote(free, question=long)["log_probability"] == wrote(free, question=long[:READ])["log_probability"]
    )
    assert wrote(free, question=long)["log_probability"] != wrote(free, question=long[:8])["log_probability"]
    assert wrote(free, question=long)["remarks"] == [
        f"question: cut after {READ} tokens in 1 of 1 rows; training texts were hardly longer"
    ]
    assert wrote(free, question=long[:READ])["remarks"] == []
    main(["generate", "free", "--text", long, "--quiet"])
    assert "cut after 30 tokens" in capsys.readouterr().out
    assert "cut after 30 tokens" in Path("free/generate.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("blank", ["", "  \n ", None])
def test_an_empty_question_is_absent(free, home, blank):
    image = str(home / "3.png")
    assert wrote(free, image=image, question=blank) == wrote(free, image=image)
    assert wrote(free, image=image) != wrote(free, image=image, question="which?")
    assert "none of the modalities" in free.generate(question=blank).error


@pytest.mark.parametrize(
    "question", ["左边是什么颜色", "ما هو اللون؟", "🟥👩‍👩‍👧❓", "\ufffd\x00", "a\u0301" * 40]
)
def test_other_scripts_are_read(free, closed, question):
    found = free.generate(question=question, manner=GREEDY)
    assert not found.error
    assert isinstance(found.value, str)
    assert closed.generate(question=question).value in COLOURS


def test_clips_of_one_frame_of_none_and_of_many(free):
    clip = np.stack([picture("red", "blue")] * 4)
    one, none, many = (
        free.generate(clip=c, manner=GREEDY) for c in (clip[:1], clip[:0], np.tile(clip, (60, 1, 1, 1)))
    )
    assert not one.error
    assert none.value is None
    assert "clip" in none.error
    assert not many.error


def test_an_answer_that_training_never_saw_counts_as_wrong_and_is_named(closed):
    said = closed.generate(question="which?").value
    rows = [{"question": "which?", "answer": said}, {"question": "which?", "answer": "mauve"}]
    found = closed.evaluate(rows)
    assert found["rows"] == 2
    assert found["scores"]["exact"]["value"] == 0.5
    assert found["warnings"] == ["answers that training never saw: 'mauve'; their rows count as wrong"]
    assert closed.evaluate([rows[0]] * 2)["warnings"] == []


def test_a_list_with_blanks_is_its_texts(free):
    cell = [" red  and blue ", "", None, "\n"]
    assert texts_of(cell) == ["red and blue"]
    assert free.task.target.encode(cell).shape == (1, len("red and blue"))
    assert free.task.target.encode([]) is None
    found = free.evaluate(
        [{"question": "which?", "caption": cell}, {"question": "which?", "caption": ["", None]}]
    )
    assert found["rows"] == 1
    assert found["skipped"] == 1


# odd tables


def test_all_texts_the_same_and_a_single_row(tmp_path):
    same = [{"q": f"thing {i}", "a": "it is a thing as any other"} for i in range(8)]
    model = Model("a", inputs=["q"], columns={"a": "text", "q": "text"}, epochs=1).fit(same)
    assert model.task.target.wording.answers == ()
    assert isinstance(model.generate(q="thing").value, str)
    single = Model("a", inputs=["q"], columns={"a": "text", "q": "text"}, epochs=1).fit(same[:1])
    assert single.metrics["scores"] == {}
    assert isinstance(single.generate(q="thing").value, str)


def test_a_target_of_empty_lists_is_refused():
    rows = [{"q": f"thing {i}", "a": []} for i in range(8)]
    with pytest.raises(InputError):
        Model("a", inputs=["q"], columns={"a": "text", "q": "text"}, epochs=1).fit(rows)
    with pytest.raises(InputError):
        infer_target("a", [[], [""]], kind="text")


# how a text is searched for


@pytest.mark.parametrize(
    ("asked", "wrong"),
    [
        ({"beam": 0}, "beam"), ({"beam": 10**9}, "beam"), ({"alpha": -0.1}, "alpha"), ({"alpha": float("nan")}, "alpha"),
        ({"temperature": 0.0}, "temperature"), ({"temperature": float("inf")}, "temperature"), ({"shortest": 5, "longest": 4}, "shortest"),
        ({"longest": 0}, "longest"), ({"no_repeat": -1}, "no_repeat"), ({"shortest": -1}, "shortest"),
    ],
)  # fmt: skip
def test_manners_that_nothing_can_follow(asked, wrong):
    with pytest.raises(InputError, match="no text can be searched for so") as refused:
        Manner(**asked)
    assert wrong in refused.value.got
    with pytest.raises(InputError):
        replace(Manner(), **asked)


def test_a_beam_wider_than_the_vocabulary(free):
    wide = Manner(beam=free.task.target.wording.vocabulary + 40, longest=2)
    assert len(free.generate(question="which?", manner=wide).value) <= 2


@pytest.mark.parametrize("asked", [Manner(longest=10**6), Manner(shortest=WROTE + 1)])
def test_lengths_that_the_decoder_was_not_made_for(free, asked):
    with pytest.raises(InputError):
        free.generate(question="which?", manner=asked)


# what is refused


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["free"], "there is nothing to write from"),
        (["free", "--audio", "x.wav"], "the run never saw audio"),
        (["free", "--ask", "colour=red"], "no such column to ask by"),
        (["free", "--ask", "question"], "no such column to ask by"),
        (["free", "--text", " "], "none of the modalities"),
        (["free", "--image", "none.png"], "nothing can be written from this"),
        (["free", "--image", "t.jsonl"], "nothing can be written from this"),
        (["free", "t.jsonl", "--text", "which?"], "either a row of a table, or inputs of your own"),
        (["free", "t.jsonl", "--row", "r99"], "no such row"),
        (["free", "--text", "which?", "--row", "1"], "a row needs its table"),
        (["free", "--text", "which?", "--stream", "--beam", "3"], "a beam knows its text only at the end"),
        (["free", "--text", "which?", "--temperature", "1", "--beam", "3"], "do not go together"),
        (["free", "--text", "which?", "--seed", "1"], "do not go together"),
        (["free", "--text", "which?", "--temperature", "0"], "no text can be searched for so"),
        (["free", "--text", "which?", "--beam", "0"], "no text can be searched for so"),
        (["free", "--text", "which?", "--longest", "9999"], "longer than the decoder was made for"),
        (["closed", "--text", "which?", "--beam", "2"], "it searches for no text"),
        (["nowhere", "--text", "which?"], "not a run folder"),
    ],
)
def test_what_the_verb_refuses(here, capsys, words, said):
    assert said in refusal(capsys, "generate", *words)


def test_pieces_and_json_do_not_go_together(here, capsys):
    assert "--stream" in refusal(capsys, "generate", "free", "--text", "which?", "--stream", "--json")


def test_a_page_that_cannot_be_written(here, capsys, tmp_path):
    found = wrote(sm.load("closed"), question="which?")
    with pytest.raises(InputError):
        write_generated(found, tmp_path / "no" / "such" / "folder.html")


def test_a_run_that_answers_with_classes_does_not_write(here, capsys):
    rows = [{"level": f"{i % 2 + 0.01 * i:.2f}", "y": "yes" if i % 2 else "no"} for i in range(12)]
    Path("levels.jsonl").write_text("\n".join(map(json.dumps, rows)))
    Model("y", epochs=1).fit("levels.jsonl", out="classes")
    assert "the run does not write" in refusal(capsys, "generate", "classes", "--ask", "level=1")
    words = ["predict", "classes", "levels.jsonl", "-o", "c.csv", "--beam", "2"]
    assert "options of runs that write texts" in refusal(capsys, *words)


def test_what_only_classes_and_numbers_have(free, here, capsys):
    table = sm.read("t.jsonl")
    for ask in (lambda: free.interactions(table), lambda: free.explain(table), lambda: free.missing(table)):
        with pytest.raises(InputError, match="only for a target that is a class, labels or a number"):
            ask()
    words = ["predict", "free", "t.jsonl", "-o", "c.csv", "--sets"]
    assert "promises of what an answer is among" in refusal(capsys, *words)
    assert "reasons for an answer" in refusal(capsys, "explain", "free", "t.jsonl")
