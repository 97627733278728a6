"""The verbs of a matcher: vectors, an index, searches, and answers by names."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from sensorium.cli.asked import limits_of, split_names
from sensorium.cli.runs import must_be_finished
from sensorium.cli.screen import tell
from sensorium.types import InputError, Modality

CARRIERS = (
    "text",
    "image",
    "audio",
    "video",
    "series",
    "points",
)  # of queries that are given on the command line


def embed(args: argparse.Namespace) -> None:
    """Write the vectors of every row: sensorium embed RUN DATA -o vectors.npz."""
    limits = limits_of(args.limit)
    from sensorium.store import write_vectors
    from sensorium.store.paths import written_as

    written_as(args.out, "vectors")
    from sensorium.api import read

    model = matcher_of(args.run, limits)
    ids, vectors, errors = model.embed(read(args.data, split=args.split), space=args.space, say=args.progress)
    write_vectors(args.out, ids, vectors, errors)
    args.progress.close()
    bad = sum(map(bool, errors))
    shapes = {n: list(v.shape) for n, v in vectors.items()}
    lines = [f"{args.out}: {len(ids)} rows, {bad} of them without a vector"]
    lines += [f"  {n}: {v.shape[1]} numbers in {int(v.any(1).sum())} rows" for n, v in vectors.items()]
    tell(args, {"rows": len(ids), "errors": bad, "shapes": shapes, "file": args.out}, lines)
    if bad == len(ids):
        sys.exit(1)


def matcher_of(run: str, limits):
    """The matcher of a run. Raises InputError for a run of `--target`."""
    from sensorium.api import Matcher, load

    must_be_finished(run)
    model = load(run, limits=limits)
    if not isinstance(model, Matcher):
        raise InputError(
            "the run answers a target; it matches nothing", got=run, fix="give a run of `fit --match`"
        )
    return model


def index(args: argparse.Namespace) -> None:
    """Put the rows of a table into an index: sensorium index RUN DATA -o INDEX."""
    limits = limits_of(args.limit)
    from sensorium.api import create_index, open_index, read

    model, table = matcher_of(args.run, limits), read(args.data, split=args.split)
    there = _holds(args.out)
    if there:
        finder = open_index(args.out, model, limits=limits)
    elif args.delete:
        raise InputError(
            "there is no index to delete from", got=args.out, fix="name one that `sensorium index` wrote"
        )
    else:
        finder = create_index(model, args.out, table, run=str(Path(args.run).resolve()))
    if args.delete:
        gone = finder.delete(table.ids)
        args.progress.close()
        tell(
            args,
            {"rows": len(finder), "deleted": gone, "index": args.out},
            [f"{args.out}: {gone} rows deleted, {len(finder)} left"],
        )
        return
    bad = finder.add(table, say=args.progress)
    recall = finder.recall(table)
    args.progress.close()
    lines = [f"{args.out}: {len(finder)} rows, searched by {_engine(finder.engine, recall)}"]
    lines += [f"  left out: {b[:200]}" for b in bad[:3]] + ["  ..."] * (len(bad) > 3)
    tell(
        args,
        {
            "rows": len(finder),
            "added": len(table) - len(bad),
            "left_out": bad,
            "engine": finder.engine,
            "recall": recall,
            "index": args.out,
        },
        lines,
    )
    if len(bad) == len(table):
        sys.exit(1)


def _holds(path: str) -> bool:
    """Whether a folder or an address of an object store holds anything. Raises InputError where that cannot be seen."""
    from sensorium.store.index.places import place_of

    return any(not name.startswith(".") for name in place_of(path).names())


def _engine(engine: str, recall: float | None) -> str:
    if engine == "exact":
        return "comparing every row"
    if recall is None:
        return f"an approximate index ({engine})"
    return (
        f"an approximate index ({engine}), which finds {100 * recall:.1f} % of what comparing every row finds"
    )


def search(args: argparse.Namespace) -> None:
    """Search an index with words, files, or several of them: sensorium search INDEX --text "..." -k 10."""
    limits = limits_of(args.limit)
    if args.queries:
        _must_ask_by_table(args)
    from sensorium.api import open_index

    finder = open_index(args.index, None if args.run is None else matcher_of(args.run, limits), limits=limits)
    if args.queries:
        _search_all(args, finder)
        return
    query = _query(args, finder.matcher)
    hits = finder.search(query or None, words=args.words, answer=args.answer, k=args.k, where=args.where)
    page = _page(args, finder, query, hits)
    args.progress.close()
    wide = max((len(h.id) for h in hits), default=0)
    told = [f"  {n:>3}. {h.id:<{wide}}  {h.score:6.3f}  {_brief(h.row)}" for n, h in enumerate(hits, 1)]
    found = [{"id": h.id, "score": h.score, "through": h.modality, "row": h.row} for h in hits]
    tell(args, {"found": found, "rows": len(finder), "page": page}, [*told, f"picture: {page}"])


def _must_ask_by_table(args: argparse.Namespace) -> None:
    """Raises InputError where a table of queries lacks what it needs, or stands beside a query that would not be asked."""
    from sensorium.store.paths import written_as

    if args.query is None or args.out is None:
        raise InputError(
            "a table of queries needs a column and a file",
            got=[args.query, args.out],
            fix="--query COL -o ranks.csv",
        )
    beside = [f"--{n}" for n in (*CARRIERS, "words") if getattr(args, n) is not None] + ["--ask"] * bool(
        args.ask
    )
    if beside:
        raise InputError(
            "a table of queries asks by one of its columns alone", got=beside, fix="leave one of them out"
        )
    written_as(args.out, "predictions")


def _search_all(args: argparse.Namespace, finder) -> None:
    """Ranks for every row of a table, as a predictions file."""
    from sensorium.api import read
    from sensorium.store import write_predictions

    table = read(args.queries, split=args.split)
    found = finder.ranks(
        _as_query(table, args.query, finder.matcher),
        answer=args.answer,
        k=args.k,
        where=args.where,
        say=args.progress,
    )
    write_predictions(Path(args.out), found)
    recall = finder.recall(_as_query(table, args.query, finder.matcher), k=args.k, answer=args.answer)
    args.progress.close()
    bad = [p for p in found if p.error]
    lines = [
        f"{args.out}: {len(found)} queries, {len(bad)} of them with an error; searched by {_engine(finder.engine, recall)}"
    ]
    tell(args, {"queries": len(found), "errors": len(bad), "file": args.out, "recall": recall}, lines)
    if len(bad) == len(found):
        sys.exit(1)


def _as_query(table, column: str, matcher):
    """The column that asks, under the name that the matcher knows; the ids stay."""
    from dataclasses import replace

    cells = table.cells(column)
    if column in matcher.asked.match:
        return replace(table, data={column: cells}, row_ids=table.ids)
    from sensorium.tasks import infer_carrier

    carrier = infer_carrier(table, column)
    known = [
        m.column for m in matcher.task.modalities if m.carrier == ("text" if carrier == "table" else carrier)
    ]
    if not known:
        raise InputError(
            "the run never saw such a column",
            got=f"{column} ({carrier})",
            fix=f"ask by {', '.join(matcher.asked.match)}",
        )
    return replace(table, data={known[0]: cells}, row_ids=table.ids)


def _query(args: argparse.Namespace, matcher) -> dict[str, object]:
    """What was asked for on the command line: matched column -> value. Raises InputError where nothing was."""
    matched = [m for m in matcher.task.modalities if m.name in matcher.task.match]
    found = cells_of(args, matched, matcher.asked.match)
    if not found and args.words is None:
        raise InputError(
            "there is nothing to search for",
            got=args.index,
            fix='--text "...", --image FILE, or --words "..."',
        )
    return found


def cells_of(
    args: argparse.Namespace, modalities: Sequence[Modality], columns: Sequence[str]
) -> dict[str, object]:
    """What was given on the command line, as column -> value: `--CARRIER` for the first column that carries it, `--ask` by name.

    Raises InputError for a carrier and for a column that the run does not have.
    """
    found: dict[str, object] = {}
    for carrier in CARRIERS:
        value = getattr(args, carrier)
        if value is None:
            continue
        able = [m.column for m in modalities if m.carrier == carrier]
        if not able:
            kinds = ", ".join(f"{m.column} ({m.carrier})".replace("\n", ", ") for m in modalities)
            raise InputError(f"the run never saw {carrier}", got=value, fix=f"ask by {kinds}")
        found[able[0]] = value
    for pair in args.ask:
        column, equals, value = pair.partition("=")
        if not equals or column not in columns:
            raise InputError(
                "no such column to ask by", got=pair, fix=f"--ask COLUMN=VALUE with {', '.join(columns)}"
            )
        found[column] = value
    return found


def _page(args: argparse.Namespace, finder, query: Mapping[str, object], hits: Sequence) -> str:
    from sensorium.api import previews
    from sensorium.report import write_search
    from sensorium.store import Table

    asked = (
        previews(finder.matcher, Table(data={n: [v] for n, v in query.items()}, folder=Path.cwd()))
        if query
        else {}
    )
    found = {
        "asked": [{"name": n, "cell": c} for n, c in asked.items()], "rows": len(finder), "engine": finder.engine, "answer": args.answer or "",
        "where": args.where or "", "words": args.words or "",
        "found": [{"id": h.id, "score": h.score, "through": h.modality, "cells": finder.previews(h.row), "facts": _facts(h.row, finder)} for h in hits],
    }  # fmt: skip
    return str(write_search(found, Path(args.out or _beside(args.index))))


def _beside(index: str) -> str:
    """Where the page of a search goes: beside the index, or here where that lies in an object store."""
    path = index.rstrip("/")
    return f"{path.rpartition('/')[2] if '://' in path else path}-search.html"


def _facts(row: Mapping[str, object], finder) -> dict[str, str]:
    shown = set(finder.matcher.asked.match)
    return {k: str(v)[:80] for k, v in row.items() if k not in shown and v is not None}


def _brief(row: Mapping[str, object]) -> str:
    """The cells of a row in one line."""
    told = [str(v).split("\n")[0] for k, v in row.items() if v is not None and k not in ("id", "split")]
    return " | ".join(told)[:100]


def named_answers(args: argparse.Namespace, limits) -> list:
    """Sort rows among classes by their names, or by a few labelled rows: `predict --labels`, `--shots`."""
    from sensorium.api import read

    model = matcher_of(args.run, limits)
    return model.predict(
        read(args.data, split=args.split), split_names(args.labels) or (), templates=_templates(args.templates),
        shots=args.shots, target=args.target, say=args.progress,
    )  # fmt: skip


def _templates(text: str | None) -> list[str] | None:
    """Sentences around a name: one as it is written, or a JSON list of several. Raises InputError."""
    if text is None or not text.lstrip().startswith("["):
        return None if text is None else [text]
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, list) or not found or not all(isinstance(t, str) for t in found):
        raise InputError(
            "no JSON list of sentences", got=text, fix="""--templates '["a photo of {}", "there is {}"]'"""
        )
    return found
