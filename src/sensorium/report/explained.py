"""The page of one explained row: its answer, what each input added, where in each, and whether to believe it."""

from collections.abc import Mapping, Sequence

from sensorium.report.attributed import attributed, plus
from sensorium.report.charts import bars, signed
from sensorium.report.data import pattern
from sensorium.report.markup import (
    Html,
    folded,
    join,
    listed,
    mapping,
    named,
    note,
    number,
    rows_of,
    several,
    subset_name,
    tag,
)
from sensorium.report.page import OFFLINE, brand, document

SUBSETS = 16  # subsets of inputs shown at once
FOLDED = 100  # most of them that are folded away
EXACT, ROUGH = (
    0.02,
    0.1,
)  # share of a change that the parts of an explanation may miss: fine, and not to be trusted
LIKE, VERY_LIKE = (
    0.2,
    0.5,
)  # correlation with redrawn weights: fine below the first, not to be trusted above the second
VERDICTS = {"good": "fine", "even": "with care", "bad": "not to be trusted"}


def explanation(found: Mapping) -> str:
    """The whole page of what `Model.explain` returned, as HTML."""
    inputs = rows_of(found.get("inputs"))
    present = [i for i in inputs if i.get("present") is not False]
    sections = [
        ("answer", "Answer", _answer(found)),
        ("inputs", "What each input added", _added(found, inputs)),
        ("split", "One by one, or only together", _split(found, inputs)),
        *((f"input-{n}", _heading(i), _where(i, found)) for n, i in enumerate(present, 1)),
        ("checks", "Do these explanations hold?", _checks(mapping(found.get("checks")))),
    ]
    shown = [s for s in sections if s[2]]
    short = {"inputs": "Inputs", "split": "Together", "checks": "Checks"} | {
        f"input-{n}": named(i.get("name", "?")) for n, i in enumerate(present, 1)
    }
    links = [tag("li", tag("a", short.get(key, title), href=f"#{key}")) for key, title, _ in shown]
    body = [
        tag("section", tag("h2", title, class_="unseen" if key == "answer" else None), content, id=key)
        for key, title, content in shown
    ]
    told = " \u00b7 ".join(
        p for p in (_number(found), f"target {found['target']}" if found.get("target") else "") if p
    )
    return document(
        f"{_words(found.get('answer'))}: why",
        tag("header", brand("Sensorium explanation"), tag("h1", *_title(found)), note(told)),
        tag("nav", tag("ul", *links), aria_label="Sections"), *body,
        tag("footer", tag("p", OFFLINE)),
    )  # fmt: skip


def _number(found: Mapping) -> str:
    row = number(found.get("row"))
    return f"row {row:.0f} of the table" if row is not None else ""


def _title(found: Mapping) -> list[object]:
    row = found.get("id", found.get("row", "?"))
    return ["Why row ", named(row), " was answered ", named(_words(found.get("answer")))]


def _words(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "no label"
    known = number(value)
    return f"{known:.4g}" if known is not None else "\u2013" if value is None else str(value)


def _sides(found: Mapping) -> tuple[str, str]:
    """What blue and red mean."""
    if found.get("kind") == "number":
        return "lowers the answer", "raises the answer"
    return f"speaks against {_words(found.get('explained'))}", f"speaks for {_words(found.get('explained'))}"


def _unit(found: Mapping) -> str:
    """The unit of evidence in words."""
    if found.get("kind") == "number":
        return f"in the unit of {_words(found.get('target'))}"
    unit = str(found.get("unit") or "")
    return f"in {unit}" if unit else ""


# --- the answer ----------------------------------------------------------------------------------------------------


def _answer(found: Mapping) -> Html:
    """The answer and how sure it is, with the likeliest others; which one is explained where it is another."""
    chances = {
        str(k): p for k, v in mapping(found.get("probabilities")).items() if (p := number(v)) is not None
    }
    said = _words(found.get("answer"))
    rows = [
        (tag("b", named(n)) if n == said else named(n), p, f"{100 * p:.1f}\u202f%")
        for n, p in sorted(chances.items(), key=lambda c: -c[1])
    ]
    sure = f"with a probability of {100 * chances[said]:.1f}\u202f%" if said in chances else ""
    other = _words(found.get("explained"))
    asked = (
        note("Explained is the evidence for ", tag("b", named(other)), f", which got {100 * chances[other]:.1f}\u202f%.")
        if other != said and other in chances
        else None
    )  # fmt: skip
    big = tag("div", named(said), class_="big", style=f"font-size:{_size(said)}rem;overflow-wrap:anywhere")
    left = tag("div", tag("div", "The answer", class_="what"), big, note(sure) if sure else None, asked)
    right = bars(rows, label="probability of each answer") if rows else _from_blank(found)
    return tag("div", left, tag("div", right), class_="hero")


def _size(text: str) -> float:
    """Smaller letters for longer answers."""
    return 4.0 if len(text) <= 6 else 2.6 if len(text) <= 14 else 1.6


def _from_blank(found: Mapping) -> Html:
    blank, value = number(found.get("blank")), number(found.get("value"))
    if blank is None or value is None:
        return Html("")
    return tag("p", f"Without any input it would be {_words(blank)}; the inputs of this row move it to {_words(value)}.")  # fmt: skip


# --- what each input added -----------------------------------------------------------------------------------------


def _added(found: Mapping, inputs: Sequence[Mapping]) -> Html:
    """Signed bars of every input, the absent ones as empty; and the evidence of every subset."""
    rows = [_row(i) for i in inputs if number(i.get("evidence")) is not None or i.get("present") is False]
    if not rows:
        return Html("")
    against, favour = _sides(found)
    unit = _unit(found)
    about = note(
        f"Evidence {unit}: to the right it {favour}, to the left it {against}. "
        "It is what an input adds when it joins the others, averaged over all orders of joining (Shapley value).",
        " One nat more makes an answer 2.7 times as likely." if "nats" in unit else None,
    )
    return join(about, signed(rows, label="what each input added"), _total(found, inputs), _simple(inputs), _subsets(found, inputs))  # fmt: skip


def _row(one: Mapping) -> tuple[Html, float | None, str]:
    value = number(one.get("evidence"))
    name = named(one.get("name", "?"))
    if one.get("present") is False or value is None:
        return join(name, tag("em", "empty", class_="badge even")), None, "\u2013"
    return name, value, plus(value)


def _total(found: Mapping, inputs: Sequence[Mapping]) -> Html | None:
    blank, value = number(found.get("blank")), number(found.get("value"))
    if blank is None or value is None:
        return None
    known = {str(i.get("name")): v for i in inputs if (v := number(i.get("evidence"))) is not None}
    most = max(known, key=lambda n: abs(known[n]), default=None)
    main = ("; the largest part is from ", named(most)) if most is not None and len(known) > 1 else ()
    return tag("p", f"Without any input {_signless(blank)}, with all of them {_signless(value)}", *main, ".")


def _signless(value: float) -> str:
    return plus(value).removeprefix("+")


def _simple(inputs: Sequence[Mapping]) -> Html | None:
    """How much of it comes from simple models beside the network."""
    extra = [(named(i.get("name", "?")), v, plus(v)) for i in inputs if (v := number(i.get("simple")))]
    if not extra:
        return None
    return folded("The part of the simple models", note("Simple models of single inputs have a say in the answers; of the evidence above this is theirs."), signed(extra, label="the part of the simple models"))  # fmt: skip


def _subsets(found: Mapping, inputs: Sequence[Mapping]) -> Html | None:
    names = [str(i.get("name")) for i in inputs if i.get("present") is not False]
    rows = []
    for s in rows_of(found.get("subsets")):
        held, value = [str(n) for n in listed(s.get("modalities"))], number(s.get("evidence"))
        if held and value is not None:
            rows.append((len(held), pattern(names, held, named(subset_name(held, names))), value))
    if len(rows) < 2:
        return None
    rows.sort(key=lambda r: (r[0], -r[2]))
    ends = [r for r in rows if r[0] in (1, len(names) - 1, len(names))] if len(rows) > SUBSETS else rows
    label = "evidence from every subset of the inputs"
    shown = signed([(n, v, plus(v)) for _, n, v in ends], label=label, look="dotted")
    rest = [(n, v, plus(v)) for k, n, v in rows if (k, n, v) not in ends]
    folds = folded(
        f"{several(len(rest), 'subset')} in between", signed(rest[:FOLDED], label=label, look="dotted")
    )
    more = None if not rest else folds if len(rest) <= FOLDED else note(tag("small", f"{several(len(rest), 'subset')} in between are left out here."))  # fmt: skip
    return join(tag("h3", "Had the row only some of its inputs"), shown, more)


# --- together ------------------------------------------------------------------------------------------------------


def _split(found: Mapping, inputs: Sequence[Mapping]) -> Html:
    """What the inputs say one by one, and what only their meeting says."""
    told = mapping(found.get("split"))
    alone, both = number(told.get("unimodal_value")), number(told.get("interaction_value"))
    if alone is None or both is None:
        return Html("")
    partners = number(told.get("partners"))
    of = f" of {several(partners, 'other row')}" if partners else " of other rows"
    about = note(
        f"Each input was also met by the inputs{of}. What stays the same whoever it meets is said one by one; the rest is "
        "said only by these inputs together. This is the network's part of the evidence."
    )
    whole = signed([(named("one by one"), alone, plus(alone)), (named("only together"), both, plus(both))], label="one by one against only together")  # fmt: skip
    size = abs(alone) + abs(both)
    share = abs(both) / size if size else 0.0
    sentence = "Most of it is said only together: neither input alone would do." if share > 0.5 else "Most of it is said one by one." if share < 0.35 else "Both count."  # fmt: skip
    each = {
        title: {str(k): v for k, x in mapping(told.get(key)).items() if (v := number(x)) is not None}
        for title, key in (("One by one, by input", "unimodal"), ("Only together, by input", "interaction"))
    }
    reach = [v for values in each.values() for v in values.values()]  # one scale for both
    parts = [
        tag("div", tag("h3", title), signed([(named(k), v, plus(v)) for k, v in values.items()], label=title, reach=reach))
        for title, values in each.items()
        if values
    ]  # fmt: skip
    foot = note(tag("small", "By input these are sums over its places, counted from a blank input, so they need not add up to the bars above.")) if parts else None  # fmt: skip
    return join(about, whole, tag("p", sentence), tag("div", *parts, class_="two") if parts else None, foot)


# --- where in each input -------------------------------------------------------------------------------------------


def _heading(one: Mapping) -> Html:
    return join("Where in ", named(one.get("name", "?")))


def _where(one: Mapping, found: Mapping) -> Html:
    total = number(mapping(one.get("places")).get("total"))
    told = f"All marks of this input add up to {plus(total)} {_unit(found)}, counted from a blank one" if total is not None else ""  # fmt: skip
    method = " (integrated gradients)" if told else ""
    return join(note(f"{told}{method}.") if told else None, attributed(one, words=_sides(found)))


# --- checks --------------------------------------------------------------------------------------------------------


def _checks(found: Mapping) -> Html:
    """Three tests of the explanations, a verdict each, and what follows from them."""
    told = [c for c in (_complete(found), _deleted(found), _redrawn(found)) if c]
    if not told:
        return Html("")
    rows = number(found.get("rows"))
    on = f" They were run on {several(rows, 'other row')} of the table." if rows is not None else ""
    looks = [look for look, _, _ in told]
    worst = "bad" if "bad" in looks else "even" if "even" in looks else "good"
    call = {
        "good": "The explanations of this model pass: what is marked is what it uses.",
        "even": "Read the marks with care: not every test is passed clearly.",
        "bad": "Do not trust the marks: a test has failed.",
    }[worst]
    body = [
        tag("li", tag("b", title), tag("em", VERDICTS[look], class_=f"badge {look}"), tag("p", text))
        for look, title, text in told
    ]
    about = note(f"A picture that looks right proves nothing. These tests can fail.{on}")
    return join(about, tag("p", call, class_=f"call {worst}"), tag("ul", *body, class_="checks"))


Check = tuple[str, str, str]  # look, title, sentence


def _complete(found: Mapping) -> Check | None:
    """Whether the parts add up to the change of the output."""
    middle, most = number(found.get("completeness_median")), number(found.get("completeness_most"))
    if middle is None:
        return None
    look = "good" if middle <= EXACT else "even" if middle <= ROUGH else "bad"
    worst = f", at worst {100 * most:.2g}\u202f%" if most is not None else ""
    return look, "Do the parts add up?", f"The marks miss {100 * middle:.2g}\u202f% of what they have to explain in the median{worst}."  # fmt: skip


def _deleted(found: Mapping) -> Check | None:
    """Whether the answer falls faster when what is marked goes first than in random order."""
    first, chance = number(found.get("deletion")), number(found.get("random"))
    if first is None or chance is None:
        return None
    spread = number(found.get("random_spread")) or 0.0
    look = "good" if first < chance - 2 * spread else "even" if first < chance else "bad"
    text = f"While ever more is taken away, the evidence is {_signless(first)} in the mean where what is marked for it goes first, and {_signless(chance)} in random order"  # fmt: skip
    return (
        look,
        "Does the answer depend on what is marked?",
        f"{text} (spread {spread:.3f}). Lower is better.",
    )


def _redrawn(found: Mapping) -> Check | None:
    """Whether a network that has learned nothing would give the same marks."""
    like, sizes = number(found.get("redrawn")), number(found.get("redrawn_size"))
    if like is None:
        return None
    look = "good" if abs(like) < LIKE else "even" if abs(like) < VERY_LIKE else "bad"
    more = f" Their sizes agree by {sizes:.2f}, for both see the same input." if sizes is not None else ""
    return look, "Do the marks come from what was learned?", f"With the marks of a network of redrawn weights they agree by a rank correlation of {_signless(like)}; about 0 is right.{more}"  # fmt: skip
