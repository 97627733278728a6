"""What is asked of a run before it is used, and what is said about the rows it is used on."""

import argparse
from collections.abc import Mapping
from pathlib import Path

from sensorium.types import InputError

OF_TARGET = {
    "inputs": None,
    "also": None,
    "group": None,
    "teacher": None,
    "steps": None,
    "fusion": "auto",
    "balance": "guarded",
}
OF_MATCH = {"loss": "softmax", "batch": 0, "init": None, "lock": None, "memory": None}


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


def must_fit_together(args: argparse.Namespace) -> None:
    """Raises InputError where `fit` was given an option that its kind of run would not heed."""
    kind, other, foreign = (
        ("--match", "--target", OF_TARGET) if args.match else ("--target", "--match", OF_MATCH)
    )
    odd = [f"--{name}" for name, usual in foreign.items() if getattr(args, name, usual) != usual]
    if odd:
        raise InputError(f"options of {other}, which {kind} does not heed", got=odd, fix="leave them out")


def must_be_named(args: argparse.Namespace) -> bool:
    """Whether `predict` sorts among names. Raises InputError for options that its kind of answer would not heed."""
    named = bool(args.labels or args.shots)
    asked = {"--templates": args.templates, "--target": args.target}
    if named:
        asked = {"--sets": args.sets, "--abstain": args.abstain} | (
            {} if args.shots else {"--target": args.target}
        )
    odd = [name for name, value in asked.items() if value is not None]
    if odd:
        fix = "leave them out" if named else "give --labels or --shots as well, or leave them out"
        if odd == ["--target"]:
            fix = "give --shots, whose column it names, or leave it out"
        raise InputError("options that do not go with this kind of answer", got=odd, fix=fix)
    return named


def answering(model, run: str):
    """The model of a run that answers a target. Raises InputError for one of `--match`."""
    if not hasattr(model, "explain"):
        raise InputError(
            "the run matches columns; it answers no target", got=run, fix="give a run of `fit --target`"
        )
    return model


def trained_on(described: Mapping, fingerprint: str, split: str) -> list[str]:
    """A line where the rows that are measured are those of training."""
    mark = described.get("mark")
    same = isinstance(mark, Mapping) and mark.get("data") == fingerprint
    if not same or split in ("test", "valid"):
        return []
    return ["these rows, or most of them, are those that it was trained on: the figures flatter it"]


def lacking(model, table) -> list[str]:
    """A line where the table lacks input columns: that is allowed, but a renamed column looks the same."""
    wanted = dict.fromkeys(c for m in model.task.modalities for c in m.column.split("\n"))
    gone = [c for c in wanted if c not in table.columns]
    return [f"no column {', '.join(gone)}: counted as empty in every row"] if gone else []
