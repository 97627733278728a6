"""The report of a run that writes text: its figures beside blind baselines, what it loses, and where it looked."""

from collections.abc import Mapping, Sequence

from sensorium.measure.text import chrf, plain
from sensorium.report.charts import Series, Whisker, plot, whiskers
from sensorium.report.controls import control
from sensorium.report.data import modalities_of, pattern
from sensorium.report.examples import cell
from sensorium.report.looked import looked, reasoned
from sensorium.report.markup import (
    Html,
    count,
    duration,
    figure,
    folded,
    join,
    listed,
    mapping,
    metric_of,
    named,
    note,
    number,
    rows_of,
    several,
    span,
    subset_name,
    table,
    tag,
)
from sensorium.report.scores import best_floor, standing

FIGURES = {  # name -> (what people call it, what it means, whether it is a share)
    "cider_d": ("CIDEr-D", "likeness to the references, rare words count more; 0 to 10", False),
    "exact": (
        "Exact match",
        "share of texts that are one of the references, letter case and marks aside",
        True,
    ),
    "chrf": ("chrF", "sequences of 1 to 6 letters shared with a reference; 0 to 100", False),
    "bleu1": ("BLEU-1", "words shared with the references; 0 to 100", False),
    "bleu2": ("BLEU-2", "sequences of up to 2 words; 0 to 100", False),
    "bleu3": ("BLEU-3", "sequences of up to 3 words; 0 to 100", False),
    "bleu4": ("BLEU-4", "sequences of up to 4 words; 0 to 100", False),
    "rouge_l": ("ROUGE-L", "the longest common sequence of words; 0 to 1", False),
    "distinct": (
        "Different texts",
        "different texts over rows: low where everything gets the same text",
        True,
    ),
    "repeated": (
        "Repeated",
        "share of sequences of 3 words that their own text said before; lower is better",
        True,
    ),
}
NO_AIM = frozenset({"distinct", "repeated"})  # the highest of these is not the best
HUNDREDS = frozenset({"chrf", "bleu1", "bleu2", "bleu3", "bleu4"})  # from 0 to 100
BLIND = "without any input"
CARDS = 6  # best rows shown, and worst ones
DRAWN = 4  # examples whose looks are drawn
LOOK = """
.told{font-size:1.16rem;line-height:1.35;font-weight:600;margin:0;overflow-wrap:anywhere}.truths{margin:.5em 0 0;padding:0;list-style:none;color:var(--soft);font-size:.9rem;line-height:1.4;overflow-wrap:anywhere}.truths li+li{margin-top:.25em}.told.right{color:var(--good)}
h4{font-size:.82rem;color:var(--soft);font-weight:560;margin:1em 0 .5em;overflow-wrap:anywhere}.glances{display:grid;grid-template-columns:repeat(auto-fill,minmax(104px,1fr));gap:14px 12px}.glances figure{margin:0;min-width:0}.glances svg{display:block;width:100%;border-radius:8px;background:var(--wash)}
.glances figcaption,.spoken-word{display:flex;gap:.5em;align-items:baseline;justify-content:space-between;font-size:.92rem;line-height:1.3;margin-top:.35em;overflow-wrap:anywhere;min-width:0}.glances small,.spoken-word small{color:var(--soft);font-size:.76rem;white-space:nowrap}.glances b,.spoken-word b{font-weight:600;min-width:0}
.beneath{filter:grayscale(.75) brightness(.8) contrast(.85)}.above{opacity:.74}.pixels{image-rendering:pixelated}.store{position:absolute}.spoken{display:grid;grid-template-columns:minmax(84px,max-content) 1fr;gap:3px 14px;align-items:center}.spoken>*{min-width:0}.spoken .lane{margin:0}.spoken .lane.low{height:26px}.spoken-word{margin:0;max-width:190px}
.spoken .scale{height:1.6em}.spoken .scale span:first-child{transform:none}.spoken .scale span:last-child{transform:translateX(-100%)}.asked-for{margin:.6em 0;padding-inline-start:1.5em}.asked-for .words{margin:0}.against-which{margin-top:1.6em}.against-which td small{display:block;color:var(--soft)}.against-which tbody th{min-width:150px}
@media(max-width:640px){.glances{grid-template-columns:repeat(auto-fill,minmax(82px,1fr));gap:12px 9px}.spoken{grid-template-columns:minmax(58px,max-content) 1fr;gap:3px 9px}.spoken-word{max-width:96px}}
"""


def label(metric: str) -> str:
    """What people call a figure."""
    return FIGURES.get(metric, (metric.replace("_", " ") or "score", "", False))[0]


def _way(metric: str) -> str:
    """The figure whose way of writing fits: that of a share, or of a plain number."""
    return "accuracy" if FIGURES.get(metric, ("", "", False))[2] else ""


def _told_as(value: object, metric: str) -> str:
    """A figure as people write it: those of 0 to 100 with one decimal."""
    known = number(value)
    return f"{known:.1f}" if known is not None and metric in HUNDREDS else figure(known, _way(metric))


def _ends(score: Mapping, metric: str) -> str:
    """The ends of its interval; "" where there is none."""
    low, high = number(score.get("low")), number(score.get("high"))
    if metric not in HUNDREDS or low is None or high is None:
        return span(score, _way(metric))
    return f"{low:.1f} \u2013 {high:.1f}"


def _headline(metrics: Mapping) -> Mapping:
    found = mapping(mapping(metrics.get("scores")).get(metric_of(metrics)))
    return found if number(found.get("value")) is not None else {}


def _floors(metrics: Mapping) -> Mapping:
    """The headline figure of the model and of each baseline, as the report of answers reads them."""
    metric = metric_of(metrics)
    way = _way(metric) or metric
    found = [
        {"name": str(b.get("name") or "?"), "score": mapping(mapping(b.get("scores")).get(metric))}
        for b in rows_of(metrics.get("baselines"))
    ]
    return {"metric": way, "scores": {way: _headline(metrics)}, "baselines": found}


# --- the top --------------------------------------------------------------------------------------------------------


def hero(metrics: Mapping) -> Html:
    """The headline figure with its interval, the best baseline beside it, what was found, and how it was made."""
    kind, sentence = standing(_floors(metrics))
    call = tag("p", sentence, class_=f"call {kind}") if kind else None
    said = [v for v in listed(metrics.get("verdict")) if isinstance(v, str)]
    plan = mapping(metrics.get("plan"))
    chips = [
        f"{plan['size']}, {count(plan.get('parameters'))} parameters" if plan.get("size") else "",
        f"trained in {duration(plan.get('training_seconds'))}"
        if number(plan.get("training_seconds"))
        else "",
        f"seed {plan['seed']}" if plan.get("seed") is not None else "",
        "answers of a closed list" if mapping(metrics.get("task")).get("closed") is True else "",
    ]
    small = tag("div", *(tag("span", c, class_="chip") for c in chips if c), class_="chips")
    sentences = tag("ul", *(tag("li", s) for s in said)) if said else None
    look = "hero" if _headline(metrics) else "hero plain"
    return tag("div", _number(metrics), tag("div", call, sentences, small), class_=look)


def _number(metrics: Mapping) -> Html:
    metric, score = metric_of(metrics), _headline(metrics)
    if not score:
        none = "No held-out row has a text to compare with. Give such rows with --valid."
        return tag("div", tag("div", "Not measured", class_="what"), note(none))
    split = {"valid": "validation"}.get(str(metrics.get("split")), str(metrics.get("split") or ""))
    ends, floor = _ends(score, metric), best_floor(_floors(metrics))
    beside = _told_as(mapping(floor.get("score")).get("value"), metric)
    return tag(
        "div", tag("div", label(metric), class_="what"), tag("div", _told_as(score["value"], metric), class_="big"),
        note(f"95 % interval {ends}" if ends else "", tag("br"), f"on {count(metrics.get('rows'))} {split} rows"),
        note("Best baseline: ", named(floor["name"]), f", {beside}") if floor else None,
        note(tag("small", FIGURES.get(metric, ("", "", False))[1])),
    )  # fmt: skip


# --- figures --------------------------------------------------------------------------------------------------------


def figures(metrics: Mapping) -> Html:
    """The headline figure of the model and of each baseline on one scale, then every figure of each; "" without any."""
    metric, own = metric_of(metrics), mapping(metrics.get("scores"))
    baselines = rows_of(metrics.get("baselines"))
    drawn = [Whisker(name=tag("b", "This model"), score=_headline(metrics), colour=1)]
    drawn += [Whisker(name=named(f["name"]), score=f["score"]) for f in _floors(metrics)["baselines"]]
    drawn = [w for w in drawn if number(w.score.get("value")) is not None]
    drawn.sort(key=lambda w: -w.score["value"])
    sides = [("this model", own), *((str(b.get("name") or "?"), mapping(b.get("scores"))) for b in baselines)]
    names = dict.fromkeys([*FIGURES, *(str(k) for _, scores in sides for k in scores)])
    rows = [row for row in (_row(name, [s for _, s in sides]) for name in names) if row]
    if not rows:
        return Html("")
    about = note(
        "Baselines write without learning to: the commonest text for every row, the text of the most similar training row, "
        "or this model's own text when it is given nothing. A model that sees something is ahead of the last of these."
    )
    heads = ["figure", *(named(name) for name, _ in sides)]
    numeric = frozenset(range(1, len(heads)))
    every = table(
        heads,
        rows,
        numeric=numeric,
        caption="Every figure of the model and of each baseline",
        look="against-which",
    )
    chart = (
        whiskers(drawn, metric=_way(metric), label=f"{label(metric)} of the model and of the baselines")
        if len(drawn) > 1
        else None
    )
    return join(about if baselines else None, chart, every)


def _row(name: str, sides: Sequence[Mapping]) -> list[object]:
    """One figure of the model and of each baseline, the highest in bold; empty where nobody has it."""
    scores = [mapping(s.get(name)) for s in sides]
    values = [number(s.get("value")) for s in scores]
    known = [v for v in values if v is not None]
    if not known:
        return []
    best = max(known) if name not in NO_AIM and len(known) > 1 else None
    meaning = FIGURES.get(name, ("", "", False))[1]
    cells: list[object] = []
    for score, value in zip(scores, values, strict=True):
        told, ends = _told_as(value, name), _ends(score, name)
        first = tag("b", told) if value is not None and value == best else told
        cells.append(join(first, tag("small", ends) if ends else None))
    return [join(label(name), tag("small", tag("br"), meaning, class_="soft") if meaning else None), *cells]


def losses(metrics: Mapping) -> Html:
    """What is lost with fewer inputs and with damaged ones, on one scale; nothing where neither was measured."""
    metric, names = metric_of(metrics), modalities_of(metrics)
    way = _way(metric)
    rows = [_subset(s, names) for s in rows_of(metrics.get("subsets"))] if len(names) != 1 else []
    rows += [control(c, "texts") for c in rows_of(metrics.get("controls"))]
    rows = [r for r in rows if number(r.score.get("value")) is not None]
    if not rows:
        return Html("")
    rows.sort(key=lambda r: -r.score["value"])
    whole = Whisker(name=tag("b", "Everything as it is"), score=_headline(metrics), colour=1)
    blind = next((f["score"] for f in _floors(metrics)["baselines"] if f["name"] == BLIND), {})
    mark = number(blind.get("value"))
    about = note(
        "The same model, given less: inputs taken away, frames out of order, or the input of another row. A figure that does not fall "
        "shows that the text did not come from there.",
        " A ring marks what the same rows get with everything they have."
        if any(r.ring is not None for r in rows)
        else None,
        " The dark line is what the model writes without any input." if mark is not None else None,
    )
    said = f"{label(metric)} with everything, with fewer inputs and with damaged ones"
    return join(about, whiskers([whole, *rows], metric=way, label=said, mark=mark))


def _subset(found: Mapping, names: Sequence[str]) -> Whisker:
    held = [str(n) for n in listed(found.get("modalities"))]
    rows = (
        tag("small", f" {several(found['rows'], 'row')}", class_="soft")
        if number(found.get("rows"))
        else None
    )
    ring = number(found.get("everything")) if len(held) < len(names) else None
    name = pattern(names, held, "only ", named(subset_name(held, names)), rows)
    return Whisker(name=name, score=mapping(found.get("score")), colour=3, ring=ring)


# --- examples -------------------------------------------------------------------------------------------------------


def _truths(example: Mapping) -> list[str]:
    truth = example.get("truth")
    return [truth] if isinstance(truth, str) else [t for t in listed(truth) if isinstance(t, str)]


def likeness(example: Mapping) -> float | None:
    """How alike the text and its best reference are: chrF, 0..100; None where one of them is missing."""
    said, truths = example.get("said"), _truths(example)
    if not isinstance(said, str) or not truths:
        return None
    return chrf([plain(said)], [[plain(t) for t in truths]]).value


def ranked(examples: Sequence[Mapping]) -> tuple[list[Mapping], list[Mapping]]:
    """The examples with a text as (best, worst): best first, worst first, none in both; unknown ones are no worst."""
    known = [(likeness(e), e) for e in examples if isinstance(e.get("said"), str)]
    order = sorted((k for k in known if k[0] is not None), key=lambda k: -(k[0] or 0.0))
    half = (len(order) + 1) // 2
    best = [e for _, e in order[:half]] + [e for like, e in known if like is None]
    return best, [e for _, e in order[half:]][::-1]


def examples(found: Sequence[Mapping]) -> Html:
    """Cards of the rows that were told best and worst: input, text, truth."""
    best, worst = ranked(found)
    if not best:
        return Html("")
    about = note(
        f"Of the {several(len(best) + len(worst), 'row')} kept for this page, those whose texts are most and least like a reference "
        "(chrF: shared sequences of letters, 0 to 100). Large is what the model wrote, below it what people wrote."
    )
    parts: list[object] = [about]
    for title, rows in (("Closest", best), ("Farthest", worst)):
        cards = [_card(e) for e in rows]
        rest = tag("div", *cards[CARDS : 4 * CARDS], class_="cards")
        more = (
            folded(f"{several(len(cards[CARDS : 4 * CARDS]), 'more row')}", rest)
            if len(cards) > CARDS
            else None
        )
        parts += [tag("h3", title), tag("div", *cards[:CARDS], class_="cards"), more] if cards else []
    return join(*parts)


def _card(example: Mapping) -> Html:
    cells = [
        tag("div", tag("h3", named(n)), cell(c, str(n)), class_="cell")
        for n, c in mapping(example.get("cells")).items()
    ]
    like, sure = likeness(example), number(example.get("log_probability"))
    facts = [
        f" \u00b7 chrF {like:.0f}" if like is not None else "",
        f" \u00b7 log probability {sure:.1f}".replace("-", "\u2212") if sure is not None else "",
    ]
    foot = tag("footer", "id ", named(example.get("id", "?")), *facts, class_="soft")
    return tag(
        "article",
        *cells,
        tag("div", _told(example), _references(example), class_="cell"),
        foot,
        class_="card",
    )


def _told(example: Mapping) -> Html:
    said = str(example.get("said"))
    right = plain(said) in {plain(t) for t in _truths(example)}
    sign = tag("span", " (as in a reference)", class_="unseen") if right else None
    return tag("p", named(said), sign, class_="told right" if right else "told", dir="auto")


def _references(example: Mapping) -> Html | None:
    truths = _truths(example)
    return (
        tag("ul", *(tag("li", named(t)) for t in truths[:5]), class_="truths", aria_label="truth")
        if truths
        else None
    )


def looks(found: Sequence[Mapping]) -> Html:
    """Where the model looked for each word, for up to four examples; nothing where no looks can be drawn."""
    drawn = _first([("look", e) for e in _mixed(found)], looked)
    if not drawn:
        return Html("")
    about = note(
        "For each word the place that the model looked at while it wrote it: red is much, clear is little, and what is looked at evenly "
        "stays faint. The percentage is how much of the look went to this input. Attention shows where information came from, not a reason."
    )
    return join(about, *drawn)


def steps(metrics: Mapping, found: Sequence[Mapping]) -> Html:
    """The headline figure by number of reasoning steps, and the steps of some examples; nothing where there are none."""
    metric = metric_of(metrics)
    points, reaches = [], []
    for row in sorted(rows_of(metrics.get("steps")), key=lambda r: number(r.get("steps")) or 0.0):
        at, score = number(row.get("steps")), mapping(row.get("score"))
        value, low, high = (number(score.get(k)) for k in ("value", "low", "high"))
        if at is not None and value is not None:
            points.append((at, value))
            reaches.append((value if low is None else low, value if high is None else high))
    line = Series(name="", points=points, look="both", reaches=reaches)
    percent = "y" if _way(metric) else ""
    chart = plot(
        [line], title=f"{label(metric)} by reasoning steps", x="steps", y=label(metric), percent=percent
    )
    return join(chart, *_first([("step", e) for e in _mixed(found)], reasoned))


def _mixed(found: Sequence[Mapping]) -> list[Mapping]:
    """Best and worst in turn."""
    best, worst = ranked(found)
    pairs = [(e, i, side) for side, rows in enumerate((best, worst)) for i, e in enumerate(rows)]
    return [e for e, _, _ in sorted(pairs, key=lambda p: p[1:])]


def _first(pairs: Sequence[tuple[str, Mapping]], draw) -> list[Html]:
    """The first examples that can be drawn, each under its text."""
    drawn: list[Html] = []
    for i, (key, example) in enumerate(pairs):
        shown = draw(example, f"{key}-{i}")
        if shown:
            drawn.append(join(tag("h3", named(example.get("said") or example.get("predicted"))), shown))
        if len(drawn) == DRAWN:
            break
    return drawn
