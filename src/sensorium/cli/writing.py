"""The verb that writes a text for one input, and how texts are searched for."""

import argparse
from collections.abc import Mapping
from pathlib import Path

from sensorium.cli.asked import limits_of
from sensorium.cli.finding import CARRIERS, cells_of
from sensorium.cli.runs import answering, lacking, must_be_finished
from sensorium.cli.screen import tell
from sensorium.types import InputError

LIKELIEST = 5  # answers that are printed
COLUMNS = 100  # most answers that each get a column of probabilities
LOT = {"temperature", "seed"}  # options of drawing by lot


def generate(args: argparse.Namespace) -> None:
    """Write a text, and show where the model looked for each word: sensorium generate RUN --image FILE."""
    limits = limits_of(args.limit)
    _must_fit_together(args)
    asked = manner_asked(args)
    from sensorium.api import load
    from sensorium.api.generating import written_row
    from sensorium.api.texts import Manner
    from sensorium.api.writing import must_write, truth_texts
    from sensorium.data import Decoder
    from sensorium.report import write_generated

    manner = Manner(**asked)
    must_be_finished(args.run)
    model = answering(load(args.run, limits=limits), args.run)
    must_search(must_write(model.task).answers, asked)
    table, number = _row(args, model)
    decoder = Decoder(table, limits=limits, rates=model.rates)
    found = written_row(
        model.network, model.task, decoder, manner=model.manner(manner), hear=_hear if args.stream else None
    )
    target = model.task.target.column
    if number is not None and target in table.columns:
        found["truth"] = truth_texts(table.cells(target))[0]
    name = "generate.html" if number is None else f"generate-{number}.html"
    page = write_generated(found, Path(args.out) if args.out else Path(args.run) / name)
    args.progress.close()
    result = {"text": found["said"], **{k: found[k] for k in ("log_probability", "probabilities", "remarks")}, "page": str(page)}  # fmt: skip
    notes = [] if number is None else lacking(model, table)
    lines = [*_told(found, streamed=args.stream), *notes, *found["remarks"], f"picture: {page}"]  # type: ignore[misc]
    tell(args, result, lines)


def _hear(piece: str) -> None:
    """Print a piece of a text, at once."""
    print(piece, end="", flush=True)


def _told(found: Mapping, *, streamed: bool) -> list[str]:
    """The text, how likely it is, and the likeliest answers of a closed set. A text that was streamed stands there already."""
    likely = list(found["probabilities"].items())
    wide = max((len(a) for a, _ in likely[:LIKELIEST]), default=0)
    lines = ["" if streamed else found["said"], f"log-probability {found['log_probability']:.3f}"]
    lines += [f"  {a:<{wide}}  {p:.3f}" for a, p in likely[:LIKELIEST]]
    return lines + [f"  ({len(likely) - LIKELIEST} more answers)"] * (len(likely) > LIKELIEST)


def manner_asked(args: argparse.Namespace) -> dict[str, object]:
    """What was said of how texts are searched for: names of `api.writing.Manner` -> values."""
    names = ("beam", "alpha", "longest", "shortest", "temperature", "seed")
    asked = {n: getattr(args, n) for n in names if getattr(args, n) is not None}
    odd = set(asked) & ({"beam", "alpha"} if "temperature" in asked else {"seed"})
    if odd:
        raise InputError(
            "options that do not go together", got={n: asked[n] for n in sorted({*odd, *(LOT & set(asked))})},
            fix="--temperature and --seed draw by lot; --beam and --alpha look for the likeliest text",
        )  # fmt: skip
    return asked


def must_search(answers: tuple[str, ...], asked: Mapping[str, object]) -> None:
    """Raises InputError where a run that picks one of its closed set of answers is told how to search for a text."""
    if answers and asked:
        raise InputError(
            f"this run picks one of {len(answers)} answers; it searches for no text", got=dict(asked),
            fix="leave these options out, or fit with --column NAME=text:open=yes",
        )  # fmt: skip


def must_not_search(args: argparse.Namespace) -> None:
    """Raises InputError where a run that writes no texts is told how to search for one."""
    asked = manner_asked(args)
    if asked:
        raise InputError(
            "options of runs that write texts, which this one does not heed", got=[f"--{n}" for n in asked], fix="leave them out"
        )  # fmt: skip


def _must_fit_together(args: argparse.Namespace) -> None:
    """Raises InputError for options that would not be heeded."""
    given = [f"--{c}" for c in CARRIERS if getattr(args, c) is not None] + ["--ask"] * bool(args.ask)
    wrong, fix, got = "", "leave one of them out", given
    if args.data is not None and given:
        wrong, got = "either a row of a table, or inputs of your own", [args.data, *given]
    elif args.data is None and (args.row is not None or args.split is not None):
        wrong, fix = "a row needs its table", "sensorium generate RUN DATA --row ID"
        got = [f"--{n}" for n in ("row", "split") if getattr(args, n) is not None]
    elif args.stream and args.json:
        wrong, got = "--json prints one line at the end; --stream prints pieces", ["--stream", "--json"]
    elif args.stream and args.beam is not None and args.beam > 1:
        wrong, got = "a beam knows its text only at the end", ["--stream", f"--beam {args.beam}"]
    if wrong:
        raise InputError(wrong, got=got, fix=fix)


def _row(args: argparse.Namespace, model) -> tuple:
    """A table of the one row to write for, and its number (None for inputs given on the command line)."""
    from sensorium.api import read
    from sensorium.api.explaining import find_row
    from sensorium.store import Table

    if args.data is not None:
        table = read(args.data, split=args.split)
        number = find_row(table.ids, args.row or "0")
        return table.take([number]), number
    own = [m for m in model.task.modalities if not (m.carrier == "audio" and m.name != m.column)]
    columns = list(dict.fromkeys(c for m in own for c in m.column.split("\n")))
    cells = cells_of(args, own, columns)
    if not cells:
        words = [
            f"--{m.carrier} {'...' if m.carrier == 'text' else 'FILE'}" for m in own if m.carrier in CARRIERS
        ]
        raise InputError(
            "there is nothing to write from", got=args.run,
            fix=f"{', '.join(words) or f'--ask {columns[0]}=VALUE'}, or a table and --row ID",
        )  # fmt: skip
    return Table(data={n: [v] for n, v in cells.items()}, folder=Path.cwd()), None


def text_answers(args: argparse.Namespace, model, table) -> tuple[list, tuple[str, ...], list[str]]:
    """`predict` of a run that writes: predictions, the answers that get a column of probabilities, and notes.

    Raises InputError for options that the run does not heed.
    """
    from sensorium.api.texts import Manner
    from sensorium.api.writing import refuse, shortened
    from sensorium.data import Decoder

    answers, asked = model.task.target.wording.answers, manner_asked(args)
    must_search(answers, asked)
    refuse(model.task, "promises of what an answer is among", sets=args.sets, abstain=args.abstain)
    found = model.generate(table, manner=Manner(**asked), say=args.progress)
    notes = shortened(model.task, Decoder(table, limits=model.limits, rates=model.rates))
    return found, answers if len(answers) <= COLUMNS else (), notes
