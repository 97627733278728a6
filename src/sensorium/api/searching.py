"""Finder: the rows of a table in a matcher's space, on disk: add, delete, and search with anything for anything."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sensorium.api.matching import Matcher
from sensorium.api.saying import Say, silent
from sensorium.data import Decoder
from sensorium.modalities import CARRIERS
from sensorium.store import Table, read
from sensorium.store.index import Hit, Index
from sensorium.tasks import blank
from sensorium.types import InputError, Limits, Prediction

PIECE = 2000  # rows that are embedded and acknowledged at a time
TRIED = 50  # queries by which recall is measured
WHOLE = re.compile(r"[+-]?(0|[1-9][0-9]{0,17})")
NUMBER = re.compile(r"[+-]?((0|[1-9][0-9]{0,17})(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,2})?")
BETWEEN = "\n"  # texts of one cell


class Finder:
    """An index of rows. Make one with `create_index` or `open_index`.

    A query names columns of the matcher and gives a value for each: words, a file, an array. Several are asked for
    together. Answers are rows, found through one column or through whichever fits best.
    """

    def __init__(self, matcher: Matcher, index: Index):
        self.matcher, self.index = matcher, index

    def __len__(self) -> int:
        return len(self.index)

    @property
    def engine(self) -> str:
        """exact: every row is compared; lance: an approximate index is asked first, and its best are compared exactly."""
        return self.index.engine

    def add(self, data: object, *, say: Say = silent) -> list[str]:
        """Add the rows of a table; each piece is on disk before the next begins. A row whose id is there is replaced.

        Returns ids of rows that could not be embedded, with the reason. Raises InputError.
        """
        table = read(data)
        written = [n for n, kind in self.index.manifest.columns.items() if kind == "text"]
        columns = _facts(table, words=(*self.matcher.asked.match, *written))
        bad: list[str] = []
        for start in range(0, len(table), PIECE):
            part = table.take(range(start, min(start + PIECE, len(table))))
            say("index", start / len(table), f"{start} of {len(table)} rows")
            ids, vectors, errors = self.matcher.embed(part)
            good = [i for i, e in enumerate(errors) if not e]
            bad += [f"{ids[i]}: {errors[i]}" for i in range(len(ids)) if errors[i]]
            if good:
                rows = {n: [cells[start + i] for i in good] for n, cells in columns.items()}
                self.index.add([ids[i] for i in good], {n: v[good] for n, v in vectors.items()}, rows=rows)
        self.index.compact()
        return bad

    def delete(self, ids: Sequence[object]) -> int:
        """Delete rows; returns how many there were. Raises InputError."""
        return self.index.delete(ids)

    def search(
        self, query: Mapping[str, object] | None = None, *, words: str | None = None, answer: str | None = None, k: int = 10,
        where: str | None = None,
    ) -> list[Hit]:  # fmt: skip
        """The `k` best rows, best first.

        query: matched column -> what to look for. words: looked up as they are written, beside the query or alone. answer: the
        column to find by; None: any. where: a condition on other columns, such as `price < 10 and colour = "red"`.
        Raises InputError for a column that the matcher never saw, and what `store.index.Index.search` raises.
        """
        return self.search_all(Table(data={n: [v] for n, v in (query or {}).items()}, folder=Path.cwd()) if query else None,
                               words=None if words is None else [words], answer=answer, k=k, where=where)[0]  # fmt: skip

    def search_all(
        self, queries: object, *, words: Sequence[str] | None = None, answer: str | None = None, k: int = 10,
        where: str | None = None, say: Say = silent,
    ) -> list[list[Hit]]:  # fmt: skip
        """`search` for every row of a table, in order."""
        vectors = None if queries is None else self._asked(read(queries), say)
        return self.index.search(vectors, words=words, answer=answer, k=k, where=where)

    def ranks(
        self,
        queries: object,
        *,
        answer: str | None = None,
        k: int = 10,
        where: str | None = None,
        say: Say = silent,
    ) -> list[Prediction]:
        """Ids of the `k` best rows for every row of a table, as a JSON list in `value`; an `error` where a row asks nothing."""
        table = read(queries)
        ids, vectors, errors = self._embedded(table, say)
        good = [i for i, e in enumerate(errors) if not e]
        hits: list[list[Hit]] = []
        if good:
            hits = self.index.search(
                {n: v[good] for n, v in vectors.items()}, answer=answer, k=k, where=where
            )
        found = [Prediction(id=i, error=e.replace("\n", " ")) for i, e in zip(ids, errors, strict=True)]
        for i, one in zip(good, hits, strict=True):
            found[i] = Prediction(id=ids[i], value=json.dumps([h.id for h in one], ensure_ascii=False))
        return found

    def recall(self, queries: object, *, k: int = 10, answer: str | None = None) -> float | None:
        """Share of what comparing every row finds that `search` finds, 0..1; None where it compares every row.

        Measured with the first TRIED queries, those that can be read; None as well where there is none, or nothing to find.
        """
        if self.engine == "exact":
            return None
        table = read(queries)
        _, vectors, errors = self._embedded(table.take(range(min(TRIED, len(table)))), silent)
        good = [i for i, e in enumerate(errors) if not e]
        if not good or not len(self):
            return None
        return self.index.recall({n: v[good] for n, v in vectors.items()}, answer=answer, k=k).value

    def previews(self, row: Mapping[str, object]) -> dict[str, object]:
        """Small pictures of the matched cells of a row that was found: column -> preview; what cannot be read is left out."""
        folder = self.index.manifest.described.get("folder")
        table = Table(data={n: [v] for n, v in row.items()}, folder=Path(str(folder)) if folder else None)
        return previews(self.matcher, table)

    def _asked(self, table: Table, say: Say) -> dict[str, np.ndarray]:
        _, vectors, errors = self._embedded(table, say)
        if any(errors):
            raise InputError(
                "the query cannot be read", got=next(e for e in errors if e), fix="repair or change it"
            )
        return vectors

    def _embedded(self, table: Table, say: Say) -> tuple[list[str], dict[str, np.ndarray], list[str]]:
        known = self.matcher.asked.match
        strange = [c for c in table.columns if c not in known and c not in ("id", "split")]
        if strange and not set(table.columns) & set(known):
            raise InputError("the run never saw such a column", got=strange, fix=f"ask by {', '.join(known)}")
        return self.matcher.embed(table, say=say)


def create_index(matcher: Matcher, path: str | Path, table: Table, *, run: str = "") -> Finder:
    """Make an empty index for a matcher; `table` names the metadata columns and the folder of its files.

    Raises InputError where the table has none of the matched columns, and what `store.index.Index.create` raises.
    """
    if not set(matcher.asked.match) & set(table.columns):
        raise InputError(
            "the table has none of the matched columns",
            got=table.columns,
            fix=f"give {', '.join(matcher.asked.match)}",
        )
    facts = _facts(table, words=matcher.asked.match)
    texts = [c for c, cells in facts.items() if c != "split" and _written(table, cells)]
    described = {
        "run": run,
        "match": list(matcher.asked.match),
        "folder": str(table.folder.resolve()) if table.folder else "",
    }
    spaces = {m: matcher.width for m in matcher.task.match}
    return Finder(
        matcher, Index.create(path, spaces=spaces, fingerprint=matcher.fingerprint(), described=described, texts=texts)
    )  # fmt: skip


def open_index(path: str | Path, matcher: Matcher | None = None, *, limits: Limits = Limits()) -> Finder:
    """Open an index, with the matcher that made it; None: the run that the index names is loaded.

    Raises InputError where there is none, where it is damaged, where the run has gone, and where another run made it.
    """
    if matcher is None:
        run = str(Index.open(path).manifest.described.get("run") or "")
        if not run or not (Path(run) / "model.json").is_file():
            raise InputError(
                "the run that made the index is not there",
                got=run or "none is named",
                fix="name it with --run",
            )
        from sensorium.api.model import load

        found = load(run, limits=limits)
        if not isinstance(found, Matcher):
            raise InputError("the run matches nothing", got=run, fix="give a run of `fit --match`")
        matcher = found
    return Finder(matcher, Index.open(path, matcher.fingerprint()))


def previews(matcher: Matcher, table: Table, row: int = 0) -> dict[str, object]:
    """Column -> a small picture of the cell; what is empty or cannot be read is left out."""
    decoder = Decoder(table, limits=matcher.limits, rates=matcher.rates)
    found: dict[str, object] = {}
    for m in matcher.task.modalities:
        if m.name in found or not set(m.column.split("\n")) & set(table.columns):
            continue
        try:
            signal = decoder.of(row, m)
        except InputError:
            continue
        if signal is not None:
            found[m.name] = CARRIERS[m.carrier].preview(signal)
    return found


def _facts(table: Table, words: Sequence[str] = ()) -> dict[str, list[object]]:
    """Columns that an index can keep beside the ids: words, numbers, truth; several texts of a cell as lines.

    Texts that are all plain numbers, as a .csv gives them, become numbers, so that conditions can compare them; not those
    of `words`, and no codes such as 007.
    """
    found = {}
    for name, cells in table.data.items():
        if name == "id":  # every row has one already
            continue
        told = [
            BETWEEN.join(map(str, c)) if isinstance(c, list | tuple) else None if blank(c) else c
            for c in cells
        ]
        if all(c is None or isinstance(c, str | int | float | bool) for c in told):
            kinds = {type(c) for c in told if c is not None}
            mixed = len(kinds) > 1 and not kinds <= {int, float}
            texts = [None if c is None else str(c) for c in told] if mixed else told
            found[name] = texts if name in words else _numbers(texts)
    return found


def _numbers(cells: list[object]) -> list[object]:
    """Texts as the numbers that they write, where all of them do; else the cells as they are."""
    said = [c for c in cells if c is not None]
    if not said or not all(isinstance(c, str) and NUMBER.fullmatch(c.strip()) for c in said):
        return cells
    whole = all(WHOLE.fullmatch(str(c).strip()) for c in said)
    return [None if c is None else int(str(c)) if whole else float(str(c)) for c in cells]


def _written(table: Table, cells: Sequence[object]) -> bool:
    """Whether a column holds words to look up: text that names no file."""
    from sensorium.store import looks_like_path

    said = [c for c in cells if isinstance(c, str)]
    return bool(said) and not looks_like_path(table, said[:: max(1, len(said) // 200)])
