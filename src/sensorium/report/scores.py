"""The top of the report: what was asked, how good the answer is, and the floors beside it."""

from collections.abc import Mapping

from sensorium.report.charts import Whisker, whiskers
from sensorium.report.markup import (
    LOWER_IS_BETTER,
    METRICS,
    PERCENT,
    Html,
    count,
    duration,
    figure,
    folded,
    join,
    label_of,
    listed,
    mapping,
    metric_of,
    named,
    note,
    number,
    plain_text,
    rows_of,
    several,
    span,
    tag,
)

MOST = 12  # rows of the chart of floors that are shown at once
WIDE = 0.15  # of an interval of a share
KINDS = {"category": "a category", "labels": "several labels", "number": "a number", "text": "a text"}


def headline_score(metrics: Mapping) -> Mapping:
    """The score of the headline metric; empty where nothing was measured."""
    return mapping(mapping(metrics.get("scores")).get(metric_of(metrics)))


def heard(metrics: Mapping) -> str:
    """Whose answers are mixed to the model's: "floors", "both" for those and the network, or "network"."""
    names = {str(f.get("name")) for f in rows_of(metrics.get("baselines"))}
    voices = {k for k, v in mapping(mapping(metrics.get("fusion")).get("weights")).items() if number(v)}
    return "network" if not voices & names else "floors" if voices <= names else "both"


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
    """("good", "bad", "even" or "", a sentence): where the model stands beside the best floor."""
    metric, score, floor = metric_of(metrics), headline_score(metrics), best_floor(metrics)
    own, other = number(score.get("value")), number(mapping(floor.get("score")).get("value"))
    if own is None or other is None:
        return "", ""
    text = f"{floor.get('name')} ({figure(other, metric)})"
    if own == other:
        return "even", f"No better than the best floor, {text}, which is simpler and faster."
    low, high = number(score.get("low")), number(score.get("high"))
    inside = low is not None and high is not None and low <= other <= high
    if better(other, own, metric):
        doubt = (
            " The difference lies within the model's interval."
            if inside
            else " For this table it is the better choice."
        )
        return "bad", f"A floor wins: {text} is ahead of the model ({figure(own, metric)}).{doubt}"
    if inside:
        return "even", f"The model is ahead of the best floor, {text}, but that lies within its interval: more rows would tell."  # fmt: skip
    return "good", f"The model is ahead of every floor; the best of them is {text}."


def hero(metrics: Mapping) -> Html:
    """The one big figure, where it stands, what else to know, and the fusion and size in short."""
    metric, score = metric_of(metrics), headline_score(metrics)
    plan, fusion = mapping(metrics.get("plan")), mapping(metrics.get("fusion"))
    kind, sentence = standing(metrics)
    call = tag("p", sentence, class_=f"call {kind}") if kind else None
    told = findings(metrics) if number(score.get("value")) is not None else []
    said = told or [v for v in listed(metrics.get("verdict")) if isinstance(v, str)]
    chips = [
        f"fusion: {fusion['chosen']}" if fusion.get("chosen") and score else "",
        f"{plan['size']}, {count(plan.get('parameters'))} parameters" if plan.get("size") else "",
        f"trained in {duration(plan.get('training_seconds', plan.get('seconds')))}"
        if plan.get("seconds")
        else "",
        f"seed {plan['seed']}" if plan.get("seed") is not None else "",
    ]
    small = tag("div", *(tag("span", c, class_="chip") for c in chips if c), class_="chips")
    sentences = tag("ul", *(tag("li", s) for s in said)) if said else None
    look = "hero" if score else "hero plain"
    return tag("div", _number(metrics, metric, score), tag("div", call, sentences, small), class_=look)


def findings(metrics: Mapping) -> list[str]:
    """What to know beside the headline, a sentence each; what was not measured is not told."""
    found = (
        _no_network(metrics), _best_single(metrics), _lost_cells(metrics), _typical_error(metrics), _doubts(metrics), _unread(metrics),
    )  # fmt: skip
    return [sentence for sentence in found if sentence]


def _no_network(metrics: Mapping) -> str:
    return (
        "The network has no say in these answers: floors of single inputs, mixed, did better on the validation rows."
        if heard(metrics) == "floors"
        else ""
    )


def _best_single(metrics: Mapping) -> str:
    metric = metric_of(metrics)
    alone = [
        s
        for s in rows_of(metrics.get("subsets"))
        if len(listed(s.get("modalities"))) == 1 and number(mapping(s.get("score")).get("value")) is not None
    ]
    if len(alone) < 2:
        return ""
    sign = -1 if metric in LOWER_IS_BETTER else 1
    best = max(alone, key=lambda s: sign * s["score"]["value"])
    value, whole = best["score"]["value"], number(best.get("everything"))
    text = f"The best single input is {best['modalities'][0]} with {figure(value, metric)} on the {several(best.get('rows'), 'row')} that have it"
    return f"{text}." if whole is None else f"{text}; with all they have, the same rows give {figure(whole, metric)}."  # fmt: skip


def _lost_cells(metrics: Mapping) -> str:
    lost = [r for r in rows_of(metrics.get("robustness")) if not r.get("modality")]
    at = {number(r.get("rate")): number(r.get("value")) for r in lost}
    value, metric = at.get(0.3), metric_of(metrics)
    return "" if value is None else f"With 30 % of the cells lost at random it is {figure(value, metric)}."


def _typical_error(metrics: Mapping) -> str:
    found = mapping(metrics.get("residuals"))
    both = zip(
        map(number, listed(found.get("truth"))), map(number, listed(found.get("predicted"))), strict=False
    )
    errors = sorted(abs(p - t) for t, p in both if t is not None and p is not None)
    return f"Half of the answers are off by less than {figure(errors[len(errors) // 2])}." if errors else ""


def _doubts(metrics: Mapping) -> str:
    """A remark where the interval of a share is wide."""
    score, rows = headline_score(metrics), number(metrics.get("rows"))
    low, high = number(score.get("low")), number(score.get("high"))
    if metric_of(metrics) not in PERCENT or low is None or high is None or not rows or high - low < WIDE:
        return ""
    return f"The interval is wide, for {several(rows, 'row')} say little: more held-out rows narrow it."


def _unread(metrics: Mapping) -> str:
    lost = number(mapping(metrics.get("data")).get("quarantined"))
    return f"{several(lost, 'row')} could not be read and took no part." if lost else ""


def _number(metrics: Mapping, metric: str, score: Mapping) -> Html:
    if not score:
        return tag(
            "div",
            tag("div", "Not measured", class_="what"),
            note(
                "No held-out row has a target that training knew. Give such rows with --valid, or fill the target "
                "where split = valid; or measure the finished run on another table with ",
                tag("code", "sensorium evaluate"),
                ".",
            ),
        )
    split = {"valid": "validation"}.get(str(metrics.get("split")), str(metrics.get("split", "")))
    ends = span(score, metric)
    return tag(
        "div", tag("div", label_of(metric), class_="what"), tag("div", figure(score.get("value"), metric), class_="big"),
        note(f"95 % interval {ends}" if ends else "", tag("br"), f"on {count(metrics.get('rows'))} {split} rows"),
        note(tag("small", METRICS.get(metric, ("", ""))[1])),
    )  # fmt: skip


def floors(metrics: Mapping) -> Html:
    """The model and every floor on one scale, and the other figures of the model; nothing without floors."""
    metric, rows = metric_of(metrics), _standings(metrics)
    if not rows_of(metrics.get("baselines")):
        return tiles(metrics)
    shown = rows if len(rows) <= MOST else [r for i, r in enumerate(rows) if i < MOST - 2 or _kept(r)]
    rest = [r for r in rows if r not in shown]
    label = f"{label_of(metric)} of the model and of the floors, with 95 % intervals"
    about = note(
        "Floors are simple baselines that are fitted first, in seconds: the commonest answer, forests and linear models on "
        "statistics of one input or of all, and the mean answer of those of single inputs (late average). "
        "A model that does not beat them is not worth its training."
    )
    more = (
        folded(
            f"{several(len(rest), 'further floor')}", whiskers(rest, metric=metric, label=f"further floors: {label_of(metric)}")
        )
        if rest
        else None
    )  # fmt: skip
    return join(about, whiskers(shown, metric=metric, label=label), more, _of_floors(metrics), tiles(metrics))


def _kept(row: Whisker) -> bool:
    """Whether a row stays in sight in a long chart: the model itself, and the answer without any input."""
    return bool(row.colour) or plain_text(row.name) in ("majority", "mean")


def _of_floors(metrics: Mapping) -> Html | None:
    """A remark where floors have a say in the model's own answers."""
    who = heard(metrics)
    if who == "floors":
        return note("This model's answers are a weighted mix of floors of single inputs: see Fusion.")
    return note("Some floors have a say in this model's answers, beside the network: see Fusion.") if who == "both" else None  # fmt: skip


def _standings(metrics: Mapping) -> list[Whisker]:
    metric, own = metric_of(metrics), headline_score(metrics)
    rows = [(tag("b", "This model"), own, 1, "")] if own else []
    for floor in rows_of(metrics.get("baselines")):
        remark = f"fitted in {duration(floor.get('seconds'))}" if number(floor.get("seconds")) else ""
        rows.append((named(floor.get("name", "?")), mapping(floor.get("score")), 0, remark))
    rows = [r for r in rows if number(r[1].get("value")) is not None]
    sign = -1 if metric in LOWER_IS_BETTER else 1
    rows.sort(key=lambda r: -sign * r[1]["value"])
    ahead = len(rows) > 1 and rows[0][1]["value"] != rows[1][1]["value"]
    return [
        Whisker(
            name=name, score=score, colour=colour, remark=remark, badge="best" if i == 0 and ahead else ""
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
