"""Which columns in, which column out: a Task, and how it is read off a table."""

import math
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sensorium.modalities import CARRIERS, carrier_of
from sensorium.modalities.text import ids, written
from sensorium.store import Table, looks_like_path, suffixes_of
from sensorium.types import InputError, Modality, Signal

KEPT = ("id", "split")  # columns that are never an input by themselves
SEPARATOR = "|"  # between several labels of one cell


@dataclass(frozen=True, kw_only=True, slots=True)
class Wording:
    """How the texts of a target are written: its own vocabulary, and how long they are."""

    tokenizer: str  # byte-pair vocabulary as JSON; "" for bytes
    vocabulary: int  # ids, with 0 for padding and 1 for something unknown
    longest: int  # ids of a text
    case: bool = True  # False: all texts are made lower case
    decoder: str = "transformer"  # or "classic": additive attention and a gated recurrent unit
    answers: tuple[
        str, ...
    ] = ()  # all texts that there are, where they recur: then one of them is the answer

    def read(self, text: str) -> np.ndarray:
        """(ids,) int32 of a text, cut at `longest`."""
        return ids(self.plain(text), self.tokenizer)[: self.longest]

    def plain(self, text: str) -> str:
        """A text as this vocabulary spells it: composed letters, one blank between words."""
        text = " ".join(unicodedata.normalize("NFC", text).split())
        return text if self.case else text.lower()

    def write(self, found: Sequence[int] | np.ndarray) -> str:
        """The text of ids."""
        return written(found, self.tokenizer)


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """The column to answer: what its cells mean, learned from the training rows."""

    column: str
    kind: str  # category, labels (several per cell), number or text
    classes: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()  # training rows of each class
    mean: float = 0.0  # of a number
    spread: float = 1.0
    wording: Wording | None = None  # of a text

    @property
    def width(self) -> int:
        """How many outputs a head needs."""
        return 1 if self.kind == "number" else len(self.classes)

    def encode(self, cell: object) -> np.ndarray | np.generic | None:
        """One cell as an array: () int64, (classes,) float32 or () float32; None where it says nothing usable.

        Of a text (references, ids) int64: the same said in several ways, padded with 0 behind.
        """
        if blank(cell):
            return None
        if self.wording is not None:
            said = [self.wording.read(t) for t in texts_of(cell)]
            found = np.zeros((len(said), max((len(s) for s in said), default=0)), np.int64)
            for line, one in zip(found, said, strict=True):
                line[: len(one)] = one
            return found if found.size else None
        if self.kind == "number":
            value = as_number(cell)
            return None if value is None else np.float32((value - self.mean) / self.spread)
        if self.kind == "category":
            name = label(cell)
            return np.int64(self.classes.index(name)) if name in self.classes else None
        said = set(parts(cell))
        known = [c in said for c in self.classes]
        return np.array(known, dtype=np.float32) if any(known) else None

    def prior(self) -> np.ndarray:
        """How often each class was seen, smoothed by one row; (classes,) probabilities."""
        counts = np.array(self.counts, dtype=np.float64) + 1
        return counts / counts.sum()


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """Modalities in, targets out. The first target is the one asked for; the others only help training.

    `match` names modalities that are brought into one space, in which those of one row lie close together. `question` is
    the text that asks about the others, "" for none: then the answer is reasoned out in steps.
    """

    modalities: tuple[Modality, ...]
    targets: tuple[Target, ...] = ()
    match: tuple[str, ...] = ()
    question: str = ""

    @property
    def target(self) -> Target:
        """The target that was asked for."""
        return self.targets[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """An input column: its carrier and the options that the user gave."""

    name: str
    carrier: str
    given: Mapping[str, str]


def blank(cell: object) -> bool:
    """Whether a cell is empty: None, only blanks, or a float that is not a number."""
    return (
        cell is None
        or (isinstance(cell, str) and not cell.strip())
        or (isinstance(cell, float) and math.isnan(cell))
    )


def as_number(cell: object) -> float | None:
    """Read a cell as a finite number, or None."""
    try:
        value = float(cell)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def _infinite(cell: object) -> bool:
    """Whether a cell reads as a number, only not as a finite one: inf, 1e999."""
    try:
        return not math.isfinite(float(cell))  # type: ignore[arg-type]
    except OverflowError:
        return True
    except (TypeError, ValueError):
        return False


def label(cell: object) -> str:
    """Name the class a cell holds: text without outer blanks; 3.0 and 3 are the same class."""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()


def parts(cell: object) -> list[str]:
    """The labels of a cell that may hold several: `a|b`, or a list."""
    found = cell if isinstance(cell, list | tuple) else str(cell).split(SEPARATOR)
    return [label(p) for p in found if not blank(p)]


def texts_of(cell: object) -> list[str]:
    """The texts of a cell: itself, or those of a list that says the same in several ways; blank ones are left out."""
    found = cell if isinstance(cell, list | tuple) else [cell]
    return [t for t in (" ".join(str(c).split()) for c in found if not blank(c)) if t]


def infer_target(
    column: str, cells: Sequence[object], *, kind: str | None = None, given: Mapping[str, str] | None = None
) -> Target:
    """Read a target's kind and classes off its training cells; `kind` overrides the guess, `given` are a text's options.

    Raises InputError where no cell says anything, or where there is one class only.
    """
    said = [c for c in cells if not blank(c)]
    if not said:
        raise InputError(
            f"the target column {column!r} is empty in all training rows",
            got=f"{len(cells)} rows",
            fix="fill some cells",
        )
    odd = next((c for c in said if not _sayable(c)), None)
    if odd is not None:
        raise InputError(
            f"{column!r} holds neither names nor numbers",
            got=type(odd).__name__,
            fix="give text, numbers, or lists of labels",
        )
    kind = kind or target_kind(said)
    if kind == "number":
        values = [v for v in map(as_number, said) if v is not None]
        if len(values) < len(said):
            wrong = next(c for c in said if as_number(c) is None)
            raise InputError(
                f"{column!r} should hold numbers", got=wrong, fix=f"or say --column {column}=category"
            )
        spread = float(np.std(values)) or 1.0
        return Target(column=column, kind=kind, mean=float(np.mean(values)), spread=spread)
    if kind == "text":
        return Target(column=column, kind=kind, wording=worded(column, said, dict(given or {})))
    if kind not in ("category", "labels"):
        raise InputError(
            f"a target of kind {kind!r} cannot be learned yet",
            got=f"--column {column}={kind}",
            fix="category, labels, number or text",
        )
    counts = Counter(p for c in said for p in (parts(c) if kind == "labels" else [label(c)]))
    classes = tuple(sorted(counts, key=_natural))
    if len(classes) < 2 and kind == "category":
        raise InputError(
            f"the target column {column!r} holds one class only",
            got=classes,
            fix="give rows of at least two classes",
        )
    return Target(column=column, kind=kind, classes=classes, counts=tuple(counts[c] for c in classes))


DECODERS = ("transformer", "classic")
ANSWERS = 4000  # most texts that are one closed set
LONGEST = 128  # most ids of a text that was not asked to be longer


def worded(column: str, cells: Sequence[object], given: dict[str, str]) -> Wording:
    """Learn from training cells how texts are written: vocabulary, length, and whether they are answers that recur.

    given: `words` (size of the vocabulary), `longest` (ids), `case`, `decoder` (one of DECODERS) and `open` (yes: texts are
    written freely, though they recur). Raises InputError for others.
    """
    decoder, free = given.pop("decoder", DECODERS[0]), given.pop("open", "")
    if decoder not in DECODERS or free not in ("", "yes", "no"):
        raise InputError(
            f"{column!r}: no such way to write", got={"decoder": decoder, "open": free},
            fix=f"decoder={' or '.join(DECODERS)}, open=yes or no",
        )  # fmt: skip
    texts = [t for c in cells for t in texts_of(c)]
    some = texts[:: max(1, len(texts) // 20_000)]
    signals = [Signal(values=np.array([t], dtype=object)) for t in some]
    told = CARRIERS["text"].survey(signals, **{"case": "yes", **given})
    case, json = bool(told["case"]), str(told["tokenizer"])
    lengths = [len(ids(t if case else t.lower(), json)) for t in some]
    longest = int(str(told["longest"])) if "longest" in given else min(max(lengths), LONGEST)
    found = Wording(
        tokenizer=json, vocabulary=int(str(told["vocabulary"])), longest=longest, case=case, decoder=decoder
    )  # fmt: skip
    often = Counter(found.plain(t) for t in texts)
    closed = free == "no" or (not free and 2 * len(often) <= len(texts) and len(often) <= ANSWERS)
    whole = all(len(ids(t, json)) <= longest for t in often)  # none would be cut
    return replace(found, answers=tuple(sorted(often))) if closed and whole and len(often) > 1 else found


def _sayable(cell: object) -> bool:
    """Whether a cell can be an answer: text, a number, or a list of them (several labels)."""
    if isinstance(cell, list | tuple):
        return all(_sayable(c) and not isinstance(c, list | tuple) for c in cell)
    return cell is None or isinstance(cell, str | int | float | np.generic)


def _natural(name: str) -> tuple[int, float, str]:
    value = as_number(name)
    return (1, 0.0, name) if value is None else (0, value, name)


def target_kind(said: Sequence[object]) -> str:
    """Guess what the non-empty cells of a target are.

    Several labels where `|` splits cells into parts that recur; texts where cells (or the parts of lists) are sentences or
    hardly recur; numbers where nearly all parse and there are
    fractions or too many distinct values for classes; else categories.
    """
    if any(isinstance(c, list | tuple) for c in said):
        return "text" if _sentences([t for c in said for t in texts_of(c)]) else "labels"
    values = [as_number(c) for c in said]
    wild = next((c for c, v in zip(said, values, strict=True) if v is None and _infinite(c)), None)
    if wild is not None and sum(v is not None for v in values) > len(said) / 2:
        raise InputError(
            "the target holds a number that is not finite",
            got=wild,
            fix="correct the cell, or leave it empty",
        )
    if all(v is not None for v in values) and not any(isinstance(c, bool) for c in said):
        distinct = len(set(values))
        whole = all(v == int(v) for v in values if v is not None)
        if not whole or distinct > max(20, len(said) // 10):
            return "number" if distinct > 2 else "category"
        return "category"
    texts = [str(c) for c in said]
    if any(SEPARATOR in t for t in texts):
        single = {p for t in texts for p in parts(t)}
        if len(single) < len(set(texts)):
            return "labels"
    distinct = len(set(texts))
    if _sentences(texts):
        return "text" if distinct > 50 or distinct > len(texts) / 2 else "category"
    return "text" if distinct > 50 and distinct > len(texts) / 2 else "category"


def _sentences(texts: Sequence[str]) -> bool:
    """Whether texts are sentences rather than names: most are of four words and more, and few recur."""
    long = sum(len(t.split()) >= 4 for t in texts)
    return bool(texts) and 2 * long > len(texts) and 4 * len(set(texts)) > len(texts)


def asking(table: Table, modalities: Sequence[Modality]) -> str:
    """The text modality whose cells mostly end in a question mark, where there is something else to ask about; or ""."""
    if not any(m.carrier not in ("text", "table") for m in modalities):
        return ""
    for m in modalities:
        said = (
            [str(c).strip() for c in table.cells(m.column)[:2000] if not blank(c)]
            if m.carrier == "text"
            else []
        )
        if said and 2 * sum(s.endswith(("?", "\uff1f", "\u061f")) for s in said) > len(said):
            return m.name
    return ""


def parse_column(text: str) -> tuple[str, dict[str, str]]:
    """Split `KIND[:opt=value,...]`, as after `--column NAME=`."""
    kind, _, rest = text.partition(":")
    given: dict[str, str] = {}
    for piece in filter(None, rest.split(",")):
        name, equals, value = piece.partition("=")
        if not equals:
            raise InputError(
                "an option of a column needs a value", got=piece, fix="write --column NAME=KIND:opt=value"
            )
        given[name.strip()] = value.strip()
    return kind.strip(), given


def infer_columns(
    table: Table,
    *,
    targets: Sequence[str],
    inputs: Sequence[str] | None,
    spoken: Mapping[str, str],
    group: str | None,
) -> tuple[list[Column], list[str]]:
    """Decide which columns go in and what they carry; returns them and remarks for the user.

    Named `inputs` are taken as they are. Otherwise every column is, but for the targets, `id`, `split`, the group,
    columns that never vary, and columns of the row that tell the target one to one (a leak).
    """
    wanted = [*targets, *(inputs or []), *spoken, *([group] if group else [])]
    for name in wanted:
        if name not in table.columns:
            raise InputError("no such column", got=name, fix=f"the columns are {', '.join(table.columns)}")
    told = [n for n in [*(inputs or []), *([group] if group else [])] if n in targets]
    if told or len(set(targets)) < len(targets):
        raise InputError(
            "a target is asked for twice, or is an input too",
            got={"targets": list(targets), "inputs": list(inputs or []), "group": group},
            fix="name each target once, and not among --inputs or as --group",
        )
    remarks: list[str] = []
    skip = {*targets, *KEPT, *([group] if group else [])}
    names = list(dict.fromkeys(inputs)) if inputs else [c for c in table.columns if c not in skip]
    columns = []
    for name in names:
        carrier, given = parse_column(spoken[name]) if name in spoken else (infer_carrier(table, name), {})
        if carrier in ("number", "category"):
            carrier = "table"
        if carrier == "ignore" or carrier is None:
            if inputs and carrier is None:
                remarks.append(f"left out {name!r}: it is empty or never varies in the training rows")
            continue
        if carrier not in CARRIERS:
            raise InputError(
                f"column {name!r}: no such kind", got=carrier, fix=f"one of {', '.join(CARRIERS)}"
            )
        if inputs is None and carrier == "table" and _tells(table.cells(name), table.cells(targets[0])):
            remarks.append(
                f"left out {name!r}: it tells {targets[0]!r} one to one; name it in --inputs to use it"
            )
            continue
        if carrier == "table" and "\n" in name:  # which separates the names of the fields
            raise InputError(
                "the column's name holds a line break", got=name, fix="give it a name of one line"
            )
        columns.append(Column(name=name, carrier=carrier, given=given))
    if not columns:
        raise InputError("no input column is left", got=names, fix="name some with --inputs")
    return columns, remarks


def _tells(cells: Sequence[object], answers: Sequence[object]) -> bool:
    pairs = {
        (label(c), label(a)) for c, a in zip(cells, answers, strict=True) if not blank(c) and not blank(a)
    }
    left, right = {p[0] for p in pairs}, {p[1] for p in pairs}
    return 1 < len(right) == len(left) == len(pairs)


def infer_carrier(table: Table, name: str) -> str | None:
    """Guess what a column carries from its cells; None where it never varies or is empty."""
    cells = [c for c in table.cells(name) if not blank(c)]
    if not cells:
        return None
    sample = cells[:: max(1, len(cells) // 200)]
    if looks_like_path(table, sample):
        kinds = Counter(filter(None, (carrier_of(s) for s in suffixes_of(sample).elements())))
        if kinds:
            return _by_name(name, kinds.most_common(1)[0][0])
    if not isinstance(sample[0], str | int | float | bool | np.number):
        return _of_object(sample[0])
    texts = [str(c) for c in cells]
    if len(set(texts)) < 2:
        return None
    if sum(as_number(c) is not None for c in sample) > 0.95 * len(sample):
        return "table"
    distinct, long = len(set(texts)), np.median([len(t) for t in texts[:500]])
    return "table" if distinct <= max(20, len(texts) // 20) and long < 40 else "text"


def _by_name(name: str, carrier: str) -> str:
    """Arrays on disk may be series or clouds: the column's name decides where the format does not."""
    cloudy = any(w in name.lower() for w in ("point", "lidar", "radar", "cloud"))
    return "points" if carrier == "series" and cloudy else carrier


def _of_object(cell: object) -> str | None:
    if isinstance(cell, dict):
        return "audio" if "sampling_rate" in cell else carrier_of(str(cell.get("path") or "")) or "image"
    if isinstance(cell, np.ndarray):
        return {1: "audio", 2: "series", 3: "image", 4: "video"}.get(cell.ndim)
    if isinstance(cell, list | tuple):
        return None
    return "image"


def split_rows(
    table: Table, target: Target, *, group: str | None, share: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Cut rows into training and validation, `share` of them held out; a group never stands on both sides.

    Without groups every class is cut alike. Deterministic in `seed`. Returns two arrays of row numbers.
    """
    rng = np.random.default_rng(seed)
    if group:
        keys = [label(c) for c in table.cells(group)]
    elif target.kind == "category":
        keys = None
    else:
        keys = [str(i) for i in range(len(table))]
    valid: list[int] = []
    if keys is None:
        names = np.array([label(c) for c in table.cells(target.column)])
        for name in sorted(set(names)):
            rows = rng.permutation(np.flatnonzero(names == name))
            valid.extend(rows[: round(share * len(rows))].tolist())
    else:
        names = np.array(keys)
        for name in rng.permutation(sorted(set(keys)))[:-1]:
            if len(valid) >= share * len(table):
                break
            valid.extend(np.flatnonzero(names == name).tolist())
    if not valid and len(table) > 1 and not group:
        valid = [int(rng.integers(len(table)))]
    held = np.array(sorted(valid), dtype=np.int64)
    return np.setdiff1d(np.arange(len(table)), held), held
