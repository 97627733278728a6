"""Classes by their names and by a few rows, in spaces that are made by hand."""

from dataclasses import replace

import numpy as np
import pytest

from sensorium.api.naming import Named, by_names, by_shots, numbered, sentences, spoken, worded
from sensorium.colearning import TEMPLATES
from sensorium.modalities import CARRIERS
from sensorium.tasks import Task
from sensorium.types import InputError

CLASSES = ("cat", "dog", "owl")


def unit(x: np.ndarray) -> np.ndarray:
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def task(**carriers: str) -> Task:
    """A task that matches columns of these carriers."""
    made = tuple(CARRIERS[c].define(n, n) for n, c in carriers.items())
    return Task(modalities=made, match=tuple(carriers))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def worlds(rng: np.random.Generator, rows: int, *, noise: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Names (classes, templates, d), rows that lie about their class's place (rows, d), and their classes."""
    places = np.linalg.qr(rng.normal(size=(16, 16)))[0][: len(CLASSES)]
    texts = unit(places[:, None] + 0.1 * rng.normal(size=(len(CLASSES), 4, 16)))
    labels = np.arange(rows) % len(CLASSES)
    return texts, unit(places[labels] + noise * rng.normal(size=(rows, 16))), labels


def share(named: Named, vectors: dict[str, np.ndarray], labels: np.ndarray) -> float:
    return float((named.answer(vectors)[0].argmax(1) == labels).mean())


def test_names_sort_rows_that_lie_near_their_words(rng):
    texts, rows, labels = worlds(rng, 60, noise=0.1)
    named = by_names(CLASSES, {"photo": texts})
    chance, here = named.answer({"photo": rows, "caption": np.zeros((60, 16), np.float32)})
    assert (chance.argmax(1) == labels).mean() > 0.95
    np.testing.assert_allclose(chance.sum(1), 1, atol=1e-6)
    assert here.all()


def test_modalities_answer_together_and_an_absent_one_drops_out(rng):
    texts, photo, labels = worlds(rng, 90, noise=0.35)
    sound = unit(photo + 0.35 * rng.normal(size=photo.shape))
    named = by_names(CLASSES, {"photo": texts, "sound": texts})
    half = photo.copy()
    half[:45] = 0
    chance, here = named.answer({"photo": half, "sound": sound})
    alone, _ = by_names(CLASSES, {"sound": texts}).answer({"sound": sound})
    np.testing.assert_allclose(chance[:45], alone[:45], atol=1e-6)
    both = by_names(CLASSES, {"photo": texts}).answer({"photo": photo})[0][45:] * alone[45:]
    np.testing.assert_allclose(chance[45:], both / both.sum(1, keepdims=True), atol=1e-5)
    assert here.all()
    empty = np.zeros_like(photo)
    assert not named.answer({"photo": empty, "sound": empty})[1].any()


def test_labelled_rows_mend_names_that_mislead(rng):
    texts, rows, labels = worlds(rng, 60, noise=0.15)
    wrong = texts[[1, 2, 0]]
    assert share(by_names(CLASSES, {"photo": wrong}), {"photo": rows}, labels) < 0.3
    some = np.where(np.arange(60) < 36, labels, -1)
    named = by_shots(CLASSES, {"photo": wrong}, {"photo": rows}, some)
    assert share(named, {"photo": rows[36:]}, labels[36:]) > 0.8


def test_rows_without_a_label_or_a_vector_teach_nothing(rng):
    texts, rows, labels = worlds(rng, 30, noise=0.1)
    some = np.where(np.arange(30) < 15, labels, -1)
    one = by_shots(CLASSES, {"photo": texts}, {"photo": rows}, some)
    other = rows.copy()
    other[15:] = unit(rng.normal(size=(15, 16)))
    more = np.concatenate([other, np.zeros((3, 16), np.float32)])
    two = by_shots(CLASSES, {"photo": texts}, {"photo": more}, np.concatenate([some, [0, 1, 2]]))
    np.testing.assert_allclose(one.answer({"photo": rows})[0], two.answer({"photo": rows})[0], atol=1e-4)


def test_names_answer_for_a_modality_that_no_labelled_row_holds(rng):
    texts, rows, labels = worlds(rng, 30, noise=0.1)
    empty = np.zeros_like(rows)
    named = by_shots(CLASSES, {"photo": texts, "sound": texts}, {"photo": rows, "sound": empty}, labels)
    assert share(named, {"photo": empty, "sound": rows}, labels) > 0.9


def test_rows_answer_where_no_text_knows_a_name(rng):
    texts, rows, labels = worlds(rng, 60, noise=0.15)
    texts[1] = 0  # a class called k17: no word that the texts hold
    named = by_shots(CLASSES, {"photo": texts}, {"photo": rows[:30]}, labels[:30])
    assert share(named, {"photo": rows[30:]}, labels[30:]) > 0.9
    wordless = by_shots(CLASSES, {}, {"photo": rows[:30], "sound": rows[:30]}, labels[:30])
    assert set(wordless.probes) == {"photo", "sound"}
    assert share(wordless, {"photo": rows[30:], "sound": rows[30:]}, labels[30:]) > 0.9
    with pytest.raises(InputError, match="knows no word"):
        by_names(CLASSES, {"photo": texts})


def test_nothing_to_learn_from_is_told(rng):
    texts, rows, labels = worlds(rng, 9, noise=0.1)
    with pytest.raises(InputError, match="one class"):
        by_shots(["cat"], {"photo": texts[:1]}, {"photo": rows}, np.zeros(9, int))
    with pytest.raises(InputError, match="no labelled row"):
        by_shots(CLASSES, {}, {"photo": rows}, np.full(9, -1))
    with pytest.raises(InputError, match="no labelled row"):
        by_shots(CLASSES, {"photo": np.zeros_like(texts)}, {"photo": np.zeros_like(rows)}, labels)


def test_sentences_stand_for_each_modality_but_that_of_the_words():
    made = task(photo="image", caption="text", sound="audio")
    said = sentences(made, ["cat", "dog"], None)
    assert set(said) == {"photo", "sound"}
    assert said["photo"][0] == [t.replace("{}", "cat") for t in TEMPLATES["image"]]
    assert said["sound"][1] == [t.replace("{}", "dog") for t in TEMPLATES["audio"]]
    assert sentences(made, ["cat", "dog"], ["a {}!"])["photo"] == [["a cat!"], ["a dog!"]]
    with pytest.raises(InputError, match="no place for the name"):
        sentences(made, ["cat", "dog"], ["an animal"])
    with pytest.raises(InputError, match="told apart"):
        sentences(made, ["cat"], None)


def test_names_need_a_column_of_words():
    assert spoken(task(photo="image", caption="text"))
    assert worded(task(photo="image", caption="text", other="text")).name == "caption"
    assert not spoken(task(photo="image", sound="audio"))
    bare = task(photo="image", caption="text")
    assert not spoken(replace(bare, match=("photo", "sound"))), "a text that is not matched names nothing"
    with pytest.raises(InputError, match="no matched column holds words"):
        worded(task(photo="image", sound="audio"))


def test_labels_become_numbers():
    assert numbered(["dog", None, " cat ", "", "dog"], ["cat", "dog"]).tolist() == [1, -1, 0, -1, 1]
    assert numbered([3.0, 4], ["3", "4"]).tolist() == [0, 1]
    with pytest.raises(InputError, match="not asked for"):
        numbered(["cow"], ["cat", "dog"])
