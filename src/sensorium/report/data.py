"""The data card: columns, holes, classes, what could not be read."""

from collections.abc import Mapping, Sequence

from sensorium.report.charts import bars
from sensorium.report.markup import (
    Html,
    count,
    folded,
    join,
    listed,
    mapping,
    named,
    note,
    number,
    rows_of,
    table,
    tag,
)

CLASSES = 20  # bars of classes shown at once
FAULTS = 6  # rows of the quarantine shown at once; the file has them all
FOLDED = 200  # and most that the report holds


def card(metrics: Mapping, quarantine: Sequence[Mapping]) -> Html:
    """The whole section."""
    data, task = mapping(metrics.get("data")), mapping(metrics.get("task"))
    warnings = [tag("p", w, class_="warn") for w in listed(data.get("warnings")) if isinstance(w, str)]
    return join(
        _summary(data, task), *warnings, _inputs(data, task),
        tag("div", tag("div", _patterns(data, task)), tag("div", _classes(data, task)), class_="two"), _faults(data, quarantine),
    )  # fmt: skip


def _summary(data: Mapping, task: Mapping) -> Html:
    rows = mapping(data.get("rows"))
    parts = [
        f"{count(n)} {'validation' if part == 'valid' else 'training' if part == 'train' else part}"
        for part, n in rows.items()
    ]
    also = [str(a) for a in listed(task.get("also"))]
    source = join("From ", tag("b", named(data["source"])), ": ") if data.get("source") else None
    helped = join(" Trained beside: ", ", ".join(also), ".") if also else None
    return note(source, " and ".join(parts) + " rows." if parts else "Row counts were not recorded.", helped)


def _inputs(data: Mapping, task: Mapping) -> Html:
    present, rows = mapping(data.get("present")), []
    inputs = rows_of(task.get("inputs")) or [{"name": n} for n in present]
    for item in inputs:
        share = number(present.get(str(item.get("name"))))
        filled = (
            bars(
                [(Html(""), share, f"{100 * share:.0f}\u202f%")],
                label=f"filled in {100 * share:.0f} % of the rows",
                look="bare",
            )
            if share is not None
            else "\u2013"
        )
        rows.append(
            [
                tag("b", named(item.get("name", "?"))),
                item.get("carrier", "\u2013"),
                filled,
                item.get("summary", ""),
            ]
        )
    if not rows:
        return note("The input columns were not recorded.")
    return join(
        tag("h3", "Inputs"),
        table(["column", "kind", "filled", "as the model sees it"], rows, caption="Input columns"),
    )


def pattern(names: Sequence[str], held: Sequence[object]) -> Html:
    """A row of dots: filled where the modality is there."""
    dots = [tag("i", class_="on" if n in held else None) for n in names]
    return tag("span", *dots, class_="pattern c1", aria_hidden="true")


def modalities_of(metrics: Mapping) -> list[str]:
    """The names of the inputs, in order."""
    return [str(i.get("name")) for i in rows_of(mapping(metrics.get("task")).get("inputs"))]


def _patterns(data: Mapping, task: Mapping) -> Html:
    found = [p for p in rows_of(data.get("patterns")) if number(p.get("rows")) is not None]
    if not found:
        return join(tag("h3", "Missing patterns"), note("Not recorded."))
    names = [str(i.get("name")) for i in rows_of(task.get("inputs"))]
    total, most = sum(p["rows"] for p in found) or 1, max(p["rows"] for p in found) or 1
    rows = []
    for p in found:
        held = listed(p.get("modalities"))
        words = " + ".join(map(str, held)) or "nothing"
        rows.append(
            (
                join(pattern(names, held), named(words)),
                p["rows"] / most,
                f"{count(p['rows'])} ({100 * p['rows'] / total:.0f}\u202f%)",
            )
        )
    return join(
        tag("h3", "Which rows have what"), bars(rows, label="training rows by what they hold", look="dotted")
    )


def _classes(data: Mapping, task: Mapping) -> Html:
    counts = {k: number(v) for k, v in mapping(data.get("class_counts")).items()}
    ordered = sorted(((k, v) for k, v in counts.items() if v is not None), key=lambda kv: -kv[1])
    if not ordered:
        what = (
            "The target is a number: there are no classes."
            if task.get("kind") == "number"
            else "Not recorded."
        )
        return join(tag("h3", "Classes"), note(what))
    most = ordered[0][1] or 1
    rows = [(named(k), v / most, count(v)) for k, v in ordered]
    rest = (
        folded(f"{len(rows) - CLASSES} more classes", bars(rows[CLASSES:], label="further classes"))
        if len(rows) > CLASSES
        else None
    )
    return join(
        tag("h3", f"Training rows of {len(rows)} classes"),
        bars(rows[:CLASSES], label="training rows per class", colour=3),
        rest,
    )


def _faults(data: Mapping, quarantine: Sequence[Mapping]) -> Html:
    lost = number(data.get("quarantined")) or len({str(f.get("row", f.get("id"))) for f in quarantine})
    head = tag("h3", "Rows set aside")
    if not lost and not quarantine:
        return join(head, note("None: every cell could be read."))
    rows = [
        [named(f.get("id", "?")), count(f.get("row")), named(f.get("column", "?")), f.get("reason", "")]
        for f in quarantine[:FOLDED]
    ]
    heads: list[object] = ["id", "row", "column", "reason"]
    shown = table(heads, rows[:FAULTS], numeric=frozenset({1}), caption="Rows set aside") if rows else None
    more = (
        folded(
            f"{len(rows) - FAULTS} more",
            table(heads, rows[FAULTS:], numeric=frozenset({1}), caption="Further rows set aside"),
        )
        if len(rows) > FAULTS
        else None
    )
    return join(
        head,
        note(
            f"{count(lost)} rows hold a cell that cannot be read; they took no part. All are listed in quarantine.jsonl."
        ),
        shown,
        more,
    )
