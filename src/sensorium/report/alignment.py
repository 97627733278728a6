"""The page of one aligned row: every pair of its cells, and which parts of them belong together."""

from collections.abc import Mapping

import numpy as np

from sensorium.report.aligned import Axis, Timed, aligned_page, path_map, words_in_picture, words_in_sound
from sensorium.report.examples import cell
from sensorium.report.heat import grid_of
from sensorium.report.markup import Html, join, listed, mapping, named, note, number, rows_of, several, table

SURE = 0.9  # of other rows that fit worse: then the alignment is about this row


def alignment(found: Mapping) -> str:
    """The whole page of what `align` returned, as HTML; parts that are missing or odd are left out."""
    previews = mapping(found.get("previews"))
    sections = []
    for pair in rows_of(found.get("pairs")):
        title = " and ".join(str(c) for c in listed(pair.get("columns")))
        told = note(str(pair["told"])) if pair.get("told") else None
        text = cell({"text": pair["text"]}, title) if pair.get("text") else None
        drawn = _figure(pair, previews) or note("There is no picture of this.")
        sections.append((title, join(text, told, drawn, _worth(pair))))
    remarks = "; ".join(str(r) for r in listed(found.get("remarks")))
    return aligned_page(
        f"Row {found.get('id', '')}", sections, told=f"{remarks[0].upper()}{remarks[1:]}." if remarks else ""
    )


def _figure(pair: Mapping, previews: Mapping) -> Html:
    """The picture of one pair, by what it shows."""
    shown = mapping(pair.get("shown"))
    if "sound" in shown:
        name = str(shown["sound"])
        return words_in_sound(
            _timed(pair),
            preview=mapping(previews.get(name)),
            seconds=number(shown.get("seconds")) or 0.0,
            name=name,
        )
    if "plan" in shown:
        name, parts = str(shown.get("picture")), [str(p) for p in listed(shown.get("parts"))]
        plan, shape = grid_of(shown["plan"]), [int(number(n) or 0) for n in listed(shown.get("shape"))]
        if plan is None or len(shape) != 2 or plan.shape[1] != len(parts):
            return Html("")
        return words_in_picture(
            plan, parts, shape=(shape[0], shape[1]), preview=mapping(previews.get(name)), name=name,
        )  # fmt: skip
    if "similarity" in shown:
        similarity = grid_of(shown["similarity"])
        path = [(int(c[0]), int(c[1])) for c in map(listed, listed(shown.get("path"))) if len(c) == 2]
        drawn = (
            Html("")
            if similarity is None
            else path_map(
                similarity, path, rows=_axis(shown.get("rows")), columns=_axis(shown.get("columns"))
            )
        )
        heard = [
            cell({"wav": p["wav"]}, n)
            for n, p in previews.items()
            if n in listed(pair.get("columns")) and mapping(p).get("wav")
        ]
        return join(drawn, *heard)
    links = rows_of(pair.get("links"))
    rows = [
        [named(one.get("from")), named(one.get("to")), f"{100 * (number(one.get('mass')) or 0.0):.0f}\u202f%"]
        for one in links
    ]
    return (
        table(["Part", "goes to", "with"], rows, numeric=frozenset({2}), caption="parts that belong together")
        if rows
        else Html("")
    )


def _timed(pair: Mapping) -> list[Timed]:
    found = [
        (w.get("word"), number(w.get("start_s")), number(w.get("stop_s"))) for w in rows_of(pair.get("words"))
    ]
    return [Timed(word=str(w), start_s=a, stop_s=b) for w, a, b in found if a is not None and b is not None]


def _axis(value: object) -> Axis:
    told = mapping(value)
    step_s = number(told.get("step_s"))
    return Axis(
        name=str(told.get("name", "")), words=[str(w) for w in listed(told.get("words"))],
        step_s=step_s if step_s and step_s > 0 else None, start_s=number(told.get("start_s")) or 0.0,
    )  # fmt: skip


def _worth(pair: Mapping) -> Html | None:
    """What the alignment costs, beside one that knows nothing: as near means that it says little."""
    cost, even = number(pair.get("cost")), number(pair.get("even"))
    if cost is None or even is None or not np.isfinite([cost, even]).all():
        return None
    blind = {"transport": "spread evenly", "order": "in equal shares", "warping": "straight"}.get(
        str(pair.get("method")), "without looking"
    )
    told = f"Mean distance (1 \u2212 cos) of what was put together: {cost:.3f}; {blind}, {even:.3f}."
    strangers = mapping(pair.get("strangers"))
    rows, dearer = number(strangers.get("rows")), number(strangers.get("dearer"))
    if not rows or dearer is None:
        return note(told)
    surely = dearer >= SURE * rows
    verdict = "its parts are told apart" if surely else "others fit nearly as well, so read little into it"
    return note(
        told,
        f" With the cells of {several(rows, 'other row')} in place it is larger in {dearer:.0f}: {verdict}.",
    )
