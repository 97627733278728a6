"""The data card: columns, holes, classes, what could not be read."""

import re
from collections.abc import Mapping, Sequence

from sensorium.report.charts import bars
from sensorium.report.markup import (
    Html,
    count,
    duration,
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
    table,
    tag,
)

CLASSES = 20  # bars of classes shown at once
PATTERNS = 8  # and of patterns
FAULTS = 6  # rows of the quarantine shown at once; the file has them all
FOLDED = 200  # and most that the report holds
REASON = re.compile(r"(?P<wrong>.*?)\s+got: (?P<got>.*?)\s+fix: (?P<fix>.*)", re.DOTALL)


def card(metrics: Mapping, quarantine: Sequence[Mapping], model: Mapping) -> Html:
    """The whole section."""
    data, task = mapping(metrics.get("data")), mapping(metrics.get("task"))
    warnings = [tag("p", w, class_="warn") for w in listed(data.get("warnings")) if isinstance(w, str)]
    return join(
        _summary(data, task), *warnings, _inputs(data, task, model),
        tag("div", *(tag("div", part) for part in (_patterns(data, task), _classes(data, task)) if part), class_="two"),
        _faults(data, quarantine),
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


def _inputs(data: Mapping, task: Mapping, model: Mapping) -> Html:
    present, rows = mapping(data.get("present")), []
    known = {str(m.get("name")): mapping(m.get("options")) for m in rows_of(model.get("modalities"))}
    for item in rows_of(task.get("inputs")) or [{"name": n} for n in present]:
        name = str(item.get("name", "?"))
        words = seen(str(item.get("carrier")), known.get(name, {})) or item.get("summary", "")
        told = join(tag("b", named(name)), tag("small", tag("br"), words, class_="soft") if words else None)
        rows.append([told, item.get("carrier", "\u2013"), _filled(present.get(name))])
    if not rows:
        return note("The input columns were not recorded.")
    heads: list[object] = ["column, as the model sees it", "kind", "filled"]
    return join(tag("h3", "Inputs"), table(heads, rows, caption="Input columns", look="inputs"))


def _filled(present: object) -> Html | str:
    share = number(present)
    if share is None:
        return "\u2013"
    told = f"filled in {100 * share:.0f} % of the rows"
    return bars([(Html(""), share, f"{100 * share:.0f}\u202f%")], label=told, look="bare")


def seen(carrier: str, options: Mapping) -> str:
    """What becomes of a cell, from the options that the modality learned; "" where they do not say."""
    o = {k: v for k, v in options.items() if number(v) is not None}
    try:
        return {
            "text": _as_text, "image": _as_image, "video": _as_video, "audio": _as_audio, "series": _as_series,
            "points": _as_points, "table": _as_table,
        }[carrier]({**options, **o})  # fmt: skip
    except (KeyError, TypeError, ValueError):
        return ""


def _as_text(o: Mapping) -> str:
    if o.get("tokenizer") == "":
        return f"at most {count(o['longest'])} bytes"
    return f"at most {count(o['longest'])} tokens out of {count(o['vocabulary'])}"


def _as_image(o: Mapping) -> str:
    return f"{o['side']} \u00d7 {o['side']} pixels, {'grey' if o['channels'] == 1 else 'colour'}"


def _as_video(o: Mapping) -> str:
    return f"{o['frames']} frames, {_as_image(o)}"


def _as_audio(o: Mapping) -> str:
    length = o["longest"] * o["hop_s"]
    return f"at most {length:.3g} s at {o['rate_hz'] / 1000:g} kHz, {o['bands']} mel bands"


def _as_series(o: Mapping) -> str:
    names = ", ".join(map(str, listed(o.get("names"))[:6]))
    step = number(o.get("step_s"))
    clock = f" of {duration(step)}" if step else ""
    steps = (
        f"{'stretched to' if o.get('whole') is True else 'at most'} {several(o['longest'], 'step')}{clock}"
    )
    return f"{several(o['channels'], 'channel')}{f' ({names})' if names else ''}, {steps}"


def _as_points(o: Mapping) -> str:
    what = "timed frames of points" if o.get("framed") is True else "points"
    return f"at most {count(o['longest'])} {what}, {o['dims']} numbers each"


def _as_table(o: Mapping) -> str:
    names = [str(f["name"]) for f in rows_of(o["fields"])]
    rest = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return f"{several(len(names), 'field')}: {', '.join(names[:8])}{rest}"


def pattern(names: Sequence[str], held: Sequence[object], *words: object) -> Html:
    """A row of dots, filled where the modality is there, and words behind them."""
    dots = [tag("i", class_="on" if n in held else None) for n in names]
    many = " many" if len(names) > 6 else ""
    shown = tag("span", *dots, class_=f"pattern c1{many}", aria_hidden="true")
    return tag("span", shown, tag("span", *words), class_=f"patterned{many}")


def modalities_of(metrics: Mapping) -> list[str]:
    """The names of the inputs, in order."""
    return [str(i.get("name")) for i in rows_of(mapping(metrics.get("task")).get("inputs"))]


def _patterns(data: Mapping, task: Mapping) -> Html:
    found = [p for p in rows_of(data.get("patterns")) if number(p.get("rows")) is not None]
    if not found and task.get("kind") == "match":  # told by what its rows hold
        return Html("")
    if not found:
        return join(tag("h3", "Missing patterns"), note("Not recorded."))
    names = [str(i.get("name")) for i in rows_of(task.get("inputs"))]
    listed_rows, most = sum(p["rows"] for p in found), max(p["rows"] for p in found) or 1
    total = max(listed_rows, number(mapping(data.get("rows")).get("train")) or 0) or 1
    rows = []
    for p in found:
        held = [str(m) for m in listed(p.get("modalities"))]
        share = f"{count(p['rows'])} ({100 * p['rows'] / total:.0f}\u202f%)"
        rows.append((pattern(names, held, named(subset_name(held, names))), p["rows"] / most, share))
    label, more = "training rows by what they hold", rows[PATTERNS:]
    rest = folded(f"{several(len(more), 'further pattern')}", bars(more, label=label, look="dotted")) if more else None  # fmt: skip
    others = total - listed_rows
    unlisted = (
        note(f"{several(others, 'row')} {'has' if others == 1 else 'have'} rarer patterns.")
        if others > 0
        else None
    )
    return join(
        tag("h3", "Which rows have what"),
        bars(rows[:PATTERNS], label=label, look="dotted"),
        rest,
        unlisted,
    )


def _classes(data: Mapping, task: Mapping) -> Html:
    counts = {k: number(v) for k, v in mapping(data.get("class_counts")).items()}
    ordered = sorted(((k, v) for k, v in counts.items() if v is not None), key=lambda kv: -kv[1])
    if not ordered:
        return (
            Html("")
            if task.get("kind") in ("number", "match", "text")
            else join(tag("h3", "Classes"), note("Not recorded."))
        )
    most, what = ordered[0][1] or 1, "label" if task.get("kind") == "labels" else "class"
    several_of = f"{len(ordered)} {what}{'' if len(ordered) == 1 else 'es' if what == 'class' else 's'}"
    rows = [(named(k), v / most, count(v)) for k, v in ordered]
    rest = (
        folded(f"{len(rows) - CLASSES} more", bars(rows[CLASSES:], label=f"further {what}es"))
        if len(rows) > CLASSES
        else None
    )
    return join(
        tag("h3", f"Training rows of {several_of}"),
        bars(rows[:CLASSES], label=f"training rows per {what}", colour=3),
        rest,
    )


def _faults(data: Mapping, quarantine: Sequence[Mapping]) -> Html:
    lost = number(data.get("quarantined")) or len({str(f.get("row", f.get("id"))) for f in quarantine})
    head = tag("h3", "Rows set aside")
    if not lost and not quarantine:
        return join(head, note("None: every cell could be read."))
    rows = [
        [named(f.get("id", "?")), named(f.get("column", "?")), _reason(f.get("reason", ""))]
        for f in quarantine[:FOLDED]
    ]
    heads: list[object] = ["id", "column", "why"]
    shown = table(heads, rows[:FAULTS], caption="Rows set aside") if rows else None
    more = (
        folded(f"{len(rows) - FAULTS} more", table(heads, rows[FAULTS:], caption="Further rows set aside"))
        if len(rows) > FAULTS
        else None
    )
    what = "holds a cell that cannot be read; it" if lost == 1 else "hold a cell that cannot be read; they"
    return join(
        head, note(f"{several(lost, 'row')} {what} took no part. All are listed in quarantine.jsonl."), shown, more
    )  # fmt: skip


def _reason(reason: object) -> Html:
    """What is wrong, then quietly what was found and what to do."""
    parts = REASON.fullmatch(str(reason).strip())
    if parts is None:
        return join(str(reason))
    got = parts["got"].strip("'\"")
    return join(
        parts["wrong"], tag("small", tag("br"), got, class_="soft"), tag("small", tag("br"), f"Fix: {parts['fix']}", class_="soft")
    )  # fmt: skip
