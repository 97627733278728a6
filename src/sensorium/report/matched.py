"""The report of matched columns: how often what belongs together is found, beside chance, and searches as pictures."""

from collections.abc import Mapping, Sequence

from sensorium.report.charts import Whisker, whiskers
from sensorium.report.examples import cell
from sensorium.report.markup import (
    Html,
    count,
    duration,
    figure,
    join,
    listed,
    mapping,
    named,
    note,
    number,
    rows_of,
    span,
    table,
    tag,
)

MADE = {  # of what kind of vectors an answer is made -> in words
    "blend": "this model",
    "network": "its network alone",
    "linear": "linear correlations alone",
    "joint": "the joint space",
}
COLOURS = {"blend": 1, "network": 3, "linear": 2, "joint": 4}
DEPTHS = (1, 5, 10)
SEARCHES = 12  # shown in the report
TOP = "r@10"


def title(metrics: Mapping) -> Html:
    """What is matched with what."""
    names = [named(n) for n in listed(mapping(metrics.get("task")).get("match"))]
    apart = [part for n in names[:-1] for part in (n, ", ")][:-1]
    return join("Matching ", *apart, " and " if apart else None, names[-1] if names else "columns")


def result(metrics: Mapping) -> Html:
    """The big figures, one for each direction, where they stand, and what stood in the way."""
    found = [r for r in rows_of(metrics.get("retrieval")) if r.get("by") == "blend"]
    plan = mapping(metrics.get("plan"))
    chips = [
        f"{plan['size']}, {count(plan.get('parameters'))} parameters" if plan.get("size") else "",
        f"{plan['loss']} loss, {count(plan.get('batch'))} rows at a step" if plan.get("loss") else "",
        f"trained in {duration(plan.get('training_seconds'))}" if plan.get("training_seconds") else "",
        f"seed {plan['seed']}" if plan.get("seed") is not None else "",
    ]
    small = tag("div", *(tag("span", c, class_="chip") for c in chips if c), class_="chips")
    if not found:
        return join(
            note("Not measured: no held-out row holds two of the columns. Give such rows with --valid."),
            small,
        )
    tiles = [tag("div", _big(r), class_="tile") for r in found]
    told = [tag("li", v) for v in listed(metrics.get("verdict")) if isinstance(v, str)]
    return join(tag("div", *tiles, class_="tiles"), tag("ul", *told) if told else None, small)


def _big(row: Mapping) -> Html:
    score, chance = mapping(row.get(TOP)), number(mapping(row.get("chance@10")).get("value"))
    ends = span(score, "accuracy")
    return join(
        tag("small", named(row.get("query")), " \u2192 ", named(row.get("answer"))),
        tag("b", figure(score.get("value"), "accuracy")),
        tag("small", f"a right one among the first 10 of {count(row.get('gallery'))}", tag("br"),
            f"95 % interval {ends}" if ends else "", tag("br"),
            f"by chance {figure(chance, 'accuracy')}" if chance is not None else ""),
    )  # fmt: skip


def directions(metrics: Mapping) -> Html:
    """Every direction: the model, its parts, and chance on one scale, then all figures."""
    found = rows_of(metrics.get("retrieval"))
    pairs = list(dict.fromkeys((str(r.get("query")), str(r.get("answer"))) for r in found))
    parts: list[Html] = []
    for query, answer in pairs:
        rows = [r for r in found if (str(r.get("query")), str(r.get("answer"))) == (query, answer)]
        drawn = [
            Whisker(name=named(MADE.get(str(r.get("by")), str(r.get("by")))), score=mapping(r.get(TOP)), colour=COLOURS.get(str(r.get("by")), 5))
            for r in rows
        ]  # fmt: skip
        chance = number(mapping(rows[0].get("chance@10")).get("value"))
        label = f"{query} to {answer}: a right one among the first 10"
        parts.append(tag("h3", named(query), " \u2192 ", named(answer), ": a right one among the first 10"))
        parts.append(whiskers(drawn, metric="accuracy", label=label, mark=chance))
        heads: list[object] = ["vectors", *(f"first {k}" for k in DEPTHS), "median rank", "queries", "among"]
        lines = [[
            MADE.get(str(r.get("by")), str(r.get("by"))),
            *(figure(mapping(r.get(f"r@{k}")).get("value"), "accuracy") for k in DEPTHS),
            figure(mapping(r.get("median_rank")).get("value")), count(r.get("queries")), count(r.get("gallery")),
        ] for r in rows]  # fmt: skip
        lines.append(
            [
                "chance",
                *(figure(mapping(rows[0].get(f"chance@{k}")).get("value"), "accuracy") for k in DEPTHS),
                "",
                "",
                "",
            ]
        )
        parts.append(table(heads, lines, numeric=frozenset(range(1, 7)), caption=label))
    if not parts:
        return Html("")
    about = note(
        "A query is right at k where something that belongs to it is among the first k that are found. The ring is chance. "
        "Linear correlations (CCA) on simple features are the bar that a network on few rows often misses; the answers weigh both."
    )
    return join(about, *parts)


def searches(examples: Sequence[Mapping]) -> Html:
    """Some queries with what was found for each, as pictures, players and words."""
    shown = [_search(e) for e in examples[:SEARCHES]]
    if not shown:
        return Html("")
    about = note(
        "Held-out rows drawn at random, not picked: what was asked, then what was found first. A mark says what belongs to it."
    )
    return join(about, *shown)


def _search(found: Mapping) -> Html:
    asked = tag("div", cell(found.get("cell"), str(found.get("query"))), class_="cell")
    head = tag("header", tag("div", tag("span", "asked"), tag("b", named(found.get("query")))))
    cards = [tag("article", head, asked, class_="card asked")]
    for place, answer in enumerate(rows_of(found.get("answers")), 1):
        right = answer.get("right") is True
        mark = tag("b", "right" if right else "other", class_="right" if right else None)
        score = number(answer.get("score"))
        top = tag(
            "header",
            tag("div", tag("span", f"{place}."), join(mark, f" {score:.2f}" if score is not None else "")),
        )
        inside = tag("div", cell(answer.get("cell"), str(found.get("answer"))), class_="cell")
        cards.append(tag("article", top, inside, class_="card"))
    rank = number(found.get("rank"))
    told = f": the first that belongs to it is number {rank:.0f}" if rank is not None else ""
    heading = tag("h3", named(found.get("query")), " \u2192 ", named(found.get("answer")), told)
    return join(heading, tag("div", *cards, class_="cards found"))


def diagnosis(metrics: Mapping) -> Html:
    """What stood in the way of learning, and the temperatures."""
    found = rows_of(metrics.get("diagnosis"))
    items = [
        tag("li", tag("b", str(f.get("what"))), f": {f.get('why')}. ", tag("em", f"{f.get('fix')}."))
        for f in found
    ]
    if not items:
        return note(
            "Nothing was found: the loss fell, the temperatures are inside their bounds, batches and rows are fit."
        )
    return tag("ul", *items)


def weights(metrics: Mapping) -> Html:
    """How much the network and how much linear correlations say."""
    share = number(mapping(metrics.get("blend")).get("share"))
    if share is None:
        return Html("")
    return note(
        f"The similarity of two things is {100 * share:.0f} % the network's and {100 * (1 - share):.0f} % that of linear correlations, "
        "as was best on the validation rows."
    )  # fmt: skip
