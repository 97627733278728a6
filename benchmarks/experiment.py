"""What experiments with held-out rows share: worlds and runs that are kept, harmed inputs, figures with intervals."""

import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import emit

if TYPE_CHECKING:
    from sensorium.measure.resample import Score

ROWS = 6000  # of a world, where not said otherwise


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One part of a benchmark: where its files lie, and how its models are trained."""

    part: str
    folder: Path
    minutes: float = 5.0  # of training each model
    epochs: int | None = None  # passes over the rows instead, the same on every machine
    rows: int | None = None
    seed: int = 0
    kind: str | None = None  # of the target, such as text:decoder=classic; None: as its column is read
    steps: tuple[int, ...] = ()
    data: Path | None = None
    target: str | None = None
    most: int | None = None  # of the test rows
    plans: dict[str, object] = field(default_factory=dict)  # of every model that was trained

    @property
    def count(self) -> int:
        """Rows of a world."""
        return self.rows or ROWS

    def world(self, name: str, write: Callable[..., Path], **asked: object) -> Path:
        """Write a world into the folder, or take the one that was written there with the same arguments.

        Raises InputError where the one that is there was written with others: its runs would be of no use.
        """
        from sensorium.types import InputError

        folder = self.folder / name
        stamp, wanted = folder / "asked.json", json.dumps({**asked, "seed": self.seed}, sort_keys=True)
        table = folder / "table.txt"
        if stamp.is_file() and stamp.read_text() != wanted:
            raise InputError(
                "the folder holds another world", got=stamp.read_text(), fix="give another --folder"
            )
        if not stamp.is_file():
            path = write(folder, seed=self.seed, **asked)
            table.write_text(path.name)
            stamp.write_text(wanted)
        return folder / table.read_text()

    def fit(self, name: str, table: object, target: str, inputs: Sequence[str], **more: object):
        """Train a model with the default settings on the training rows; its run lies in the folder of this part."""
        import sensorium as sm

        kind = {} if self.kind is None else {"columns": {target: self.kind}}
        budget = {"minutes": self.minutes} if self.epochs is None else {"epochs": self.epochs}
        model = sm.Model(target, inputs=inputs, seed=self.seed, **budget, **kind, **more)
        model.fit(table, out=self.home / "runs" / name)
        plan = model.metrics["plan"]
        self.plans[name] = {
            k: plan[k] for k in ("parameters", "steps", "batch", "training_seconds", "stopped")
        }
        return model

    def test(self, path: Path):
        """The test rows of a table, at most as many as were asked for."""
        import sensorium as sm

        table = sm.read(path, split="test")
        if self.most is None or self.most >= len(table):
            return table
        return table.take(np.sort(np.random.default_rng(self.seed).permutation(len(table))[: self.most]))

    def predict(self, name: str, model, table: object) -> list[str]:
        """Answer a table, keep `predictions-NAME.csv` for other judges; an answer that is missing is ""."""
        from sensorium.store import write_predictions

        found = model.predict(table)
        told = "-".join(["predictions", *re.findall(r"\w+", name.replace("'", ""))])
        write_predictions(self.home / f"{told}.csv", found)
        return ["" if p.value is None else str(p.value) for p in found]

    @property
    def home(self) -> Path:
        """The folder of this part."""
        path = self.folder / self.part
        path.mkdir(parents=True, exist_ok=True)
        return path

    def told(self, **figures: object) -> dict[str, object]:
        """Print the figures of this part, and keep them beside its predictions."""
        row = emit(
            "words", part=self.part, seed=self.seed, minutes=None if self.epochs else self.minutes, epochs=self.epochs, kind=self.kind, **figures, plans=self.plans
        )  # fmt: skip
        with (self.home / "figures.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        return row


@contextmanager
def kept_in(folder: Path | None) -> Iterator[Path]:
    """The folder, made where it is not there, or one that is gone afterwards."""
    if folder is None:
        with tempfile.TemporaryDirectory() as made:
            yield Path(made)
        return
    folder.mkdir(parents=True, exist_ok=True)
    yield folder


# --- inputs that were harmed ----------------------------------------------------------------------------------------


def with_cells(table, column: str, cells: Sequence[object]):
    """The table with other cells in one column; rows keep their ids."""
    return replace(table, data={**table.data, column: list(cells)}, row_ids=table.ids)


def without(table, column: str):
    """The table with one column emptied."""
    return with_cells(table, column, [None] * len(table))


def swapped(table, column: str, seed: int):
    """The table with the files of one column dealt out anew: rows that share a file get one other file together."""
    from sensorium.colearning import strangers

    cells = table.cells(column)
    files = list(dict.fromkeys(cells))
    other = strangers(len(files), np.random.default_rng(seed))
    given = {f: files[i] for f, i in zip(files, other, strict=True)}
    return with_cells(table, column, [given[c] for c in cells])


def stills(model, table, column: str):
    """The table with clips that show nothing but their middle frame, for as long as the clip is."""
    from sensorium.data import Decoder

    decoder, found = Decoder(table, limits=model.limits, rates=model.rates), {}
    for row, cell in enumerate(table.cells(column)):
        if cell in found:
            continue
        signal = decoder.signal(row, column, "video")
        frames = signal.values
        apart = np.diff(signal.times_s) if signal.times_s is not None else np.zeros(0)
        rate = float(1 / np.median(apart)) if len(apart) and np.median(apart) > 0 else 25.0
        array = np.repeat(frames[len(frames) // 2][None], len(frames), axis=0)
        found[cell] = {"array": array, "sampling_rate": rate}
    return with_cells(table, column, [found[c] for c in table.cells(column)])


# --- figures --------------------------------------------------------------------------------------------------------


def right(said: Sequence[str], truth: Sequence[object]) -> np.ndarray:
    """(n,) 1 where an answer is the truth, marks and letter case aside, else 0."""
    from sensorium.measure.text import plain

    return np.array([bool(s) and plain(s) == plain(str(t)) for s, t in zip(said, truth, strict=True)], float)


def rate(hits: np.ndarray, groups: Sequence[object] | None = None, *, seed: int = 0) -> dict[str, object]:
    """The share of (n,) rows that are right, 0 or 1 each, with its interval, and n; {} of none.

    `groups` (such as pictures) are drawn whole. The interval is Wilson's where that is wider.
    """
    from sensorium.measure.resample import share

    return {**share(_mean(hits, groups, seed), len(hits)).to_json(), "rows": len(hits)} if len(hits) else {}


def gain(
    hits: np.ndarray, others: np.ndarray, groups: Sequence[object] | None = None, *, seed: int = 0
) -> dict[str, object]:
    """How much more often one way of answering is right than another on the same rows, paired; as `rate`."""
    apart = hits - others
    return {**_mean(apart, groups, seed).to_json(), "rows": len(apart)} if len(apart) else {}


def _mean(values: np.ndarray, groups: Sequence[object] | None, seed: int) -> "Score":
    from sensorium.measure.resample import scored

    index = np.arange(len(values)) if groups is None else np.unique(np.array(groups), return_inverse=True)[1]
    sums, counts = np.bincount(index, values), np.bincount(index).astype(float)
    return scored(lambda w: {"mean": (w @ sums) / (w @ counts)}, len(counts), seed=seed)["mean"]


def by(keys: Sequence[object], hits: np.ndarray, groups: Sequence[object] | None = None) -> dict[str, object]:
    """`rate` of the rows of each key, in the order of the keys."""
    named = np.array([str(k) for k in keys])
    return {
        k: rate(hits[named == k], None if groups is None else np.array(groups)[named == k])
        for k in sorted(set(named))
    }


def facts_told(
    said: Sequence[set], holds: Sequence[set], expected: Sequence[set], *, kinds: Mapping[str, Sequence[str]]
) -> dict[str, object]:
    """Precision, recall and F1 of facts, over all and for each kind: name -> first words of its facts."""
    from sensorium.measure.text import tuple_f1

    def only(sets: Sequence[set], first: Sequence[str]) -> list[list]:
        return [[f for f in s if f[0] in first] for s in sets]

    if not len(said):
        return {}
    whole = tuple_f1(*(list(map(list, s)) for s in (said, holds)), expected=list(map(list, expected)))
    told: dict[str, object] = {k: v.to_json() for k, v in whole.items()} | {"rows": len(said)}
    parts = {
        name: tuple_f1(only(said, first), only(holds, first), expected=only(expected, first))
        for name, first in kinds.items()
    }
    told["f1_of"] = {name: found["tuple_f1"].to_json() for name, found in parts.items()}
    return told


def texts_told(said: Sequence[str], truth: Sequence[Sequence[str]]) -> dict[str, object]:
    """The figures of texts that are words against words; {} of no rows."""
    from sensorium.measure.text import text_scores

    kept = ("bleu1", "bleu4", "cider_d", "rouge_l", "chrf", "exact", "distinct", "repeated")
    scores = text_scores(said, truth) if len(said) else {}
    return {k: scores[k].to_json() for k in kept if k in scores}


def blind_text(model, table) -> str:
    """What a model writes without any input."""
    from sensorium.api.prepare import decoded
    from sensorium.api.saying import silent
    from sensorium.api.texts import say_all
    from sensorium.data import Decoder

    rows, _ = decoded(
        Decoder(table.take([0]), limits=model.limits, rates=model.rates), model.task, silent
    )  # fmt: skip
    names = [m.name for m in model.task.modalities]
    return say_all(model.network, model.task, rows, but=names)[0].text


def truth_lines(path: Path) -> dict[str, dict]:
    """The judge's rows of a world, by id."""
    lines = (path.parent / "truth.jsonl").read_text(encoding="utf-8").splitlines()
    return {row["id"]: row for row in map(json.loads, lines)}


def as_facts(found: object) -> set[tuple[str, ...]]:
    """Facts as JSON keeps them."""
    rows = json.loads(found) if isinstance(found, str) else found
    return {tuple(f) for f in rows}  # type: ignore[union-attr]


def commonest_answer(path: Path, column: str) -> str:
    """The answer that training rows have most often."""
    import sensorium as sm
    from sensorium.measure.text import commonest

    return commonest([str(c) for c in sm.read(path, split="train").cells(column) if c is not None])
