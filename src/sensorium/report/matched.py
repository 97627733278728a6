"""The report of matched columns: how often what belongs together is found, beside chance, and searches as pictures."""

from collections.abc import Mapping, Sequence

from sensorium.report.charts import Whisker, whiskers
from sensorium.report.examples import cell
from sensorium.report.markup import (
    Html,
    count,
    duration,
    figure,
    folded,
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
SEARCHES = 12  # in the report
OPEN = 6  # of them at once
TOP = "r@10"


def title(metrics: Mapping) -> Html:
    """What is matched with what."""
    names = [named(n) for n in listed(mapping(metrics.get("task")).get("match"))]
    apart = [part for n in names[:-1] for part in (n, ", ")][:-1]
    return join("Matching ", *apart, " and " if apart else None, names[-1] if names else "columns")


def result(metrics: Mapping) -> Html:
    """One big figure for each direction, where the model stands, and how it was made in short."""
    found = _of_model(metrics)
    chips = _chips(mapping(metrics.get("plan")))
    small = tag("div", *(tag("span", c, class_="chip") for c in chips if c), class_="chips")
    if not found:
        none = "Not measured: no held-out row holds two of the columns. Give such rows with --valid."
        return join(note(none), small)
    tiles = tag("div", *(_big(r) for r in found), class_="tiles finds")
    calls = [tag("p", sentence, class_=f"call {kind}") for kind, sentence in standing(metrics)]
    return join(tiles, *calls, small)


def _of_model(metrics: Mapping) -> list[Mapping]:
    """The rows of what answers, a direction each, that were measured."""
    found = rows_of(metrics.get("retrieval"))
    return [r for r in found if r.get("by") == "blend" and _value(r, TOP) is not None]


def _value(row: Mapping, figure_of: str) -> float | None:
    """A figure of one direction, where there is one."""
    return number(mapping(row.get(figure_of)).get("value"))


def _chips(plan: Mapping) -> list[str]:
    return [
        f"{plan['size']}, {count(plan.get('parameters'))} parameters" if plan.get("size") else "",
        f"{plan['loss']} loss, {count(plan.get('batch'))} rows at a step" if plan.get("loss") else "",
        f"trained in {duration(plan.get('training_seconds'))}" if plan.get("training_seconds") else "",
        f"seed {plan['seed']}" if plan.get("seed") is not None else "",
    ]


def _big(row: Mapping) -> Html:
    """One direction: its figure, the interval and chance as marks on 0 to 100 %, and both in words."""
    score, blind = mapping(row.get(TOP)), _value(row, "chance@10")
    ends = span(score, "accuracy")
    said = [
        f"95 % interval {ends}" if ends else "",
        f"by chance {figure(blind, 'accuracy')}" if blind is not None else "",
    ]
    return tag(
        "div",
        tag("small", named(row.get("query")), " \u2192 ", named(row.get("answer"))),
        tag("b", figure(score.get("value"), "accuracy")),
        _track(score, blind),
        tag("small", f"a right one among the first 10 of {count(row.get('gallery'))}"),
        *(tag("small", s) for s in said if s),
        class_="tile",
    )


def _track(score: Mapping, blind: float | None) -> Html:
    """The whole scale, the interval, the figure, and a line at chance."""

    def at(value: float) -> str:
        return f"{100 * min(1.0, max(0.0, value)):.2f}%"

    value, low, high = (number(score.get(k)) or 0.0 for k in ("value", "low", "high"))
    marks = [tag("i", class_="scale-line")]
    if blind is not None:
        marks.append(tag("i", class_="rule mark", style=f"left:{at(blind)}"))
    if high > low:
        marks.append(
            tag("i", class_="reach", style=f"left:{at(low)};width:{at(min(1.0, high) - max(0.0, low))}")
        )
    marks.append(tag("i", class_="spot", style=f"left:{at(value)}"))
    return tag("div", *marks, class_="track c1", aria_hidden="true")


def standing(metrics: Mapping) -> list[tuple[str, str]]:
    """("good", "even" or "bad", a sentence): the answers beside chance, and the network beside linear correlations."""
    found = []
    blind, sure = [], 0
    for row in _of_model(metrics):
        low, chance = number(mapping(row.get(TOP)).get("low")), _value(row, "chance@10")
        if low is None or chance is None:
            continue
        sure += low > chance
        if low <= chance:
            blind.append(f"{row.get('query')} to {row.get('answer')}")
    if blind:
        found.append(
            (
                "bad",
                f"No better than chance can be told for {'; '.join(blind)}: chance lies within the interval, or above it.",
            )
        )
    elif sure:
        found.append(
            ("good", "What belongs together is found above chance, also at the low end of the interval.")
        )
    return found + _beside_linear(metrics)


def _beside_linear(metrics: Mapping) -> list[tuple[str, str]]:
    values = {(str(r.get("query")), str(r.get("answer")), r.get("by")): _value(r, TOP) for r in rows_of(metrics.get("retrieval"))
              if isinstance(r.get("by"), str)}  # fmt: skip
    told = []
    for (query, answer, by), own in values.items():
        linear, both = values.get((query, answer, "linear")), values.get((query, answer, "blend"))
        if by == "network" and own is not None and linear is not None and both is not None:
            told.append((own, linear, both))
    if not told:
        return []
    ahead = sum(both > max(own, linear) for own, linear, both in told)
    fewer = sum(own < linear for own, linear, _ in told)
    gain = f" Together they find more than either {_directions(ahead, len(told))}." if ahead else ""
    if fewer:
        words = f"Linear correlations alone find more than the network alone {_directions(fewer, len(told))}: more rows would help it."
        return [("even", words + gain)]
    return [("good", f"The network alone finds at least as much as linear correlations.{gain}")]


def _directions(some: int, every: int) -> str:
    """In how many of the directions."""
    return f"in {some} of {every} directions" if some < every else "in every direction"


def directions(metrics: Mapping) -> Html:
    """Every direction: the model, its parts, and chance on one scale; all figures are folded below."""
    found = rows_of(metrics.get("retrieval"))
    pairs = list(dict.fromkeys((str(r.get("query")), str(r.get("answer"))) for r in found))
    parts: list[Html] = []
    for pair in pairs:
        parts += _direction([r for r in found if (str(r.get("query")), str(r.get("answer"))) == pair])
    if not parts:
        return Html("")
    about = note(
        "A query is right at k where something that belongs to it is among the first k that are found. The dark line is chance. "
        "Linear correlations (CCA) on simple features are the bar that a network on few rows often misses; the answers weigh both."
    )
    return join(about, *parts)


def _direction(rows: Sequence[Mapping]) -> list[Html]:
    query, answer = rows[0].get("query"), rows[0].get("answer")
    label = f"{query} to {answer}: a right one among the first 10"
    drawn = [
        Whisker(name=named(_made(r)), score=mapping(r.get(TOP)), colour=COLOURS.get(str(r.get("by")), 5))
        for r in rows
    ]
    heads: list[object] = ["vectors", *(f"first {k}" for k in DEPTHS), "median rank", "queries", "among"]
    lines = [[
        _made(r), *(figure(_value(r, f"r@{k}"), "accuracy") for k in DEPTHS), _rank(_value(r, "median_rank")),
        count(r.get("queries")), count(r.get("gallery")),
    ] for r in rows]  # fmt: skip
    blind = [figure(_value(rows[0], f"chance@{k}"), "accuracy") for k in DEPTHS]
    lines.append(["chance", *blind, _rank(_value(rows[0], "chance_median_rank")), "", ""])
    return [
        tag("h3", named(query), " \u2192 ", named(answer), ": a right one among the first 10"),
        whiskers(drawn, metric="accuracy", label=label, mark=_value(rows[0], "chance@10")),
        folded("All figures", table(heads, lines, numeric=frozenset(range(1, 7)), caption=label)),
    ]


def _made(row: Mapping) -> str:
    by = str(row.get("by"))
    return MADE.get(by, by)


def _rank(value: float | None) -> str:
    """A rank, which is whole or half."""
    return "\u2013" if value is None else f"{value:,.4g}"


def searches(examples: Sequence[Mapping]) -> Html:
    """Some queries with what was found for each, as pictures, players and words."""
    shown = [_search(e) for e in examples[:SEARCHES]]
    if not shown:
        return Html("")
    about = note(
        "Held-out rows drawn at random, not picked: what was asked, then what was found first. Green marks what belongs to it."
    )
    rest = shown[OPEN:]
    more = folded(f"{len(rest)} more search{'es' if len(rest) > 1 else ''}", *rest) if rest else None
    return join(about, *shown[:OPEN], more)


def _search(found: Mapping) -> Html:
    query, answer = found.get("query"), found.get("answer")
    asked = tag("div", cell(found.get("cell"), str(query)), class_="cell")
    first = tag(
        "article",
        tag("header", tag("span", "asked"), tag("b", named(query)), class_="place"),
        asked,
        class_="card asked",
    )
    cards = [_answer(place, a, str(answer)) for place, a in enumerate(rows_of(found.get("answers")), 1)]
    rank = number(found.get("rank"))
    told = (
        ""
        if rank is None
        else ": found first"
        if rank == 1
        else f": the first that belongs to it is number {rank:,.0f}"
    )
    heading = tag("h3", named(query), " \u2192 ", named(answer), told)
    return join(heading, tag("div", first, tag("div", *cards, class_="answers"), class_="search"))


def _answer(place: int, found: Mapping, name: str) -> Html:
    right, score = found.get("right") is True, number(found.get("score"))
    head = tag(
        "header",
        tag("span", f"{place}."),
        tag("b", "right" if right else "other", class_="right" if right else "other"),
        tag("span", f"{score:.2f}", class_="score") if score is not None else None,
        class_="place",
    )
    inside = tag("div", cell(found.get("cell"), name), class_="cell")
    return tag("article", head, inside, class_="card hit" if right else "card")


def things(metrics: Mapping) -> Html:
    """What the training rows hold: different things of each column, rows that hold two of them, and groups."""
    data = mapping(metrics.get("data"))
    held = {str(k): v for k, v in mapping(data.get("things")).items() if number(v) is not None}
    together = {str(k): v for k, v in mapping(data.get("together")).items() if number(v) is not None}
    groups = number(data.get("groups"))
    lines = [[named(k), count(v)] for k, v in held.items()]
    pairs = [[named(k), count(v)] for k, v in together.items()]
    parts = [
        table(["column", "different things"], lines, numeric=frozenset([1]), caption="Different things") if lines else None,
        table(["together", "rows that hold both"], pairs, numeric=frozenset([1]), caption="Rows that hold both") if pairs else None,
    ]  # fmt: skip
    told = f"They are {count(groups)} groups: rows of a group share a source or a thing, and are no counterexamples of each other."
    if not lines and not pairs:
        return Html("")
    return join(
        tag("h3", "What belongs together"),
        note(told) if groups else None,
        tag("div", *(tag("div", p) for p in parts if p), class_="two"),
    )


def diagnosis(metrics: Mapping) -> Html:
    """What stood in the way of learning, with what to do about it; nothing where it was not looked for."""
    if not isinstance(metrics.get("diagnosis"), list):
        return Html("")
    found = [f for f in rows_of(metrics["diagnosis"]) if f.get("what")]
    if not found:
        return note(
            "Nothing was found: the loss fell, the temperatures are inside their bounds, batches and rows are fit."
        )
    return tag("ul", *(_ailment(f) for f in found), class_="checks")


def _ailment(found: Mapping) -> Html:
    why, fix = (_sentence(found.get(k)) for k in ("why", "fix"))
    what = tag("b", _sentence(found["what"]).removesuffix("."))
    return tag("li", what, tag("p", why) if why else None, tag("p", fix, class_="soft") if fix else None)


def _sentence(said: object) -> str:
    """A remark as a sentence; "" for none."""
    text = str(said or "").strip()
    return f"{text[0].upper()}{text[1:].removesuffix('.')}." if text else ""


def weights(metrics: Mapping) -> Html:
    """How much the network and how much linear correlations say."""
    share = number(mapping(metrics.get("blend")).get("share"))
    if share is None:
        return Html("")
    return note(
        f"The similarity of two things is {100 * share:.0f} % the network's and {100 * (1 - share):.0f} % that of linear correlations, "
        "as was best on the validation rows."
    )  # fmt: skip
