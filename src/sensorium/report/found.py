"""The page of one search: what was asked, and what was found, as pictures, players and words."""

from collections.abc import Mapping

from sensorium.report.examples import cell
from sensorium.report.markup import Html, count, join, listed, mapping, named, note, number, rows_of, tag
from sensorium.report.page import brand, document


def search_page(found: Mapping) -> str:
    """One search as a whole page.

    found: `asked` [{name, cell}], `found` [{id, score, through, cells: name -> preview, facts: name -> text}], `rows` of the index,
    `answer` (the column that was searched, "" for any), `where` and `words` where they were said. Parts that are missing or
    odd are left out.
    """
    asked = [
        tag("article", tag("header", tag("div", tag("span", "asked"), tag("b", named(a.get("name"))))),
            tag("div", cell(a.get("cell"), str(a.get("name"))), class_="cell"), class_="card asked")
        for a in rows_of(found.get("asked"))
    ]  # fmt: skip
    hits = [_hit(place, h) for place, h in enumerate(rows_of(found.get("found")), 1)]
    body = tag("div", *hits, class_="cards") if hits else note("Nothing was found.")
    return document(
        "Search: Sensorium",
        tag("header", brand("Sensorium search"), tag("h1", f"{len(hits)} of {count(found.get('rows'))} rows"), note(_about(found))),
        tag("section", tag("h2", "Asked"), tag("div", *asked, class_="cards") if asked else note("Only words or a filter.")),
        tag("section", tag("h2", "Found"), body),
    )  # fmt: skip


def _about(found: Mapping) -> str:
    parts = [
        f"searched through {found['answer']}"
        if found.get("answer")
        else "searched through whatever a row has"
    ]
    if found.get("where"):
        parts.append(f"where {found['where']}")
    if found.get("words"):
        parts.append(f"and the words \u201c{found['words']}\u201d, both orders merged")
    recall = number(found.get("recall"))
    parts.append(
        "every row was compared"
        if recall is None
        else f"{100 * recall:.1f} % of what comparing every row finds"
    )
    return "; ".join(parts) + "."


def _hit(place: int, hit: Mapping) -> Html:
    score = number(hit.get("score"))
    head = tag(
        "header",
        tag(
            "div",
            tag("span", f"{place}."),
            tag("b", named(hit.get("id"))),
            f" {score:.3f}" if score is not None else "",
        ),
    )
    cells = mapping(hit.get("cells"))
    inside = [
        tag("div", tag("h3", named(n)), cell(c, str(n)), class_="cell")
        for n, c in cells.items()
        if isinstance(c, Mapping)
    ]
    facts = [f"{k}: {v}" for k, v in mapping(hit.get("facts")).items()]
    through = f"by {hit['through']}" if hit.get("through") else ""
    foot = " \u00b7 ".join(p for p in [through, *map(str, listed(facts))] if p)
    return tag(
        "article", head, join(*inside), tag("footer", foot, class_="soft") if foot else None, class_="card"
    )
