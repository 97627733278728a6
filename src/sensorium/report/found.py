"""The page of one search: what was asked, and what was found, as pictures, players and words."""

from collections.abc import Mapping

from sensorium.report.examples import cell
from sensorium.report.markup import Html, count, join, mapping, named, note, number, rows_of, tag
from sensorium.report.page import brand, document

LONGEST = 60  # characters of a fact


def search_page(found: Mapping) -> str:
    """One search as a whole page.

    found: `asked` [{name, cell}], `found` [{id, score, through, cells: name -> preview, facts: name -> text}], `rows` of the index,
    `answer` (the column that was searched, "" for any), `where` and `words` where they were said, `engine` or `recall` (0..1) where
    it is known how they were found. Parts that are missing or odd are left out.
    """
    asked = [_asked(a) for a in rows_of(found.get("asked"))]
    hits = [_hit(place, h) for place, h in enumerate(rows_of(found.get("found")), 1)]
    title = f"The best {len(hits)} of {count(found.get('rows'))} rows" if hits else "Nothing was found"
    return document(
        "Search: Sensorium",
        tag("header", brand("Sensorium search"), tag("h1", title), note(_about(found))),
        tag("section", tag("h2", "Asked"), tag("div", *asked, class_="answers") if asked else note("Only words, or a condition.")),
        tag("section", tag("h2", "Found"), tag("div", *hits, class_="cards")) if hits else Html(""),
    )  # fmt: skip


def _asked(asked: Mapping) -> Html:
    name = asked.get("name")
    head = tag("header", tag("span", "asked"), tag("b", named(name)), class_="place")
    return tag("article", head, tag("div", cell(asked.get("cell"), str(name)), class_="cell"), class_="card asked")  # fmt: skip


def _about(found: Mapping) -> str:
    recall = number(found.get("recall"))
    parts = [
        f"Found by {found['answer']}" if found.get("answer") else "Found by whichever column fits best",
        f"where {found['where']}" if found.get("where") else "",
        f"with the words \u201c{found['words']}\u201d beside it, both orders merged"
        if found.get("words")
        else "",
        "every row was compared" if found.get("engine") == "exact" else "",
        f"{100 * recall:.1f} % of what comparing every row finds" if recall is not None else "",
    ]
    return "; ".join(p for p in parts if p) + "."


def _hit(place: int, hit: Mapping) -> Html:
    score = number(hit.get("score"))
    head = tag(
        "header",
        tag("span", f"{place}."),
        tag("b", named(hit.get("id", "?"))),
        tag("span", f"{score:.3f}", class_="score") if score is not None else None,
        class_="place",
    )
    cells = {n: c for n, c in mapping(hit.get("cells")).items() if isinstance(c, Mapping)}
    inside = [tag("div", tag("h3", named(n)), cell(c, str(n)), class_="cell") for n, c in cells.items()]
    facts = {str(k): _short(v) for k, v in mapping(hit.get("facts")).items() if k not in cells}
    through = tag("div", "found by ", tag("b", named(hit["through"]))) if hit.get("through") else None
    told = [tag("span", named(k), " ", tag("b", named(v)), class_="fact") for k, v in facts.items()]
    foot = join(through, tag("div", *told, class_="facts") if told else None)
    return tag("article", head, *inside, tag("footer", foot, class_="soft") if foot else None, class_="card")


def _short(value: object) -> str:
    """The beginning of a fact."""
    text = " ".join(str(value).split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "\u2026"
