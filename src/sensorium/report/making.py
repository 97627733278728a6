"""How it was made and what to do next: plan, machine, versions, and the commands that go with the run."""

import re
import shlex
from collections.abc import Iterator, Mapping

from sensorium.report.data import modalities_of
from sensorium.report.markup import (
    Html,
    count,
    duration,
    folded,
    join,
    listed,
    mapping,
    note,
    number,
    pairs,
    rows_of,
    several,
    tag,
)

NAMES = {"lr": "learning rate", "memory_gb": "memory, GB", "disk_free_gb": "free disk, GB"}
IN_MEMORY = (
    "Python",
    "pandas",
    "polars",
    "pyarrow",
    "datasets",
)  # what `read` calls tables that are no files
NEW = "NEW.csv"  # stands for a table of the reader's own
HELD = "VALID.csv"  # and for the one that validation rows came from


def making(metrics: Mapping, model: Mapping) -> Html:
    """Plan, machine and versions."""
    plan, machine = _plan(metrics, model), _facts(mapping(metrics.get("machine")))
    versions = _facts(
        {**mapping(model.get("versions")), **({"sensorium": model["sensorium"]} if model.get("sensorium") else {})}
    )  # fmt: skip
    recipe = _facts(mapping(model.get("recipe")) or mapping(model.get("plan")))
    parts = [("Plan", plan), ("Machine and versions", {**machine, **versions})]
    shown = [tag("div", tag("h3", t), pairs(f, t)) for t, f in parts if f]
    more = folded("Every number of the recipe", pairs(recipe, "recipe")) if recipe else None
    return join(tag("div", *shown, class_="two") if shown else note("Not recorded."), more)


def _plan(metrics: Mapping, model: Mapping) -> dict[str, str]:
    """The plan in the words of a reader, then whatever else was recorded."""
    plan = dict(mapping(metrics.get("plan")))
    asked = mapping(mapping(model.get("mark")).get("asked"))
    epochs, minutes = number(asked.get("epochs")), number(asked.get("minutes") or plan.pop("minutes", None))
    facts = {"size": plan.pop("size", None), "parameters": plan.pop("parameters", None)}
    if asked or minutes:
        facts["budget"] = (
            several(epochs, "epoch") if epochs else f"{minutes:g} min" if minutes else "5 min, the default"
        )
    taken, planned = (number(plan.pop(k, None)) for k in ("steps", "planned_steps"))
    if taken is not None:
        cut = planned is not None and planned != taken
        facts["steps taken"] = f"{count(taken)} of {count(planned)} planned" if cut else count(taken)
    plan.pop("minutes", None)
    plan.pop("stopped", None)  # told with the curves
    times = {"training time": plan.pop("training_seconds", None), "whole run": plan.pop("seconds", None)}
    return {
        **_facts({**facts, **plan}),
        **{k: duration(v) for k, v in times.items() if number(v) is not None},
    }


def _facts(found: Mapping) -> dict[str, str]:
    return {
        NAMES.get(str(k), str(k).replace("_", " ")): _fact(str(k), v)
        for k, v in found.items()
        if not isinstance(v, Mapping) and v not in (None, "", [])
    }


def _fact(name: str, value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if name in ("parameters", "steps", "batch"):
        return count(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def commands(metrics: Mapping, model: Mapping, folder: str, *, decomposed: bool = True) -> Html:
    """What to type next, each with its reason; the command that made the run last.

    decomposed: whether it is known what the inputs tell together; else the command that finds out is given.
    """
    found = [
        tag("li", tag("p", why), command(line))
        for why, line in _next(metrics, model, folder, decomposed=decomposed)
    ]
    return tag("ul", *found, class_="commands")


def command(line: str) -> Html:
    """A command to copy, in a box."""
    return tag("pre", tag("code", *_words(line)), tabindex="0")


def _words(line: str) -> Iterator[Html | str]:
    """A command whose options are never broken behind a hyphen."""
    for part in re.split(r"((?<= )-+[a-z]+)", line):
        yield tag("span", part, class_="option") if part.startswith("-") else part


def _next(metrics: Mapping, model: Mapping, folder: str, *, decomposed: bool) -> Iterator[tuple[str, str]]:
    run, source = shlex.quote(folder), _source(metrics)
    yield "Answer the rows of a new table:", f"sensorium predict {run} {NEW} -o predictions.csv"
    doubt = (
        " The figures above come from the rows by which fusion and the end of training were chosen, which flatters a little."
        if mapping(metrics.get("scores"))
        else ""
    )
    yield (
        f"Measure it on rows that had no part in any choice.{doubt} Where the table has no rows with split = test, name another one:",
        f"sensorium evaluate {run} {shlex.quote(source)} --split test"
        if source
        else f"sensorium evaluate {run} {NEW}",
    )
    table = shlex.quote(source) if source else NEW
    yield (
        "Ask why one row got its answer, as a page with pictures:",
        f"sensorium explain {run} {table} --row 0",
    )
    if not decomposed and len(modalities_of(metrics)) > 1:
        yield (
            "Find out what the inputs tell one by one and what only together; the picture is added here:",
            f"sensorium interactions {run} {table}",
        )
    made, asked = fit_command(metrics, model, folder), mapping(mapping(model.get("mark")).get("asked"))
    if made:
        minutes = 10.0 if number(asked.get("epochs")) else 4 * (number(asked.get("minutes")) or 5.0)
        longer = fit_command(metrics, model, f"{folder.rstrip('/')}-longer", minutes=minutes)
        yield "Train for longer, in a folder of its own; it ends early where validation stands still:", longer
    yield "From Python:", f'import sensorium as sm\nanswers = sm.load({folder!r}).predict(sm.read("{NEW}"))'
    if made:
        held = (
            f" ({HELD} stands for the table of validation rows, whose name is not recorded)"
            if HELD in made
            else ""
        )
        yield f"The command that made this run{held}; typed again it changes nothing:", made


def _source(metrics: Mapping) -> str:
    """The table's path as it was given; "" for a table that was made in memory."""
    source = str(mapping(metrics.get("data")).get("source") or "")
    return "" if source in IN_MEMORY else source


def fit_command(metrics: Mapping, model: Mapping, folder: str, *, minutes: float | None = None) -> str:
    """The `sensorium fit` that asks what this run was asked, or "" where that is not known."""
    mark, source = mapping(model.get("mark")), _source(metrics)
    asked = mapping(mark.get("asked"))
    if not asked.get("target") or not source:
        return ""
    words = ["sensorium", "fit", source, "--target", str(asked["target"])]
    words += ["--valid", HELD] if mark.get("valid") else []
    for name in ("inputs", "also"):
        words += [f"--{name}", ",".join(map(str, listed(asked.get(name))))] if asked.get(name) else []
    for column, kind in mapping(asked.get("columns")).items():
        words += ["--column", f"{column}={kind}"]
    for name in ("group", "size"):
        words += [f"--{name}", str(asked[name])] if asked.get(name) else []
    words += ["--fusion", str(asked["fusion"])] if asked.get("fusion", "auto") != "auto" else []
    words += ["--seed", str(asked["seed"])] if asked.get("seed") else []
    if minutes is not None:
        words += ["--minutes", f"{minutes:g}"]
    else:
        for name in ("minutes", "epochs"):
            words += [f"--{name}", f"{number(asked[name]):g}"] if number(asked.get(name)) else []
    return shlex.join([*words, "-o", folder])


def search_commands(metrics: Mapping, model: Mapping, folder: str) -> Html:
    """What to type next with a run of matched columns, each with its reason."""
    run, source = shlex.quote(folder), shlex.quote(_source(metrics) or NEW)
    names = [str(n) for n in listed(mapping(metrics.get("task")).get("match"))]
    kinds = {
        str(i.get("name")): str(i.get("carrier")) for i in rows_of(mapping(metrics.get("task")).get("inputs"))
    }
    words = next((n for n in names if kinds.get(n) == "text"), None)
    asked = '--text "..."' if words else f"--{next(iter(kinds.values()), 'image')} FILE"
    found = [
        ("Put a table into an index, to search in it:", f"sensorium index {run} {source} -o catalog"),
        ("Search it with words, a picture, a sound, or several of them; a page shows what was found:", f"sensorium search catalog {asked} -k 10"),
        ("Measure it on rows that had no part in any choice:", f"sensorium evaluate {run} {source} --split test"),
        ("Vectors for a program of your own:", f"sensorium embed {run} {source} -o vectors.npz"),
    ]  # fmt: skip
    if words:
        found.append(
            (
                "Sort rows by words that were never a target (zero-shot):",
                f'sensorium predict {run} {source} --labels "cat,dog" -o predictions.csv',
            )
        )
    made = match_command(metrics, model, folder)
    if made:
        found.append(("The command that made this run; typed again it changes nothing:", made))
    return tag("ul", *(tag("li", tag("p", why), command(line)) for why, line in found), class_="commands")


def match_command(metrics: Mapping, model: Mapping, folder: str) -> str:
    """The `sensorium fit --match` that asks what this run was asked, or "" where that is not known."""
    mark, source = mapping(model.get("mark")), _source(metrics)
    asked = mapping(mark.get("asked"))
    if not asked.get("match") or not source:
        return ""
    words = ["sensorium", "fit", source, "--match", ",".join(map(str, listed(asked["match"])))]
    words += ["--valid", HELD] if mark.get("valid") else []
    for column, kind in mapping(asked.get("columns")).items():
        words += ["--column", f"{column}={kind}"]
    for name in ("size", "init"):
        words += [f"--{name}", str(asked[name])] if asked.get(name) else []
    words += ["--loss", str(asked["loss"])] if asked.get("loss", "softmax") != "softmax" else []
    words += ["--lock", ",".join(map(str, listed(asked["lock"])))] if asked.get("lock") else []
    for name in ("memory", "seed", "minutes", "epochs"):
        words += [f"--{name}", f"{number(asked[name]):g}"] if number(asked.get(name)) else []
    return shlex.join([*words, "-o", folder])
