"""How it was made: learning curves, the choice of fusion, machine, recipe and versions."""

from collections.abc import Mapping, Sequence

from sensorium.report.charts import Series, bars, plot, thinned
from sensorium.report.markup import (
    Html,
    count,
    duration,
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
    table,
    tag,
)

NAMES = {
    "seconds": "whole run",
    "training_seconds": "training",
    "lr": "learning rate",
    "planned_steps": "planned steps",
}


def curves(metrics: Mapping, history: Sequence[Mapping]) -> Html:
    """Training loss, validation figure, learning rate, and the loss of each head."""
    loss, valid, rate = (_over_steps(history, key) for key in ("loss", "valid", "lr"))
    why = mapping(metrics.get("plan")).get("stopped")
    ended = (
        note(f"Training ended because {str(why)[:1].lower()}{str(why)[1:]}.".replace("..", "."))
        if why
        else None
    )
    if not loss:
        return join(ended, note("No steps were recorded."))
    smooth = thinned(loss, 60) if len(loss) > 80 else loss
    training = [
        Series(name="each step", points=loss, look="faint", colour=1),
        Series(name="smoothed", points=smooth, colour=1),
    ]
    drawn = [
        plot(training if smooth is not loss else training[1:], title="Training loss", x="step", y="loss"),
        plot([Series(name="", points=valid, look="both", colour=3)], title="On validation rows", x="step", y="loss of the averaged weights"),
        plot([Series(name="", points=rate, colour=2)], title="Learning rate", x="step", y="rate"), _heads(history),
    ]  # fmt: skip
    return join(ended, tag("div", *drawn, class_="two"))


def _over_steps(history: Sequence[Mapping], key: str) -> list[tuple[float, float]]:
    pairs = ((number(r.get("step")), number(r.get(key))) for r in history)
    return [(a, b) for a, b in pairs if a is not None and b is not None]


def _heads(history: Sequence[Mapping]) -> Html:
    names = list(dict.fromkeys(k for r in history for k in mapping(r.get("losses"))))[:6]
    if len(names) < 2:
        return Html("")
    series = []
    for i, name in enumerate(names):
        points = _over_steps(
            [{"step": r.get("step"), "loss": mapping(r.get("losses")).get(name)} for r in history], "loss"
        )
        series.append(Series(name=name or "joint", points=thinned(points, 40), colour=1 + i % 6))
    return plot(series, title="Loss of each head", x="step", y="loss")


def fusion(metrics: Mapping) -> Html:
    """What was chosen, why, and what else was tried."""
    found, metric = mapping(metrics.get("fusion")), metric_of(metrics)
    if not found.get("chosen"):
        return note("The fusion was not recorded.")
    tried = [(c.get("name", "?"), number(c.get("score"))) for c in rows_of(found.get("candidates"))]
    figures = [v for _, v in tried if v is not None]
    low = min(0.0, *figures) if figures else 0.0
    top = max(figures, default=1.0) - low or 1.0
    shown = [
        (
            join(named(n), tag("em", "chosen", class_="badge") if n == found["chosen"] else None),
            (v - low) / top,
            figure(v, metric),
        )
        for n, v in tried
        if v is not None
    ]
    weights = {k: number(v) for k, v in mapping(found.get("weights")).items()}
    voices = [
        (named(k or "joint"), v / (max(w for w in weights.values() if w) or 1), f"{v:.2f}")
        for k, v in weights.items()
        if v
    ]
    said = tag("p", tag("b", named(found["chosen"])), f": {found['reason']}" if found.get("reason") else "")
    left = (
        join(
            tag("h3", f"{label_of(metric)} of the candidates"), bars(shown, label="candidates for the fusion")
        )
        if shown
        else None
    )
    right = (
        join(
            tag("h3", "Say of each head in the answer"), bars(voices, label="weights of the heads", colour=4)
        )
        if voices
        else None
    )
    return join(
        said, tag("div", tag("div", left), tag("div", right), class_="two") if left or right else None
    )


def making(metrics: Mapping, model: Mapping) -> Html:
    """Machine, recipe and versions."""
    plan = _facts(mapping(metrics.get("plan")))
    machine = _facts(mapping(metrics.get("machine")))
    versions = _facts(
        {
            **mapping(model.get("versions")),
            **({"sensorium": model["sensorium"]} if model.get("sensorium") else {}),
        }
    )
    recipe = _facts(mapping(model.get("recipe")) or mapping(model.get("plan")))
    parts = [("Training", plan), ("Machine", {**machine, **versions})]
    shown = [tag("div", tag("h3", t), _listed(t, f)) for t, f in parts if f]
    more = folded("The whole recipe", _listed("recipe", recipe)) if recipe else None
    return join(tag("div", *shown, class_="two") if shown else note("Not recorded."), more)


def _facts(found: Mapping) -> dict[str, str]:
    return {
        NAMES.get(str(k), str(k).replace("_", " ")): _fact(str(k), v)
        for k, v in found.items()
        if not isinstance(v, Mapping) and v not in (None, "")
    }


def _fact(name: str, value: object) -> str:
    if name.endswith("seconds"):
        return duration(value)
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if name in ("parameters", "steps", "planned_steps", "batch"):
        return count(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _listed(title: str, facts: Mapping[str, str]) -> Html:
    return table(["", ""], [[tag("span", k, class_="soft"), v] for k, v in facts.items()], caption=title)
