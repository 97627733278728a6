"""Pictures of alignment: a path through similarities, words under a sound, and where in a picture each word belongs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sensorium.report.charts import SIDE, outline, tick_text, ticks
from sensorium.report.examples import cell
from sensorium.report.heat import blurred, layer, picture_size, png, strongest
from sensorium.report.markup import Html, folded, join, listed, named, note, scroll, several, table, tag
from sensorium.report.page import OFFLINE, brand, document

ROW = 24  # pixels of a row with a word
LABELS = 60  # words beside one map at most; above, every second or third
PIXELS = 900  # of a map's longer side
PICTURE = 288  # pixels of a picture's longer side
SHOWN = 12  # words with a picture of their own before the fold
FOLDED = 60  # most of them behind it
LETTER = 8  # pixels that a letter of a lane needs
FIT = 0.8  # share of the words that fit into their boxes; the rest is cut, and whole in the table
WIDEST = 6000  # pixels of a lane that scrolls
ROOM_S = 0.2  # seconds shown before the first and after the last word


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """One side of a map: words, or steps of a clock."""

    name: str
    words: Sequence[str] = ()  # one for each step, where they are words
    step_s: float | None = None  # seconds from step to step; None where there is no clock
    start_s: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Timed:
    """One word with its time in seconds."""

    word: str
    start_s: float
    stop_s: float


def aligned_page(heading: str, sections: Sequence[tuple[str, Html]], *, told: str = "") -> str:
    """A whole page with one section for each (title, figure) that is not empty; `told` stands under the heading."""
    body = [tag("section", tag("h2", title), figure) for title, figure in sections if figure]
    return document(
        heading, tag("header", brand("Sensorium alignment"), tag("h1", heading), note(told) if told else None),
        *body, tag("footer", tag("p", OFFLINE)),
    )  # fmt: skip


# --- a path through similarities -----------------------------------------------------------------------------------


def path_map(similarity: np.ndarray, path: Sequence[tuple[int, int]], *, rows: Axis, columns: Axis) -> Html:
    """Draw a path through the similarities (rows, columns) of two sequences; "" where there are none.

    similarity: larger is more alike, any scale; what is not finite is left blank. path: cells (row, column) in
    order. Words run down, a clock runs up and to the right.
    """
    if similarity.ndim != 2 or not similarity.size:
        return Html("")
    grid = _shares(similarity)
    up = not rows.words
    seen = grid[::-1] if up else grid
    size = tuple(int(np.clip(PIXELS // n, 1, 24)) * n if n < PIXELS else PIXELS for n in seen.shape)
    heat = tag(
        "img", src=f"data:image/png;base64,{png(layer(-seen, size, top=1.0, smooth=False))}", alt="",
        style="position:absolute;inset:0;width:100%;height:100%;border-radius:6px",
    )  # fmt: skip
    high, wide = similarity.shape
    spots = [
        (SIDE * (j + 0.5) / wide, SIDE * ((high - i - 0.5) if up else (i + 0.5)) / high)
        for i, j in path
        if 0 <= i < high and 0 <= j < wide
    ]
    drawn = [heat, _way(spots), *_marks(rows, high, "y", up=up), *_marks(columns, wide, "x", up=False)]
    height = max(180, ROW * -(-high // -(-high // LABELS))) if rows.words else 320
    frame = tag(
        "div", *drawn, class_="plot", role="img", aria_label=_told(rows, columns, high, wide, len(spots)),
        style=f"height:{height}px;margin-left:{_room(rows.words)}px;{_foot(columns)}background:var(--wash);border-radius:6px",
    )  # fmt: skip
    keys = [tag("span", "more alike", class_="key c1 dots"), tag("span", "the path", class_="key c2")]
    body = [tag("div", _titled(rows), class_="axis"), frame, tag("div", _titled(columns), class_="axis end")]
    if columns.words:
        body[-1] = tag("div", _titled(columns), class_="axis", style="text-align:end")
    return tag("figure", tag("figcaption", *keys), *body, class_="chart")


def _shares(similarity: np.ndarray) -> np.ndarray:
    """Similarities as 0..1 from the lowest tenth to the highest hundredth; what is not finite is 0."""
    known = np.isfinite(similarity)
    if not known.any():
        return np.zeros(similarity.shape)
    low, high = np.percentile(similarity[known], [10, 99])
    if not high > low:
        low, high = similarity[known].min(), similarity[known].max()
    shares = (np.where(known, similarity, low) - low) / ((high - low) or 1.0)
    return np.clip(shares, 0, 1)


def _way(spots: Sequence[tuple[float, float]]) -> Html | None:
    """The path as a line with a rim, so that it is seen on any ground."""
    if not spots:
        return None
    d = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in spots) + ("h.01" if len(spots) == 1 else "")
    rim = tag(
        "path", d=d, style="stroke:var(--card);stroke-width:6;stroke-linecap:round;stroke-linejoin:round"
    )
    line = tag("path", d=d, class_="line c2", style="stroke-width:3;stroke-linecap:round")
    return tag(
        "svg", rim, line, viewBox=f"0 0 {SIDE:g} {SIDE:g}", preserveAspectRatio="none", aria_hidden="true"
    )


def _marks(axis: Axis, count: int, way: str, *, up: bool) -> list[Html]:
    """Ticks of one side: its words, or round numbers."""
    side = "left" if way == "x" else "top"
    if axis.words:
        every = -(-count // LABELS)
        places = [(i, (i + 0.5) / count) for i in range(0, min(count, len(axis.words)), every)]
        turned = "writing-mode:vertical-rl;max-height:8em;" if way == "x" else "max-width:8em;"
        clip = f"{turned}overflow:hidden;text-overflow:ellipsis;"
        return [
            tag("span", named(axis.words[i]), class_=f"tick {way}", style=f"{clip}{side}:{100 * p:.2f}%")
            for i, p in places
        ]
    step = axis.step_s or 1.0
    low, high = (axis.start_s, axis.start_s + step * count) if axis.step_s else (0.0, float(count))
    shares = [(t, (t - low) / (high - low)) for t in ticks(low, high, 6 if way == "x" else 5)]
    return [
        tag("span", tick_text(t), class_=f"tick {way}", style=f"{side}:{100 * (1 - p if up else p):.2f}%")
        for t, p in shares
    ]


def _titled(axis: Axis) -> Html:
    unit = "" if axis.words else ", s" if axis.step_s else ", steps"
    return join(named(axis.name), unit)


def _room(words: Sequence[str]) -> int:
    """Pixels that the longest word needs beside the map."""
    return min(110, max(48, 8 * max(map(len, words), default=0) + 16))


def _foot(axis: Axis) -> str:
    """Room below for words that stand upright."""
    return f"margin-bottom:{min(110, 8 * max(map(len, axis.words)) + 16)}px;" if axis.words else ""


def _told(rows: Axis, columns: Axis, high: int, wide: int, cells: int) -> str:
    shape = f"{high} steps of {rows.name} against {wide} steps of {columns.name}"
    return f"similarity of {shape}, with a path through {several(cells, 'cell')}"


# --- words under a sound -------------------------------------------------------------------------------------------


def words_in_sound(
    words: Sequence[Timed],
    *,
    preview: Mapping,
    seconds: float,
    known: Sequence[Timed] = (),
    name: str = "sound",
) -> Html:
    """Draw words under the outline of their sound; "" without words.

    preview: of an audio cell (`lines`, and `wav` to listen to where there is one). seconds: how long the sound is.
    known: the true times, where there are any, as a lane of their own.
    """
    shown = [w for w in words if w.stop_s > w.start_s]
    if not shown or not seconds > 0:
        return Html("")
    low, high = _window([*shown, *known], seconds)
    lines = listed(preview.get("lines"))
    first = listed(lines[0]) if lines and isinstance(lines[0], list | tuple) else lines
    part = first[int(len(first) * low / seconds) : int(np.ceil(len(first) * high / seconds))]
    wave = outline(part, label=f"outline of {name}") if part else None
    heard = cell({"wav": preview["wav"]}, name) if preview.get("wav") else None
    cuts = sorted({t for w in shown for t in (w.start_s, w.stop_s)})
    window = low, high
    lanes = [
        tag("div", wave, *(_cut((t - low) / (high - low)) for t in cuts), class_="lane"),
        *_lane(shown, window, title="words, as aligned", colour=1),
        *(_lane(known, window, title="words, as they are known to lie", colour=3) if known else []),
        _clock(window),
    ]
    needs = sorted(LETTER * (len(w.word) + 1) * (high - low) / (w.stop_s - w.start_s) for w in shown)
    need = min(WIDEST, needs[int(FIT * (len(needs) - 1))])
    strip = tag("div", *lanes, class_="lanes", style=f"min-width:{need:.0f}px")
    return join(heard, scroll(strip, f"words of {name} over time"), _times(shown, known))


def _window(words: Sequence[Timed], seconds: float) -> tuple[float, float]:
    """From a little before the first word to a little after the last one."""
    low = max(0.0, min(w.start_s for w in words) - ROOM_S)
    return low, max(min(seconds, max(w.stop_s for w in words) + ROOM_S), low + 1e-3)


def _cut(share: float) -> Html:
    return tag("i", style=f"position:absolute;top:0;bottom:0;left:{100 * share:.2f}%;width:1px;background:var(--soft);opacity:.6")  # fmt: skip


def _lane(words: Sequence[Timed], window: tuple[float, float], *, title: str, colour: int) -> list[Html]:
    """A strip with a box for each word, and its name above."""
    low, wide = window[0], window[1] - window[0]
    boxes = [
        tag(
            "div", named(w.word), title=f"{w.start_s:.2f} \u2013 {w.stop_s:.2f} s",
            style="position:absolute;top:4px;bottom:4px;overflow:hidden;white-space:nowrap;text-align:center;"
            f"left:{100 * (w.start_s - low) / wide:.2f}%;width:{100 * (w.stop_s - w.start_s) / wide:.2f}%;"
            "font-size:.82rem;line-height:29px;border-radius:5px;background:var(--card);box-shadow:inset 0 -3px 0 var(--c),"
            "inset 0 0 0 1px var(--line)",
        )
        for w in words
    ]  # fmt: skip
    return [
        tag("div", title, class_="lane-name"),
        tag("div", *boxes, class_=f"lane low c{colour}"),
    ]


def _clock(window: tuple[float, float]) -> Html:
    low, high = window
    marks = [
        tag("span", f"{tick_text(t)}\u202fs", style=f"left:{100 * (t - low) / (high - low):.2f}%")
        for t in ticks(low, high, 6)
    ]
    return tag("div", *marks, class_="scale", aria_hidden="true")


def _times(words: Sequence[Timed], known: Sequence[Timed]) -> Html:
    """All times as figures, folded; beside the true ones where every word has one."""
    both = len(known) == len(words)
    heads = ["Word", "from, s", "to, s", *(["known from, s", "known to, s"] if both else [])]
    rows = [
        [named(w.word), *(f"{t:.2f}" for t in (w.start_s, w.stop_s)), *([f"{known[i].start_s:.2f}", f"{known[i].stop_s:.2f}"] if both else [])]
        for i, w in enumerate(words)
    ]  # fmt: skip
    return folded("The times as figures", table(heads, rows, numeric=frozenset(range(1, 5)), caption="times of the words"))  # fmt: skip


# --- words in a picture --------------------------------------------------------------------------------------------


def words_in_picture(
    plan: np.ndarray, words: Sequence[str], *, shape: tuple[int, int], preview: Mapping, name: str = "picture"
) -> Html:
    """Draw for each word where in the picture its mass lies; "" where the plan has another shape.

    plan: (patches, words), zero and more, patches row by row as `shape` (rows, columns) has them. preview: of an
    image cell (`png`). The colours of all words have one scale: what is spread over the whole picture stays pale.
    """
    if plan.shape != (shape[0] * shape[1], len(words)) or not plan.size or not np.isfinite(plan).all():
        return Html("")
    maps = [blurred(column.reshape(shape), 1) for column in plan.T]
    top = strongest(np.stack(maps))
    data = preview.get("png")
    wide, high = picture_size(data) or (shape[1], shape[0])
    scale = PICTURE / max(wide, high)
    size = max(1, round(high * scale)), max(1, round(wide * scale))
    plain = None
    if picture_size(data) is not None and "<img" in cell({"png": data}, name):
        look = "pixels" if max(wide, high) < 80 else None
        plain = tag("img", src=f"data:image/png;base64,{data}", alt=name, class_=look)
    drawn = [
        _word_map(w, m, plan[:, i], size, top, plain)
        for i, (w, m) in enumerate(zip(words, maps, strict=True))
    ]
    whole = (
        tag("figure", tag("figcaption", "as recorded"), tag("div", plain, class_="layers")) if plain else None
    )
    rest = drawn[SHOWN:]
    more = (
        folded(several(len(rest), "more word"), tag("div", *rest[:FOLDED], class_="sight")) if rest else None
    )
    left = len(rest) - FOLDED
    over = note(tag("small", f"{several(left, 'word')} after these are left out here.")) if left > 0 else None
    about = note(
        "Red is where a word belongs; beside it stands how much of the picture holds half of its mass."
    )
    return join(about, tag("div", whole, *drawn[:SHOWN], class_="sight"), more, over)


def _word_map(
    word: str, spread: np.ndarray, mass: np.ndarray, size: tuple[int, int], top: float, plain: Html | None
) -> Html:
    """One word over the picture, with the share of the patches that hold half of its mass."""
    heat = png(layer(spread, size, top=top))
    shown = tag("img", src=f"data:image/png;base64,{heat}", alt=f"where {word} lies", class_="heated")
    ordered = np.sort(mass)[::-1]
    half = int(np.searchsorted(np.cumsum(ordered), ordered.sum() / 2 * (1 - 1e-9))) + 1
    told = tag("figcaption", tag("b", named(word)), f" half of it in {100 * half / len(mass):.0f}\u202f%") if mass.any() else tag("figcaption", tag("b", named(word)), " nowhere")  # fmt: skip
    box = tag(
        "div",
        plain,
        shown,
        class_="layers under",
        style=None if plain else f"aspect-ratio:{size[1]}/{size[0]}",
    )
    return tag("figure", told, box, style="flex:0 1 150px")
