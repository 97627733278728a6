"""Views: what a linear method can use of pictures, texts and statistics. Learned from training rows, saved as arrays.

Pictures: a dictionary of whitened patches (Coates, Lee and Ng 2011, AISTATS, "An analysis of single-layer networks"), at
several sizes, pooled over quarters and over the whole. Texts: tf-idf by latent semantic analysis. Statistics: standardised,
heavy tails bent. Nothing here sees a label or another modality.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sensorium.measure.learners import Columns, Terms, columns, counted, vectorisers
from sensorium.types import InputError

Arrays = dict[str, np.ndarray]

DIMS = 1000  # most numbers of a view
CENTRES = 400  # patches in the dictionary of one size
PATCH = 6  # pixels a side
PLACES = 32  # about as many patches across a picture are looked at
SMALLEST = 32  # pixels a side of the smallest copy of a picture; 16 did not help
SAMPLE = 60_000  # patches that the dictionary is learned from
ROUNDS = 10  # of k-means
FLAT = 10.0  # added to the variance of a patch (pixels are 0..255), so that noise in flat ones stays small
SOFT = 0.1  # added to the variances that whitening divides by
TERMS = 8000  # most words and pairs of words
TAILED = 2.0  # skewness from which a column is bent
AT_ONCE = 4  # pictures, so that their patches stay in a processor's cache


@dataclass(frozen=True, kw_only=True, slots=True)
class Axes:
    """Standardised columns turned to their principal axes: what is kept of many numbers."""

    mean: np.ndarray  # (d,)
    spread: np.ndarray  # (d,)
    basis: np.ndarray  # (d, k) float16: columns of length one

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """(n, d) -> (n, k) float32."""
        return ((x - self.mean) / self.spread).astype(np.float32) @ self.basis.astype(np.float32)


def axes(x: np.ndarray, dims: int = DIMS) -> Axes:
    """Learn the `dims` principal axes of (n, d) training rows, by a randomised SVD (arXiv:0909.4061 sec. 4.5)."""
    mean, spread = x.mean(0), x.std(0) + 1e-6
    basis = _principal(((x - mean) / spread).astype(np.float32), min(dims, len(x) - 1, x.shape[1]) or 1)
    return Axes(
        mean=mean.astype(np.float32), spread=spread.astype(np.float32), basis=basis.astype(np.float16)
    )


def _principal(ready, most: int) -> np.ndarray:
    """Leading right singular vectors of a dense or sparse float32 (n, d), (d, most)."""
    width = min(most + 50, *ready.shape)
    space = np.random.default_rng(0).normal(size=(ready.shape[1], width)).astype(np.float32)
    for _ in range(4):
        space = np.linalg.qr(ready.T @ (ready @ space))[0]
    small = np.asarray(ready @ space, np.float64)
    return space @ np.linalg.eigh(small.T @ small)[1][:, ::-1][:, :most].astype(np.float32)


@dataclass(frozen=True, kw_only=True, slots=True)
class Dictionary:
    """Patches of one size of picture, and how like each of them the patches of a picture are."""

    every: int  # the picture is shrunk by this
    stride: int  # pixels between patches
    mean: np.ndarray  # (p,)
    white: np.ndarray  # (p, p)
    centres: np.ndarray  # (k, p)

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """(n, h, w, c) 0..255 -> (n, 5 k): the activations' mean over each quarter and over the whole, rooted."""
        patches = _cut(_shrunk(pictures, self.every), self.stride)
        n, high, wide = patches.shape[:3]
        ready = (_even(patches.reshape(n * high * wide, -1)) - self.mean) @ self.white
        active = self._active(ready).reshape(n, high, wide, -1)
        halves = [(slice(0, -(-s // 2)), slice(s // 2, None)) for s in (high, wide)]
        quarters = [active[:, y, x].mean((1, 2)) for y in halves[0] for x in halves[1]]
        return np.sqrt(np.concatenate([*quarters, np.mean(quarters, axis=0)], 1))

    def _active(self, ready: np.ndarray) -> np.ndarray:
        """How much nearer than the mean centre each centre is, 0 where it is not ("triangle"), (m, k)."""
        far = ready @ (-2 * self.centres.T)
        far += (self.centres**2).sum(1)
        far += (ready**2).sum(1, keepdims=True)
        np.sqrt(np.maximum(far, 0, out=far), out=far)
        np.subtract(far.mean(1, keepdims=True), far, out=far)
        return np.maximum(far, 0, out=far)


def _shrunk(pictures: np.ndarray, every: int) -> np.ndarray:
    """Means of squares of `every` pixels, (n, h, w, c) -> float32; what is left at the edges is dropped."""
    n, high, wide, colours = pictures.shape
    high, wide = high // every, wide // every
    whole = pictures[:, : high * every, : wide * every].astype(np.float32)
    return whole.reshape(n, high, every, wide, every, colours).mean((2, 4)) if every > 1 else whole


def _cut(pictures: np.ndarray, stride: int) -> np.ndarray:
    """All patches, (n, y, x, c, PATCH, PATCH), not copied."""
    size = (min(PATCH, pictures.shape[1]), min(PATCH, pictures.shape[2]))
    return np.lib.stride_tricks.sliding_window_view(pictures, size, axis=(1, 2))[:, ::stride, ::stride]


def _even(patches: np.ndarray) -> np.ndarray:
    """Brightness and contrast of each patch taken away, (m, p)."""
    patches = patches - patches.mean(1, keepdims=True)
    patches /= np.sqrt(patches.var(1, keepdims=True) + FLAT)
    return patches


def _dictionary(pictures: np.ndarray, every: int, centres: int, rng: np.random.Generator) -> Dictionary:
    """Learn whitening and centres from patches at random places."""
    some = pictures[np.sort(rng.permutation(len(pictures))[: SAMPLE // 15])]
    patches = _cut(_shrunk(some, every), 1)
    n, high, wide = patches.shape[:3]
    place = rng.integers(0, n * high * wide, min(SAMPLE, n * high * wide))
    x = _even(patches[np.unravel_index(place, (n, high, wide))].reshape(len(place), -1))
    mean = x.mean(0)
    value, vector = np.linalg.eigh(np.cov((x - mean).T, bias=True).astype(np.float64))
    white = ((vector / np.sqrt(np.maximum(value, 0) + SOFT)) @ vector.T).astype(np.float32)
    return Dictionary(
        every=every, stride=max(1, round(pictures.shape[1] / every / PLACES)), mean=mean, white=white,
        centres=_means((x - mean) @ white, min(centres, len(x)), rng),
    )  # fmt: skip


def _means(x: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Centres of k-means, (count, p); one that loses all its points starts anew at a point."""
    from scipy.sparse import csr_matrix

    centres = x[rng.permutation(len(x))[:count]].copy()
    for _ in range(ROUNDS):
        nearest = (x @ centres.T - (centres**2).sum(1) / 2).argmax(1)
        held = np.bincount(nearest, minlength=count)
        at = csr_matrix((np.ones(len(x), np.float32), (nearest, np.arange(len(x)))), shape=(count, len(x)))
        again = x[rng.integers(0, len(x), count)]
        centres = np.where(held[:, None] > 0, (at @ x) / np.maximum(held, 1)[:, None], again).astype(
            np.float32
        )
    return centres


@dataclass(frozen=True, kw_only=True, slots=True)
class Pictures:
    """Pictures of one size as numbers."""

    dictionaries: tuple[Dictionary, ...]
    axes: Axes

    def features(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Turn n pictures of (h, w, c), 0..255, into (n, k) float32."""
        made = [self.axes(f) for f in _looked_at(self.dictionaries, pictures, 512)]
        return np.concatenate(made) if made else np.zeros((0, self.axes.basis.shape[1]), np.float32)

    def packed(self) -> tuple[dict[str, object], Arrays]:
        """As (a JSON description, arrays by name)."""
        told = [{"every": d.every, "stride": d.stride} for d in self.dictionaries]
        arrays = _axes_packed(self.axes)
        for i, one in enumerate(self.dictionaries):
            arrays |= {f"{i}/mean": one.mean, f"{i}/white": one.white, f"{i}/centres": one.centres}
        return {"kind": "pictures", "dictionaries": told}, arrays


def _looked_at(dictionaries: Sequence[Dictionary], pictures: Sequence[np.ndarray], size: int):
    """Yield (size, numbers) of the pictures in turn."""
    for first in range(0, len(pictures), size):
        part = [
            np.stack(pictures[i : i + AT_ONCE])
            for i in range(first, min(first + size, len(pictures)), AT_ONCE)
        ]
        part[-1] = part[-1][: len(pictures[first : first + size]) - AT_ONCE * (len(part) - 1)]
        yield np.concatenate([np.concatenate([d(p) for d in dictionaries], 1) for p in part])


def fit_pictures(
    pictures: Sequence[np.ndarray], *, centres: int = CENTRES, dims: int = DIMS, seed: int = 0
) -> tuple[Pictures, np.ndarray]:
    """Learn from n training pictures of one shape (h, w, c), 0..255; returns their (n, k) features as well.

    A dictionary for the picture and for each halving of it down to SMALLEST pixels. Raises InputError where pictures are
    missing or not of one shape.
    """
    shapes = {p.shape for p in pictures}
    if len(shapes) != 1 or len(next(iter(shapes))) != 3:
        raise InputError(
            "pictures are not of one shape", got=sorted(shapes), fix="give (h, w, c) arrays of one size"
        )
    side, rng = min(next(iter(shapes))[:2]), np.random.default_rng(seed)
    halvings = [2**i for i in range(10) if i == 0 or side // 2**i >= SMALLEST]
    whole = np.stack(pictures)
    made = tuple(_dictionary(whole, every, centres, rng) for every in halvings)
    seen = np.concatenate(list(_looked_at(made, pictures, 512)))
    turned = axes(seen, dims)
    return Pictures(dictionaries=made, axes=turned), turned(seen)


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """Texts as numbers: tf-idf of words and pairs of words, on its principal axes."""

    terms: tuple[Terms, ...]
    basis: np.ndarray  # (terms, k) float16

    def features(self, texts: Sequence[str]) -> np.ndarray:
        """Turn n texts into (n, k) float32; a text without any known word is zero."""
        if not len(texts) or not self.terms:
            return np.zeros((len(texts), self.basis.shape[1]), np.float32)
        return np.asarray(counted(self.terms, texts) @ self.basis.astype(np.float32), np.float32)

    def packed(self) -> tuple[dict[str, object], Arrays]:
        """As (a JSON description, arrays by name)."""
        arrays: Arrays = {"basis": self.basis}
        for i, terms in enumerate(self.terms):
            arrays[f"{i}/terms"] = np.frombuffer("\n".join(terms.vocabulary).encode("utf-8"), np.uint8)
            arrays[f"{i}/idf"] = terms.idf
        return {"kind": "words", "letters": [t.letters for t in self.terms]}, arrays


def fit_words(texts: Sequence[str], *, dims: int = DIMS, terms: int = TERMS) -> tuple[Words, np.ndarray]:
    """Learn from n training texts by a truncated SVD that is not centred; returns their (n, k) features as well.

    Letters are counted where no word is: a language that does not part words still has its pairs of letters.
    Raises InputError where nothing can be counted.
    """
    found = vectorisers(texts, most=terms)
    kept = tuple(t for t in found if not t.letters) or tuple(found)
    if not kept:
        raise InputError(
            "texts have no word in common",
            got=f"{len(texts)} texts",
            fix="give more rows, or leave the column out",
        )
    counts = counted(kept, texts).astype(np.float32)
    basis = _principal(counts, min(dims, *counts.shape))
    made = Words(terms=kept, basis=basis.astype(np.float16))
    return made, made.features(texts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Numbers:
    """Statistics as numbers: holes filled, long tails bent, standardised."""

    ready: Columns
    bent: np.ndarray  # (kept,) bool
    middle: np.ndarray  # (kept,)
    unit: np.ndarray  # (kept,)
    axes: Axes | None  # where there are many columns

    def features(self, matrix: np.ndarray) -> np.ndarray:
        """(n, d), NaN in holes -> (n, k) float32."""
        whole = self.ready.filled(np.asarray(matrix, np.float64))
        small = np.arcsinh((whole - self.middle) / self.unit)
        even = np.clip((np.where(self.bent, small, whole) - self.ready.mean) / self.ready.spread, -8, 8)
        return even.astype(np.float32) if self.axes is None else self.axes(even)

    def packed(self) -> tuple[dict[str, object], Arrays]:
        """As (a JSON description, arrays by name)."""
        arrays = {f"ready.{k}": getattr(self.ready, k) for k in Columns.__dataclass_fields__}
        arrays |= {"bent": self.bent, "middle": self.middle, "unit": self.unit}
        return {"kind": "numbers"}, arrays | ({} if self.axes is None else _axes_packed(self.axes))


def fit_numbers(matrix: np.ndarray, *, dims: int = DIMS) -> tuple[Numbers, np.ndarray]:
    """Learn from (n, d) training statistics, NaN in holes; returns their (n, k) features as well.

    Raises InputError where no column varies.
    """
    ready = columns(np.asarray(matrix, np.float64))
    if not ready.keep.any():
        raise InputError("statistics never vary", got=f"{matrix.shape[0]} rows", fix="leave the column out")
    whole = ready.filled(np.asarray(matrix, np.float64))
    bent = np.abs((((whole - ready.mean) / ready.spread) ** 3).mean(0)) > TAILED
    middle = np.median(whole, axis=0)
    unit = np.median(np.abs(whole - middle), axis=0)
    unit = np.where(unit > 0, unit, ready.spread)
    small = np.where(bent, np.arcsinh((whole - middle) / unit), whole)
    ready = Columns(keep=ready.keep, middle=ready.middle, mean=small.mean(0), spread=small.std(0))
    flat = Numbers(ready=ready, bent=bent, middle=middle, unit=unit, axes=None)
    even = flat.features(matrix)
    if whole.shape[1] <= dims:
        return flat, even
    turned = axes(even, dims)
    return Numbers(ready=ready, bent=bent, middle=middle, unit=unit, axes=turned), turned(even)


View = Pictures | Words | Numbers


def unpacked(told: Mapping, arrays: Mapping[str, np.ndarray]) -> View:
    """The view that `packed` described."""
    return _READERS[str(told["kind"])](told, arrays)


def _pictures(told: Mapping, arrays: Mapping[str, np.ndarray]) -> Pictures:
    made = tuple(
        Dictionary(
            every=int(d["every"]), stride=int(d["stride"]), mean=arrays[f"{i}/mean"], white=arrays[f"{i}/white"],
            centres=arrays[f"{i}/centres"],
        )
        for i, d in enumerate(told["dictionaries"])
    )  # fmt: skip
    return Pictures(dictionaries=made, axes=_axes_read(arrays))


def _words(told: Mapping, arrays: Mapping[str, np.ndarray]) -> Words:
    terms = tuple(
        Terms(
            letters=bool(letters), idf=arrays[f"{i}/idf"],
            vocabulary=tuple(arrays[f"{i}/terms"].tobytes().decode("utf-8").split("\n")),
        )
        for i, letters in enumerate(told["letters"])
    )  # fmt: skip
    return Words(terms=terms, basis=arrays["basis"])


def _numbers(told: Mapping, arrays: Mapping[str, np.ndarray]) -> Numbers:
    ready = Columns(**{k: arrays[f"ready.{k}"] for k in Columns.__dataclass_fields__})
    turned = _axes_read(arrays) if "axes.basis" in arrays else None
    return Numbers(
        ready=ready, bent=arrays["bent"], middle=arrays["middle"], unit=arrays["unit"], axes=turned
    )  # fmt: skip


_READERS: Mapping[str, Callable[[Mapping, Mapping[str, np.ndarray]], View]] = {
    "pictures": _pictures, "words": _words, "numbers": _numbers,
}  # fmt: skip


def _axes_packed(turned: Axes) -> Arrays:
    return {f"axes.{k}": getattr(turned, k) for k in Axes.__dataclass_fields__}


def _axes_read(arrays: Mapping[str, np.ndarray]) -> Axes:
    return Axes(**{k: arrays[f"axes.{k}"] for k in Axes.__dataclass_fields__})
