"""Whether stated confidence is kept: the reliability diagram with the rows behind it."""

import math
from collections.abc import Mapping, Sequence

from sensorium.report.charts import Point, Series, plot
from sensorium.report.markup import Html, count, figure, join, mapping, note, number, rows_of, table, tag

Z = 1.96  # standard errors of a 95 % interval


def calibration(metrics: Mapping) -> Html:
    """Reliability diagram, calibration error and temperature; nothing where the target has no probabilities."""
    found = mapping(metrics.get("calibration"))
    bins = [
        b
        for b in rows_of(found.get("bins"))
        if number(b.get("confidence")) is not None and number(b.get("accuracy")) is not None
    ]
    if not bins and number(found.get("ece")) is None:
        return Html("")
    numbers = [
        [f"{100 * b['confidence']:.0f}\u202f%", f"{100 * b['accuracy']:.0f}\u202f%", count(b.get("count"))]
        for b in bins
    ]
    heads: list[object] = ["mean confidence", "right", "answers"]
    behind = (
        table(heads, numbers, numeric=frozenset({0, 1, 2}), caption="Confidence and accuracy")
        if bins
        else None
    )
    about = note(
        "Of the answers that it gives with 80 %, are 80 % right? Points under the line are overconfident. The lines are "
        "95 % intervals, and larger points stand for more answers."
    )
    facts = [tag("p", f) for f in (_on_average(bins), *_facts(found)) if f]
    return join(about, tag("div", _diagram(bins), tag("div", *facts, behind), class_="two"))


def _diagram(bins: Sequence[Mapping]) -> Html:
    ideal = Series(name="ideal", points=[(0.0, 0.0), (1.0, 1.0)], look="dashed", colour=0)
    rows = [number(b.get("count")) or 0.0 for b in bins]
    most = max(rows, default=0.0) or 1.0
    kept = Series(
        name="this model", points=[(b["confidence"], b["accuracy"]) for b in bins], look="dots", colour=1,
        reaches=[wilson(b["accuracy"], n) for b, n in zip(bins, rows, strict=True)],
        sizes=[6 + 12 * math.sqrt(n / most) for n in rows],
    )  # fmt: skip
    return plot(
        [ideal, kept] if bins else [], title="Reliability diagram", x="confidence", y="share that is right",
        x_range=(0.0, 1.0), y_range=(0.0, 1.0), percent="xy", square=True,
    )  # fmt: skip


def wilson(share: float, rows: float) -> Point:
    """95 % interval of a share of so many rows (Wilson 1927); 0 to 1 without rows."""
    if rows <= 0:
        return 0.0, 1.0
    middle = (share + Z**2 / (2 * rows)) / (1 + Z**2 / rows)
    reach = Z / (1 + Z**2 / rows) * math.sqrt(max(0.0, share * (1 - share) / rows + Z**2 / (4 * rows**2)))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def _on_average(bins: Sequence[Mapping]) -> str:
    rows = sum(number(b.get("count")) or 0.0 for b in bins)
    if not rows:
        return ""
    said, kept = (sum(b[k] * (number(b.get("count")) or 0.0) for b in bins) / rows for k in ("confidence", "accuracy"))  # fmt: skip
    low, high = wilson(kept, rows)
    word = "overconfident" if said > high else "too modest" if said < low else "as it should be"
    return f"On average it states {100 * said:.0f}\u202f%, and {100 * kept:.0f}\u202f% are right: {word}."


def _facts(found: Mapping) -> list[str]:
    before, after, warmth = (number(found.get(k)) for k in ("ece_before", "ece", "temperature"))
    facts = [f"Expected calibration error {figure(after, 'ece')}." if after is not None else ""]
    facts += [f"Before the temperature it was {figure(before, 'ece')}." if before is not None else ""]
    if warmth is not None and abs(warmth - 1) > 0.02:
        facts.append(
            f"Temperature {warmth:.2f}: the raw answers were {'too sure' if warmth > 1 else 'not sure enough'}."
        )
    return facts
