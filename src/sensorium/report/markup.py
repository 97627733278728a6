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
    found = 0.0 if abs(found) < 0.0005 else found  # without the sign of -0.000
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
    if 0 < found < 1:
        return f"{1000 * found:.3g} ms"
    if found < 90:
        return f"{found:.1f} s" if found < 10 else f"{found:.0f} s"
    return f"{found / 60:.1f} min" if found < 5400 else f"{found / 3600:.1f} h"


def several(number_of: object, noun: str) -> str:
    """A count with its noun: `1 row`, `2 rows`."""
    return f"{count(number_of)} {noun}{'' if number_of == 1 else 's'}"


def label_of(metric: str) -> str:
    """What people call a metric."""
    return METRICS.get(metric, (metric.replace("_", " ") or "score", ""))[0]


def worded(text: str, metric: str) -> str:
    """A sentence of a metrics file with the metric's name and figures as people write them."""

    def said(found: re.Match[str]) -> str:
        return figure(float(found[0]), metric)

    def set_apart(found: re.Match[str]) -> str:  # behind names that may end in a number of their own
        return f"({said(found)})"

    text = re.sub(rf"\b{re.escape(metric)}\b(?= -?[0-9])", label_of(metric), text) if metric else text
    first, against, others = text.partition(" against ")
    first, others = (
        re.sub(r"(?<![\w.-])-?\d+\.\d{3}\b", way, part) for part, way in ((first, said), (others, set_apart))
    )
    return first + against + others


def subset_name(held: Sequence[str], names: Sequence[str]) -> str:
    """A subset of the inputs in few words: its members, or what it lacks where that is shorter."""
    lacking = [n for n in names if n not in held]
    if len(names) < 4 or len(held) + len(lacking) != len(names) or len(lacking) > 2 or len(held) < 3:
        return " + ".join(held) or "nothing"
    return f"all but {' and '.join(lacking)}" if lacking else f"all {len(names)} inputs"


def table(
    heads: Sequence[object],
    rows: Sequence[Sequence[object]],
    *,
    numeric: frozenset[int] = frozenset(),
    caption: str = "",
    look: str | None = None,
) -> Html:
    """A table in a box that scrolls; the first cell of a row is its heading, `numeric` columns are set right."""
    kind = ["num" if i in numeric else None for i in range(len(heads))]
    top = tag("tr", *(tag("th", h, scope="col", class_=k) for h, k in zip(heads, kind, strict=True)))
    body = [
        tag(
            "tr",
            tag("th", row[0], scope="row", class_=kind[0]),
            *(tag("td", c, class_=k) for c, k in zip(row[1:], kind[1:], strict=True)),
        )
        for row in rows
    ]
    named_by = tag("caption", caption, class_="unseen") if caption else None
    inner = tag("table", named_by, tag("thead", top), tag("tbody", *body), class_=look)
    return scroll(inner, caption or "table")


def pairs(facts: Mapping[str, object], caption: str) -> Html:
    """Names and values: a table without heads."""
    body = [tag("tr", tag("th", k, scope="row"), tag("td", v)) for k, v in facts.items()]
    inner = tag("table", tag("caption", caption, class_="unseen"), tag("tbody", *body), class_="pairs")
    return scroll(inner, caption)


def scroll(inner: Html, label: str) -> Html:
    """A box that scrolls sideways, by the keyboard, too."""
    return tag("div", inner, class_="scroll", tabindex="0", role="group", aria_label=label)


def folded(summary: str, *content: object) -> Html:
    """A part that opens on a click, without a script."""
    return tag("details", tag("summary", summary), *content)


def note(*content: object) -> Html:
    """A quiet remark."""
    return tag("p", *content, class_="soft")
