"""The verbs: each calls the functions of `api`, and tells what came of it."""

import argparse
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from sensorium import __version__
from sensorium.cli.asked import columns_of, limits_of, memory_of, split_names
from sensorium.cli.finding import named_answers
from sensorium.cli.runs import (
    answering,
    lacking,
    must_be_finished,
    must_be_named,
    must_fit_together,
    trained_on,
)
from sensorium.cli.screen import (
    control_lines,
    duration,
    explanation_lines,
    interaction_lines,
    retrieval_lines,
    subset_lines,
    tell,
)
from sensorium.cli.writing import must_not_search, text_answers
from sensorium.types import InputError

TARGETS = ("digit", "sum")  # of the demo


class Stopped(Exception):  # noqa: N818 - no error: the user asked for it
    """Ctrl-C came while a model was trained; what was learned until then stands in the run folder."""


def fit(args: argparse.Namespace) -> None:
    """Train a model: sensorium fit DATA --target COLUMN -o RUN."""
    columns, limits = columns_of(args.column), limits_of(args.limit)
    must_fit_together(args)
    from sensorium.api import Matcher, Model

    shared = {
        "columns": columns, "size": args.size, "seed": args.seed, "minutes": args.minutes, "epochs": args.epochs, "limits": limits,
    }  # fmt: skip
    model: Matcher | Model
    if args.match:
        model = Matcher(
            split_names(args.match) or (), loss=args.loss, batch=args.batch, memory=memory_of(args.memory), init=args.init,
            lock=split_names(args.lock) or (), **shared,
        )  # fmt: skip
    else:
        model = Model(
            args.target, inputs=split_names(args.inputs), also=split_names(args.also) or (), fusion=args.fusion, group=args.group,
            balance=args.balance, teacher=args.teacher, steps=args.steps, **shared,
        )  # fmt: skip
    model.fit(args.data, valid=args.valid, out=args.out, say=args.progress)
    args.progress.close()
    lines = _match_lines if args.match else _fit_lines
    tell(args, model.metrics, lines(model.metrics, args.out))
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


def _match_lines(metrics: Mapping, run: str) -> list[str]:
    task, data, plan = (metrics[k] for k in ("task", "data", "plan"))
    filled = ", ".join(
        f"{i['name']} ({i['carrier']}, {data['present'][i['name']]:.0%})" for i in task["inputs"]
    )
    return [
        f"matched: {filled}",
        *data["warnings"],
        f"trained {plan['epochs']} epochs in {duration(plan['training_seconds'])}: {plan['stopped']}",
        *metrics["verdict"],
        *retrieval_lines(metrics),
        *[f"{d['what']}: {d['why']} ({d['fix']})" for d in metrics["diagnosis"]],
        f"run: {run} (open {Path(run) / 'report.html'})",
    ]


def predict(args: argparse.Namespace) -> None:
    """Answer every row of a table: sensorium predict RUN DATA -o predictions.csv."""
    limits, named = limits_of(args.limit), must_be_named(args)
    from sensorium.store import write_predictions
    from sensorium.store.paths import written_as

    written_as(args.out, "predictions")
    from sensorium.api import Model, load, read

    must_be_finished(args.run)
    if named:
        must_not_search(args)
        said = named_answers(args, limits)
        classes = tuple(next((p.probabilities for p in said if p.probabilities), {}))
        write_predictions(Path(args.out), said, classes=classes)
        args.progress.close()
        _answered(args, said, [])
        return
    model, table = load(args.run, limits=limits), read(args.data, split=args.split)
    if not isinstance(model, Model):
        raise InputError(
            "a run that matches columns answers by names",
            got=args.run,
            fix='name classes: --labels "cat,dog"',
        )
    if model.task.target.wording is not None:
        found, classes, notes = text_answers(args, model, table)
    else:
        must_not_search(args)
        found = model.predict(table, sets=args.sets, abstain=args.abstain, say=args.progress)
        classes, notes = model.classes, []
    write_predictions(Path(args.out), found, classes=classes, sets=args.sets is not None)
    args.progress.close()
    _answered(args, found, [*lacking(model, table), *notes])


def _answered(args: argparse.Namespace, found: Sequence, notes: Sequence[str]) -> None:
    bad = [p for p in found if p.error]
    lines = [f"{args.out}: {len(found)} rows, {len(bad)} of them with an error instead of an answer", *notes]
    lines += [f"  {p.id}: {p.error[:200]}" for p in bad[:3]] + ["  ..."] * (len(bad) > 3)
    tell(args, {"rows": len(found), "errors": len(bad), "file": args.out}, lines)
    if len(bad) == len(found):
        sys.exit(1)


def evaluate(args: argparse.Namespace) -> None:
    """Measure a model: figures with intervals, each input alone, every subset."""
    limits = limits_of(args.limit)
    from sensorium.api import Matcher, load

    described = must_be_finished(args.run)
    model = load(args.run, limits=limits)
    table, split, which = _measured(args)
    if isinstance(model, Matcher):
        found = model.evaluate(table, by=args.by, say=args.progress)
        args.progress.close()
        flattered = trained_on(described, args.fingerprint, split)
        tell(args, found, [f"{args.data}: {which}", *flattered, *found["verdict"], *retrieval_lines(found)])  # type: ignore[misc]
        return
    if args.by is not None:
        raise InputError("--by is for runs of `fit --match`", got=args.by, fix="leave it out")
    metrics = model.evaluate(table, say=args.progress)
    args.progress.close()
    notes = [
        *lacking(model, table),
        *trained_on(described, args.fingerprint, split),
        *metrics["warnings"],
        *[f"{metrics['skipped']} rows were skipped"] * bool(metrics["skipped"]),
    ]  # type: ignore[misc]
    figures = [*subset_lines(metrics), *control_lines(metrics)]
    tell(args, metrics, [f"{args.data}: {which}", *notes, *metrics["verdict"], *figures])  # type: ignore[misc]


def interactions(args: argparse.Namespace) -> None:
    """Say what the inputs tell one by one, what either tells, and what only together: redundancy, uniqueness, synergy."""
    limits = limits_of(args.limit)
    from sensorium.api import load
    from sensorium.report import write_report
    from sensorium.store import write_json

    described = must_be_finished(args.run)
    model = answering(load(args.run, limits=limits), args.run)
    table, split, which = _measured(args)
    found = model.interactions(table, say=args.progress)
    found = {"data": args.data, "split": split or "all", **found}
    write_json(Path(args.run) / "interactions.json", found)
    page = write_report(Path(args.run))
    args.progress.close()
    notes = [*trained_on(described, args.fingerprint, split), *found["remarks"]]
    tell(args, found, [f"{args.data}: {which}", *notes, *interaction_lines(found), f"picture: {page}"])


def explain(args: argparse.Namespace) -> None:
    """Say why one row got its answer: what each input added, and where in it."""
    limits = limits_of(args.limit)
    from sensorium.api import load
    from sensorium.report import write_explanation

    must_be_finished(args.run)
    model = answering(load(args.run, limits=limits), args.run)
    table, _, _ = _measured(args)
    found = model.explain(table, args.row, answer=args.answer, say=args.progress)
    page = write_explanation(
        found, Path(args.out) if args.out else Path(args.run) / f"explain-{found['row']}.html"
    )
    args.progress.close()
    tell(args, found | {"page": str(page)}, [*explanation_lines(found), f"picture: {page}"])


def _measured(args: argparse.Namespace) -> tuple:
    """The table that a verb looks at, its split ("" for all rows), and both in words: test rows where there are some."""
    from sensorium.api import read

    table = read(args.data)
    test = table.split("test")
    split = args.split or ("test" if test is not None and len(test) else "")
    args.fingerprint = table.fingerprint()
    return read(table, split=split or None), split, f"the rows of split {split!r}" if split else "all rows"


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
