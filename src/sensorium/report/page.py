"""The page: sections in order, a head that lets nothing in from outside, and nothing that needs a script."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sensorium.report import matched, written
from sensorium.report.balance import balance
from sensorium.report.confidence import calibration
from sensorium.report.controls import controls
from sensorium.report.data import card, modalities_of
from sensorium.report.examples import hardest
from sensorium.report.interactions import interactions
from sensorium.report.learning import curves, fusion
from sensorium.report.making import commands, making, search_commands
from sensorium.report.markup import Html, join, mapping, named, note, plain_text, rows_of, several, tag
from sensorium.report.promises import promises
from sensorium.report.results import mistakes, subsets
from sensorium.report.robust import corruptions
from sensorium.report.scores import KINDS, floors, hero
from sensorium.report.style import STYLE

POLICY = (
    "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"  # no script, no network
)
NAMED = {  # shorter names, where there is little room
    "controls": "Wrong inputs",
    "corruption": "Sensor failures",
    "interactions": "Together",
    "calibration": "Calibration",
    "next": "Next",
    "figures": "Baselines",
    "looks": "Where it looked",
    "losses": "With less",
}
OFFLINE = "One file, no network, no script: it can be mailed and opened anywhere."
WAVE = "M2 12c2.5 0 2.5-7 5-7s2.5 14 5 14 2.5-10 5-10 2.5 3 5 3"


Sections = list[tuple[str, str, Html]]  # anchor, title, content


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What the files of a run folder say; a missing file is an empty value."""

    metrics: Mapping
    history: Sequence[Mapping] = ()
    examples: Sequence[Mapping] = ()
    quarantine: Sequence[Mapping] = ()
    model: Mapping = field(default_factory=dict)
    interactions: Mapping = field(default_factory=dict)
    remarks: Sequence[str] = ()  # files that could not be read
    folder: str = "RUN"  # as the user named it, for the commands


def page(run: Run) -> str:
    """The whole report as HTML."""
    metrics = run.metrics
    task = mapping(metrics.get("task"))
    if task.get("kind") == "match":
        return _laid_out(run, _matched(run), matched.title(metrics), matched.result(metrics))
    if task.get("kind") == "text":
        title = _title(metrics, str(task.get("target") or "text"), verb="Writing")
        return _laid_out(run, _written(run), title, written.hero(metrics))
    sections = _answered(run, task)
    return _laid_out(run, sections, _title(metrics, str(task.get("target") or "run")), hero(metrics))


def _matched(run: Run) -> Sections:
    metrics = run.metrics
    return [
        ("directions", "Found and not found", join(matched.weights(metrics), matched.directions(metrics))),
        ("searches", "Searches", matched.searches(run.examples)),
        ("diagnosis", "What stood in the way", matched.diagnosis(metrics)),
        ("data", "Data", join(card(metrics, run.quarantine, run.model), matched.things(metrics))),
        ("learning", "Learning", curves(metrics, run.history)),
        ("making", "How it was made", making(metrics, run.model)),
        ("next", "What to do next", search_commands(metrics, run.model, run.folder)),
    ]


def _written(run: Run) -> Sections:
    metrics = run.metrics
    return [
        ("figures", "Beside the baselines", written.figures(metrics)),
        ("examples", "What it writes", written.examples(run.examples)),
        ("looks", "Where it looked, word by word", written.looks(run.examples)),
        ("losses", "What is lost with less", written.losses(metrics)),
        ("steps", "Reasoning steps", written.steps(metrics, run.examples)),
        ("data", "Data", card(metrics, run.quarantine, run.model)),
        ("learning", "Learning", curves(metrics, run.history)),
        ("making", "How it was made", making(metrics, run.model)),
        ("next", "What to do next", commands(metrics, run.model, run.folder)),
    ]


def _answered(run: Run, task: Mapping) -> Sections:
    metrics, wrong = run.metrics, controls(run.metrics)
    thought = written.steps(metrics, run.examples) if rows_of(metrics.get("steps")) else None
    return [
        ("floors", "Beside the floors", floors(metrics)),
        ("data", "Data", card(metrics, run.quarantine, run.model)),
        ("subsets", "With fewer inputs", subsets(metrics)),
        *([("controls", "With wrong inputs", wrong)] if wrong else []),
        *([("steps", "Reasoning steps", thought)] if thought else []),
        ("corruption", "When a sensor fails", corruptions(metrics)),
        ("interactions", "What the inputs tell together", interactions(run.interactions)),
        ("mistakes", "Mistakes", mistakes(metrics)),
        ("examples", "Hardest rows", hardest(run.examples, str(task.get("kind")))),
        (
            "calibration",
            "Can its confidence be trusted?",
            join(calibration(metrics), promises(metrics, run.folder)),
        ),
        ("learning", "Learning", join(curves(metrics, run.history), balance(metrics, run.history))),
        ("fusion", "Fusion", fusion(metrics)),
        ("making", "How it was made", making(metrics, run.model)),
        (
            "next",
            "What to do next",
            commands(metrics, run.model, run.folder, decomposed=bool(run.interactions)),
        ),
    ]


def _laid_out(run: Run, sections: Sections, title: Html, top: Html) -> str:
    metrics = run.metrics
    shown = [s for s in sections if s[2]]
    links = [tag("li", tag("a", NAMED.get(key, title), href=f"#{key}")) for key, title, _ in shown]
    body = [tag("section", tag("h2", title), content, id=key) for key, title, content in shown]
    return document(
        f"{plain_text(title)}: Sensorium report",
        tag("header", brand("Sensorium report"), tag("h1", title), _subtitle(metrics)), tag("nav", tag("ul", *links), aria_label="Sections"),
        *(tag("p", r, class_="warn") for r in run.remarks), tag("section", tag("h2", "Result", class_="unseen"), top, id="result"), *body,
        tag("footer", *_left_out(sections), tag("p", OFFLINE)),
    )  # fmt: skip


def document(title: str, *content: Html) -> str:
    """A whole page with this title: the look, the policy, and the content; nothing comes from outside."""
    return "<!doctype html>\n" + tag("html", _head(title), tag("body", tag("main", *content)), lang="en")


def _left_out(sections: Sequence[tuple[str, str, Html]]) -> list[Html]:
    """Name the sections for which the run has nothing."""
    gone = [NAMED.get(key, title) for key, title, content in sections if not content]
    return [tag("p", f"Left out, for this run has nothing to show there: {', '.join(gone)}.")] if gone else []


def _head(title: str) -> Html:
    return tag(
        "head", tag("meta", charset="utf-8"), tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"), tag("meta", name="color-scheme", content="light dark"),
        tag("title", title), tag("style", Html(STYLE + written.LOOK)),
    )  # fmt: skip


def brand(words: str) -> Html:
    """The sign above the title."""
    mark = tag("svg", tag("path", d=WAVE), viewBox="0 0 24 24", aria_hidden="true")
    return tag("div", mark, words, class_="brand")


def _title(metrics: Mapping, target: str, *, verb: str = "Predicting") -> Html:
    names = modalities_of(metrics)
    if not names:
        return join(f"{verb} ", named(target))
    shown = [named(n) for n in (names if len(names) <= 5 else [*names[:4], f"{len(names) - 4} more inputs"])]
    apart = [part for n in shown[:-1] for part in (n, ", ")][:-1]
    return join(f"{verb} ", named(target), " from ", *apart, " and " if apart else None, shown[-1])


def _subtitle(metrics: Mapping) -> Html:
    task, data = mapping(metrics.get("task")), mapping(metrics.get("data"))
    classes, rows = task.get("classes"), mapping(data.get("rows"))
    parts = [
        KINDS.get(str(task.get("kind")), ""),
        (f"{len(classes)} labels" if task.get("kind") == "labels" else f"{len(classes)} classes")
        if isinstance(classes, list) and classes
        else "",
    ]
    parts += [several(rows["train"], "training row") if rows.get("train") is not None else ""]
    return note(" \u00b7 ".join(p for p in parts if p))
