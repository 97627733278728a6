"""Charts: stretched inline SVG for marks, HTML for words, so that text stays readable at any width."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sensorium.report.markup import PERCENT, Html, figure, join, number, plain_text, span, tag

SIDE = 1000.0  # of the drawing, before it is stretched
MOST = 400  # points of one line; above, means of neighbours

Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """One set of marks in a plot."""

    name: str
    points: Sequence[Point]
    look: str = "line"  # line, dots, both, faint, dashed
    colour: int = 1  # 1..6 of the palette; 0 is grey
    reaches: Sequence[Point] = ()  # interval of each point along y
    sizes: Sequence[float] = ()  # pixels across each dot


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers between two ends."""
    width = high - low
    if not 0 < width < math.inf:
        return [low]
    rough = width / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def tick_text(value: float) -> str:
    """A tick in few characters."""
    if value and not 1e-3 <= abs(value) < 1e5:
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:g}"


def thinned(points: Sequence[Point], most: int = MOST) -> list[Point]:
    """At most `most` points: means of neighbours."""
    size = -(-len(points) // most)
    parts = [points[i : i + size] for i in range(0, len(points), max(1, size))]
    return [(sum(p[0] for p in part) / len(part), sum(p[1] for p in part) / len(part)) for part in parts]


def limits(values: Sequence[float], given: tuple[float, float] | None = None, *, room: float = 0.05) -> Point:
    """Ends of an axis with a little room."""
    if given is not None:
        return given
    low, high = min(values), max(values)
    gap = (high - low) * room if high > low else abs(high) * 0.1 or 1.0
    return low - gap, high + gap


def plot(
    series: Sequence[Series],
    *,
    title: str,
    x: str,
    y: str,
    x_range: Point | None = None,
    y_range: Point | None = None,
    percent: str = "",
    square: bool = False,
) -> Html:
    """A chart with axes; `percent` names the axes ("x", "y", "xy") that are shares. "" without points."""
    marked = [s for s in series if s.points]
    if not marked:
        return Html("")
    xs, ys = ([p[i] for s in marked for p in s.points] for i in (0, 1))
    x_low, x_high = limits(xs, x_range, room=0.0 if x_range is None and not square else 0.03)
    y_low, y_high = limits(ys, y_range, room=0.06)

    def place(point: Point) -> Point:
        return SIDE * (point[0] - x_low) / (x_high - x_low), SIDE * (
            1 - (point[1] - y_low) / (y_high - y_low)
        )

    x_ticks, y_ticks = ticks(x_low, x_high), ticks(y_low, y_high)
    grid = [f"M0 {place((x_low, t))[1]:.1f}H{SIDE:g}" for t in y_ticks] + [
        f"M{place((t, y_low))[0]:.1f} 0V{SIDE:g}" for t in x_ticks
    ]
    drawn = [tag("path", d="".join(grid), class_="grid")] + [_marks(s, place) for s in marked]
    drawing = tag(
        "svg", *drawn, viewBox=f"0 0 {SIDE:g} {SIDE:g}", preserveAspectRatio="none", aria_hidden="true"
    )
    words = [_tick(t, place((t, y_low))[0], "x", "x" in percent) for t in x_ticks]
    words += [_tick(t, place((x_low, t))[1], "y", "y" in percent) for t in y_ticks]
    frame = tag(
        "div",
        drawing,
        *words,
        class_="plot square" if square else "plot",
        role="img",
        aria_label=_described(title, marked),
    )
    legend = [tag("span", s.name, class_=f"key c{s.colour} {s.look}") for s in marked if s.name]
    caption = tag("figcaption", tag("b", title), *(legend if len(legend) > 1 else []))
    return tag(
        "figure",
        caption,
        tag("div", y, class_="axis"),
        frame,
        tag("div", x, class_="axis end"),
        class_="chart",
    )


def _described(title: str, series: Sequence[Series]) -> str:
    parts = [
        f"{s.name or title}: {len(s.points)} points, from {s.points[0][1]:.4g} to {s.points[-1][1]:.4g}"
        for s in series
    ]
    return f"{title}. " + "; ".join(parts)


def _tick(value: float, at: float, axis: str, percent: bool) -> Html:
    text = f"{100 * value:.3g}\u202f%" if percent else tick_text(value)
    return tag(
        "span",
        text,
        class_=f"tick {axis}",
        style=f"{'left' if axis == 'x' else 'top'}:{at / SIDE * 100:.2f}%",
    )


def _marks(series: Series, place) -> Html:
    thin = thinned(series.points) if series.look in ("line", "faint") else list(series.points)
    spots = [place(p) for p in thin]
    colour, found = f"c{series.colour} {series.look}", []
    if series.reaches:
        ends = [
            (place((p[0], low)), place((p[0], high)))
            for p, (low, high) in zip(thin, series.reaches, strict=True)
        ]
        d = "".join(f"M{a:.1f} {b:.1f}V{c:.1f}" for (a, b), (_, c) in ends)
        found.append(tag("path", d=d, class_=f"reaches c{series.colour}"))
    if series.look != "dots":
        d = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in spots)
        found.append(tag("path", d=d, class_=f"line {colour}"))
    dots = [f"M{a:.1f} {b:.1f}h.01" for a, b in spots]
    if series.sizes:
        found += [
            tag("path", d=d, class_=f"dot {colour}", style=f"stroke-width:{size:.1f}")
            for d, size in zip(dots, series.sizes, strict=True)
        ]
    elif series.look in ("dots", "both") or len(spots) == 1:
        found.append(tag("path", d="".join(dots), class_=f"dot {colour}"))
    return join(*found)


@dataclass(frozen=True, kw_only=True, slots=True)
class Whisker:
    """One row of a dot-and-whisker chart."""

    name: Html
    score: Mapping
    colour: int = 0
    badge: str = ""
    remark: str = ""
    ring: float | None = None  # another figure of the same rows


def whiskers(rows: Sequence[Whisker], *, metric: str, label: str, mark: float | None = None) -> Html:
    """Dots with 95 % intervals on one scale, a row each, with the figure in words beside it; a line at `mark`."""
    rows = [r for r in rows if number(r.score.get("value")) is not None]
    if not rows:
        return Html("")
    ends = [
        v
        for r in rows
        for v in map(number, (r.score.get("low"), r.score.get("high"), r.score.get("value"), r.ring, mark))
        if v is not None
    ]
    low, high = limits(ends, room=0.08)
    low = (
        (0.0 if low < 0.3 and metric in PERCENT else max(low, 0.0))
        if min(ends) >= 0
        else max(low, -1.0)
        if metric == "r2"
        else low
    )
    high = min(high, 1.02) if max(ends) <= 1 else high
    at = ticks(low, high, 5)
    lines = [tag("i", class_="rule", style=f"left:{_percent(t, low, high)}") for t in at]
    if mark is not None:
        lines.append(tag("i", class_="rule mark", style=f"left:{_percent(mark, low, high)}"))
    body = [_whisker(r, low, high, metric, lines) for r in rows]
    marks = [
        tag(
            "span",
            f"{100 * t:g}\u202f%" if metric in PERCENT else tick_text(t),
            style=f"left:{_percent(t, low, high)}",
        )
        for t in at
    ]
    foot = tag(
        "div",
        tag("span"),
        tag("div", *marks, class_="scale"),
        tag("span"),
        class_="whisker foot",
        aria_hidden="true",
    )
    return tag("div", *body, foot, class_="whiskers", role="list", aria_label=label)


def _whisker(row: Whisker, low: float, high: float, metric: str, lines: list[Html]) -> Html:
    value, ends = number(row.score.get("value")) or 0.0, [number(row.score.get(k)) for k in ("low", "high")]
    marks = list(lines)
    if None not in ends:
        left, right = (_share(v, low, high) for v in ends)  # type: ignore[arg-type]
        marks.append(tag("i", class_="reach", style=f"left:{left:.2f}%;width:{right - left:.2f}%"))
    if row.ring is not None:
        marks.append(tag("i", class_="ring", style=f"left:{_percent(row.ring, low, high)}"))
    marks.append(tag("i", class_="spot", style=f"left:{_percent(value, low, high)}"))
    name = tag("div", row.name, tag("em", row.badge, class_="badge") if row.badge else None, class_="name")
    said = tag("div", tag("b", figure(value, metric)), tag("small", span(row.score, metric)), class_="said")
    return tag(
        "div", name, tag("div", *marks, class_="track", aria_hidden="true"), said,
        class_=f"whisker c{row.colour}", role="listitem", title=row.remark or None,
    )  # fmt: skip


def _share(value: float, low: float, high: float) -> float:
    return 100 * min(1.0, max(0.0, (value - low) / ((high - low) or 1.0)))


def _percent(value: float, low: float, high: float) -> str:
    return f"{_share(value, low, high):.2f}%"


def bars(rows: Sequence[tuple[Html, float, str]], *, label: str, colour: int = 1, look: str = "") -> Html:
    """Bars with a name before and a text behind: (name, share of the full width 0..1, text).

    `look`: "bare" leaves no room to names, "dotted" leaves room to a pattern and a badge beside them.
    """
    room = (
        0
        if look == "bare"
        else max((len(plain_text(name)) for name, _, _ in rows), default=0) + (9 if look == "dotted" else 1)
    )
    widths = f"--names:{min(44, room) * 0.62:.1f}em;--texts:{max((len(t) for _, _, t in rows), default=4) * 0.6:.1f}em"
    body = [_bar(name, share, text, colour) for name, share, text in rows]
    return tag("div", *body, class_=f"bars {look}".strip(), style=widths, role="list", aria_label=label)


def _bar(name: Html, share: float, text: str, colour: int) -> Html:
    filled = tag("i", style=f"width:{100 * min(1.0, max(0.0, share)):.2f}%")
    parts = (
        tag("div", name, class_="name"),
        tag("div", filled, class_="bar", aria_hidden="true"),
        tag("div", text, class_="said"),
    )
    return tag("div", *parts, class_=f"row c{colour}", role="listitem")


def signed(
    rows: Sequence[tuple[Html, float | None, str]], *, label: str, look: str = "", reach: Sequence[float] = ()
) -> Html:
    """Bars to the right of zero for what speaks for, to the left for what speaks against: (name, value, text).

    A value of None has no bar. All rows share one scale. `look` "dotted" leaves room to a pattern beside names;
    `reach` holds further values that the scale must hold, so that two charts share it.
    """
    values = [v for _, v, _ in rows if v is not None]
    low, high = min([0.0, *values, *reach]), max([0.0, *values, *reach])
    room = max((len(plain_text(name)) for name, _, _ in rows), default=0) + (9 if look == "dotted" else 1)
    widths = f"--names:{min(44, room) * 0.62:.1f}em;--texts:{max((len(t) for _, _, t in rows), default=4) * 0.6:.1f}em"
    zero = tag("u", style=f"left:{_percent(0.0, low, high)}")
    body = []
    for name, value, text in rows:
        ends = sorted((_share(0.0, low, high), _share(value or 0.0, low, high)))
        side = "for" if (value or 0.0) >= 0 else "against"
        drawn = tag("i", class_=side, style=f"left:{ends[0]:.2f}%;width:{ends[1] - ends[0]:.2f}%")
        parts = (
            tag("div", name, class_="name"),
            tag("div", drawn if value is not None else None, zero, class_="bar", aria_hidden="true"),
            tag("div", text, class_="said"),
        )
        body.append(tag("div", *parts, class_="row", role="listitem"))
    return tag(
        "div", *body, class_=f"bars signed {look}".strip(), style=widths, role="list", aria_label=label
    )


def stacked(parts: Sequence[tuple[str, float, str]], *, label: str) -> Html:
    """One bar cut into (name, length, look) with a legend; lengths below zero count as zero, `look` is a class."""
    lengths = [max(0.0, length) for _, length, _ in parts]
    whole = sum(lengths) or 1.0
    cuts = [
        tag("i", class_=look, style=f"width:{100 * length / whole:.2f}%", title=f"{name}: {figure(length)}")
        for (name, _, look), length in zip(parts, lengths, strict=True)
        if length > 0
    ]
    legend = [tag("span", name, class_=f"key {look}") for name, _, look in parts]
    said = ", ".join(f"{n} {figure(v)}" for (n, _, _), v in zip(parts, lengths, strict=True))
    bar = tag("div", *cuts, class_="stack", role="img", aria_label=f"{label}: {said}")
    return join(bar, tag("div", *legend, class_="keys", aria_hidden="true"))


def small_lines(lines: Sequence[Sequence[object]], *, label: str) -> Html:
    """A recording without axes: one line per channel on a shared scale; gaps where a number is missing."""
    channels = [[number(v) for v in line] for line in lines]
    values = [v for line in channels for v in line if v is not None]
    if not values:
        return Html("")
    low, high = limits(values)
    drawn = [
        tag("path", d=_broken(line, low, high), class_=f"line c{1 + i % 6}")
        for i, line in enumerate(channels)
    ]
    return tag(
        "svg",
        *drawn,
        viewBox="0 0 1000 1000",
        preserveAspectRatio="none",
        class_="small",
        role="img",
        aria_label=label,
    )


def _broken(line: Sequence[float | None], low: float, high: float) -> str:
    steps, up, parts = max(1, len(line) - 1), False, []
    for i, value in enumerate(line):
        if value is not None:
            at = f"{SIDE * i / steps:.0f} {SIDE * (high - value) / (high - low):.0f}"
            parts.append(f"{'L' if up else 'M'}{at}{'' if up else 'h.01'}")
        up = value is not None
    return "".join(parts)


def outline(line: Sequence[object], *, label: str) -> Html:
    """The loudness of a sound, mirrored as editors show it; values 0..1."""
    loud = [abs(v) for v in map(number, line) if v is not None]
    top = max(loud, default=0.0) or 1.0
    steps = max(1, len(loud))
    strokes = "".join(
        f"M{SIDE * (i + 0.5) / steps:.0f} {500 - 460 * v / top - 4:.0f}V{500 + 460 * v / top + 4:.0f}"
        for i, v in enumerate(loud)
    )
    wave = tag("path", d=strokes or "M0 500H1000", class_="wave c1")
    return tag(
        "svg",
        wave,
        viewBox="0 0 1000 1000",
        preserveAspectRatio="none",
        class_="small",
        role="img",
        aria_label=label,
    )


def cloud(dots: Sequence[object], *, label: str) -> Html:
    """Points from above, both axes on one scale."""
    pairs = [(number(d[0]), number(d[1])) for d in dots if isinstance(d, list | tuple) and len(d) >= 2]
    spots = [(a, b) for a, b in pairs if a is not None and b is not None]
    if not spots:
        return Html("")
    (left, right), (low, high) = ((min(v), max(v)) for v in zip(*spots, strict=True))
    size = max(right - left, high - low) or 1.0
    drawn = "".join(
        f"M{500 + 920 * (a - (left + right) / 2) / size:.0f} {500 - 920 * (b - (low + high) / 2) / size:.0f}h.01"
        for a, b in spots
    )
    return tag(
        "svg",
        tag("path", d=drawn, class_="dot tiny c1"),
        viewBox="0 0 1000 1000",
        class_="cloud",
        role="img",
        aria_label=label,
    )
