"""The page of one text that was written: its input, the text, and where the model looked for each word."""

from collections.abc import Mapping

from sensorium.report.charts import bars
from sensorium.report.examples import cell
from sensorium.report.looked import looked
from sensorium.report.markup import Html, join, listed, mapping, named, note, number, tag
from sensorium.report.page import OFFLINE, brand, document

LIKELIEST = 5  # answers of a closed set that are shown
TITLE = 120  # characters of the title of the page


def generated_page(found: Mapping) -> str:
    """One written text as a whole page, as `api.generating.written_row` returns it.

    found: `said`, `log_probability` (natural), `target`, `id`, `probabilities` (answer -> 0..1), `truth` (texts, where it is known),
    `remarks`, `cells` (name -> preview), and `words`, `places`, `shown` as `report.looked.looked` takes them. Parts that are missing or
    odd are left out.
    """
    said = str(found.get("said") or "")
    sections = [
        ("input", "What went in", _inputs(mapping(found.get("cells")))),
        ("answers", "The likeliest answers", _answers(mapping(found.get("probabilities")), said)),
        ("looks", "Where it looked, word by word", _looks(found)),
    ]
    body = [tag("section", tag("h2", title), content, id=key) for key, title, content in sections if content]
    remarks = [tag("p", r, class_="warn") for r in listed(found.get("remarks")) if isinstance(r, str)]
    return document(
        f"{said[:TITLE] or 'Nothing'}: written",
        tag("header", brand("Sensorium text"), tag("h1", named(said) if said else "Nothing was written", dir="auto"), note(_about(found))),
        *remarks, _truth(found), *body,
        tag("footer", tag("p", OFFLINE)),
    )  # fmt: skip


def _about(found: Mapping) -> Html:
    sure = number(found.get("log_probability"))
    parts = [
        join("written for ", named(found["target"])) if found.get("target") else "",
        join("row ", named(found["id"])) if found.get("id") is not None else "",
        f"log probability {sure:.2f} of the whole text".replace("-", "\u2212") if sure is not None else "",
    ]
    known = [p for p in parts if p]
    return join(*(join(" \u00b7 " if place else None, p) for place, p in enumerate(known)))


def _truth(found: Mapping) -> Html:
    """What the table says it should have been."""
    texts = [t for t in listed(found.get("truth")) if isinstance(t, str)][:LIKELIEST]
    if not texts:
        return Html("")
    return tag(
        "section", tag("h2", "What the table says"), tag("ul", *(tag("li", named(t)) for t in texts)), id="truth"
    )  # fmt: skip


def _inputs(cells: Mapping) -> Html:
    """A card for each input; those that are absent are said to be so."""
    cards = [
        tag("article", tag("div", tag("h3", named(n)), cell(c, str(n)), class_="cell"), class_="card")
        for n, c in cells.items()
    ]
    return tag("div", *cards, class_="cards") if cards else Html("")


def _answers(probabilities: Mapping, said: str) -> Html:
    """Bars of the likeliest answers of a closed set."""
    known = [(str(a), p) for a, v in probabilities.items() if (p := number(v)) is not None]
    known.sort(key=lambda a: -a[1])
    rows = [
        (tag("b", named(a)) if a == said else named(a), p, f"{100 * p:.1f}\u202f%")
        for a, p in known[:LIKELIEST]
    ]
    if not rows:
        return Html("")
    rest = 1 - sum(p for _, p in known[:LIKELIEST])
    more = note(f"The other {len(known) - LIKELIEST} answers share {100 * max(0.0, rest):.1f}\u202f%.")
    return join(
        bars(rows, label="probability of the likeliest answers"), more if len(known) > LIKELIEST else None
    )


def _looks(found: Mapping) -> Html:
    drawn = looked(found, "look-0")
    if not drawn:
        return Html("")
    about = note(
        "Red is where the model looked while it wrote this word; what is looked at evenly stays faint. The percentage is how much of "
        "the look went to this input. Attention shows where information came from, not a reason."
    )
    return join(about, drawn)
