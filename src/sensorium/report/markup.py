"""HTML that cannot be broken out of: whatever is not `Html` is escaped."""

import html
import math
import re
from collections.abc import Mapping, Sequence

VOID = frozenset({"br", "img", "meta"})
UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")  # characters that HTML does not allow
PERCENT = frozenset(
    {
        "accuracy",
        "macro_f1",
        "micro_f1",
        "balanced_accuracy",
        "subset_accuracy",
        "mean_average_precision",
        "auroc",
        "ece",
    }
)
LOWER_IS_BETTER = frozenset({"nll", "brier", "ece", "mae", "rmse", "loss"})
METRICS = {
    "accuracy": ("Accuracy", "share of rows answered right"),
    "macro_f1": ("Macro F1", "F1 of each class, averaged: rare classes count as much as common ones"),
    "micro_f1": ("Micro F1", "F1 over all labels of all rows together"),
    "balanced_accuracy": ("Balanced accuracy", "share answered right within each class, averaged"),
    "subset_accuracy": ("Subset accuracy", "share of rows with every label right"),
    "mean_average_precision": (
        "Mean average precision",
        "precision down the ranking of each label, averaged",
    ),
    "auroc": ("AUROC", "chance that a row of a class ranks above one without it"),
    "ece": ("Calibration error", "distance between stated confidence and the share that is right"),
    "nll": ("Log loss", "nats per row; lower is better"),
    "brier": ("Brier score", "squared error of the probabilities, 0 to 2; lower is better"),
    "mae": ("Mean absolute error", "in the unit of the target; lower is better"),
    "rmse": ("Root mean squared error", "in the unit of the target; lower is better"),
    "r2": ("R\u00b2", "share of the variance that is explained"),
    "pearson": ("Pearson correlation", "straight-line agreement, -1 to 1"),
    "spearman": ("Spearman correlation", "agreement of the order, -1 to 1"),
}


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def esc(value: object) -> Html:
    """Any value as text inside HTML or inside a quoted attribute."""
    return (
        value if isinstance(value, Html) else Html(html.escape(UNSEEN.sub("\ufffd", str(value)), quote=True))
    )


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """One element. `class_` stands for class, `_` for `-` in names; an attribute of None is left out."""
    given = (
        ("class" if k == "class_" else k.replace("_", "-"), v) for k, v in attributes.items() if v is not None
    )
    opened = "".join([f"<{name}", *(f' {k}="{esc(v)}"' for k, v in given if v is not None), ">"])
    return Html(opened if name in VOID else f"{opened}{join(*children)}</{name}>")


def join(*children: object) -> Html:
    """Elements one after another; None and empty ones vanish."""
    return Html("".join(esc(c) for c in children if c is not None))


def named(value: object) -> Html:
    """A name that may be written from right to left, kept from turning its surroundings."""
    text = str(value)
    return tag("bdi", text if text.strip() else "(empty)")


def plain_text(value: Html) -> str:
    """What is left of an element without its tags, to tell its width."""
    return html.unescape(re.sub("<[^>]*>", "", value))


def number(value: object) -> float | None:
    """A finite number, or None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def mapping(value: object) -> Mapping:
    """A mapping, or an empty one for anything else."""
    return value if isinstance(value, Mapping) else {}


def listed(value: object) -> list:
    """A list, or an empty one for anything else."""
    return list(value) if isinstance(value, list | tuple) else []


def metric_of(metrics: Mapping) -> str:
    """The name of the headline metric, "" where there is none."""
    found = metrics.get("metric")
    return found if isinstance(found, str) else ""


def rows_of(value: object) -> list[Mapping]:
    """The mappings of a list."""
    return [v for v in listed(value) if isinstance(v, Mapping)]


def figure(value: object, metric: str = "") -> str:
    """A figure for people: shares in percent, others with about four digits."""
    found = number(value)
    if found is None:
        return "\u2013"
    if metric in PERCENT:
        return f"{100 * found:.1f}\u202f%"
    return f"{found:.3f}" if abs(found) < 10 else f"{found:,.4g}" if abs(found) < 10_000 else f"{found:,.0f}"


def span(score: Mapping, metric: str) -> str:
    """The ends of an interval, or nothing where there is none."""
    low, high = number(score.get("low")), number(score.get("high"))
    if low is None or high is None:
        return ""
    text = f"{figure(low, metric)} \u2013 {figure(high, metric)}"
    return text.replace("\u202f% \u2013", " \u2013")


def count(value: object) -> str:
    """A whole number with separators; a dash where there is none."""
    found = number(value)
    return "\u2013" if found is None else f"{found:,.0f}"


def duration(seconds: object) -> str:
    """Seconds as people say them."""
    found = number(seconds)
    if found is None:
        return "\u2013"
    if found < 90:
        return f"{found:.1f} s" if found < 10 else f"{found:.0f} s"
    return f"{found / 60:.1f} min" if found < 5400 else f"{found / 3600:.1f} h"


def label_of(metric: str) -> str:
    """What people call a metric."""
    return METRICS.get(metric, (metric.replace("_", " ") or "score", ""))[0]


def table(
    heads: Sequence[object],
    rows: Sequence[Sequence[object]],
    *,
    numeric: frozenset[int] = frozenset(),
    caption: str = "",
) -> Html:
    """A table in a box that scrolls; `numeric` columns are set right."""
    kind = ["num" if i in numeric else None for i in range(len(heads))]
    top = tag("tr", *(tag("th", h, scope="col", class_=k) for h, k in zip(heads, kind, strict=True)))
    body = [tag("tr", *(tag("td", c, class_=k) for c, k in zip(row, kind, strict=True))) for row in rows]
    named_by = tag("caption", caption, class_="unseen") if caption else None
    inner = tag("table", named_by, tag("thead", top), tag("tbody", *body))
    return tag("div", inner, class_="scroll", tabindex="0", role="group", aria_label=caption or "table")


def folded(summary: str, *content: object) -> Html:
    """A part that opens on a click, without a script."""
    return tag("details", tag("summary", summary), *content)


def note(*content: object) -> Html:
    """A quiet remark."""
    return tag("p", *content, class_="soft")
