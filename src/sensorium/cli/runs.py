"""What is asked of a run before it is used, and what is said about the rows it is used on."""

from collections.abc import Mapping
from pathlib import Path

from sensorium.types import InputError


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
