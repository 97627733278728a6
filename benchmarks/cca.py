"""Linear correlations between photos and captions: `python -m benchmarks.cca FOLDER [--side 64] [PART ...]`.

FOLDER holds captions.jsonl (id, split, image, captions) as in Flickr8k. Shrinkage and power are chosen on training rows
(`choose_cca`); figures are percent and median ranks, photo to caption and caption to photo, among the photos of the
validation split, of the test split, and of both together. Parts:

baseline   hand-made statistics of a photo and tf-idf of a caption: the row that every report shows
views      the dictionary of patches alone, and beside the statistics, with the same tf-idf
captions   all captions as pairs against one mean caption of each photo
whitening  shrinkage from 0.003 (nearly whitened) to 0.999 (hardly: partial least squares)
kernel     random Fourier features of the dictionary (Rahimi and Recht 2007, NIPS), for a Gaussian kernel
planted    correlations .9 .6 .3 0 found again, and seconds for 3,000 columns a side
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmarks import emit
from sensorium.measure.cca import Correlations, choose_cca, fit_cca
from sensorium.measure.retrieval import both_ways
from sensorium.measure.views import fit_numbers, fit_pictures, fit_words


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Photos and captions with their splits, and their views, each learned from training rows and timed."""

    splits: np.ndarray  # (photos,)
    pixels: np.ndarray  # (photos, side, side, 3)
    captions: Sequence[str]
    photo: np.ndarray  # (captions,) which photo a caption tells of
    statistics: np.ndarray  # (photos, d)
    seconds: dict[str, float]

    @cached_property
    def train(self) -> np.ndarray:
        return np.flatnonzero(self.splits == "train")

    def _timed(self, name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        began = time.process_time()
        made = make()
        self.seconds[name] = round(time.process_time() - began, 1)
        return made

    @cached_property
    def words(self) -> np.ndarray:
        """Captions, (captions, k)."""
        learned = [c for c, p in zip(self.captions, self.photo, strict=True) if self.splits[p] == "train"]
        return self._timed("words", lambda: fit_words(learned)[0].features(self.captions))

    @cached_property
    def dictionary(self) -> np.ndarray:
        """Photos by patches, (photos, k)."""

        def make() -> np.ndarray:
            view, seen = fit_pictures(list(self.pixels[self.train]))
            out = np.empty((len(self.pixels), seen.shape[1]), np.float32)
            rest = self.splits != "train"
            out[self.train], out[rest] = seen, view.features(list(self.pixels[rest]))
            return out

        return self._timed("dictionary", make)

    @cached_property
    def numbers(self) -> np.ndarray:
        """Photos by statistics, (photos, k)."""
        return self._timed(
            "statistics", lambda: fit_numbers(self.statistics[self.train])[0].features(self.statistics)
        )

    def rows(self, photos: np.ndarray) -> tuple[dict, dict, np.ndarray]:
        """What `fit_cca` takes of the training rows, and the group of each."""
        some = np.flatnonzero(self.splits[self.photo] == "train")
        vectors = {"photo": photos[self.train], "caption": self.words[some]}
        places = {"photo": np.searchsorted(self.train, self.photo[some]), "caption": np.arange(len(some))}
        return vectors, places, self.photo[some]

    def figures(self, space: Correlations, photos: np.ndarray) -> dict[str, object]:
        """Figures by split."""
        held = {"valid": ("valid", "val"), "test": ("test",), "both": ("valid", "val", "test")}
        found = {}
        for name, splits in held.items():
            these = np.flatnonzero(np.isin(self.splits, splits))
            told = np.flatnonzero(np.isin(self.photo, these))
            a, b = space.vectors("photo", photos[these]), space.vectors("caption", self.words[told])
            there, back = both_ways(a, b, these, self.photo[told])
            found[name] = {
                way: {
                    k: v.to_json()
                    for k, v in scores.items()
                    if k in ("r@1", "r@5", "r@10", "median_rank", "chance@10")
                }
                for way, scores in (("photo to caption", there), ("caption to photo", back))
            }
        return found


def read(folder: Path, side: int) -> Pairs:
    """Decode all photos once."""
    from sensorium.modalities import image
    from sensorium.types import Limits, Media

    rows = [json.loads(line) for line in (folder / "captions.jsonl").read_text(encoding="utf-8").splitlines()]
    seen = [
        image.decode(Media(content=(folder / r["image"]).read_bytes(), name=r["image"]), Limits())
        for r in rows
    ]
    pixels = np.stack([image.patches(s, side=side, channels=3) for s in seen if s is not None])
    return Pairs(
        splits=np.array([r["split"] for r in rows]), pixels=pixels, captions=[c for r in rows for c in r["captions"]],
        photo=np.repeat(np.arange(len(rows)), [len(r["captions"]) for r in rows]),
        statistics=np.stack([image.statistics(p) for p in pixels]), seconds={},
    )  # fmt: skip


def chosen(pairs: Pairs, name: str, photos: np.ndarray, **options: object) -> None:
    """Choose, fit and tell."""
    vectors, places, group = pairs.rows(photos)
    began = time.process_time()
    space = choose_cca(vectors, places, group=group)
    took = round(time.process_time() - began, 1)
    emit(
        "cca", view=name, shrinkage=space.shrinkage, power=space.power, fit_cpu_s=took, views_cpu_s=dict(pairs.seconds),
        **pairs.figures(space, photos), **options,
    )  # fmt: skip


def together(pairs: Pairs) -> np.ndarray:
    """Dictionary and statistics side by side, each with the same variance in all."""
    parts = (pairs.dictionary, pairs.numbers)
    return np.concatenate([p / np.sqrt(p[pairs.train].var(0).sum()) for p in parts], 1)


def fixed(pairs: Pairs, name: str, photos: np.ndarray, **settings: object) -> None:
    """Fit with given settings and tell of validation rows only."""
    vectors, places, _ = pairs.rows(photos)
    space = fit_cca(vectors, places, **settings)  # type: ignore[arg-type]
    emit("cca", view=name, **settings, valid=pairs.figures(space, photos)["valid"])


def baseline(pairs: Pairs, side: int) -> None:
    chosen(pairs, "statistics + tf-idf", pairs.numbers, side=side)


def views(pairs: Pairs, side: int) -> None:
    chosen(pairs, "dictionary + tf-idf", pairs.dictionary, side=side)
    chosen(pairs, "dictionary and statistics + tf-idf", together(pairs), side=side)


def captions(pairs: Pairs, side: int) -> None:
    photos = pairs.dictionary
    fixed(pairs, "all captions as pairs", photos, shrinkage=0.1)
    means = np.stack([pairs.words[pairs.photo == i].mean(0) for i in pairs.train])
    for shrinkage in (0.03, 0.1, 0.3):
        space = fit_cca({"photo": photos[pairs.train], "caption": means}, shrinkage=shrinkage)
        emit("cca", view="mean caption", shrinkage=shrinkage, valid=pairs.figures(space, photos)["valid"])


def whitening(pairs: Pairs, side: int) -> None:
    for shrinkage in (0.003, 0.03, 0.1, 0.3, 0.6, 0.9, 0.999):
        fixed(pairs, "dictionary + tf-idf", pairs.dictionary, shrinkage=shrinkage)
    for power in (0.0, 1.0, 2.0, 4.0):
        fixed(pairs, "dictionary + tf-idf", pairs.dictionary, shrinkage=0.1, power=power)


def kernel(pairs: Pairs, side: int) -> None:
    unit = pairs.dictionary / np.sqrt(pairs.dictionary[pairs.train].var(0).sum())
    rng = np.random.default_rng(0)
    for width in (0.5, 1.0, 2.0):
        turn = rng.normal(size=(unit.shape[1], 2000)) / width
        waves = np.cos(unit @ turn + rng.uniform(0, 2 * np.pi, 2000))
        fixed(pairs, f"Gaussian kernel of width {width}", waves, shrinkage=0.1)


def planted() -> None:
    """Known correlations, and the speed of many columns."""
    rng, rho = np.random.default_rng(0), np.array([0.9, 0.6, 0.3, 0.0])
    x = rng.normal(size=(5000, 4))
    y = rho * x + np.sqrt(1 - rho**2) * rng.normal(size=x.shape)
    found = fit_cca({"x": x, "y": y @ rng.normal(size=(4, 4))}, shrinkage=0.0).roots
    wide = rng.normal(size=(2, 6000, 3000)).astype(np.float32)
    wide[1, :, :40] += wide[0, :, :40]
    began = time.process_time()
    fit_cca({"x": wide[0], "y": wide[1]}, shrinkage=0.1)
    emit(
        "cca",
        planted=rho.tolist(),
        found=found.round(3).tolist(),
        wide_cpu_s=round(time.process_time() - began, 1),
    )


PARTS: dict[str, Callable[[Pairs, int], None]] = {
    "baseline": baseline, "views": views, "captions": captions, "whitening": whitening, "kernel": kernel,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("parts", nargs="*", metavar="PART", help="all where none is named")
    parser.add_argument("--side", type=int, default=64, help="pixels a side of a photo")
    given = parser.parse_args()
    wanted = given.parts or [*PARTS, "planted"]
    if "planted" in wanted:
        planted()
    if set(wanted) - {"planted"}:
        pairs = read(given.folder, given.side)
        for part in wanted:
            if part != "planted":
                PARTS[part](pairs, given.side)


if __name__ == "__main__":
    main()
