"""Where a writer looked, word by word: a small picture for each word, and a strip for what runs over time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sensorium.report.charts import outline, small_lines, tick_text, ticks
from sensorium.report.examples import BASE64
from sensorium.report.heat import HUGE, blurred, layer, picture_size, png, row_of, seconds_of, strongest
from sensorium.report.markup import Html, join, listed, mapping, named, note, number, rows_of, several, tag

WORDS = 24  # pictures and strips of one text
STEPS = 12  # of reasoning
HEAT = 64  # most pixels of a heat's longer side; the browser stretches it
EVEN = 4.0  # a place must be looked at so many times more than evenly to be drawn in full strength
BINS = 2000  # most cells of a strip
BLANKS = " \t\r\n\u0120\u2581"  # what stands for a blank before a word, in the tokens of common tokenizers
WITHOUT_BLANKS = ((0x0E00, 0x0EFF), (0x1780, 0x17FF), (0x2E80, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))
TIMED = frozenset({"video", "audio", "series"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Glance:
    """A word or a step, and for each modality how much each memory token was looked at for it: (n,) of 0..1."""

    word: str
    looks: Mapping[str, np.ndarray]


def glances(words: object) -> list[Glance]:
    """Read `words` of an example as glances; what is no such entry, or holds no looks, is left out."""
    found = []
    for one in rows_of(words):
        looks = {str(m): row_of(w) for m, w in mapping(one.get("looks")).items()}
        known = {m: np.clip(w, 0, None) for m, w in looks.items() if len(w)}
        word = one.get("word")
        if known and isinstance(word, str):
            found.append(Glance(word=word, looks=known))
    return found


def whole_words(tokens: Sequence[Glance], said: str) -> list[Glance]:
    """Merge the tokens of one word, by the blanks of the text `said`; their looks are averaged.

    A token that is not in the text begins a word where it brings a blank, or where no token of the text brings one.
    Scripts that write no blanks keep their tokens apart.
    """
    blanks = any(t.word[:1] in BLANKS for t in tokens[1:] if t.word)
    found: list[list[Glance]] = []
    at = 0
    for token in tokens:
        text = _bare(token.word, said)
        if not text:
            continue
        start = said.find(text, at)
        if start < 0:
            apart = token.word[0] in BLANKS or not blanks
        else:
            apart = start > at or _unblanked(text[0]) or (at > 0 and _unblanked(said[at - 1]))
            at = start + len(text)
        piece = Glance(word=text, looks=token.looks)
        if apart or not found:
            found.append([piece])
        else:
            found[-1].append(piece)
    return [_merged(pieces) for pieces in found]


def _bare(word: str, said: str) -> str:
    """A token without blanks, and without the marks that tokenizers write for them unless the text holds these."""
    text = word.strip()
    return text if text in said else text.strip(BLANKS).removeprefix("##")


def _unblanked(character: str) -> bool:
    return any(low <= ord(character) <= high for low, high in WITHOUT_BLANKS)


def _merged(pieces: Sequence[Glance]) -> Glance:
    looks = {}
    for name, first in pieces[0].looks.items():
        rows = [p.looks[name] for p in pieces if len(p.looks.get(name, ())) == len(first)]
        looks[name] = np.mean(rows, 0)
    return Glance(word="".join(p.word for p in pieces), looks=looks)


def looked(example: Mapping, key: str) -> Html:
    """The looks of each word of one example, a block for each modality; nothing where none can be drawn.

    key: unique within the page, of letters, digits and hyphens; pictures are stored once under it.
    """
    said = example.get("said")
    words = whole_words(glances(example.get("words")), said if isinstance(said, str) else "")
    more = note(f"The first {WORDS} of {len(words)} words.") if len(words) > WORDS else None
    drawn = _modalities(words[:WORDS], example, key)
    return join(drawn, more) if drawn else drawn


def reasoned(example: Mapping, key: str) -> Html:
    """The reasoning steps of one example: the words of the question, and what was looked at in each step."""
    steps = rows_of(example.get("steps"))[:STEPS]
    asked = [_asked(number_of, row_of(s.get("words")), example) for number_of, s in enumerate(steps, 1)]
    looks = glances([{"word": f"step {i}", "looks": s.get("looks")} for i, s in enumerate(steps, 1)])
    shown = tag("ol", *(tag("li", a) for a in asked), class_="asked-for") if any(asked) else None
    return join(shown, _modalities(looks, example, key))


def _asked(step: int, weights: np.ndarray, example: Mapping) -> Html:
    """The question with each word shaded by its weight; a strip where tokens are no words."""
    if not len(weights):
        return Html("")
    top = float(weights.max()) if weights.max() > 0 else 1.0
    texts = [mapping(c).get("text") for c in mapping(example.get("cells")).values()]
    words = next((t.split() for t in texts if isinstance(t, str) and len(t.split()) == len(weights)), None)
    if words is None:
        most = f"step {step}: most at token {int(weights.argmax()) + 1} of {len(weights)}"
        return join(
            note("tokens of the question, first to last"),
            tag("div", _strip(weights, most), class_="lane low"),
        )
    parts: list[object] = []
    for word, weight in zip(words, np.clip(weights / top, 0, 1), strict=True):
        look = f"background:rgb(var(--for) / {0.58 * weight**0.8:.2f})" if weight > 0.02 else None
        parts += [tag("span", word, style=look), " "]
    return tag(
        "p", *parts, class_="words", dir="auto", aria_label=f"the question in step {step}, its words shaded"
    )


# --- one modality ---------------------------------------------------------------------------------------------------


def _modalities(words: Sequence[Glance], example: Mapping, key: str) -> Html:
    names = list(dict.fromkeys(m for w in words for m in w.looks))
    blocks = [_modality(name, words, example, f"{key}-{i}") for i, name in enumerate(names)]
    return join(*(join(tag("h4", named(n)), b) for n, b in zip(names, blocks, strict=True) if b))


def _modality(name: str, words: Sequence[Glance], example: Mapping, key: str) -> Html:
    places = _spots(mapping(example.get("places")).get(name))
    carrier = str(mapping(mapping(example.get("shown")).get(name)).get("carrier") or "")
    preview = mapping(mapping(example.get("cells")).get(name))
    shown = [(w.word, w.looks[name]) for w in words if name in w.looks and len(w.looks[name]) == len(places)]
    if not shown or not len(places):
        return Html("")
    if carrier == "image" or (not carrier and not np.ptp(places[:, 0])):
        return _pictures(name, shown, places, preview, key)
    return _strips(name, shown, places, preview, carrier) if np.ptp(places[:, 0]) > 0 else Html("")


def _spots(value: object) -> np.ndarray:
    """Places as (n, 3): seconds, y, x; empty where one of them is odd."""
    rows = [row_of(p) for p in listed(value)]
    return np.stack(rows) if rows and all(len(r) == 3 for r in rows) else np.zeros((0, 3))


def grid_at(looks: np.ndarray, places: np.ndarray) -> np.ndarray | None:
    """Looks (n,) at places (n, 3) as a grid (rows, columns) over the picture; None where they span no grid.

    Rows and columns are the different y and x. A token that shares neither with another one, such as a summary of the
    whole picture, has no place in it and is left out.
    """
    y, x = np.round(places[:, 1], 4), np.round(places[:, 2], 4)
    lonely = [np.unique(v, return_inverse=True, return_counts=True)[1:] for v in (y, x)]
    inside = ~np.logical_and(*(counts[index] == 1 for index, counts in lonely))
    if not inside.any():
        return None
    (rows, row), (columns, column) = (np.unique(v[inside], return_inverse=True) for v in (y, x))
    if (len(rows) < 2 and len(columns) < 2) or len(rows) * len(columns) > 4 * int(inside.sum()):
        return None
    grid = np.zeros((len(rows), len(columns)))
    np.add.at(grid, (row, column), looks[inside])
    return grid


def _share(looks: np.ndarray) -> str:
    """How much of the whole look fell on this modality, where looks are shares."""
    total = float(looks.sum())
    return f"{100 * total:.0f}\u202f%" if total <= 1.005 else ""


def _pictures(
    name: str, shown: Sequence[tuple[str, np.ndarray]], places: np.ndarray, preview: Mapping, key: str
) -> Html:
    """One picture for each word, its heat over it; the picture itself is stored once."""
    grids = [grid_at(looks, places) for _, looks in shown]
    if any(g is None for g in grids):
        return Html("")
    data = preview.get("png")
    known = picture_size(data) if isinstance(data, str) and BASE64.fullmatch(data) else None
    high, wide = grids[0].shape if known is None else known[::-1]  # type: ignore[union-attr]
    figures = []
    if known:
        plain = tag(
            "svg",
            tag("use", href=f"#{key}"),
            viewBox=f"0 0 {wide} {high}",
            role="img",
            aria_label=f"{name} of this row",
        )
        figures.append(tag("figure", plain, tag("figcaption", "as recorded", class_="soft")))
    for (word, looks), grid in zip(shown, grids, strict=True):
        heat = _heat(grid)  # type: ignore[arg-type]
        layers = [tag("use", href=f"#{key}", class_="beneath")] if known else []
        layers.append(
            tag(
                "image",
                href=f"data:image/png;base64,{heat}",
                width=wide,
                height=high,
                preserveAspectRatio="none",
                class_="above",
            )
        )
        drawn = tag(
            "svg", *layers, viewBox=f"0 0 {wide} {high}", role="img", aria_label=_most_seen(word, grid, name)
        )  # type: ignore[arg-type]
        figures.append(
            tag("figure", drawn, tag("figcaption", tag("b", named(word)), tag("small", _share(looks))))
        )
    return join(
        _stored(str(data), (high, wide), key) if known else None, tag("div", *figures, class_="glances")
    )


def _stored(data: str, size: tuple[int, int], key: str) -> Html:
    """The picture, out of sight, for every word to use."""
    look = "pixels" if max(size) < 80 else None
    image = tag(
        "image", id=key, href=f"data:image/png;base64,{data}", width=size[1], height=size[0], class_=look
    )
    return tag("svg", tag("defs", image), width="0", height="0", class_="store", aria_hidden="true")


def _heat(grid: np.ndarray) -> str:
    """A grid as the base64 of a transparent PNG; what is looked at evenly stays faint."""
    times = max(1, HEAT // max(grid.shape))
    soft = blurred(
        np.repeat(np.repeat(grid, times, 0), times, 1), 2 * times
    )  # never below zero, as splines are
    top = max(strongest(soft), EVEN * float(soft.mean())) or 1.0
    return png(layer(soft, soft.shape, top=top, smooth=False))


def _most_seen(word: str, grid: np.ndarray, name: str) -> str:
    row, column = np.unravel_index(int(grid.argmax()), grid.shape)
    up = ("top", "middle", "bottom")[int(3 * (row + 0.5) / grid.shape[0])]
    side = ("left", "centre", "right")[int(3 * (column + 0.5) / grid.shape[1])]
    return f"{word}: looked most at the {up} {side} of {name}"


# --- courses --------------------------------------------------------------------------------------------------------


def course_at(looks: np.ndarray, seconds: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Looks (n,) at seconds (n,) as even steps: (sums, where the first begins, how long a step is)."""
    at = np.unique(np.round(seconds, 6))
    step = max(float(np.quantile(np.diff(at), 0.5, method="lower")), float(np.ptp(at)) / (BINS - 1))
    index = np.round((seconds - at[0]) / step).astype(int)
    found = np.zeros(int(index.max()) + 1)
    np.add.at(found, index, looks)
    return found, float(at[0]), step


def _strips(
    name: str, shown: Sequence[tuple[str, np.ndarray]], places: np.ndarray, preview: Mapping, carrier: str
) -> Html:
    """The recording above, and below a strip of heat for each word, all on one axis."""
    timed = carrier in TIMED
    courses = [course_at(looks, places[:, 0]) for _, looks in shown]
    values, low, step = courses[0]
    many, high = len(values), low + len(values) * step
    lasts = _seconds(preview) if timed else None
    ends = (min(low, 0.0), max(high, lasts)) if lasts else (low, high)
    recording = _recording(preview, name)
    body = [tag("span"), _lane("lane", recording, (0.0, lasts) if lasts else ends, ends)] if recording else []
    for (word, looks), (values, _, _) in zip(shown, courses, strict=True):
        peak = int(values.argmax())
        where = f"{tick_text(round(low + peak * step, 2))} s" if timed else f"place {peak + 1} of {many}"
        said = tag("div", tag("b", named(word)), tag("small", _share(looks)), class_="spoken-word")
        strip = _strip(values, f"{word}: looked most at {where} of {name}")
        body += [said, _lane("lane low", strip, (low, high), ends)]
    axis = _axis(*ends) if timed else tag("small", f"{several(many, 'token')}, first to last", class_="soft")
    return tag("div", *body, tag("span"), axis, class_="spoken")


def _seconds(preview: Mapping) -> float | None:
    """How long the recording lasts, where its preview tells."""
    found = seconds_of(preview.get("wav")) or number(preview.get("seconds"))
    return found if found and 0 < found < HUGE else None


def _lane(look: str, drawn: Html, span: tuple[float, float], ends: tuple[float, float]) -> Html:
    """A drawing from one second to another, in a lane that holds all seconds from end to end."""
    wide = (ends[1] - ends[0]) or 1.0
    left, width = 100 * (span[0] - ends[0]) / wide, 100 * (span[1] - span[0]) / wide
    place = f"position:absolute;top:0;bottom:0;left:{left:.2f}%;width:{width:.2f}%"
    return tag("div", tag("div", drawn, style=place), class_=look)


def _strip(values: np.ndarray, words: str) -> Html:
    """Values (n,) as a strip of heat, straight lines between the middles of the steps."""
    top = max(float(values.max()), EVEN * float(values.mean())) or 1.0
    wide = min(900, max(120, 4 * len(values)))
    at = (np.arange(wide) + 0.5) / wide * len(values) - 0.5
    fine = np.interp(at, np.arange(len(values)), values)
    drawn = png(layer(fine[None], (1, wide), top=top, smooth=False))
    return tag("img", src=f"data:image/png;base64,{drawn}", alt=words)


def _recording(preview: Mapping, name: str) -> Html | None:
    """The contact sheet of a clip, the outline of a sound or the lines of a recording, for one lane."""
    data, lines = preview.get("png"), listed(preview.get("lines"))
    if picture_size(data) is not None and BASE64.fullmatch(str(data)):
        return tag("img", src=f"data:image/png;base64,{data}", alt=f"frames of {name}")
    if not lines:
        return None
    many = [listed(line) for line in lines] if isinstance(lines[0], list | tuple) else [lines]
    if preview.get("wav"):
        return outline(many[0], label=f"outline of the sound {name}")
    return small_lines(many, label=f"{name}, {several(len(many), 'channel')}") or None


def _axis(low: float, high: float) -> Html:
    marks = [
        tag("span", f"{tick_text(t)}\u202fs", style=f"left:{100 * (t - low) / ((high - low) or 1.0):.2f}%")
        for t in ticks(low, high, 4)
    ]
    return tag("div", *marks, class_="scale", aria_hidden="true")
