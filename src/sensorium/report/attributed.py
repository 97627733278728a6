"""One input of an explained row, drawn with what in it spoke for the answer and what against."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sensorium.report.charts import outline, signed, small_lines, tick_text, ticks
from sensorium.report.examples import cell
from sensorium.report.heat import blurred, grid_of, layer, picture_size, png, row_of, seconds_of, strongest
from sensorium.report.markup import Html, folded, join, listed, mapping, named, number, rows_of, scroll, tag

SIDE = 288  # pixels of a heat's longer side
FRAMES = 8  # of a contact sheet
FRAME = 96  # pixels of a frame's height
LANES = 6  # channels shown at once
FIELDS = 20  # fields of a table shown at once
LEVELS = (0.08, 0.3, 0.6)  # of the strongest point: where a point's look changes


def attributed(one: Mapping, *, words: tuple[str, str]) -> Html:
    """Draw an entry of `inputs` of an explanation; its preview alone where there are no places to show.

    words: what blue and red mean, such as ("speaks against 16", "speaks for 16").
    """
    name, places = str(one.get("name") or "?"), mapping(one.get("places"))
    draw = CARRIERS.get(str(one.get("carrier")))
    drawn = draw(places, mapping(one.get("preview")), name) if draw is not None else Html("")
    return join(drawn, legend(words)) if drawn else tag("div", cell(one.get("preview"), name), class_="cell")


def legend(words: tuple[str, str]) -> Html:
    """What the colours mean: blue on the left, red on the right."""
    return tag("div", tag("span", words[0]), tag("i"), tag("span", words[1]), class_="legend")


def plus(value: object) -> str:
    """A number with its sign and a proper minus."""
    found = number(value)
    if found is None:
        return "\u2013"
    return f"{found:+.3f}".replace("-", "\u2212") if abs(found) >= 0.0005 else "0.000"


# --- pictures ------------------------------------------------------------------------------------------------------


def _image(places: Mapping, preview: Mapping, name: str) -> Html:
    grid = grid_of(places.get("heat"))
    if grid is None:
        return Html("")
    wide, high = picture_size(preview.get("png")) or (grid.shape[1], grid.shape[0])
    scale = SIDE / max(wide, high)
    size = max(1, round(high * scale)), max(1, round(wide * scale))
    heat = _overlay(png(layer(blurred(grid), size)), f"where in {name} the answer came from")
    plain = _plain(preview, name, small=max(wide, high) < 80)
    figures = [tag("figure", tag("figcaption", "as recorded"), tag("div", plain, class_="layers"))] if plain else []  # fmt: skip
    shape = None if plain else f"aspect-ratio:{wide}/{high}"
    shown = tag("div", plain, heat, class_="layers under", style=shape)
    return tag("div", *figures, tag("figure", tag("figcaption", "what counted"), shown), class_="sight")


def _plain(preview: Mapping, name: str, *, small: bool) -> Html | None:
    """The picture of a preview; None where there is none, or a damaged one."""
    data = preview.get("png")
    if picture_size(data) is None or "<img" not in cell({"png": data}, name):
        return None
    look = "pixels" if small else None
    return tag("img", src=f"data:image/png;base64,{data}", alt=f"{name} of this row", class_=look)


def _overlay(data: str, words: str, style: str | None = None) -> Html:
    return tag("img", src=f"data:image/png;base64,{data}", alt=words, class_="heated", style=style)


def _video(places: Mapping, preview: Mapping, name: str) -> Html:
    """The contact sheet with the heat over its frames, and the course over time."""
    grids = [g for g in map(grid_of, listed(places.get("heat"))) if g is not None]
    course = _time(places, [_course_lane(places)], until=0.0)
    size = picture_size(preview.get("png"))
    if not grids or len({g.shape for g in grids}) != 1 or size is None:
        return course
    count = max(n for n in range(1, FRAMES + 1) if size[0] % n == 0)
    frames = _per_frame(np.stack(grids), count)
    top, one = strongest(frames), (FRAME, min(4 * FRAME, max(1, round(FRAME * size[0] / count / size[1]))))
    tiles = [layer(blurred(f, 1), one, top=top) for f in frames]
    heat = _overlay(png(np.concatenate(tiles, 1)), f"where in {name} the answer came from")
    plain = _plain(preview, name, small=False)
    sheets = [tag("div", plain, class_="layers")] if plain else []
    sheets.append(tag("div", plain, heat, class_="layers under", style="margin-top:6px"))
    return join(scroll(tag("div", *sheets, class_="strip"), f"frames of {name}"), course)


def _per_frame(heat: np.ndarray, count: int) -> np.ndarray:
    """Heat of (n, h, w) frames as that of `count` frames spread over the same time: sums, or the nearest one."""
    many = len(heat)
    if many < count:
        return heat[np.linspace(0, many - 1, count).round().astype(int)]
    nearest = np.linspace(0, count - 1, many).round().astype(int)
    found = np.zeros((count, *heat.shape[1:]))
    np.add.at(found, nearest, heat)
    return found


# --- courses -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Lane:
    """One strip over time: marks with where they begin and end in seconds (or steps), and its height's name."""

    marks: Sequence[tuple[Html, float, float]]  # (drawing, start, stop)
    title: str = ""
    look: str = ""  # "", "tall" or "low"


def _span(places: Mapping, steps: int) -> tuple[float, float, bool]:
    """Where a course of so many steps begins and ends, and whether that is in seconds."""
    start, step = number(places.get("start_s")), number(places.get("step_s"))
    if step is None or step <= 0:
        return 0.0, float(max(1, steps)), False
    return start or 0.0, (start or 0.0) + step * max(1, steps), True


def _time(places: Mapping, lanes: Sequence[Lane | None], *, until: float, front: Html | None = None) -> Html:
    """Lanes on one axis of time from the first mark to the last, or to `until` where that is later."""
    shown = [lane for lane in lanes if lane is not None]
    ends = [(a, b) for lane in shown for _, a, b in lane.marks]
    if not ends:
        return Html("")
    low, high = min(a for a, _ in ends), max([until, *(b for _, b in ends)])
    wide = (high - low) or 1.0
    body = []
    for lane in shown:
        marks = [
            tag("div", m, style=f"position:absolute;top:0;bottom:0;left:{100 * (a - low) / wide:.2f}%;width:{100 * (b - a) / wide:.2f}%")
            for m, a, b in lane.marks
        ]  # fmt: skip
        body += [tag("div", lane.title, class_="lane-name")] if lane.title else []
        body.append(tag("div", *marks, class_=f"lane {lane.look}".strip()))
    unit = "\u202fs" if _span(places, 1)[2] else ""
    scale = [
        tag("span", f"{tick_text(t)}{unit}" if unit else tick_text(t), style=f"left:{100 * (t - low) / wide:.2f}%")
        for t in ticks(low, high, 6)
    ]  # fmt: skip
    axis = None if unit else tag("small", "steps, without a clock", class_="soft")
    return tag("div", front, *body, tag("div", *scale, class_="scale", aria_hidden="true"), axis, class_="lanes")  # fmt: skip


def _course_lane(places: Mapping) -> Lane | None:
    """The course of all attributions over time: up and red for, down and blue against."""
    values = row_of(places.get("steps"))
    if not len(values):
        return None
    low, high, _ = _span(places, len(values))
    return Lane(marks=[(course(values, "attribution over time"), low, high)], title="what counted, over time")


def course(values: np.ndarray, label: str) -> Html:
    """Columns of (n,) values around a middle line: up and red above zero, down and blue below."""
    top, wide = float(np.abs(values).max()) or 1.0, 1000 / max(1, len(values))
    drawn = {"for": [], "against": []}
    for i, v in enumerate(values):
        if v:
            drawn["for" if v > 0 else "against"].append(
                f"M{i * wide:.1f} 500V{500 - 480 * v / top:.0f}H{(i + 1) * wide:.1f}V500Z"
            )
    paths = [tag("path", d="".join(d), class_=f"fill {look}") for look, d in drawn.items() if d]
    middle = tag("path", d="M0 500H1000", class_="grid")
    return tag("svg", middle, *paths, viewBox="0 0 1000 1000", preserveAspectRatio="none", class_="small", role="img", aria_label=label)  # fmt: skip


def _stretched(data: str, words: str) -> Html:
    return _overlay(data, words, "width:100%;height:100%")


def _audio(places: Mapping, preview: Mapping, name: str) -> Html:
    """Player, outline, course, and the map of seconds x mel bands on one axis of time."""
    wave = listed(preview.get("lines"))
    heard = cell({"wav": preview["wav"]}, name) if preview.get("wav") else None
    bands, steps = grid_of(places.get("bands")), row_of(places.get("steps"))
    if bands is None and not len(steps):
        return Html("")
    low, high, clocked = _span(places, len(steps) if len(steps) else len(bands))  # type: ignore[arg-type]
    stop = (seconds_of(preview.get("wav")) or 0.0) if clocked else 0.0
    first = listed(wave[0]) if wave and isinstance(wave[0], list | tuple) else wave
    lanes = [Lane(marks=[(outline(first, label=f"outline of the sound {name}"), 0.0 if clocked else low, stop or high)], title="loudness")] if first else []  # fmt: skip
    lanes.append(_course_lane(places))  # type: ignore[arg-type]
    if bands is not None:
        upright = bands.T[::-1]  # low bands at the bottom
        drawn = png(layer(upright, (4 * upright.shape[0], min(900, 6 * upright.shape[1]))))
        mel = _stretched(drawn, f"attribution over time and pitch of {name}")
        lanes.append(Lane(marks=[(mel, low, high)], title="pitch: mel bands, low at the bottom", look="tall"))
    return _time(places, lanes, until=stop, front=heard)


def _series(places: Mapping, preview: Mapping, name: str) -> Html:
    """A lane for each channel, shaded by its attribution, its line above; and the course of all."""
    channels = [(str(c.get("name", "?")), row_of(c.get("values"))) for c in rows_of(places.get("channels"))]
    channels = [c for c in channels if len(c[1])]
    if not channels:
        return _time(places, [_course_lane(places)], until=0.0)
    lines = _lines(preview)
    top = strongest(np.concatenate([v for _, v in channels]))
    low, high, clocked = _span(places, len(channels[0][1]))
    lasts = number(preview.get("seconds"))
    stop = low + lasts if clocked and lasts else high
    ordered = sorted(channels, key=lambda c: -float(np.abs(c[1]).sum()))
    lanes = [_channel(n, v, lines.get(n), (low, high, stop), top) for n, v in ordered]
    whole = _time(places, [_course_lane(places), *lanes[:LANES]], until=stop)
    rest = lanes[LANES:]
    more = folded(f"{len(rest)} more channels", _time(places, rest, until=stop)) if rest else None
    return join(whole, more)


def _lines(preview: Mapping) -> dict[str, list]:
    """Name -> samples of the channels of a preview; numbers from 1 where they have no names."""
    lines = [listed(line) for line in listed(preview.get("lines"))]
    names = [str(n) for n in listed(preview.get("names"))]
    names += [str(i) for i in range(len(names) + 1, len(lines) + 1)]
    return dict(zip(names, lines, strict=False))


def _channel(
    name: str, values: np.ndarray, line: list | None, span: tuple[float, float, float], top: float
) -> Lane:
    low, high, stop = span
    shade = png(layer(values[None], (1, min(900, max(200, 4 * len(values)))), top=top))
    marks = [(_stretched(shade, f"attribution of {name} over time"), low, high)]
    drawn = small_lines([line], label=f"channel {name}") if line else None
    return Lane(
        marks=[*marks, *([(drawn, low, stop)] if drawn else [])], title=f"{name} {plus(values.sum())}"
    )


# --- words, points, fields -----------------------------------------------------------------------------------------


def _text(places: Mapping, preview: Mapping, name: str) -> Html:
    """The text with a background behind each word: its colour is the side, its strength the size."""
    words = [(w, number(w.get("value")) or 0.0) for w in rows_of(places.get("words"))]
    if not words:
        return Html("")
    top = max(abs(v) for _, v in words) or 1.0
    parts: list[object] = []
    before = 0
    text = preview.get("text") if isinstance(preview.get("text"), str) else ""
    for word, value in words:
        start, stop = number(word.get("start")), number(word.get("stop"))
        if start is not None and stop is not None:
            parts.append(_between(str(text), before, int(start), first=not parts))
            before = int(stop)
        parts.append(_word(str(word.get("text", "")), value, top))
    return tag("p", *parts, class_="words", dir="auto", tabindex="0", aria_label=f"{name} with the share of each word")  # fmt: skip


def _between(text: str, before: int, start: int, *, first: bool) -> str:
    """What stands between two words: as written where that is known, else a blank, or dots for more than a few."""
    if start <= before:
        return ""
    if start <= len(text):
        return text[before:start]
    return " " if start - before <= 3 else "" if first else " \u2026 "


def _word(text: str, value: float, top: float) -> Html:
    share = abs(value) / top
    side = "for" if value > 0 else "against"
    look = f"background:rgb(var(--{side}) / {0.58 * share**0.8:.2f})" if share > 0.02 else None
    return tag("span", text, style=look, title=plus(value))


def _points(places: Mapping, preview: Mapping, name: str) -> Html:
    """The cloud from above, each point coloured by what it added; frames of a timed one as a course."""
    rows = [row_of(p) for p in listed(places.get("points"))]
    rows = [r for r in rows if len(r) >= 3]
    if not rows:
        framed = _time(places, [_course_lane(places)], until=0.0)
        return join(tag("div", cell(preview, name), class_="cell"), framed) if framed else framed
    x, y, v = (np.array([r[i] for r in rows]) for i in (0, 1, -1))
    middle = (x.min() + x.max()) / 2, (y.min() + y.max()) / 2
    size = max(float(np.ptp(x)), float(np.ptp(y))) or 1.0
    share = np.abs(v) / strongest(v)
    drawn = []
    for level in range(len(LEVELS) + 1):  # the strongest last, above the others
        low = LEVELS[level - 1] if level else 0.0
        high = LEVELS[level] if level < len(LEVELS) else np.inf
        for side, here in (("for", v > 0), ("against", v <= 0)):
            d = "".join(
                f"M{500 + 920 * (x[i] - middle[0]) / size:.0f} {500 - 920 * (y[i] - middle[1]) / size:.0f}h.01"
                for i in np.flatnonzero(here & (share >= low) & (share < high))
            )
            drawn.append(tag("path", d=d, class_=f"dot {side} s{level}") if d else None)
    label = f"{name}: points from above, coloured by what they added"
    return tag("svg", *drawn, viewBox="0 0 1000 1000", class_="cloud big", role="img", aria_label=label)


def _table(places: Mapping, preview: Mapping, name: str) -> Html:
    """A bar for each field, the largest first, with what stands in it."""
    cells = {str(k): v for k, v in mapping(preview.get("cells")).items()}
    rows = []
    for field in rows_of(places.get("fields")):
        value, told = number(field.get("value")), cells.get(str(field.get("name")))
        content = tag("small", " ", named(told), class_="soft") if told not in (None, "") else None
        empty = tag("small", " empty", class_="soft") if told == "" else None
        if value is not None:
            rows.append((join(named(field.get("name", "?")), content, empty), value, plus(value)))
    rows.sort(key=lambda r: -abs(r[1]))
    if not rows:
        return Html("")
    label = f"what each field of {name} added"
    rest = rows[FIELDS:]
    more = folded(f"{len(rest)} more fields", signed(rest, label=label)) if rest else None
    return join(signed(rows[:FIELDS], label=label), more)


CARRIERS: Mapping[str, Callable[[Mapping, Mapping, str], Html]] = {
    "image": _image,
    "video": _video,
    "audio": _audio,
    "series": _series,
    "points": _points,
    "text": _text,
    "table": _table,
}
