"""The index: nearest by any modality, words, filters, both engines, bad input."""

import json
from dataclasses import replace

import numpy as np
import pytest

from sensorium.store.index import Filter, Index, lance
from sensorium.store.index.exact import Space, nearest, scales
from sensorium.store.index.hits import Ranking, best_of, fused
from sensorium.store.index.words import bm25, postings, terms
from sensorium.types import InputError

needs_lance = pytest.mark.skipif(
    not lance.installed(), reason="needs lancedb (pip install 'sensorium[store]')"
)


def unit(rng: np.random.Generator, n: int, d: int = 16) -> np.ndarray:
    found = rng.standard_normal((n, d)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def space_of(*vectors: np.ndarray, mean: np.ndarray | None = None) -> Space:
    mean = np.zeros(vectors[0].shape[1], np.float32) if mean is None else mean
    n = sum(map(len, vectors))
    held = tuple(scales(v, mean) for v in vectors)
    return Space(name="x", vectors=vectors, keys=np.arange(n), mean=mean, scales=held)


def made(path, n: int = 60, **given) -> tuple[Index, np.ndarray, np.ndarray]:
    """Items i0, i1, ...: all have a caption, every third has no image."""
    rng = np.random.default_rng(0)
    index = Index.create(path, spaces={"image": 16, "caption": 16}, texts=["text"], **given)
    images, captions = unit(rng, n), unit(rng, n)
    there = np.arange(n) % 3 != 2
    rows = {
        "text": [f"a red kettle number {i}" if i % 2 else f"blue tea {i}" for i in range(n)],
        "price": [None if i % 10 == 9 else i for i in range(n)],
        "sold": [i % 4 == 0 for i in range(n)],
    }
    names = [f"i{i}" for i in range(n)]
    index.add(names, {"image": images, "caption": captions}, present={"image": there}, rows=rows)
    return index, images, captions


def ids(hits) -> list[list[str]]:
    return [[h.id for h in row] for row in hits]


# exact search


@pytest.mark.parametrize("sizes", [(700,), (1, 300, 0, 2000, 5), (9, 9)])
@pytest.mark.parametrize("share", [1.0, 0.7, 0.1])
@pytest.mark.parametrize("centred", [False, True])
def test_exact_search_equals_a_full_sort(sizes, share, centred):
    rng = np.random.default_rng(1)
    vectors = [unit(rng, n) for n in sizes]
    whole = np.concatenate(vectors)
    mean = rng.standard_normal(16).astype(np.float32) * 0.2 if centred else np.zeros(16, np.float32)
    allowed = rng.random(len(whole)) < share
    queries = unit(rng, 33)
    scores, places = nearest(space_of(*vectors, mean=mean), queries, 7, allowed)
    left = whole.astype(np.float64) - mean
    left /= np.linalg.norm(left, axis=1, keepdims=True)
    full = np.where(allowed, queries.astype(np.float64) @ left.T, -np.inf)
    order = np.argsort(-full, axis=1, kind="stable")[:, :7]
    kept = np.isfinite(np.take_along_axis(full, order, 1))
    np.testing.assert_array_equal(places[:, : order.shape[1]], np.where(kept, order, -1))
    np.testing.assert_allclose(
        scores[:, : order.shape[1]][kept], np.take_along_axis(full, order, 1)[kept], atol=1e-6
    )


def test_a_query_alone_scores_as_in_a_batch():
    rng = np.random.default_rng(2)
    space, queries = space_of(unit(rng, 5000), mean=np.full(16, 0.1, np.float32)), unit(rng, 300)
    scores, places = nearest(space, queries, 10)
    for i in (0, 17, 299):
        alone = nearest(space, queries[i : i + 1], 10)
        np.testing.assert_array_equal(alone[0][0], scores[i])
        np.testing.assert_array_equal(alone[1][0], places[i])


def test_equal_vectors_come_in_the_order_in_which_they_were_added():
    rng = np.random.default_rng(3)
    same = np.repeat(unit(rng, 1), 12, axis=0)
    others = unit(rng, 3000)
    space = space_of(others[:1500], same[:5], others[1500:], same[5:])
    _, places = nearest(space, same[:1], 12)
    assert places[0].tolist() == [*range(1500, 1505), *range(3005, 3012)]


def test_of_many_equal_vectors_the_first_answer():
    rng = np.random.default_rng(3)
    others, same = -np.abs(unit(rng, 500)), np.tile(np.eye(16, dtype=np.float32)[:1], (60, 1))
    _, places = nearest(space_of(others, same[:40], same[40:]), same[:2], 3)
    assert places.tolist() == [[500, 501, 502]] * 2


def test_more_rows_than_one_block_and_more_queries_than_one_batch():
    rng = np.random.default_rng(4)
    whole, queries = unit(rng, 40_000, 8), unit(rng, 260, 8)
    _, places = nearest(space_of(whole), queries, 3)
    full = queries.astype(np.float64) @ whole.T.astype(np.float64)
    np.testing.assert_array_equal(places, np.argsort(-full, axis=1, kind="stable")[:, :3])


# the index


def test_any_modality_asks_and_any_answers(tmp_path):
    index, images, captions = made(tmp_path / "i")
    assert ids(index.search({"image": images[:2]}, answer="image", k=1)) == [["i0"], ["i1"]]
    assert index.search({"image": captions[2]}, k=1)[0][0].modality == "caption"
    assert "i2" not in ids(index.search({"image": images[2]}, answer="image", k=60))[0], "i2 has no image"
    both = images[4] + captions[7]
    (row,) = index.search({"image": images[4], "caption": captions[7]}, k=2)
    assert {h.id for h in row} == {"i4", "i7"}, "two modalities count equally"
    (bare,) = index.search(both, k=2)
    assert [h.id for h in bare] == [h.id for h in row]
    np.testing.assert_allclose([h.score for h in bare], [h.score for h in row], atol=1e-6)
    absent = index.search({"image": np.zeros(16, np.float32), "caption": captions[7]}, k=2)
    assert ids(absent) == ids(index.search({"caption": captions[7]}, k=2)), "a vector of zeros is absent"


def test_the_best_modality_of_an_item_counts_once(tmp_path):
    index, images, captions = made(tmp_path / "i")
    (row,) = index.search({"image": images[0]}, k=60)
    full = np.maximum(np.where(np.arange(60) % 3 != 2, images @ images[0], -9), captions @ images[0])
    order = np.argsort(-full, kind="stable")
    assert [h.id for h in row] == [f"i{i}" for i in order]
    np.testing.assert_allclose([h.score for h in row], full[order], atol=1e-6)


def test_what_was_added_is_found_by_a_fresh_reader(tmp_path):
    index, images, _ = made(tmp_path / "i", fingerprint="run 1", described={"run": "here", "n": 1})
    again = Index.open(tmp_path / "i", fingerprint="run 1")
    assert len(again) == len(index) == 60
    assert again.ids == [f"i{i}" for i in range(60)]
    assert again.manifest.described == {"run": "here", "n": 1}
    vectors, there = again.vectors(["i4", "i2"], "image")
    np.testing.assert_array_equal(vectors[0], images[4])
    assert there.tolist() == [True, False]
    assert not vectors[1].any()
    (hit,) = again.search({"image": images[4]}, answer="image", k=1)[0]
    assert hit.row == {"text": "blue tea 4", "price": 4, "sold": True}


def test_an_open_reader_sees_the_next_write(tmp_path):
    index, images, _ = made(tmp_path / "i")
    reader = Index.open(tmp_path / "i")
    assert len(reader) == 60
    index.add(["new"], {"image": -images[:1]})
    assert ids(reader.search({"image": -images[:1]}, answer="image", k=1)) == [["new"]]


def test_the_same_id_replaces_and_deleted_ids_are_gone(tmp_path):
    index, images, captions = made(tmp_path / "i")
    index.add(["i0"], {"caption": -captions[:1]}, rows={"price": [1000]})
    assert len(index) == 60
    assert ids(index.search({"image": images[:1]}, answer="image", k=1)) != [["i0"]], "its picture is gone"
    assert index.search({"caption": -captions[0]}, k=1)[0][0].row["price"] == 1000
    assert index.delete(["i0", "i5", "i5", "nobody"]) == 2
    assert index.delete(["i0"]) == 0
    assert len(index) == 58
    for query in ({"caption": -captions[0]}, {"image": images[5]}):
        assert not {"i0", "i5"} & set(ids(index.search(query, k=60))[0])
    index.add(["i5"], {"image": images[5:6]})
    assert ids(index.search({"image": images[5]}, k=1)) == [["i5"]]


def test_many_small_writes_become_few_segments_and_lose_nothing(tmp_path):
    rng = np.random.default_rng(5)
    index = Index.create(tmp_path / "i", spaces={"a": 8}, texts=["word"])
    vectors = unit(rng, 90, 8)
    for i in range(90):
        index.add([i], {"a": vectors[i : i + 1]}, rows={"word": [f"w{i}"]})
        if i % 30 == 29:
            index.delete([i - 3])
    living = [i for i in range(90) if i not in (26, 56, 86)]
    for held in (index, Index.open(tmp_path / "i")):
        assert held.ids == [str(i) for i in living]
        assert len(held.manifest.segments) < 20
        assert ids(held.search({"a": vectors[living]}, k=1)) == [[str(i)] for i in living]
        assert ids(held.search(words=["w7", "w56", "w89"])) == [["7"], [], ["89"]]
    files = {p.name for p in (tmp_path / "i").iterdir()}
    assert files == {".lock", "index.json", *(s.name for s in index.manifest.segments)}, (
        "nothing is left behind"
    )


def test_compaction_changes_no_answer(tmp_path):
    index, images, captions = made(
        tmp_path / "i", means={"image": np.full(16, 0.1), "caption": np.full(16, -0.1)}
    )
    index.delete([f"i{i}" for i in range(0, 60, 4)])
    index.add(["i1"], {"image": images[3:4]}, rows={"text": ["green cup"]})
    before = [index.search({"image": images}, k=9), index.search(words=["kettle", "cup"], k=60)]
    index.compact()
    assert index.manifest.rows == len(index) == 45
    assert [index.search({"image": images}, k=9), index.search(words=["kettle", "cup"], k=60)] == before
    assert Index.open(tmp_path / "i").search({"image": images}, k=9) == before[0]
    index.check()


def test_columns_may_come_later_and_widen(tmp_path):
    index, images, _ = made(tmp_path / "i", n=6)
    index.add(["x"], {"image": -images[:1]}, rows={"price": [1.5], "colour": ["red"]})
    rows = {h.id: h.row for h in index.search({"image": images[0]}, k=9)[0]}
    assert rows["x"] == {"text": None, "price": 1.5, "sold": None, "colour": "red"}
    assert rows["i3"]["price"] == 3.0
    assert rows["i3"]["colour"] is None
    with pytest.raises(InputError, match="different kinds"):
        index.add(["y"], {"image": images[:1]}, rows={"price": ["cheap"]})
    assert len(index) == 7


# the modality gap


def gapped(rng: np.random.Generator, n: int, d: int = 32):
    """Pairs in two modalities, each with an offset of its own, as contrastive models leave them."""
    meaning, offsets = rng.standard_normal((n, d)), 3 * rng.standard_normal((2, d))
    pair = [meaning + 0.5 * rng.standard_normal((n, d)) + 2.0 * o for o in offsets]
    return [(p / np.linalg.norm(p, axis=1, keepdims=True)).astype(np.float32) for p in pair]


def test_centring_mends_the_ranking_across_modalities(tmp_path):
    images, captions = gapped(np.random.default_rng(6), 300)
    index = Index.create(tmp_path / "i", spaces={"image": 32, "caption": 32})
    index.add(range(300), {"image": images, "caption": captions})

    def right() -> float:
        found = index.search({"image": images}, answer="caption", k=1)
        return float(np.mean([int(row[0].id) == i for i, row in enumerate(found)]))

    before = right()
    through = [h.modality for h in index.search({"image": images[0]}, k=50)[0]]
    assert set(through) == {"image"}, "with a gap only the query's own modality answers"
    index.compact()
    assert not index.manifest.given
    np.testing.assert_allclose(index.manifest.means["image"], images.mean(0), atol=1e-6)
    assert right() > before + 0.1
    mended = [h.modality for h in index.search({"image": images[0]}, k=50)[0]]
    assert mended.count("caption") >= 10


def test_a_few_rows_give_no_mean(tmp_path):
    index, images, _ = made(tmp_path / "i", n=8)
    index.compact()
    assert index.manifest.means == {}
    assert ids(index.search({"image": images[0]}, k=1)) == [["i0"]]


def test_items_that_are_all_alike_fit_equally(tmp_path):
    index = Index.create(tmp_path / "i", spaces={"image": 16, "caption": 16})
    same = np.tile(unit(np.random.default_rng(9), 1), (40, 1))
    index.add(range(40), {"image": same, "caption": same})
    index.compact()
    np.testing.assert_allclose(index.manifest.means["image"], same[0], atol=1e-6)
    (row,) = index.search({"image": same[:1]}, k=5)
    assert [h.id for h in row] == ["0", "1", "2", "3", "4"]
    assert len({h.score for h in row}) == 1
    with pytest.raises(InputError, match="query 1"):
        index.search({"image": np.stack([same[0], np.zeros(16, np.float32)])})


# LanceDB


@needs_lance
def test_lance_finds_nearly_all_and_keeps_up_with_changes(tmp_path):
    rng = np.random.default_rng(7)
    centres = unit(rng, 100, 20)
    whole = centres[rng.integers(0, 100, 6000)] + 0.1 * unit(rng, 6000, 20)
    whole = (whole / np.linalg.norm(whole, axis=1, keepdims=True)).astype(np.float32)
    index = Index.create(tmp_path / "i", spaces={"a": 20})
    index.add(range(6000), {"a": whole}, rows={"even": [i % 2 == 0 for i in range(6000)]})
    with pytest.raises(InputError, match="no approximate index"):
        index.search({"a": whole[:1]}, engine="lance")
    index.compact(engine="lance")
    assert (index.engine, Index.open(tmp_path / "i").engine) == ("lance", "lance")
    assert index.manifest.near["a"].recall >= 0.99
    queries = whole[:64]
    assert index.recall({"a": queries}).value >= 0.99
    assert index.recall({"a": queries}, engine="exact").value == 1.0
    assert index.search({"a": queries[:1]}, k=3) == index.search({"a": queries[:1]}, k=3, engine="exact")
    poor = replace(index.manifest.near["a"], probes=1, candidates=10)
    index._near[poor.name] = lance.Approximate(index._place, poor)
    few, exact = (index.search({"a": queries}, k=10, engine=e) for e in ("lance", "exact"))
    shared = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(ids(few), ids(exact), strict=True)])
    assert index.recall({"a": queries}).value == pytest.approx(shared)
    assert shared < 0.95, "what is measured can be bad"
    index._near.clear()
    index.delete(range(0, 10))
    index.add(["new"], {"a": whole[:1]})
    index.add([11], {"a": -whole[:1]})
    assert ids(index.search({"a": whole[:1]}, k=1)) == [["new"]], "what was added since is searched too"
    assert not {"0", "9"} & {name for row in ids(index.search({"a": queries}, k=20)) for name in row}
    assert ids(index.search({"a": -whole[:1]}, k=1)) == [["11"]]
    few = index.search({"a": queries}, k=10, where="even", engine="lance")
    assert all(h.row["even"] for row in few for h in row)
    exact = index.search({"a": queries}, k=10, where="even", engine="exact")
    assert np.mean([len(set(a) & set(b)) for a, b in zip(ids(few), ids(exact), strict=True)]) >= 9.9
    index.compact()
    assert index.engine == "exact", "few vectors are searched exactly"
    assert not list((tmp_path / "i").glob("*.lance"))


@needs_lance
@pytest.mark.parametrize(("ladder", "kept"), [(((64, 400),), {"a"}), (((1, 11),), set())])
def test_an_approximate_index_is_kept_where_it_is_good_enough(tmp_path, monkeypatch, ladder, kept):
    monkeypatch.setattr(lance, "ABOVE", 300)
    monkeypatch.setattr(lance, "LADDER", ladder)
    rng = np.random.default_rng(8)
    index = Index.create(tmp_path / "i", spaces={"a": 16, "b": 16})
    index.add(range(400), {"a": unit(rng, 400), "b": unit(rng, 400)}, present={"b": np.arange(400) < 200})
    index.compact()
    assert set(index.manifest.near) == kept, "and only for what is large enough"
    assert len(list((tmp_path / "i").glob("*.lance"))) == len(kept)


@needs_lance
def test_without_lance_its_index_is_searched_exactly(tmp_path, monkeypatch):
    index, images, _ = made(tmp_path / "i")
    index.compact(engine="lance")
    monkeypatch.setattr(lance, "installed", lambda: False)
    assert Index.open(tmp_path / "i").engine == "exact"
    assert ids(index.search({"image": images[:1]}, answer="image", k=1)) == [["i0"]]
    for call in (
        lambda: index.compact(engine="lance"),
        lambda: index.search({"image": images[:1]}, engine="lance"),
    ):
        with pytest.raises(InputError, match="not installed"):
            call()


@needs_lance
def test_a_lost_lance_folder_is_told(tmp_path):
    import shutil

    index, images, _ = made(tmp_path / "i")
    index.compact(engine="lance")
    shutil.rmtree(next((tmp_path / "i").glob("*-0.lance")))
    again = Index.open(tmp_path / "i")
    with pytest.raises(InputError, match="damaged"):
        again.search({"image": images[:1]}, answer="image", engine="lance")
    assert again.search({"image": images[:1]}, k=1, engine="exact")


# words


def test_bm25_is_the_formula():
    texts = ["red kettle", "red red tea", "blue cup of tea", ""]
    scores = bm25([(0, postings(texts[:2])), (2, postings(texts[2:]))], "red tea", np.ones(4, bool))
    lengths, average = np.array([2, 3, 4]), 3.0
    norm = 1.2 * (1 - 0.75 + 0.75 * lengths / average)
    weight = np.log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    red, tea = np.array([1, 2, 0]), np.array([0, 1, 1])
    expected = sum(weight * c * 2.2 / (c + norm) for c in (red, tea))
    np.testing.assert_allclose(scores, [*expected, 0], rtol=1e-6)


def test_words_are_found_without_case_and_in_scripts_without_spaces():
    assert terms("The RED_kettle, 2 ﬁsh") == ["the", "red", "kettle", "2", "fish"]
    assert terms("赤いtea") == ["赤", "い", "tea"]


def test_dead_rows_do_not_count_for_words(tmp_path):
    index, _, _ = made(tmp_path / "i")
    assert len(index.search(words="KETTLE", k=60)[0]) == 30
    index.delete(["i1"])
    index.add(["i3"], {}, rows={"text": ["a cup"]})
    found = ids(index.search(words="kettle", k=60))[0]
    assert len(found) == 28
    assert not {"i1", "i3"} & set(found)
    assert index.search(words="cup")[0][0].modality == "", "an item may have words only"
    assert index.search(words="nothing like it") == [[]]


def test_hybrid_search_is_reciprocal_rank_fusion(tmp_path):
    index, images, _ = made(tmp_path / "i")
    (row,) = index.search({"image": images[6]}, words="number 7", k=4)
    vectors = ids(index.search({"image": images[6]}, k=100))[0]
    texts = ids(index.search(words="number 7", k=100))[0]
    points = {}
    for ranking in (vectors, texts):
        for rank, name in enumerate(ranking, 1):
            points[name] = points.get(name, 0) + 1 / (60 + rank)
    best = sorted(points.values(), reverse=True)[:4]
    np.testing.assert_allclose([h.score for h in row], best)
    assert [points[h.id] for h in row] == pytest.approx(best)


def test_rankings_with_holes_are_put_together():
    one = Ranking(
        scores=np.array([[3.0, 1.0, -np.inf]]), keys=np.array([[5, 2, -1]]), by=np.zeros((1, 3), int)
    )
    two = Ranking(
        scores=np.array([[2.0, 2.0, -np.inf]]), keys=np.array([[2, 5, -1]]), by=np.ones((1, 3), int)
    )
    both = best_of([one, two], 3)
    assert (both.keys.tolist(), both.scores.tolist()) == ([[5, 2, -1]], [[3.0, 2.0, -np.inf]])
    assert both.by.tolist() == [[0, 1, -1]]
    assert fused([one, two], 2).keys.tolist() == [[2, 5]]


def test_filters_in_search(tmp_path):
    index, images, _ = made(tmp_path / "i")
    wanted = [i for i in range(60) if i % 10 != 9 and i < 30 and i % 4]
    found = index.search({"image": images[:3]}, where="price < 30 and not sold", k=60)
    assert [sorted(row) for row in ids(found)] == [sorted(f"i{i}" for i in wanted)] * 3
    assert index.search({"image": images[:1]}, where=Filter.parse("price > 1000")) == [[]]
    assert ids(index.search(words="tea", where="id = 'i8'")) == [["i8"]]


# bad input


def test_bad_queries_are_told(tmp_path):
    index, images, _ = made(tmp_path / "i")
    for call, said in [
        (lambda: index.search({"sound": images[:1]}), "no such modality"),
        (lambda: index.search({"image": images[:1]}, answer="sound"), "no such modality"),
        (lambda: index.search({"image": images[:1, :5]}), "wrong shape"),
        (lambda: index.search({"image": np.full((1, 16), np.nan)}), "not finite"),
        (lambda: index.search({"image": np.zeros((1, 16))}), "has no vector"),
        (lambda: index.search({"image": images[:2], "caption": images[:3]}), "differ in number"),
        (lambda: index.search({"image": images[:2]}, words=["a"]), "differ in number"),
        (lambda: index.search(), "nothing to ask"),
        (lambda: index.search({"image": images[:1]}, k=0), "nothing to ask"),
        (lambda: index.search({"image": images[:1]}, engine="fast"), "no such engine"),
        (lambda: index.search({"image": images[:1]}, where="colour = 1"), "no such column"),
        (lambda: index.compact(engine="fast"), "no such engine"),
        (lambda: index.vectors(["nobody"], "image"), "no such item"),
    ]:
        with pytest.raises(InputError, match=said):
            call()
    assert len(index.search({"image": images[:1]}, k=1000)[0]) == 60, (
        "k above the number of items gives all of them"
    )


def test_bad_items_are_told_and_leave_the_index_as_it_was(tmp_path):
    index, images, _ = made(tmp_path / "i")
    for call, said in [
        (lambda: index.add(["a", "a"], {"image": images[:2]}), "stands twice"),
        (lambda: index.add(["a", ""], {"image": images[:2]}), "no id"),
        (lambda: index.add(["a"], {"image": images[:2]}), "differ in number"),
        (lambda: index.add(["a"], {"sound": images[:1]}), "no such modality"),
        (lambda: index.add(["a"], {"image": images[:1] * 2}), "unit length"),
        (lambda: index.add(["a"], {"image": images[:1] * np.nan}), "not finite"),
        (lambda: index.add(["a"], {"image": "picture"}), "no numbers"),
        (lambda: index.add(["a"], {}, rows={"price": [1, 2]}), "another length"),
        (lambda: index.add(["a"], {}, rows={"price": [{}]}), "cannot be kept"),
        (lambda: index.add(["a"], {}, rows={"id": ["x"]}), "cannot be called"),
        (lambda: index.add(["a"], {"image": images[:1]}, present={"image": [True, False]}), "wrong shape"),
    ]:
        with pytest.raises(InputError, match=said):
            call()
    index.add([], {})
    assert len(index) == 60
    assert index.manifest.generation == 1


def test_an_empty_index_and_a_foreign_one_are_told(tmp_path):
    index = Index.create(tmp_path / "i", spaces={"a": 4}, fingerprint="run 1")
    index.compact()
    assert (len(index), index.ids) == (0, [])
    with pytest.raises(InputError, match="the index is empty"):
        index.search({"a": np.ones((1, 4))})
    with pytest.raises(InputError, match="another run"):
        Index.open(tmp_path / "i", fingerprint="run 2")
    with pytest.raises(InputError, match="holds no texts"):
        Index.add(index, ["x"], {"a": np.eye(4, dtype=np.float32)[:1]}) or index.search(words="x")
    with pytest.raises(InputError, match="an index already"):
        Index.create(tmp_path / "i", spaces={"a": 4})
    with pytest.raises(InputError, match="share one space"):
        Index.create(tmp_path / "j", spaces={"a": 4, "b": 5})
    with pytest.raises(InputError, match="a mean of no modality"):
        Index.create(tmp_path / "j", spaces={"a": 4}, means={"b": np.zeros(4)})
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "my.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        Index.create(tmp_path / "full", spaces={"a": 4})


def test_kinds_of_cells_come_back_as_they_were(tmp_path):
    import datetime

    index = Index.create(tmp_path / "i", spaces={"a": 4})
    rows = {"x": [np.float32(0.5)], "n": [np.int64(3)], "b": [np.True_], "t": ["\ud800é"], "d": [datetime.date(2020, 1, 2)], "e": [None]}  # fmt: skip
    index.add(["one"], {"a": np.eye(4, dtype=np.float32)[:1]}, rows=rows)
    (hit,) = Index.open(tmp_path / "i").search({"a": np.ones((1, 4))})[0]
    assert json.dumps(hit.row) == json.dumps({"x": 0.5, "n": 3, "b": True, "t": "?é", "d": "2020-01-02"})
