"""Learning curves, and the choice of fusion with its reason."""

from collections.abc import Mapping, Sequence

from sensorium.report.charts import Series, bars, plot, thinned
from sensorium.report.markup import (
    LOWER_IS_BETTER,
    Html,
    figure,
    folded,
    join,
    label_of,
    mapping,
    metric_of,
    named,
    note,
    number,
    rows_of,
    several,
    table,
    tag,
    worded,
)
from sensorium.report.scores import heard

VOICES = 10  # bars of heads shown at once
VOICE = {"floors": "floor", "both": "head and floor"}  # what has a say
MEANING = (  # of a part of a candidate's name
    ("joint", "one head that sees the tokens of all inputs together"),
    ("late", "the heads of each input, pooled"),
    ("own heads", "the heads of each input, pooled"),
    ("floors", "the simple models of each input, pooled"),
    ("alone", "the head of one input, where a row has it"),
    ("early", "one head behind layers in which every token sees every other"),
    ("mid", "one head behind layers in which inputs meet in a few shared tokens"),
    ("tensor", "one head on products of the inputs' vectors"),
    ("leaning", "probabilities of rare classes raised"),
)


def curves(metrics: Mapping, history: Sequence[Mapping]) -> Html:
    """Training loss, validation figure, learning rate, and the loss of each head."""
    loss, valid, rate = (_over_steps(history, key) for key in ("loss", "valid", "lr"))
    why = str(mapping(metrics.get("plan")).get("stopped") or "")
    ended = note(f"Training ended: {why.rstrip('.')}.") if why else None
    if not loss:
        taken = number(mapping(metrics.get("plan")).get("steps"))
        return join(ended, note(f"No curve: {several(taken, 'step') if taken else 'the steps'} were too few to record."))  # fmt: skip
    smooth = thinned(loss, 60) if len(loss) > 80 else loss
    training = [
        Series(name="each step", points=loss, look="faint", colour=1),
        Series(name="smoothed", points=smooth, colour=1),
    ]
    drawn = [
        plot(training if smooth is not loss else training[1:], title="Training loss, the sum of all heads", x="step", y="loss"),
        plot([Series(name="", points=valid, look="both", colour=3)], title="On validation rows", x="step", y="loss of the averaged weights"),
        plot([Series(name="", points=[(a, 1000 * b) for a, b in rate], colour=2)], title="Learning rate", x="step", y="rate, thousandths"), _heads(metrics, history),
    ]  # fmt: skip
    return join(ended, _lowest(valid), tag("div", *drawn, class_="two"))


def _lowest(valid: Sequence[tuple[float, float]]) -> Html | None:
    """Where validation was best, and whether it was still falling."""
    if len(valid) < 3:
        return None
    step, loss = min(valid, key=lambda p: p[1])
    still = step == valid[-1][0]
    more = " It was still falling: a longer training may give more." if still else ""
    return note(f"The lowest validation loss was {loss:.3f}, at step {step:.0f}.{more}")


def _over_steps(history: Sequence[Mapping], key: str) -> list[tuple[float, float]]:
    pairs = ((number(r.get("step")), number(r.get(key))) for r in history)
    return [(a, b) for a, b in pairs if a is not None and b is not None]


def _heads(metrics: Mapping, history: Sequence[Mapping]) -> Html:
    """The loss of each head; of the asked target alone where others are learned beside it."""
    names = list(dict.fromkeys(str(k) for r in history for k in mapping(r.get("losses"))))
    asked = f"{mapping(metrics.get('task')).get('target')}/"
    names = [n for n in names if n.startswith(asked)] or names
    names = sorted(names, key=lambda n: n.removeprefix(asked) != "joint")[:6]
    if len(names) < 2:
        return Html("")
    series = []
    for i, name in enumerate(names):
        points = _over_steps(
            [{"step": r.get("step"), "loss": mapping(r.get("losses")).get(name)} for r in history], "loss"
        )
        shown = name.removeprefix(asked) or "joint"
        series.append(Series(name=shown, points=thinned(points, 40), colour=1 + i % 6))
    return plot(series, title="Loss of each head", x="step", y="loss")


def fusion(metrics: Mapping) -> Html:
    """What was chosen, why, and what else was tried."""
    found, metric = mapping(metrics.get("fusion")), metric_of(metrics)
    if not found.get("chosen"):
        return Html("")
    chosen = str(found["chosen"])
    reason = f": {worded(str(found['reason']), metric)}." if found.get("reason") else ""
    said = tag("p", tag("b", named(chosen)), reason)
    left, right = _candidates(rows_of(found.get("candidates")), chosen, metric), _voices(mapping(found.get("weights")), heard(metrics))  # fmt: skip
    both = (
        tag("div", *(tag("div", part) for part in (left, right) if part), class_="two")
        if left or right
        else None
    )
    return join(
        _glossary([chosen, *(str(c.get("name")) for c in rows_of(found.get("candidates")))]), said, both
    )


def _glossary(names: Sequence[str]) -> Html:
    """What the words in the names of the candidates stand for."""
    words = [f"{word}: {what}" for word, what in MEANING if any(word in n for n in names)]
    rule = (
        "Which heads answer together was tried on the validation rows, with weights learned on one half and tried on the other; "
        "of those within half a standard error of the best figure the one with the lowest loss is taken. "
        if len(names) > 2
        else ""
    )
    line = tag("br") if rule else None
    return note(rule, tag("small", line, "; ".join(words), ".") if words else None)


def _candidates(tried: Sequence[Mapping], chosen: str, metric: str) -> Html:
    known = [(str(c.get("name", "?")), number(c.get("score")), number(c.get("loss"))) for c in tried]
    sign = 1 if metric in LOWER_IS_BETTER else -1
    ordered = sorted(
        (k for k in known if k[1] is not None), key=lambda k: (sign * (k[1] or 0.0), k[2] or 0.0)
    )
    if len(ordered) < 2:
        return Html("")
    rows = [
        [
            join(named(n), tag("em", "chosen", class_="badge") if n == chosen else None),
            figure(v, metric),
            figure(w),
        ]
        for n, v, w in ordered
    ]
    heads: list[object] = ["what answers", label_of(metric), "loss"]
    shown = [r for i, r in enumerate(rows) if i < VOICES or ordered[i][0] == chosen]
    rest = [r for r in rows if r not in shown]
    columns = frozenset({1, 2})
    more = (
        folded(
            f"{len(rest)} more",
            table(heads, rest, numeric=columns, caption="Further candidates", look="tried"),
        )
        if rest
        else None
    )
    return join(
        tag("h3", "What was tried"), table(heads, shown, numeric=columns, caption="Candidates for the fusion", look="tried"), more
    )  # fmt: skip


def _voices(weights: Mapping, whose: str) -> Html:
    known = [(str(k or "joint"), number(v)) for k, v in weights.items()]
    voices = sorted(((k, v) for k, v in known if v), key=lambda kv: -kv[1])
    if not voices:
        return Html("")
    top, kind = voices[0][1] or 1.0, VOICE.get(whose, "head")
    rows = [(named(k), v / top, f"{v:.2f}") for k, v in voices]
    more, label = rows[VOICES:], f"weight of each {kind}"
    rest = folded(f"{len(more)} more", bars(more, label=label, colour=4)) if more else None  # fmt: skip
    return join(tag("h3", f"Weight of each {kind} in the answer"), bars(rows[:VOICES], label=label, colour=4), rest)  # fmt: skip
