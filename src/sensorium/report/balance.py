"""Whether an input was starved by the others: own head, probe, specialist; and how each head's loss ran."""

from collections.abc import Mapping, Sequence

from sensorium.report.charts import Series, Whisker, plot, thinned, whiskers
from sensorium.report.markup import Html, figure, join, mapping, named, note, number, rows_of, tag

MOST = 12  # heads whose losses are drawn
VERDICTS = {True: ("starved", "badge bad"), False: ("not starved", "badge"), None: ("too few rows to tell", "badge even")}  # fmt: skip
ASKED = (
    ("own", "its own head", 1),
    ("probe", "a linear probe on its encoder", 3),
    ("reference", "a model of it alone", 0),
)


def balance(metrics: Mapping, history: Sequence[Mapping]) -> Html:
    """Verdict for each input, and small charts of each head's losses; nothing where neither was recorded."""
    told = [_input(b) for b in rows_of(metrics.get("balance"))]
    told = [t for t in told if t]
    about = note(
        "A strong input can answer for all, and the encoders of the others then stop learning. An input is starved where "
        "a model of it alone answers better than what the joint model took from it."
    )
    parts = [tag("h3", "Balance: was an input starved?"), about, *told] if told else []
    return join(*parts, _heads(str(mapping(metrics.get("task")).get("target")), history))


def _input(found: Mapping) -> Html:
    """One input: its figures on one scale, the verdict in words, and how far its training loss ran ahead."""
    metric = "r2" if found.get("figure") == "r2" else "accuracy"
    rows = [Whisker(name=named(words), score=mapping(found.get(k)), colour=c) for k, words, c in ASKED]
    name = str(found.get("modality") or "?")
    chart = whiskers(rows, metric=metric, label=f"{name}: own head, probe and reference")
    words = found.get("words")
    if not chart and not isinstance(words, str):
        return Html("")
    under = found.get("under_used")
    verdict, look = VERDICTS[under if isinstance(under, bool) else None]
    said = words if isinstance(words, str) else ""
    head = tag("p", tag("b", named(name)), tag("em", verdict, class_=look))
    told = note(tag("small", said[:1].upper() + said[1:], "." if said and not said.endswith(".") else None, _pace(found)))  # fmt: skip
    return tag("div", head, chart, told)


def _pace(found: Mapping) -> str:
    learning = mapping(found.get("learning"))
    fell, ran = number(learning.get("generalised")), number(learning.get("overfitted"))
    if fell is None or ran is None:
        return ""
    ahead = (
        f"its training loss ran {figure(ran)} ahead of it"
        if ran > 0
        else "its training loss did not run ahead"
    )
    moved = f"fell by {figure(fell)}" if fell >= 0 else f"rose by {figure(-fell)}"
    return f" Since the first validation its held-out loss {moved}, and {ahead}."


def _heads(target: str, history: Sequence[Mapping]) -> Html:
    """Losses of each head in training and on validation rows: where the two part, it learns by heart."""
    names = list(dict.fromkeys(str(k) for r in history for k in mapping(r.get("valid_losses"))))
    names = [n for n in names if n.startswith(f"{target}/")] or names
    charts = []
    for name in names[:MOST]:
        train, valid = (_over(history, key, name) for key in ("losses", "valid_losses"))
        lines = [
            Series(name="training", points=thinned(train, 40), colour=1),
            Series(name="validation", points=valid, look="both", colour=3),
        ]
        title = name.removeprefix(f"{target}/") or "joint"
        if len(valid) > 1:
            charts.append(plot(lines, title=title, x="step", y="loss"))
    if len(charts) < 2:
        return Html("")
    return join(
        tag("h3", "Loss of each head, in training and on validation rows"),
        tag("div", *charts, class_="small-multiples"),
        note(tag("small", "Where the validation loss rises while the training loss falls, a head learns by heart. Training rows are augmented, so their loss may lie above.")),
    )  # fmt: skip


def _over(history: Sequence[Mapping], key: str, name: str) -> list[tuple[float, float]]:
    pairs = ((number(r.get("step")), number(mapping(r.get(key)).get(name))) for r in history)
    return [(a, b) for a, b in pairs if a is not None and b is not None]
