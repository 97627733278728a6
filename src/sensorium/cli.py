"""`sensorium VERB`: one verb for each public function, and nothing that Python cannot do. No torch until a verb runs."""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from pathlib import Path

from sensorium import __version__
from sensorium.types import InputError, Limits

SIZES = ("nano", "small", "base")
FUSIONS = ("auto", "early", "mid", "late", "tensor")
TARGETS = ("digit", "sum")  # of the demo
RAW = argparse.RawDescriptionHelpFormatter  # the lines of an epilog stay lines
EPILOG = """\
start here:
  sensorium demo                                           four minutes, nothing to prepare
  sensorium fit TABLE.csv --target COLUMN -o RUN           then open RUN/report.html
  sensorium predict RUN NEW.csv -o predictions.csv
  sensorium VERB --help

exit codes: 0 fine; 1 no row could be answered; 2 a mistake that you can mend, told on stderr and with --json
on stdout as well; 130 Ctrl-C."""
EXAMPLES = {
    "demo": "sensorium demo --minutes 2",
    "fit": """sensorium fit reviews.csv --target stars -o run
  sensorium fit beats.csv --target label --column heart=series:rate=360 --group patient --minutes 20 -o run

Ctrl-C ends the training and leaves a finished run; after a crash the same command goes on where it was.
Kinds for --column: text image audio video series points number category, or ignore; for the target category,
labels (several in a cell, a|b) or number.""",
    "predict": "sensorium predict run new.csv -o predictions.csv",
    "evaluate": """sensorium evaluate run reviews.csv

Without --split the rows marked test are measured where the table has some, else all rows.""",
    "report": "sensorium report run",
    "doctor": "sensorium doctor --json",
}


class Stopped(Exception):  # noqa: N818 - no error: the user asked for it
    """Ctrl-C came while a model was trained; what was learned until then stands in the run folder."""


class Progress:
    """Long work on stderr: stage, bar, time left, figures; one line that changes, or a few lines where it is no terminal."""

    def __init__(self, quiet: bool):
        self.quiet, self.stage, self.began, self.shown, self.first = quiet, "", 0.0, 0.0, 0.0
        self.stages: set[str] = set()
        self.live = not quiet and sys.stderr.isatty()

    def __call__(self, stage: str, done: float, text: str) -> None:
        """Show that `stage` is `done` (0..1)."""
        now = time.monotonic()
        if stage != self.stage:
            self.close()
            self.stage, self.began, self.shown = stage, now, 0.0
            self.first = (
                done  # a run that goes on starts in the middle: what was done before took none of this time
            )
            self.stages.add(stage)
        if self.quiet or (self.shown and now - self.shown < (0.2 if self.live else 20.0) and done < 1):
            return
        self.shown = now
        moved = done - self.first
        left = (now - self.began) * (1 - done) / moved if 0.02 < moved and done < 1 else None
        bar = "#" * round(24 * done)
        line = f"{stage:<24} [{bar:<24}] {'' if left is None else f'{duration(left)} left':>11}  {text}"
        if self.live:
            print(
                f"\r{line[: shutil.get_terminal_size().columns - 1]}\x1b[K",
                end="",
                file=sys.stderr,
                flush=True,
            )
        else:
            print(line.rstrip(), file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the line, so that what follows starts on a new one."""
        if self.live and self.stage:
            print(file=sys.stderr, flush=True)
        self.stage = ""


def duration(seconds: float) -> str:
    """Seconds as people say them: `42 s`, `3 min 05 s`."""
    whole = round(seconds)
    return f"{whole} s" if whole < 90 else f"{whole // 60} min {whole % 60:02d} s"


def split_names(text: str | None) -> list[str] | None:
    """`A,B` as a list; None where nothing was said."""
    return [n.strip() for n in text.split(",") if n.strip()] if text else None


def limits_of(said: Iterable[str]) -> Limits:
    """Apply `--limit NAME=NUMBER`. Raises InputError for an unknown name and for what is no number above zero."""
    limits, names = Limits(), [f.name for f in fields(Limits)]
    for text in said:
        name, _, value = text.partition("=")
        if name not in names:
            raise InputError("no such limit", got=text, fix=f"one of {', '.join(names)}")
        try:
            number = int(float(value))
        except (ValueError, OverflowError):
            number = 0
        if number < 1:
            raise InputError("a limit is a number above zero", got=text, fix=f"--limit {name}=1e9")
        limits = replace(limits, **{name: number})
    return limits


def columns_of(said: Iterable[str]) -> dict[str, str]:
    """`--column NAME=KIND:opt=value` as name -> the rest."""
    found: dict[str, str] = {}
    for text in said:
        name, _, kind = (part.strip() for part in text.partition("="))
        if not name or not kind:
            raise InputError("a column needs a kind", got=text, fix="--column NAME=KIND[:opt=value,...]")
        found[name] = kind
    return found


def tell(args: argparse.Namespace, value: object, lines: Iterable[str]) -> None:
    """Print a result: JSON on one line where `--json` is given, else lines for people."""
    if args.json:
        from sensorium.store.runs import plain

        unicode = (sys.stdout.encoding or "").lower().startswith("utf")
        print(json.dumps(plain(value), ensure_ascii=not unicode))
    else:
        print("\n".join(lines))


def interval(score: Mapping[str, float]) -> str:
    """A figure with its interval."""
    return f"{score['value']:.3f}  [{score['low']:.3f}, {score['high']:.3f}]"


def subset_lines(metrics: Mapping, *, most: int = 16) -> list[str]:
    """One line for each subset of the inputs, the figure over the rows that have all of it.

    Of more than `most` subsets those between one input and all but one are counted only.
    """
    from sensorium.report.markup import several, subset_name

    subsets = metrics["subsets"]
    names = list(dict.fromkeys(n for s in subsets for n in s["modalities"]))
    shown = [s for s in subsets if len(subsets) <= most or not 1 < len(s["modalities"]) < len(names) - 1]
    found = [(subset_name(s["modalities"], names) if len(subsets) > most else " + ".join(s["modalities"]), s) for s in shown]  # fmt: skip
    wide = max((len(name) for name, _ in found), default=0)
    lines = [f"  {name:<{wide}}  {interval(s['score'])}  {several(s['rows'], 'row')}" for name, s in found]
    hidden = len(subsets) - len(shown)
    return lines + [f"  ({hidden} subsets in between: --json has them)"] * bool(hidden)


def fit(args: argparse.Namespace) -> None:
    """Train a model: sensorium fit DATA --target COLUMN -o RUN."""
    columns, limits = columns_of(args.column), limits_of(args.limit)
    from sensorium.api import Model

    model = Model(
        args.target, inputs=split_names(args.inputs), also=split_names(args.also) or (), columns=columns, size=args.size,
        fusion=args.fusion, seed=args.seed, minutes=args.minutes, epochs=args.epochs, group=args.group, limits=limits,
    )  # fmt: skip
    model.fit(args.data, valid=args.valid, out=args.out, say=args.progress)
    args.progress.close()
    tell(args, model.metrics, _fit_lines(model.metrics, args.out))
    why = str(model.metrics["plan"]["stopped"])  # type: ignore[index]
    now = "train" in args.progress.stages  # not in an earlier call of the same command
    if now and why.startswith("stopped by the user"):
        raise Stopped(args.out)


def _fit_lines(metrics: Mapping, run: str) -> list[str]:
    task, data, plan, fusion = (metrics[k] for k in ("task", "data", "plan", "fusion"))
    filled = ", ".join(
        f"{i['name']} ({i['carrier']}, {data['present'][i['name']]:.0%})" for i in task["inputs"]
    )
    return [
        f"inputs: {filled}; target: {task['target']} ({task['kind']})",
        *data["warnings"],
        f"trained {plan['epochs']} epochs in {duration(plan['training_seconds'])}: {plan['stopped']}",
        *metrics.get("verdict", []),
        *subset_lines(metrics),
        f"fusion: {fusion['chosen']}: {fusion['reason']}",
        f"run: {run} (open {Path(run) / 'report.html'})",
    ]


def predict(args: argparse.Namespace) -> None:
    """Answer every row of a table: sensorium predict RUN DATA -o predictions.csv."""
    limits = limits_of(args.limit)
    from sensorium.api import load, read
    from sensorium.store import write_predictions

    must_be_finished(args.run)
    model, table = load(args.run, limits=limits), read(args.data, split=args.split)
    found = model.predict(table, say=args.progress)
    write_predictions(Path(args.out), found, classes=model.classes)
    args.progress.close()
    bad = [p for p in found if p.error]
    lines = [f"{args.out}: {len(found)} rows, {len(bad)} of them with an error instead of an answer"]
    lines += lacking(model, table)
    lines += [f"  {p.id}: {p.error[:200]}" for p in bad[:3]] + ["  ..."] * (len(bad) > 3)
    tell(args, {"rows": len(found), "errors": len(bad), "file": args.out}, lines)
    if len(bad) == len(found):
        sys.exit(1)


def evaluate(args: argparse.Namespace) -> None:
    """Measure a model: figures with intervals, each input alone, every subset."""
    limits = limits_of(args.limit)
    from sensorium.api import load, read

    described = must_be_finished(args.run)
    model, table = load(args.run, limits=limits), read(args.data)
    test = table.split("test")
    split = args.split or ("test" if test is not None and len(test) else None)
    metrics = model.evaluate(read(table, split=split), say=args.progress)
    args.progress.close()
    which = f"the rows of split {split!r}" if split else "all rows"
    notes = [
        *lacking(model, table),
        *trained_on(described, table, split),
        *metrics["warnings"],
        *[f"{metrics['skipped']} rows were skipped"] * bool(metrics["skipped"]),
    ]  # type: ignore[misc]
    tell(args, metrics, [f"{args.data}: {which}", *notes, *metrics["verdict"], *subset_lines(metrics)])  # type: ignore[misc]


def must_be_finished(run: str) -> Mapping:
    """The description of a run. Raises InputError for one that was killed: its weights are not those it learned."""
    from sensorium.store import read_json

    path = Path(run) / "model.json"
    described = read_json(path) if path.is_file() else {}  # `load` says what is wrong with another folder
    if isinstance(described, Mapping) and described.get("complete") is False:
        raise InputError(
            "the run is not finished", got=run, fix="the `sensorium fit` that began it, typed again, goes on"
        )
    return described if isinstance(described, Mapping) else {}


def trained_on(described: Mapping, table, split: str | None) -> list[str]:
    """A line where the rows that are measured are those of training."""
    mark = described.get("mark")
    same = isinstance(mark, Mapping) and mark.get("data") == table.fingerprint()
    if not same or split in ("test", "valid"):
        return []
    return ["these rows, or most of them, are those that it was trained on: the figures flatter it"]


def lacking(model, table) -> list[str]:
    """A line where the table lacks input columns: that is allowed, but a renamed column looks the same."""
    wanted = dict.fromkeys(c for m in model.task.modalities for c in m.column.split("\n"))
    gone = [c for c in wanted if c not in table.columns]
    return [f"no column {', '.join(gone)}: counted as empty in every row"] if gone else []


def doctor(args: argparse.Namespace) -> None:
    """Say what this machine can do, what is installed, and what was chosen."""
    from sensorium.health import doctor as examine
    from sensorium.health import shown

    found = examine()
    tell(args, found, shown(found, width=min(120, shutil.get_terminal_size((100, 24)).columns)))


def report(args: argparse.Namespace) -> None:
    """Write report.html of a run again."""
    from sensorium.report import write_report

    path = write_report(Path(args.run))
    tell(args, {"file": str(path)}, [str(path)])


def version(args: argparse.Namespace) -> None:
    """Print the version."""
    tell(args, {"sensorium": __version__}, [__version__])


def demo(args: argparse.Namespace) -> None:
    """The main job on embedded data: seen and heard digits, with holes, from files to a report."""
    from sensorium.demo import run_demo

    targets = (args.target,) if args.target else TARGETS
    found = run_demo(Path(args.out), targets=targets, minutes=args.minutes, say=args.progress)
    args.progress.close()
    tell(args, found, found["lines"])  # type: ignore[arg-type]


def _verb(verbs, name: str, run: Callable[[argparse.Namespace], None]) -> argparse.ArgumentParser:
    """Add a verb with the options that all verbs have."""
    told = str(run.__doc__)
    example = f"example:\n  {EXAMPLES[name]}" if name in EXAMPLES else None
    brief = told.partition(":")[0].rstrip(".") if "sensorium" in told else told.rstrip(".")
    verb = verbs.add_parser(
        name, help=brief[0].lower() + brief[1:], description=told, epilog=example, formatter_class=RAW
    )
    verb.add_argument("--json", action="store_true", help="print the result as JSON on one line")
    verb.add_argument("--quiet", action="store_true", help="show no progress")
    verb.set_defaults(run_verb=run)
    return verb


def _limits(verb: argparse.ArgumentParser) -> None:
    text = f"raise what one cell may hold: {', '.join(f.name for f in fields(Limits))}; repeatable"
    verb.add_argument("--limit", action="append", default=[], metavar="NAME=N", help=text)


def _demo_options(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "-o",
        "--out",
        metavar="FOLDER",
        default="sensorium-demo",
        help="folder to write (default: sensorium-demo)",
    )
    verb.add_argument("--target", choices=TARGETS, help="only this question (default: both)")
    verb.add_argument(
        "--minutes", type=float, default=4.0, metavar="M", help="training time of all questions (default: 4)"
    )


def _fit_options(verb: argparse.ArgumentParser) -> None:
    add = verb.add_argument
    add("data", metavar="DATA", help="table (.csv .tsv .jsonl .parquet .arrow) or folder")
    add("--target", required=True, metavar="COL", help="the column to answer")
    add("--inputs", metavar="A,B", help="the columns that go in (default: all others)")
    add("--also", metavar="A,B", help="further target columns that only help training")
    add(
        "--column", action="append", default=[], metavar="NAME=KIND[:opt=value,...]",
        help="say what a column holds where the guess from its cells is wrong; repeatable",
    )  # fmt: skip
    add("--valid", metavar="DATA", help="validation rows (default: split = valid, or a cut of the rows)")
    add(
        "--group",
        metavar="COLUMN",
        help="rows with the same value (a person, a device) stay on one side of the cut",
    )
    add("--size", choices=SIZES, help="of the network (default: nano without a GPU, else small)")
    budget = verb.add_mutually_exclusive_group()
    budget.add_argument(
        "--minutes", type=float, metavar="M", help="at most so much training (default: about 5)"
    )
    budget.add_argument(
        "--epochs", type=int, metavar="N", help="a fixed number of passes over the rows instead"
    )
    add(
        "--fusion",
        default="auto",
        choices=FUSIONS,
        help="how inputs meet; auto chooses on validation rows and may count simple models in (default)",
    )
    add("--seed", type=int, default=0, metavar="S", help="seed of everything random (default: 0)")
    add("-o", "--out", required=True, metavar="RUN", help="run folder; the same command continues it")
    _limits(verb)


def _use_options(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("run", metavar="RUN", help="folder that `fit` wrote")
    verb.add_argument("data", metavar="DATA", help="table or folder")
    verb.add_argument("--split", metavar="NAME", help="only the rows of this split")
    _limits(verb)


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    about = "Any columns in, any column out: one honest model for tables of any media."
    top = argparse.ArgumentParser("sensorium", description=about, epilog=EPILOG, formatter_class=RAW)
    top.add_argument("--version", action="version", version=__version__, help="print the version")
    verbs = top.add_subparsers(required=True, metavar="VERB", title="verbs")
    _demo_options(_verb(verbs, "demo", demo))
    _fit_options(_verb(verbs, "fit", fit))
    asked = _verb(verbs, "predict", predict)
    _use_options(asked)
    asked.add_argument(
        "-o", "--out", required=True, metavar="FILE", help="predictions: .csv, .jsonl or .parquet"
    )
    _use_options(_verb(verbs, "evaluate", evaluate))
    _verb(verbs, "report", report).add_argument("run", metavar="RUN", help="folder that `fit` wrote")
    _verb(verbs, "doctor", doctor)
    _verb(verbs, "version", version)
    return top


def main(argv: list[str] | None = None) -> None:
    """Run one verb. Exit codes: 0 fine, 1 no row could be answered, 2 input that the user can mend, 130 Ctrl-C."""
    args = parser().parse_args(argv)
    args.progress = Progress(args.quiet or args.json)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(
                errors="backslashreplace"
            )  # a terminal that lacks a letter is no reason to fail
    try:
        args.run_verb(args)
        sys.stdout.flush()
    except InputError as error:  # a bug keeps its traceback; a mistake gets one clear message
        args.progress.close()
        if args.json:
            print(json.dumps({"error": {"wrong": error.wrong, "got": str(error.got), "fix": error.fix}}))
        print(f"sensorium: {error}", file=sys.stderr)
        sys.exit(2)
    except Stopped as stopped:
        usable = f"{stopped} is usable as it is, and complete: `sensorium predict {stopped} DATA -o FILE`"
        print(f"sensorium: stopped; {usable}", file=sys.stderr)
        sys.exit(130)
    except KeyboardInterrupt:
        args.progress.close()
        print("sensorium: stopped; the same command starts again, or continues a run", file=sys.stderr)
        sys.exit(130)
    except (
        BrokenPipeError
    ):  # the reader, `head` say, has what it wanted; keep Python's own last flush quiet too
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
