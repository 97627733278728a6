"""What the inputs tell together: bits from either, from one alone, from both only; shares of each; the additive twin."""

from collections.abc import Mapping, Sequence

from sensorium.report.charts import Whisker, stacked, whiskers
from sensorium.report.markup import (
    Html,
    figure,
    folded,
    join,
    listed,
    mapping,
    named,
    note,
    number,
    rows_of,
    several,
    span,
    tag,
)

OPEN = 3  # remarks, and entries with their figures, that are shown at once; of more they are folded
ATOMS = ("redundancy", "unique_first", "unique_second", "synergy")
LOOKS = {"redundancy": "c3", "unique_first": "c1", "unique_second": "c2", "synergy": "c4"}
COLOURS = {name: int(look[1:]) for name, look in LOOKS.items()}
UNITS = {"bits": "in bits about the answer", "accuracy": "in share of answers right", "r2": "in R\u00b2"}
SHARES = frozenset({"accuracy", "labels right"})  # figures of the additive twin that are shares


def interactions(found: Mapping) -> Html:
    """The section of `interactions.json`; nothing where it is empty."""
    parts = [_atoms(rows_of(found.get("atoms"))), _shapley(mapping(found.get("shapley"))), _sums(mapping(found.get("emap")))]  # fmt: skip
    remarks = [tag("p", r, class_="warn") for r in listed(found.get("remarks")) if isinstance(r, str)]
    rest = (
        [folded(f"{several(len(remarks) - OPEN, 'more remark')}", *remarks[OPEN:])] if remarks[OPEN:] else []
    )
    if not any(parts) and not remarks:
        return Html("")
    return join(_about(found), *remarks[:OPEN], *rest, *parts)


def _about(found: Mapping) -> Html:
    """Which rows were measured."""
    rows, whole = number(found.get("rows")), number(found.get("complete_rows"))
    split = str(found.get("split") or "")
    source = f" of {found['data']}" if isinstance(found.get("data"), str) else ""
    which = f" (split {split})" if split and split != "all" else ""
    counted = f"Measured on {several(rows, 'row')}{source}{which}" if rows is not None else ""
    more = f", of which {several(whole, 'row')} have every input" if counted and whole is not None else ""
    return note(
        "Two inputs can tell the same, each something of its own, or something that neither tells alone. This is what "
        "the trained model knows, not all that there is in the data. ",
        f"{counted}{more}." if counted else None,
    )


def sides_of(entry: Mapping) -> tuple[str, str]:
    """The names of the two sides that an entry compares; from its sentence where they are not listed."""
    given = listed(entry.get("sides")) or [entry.get("first"), entry.get("second")]
    told = [" + ".join(map(str, side)) for side in given if isinstance(side, list | tuple) and side]
    if len(told) == 2:
        return told[0], told[1]
    head = str(entry.get("sentence", "")).partition(": of ")[0].partition(" and ")
    return (head[0], head[2]) if head[0] and head[2] else ("the first", "the second")


def _atoms(entries: Sequence[Mapping]) -> Html:
    entries = [e for e in entries if any(number(mapping(e.get(a)).get("value")) is not None for a in ATOMS)]
    if not entries:
        return Html("")
    return join(
        tag("h3", "Which input tells what, in bits"), *(_atom(e, folds=len(entries) > OPEN) for e in entries),
        note(
            "A ring marks what shuffled answers come to in 95 % of the cases: a figure below it says nothing. Synergy has "
            "two estimates and no single figure. The first counts what the joint head provably knows beyond the rest, so "
            "it is a lower bound. The second comes from clusters of the features: it also sees what the heads missed, and "
            "goes wrong where classes are many or rows are few."
        ),
    )  # fmt: skip


def _atom(entry: Mapping, *, folds: bool) -> Html:
    """One pair of sides: the sentence, the entropy as one bar, and each figure with its interval and its null."""
    first, second = sides_of(entry)
    score = {a: mapping(entry.get(a)) for a in (*ATOMS, "synergy_clustered", "joint", "entropy")}
    value = {a: number(s.get("value")) for a, s in score.items()}
    names = {
        "redundancy": "from either (redundancy)",
        "unique_first": f"only from {first}",
        "unique_second": f"only from {second}",
        "synergy": "only from both together (synergy)",
    }
    cuts = [(names[a], value[a] or 0.0, LOOKS[a]) for a in ATOMS]
    gap = (value["entropy"] or 0.0) - sum(max(0.0, v) for _, v, _ in cuts)
    bar = stacked([*cuts, ("not known", max(0.0, gap), "unknown")], label=f"{first} and {second}, bits")
    null = mapping(entry.get("null"))
    rows = [_figure(names[a], score[a], mapping(null.get(a)), COLOURS[a]) for a in ATOMS]
    lower = _figure(
        "synergy, lower bound", score["synergy"], mapping(null.get("synergy")), COLOURS["synergy"]
    )
    rows[-1] = lower
    if value["synergy_clustered"] is not None:  # chance is taken off already
        rows.append(_figure("synergy, from clusters", score["synergy_clustered"], {}, COLOURS["synergy"]))
    known, whole = value["joint"], value["entropy"]
    total = f"Known together {figure(known)} ({span(score['joint'], '')}) of {figure(whole)} bits" if known is not None else ""  # fmt: skip
    counted = number(entry.get("rows"))
    facts = ", on ".join(p for p in (total, several(counted, "row") if counted is not None else "") if p)
    sentence = entry.get("sentence")
    said = tag("p", sentence) if isinstance(sentence, str) and sentence else None
    chart = whiskers(rows, metric="", label=f"{first} and {second}: bits")
    detail = join(chart, note(tag("small", f"{facts}.")) if facts else None)
    return tag("div", said, bar, folded("Figures with their intervals", detail) if folds else detail)


def _figure(name: str, score: Mapping, null: Mapping, colour: int) -> Whisker:
    chance = number(null.get("high"))
    below = tag("small", f" chance: up to {figure(chance)}", class_="soft") if chance is not None else None
    return Whisker(name=join(named(name), below), score=score, colour=colour, ring=chance)


def _shapley(found: Mapping) -> Html:
    """What each input adds over all orders of joining, and what pairs add beyond or share."""
    parts = []
    for unit, words in UNITS.items():
        shares = mapping(found.get(unit))
        metric = "" if unit == "bits" else unit
        rows = [Whisker(name=named(n), score=mapping(s), colour=1) for n, s in shares.items()]
        chart = whiskers(rows, metric=metric, label=f"what each input adds, {words}", mark=0.0)
        if not chart:
            continue
        total = number(found.get(f"total_{unit}"))
        whole = (
            note(
                tag(
                    "small",
                    f"Together {_points(total, unit)}{' points' if unit in SHARES else ''} above what is known without any input.",
                )
            )
            if total is not None
            else None
        )
        parts += [tag("h3", f"What each input adds, {words}"), chart, whole, _pairs(found, unit, metric)]
    if not parts:
        return Html("")
    rows = number(found.get("rows"))
    about = f" On the {several(rows, 'row')} that have every input." if rows is not None else ""
    return join(*parts, note(f"What an input adds depends on what is there already: the mean over all orders of joining (Shapley value).{about}"))  # fmt: skip


def _pairs(found: Mapping, unit: str, metric: str) -> Html | None:
    rows = [
        Whisker(name=named(" \u00d7 ".join(map(str, listed(p.get("names"))))), score=p, colour=4)
        for p in rows_of(found.get(f"pairs_{unit}"))
        if listed(p.get("names"))
    ]
    chart = whiskers(rows, metric=metric, label=f"interaction of pairs, {UNITS[unit]}", mark=0.0)
    legend = note(
        tag("small", "Interaction of pairs: above zero they tell more together than one by one, below zero they tell the same twice.")
    )  # fmt: skip
    return join(legend, chart) if chart else None


def _sums(found: Mapping) -> Html:
    """What the answers would be without any meeting of the inputs, in words."""
    full, alone, gap = (mapping(found.get(k)) for k in ("full", "additive", "gap"))
    if number(full.get("value")) is None or number(alone.get("value")) is None:
        return Html("")
    name = str(found.get("metric") or "")
    metric = "accuracy" if name in SHARES else name
    before, after = figure(full["value"], metric), figure(alone["value"], metric)
    fall, low, high = (number(gap.get(k)) for k in ("value", "low", "high"))
    verb = (
        "would stay at"
        if before == after
        else "would fall"
        if full["value"] > alone["value"]
        else "would rise"
    )
    moved = f"{verb} {before}" if before == after else f"{verb} from {before} to {after}"
    ends = (
        f" (95 % interval {_points(low, name)} to {_points(high, name)})"
        if low is not None and high is not None
        else ""
    )
    unit = " points" if name in SHARES else ""
    worth = "" if fall is None else f" The difference is {_points(fall, name)}{unit}{ends}."
    doubt = " That is not more than chance." if fall and low is not None and low <= 0 else ""
    same = number(found.get("r2"))
    share = "" if same is None else f" Such a sum reproduces {100 * same:.1f}\u202f% of how the answers vary (R\u00b2 {same:.3f})."  # fmt: skip
    rows = number(found.get("rows"))
    on = (
        f" On {several(rows, 'row')}, whose inputs were swapped with each other's."
        if rows is not None
        else ""
    )
    return join(
        tag("h3", "Does the model use the meeting of the inputs?"),
        tag("p", f"Made a sum over inputs, the answers {moved}.{worth}{doubt}{share}"), note(tag("small", on.strip())) if on else None,
    )  # fmt: skip


def _points(difference: float, metric: str) -> str:
    """A difference of two figures: of shares in points."""
    return figure(difference) if metric not in SHARES else f"{100 * difference:.1f}"
