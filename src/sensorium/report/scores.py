"""The top of the report: what was asked, how good the answer is, and the floors beside it."""

from collections.abc import Mapping

from sensorium.report.charts import Whisker, whiskers
from sensorium.report.markup import (
    LOWER_IS_BETTER,
    METRICS,
    Html,
    count,
    duration,
    figure,
    join,
    label_of,
    listed,
    mapping,
    metric_of,
    named,
    note,
    number,
    rows_of,
    span,
    tag,
)

KINDS = {"category": "a category", "labels": "several labels", "number": "a number"}


def headline_score(metrics: Mapping) -> Mapping:
    """The score of the headline metric; empty where nothing was measured."""
    return mapping(mapping(metrics.get("scores")).get(metric_of(metrics)))


def better(a: float, b: float, metric: str) -> bool:
    """Whether figure a is better than b."""
    return a < b if metric in LOWER_IS_BETTER else a > b


def best_floor(metrics: Mapping) -> Mapping:
    """The floor with the best figure, or an empty mapping."""
    found = [
        f
        for f in rows_of(metrics.get("baselines"))
        if number(mapping(f.get("score")).get("value")) is not None
    ]
    sign = -1 if metric_of(metrics) in LOWER_IS_BETTER else 1
    return max(found, key=lambda f: sign * f["score"]["value"], default={})


def standing(metrics: Mapping) -> tuple[str, str]:
    """("good", "bad" or "", a sentence): where the model stands beside the best floor."""
    metric, score, floor = metric_of(metrics), headline_score(metrics), best_floor(metrics)
    own, other = number(score.get("value")), number(mapping(floor.get("score")).get("value"))
    if own is None or other is None:
        return "", ""
    text = f"{floor.get('name')} ({figure(other, metric)})"
    if own == other:
        return "bad", f"The model only equals the best floor, {text}: the floor is simpler and faster."
    low, high = number(score.get("low")), number(score.get("high"))
    inside = low is not None and high is not None and low <= other <= high
    if better(other, own, metric):
        doubt = (
            " The difference lies within the model's interval."
            if inside
            else " For this table it is the better choice."
        )
        return "bad", f"A floor wins: {text} is ahead of the model ({figure(own, metric)}).{doubt}"
    doubt = " That floor lies within the model's interval: more rows would tell." if inside else ""
    return "good", f"The model is ahead of every floor; the best of them is {text}.{doubt}"


def hero(metrics: Mapping) -> Html:
    """The one big figure, the verdict, and the fusion and size in short."""
    metric, score = metric_of(metrics), headline_score(metrics)
    plan, fusion = mapping(metrics.get("plan")), mapping(metrics.get("fusion"))
    said = [tag("li", v) for v in listed(metrics.get("verdict")) if isinstance(v, str)]
    kind, sentence = standing(metrics)
    call = tag("p", sentence, class_="call bad") if kind == "bad" else None
    chips = [
        f"fusion: {fusion['chosen']}" if fusion.get("chosen") else "",
        f"{plan['size']}, {count(plan.get('parameters'))} parameters" if plan.get("size") else "",
        f"trained in {duration(plan.get('training_seconds', plan.get('seconds')))}"
        if plan.get("seconds")
        else "",
        f"seed {plan['seed']}" if plan.get("seed") is not None else "",
    ]
    small = tag("div", *(tag("span", c, class_="chip") for c in chips if c), class_="chips")
    sentences = tag("ul", *said) if said else note("No verdict was recorded.")
    return tag("div", _number(metrics, metric, score), tag("div", sentences, small, call), class_="hero")


def _number(metrics: Mapping, metric: str, score: Mapping) -> Html:
    if not score:
        return tag(
            "div",
            tag("div", "not measured", class_="what"),
            note("There were no held-out rows with a target."),
        )
    split = {"valid": "validation"}.get(str(metrics.get("split")), str(metrics.get("split", "")))
    ends = span(score, metric)
    return tag(
        "div", tag("div", label_of(metric), class_="what"), tag("div", figure(score.get("value"), metric), class_="big"),
        note(f"95 % interval {ends}" if ends else "", tag("br"), f"on {count(metrics.get('rows'))} {split} rows"),
        note(tag("small", METRICS.get(metric, ("", ""))[1])),
    )  # fmt: skip


def floors(metrics: Mapping) -> Html:
    """The model and every floor on one scale, and the other figures of the model."""
    metric = metric_of(metrics)
    chart = whiskers(
        _standings(metrics, metric),
        metric=metric,
        label=f"{label_of(metric)} of the model and of the floors, with 95 % intervals",
    )
    kind, sentence = standing(metrics)
    call = (
        tag("p", sentence, class_=f"call {kind}")
        if sentence
        else note("No floors were recorded for these rows.")
    )
    about = note(
        "Floors are simple models that are fitted first, in seconds. A model that does not beat them is not worth its training."
    )
    return join(about, chart, call, tiles(metrics))


def _standings(metrics: Mapping, metric: str) -> list[Whisker]:
    own = headline_score(metrics)
    rows = [(tag("b", "This model"), own, 1, "")] if own else []
    for floor in rows_of(metrics.get("baselines")):
        remark = f"fitted in {duration(floor.get('seconds'))}" if number(floor.get("seconds")) else ""
        rows.append((named(floor.get("name", "?")), mapping(floor.get("score")), 0, remark))
    rows = [r for r in rows if number(r[1].get("value")) is not None]
    sign = -1 if metric in LOWER_IS_BETTER else 1
    rows.sort(key=lambda r: -sign * r[1]["value"])
    return [
        Whisker(
            name=name,
            score=score,
            colour=colour,
            remark=remark,
            badge="best" if i == 0 and len(rows) > 1 else "",
        )
        for i, (name, score, colour, remark) in enumerate(rows)
    ]


def tiles(metrics: Mapping) -> Html:
    """Every other figure, with what it means."""
    found = []
    for metric, score in mapping(metrics.get("scores")).items():
        if number(mapping(score).get("value")) is None or metric == metric_of(metrics):
            continue
        meaning = METRICS.get(metric, ("", ""))[1]
        ends = span(score, metric)
        found.append(
            tag(
                "div",
                tag("small", label_of(metric)),
                tag("b", figure(score["value"], metric)),
                tag("small", ends),
                tag("small", meaning),
                class_="tile",
            )
        )
    return tag("div", *found, class_="tiles") if found else Html("")
