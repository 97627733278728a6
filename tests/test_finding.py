"""The verbs of a matcher: vectors, an index, searches, answers by names, and what they say when things go wrong."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from bad_files import rows_of, write
from finding_worlds import COLOURS, found_ids, refused, right, sided, sights, told

import sensorium as sm
from sensorium.cli import main
from sensorium.store.index import lance


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A folder with a matcher `run`, its training table, 40 new rows, an index `shelf` of them, and a run of a target."""
    folder = tmp_path_factory.mktemp("finding")
    sights(folder, 190)
    sights(folder, 40, seed=5, name="new.csv", first="n")
    match = ["fit", str(folder / "t.csv"), "--match", "photo,caption", "--epochs", "1", "--quiet"]
    main([*match, "-o", str(folder / "run")])
    main(["index", str(folder / "run"), str(folder / "new.csv"), "--quiet", "-o", str(folder / "shelf")])
    told = {
        "level": [f"{i % 2 + 0.01 * i:.2f}" for i in range(40)],
        "y": ["yes" if i % 2 else "no" for i in range(40)],
    }
    write(folder / "plain.csv", told)
    fit = ["fit", str(folder / "plain.csv"), "--target", "y", "--epochs", "1", "--quiet"]
    main([*fit, "-o", str(folder / "answers")])
    return folder


@pytest.fixture
def here(home, monkeypatch, capsys) -> Path:
    """The same, as the working folder, with nothing printed so far."""
    monkeypatch.chdir(home)
    capsys.readouterr()
    return home


@pytest.fixture
def shelf(here, tmp_path) -> Path:
    """An index that a test may change."""
    return Path(shutil.copytree(here / "shelf", tmp_path / "shelf"))


# vectors


def test_vectors_come_back_without_pickles_one_row_for_each(here, tmp_path, capsys):
    cells = rows_of(here / "new.csv")[:4]
    table = write(tmp_path / "some.csv", {
        "id": ["a", "b", "c", "d"], "photo": [str(here / c["photo"]) for c in cells[:2]] + ["", ""],
        "caption": [cells[0]["caption"], "", "", cells[3]["caption"]],
    })  # fmt: skip
    main(["embed", "run", str(table), "-o", str(tmp_path / "v.npz"), "--quiet"])
    assert "4 rows, 1 of them without a vector" in capsys.readouterr().out
    main(["embed", "run", str(table), "-o", str(tmp_path / "v.parquet"), "--quiet"])
    kept = np.load(tmp_path / "v.npz", allow_pickle=False)
    assert kept["id"].tolist() == ["a", "b", "c", "d"]
    assert [bool(e) for e in kept["error"]] == [False, False, True, False]
    assert kept["photo"].any(1).tolist() == [True, True, False, False]
    assert kept["caption"].any(1).tolist() == [True, False, False, True]
    assert kept["photo"].dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(kept["photo"][:2], axis=1), 1, atol=1e-5)
    again = sm.read(tmp_path / "v.parquet")
    assert again.cells("photo")[2] is None
    np.testing.assert_array_equal(np.asarray(again.cells("caption")[3], np.float32), kept["caption"][3])


def test_a_batch_of_one_and_the_joint_space(here, tmp_path, capsys):
    cells = rows_of(here / "new.csv")[0]
    one = write(tmp_path / "one.csv", {k: [str(here / v) if k == "photo" else v] for k, v in cells.items()})
    assert (
        told(["embed", "run", str(one), "-o", str(tmp_path / "v.npz"), "--space", "joint"], capsys)["rows"]
        == 1
    )
    assert np.load(tmp_path / "v.npz")["joint"].any()
    whole = sm.load(here / "run").embed(here / "new.csv")[1]
    alone = sm.load(here / "run").embed(one)[1]
    for name, vectors in alone.items():
        np.testing.assert_allclose(vectors[0], whole[name][0], atol=1e-4)
    assert "belong together" in refused(["evaluate", "run", str(one)], capsys)


def test_a_table_without_one_row_to_embed_ends_with_one(here, tmp_path, capsys):
    blank = write(tmp_path / "blank.csv", {"id": ["a", "b"], "caption": ["", ""], "price": ["1", "2"]})
    for verb in (
        ["embed", "run", str(blank), "-o", str(tmp_path / "v.npz")],
        ["index", "run", str(blank), "-o", str(tmp_path / "i")],
    ):
        with pytest.raises(SystemExit) as ended:
            main([*verb, "--quiet"])
        assert ended.value.code == 1
    capsys.readouterr()
    assert "the index is empty" in refused(["search", str(tmp_path / "i"), "--text", "a red disc"], capsys)
    ask = ["search", str(tmp_path / "i"), "new.csv", "--query", "caption", "-o", str(tmp_path / "ranks.csv")]
    assert "the index is empty" in refused(ask, capsys)


# search


def test_words_find_pictures_and_a_picture_finds_words(here, tmp_path, capsys):
    cells = rows_of("new.csv")
    page = tmp_path / "page.html"
    hits = [
        c["id"] in found_ids(["search", "shelf", "--text", c["caption"], "--answer", "photo", "-k", "5", "-o", str(page)], capsys)
        for c in cells[:8]
    ]  # fmt: skip
    assert sum(hits) >= 7, "by chance one of eight"
    hits = [
        c["id"] in found_ids(["search", "shelf", "--image", c["photo"], "--answer", "caption", "-k", "5", "-o", str(page)], capsys)
        for c in cells[:8]
    ]  # fmt: skip
    assert sum(hits) >= 7
    assert "<img" in page.read_text(encoding="utf-8")


def test_a_search_tells_rows_scores_and_a_page(shelf, capsys):
    main(["search", str(shelf), "--text", "a red square blue disc", "-k", "3", "--quiet"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(".")[0].strip() for line in lines[:3]] == ["1", "2", "3"]
    assert lines[3] == f"picture: {shelf}-search.html"
    found = told(["search", str(shelf), "--text", "a red square blue disc", "-k", "3"], capsys)
    assert found["rows"] == 40
    scores = [h["score"] for h in found["found"]]
    assert scores == sorted(scores, reverse=True)
    assert found["found"][0]["through"] in ("photo", "caption")
    assert set(found["found"][0]["row"]) == {"photo", "caption", "price", "colour"}


def test_conditions_words_and_more_than_there_is(here, tmp_path, capsys):
    ask, page = ["search", "shelf", "--text", "a red square blue disc"], ["-o", str(tmp_path / "p.html")]
    cells = {c["id"]: c for c in rows_of("new.csv")}
    assert len(found_ids([*ask, "-k", "1000", *page], capsys)) == 40
    cheap = found_ids([*ask, "--where", 'price < 20 and colour = "red"', "-k", "40", *page], capsys)
    assert set(cheap) == {i for i, c in cells.items() if int(c["price"]) < 20 and c["colour"] == "red"}
    written = found_ids(["search", "shelf", "--words", "stripes", "-k", "40", *page], capsys)
    assert set(written) == {i for i, c in cells.items() if "stripes" in c["caption"]}
    both = found_ids([*ask, "--words", "stripes", "-k", "40", *page], capsys)
    assert set(both) == set(cells)
    assert found_ids([*ask, "--where", "price > 1000", *page], capsys) == []


def test_several_things_asked_for_at_once_count_together(here, tmp_path, capsys):
    first = rows_of("new.csv")[0]
    ask = [
        "search",
        "shelf",
        "--image",
        first["photo"],
        "--ask",
        f"caption={first['caption']}",
        "-o",
        str(tmp_path / "p.html"),
    ]
    assert found_ids(ask, capsys)[0] == first["id"]


def test_a_table_of_queries_gives_a_row_of_ids_for_each_in_order(here, tmp_path, capsys):
    cells = rows_of("new.csv")[:5]
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    table = write(tmp_path / "q.csv", {
        "id": ["q0", "q1", "q2", "q3", "q4"],
        "seen": [str(here / cells[0]["photo"]), str(tmp_path / "broken.png"), "", str(here / cells[3]["photo"]), str(tmp_path / "none.png")],
    })  # fmt: skip
    out = tmp_path / "ranks.csv"
    ask = ["search", "shelf", str(table), "--query", "seen", "--answer", "photo", "-k", "3", "-o", str(out)]
    said = told(ask, capsys)
    assert (said["queries"], said["errors"], said["recall"]) == (5, 3, None)
    ranks = rows_of(out)
    assert [r["id"] for r in ranks] == ["q0", "q1", "q2", "q3", "q4"]
    assert [bool(r["error"]) for r in ranks] == [False, True, True, False, True]
    assert [r["prediction"] == "" for r in ranks] == [False, True, True, False, True]
    for row, cell in ((ranks[0], cells[0]), (ranks[3], cells[3])):
        ids = json.loads(row["prediction"])
        assert len(ids) == 3
        assert ids[0] == cell["id"], "a picture is nearest to itself"


def test_queries_of_which_none_can_be_read_end_with_one(here, tmp_path, capsys):
    table = write(tmp_path / "q.csv", {"id": ["a", "b"], "caption": ["", ""]})
    with pytest.raises(SystemExit) as ended:
        main(["search", "shelf", str(table), "--query", "caption", "-o", str(tmp_path / "r.csv"), "--quiet"])
    assert ended.value.code == 1
    assert [bool(r["error"]) for r in rows_of(tmp_path / "r.csv")] == [True, True]


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (["search", "shelf"], "nothing to search for"),
        (["search", "shelf", "--audio", "x.wav"], "the run never saw audio"),
        (["search", "shelf", "--ask", "price=3"], "no such column to ask by"),
        (["search", "shelf", "--ask", "caption"], "no such column to ask by"),
        (["search", "shelf", "--image", "none.png"], "the query cannot be read"),
        (["search", "shelf", "--text", ""], "the query cannot be read"),
        (["search", "shelf", "--text", "a red disc", "-k", "0"], "nothing to ask for"),
        (["search", "shelf", "--text", "a red disc", "--answer", "price"], "no such modality"),
        (["search", "shelf", "--text", "a red disc", "--where", "price <"], "the condition cannot be read"),
        (["search", "shelf", "--text", "a red disc", "--where", "weight < 3"], "weight"),
        (["search", "nowhere", "--text", "a red disc"], "no index"),
        (["search", "run", "--text", "a red disc"], "no index"),
        (["search", "shelf", "--text", "a red disc", "--run", "answers"], "it matches nothing"),
        (["search", "shelf", "--text", "a red disc", "--run", "nowhere"], "not a run"),
        (["search", "shelf", "new.csv", "--query", "caption"], "a column and a file"),
        (["search", "shelf", "new.csv", "-o", "r.csv"], "a column and a file"),
        (["search", "shelf", "new.csv", "--query", "smell", "-o", "r.csv"], "no such column"),
        (["search", "nowhere", "none.csv", "--query", "caption", "-o", "r.txt"], "predictions file"),
        (["search", "shelf", "new.csv", "--query", "caption", "--words", "red", "-o", "r.csv"], "one of its columns alone"),
        (["search", "shelf", "new.csv", "--query", "caption", "--where", "price ~ 3", "-o", "r.csv"], "condition"),
        (["index", "answers", "new.csv", "-o", "other"], "it matches nothing"),
        (["index", "run", "plain.csv", "-o", "other"], "none of the matched columns"),
        (["index", "run", "new.csv", "-o", "other", "--delete"], "no index to delete from"),
        (["index", "run", "new.csv", "-o", "plain.csv"], "plain.csv"),
        (["index", "run", "new.csv", "-o", "answers"], "no index"),
        (["embed", "answers", "new.csv", "-o", "v.npz"], "it matches nothing"),
        (["embed", "run", "plain.csv", "-o", "v.npz"], "none of the matched columns"),
        (["embed", "nowhere", "none.csv", "-o", "v.csv"], "vectors file"),
        (["explain", "run", "new.csv"], "it answers no target"),
        (["interactions", "run", "new.csv"], "it answers no target"),
        (["predict", "nowhere", "none.csv", "-o", "p.txt", "--labels", "red,blue"], "predictions file"),
        (["predict", "run", "new.csv", "-o", "p.csv"], "answers by names"),
        (["predict", "run", "new.csv", "-o", "p.csv", "--labels", "red"], "told apart by their names"),
        (["predict", "run", "new.csv", "-o", "p.csv", "--labels", "red,red"], "told apart by their names"),
        (["predict", "run", "new.csv", "-o", "p.csv", "--labels", ","], "told apart by their names"),
        (["predict", "run", "new.csv", "-o", "p.csv", "--labels", "red,blue", "--templates", "a photo"], "no place for the name"),
        (["predict", "run", "new.csv", "-o", "p.csv", "--labels", "red,blue", "--templates", "[a {}"], "no JSON list"),
        (["predict", "run", "new.csv", "-o", "p.csv", "--labels", "red,blue", "--templates", '["{}", 3]'], "no JSON list"),
        (["predict", "run", "new.csv", "-o", "p.csv", "--labels", "red,blue", "--templates", "[]"], "no JSON list"),
        (["predict", "run", "new.csv", "-o", "p.csv", "--labels", "red,blue", "--sets"], "do not go with"),
        (["predict", "run", "new.csv", "-o", "p.csv", "--labels", "red,blue", "--target", "colour"], "do not go with"),
        (["predict", "run", "new.csv", "-o", "p.csv", "--templates", "a {}"], "do not go with"),
        (["predict", "run", "new.csv", "-o", "p.csv", "--shots", "t.csv"], "column of labels"),
        (["predict", "run", "new.csv", "-o", "p.csv", "--shots", "t.csv", "--target", "taste"], "taste"),
        (["predict", "run", "new.csv", "-o", "p.csv", "--labels", "red,blue", "--shots", "t.csv", "--target", "colour"], "not asked for"),
        (["predict", "answers", "plain.csv", "-o", "p.csv", "--labels", "yes,no"], "it matches nothing"),
        (["evaluate", "run", "new.csv", "--by", "NOSUCH"], "photo, caption, price, colour"),
        (["evaluate", "answers", "plain.csv", "--by", "y"], "--by is for runs"),
        (["fit", "t.csv", "--match", "photo", "-o", "other"], "nothing to match"),
        (["fit", "t.csv", "--match", "photo,caption", "--group", "colour", "-o", "other"], "--group"),
        (["fit", "t.csv", "--match", "photo,caption", "--fusion", "late", "-o", "other"], "--fusion"),
        (["fit", "plain.csv", "--target", "y", "--loss", "sigmoid", "-o", "other"], "--loss"),
        (["fit", "t.csv", "--match", "photo,caption", "--memory", "few", "-o", "other"], "no amount of memory"),
        (["fit", "t.csv", "--match", "photo,caption", "--lock", "price", "-o", "other"], "can be locked"),
    ],
)  # fmt: skip
def test_mistakes_end_with_two_and_one_clear_message(here, capsys, args, part):
    before = sorted(here.iterdir())
    assert part in refused(args, capsys)
    assert sorted(here.iterdir()) == before, "what is refused leaves nothing behind"


# the index


def test_adding_again_replaces_and_deleting_deletes(shelf, tmp_path, capsys):
    assert told(["index", "run", "new.csv", "-o", str(shelf)], capsys)["rows"] == 40
    cells = rows_of("new.csv")
    table = write(
        tmp_path / "other.csv",
        {"id": ["n0", "x"], "caption": ["a red disc white square", "a black disc red square"]},
    )
    said = told(["index", "run", str(table), "-o", str(shelf)], capsys)
    assert (said["rows"], said["added"], said["left_out"]) == (41, 2, [])
    first = told(
        ["search", str(shelf), "--text", "a red disc white square", "--answer", "caption", "-k", "1"], capsys
    )["found"][0]
    assert first["id"] == "n0"
    assert first["row"]["price"] is None, "the whole row was replaced"
    gone = write(tmp_path / "gone.csv", {"id": ["n0", "n1", "never"], "caption": ["", "", ""]})
    said = told(["index", "run", str(gone), "-o", str(shelf), "--delete"], capsys)
    assert (said["deleted"], said["rows"]) == (2, 39)
    left = found_ids(["search", str(shelf), "--text", cells[0]["caption"], "-k", "100"], capsys)
    assert set(left) == {c["id"] for c in cells[2:]} | {"x"}


def test_the_same_id_twice_in_a_table_is_told(shelf, tmp_path, capsys):
    table = write(tmp_path / "twice.csv", {"id": ["a", "a"], "caption": ["a red disc", "a blue disc"]})
    assert "stands twice" in refused(["index", "run", str(table), "-o", str(shelf)], capsys)
    assert len(found_ids(["search", str(shelf), "--text", "a red disc", "-k", "100"], capsys)) == 40


def test_rows_that_cannot_be_read_are_left_out_and_told(here, tmp_path, capsys):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    picture = str(here / rows_of("new.csv")[0]["photo"])
    table = write(tmp_path / "some.csv", {
        "id": ["good", "bad", "empty"], "photo": [picture, str(tmp_path / "broken.png"), ""], "caption": ["", "a red disc", ""],
    })  # fmt: skip
    said = told(["index", "run", str(table), "-o", str(tmp_path / "i")], capsys)
    assert (said["rows"], said["added"]) == (1, 1)
    assert [b.split(":")[0] for b in said["left_out"]] == ["bad", "empty"]


def test_an_index_of_another_run_is_refused_by_its_fingerprint(here, shelf, tmp_path, capsys):
    other = sm.load("run")
    with torch.no_grad():
        next(iter(other.network.parameters())).add_(1e-3)
    other.save(tmp_path / "second")
    for args in (
        ["search", str(shelf), "--text", "a red disc", "--run", str(tmp_path / "second")],
        ["index", str(tmp_path / "second"), "new.csv", "-o", str(shelf)],
    ):
        assert "made by another run" in refused(args, capsys)
    same = shutil.copytree("run", tmp_path / "copy")
    assert found_ids(["search", str(shelf), "--text", "a red disc", "--run", str(same), "-k", "1"], capsys)


def test_an_index_whose_run_has_gone_says_how_to_name_it(here, tmp_path, capsys):
    run = Path(shutil.copytree("run", tmp_path / "run"))
    main(["index", str(run), "new.csv", "--quiet", "-o", str(tmp_path / "i")])
    capsys.readouterr()
    shutil.rmtree(run)
    ask = ["search", str(tmp_path / "i"), "--text", "a red disc", "-k", "1"]
    assert "--run" in refused(ask, capsys)
    assert found_ids([*ask, "--run", "run"], capsys)
    shutil.copytree("answers", run)
    assert "matches nothing" in refused(ask, capsys)


@pytest.mark.parametrize(
    "harm", ["manifest cut", "no manifest", "segment cut", "segment gone", "manifest of numbers"]
)
def test_a_damaged_index_is_told_and_not_written_to(shelf, capsys, harm):
    manifest = shelf / "index.json"
    segment = next(shelf.glob("segment-*"))
    if harm == "manifest cut":
        manifest.write_bytes(manifest.read_bytes()[:-40])
    elif harm == "no manifest":
        manifest.unlink()
    elif harm == "segment cut":
        segment.write_bytes(segment.read_bytes()[:-64])
    elif harm == "segment gone":
        segment.unlink()
    else:
        manifest.write_text("[1, 2, 3]")
    before = {p.name: p.read_bytes() for p in shelf.iterdir() if p.is_file() and not p.name.startswith(".")}
    assert "index" in refused(["search", str(shelf), "--text", "a red disc"], capsys)
    assert "index" in refused(["index", "run", "new.csv", "-o", str(shelf)], capsys)
    after = {p.name: p.read_bytes() for p in shelf.iterdir() if p.is_file() and not p.name.startswith(".")}
    assert after == before


def test_an_index_at_an_address_is_made_and_searched(here, tmp_path, monkeypatch, capsys):
    address = f"file://{tmp_path}/far/shelf"
    assert told(["index", "run", "new.csv", "-o", address], capsys)["rows"] == 40
    assert told(["index", "run", "new.csv", "-o", address], capsys)["rows"] == 40
    picture = str((here / rows_of("new.csv")[0]["photo"]).resolve())
    monkeypatch.chdir(tmp_path)
    said = told(["search", address, "--image", picture, "-k", "1"], capsys)
    assert said["found"][0]["id"] == "n0"
    assert said["page"] == "shelf-search.html"
    assert (tmp_path / "shelf-search.html").exists()


@pytest.mark.skipif(not lance.installed(), reason="needs lancedb (pip install 'sensorium[store]')")
def test_recall_of_an_approximate_index_passes_over_queries_that_cannot_be_read(here, tmp_path, capsys):
    from sensorium.api import open_index

    main(["index", "run", "t.csv", "--quiet", "-o", str(tmp_path / "i")])
    finder = open_index(tmp_path / "i", sm.load("run"))
    finder.index.compact(engine="lance")
    assert finder.engine == "lance"
    asked = {"id": ["a", "b", "c"], "caption": ["a red disc blue disc", "", "a white disc red square"]}
    recall = finder.recall(sm.read(asked))
    assert 0.5 < recall <= 1
    assert finder.recall(sm.read({"id": ["b"], "caption": [""]})) is None
    table = write(tmp_path / "q.csv", asked)
    capsys.readouterr()
    ask = ["search", str(tmp_path / "i"), str(table), "--query", "caption", "-o", str(tmp_path / "r.csv")]
    main([*ask, "--quiet"])
    assert "approximate index (lance), which finds" in capsys.readouterr().out


# answers by names, figures


def test_rows_are_sorted_by_names_and_better_by_a_few_rows(here, tmp_path, capsys):
    bare, out = sided(here, tmp_path), tmp_path / "p.csv"
    cells = rows_of(bare)
    names = ["predict", "run", str(bare), "-o", str(out), "--quiet"]
    main(
        [
            *names,
            "--labels",
            ",".join(COLOURS),
            "--templates",
            json.dumps([f"a {{}} {s}" for s in ("disc", "square", "stripes")]),
        ]
    )
    by_names = right(out, cells)
    assert by_names > 0.3, "by chance 0.17: a name says nothing of left and right"
    chances = [float(rows_of(out)[0][f"p_{c}"]) for c in COLOURS]
    assert sum(chances) == pytest.approx(1, abs=1e-6)
    main([*names, "--shots", "t.csv", "--target", "colour"])
    assert right(out, cells) >= max(0.6, by_names)


def test_classes_whose_names_are_no_words_are_learned_from_rows(here, tmp_path, capsys):
    bare, out = sided(here, tmp_path), tmp_path / "p.csv"
    code = {c: f"k{i}" for i, c in enumerate(COLOURS)}
    train = rows_of("t.csv")
    shots = write(tmp_path / "shots.csv", {
        "id": [c["id"] for c in train], "photo": [str(here / c["photo"]) for c in train], "code": [code[c["colour"]] for c in train],
    })  # fmt: skip
    main(
        [
            "predict",
            "run",
            str(bare),
            "-o",
            str(out),
            "--shots",
            str(shots),
            "--target",
            "code",
            "--templates",
            "{}",
            "--quiet",
        ]
    )
    cells = [{**c, "code": code[c["colour"]]} for c in rows_of(bare)]
    assert right(out, cells, "code") > 0.6


def test_rows_without_what_is_sorted_carry_an_error(here, tmp_path, capsys):
    table = write(tmp_path / "some.csv", {
        "id": ["a", "b", "c"], "photo": [str(here / rows_of("new.csv")[0]["photo"]), "", ""], "caption": ["", "a red disc", ""],
    })  # fmt: skip
    main(["predict", "run", str(table), "-o", str(tmp_path / "p.jsonl"), "--labels", "red,blue", "--quiet"])
    said = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert [s["id"] for s in said] == ["a", "b", "c"]
    assert said[0]["prediction"] in ("red", "blue")
    assert [bool(s.get("error")) for s in said] == [False, True, True]
    assert "columns that can be sorted" in said[1]["error"]
    bare = write(tmp_path / "bare.csv", {"id": ["b"], "caption": ["a red disc"]})
    with pytest.raises(SystemExit) as ended:
        main(["predict", "run", str(bare), "-o", str(tmp_path / "p.csv"), "--labels", "red,blue", "--quiet"])
    assert ended.value.code == 1


def test_figures_say_chance_and_what_belongs_together_may_be_a_class(here, capsys):
    rows = told(["evaluate", "run", "new.csv"], capsys)
    by = {(r["query"], r["answer"], r["by"]): r for r in rows["retrieval"]}
    assert by["photo", "caption", "blend"]["r@10"]["value"] > 0.8
    assert by["photo", "caption", "blend"]["chance@10"]["value"] == pytest.approx(0.25)
    classes = told(["evaluate", "run", "new.csv", "--by", "colour"], capsys)
    by = {(r["query"], r["answer"], r["by"]): r for r in classes["retrieval"]}
    assert by["photo", "caption", "blend"]["chance@1"]["value"] > 0.1, "several rows have the same colour"
    main(["evaluate", "run", "t.csv", "--quiet"])
    assert "the figures flatter" in capsys.readouterr().out


def test_numbers_of_a_csv_are_numbers_and_codes_stay_codes(here, tmp_path, capsys):
    table = write(tmp_path / "t.csv", {
        "id": ["a", "b", "c"], "caption": ["7", "8", "9"], "weight": ["1.5", "", "20"], "code": ["007", "012", "100"], "size": ["1", "2", "big"],
    })  # fmt: skip
    shelf = str(tmp_path / "i")
    main(["index", "run", str(table), "-o", shelf, "--quiet"])
    from sensorium.store.index import Index

    kinds = Index.open(shelf).manifest.columns
    assert "caption" in Index.open(shelf).manifest.texts
    assert kinds == {"caption": "text", "weight": "number", "code": "text", "size": "text"}
    later = write(
        tmp_path / "later.csv",
        {"id": ["d"], "caption": ["a red disc"], "weight": ["3"], "code": ["5"], "size": ["5"]},
    )
    main(["index", "run", str(later), "-o", shelf, "--quiet"])
    assert Index.open(shelf).manifest.columns == kinds
    odd = write(tmp_path / "odd.csv", {"id": ["e"], "caption": ["a red disc"], "weight": ["heavy"]})
    capsys.readouterr()
    assert "weight holds values of different kinds" in refused(
        ["index", "run", str(odd), "-o", shelf], capsys
    )
