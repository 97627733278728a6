"""Views: dictionary of patches, words, statistics: shapes, holes, saving, and that they tell more than plain numbers."""

import json

import numpy as np
import pytest

from sensorium.measure.views import Axes, axes, fit_numbers, fit_pictures, fit_words, unpacked
from sensorium.types import InputError


def textures(rows: int, *, side: int = 32, colours: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of stripes at random places, lying or standing, equal in brightness and colour; and which they are."""
    rng = np.random.default_rng(seed)
    stands = rng.integers(0, 2, rows)
    wave = np.sin((np.arange(side)[None] + rng.integers(0, 8, (rows, 1))) * np.pi / 2.5)
    flat = np.where(stands[:, None, None] == 1, wave[:, None], wave[:, :, None])
    noisy = 120 + 40 * flat[..., None] + rng.normal(size=(rows, side, side, colours)) * 10
    return noisy.clip(0, 255).astype(np.uint8), stands


def right(train: np.ndarray, truth: np.ndarray, test: np.ndarray, wanted: np.ndarray) -> float:
    """Share of test rows that lie nearer to the mean of their own class."""
    middle = np.stack([train[truth == c].mean(0) for c in (0, 1)])
    far = ((test[:, None] - middle[None]) ** 2).sum(2)
    return float((far.argmin(1) == wanted).mean())


def again(view):
    """The view after it was saved and read."""
    told, arrays = view.packed()
    return unpacked(json.loads(json.dumps(told)), {k: np.array(v) for k, v in arrays.items()})


def test_principal_axes_are_those_of_an_svd():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 40)) @ rng.normal(size=(40, 40)) * 9 + 5
    made = axes(x, 6)
    ready = (x - x.mean(0)) / x.std(0)
    wanted = np.linalg.svd(ready, full_matrices=False)[2][:6]
    assert np.allclose(np.linalg.svd(wanted @ made.basis.astype(float))[1], 1, atol=2e-3)
    assert np.allclose(made(x).std(0), (ready @ wanted.T).std(0), rtol=1e-2)


def test_a_dictionary_sees_directions_that_pixels_do_not_show():
    (train, truth), (test, wanted) = textures(80), textures(60, seed=1)
    view, features = fit_pictures(list(train), centres=24, dims=10)
    assert right(features, truth, view.features(list(test)), wanted) > 0.95
    pixels = [p.reshape(len(p), -1).astype(float) for p in (train, test)]
    assert right(pixels[0], truth, pixels[1], wanted) < 0.8


def test_training_features_are_those_of_the_view():
    train, _ = textures(30)
    view, features = fit_pictures(list(train), centres=16, dims=8)
    assert np.allclose(view.features(list(train)), features, atol=1e-3)
    assert features.shape == (30, 8)
    texts = ["a red cat", "a blue cat", "the dog ran", "a dog and a cat"] * 3
    words, told = fit_words(texts, dims=3)
    assert np.allclose(words.features(texts), told)


def test_a_picture_does_not_depend_on_its_neighbours():
    train, _ = textures(23)
    view, _ = fit_pictures(list(train), centres=16, dims=8)
    alone = np.concatenate([view.features([p]) for p in train])
    assert np.allclose(alone, view.features(list(train)), atol=1e-3)
    assert view.features([]).shape == (0, 8)


@pytest.mark.parametrize(("side", "colours"), [(5, 1), (16, 1), (28, 3), (50, 3), (64, 1)])
def test_sizes_of_pictures(side, colours):
    train, _ = textures(12, side=side, colours=colours)
    view, features = fit_pictures(list(train), centres=8, dims=500)
    assert features.shape == (12, 11)
    assert np.isfinite(features).all()
    assert len(view.dictionaries) == 1 + (side == 64)


def test_flat_and_few_pictures():
    same = [np.full((16, 16, 3), v, np.uint8) for v in (0, 0, 255)]
    view, features = fit_pictures(same, centres=4)
    assert np.isfinite(features).all()
    assert np.isfinite(view.features(same[:1])).all()
    assert np.isfinite(fit_pictures(same[:1], centres=4)[1]).all()


def test_words_of_one_matter_are_near():
    texts = [
        "the dog runs on grass",
        "a puppy runs on grass",
        "ships sail the sea",
        "boats sail the sea",
    ] * 10
    view, features = fit_words(texts, dims=4)
    near = features @ features.T
    assert near[0, 1] > near[0, 2] + 0.2
    assert not view.features(["", "xyzzy"]).any()
    assert view.features([]).shape == (0, features.shape[1])


def test_texts_that_share_only_letters():
    view, features = fit_words(["aaaa", "aaab"], dims=2)
    assert np.isfinite(features).all()
    assert len(view.features(["aaaa"])) == 1


def test_long_tails_are_bent_and_others_are_not():
    rng = np.random.default_rng(0)
    plain, tailed = rng.normal(size=500), np.exp(3 * rng.normal(size=500))
    view, features = fit_numbers(np.stack([plain, tailed, np.ones(500)], 1))
    assert view.bent.tolist() == [False, True]
    assert np.abs(features).max() < 8
    assert np.allclose(features.std(0), 1, atol=0.05)
    assert np.corrcoef(features[:, 0], plain)[0, 1] == pytest.approx(1, abs=1e-5)
    assert abs(np.corrcoef(features[:, 1], np.log(tailed))[0, 1]) > 0.8


def test_holes_are_filled_and_many_columns_turned():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 30))
    x[3, 4] = x[9] = np.nan
    view, features = fit_numbers(x, dims=7)
    assert features.shape == (60, 7)
    assert np.isfinite(features).all()
    assert np.allclose(view.features(x), features, atol=1e-5)


@pytest.mark.parametrize("kind", ["pictures", "words", "numbers", "many numbers"])
def test_saved_and_read_again(kind):
    pictures, rng = list(textures(12)[0]), np.random.default_rng(0)
    texts, matrix = ["one two", "two three", "one three"] * 5, rng.normal(size=(20, 12))
    made = {
        "pictures": lambda: (fit_pictures(pictures, centres=8, dims=4), pictures),
        "words": lambda: (fit_words(texts, dims=2), texts),
        "numbers": lambda: (fit_numbers(matrix), matrix),
        "many numbers": lambda: (fit_numbers(matrix, dims=3), matrix),
    }[kind]
    (view, _), rows = made()
    assert np.array_equal(again(view).features(rows), view.features(rows))
    (twin, _), _ = made()
    assert np.array_equal(twin.features(rows), view.features(rows))


def test_axes_are_of_length_one():
    made = axes(np.random.default_rng(0).normal(size=(50, 9)), 4)
    assert isinstance(made, Axes)
    assert np.allclose((made.basis.astype(float) ** 2).sum(0), 1, atol=1e-2)


def test_bad_input():
    with pytest.raises(InputError, match="one shape"):
        fit_pictures([np.zeros((8, 8, 3)), np.zeros((9, 8, 3))])
    with pytest.raises(InputError, match="one shape"):
        fit_pictures([])
    with pytest.raises(InputError, match="no word in common"):
        fit_words(["", " "])
    with pytest.raises(InputError, match="never vary"):
        fit_numbers(np.ones((5, 2)))
