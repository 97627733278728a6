"""What wrong inputs cost: frames out of order, a single frame, and what another row has."""

from collections.abc import Mapping

from sensorium.report.charts import Whisker, whiskers
from sensorium.report.markup import (
    LOWER_IS_BETTER,
    Html,
    join,
    label_of,
    mapping,
    metric_of,
    named,
    note,
    number,
    rows_of,
    tag,
)

NAMES = {
    "shuffled": "frames shuffled",
    "reversed": "frames reversed",
    "single frame": "a single frame",
}


def controls(metrics: Mapping) -> Html:
    """Every control on one scale, beside everything as it is; nothing where none was measured."""
    metric = metric_of(metrics)
    rows = [control(c, "answers") for c in rows_of(metrics.get("controls"))]
    rows = [r for r in rows if number(r.score.get("value")) is not None]
    if not rows:
        return Html("")
    sign = 1 if metric in LOWER_IS_BETTER else -1
    rows.sort(key=lambda r: sign * r.score["value"])
    score = mapping(mapping(metrics.get("scores")).get(metric))
    whole = Whisker(name=tag("b", "Everything as it is"), score=score, colour=1)
    about = note(
        "The same model and rows with something wrong: the middle frame repeated to the same length, frames in any other order, frames "
        "backwards, or the input of another row. A figure that does not fall shows that the answer did not need it.",
        " A ring marks what the same rows get unharmed." if any(r.ring is not None for r in rows) else None,
    )
    said = f"{label_of(metric)} with everything as it is, and with wrong inputs"
    return join(about, whiskers([whole, *rows], metric=metric, label=said))


def control(found: Mapping, answers: str) -> Whisker:
    """One control as a row of a chart; `answers` is what people call what the model gives."""
    name, changed = str(found.get("name") or "?"), number(found.get("changed"))
    share = f" {100 * changed:.0f}\u202f% of {answers} change" if changed is not None else None
    about = join(named(found["modality"]), ": ") if found.get("modality") else None
    said = tag("small", share, class_="soft") if share else None
    return Whisker(
        name=join(about, NAMES.get(name, name), said), score=mapping(found.get("score")), colour=2, ring=number(found.get("everything")),
    )  # fmt: skip
