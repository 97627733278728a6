"""How the answers hold up: with fewer modalities, and where they go wrong."""

from collections.abc import Mapping, Sequence

from sensorium.report.charts import Series, Whisker, plot, whiskers
from sensorium.report.data import modalities_of, pattern
from sensorium.report.markup import (
    LOWER_IS_BETTER,
    PERCENT,
    Html,
    count,
    figure,
    folded,
    join,
    label_of,
    listed,
    mapping,
    metric_of,
    named,
    note,
    number,
    rows_of,
    scroll,
    several,
    subset_name,
    table,
    tag,
)

HEAT = 30  # most classes of a heat map
PAIRS = 15  # most confused pairs shown
POINTS = 1500  # of a scatter
MOST = 16  # subsets shown at once; of more, those between one input and all but one are folded
COMPARED = 5  # most inputs of which every subset is measured


def subsets(metrics: Mapping) -> Html:
    """Every subset of the modalities on one scale, and the figure as cells get lost; nothing for a single one."""
    metric, names = metric_of(metrics), modalities_of(metrics)
    found = [
        s for s in rows_of(metrics.get("subsets")) if number(mapping(s.get("score")).get("value")) is not None
    ]
    if len(names) == 1 or not found:
        return Html("")
    sign = 1 if metric in LOWER_IS_BETTER else -1
    found.sort(key=lambda s: (-len(listed(s.get("modalities"))), sign * s["score"]["value"]))
    middle = [s for s in found if 1 < len(listed(s.get("modalities"))) < len(names) - 1]
    folds = middle if len(found) > MOST else []
    label = f"{label_of(metric)} of each subset of the modalities"
    rings = any(number(s.get("everything")) is not None for s in found)
    chart = whiskers([_subset(s, names) for s in found if s not in folds], metric=metric, label=label)
    more = whiskers([_subset(s, names) for s in folds], metric=metric, label=f"{label}, in between")
    about = note(
        "The same model, given only some of its inputs; rows that have all of these are counted. An input that is left "
        "out is absent, not filled with zeros.",
        " A ring marks what the same rows get with everything they have: the gap is what the other inputs add."
        if rings
        else None,
    )
    return join(
        about, chart, folded(f"{several(len(folds), 'subset')} in between", more) if folds else None, _robustness(metrics, metric)
    )  # fmt: skip


def _subset(found: Mapping, names: Sequence[str]) -> Whisker:
    held = [str(n) for n in listed(found.get("modalities"))]
    rows = tag("small", f" {several(found.get('rows'), 'row')}", class_="soft")
    colour = 1 if len(held) == len(names) else 4 if len(held) == 1 else 3
    ring = number(found.get("everything")) if len(held) < len(names) else None
    name = pattern(names, held, named(subset_name(held, names)), rows)
    return Whisker(name=name, score=found["score"], colour=colour, ring=ring)


def _robustness(metrics: Mapping, metric: str) -> Html:
    """The figure as cells get lost: of all inputs at one rate, and of each input alone."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for r in rows_of(metrics.get("robustness")):
        at, value = number(r.get("rate")), number(r.get("value"))
        if at is not None and value is not None:
            curves.setdefault(str(r.get("modality") or ""), []).append((at, value))
    shares = metric in PERCENT
    range_y = (0.0, 1.0) if shares and all(0 <= b <= 1 for c in curves.values() for _, b in c) else None
    series = [
        Series(name=name or ("every input" if len(curves) > 1 else ""), points=points, look="both", colour=i % 6 + 1)
        for i, (name, points) in enumerate(curves.items())
    ]  # fmt: skip
    drawn = plot(
        series, title="When cells get lost", x="share of cells that are lost at random", y=label_of(metric),
        percent="xy" if shares else "x", y_range=range_y,
    )  # fmt: skip
    if drawn or len(modalities_of(metrics)) <= COMPARED:
        return drawn
    return note(
        f"The loss of random cells is measured for up to {COMPARED} inputs, with {COMPARED + 1} or more only what "
        "is shown above."
    )


def mistakes(metrics: Mapping) -> Html:
    """Confusion matrix, most confused pairs, each label or residuals, by what there is; nothing where none is."""
    confusion, residuals = mapping(metrics.get("confusion")), mapping(metrics.get("residuals"))
    if listed(confusion.get("counts")):
        return _confusion(confusion)
    if listed(residuals.get("truth")):
        return _residuals(residuals)
    return _labels(rows_of(metrics.get("labels")))


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
        else tag("p", f"None of the {several(sum(totals), 'row')} was confused.")
    )
    each = folded("Every class: recall and precision", _each(counts, names, size))
    if size > HEAT:
        return join(note(f"{size} classes: too many for a picture; these are confused most."), worst, each)
    legend = note(
        "A row is a true class, a column an answer; the shade is the share of the row. Blue is right, red is confused."
    )
    narrow = size <= 10 and max(map(len, names), default=0) <= 12
    return join(
        legend,
        tag("div", _heat(counts, names, size), tag("div", worst, each), class_="two" if narrow else None),
    )


def _each(counts: Sequence[Sequence[int]], names: Sequence[str], size: int) -> Html:
    """Rows, recall and precision of every class, the worst first."""
    found = []
    for i in range(size):
        truth, said = sum(counts[i][:size]), sum(counts[j][i] for j in range(size))
        found.append((names[i], truth, counts[i][i] / truth if truth else None, counts[i][i] / said if said else None))  # fmt: skip
    found.sort(key=lambda f: (f[2] is None, f[2], f[3] or 0.0))
    rows = [[named(n), count(t), figure(r, "accuracy"), figure(p, "accuracy")] for n, t, r, p in found]
    return table(
        ["class", "rows", "recall", "precision"], rows, numeric=frozenset({1, 2, 3}), caption="Every class"
    )


def _labels(found: Sequence[Mapping]) -> Html:
    """Rows, recall, precision and F1 of every label of a target with several."""
    if not found:
        return Html("")
    ordered = sorted(found, key=lambda f: number(f.get("f1")) or 0.0)
    rows = [
        [named(f.get("label", "?")), count(f.get("rows")), *(figure(f.get(k), "accuracy") for k in ("recall", "precision", "f1"))]
        for f in ordered
    ]  # fmt: skip
    heads: list[object] = ["label", "rows with it", "recall", "precision", "F1"]
    return join(
        note("A row may carry several labels; each is a question of its own. The hardest come first."),
        table(heads, rows, numeric=frozenset({1, 2, 3, 4}), caption="Every label"),
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
    return scroll(inner, "confusion matrix")


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
        return Html("")
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
    bins = min(24, max(6, round(2 * len(errors) ** 0.5)))
    width = (high - low) / bins or 1.0
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
