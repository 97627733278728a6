"""How the figure falls when a sensor fails: small curves for each input, and which damage hurts most."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sensorium.report.charts import Series, plot
from sensorium.report.markup import (
    PERCENT,
    Html,
    count,
    figure,
    folded,
    join,
    label_of,
    mapping,
    metric_of,
    named,
    note,
    number,
    rows_of,
    several,
    table,
    tag,
)

SEVERITIES = (0, 1, 2, 3, 4, 5)
COLOURS = 6  # of the palette


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """The figure at severities 0 to 5 of one corruption of one input ("" for all at once)."""

    modality: str
    corruption: str
    values: tuple[float, ...]
    rows: int

    @property
    def loss(self) -> float:
        """Mean fall below the clean figure over severities 1 to 5; negative where damage helps."""
        return self.values[0] - sum(self.values[1:]) / (len(self.values) - 1)


def corruptions(metrics: Mapping) -> Html:
    """Curves of each input under each damage, the floor, what hurts most; nothing where nothing was measured."""
    found, skipped = _read(metrics)
    if not found:
        return Html("")
    metric, single = metric_of(metrics), [c for c in found if c.modality]
    names = list(dict.fromkeys(c.modality for c in single))
    span = _ends(found, metric)
    together = [c for c in found if not c.modality]
    charts = [_chart([c for c in single if c.modality == n], n, metric, _floor(metrics), span) for n in names]
    if together:
        charts.append(_chart(together, "", metric, _floor(metrics), span))
    about = note(
        "The same model on held-out rows while one input is damaged as its sensor fails in the world; the others stay "
        "clean. Severity 0 is clean, 1 is hard to notice, 5 leaves little. Each chart counts the rows that have its "
        "input.",
        " All at once means that each cell is damaged in one of its ways." if together else None,
    )
    late, vain = [n for n, rows in skipped.items() if not rows], [n for n, rows in skipped.items() if rows]
    missing = [f"No time was left for: {_listed(late)}."] if late else []
    missing += [f"No figure could be had for: {_listed(vain)}."] if vain else []
    return join(
        about, *(tag("p", s) for s in sentences(found, metric, _floor(metrics))), tag("div", *charts, class_="two"),
        *(note(m) for m in missing), folded("Every figure", _figures(found, metric)),
    )  # fmt: skip


def _read(metrics: Mapping) -> tuple[list[Curve], dict[tuple[str, str], int]]:
    """Whole curves, and each (input, damage) that has none with its rows: 0 where no time was left for it."""
    points: dict[tuple[str, str], dict[int, float]] = {}
    rows: dict[tuple[str, str], int] = {}
    for p in rows_of(metrics.get("corruption")):
        name = str(p.get("modality", "")), str(p.get("corruption", ""))
        severity, value = number(p.get("severity")), number(p.get("value"))
        kept = points.setdefault(name, {})
        rows[name] = int(number(p.get("rows")) or 0)
        if severity in SEVERITIES and value is not None:
            kept[int(severity)] = value
    whole = {n: tuple(v[s] for s in SEVERITIES) for n, v in points.items() if set(v) == set(SEVERITIES)}
    found = [Curve(modality=n[0], corruption=n[1], values=v, rows=rows[n]) for n, v in whole.items()]
    return found, {n: rows[n] for n in points if n not in whole}


def _listed(skipped: Sequence[tuple[str, str]]) -> str:
    by_input: dict[str, list[str]] = {}
    for modality, corruption in skipped:
        by_input.setdefault(modality, []).append(corruption)
    return "; ".join(", ".join(c) + (f" of {m}" if m else "") for m, c in by_input.items())


def _floor(metrics: Mapping) -> tuple[str, float] | None:
    """The model that knows no input (majority, mean) and its figure on all held-out rows, where it is known."""
    for row in rows_of(metrics.get("baselines")):
        value = number(mapping(row.get("score")).get("value"))
        if str(row.get("name")) in ("majority", "mean", "prior") and value is not None:
            return str(row["name"]), value
    return None


def _ends(found: Sequence[Curve], metric: str) -> tuple[float, float]:
    """One scale for all charts; R2 falls without end, and is cut at -1."""
    values = [v for c in found for v in c.values]
    if metric in PERCENT:
        return 0.0, 1.0
    low, high = min(0.0, *values), max(values)
    return (max(low, -1.0) if metric == "r2" else low), high + 0.06 * (high - low or 1.0)


def _chart(
    found: Sequence[Curve],
    name: str,
    metric: str,
    floor: tuple[str, float] | None,
    span: tuple[float, float],
) -> Html:
    """One input: a line for each damage, and the floor dashed."""
    low, high = span
    lines = [
        Series(
            name=c.corruption, look="both", colour=1 + i % COLOURS,
            points=[(float(s), min(high, max(low, v))) for s, v in zip(SEVERITIES, c.values, strict=True)],
        )
        for i, c in enumerate(found)
    ]  # fmt: skip
    if floor is not None and low <= floor[1] <= high:
        ends = [(0.0, floor[1]), (5.0, floor[1])]
        lines.append(Series(name=f"floor ({floor[0]})", look="dashed", colour=0, points=ends))
    title = f"{name or 'All inputs at once'} ({_rows(found)})"
    return plot(
        lines, title=title, x="severity of the damage", y=label_of(metric), x_range=(0.0, 5.0), y_range=span,
        percent="y" if metric in PERCENT else "",
    )  # fmt: skip


def _rows(found: Sequence[Curve]) -> str:
    return several(found[0].rows, "row")


def sentences(found: Sequence[Curve], metric: str, floor: tuple[str, float] | None) -> list[str]:
    """Which input's damage costs most, by which damage, and whether the rows are enough to say so."""
    single = [c for c in found if c.modality]
    if not single:
        return []
    losses = {n: _mean([c.loss for c in single if c.modality == n]) for n in {c.modality: 0 for c in single}}
    ranked = sorted(losses, key=lambda n: -losses[n])
    worst = max((c for c in single if c.modality == ranked[0]), key=lambda c: c.loss)
    doubt = max(_doubt(c, metric) for c in single)
    if losses[ranked[0]] <= 0:
        return [f"No damage of a single input lowers the figure on these {_rows(single)}."]
    fall = f"{_points(losses[ranked[0]], metric)} on average over its damages and severities"
    lines = [
        f"Damage to {ranked[0]} hurts most: it costs {fall}, {worst.corruption} the most "
        f"(from {figure(worst.values[0], metric)} to {figure(worst.values[-1], metric)} at severity 5)."
    ]
    if len(ranked) > 1:
        rest = ", ".join(f"{n} {_points(losses[n], metric)}" for n in ranked[1:4])
        lines[0] += f" Next: {rest}."
    if doubt and losses[ranked[0]] < doubt:
        lines.append(
            f"That is less than chance alone can do: on so few rows single figures are uncertain by about "
            f"{_points(doubt, metric)}."
        )
    elif doubt:
        lines.append(
            f"Single points are uncertain by about {_points(doubt, metric)}: {count(min(c.rows for c in single))} rows or "
            "more each, so smaller differences say little."
        )
    low = [c for c in single if floor is not None and min(c.values[1:]) <= floor[1]]
    if floor is not None and low:
        names = ", ".join(f"{c.corruption} of {c.modality}" for c in low[:3])
        lines.append(f"At or below the floor ({floor[0]}), at the worst: {names}.")
    return lines


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _doubt(curve: Curve, metric: str) -> float:
    """Half the width of a 95 % interval of a share on that many rows; 0 for figures that are no shares."""
    share = min(max(_mean(curve.values), 0.05), 0.95)
    return 1.96 * (share * (1 - share) / max(1, curve.rows)) ** 0.5 if metric in PERCENT else 0.0


def _points(difference: float, metric: str) -> str:
    """A difference of two figures in words."""
    return f"{100 * difference:.1f} points" if metric in PERCENT else f"{difference:.3f}"


def _figures(found: Sequence[Curve], metric: str) -> Html:
    heads: list[object] = ["input", "damage", "rows", "clean", *map(str, SEVERITIES[1:])]
    body = [
        [named(c.modality or "all"), c.corruption, count(c.rows), *(figure(v, metric) for v in c.values)]
        for c in found
    ]
    return table(
        heads, body, numeric=frozenset(range(2, 9)), caption="Every figure under damage, by severity"
    )
