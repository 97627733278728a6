"""What the run promises: sets that hold the truth for every pattern of inputs, and when it had better say nothing."""

import shlex
from collections.abc import Mapping, Sequence

from sensorium.report.charts import Series, Whisker, bars, plot, whiskers
from sensorium.report.data import modalities_of, pattern
from sensorium.report.making import command
from sensorium.report.markup import (
    Html,
    count,
    figure,
    folded,
    join,
    listed,
    mapping,
    named,
    note,
    number,
    rows_of,
    several,
    subset_name,
    tag,
)

MOST = 16  # patterns of inputs shown at once
SUREST = 0.8  # share of rows for the sentence
RISKS = (0.05, 0.02, 0.01, 0.1, 0.2, 0.3)  # what may be asked of --abstain, the usual one first


def promises(metrics: Mapping, folder: str) -> Html:
    """Sets and abstention of one metrics file; nothing where neither was measured. `folder` is for the command."""
    return join(_sets(metrics), _selective(mapping(metrics.get("selective")), folder))


def _sets(metrics: Mapping) -> Html:
    """How often the sets held the truth, and how large they are, for each pattern of inputs."""
    found = [
        s for s in rows_of(metrics.get("sets")) if number(mapping(s.get("coverage")).get("value")) is not None
    ]
    found.sort(key=lambda s: s.get("modalities") is not None)  # all rows first; the patterns stay in order
    if not found:
        return Html("")
    names, numeric = modalities_of(metrics), mapping(metrics.get("task")).get("kind") == "number"
    level = next((v for s in found if (v := number(s.get("level"))) is not None), None)
    what, asked = ("ranges", "range") if numeric else ("sets of classes", "set")
    promised = f" that hold the truth in {100 * level:.0f}\u202f% of the rows" if level is not None else ""
    taught = (
        tag("p", "These rows taught the thresholds, so here it is no proof that the promise is kept: measure it on rows that had no part in it.", class_="warn")
        if metrics.get("split") == "valid"
        else None
    )  # fmt: skip
    label = f"share of {what} that hold the truth, for each pattern of inputs"
    return join(
        tag("h3", f"Is the promise of a {asked} kept, whatever is missing?"),
        note(
            f"In place of one answer the run can give {what}{promised}, with a threshold of its own for each pattern of "
            "inputs that is frequent enough. The dark line is the promised share."
        ),
        taught, _shown([_kept(s, names) for s in found], label, level), _sizes(found, names, numeric=numeric),
    )  # fmt: skip


def _shown(rows: Sequence[Whisker], label: str, level: float | None) -> Html:
    more = whiskers(rows[MOST:], metric="accuracy", label=f"{label}, further ones", mark=level)
    first = whiskers(rows[:MOST], metric="accuracy", label=label, mark=level)
    return join(first, folded(f"{len(rows) - MOST} more patterns", more) if more else None)


def _name(found: Mapping, names: Sequence[str]) -> Html:
    """A pattern of inputs, or all rows, and how many they are."""
    rows = tag("small", f" {several(found.get('rows'), 'row')}", class_="soft")
    if found.get("modalities") is None:
        return join(tag("b", "all rows"), rows)
    held = [str(n) for n in listed(found["modalities"])]
    return pattern(names, held, named(subset_name(held, names)), rows)


def _kept(found: Mapping, names: Sequence[str]) -> Whisker:
    colour = 1 if found.get("modalities") is None else 3
    return Whisker(name=_name(found, names), score=mapping(found.get("coverage")), colour=colour)


def _sizes(found: Sequence[Mapping], names: Sequence[str], *, numeric: bool) -> Html:
    """Mean size of the sets; an infinite one promises nothing."""
    sizes = [number(s.get("size")) for s in found]
    top = max((v for v in sizes if v is not None), default=0.0) or 1.0
    rows = [
        (_name(s, names), 1.0 if v is None else v / top, "without end" if v is None else _size(v, numeric=numeric))
        for s, v in zip(found, sizes, strict=True)
    ]  # fmt: skip
    title = (
        "Mean width of the range, in the unit of the target" if numeric else "Mean number of classes in a set"
    )
    without = " Without end: too few rows were seen with such inputs to promise anything."
    said = note(
        tag("small", f"The smaller, the more the promise is worth.{without if None in sizes else ''}")
    )
    more = bars(rows[MOST:], label=title, colour=3, look="dotted") if rows[MOST:] else None
    shown = bars(rows[:MOST], label=title, colour=3, look="dotted")
    return join(tag("h3", title), shown, folded(f"{len(rows) - MOST} more patterns", more) if more else None, said)  # fmt: skip


def _size(value: float, *, numeric: bool) -> str:
    return figure(value) if numeric else f"{value:.2f}" if value < 10 else count(value)


def _selective(found: Mapping, folder: str) -> Html:
    """The share of wrong answers against the share of rows that are answered, and the command that abstains."""
    columns = (listed(found.get("coverage")), listed(found.get("risk")))
    pairs = [(number(c), number(r)) for c, r in zip(*columns, strict=False)]
    points = sorted((c, r) for c, r in pairs if c is not None and r is not None)
    if len(points) < 2:
        return Html("")
    all_rows, lowest = points[-1], min(r for _, r in points)
    drawn = plot(
        [Series(name="", points=points, look="line", colour=1)], title="Wrong answers, if only the surest rows are answered",
        x="share of rows that are answered, the surest first", y="share of them that is wrong",
        x_range=(0.0, 1.0), y_range=(0.0, max(0.02, 1.08 * max(r for _, r in points))), percent="xy",
    )  # fmt: skip
    sure, wrong = min(points, key=lambda p: abs(p[0] - SUREST))
    sentence = f"Answering the surest {100 * sure:.0f}\u202f% of the rows, {100 * wrong:.1f}\u202f% are wrong; answering all, {100 * all_rows[1]:.1f}\u202f%."  # fmt: skip
    risk = next((r for r in RISKS if lowest <= r < all_rows[1]), None)
    asked = f"{risk:g}".lstrip("0") if risk else ""
    line = f"sensorium predict {shlex.quote(folder)} NEW.csv --abstain {asked} -o predictions.csv"
    useless = "No part of the rows is answered so much better that leaving the others out would pay."
    advice = (
        join(tag("p", f"To say nothing where more than {100 * (risk or 0):g}\u202f% of the answers would be wrong:"), command(line))
        if asked
        else note(useless if lowest >= all_rows[1] else "")
    )  # fmt: skip
    return join(tag("h3", "When should it say nothing?"), tag("div", drawn, tag("div", tag("p", sentence), advice), class_="two"))  # fmt: skip
