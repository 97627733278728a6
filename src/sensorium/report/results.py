"""How the answers hold up: fewer modalities, which classes are confused, residuals, calibration."""

from collections.abc import Mapping, Sequence

from sensorium.report.charts import Series, Whisker, plot, whiskers
from sensorium.report.data import modalities_of, pattern
from sensorium.report.markup import (
    LOWER_IS_BETTER,
    PERCENT,
    Html,
    count,
    figure,
    join,
    label_of,
    listed,
    mapping,
    metric_of,
    named,
    note,
    number,
    rows_of,
    table,
    tag,
)

HEAT = 30  # most classes of a heat map
PAIRS = 15  # most confused pairs shown
POINTS = 1500  # of a scatter


def subsets(metrics: Mapping) -> Html:
    """Every subset of the modalities on one scale, and the figure as cells get lost."""
    metric, names = metric_of(metrics), modalities_of(metrics)
    found = [
        s for s in rows_of(metrics.get("subsets")) if number(mapping(s.get("score")).get("value")) is not None
    ]
    if not found:
        return join(note("No subsets were measured."), _robustness(metrics, metric))
    sign = 1 if metric in LOWER_IS_BETTER else -1
    found.sort(key=lambda s: (-len(listed(s.get("modalities"))), sign * s["score"]["value"]))
    best = min(range(len(found)), key=lambda i: sign * found[i]["score"]["value"])
    rows = []
    for i, s in enumerate(found):
        held = [str(n) for n in listed(s.get("modalities"))]
        name = join(
            pattern(names, held),
            named(" + ".join(held) or "nothing"),
            tag("small", f" {count(s.get('rows'))} rows", class_="soft"),
        )
        colour = 1 if len(held) == len(names) else 4 if len(held) == 1 else 3
        rows.append(
            Whisker(
                name=name,
                score=s["score"],
                colour=colour,
                badge="best" if i == best and len(found) > 1 else "",
            )
        )
    chart = whiskers(rows, metric=metric, label=f"{label_of(metric)} of each subset of the modalities")
    return join(
        note(
            "The same model, given only some of its inputs. An input that is left out is absent, not filled with zeros."
        ),
        chart,
        _robustness(metrics, metric),
    )


def _robustness(metrics: Mapping, metric: str) -> Html:
    curve = [(number(r.get("rate")), number(r.get("value"))) for r in rows_of(metrics.get("robustness"))]
    points = [(a, b) for a, b in curve if a is not None and b is not None]
    shares = metric in PERCENT
    range_y = (0.0, 1.0) if shares and all(0 <= b <= 1 for _, b in points) else None
    drawn = plot(
        [Series(name="", points=points, look="both", colour=1)], title="When cells get lost", x="share of cells that are lost at random", y=label_of(metric),
        percent="xy" if shares else "x", y_range=range_y,
    )  # fmt: skip
    return drawn or note("Robustness to lost cells was not measured.")


def mistakes(metrics: Mapping) -> Html:
    """Confusion matrix, most confused pairs or residuals, by what there is."""
    confusion, residuals = mapping(metrics.get("confusion")), mapping(metrics.get("residuals"))
    if listed(confusion.get("counts")):
        return _confusion(confusion)
    if listed(residuals.get("truth")):
        return _residuals(residuals)
    if mapping(metrics.get("task")).get("kind") == "labels":
        return note(
            "A row may carry several labels, so there is no confusion matrix; the figures above are per label."
        )
    return note("Not recorded for this run.")


def _confusion(found: Mapping) -> Html:
    counts = [[int(number(v) or 0) for v in listed(row)] for row in listed(found.get("counts"))]
    names = [str(c) for c in listed(found.get("classes"))] or [str(i) for i in range(len(counts))]
    size = min(len(names), len(counts), *(len(r) for r in counts))
    pairs = [(counts[i][j], i, j) for i in range(size) for j in range(size) if i != j and counts[i][j]]
    pairs.sort(key=lambda p: -p[0])
    totals = [sum(row) for row in counts]
    rows = [
        [named(names[i]), named(names[j]), count(n), f"{100 * n / max(1, totals[i]):.0f}\u202f%"]
        for n, i, j in pairs[:PAIRS]
    ]
    heads: list[object] = ["true class", "answered", "rows", "of that class"]
    worst = (
        join(
            tag("h3", "Most confused"),
            table(heads, rows, numeric=frozenset({2, 3}), caption="Most confused classes"),
        )
        if rows
        else note("No row was confused.")
    )
    if size > HEAT:
        return join(note(f"{size} classes: too many for a picture; these are confused most."), worst)
    legend = note(
        "A row is a true class, a column an answer; the shade is the share of the row. Blue is right, red is confused."
    )
    narrow = size <= 10 and max(map(len, names)) <= 12
    return join(
        legend, tag("div", _heat(counts, names, size), tag("div", worst), class_="two" if narrow else None)
    )


def _heat(counts: Sequence[Sequence[int]], names: Sequence[str], size: int) -> Html:
    turned = [
        tag(
            "th",
            tag("div", named(n), class_="turn" if max(map(len, names)) > 3 else None),
            scope="col",
            title=n,
        )
        for n in names[:size]
    ]
    body = []
    for i in range(size):
        total = max(1, sum(counts[i]))
        cells = [
            _cell(
                counts[i][j] / total,
                counts[i][j],
                i == j,
                f"{names[i]} answered as {names[j]}: {counts[i][j]}",
            )
            for j in range(size)
        ]
        body.append(tag("tr", tag("th", named(names[i]), scope="row", title=names[i]), *cells))
    caption = tag("caption", "Confusion matrix: true classes in rows, answers in columns", class_="unseen")
    inner = tag(
        "table",
        caption,
        tag("thead", tag("tr", tag("td", class_="corner"), *turned)),
        tag("tbody", *body),
        class_="heat",
    )
    return tag("div", inner, class_="scroll", tabindex="0", role="group", aria_label="confusion matrix")


def _cell(share: float, rows: int, right: bool, title: str) -> Html:
    if not rows:
        return tag("td", "0", class_="none")
    shade = 0.12 + 0.88 * share if right else min(1.0, 0.14 + 1.3 * share)
    colour = f"background:rgb(var(--{'heat' if right else 'miss'}) / {shade:.2f})"
    return tag("td", count(rows), style=colour, class_="hot" if shade > 0.66 else None, title=title)


def _residuals(found: Mapping) -> Html:
    both = zip(
        map(number, listed(found.get("truth"))), map(number, listed(found.get("predicted"))), strict=False
    )
    pairs = [(t, p) for t, p in both if t is not None and p is not None][:POINTS]
    if not pairs:
        return note("Not recorded for this run.")
    low, high = min(min(p) for p in pairs), max(max(p) for p in pairs)
    ends = (low - 0.03 * (high - low or 1), high + 0.03 * (high - low or 1))
    exact = Series(name="exact", points=[(ends[0], ends[0]), (ends[1], ends[1])], look="dashed", colour=0)
    scatter = plot(
        [exact, Series(name="rows", points=pairs, look="dots", colour=1)], title="Answer against truth", x="truth", y="answer",
        x_range=ends, y_range=ends, square=True,
    )  # fmt: skip
    return tag("div", scatter, tag("div", _errors([p - t for t, p in pairs])), class_="two")


def _errors(errors: Sequence[float]) -> Html:
    """How the errors are spread."""
    low, high = min(errors), max(errors)
    bins, width = 24, (high - low) / 24 or 1.0
    tally = [0] * bins
    for e in errors:
        tally[min(bins - 1, int((e - low) / width))] += 1
    steps = [(x, float(n)) for i, n in enumerate(tally) for x in (low + i * width, low + (i + 1) * width)]
    ordered = sorted(abs(e) for e in errors)
    half, most = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.9)]
    drawn = plot(
        [Series(name="", points=steps, colour=2)],
        title="Errors",
        x="answer minus truth",
        y="rows",
        y_range=(0.0, max(tally) * 1.08),
    )
    return join(
        drawn,
        note(
            f"Half of the rows are off by less than {figure(half)}, nine in ten by less than {figure(most)}."
        ),
    )


def calibration(metrics: Mapping) -> Html:
    """Reliability diagram with the rows behind it, calibration error and temperature."""
    found = mapping(metrics.get("calibration"))
    bins = [
        b
        for b in rows_of(found.get("bins"))
        if number(b.get("confidence")) is not None and number(b.get("accuracy")) is not None
    ]
    if not bins and number(found.get("ece")) is None:
        return note("Calibration is about probabilities; this target has none, or none were recorded.")
    ideal = Series(name="ideal", points=[(0.0, 0.0), (1.0, 1.0)], look="dashed", colour=0)
    points = [(b["confidence"], b["accuracy"]) for b in bins]
    drawn = plot(
        [ideal, Series(name="this model", points=points, look="both", colour=1)] if points else [], title="Said and kept", x="confidence", y="share that is right",
        x_range=(0.0, 1.0), y_range=(0.0, 1.0), percent="xy", square=True,
    )  # fmt: skip
    before, after, warmth = (number(found.get(k)) for k in ("ece_before", "ece", "temperature"))
    facts = [f"Expected calibration error {figure(after, 'ece')}." if after is not None else ""]
    facts += [f"Before the temperature it was {figure(before, 'ece')}." if before is not None else ""]
    facts += [
        f"Temperature {warmth:.2f}: the raw answers were {'too sure' if warmth > 1 else 'not sure enough'}."
        if warmth is not None and abs(warmth - 1) > 0.02
        else ""
    ]
    rows = [
        [f"{100 * b['confidence']:.0f}\u202f%", f"{100 * b['accuracy']:.0f}\u202f%", count(b.get("count"))]
        for b in bins
    ]
    heads: list[object] = ["mean confidence", "right", "answers"]
    numbers = (
        table(heads, rows, numeric=frozenset({0, 1, 2}), caption="Confidence and accuracy") if rows else None
    )
    said = note("Where it says 80 %, is it right in 80 %? Points under the line are overconfident.")
    return join(
        said, tag("div", drawn, tag("div", *(tag("p", f) for f in facts if f), numbers), class_="two")
    )
