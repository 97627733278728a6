"""Which part of one cell belongs to which part of another cell of the same row, for every pair of matched columns."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from sensorium.alignment.forced import Spoken
from sensorium.api.explaining import find_row
from sensorium.api.hearing import FEWEST, hear
from sensorium.api.matching import Matcher
from sensorium.api.pairs import spread
from sensorium.api.saying import Say, silent
from sensorium.api.sides import (
    PATCHES,
    STEPS,
    WORDS,
    Side,
    in_order,
    likeness,
    moments,
    sides_of,
    transported,
    warped,
)
from sensorium.data import Decoder
from sensorium.modalities import CARRIERS
from sensorium.store import read
from sensorium.types import InputError, Modality, Signal

TEXTS = 8  # of a cell that lists several: so many are aligned
STRANGERS = 16  # other rows whose cells are put in place of the row's own, as a control
LISTED = 200  # parts that are listed where neither side is a picture
OUTLINE = 400  # points of the outline of a sound

Pair = tuple[Modality, Modality]


@dataclass(frozen=True, kw_only=True, slots=True)
class Read:
    """One row, read: what each of its cells holds."""

    sides: Mapping[str, Side]
    signals: Mapping[str, Signal]


def align(
    matcher: object,
    data: object,
    row: object = 0,
    *,
    columns: Sequence[str] | None = None,
    say: Say = silent,
) -> dict[str, object]:
    """Say which parts of the cells of one row belong together, for each pair of matched columns that it fills; JSON-able.

    Words and patches: optimal transport between their vectors in the run's space. Words and sound: word times, learned
    without any from the rows of `data` that have both (from FEWEST rows on; else words are laid over the steps of the
    sound in order, by their vectors). Words and another recording: in order, too. Two recordings: warping. Anything else:
    optimal transport. row: id, or number from 0. columns: matched columns (None: all); the picture and the sound of one
    video are a pair only where no more than that column is named, or none is.

    Returns `id`, `row`, `columns`, `remarks`, `previews` (for the page), and `pairs`: of each `columns`, `method`, `told`
    (a sentence), `words`, `links` or `path` (pairs of seconds, of step numbers without a clock), `cost` and `even` (mean
    distance 1 - cos of what was put together, and of what an alignment without any knowledge puts together), `strangers` (the
    mean cost with the cells of other rows, and in how many of them it is higher than with the row's own: about half where the
    vectors of parts tell nothing), and `shown` (for the page). Raises InputError for a matcher that is none, a row that is absent or lacks a column, for columns that were
    not matched, and for a cell that cannot be read.
    """
    if not isinstance(matcher, Matcher):
        raise InputError("the run answers a target; it matches nothing", got=type(matcher).__name__, fix="give a run of `fit --match`")  # fmt: skip
    table = read(data)
    number = find_row(table.ids, row)
    wanted = _asked(matcher, columns)
    wide = spread(table, matcher.asked.match)
    own = np.flatnonzero(wide.parent == number).tolist()
    decoder = Decoder(wide.table, limits=matcher.limits, rates=matcher.rates)
    rows = [_read(matcher, decoder, i, wanted) for i in own[:TEXTS]]
    _complete(rows[0], wanted, columns, table.ids[number])
    remarks = [f"of {len(own)} texts of the row the first {TEXTS} are aligned"] if len(own) > TEXTS else []
    if matcher.blend.share == 0:
        remarks.append(
            "whole cells are matched better by linear correlations than by the network, from which these vectors are"
        )
    found: list[dict[str, object]] = []
    pairs = _pairs(wanted, rows, columns)
    for done, (a, b) in enumerate(pairs):
        say("align", done / len(pairs), f"{a.name} and {b.name}")
        listed = [i for i, r in enumerate(rows) if a.name in r.sides and b.name in r.sides]
        if not _varies(rows, (a, b)):
            listed = listed[:1]
        found += _aligned(matcher, decoder, (a, b), [rows[i] for i in listed], own, say)
    previews = {m.name: _preview(m, rows[0].signals[m.name]) for m in wanted if m.name in rows[0].signals}
    return {
        "id": table.ids[number], "row": number, "columns": [m.name for m in wanted], "remarks": remarks,
        "pairs": found, "previews": previews,
    }  # fmt: skip


# --- what is asked for ---------------------------------------------------------------------------------------------


def _asked(matcher: Matcher, columns: Sequence[str] | None) -> list[Modality]:
    """The modalities of the columns that are named. Raises InputError for a column that was not matched."""
    known = [m for m in matcher.task.modalities if m.name in matcher.task.match]
    if columns is None:
        return known
    strange = [c for c in columns if not any(c in (m.name, m.column) for m in known)]
    if strange:
        names = dict.fromkeys(n for m in known for n in (m.column, m.name))
        raise InputError("the column was not matched", got=strange, fix=f"name some of {', '.join(names)}")
    chosen = [m for m in known if m.name in columns or m.column in columns]
    if len(chosen) < 2:
        raise InputError(
            "one column has nothing to be aligned with", got=list(columns), fix="name two of them"
        )
    return chosen


def _read(matcher: Matcher, decoder: Decoder, number: int, wanted: Sequence[Modality]) -> Read:
    """Read the cells of one row and bring their tokens into the space. Raises InputError where one cannot be read."""
    patches, faults = decoder.patches(number, wanted)
    if faults:
        raise InputError(f"the cell of {faults[0].column} cannot be read", got=faults[0].reason, fix="repair the file, or align other columns")  # fmt: skip
    signals = {m.name: s for m in wanted if m.name in patches and (s := decoder.of(number, m)) is not None}
    return Read(sides=sides_of(matcher.network, wanted, patches, signals), signals=signals)


def _complete(first: Read, wanted: Sequence[Modality], columns: Sequence[str] | None, name: str) -> None:
    """Refuse a row that lacks a column that is asked for, or all but one of those that are matched."""
    have = {c for m in wanted if m.name in first.sides for c in (m.name, m.column)}
    lacks = [c for c in columns or () if c not in have]
    if lacks:
        raise InputError(f"row {name} is empty there", got=lacks, fix="choose another row, or other columns")
    if len(first.sides) < 2:
        raise InputError(
            f"row {name} has nothing to be aligned: two columns must be filled", got=sorted(first.sides),
            fix="choose another row",
        )  # fmt: skip


def _pairs(wanted: Sequence[Modality], rows: Sequence[Read], columns: Sequence[str] | None) -> list[Pair]:
    """Pairs that a row fills. Picture and sound of one video are one where nothing else is named, or both are."""
    there = [m for m in wanted if any(m.name in r.sides for r in rows)]
    named = set(columns or ())
    return [
        (a, b) for a, b in combinations(there, 2)
        if a.column != b.column or len(named) < 2 or {a.name, b.name} <= named
    ]  # fmt: skip


def _varies(rows: Sequence[Read], pair: Pair) -> bool:
    """Whether the texts of a cell that lists several take part in a pair; else all its rows are the same."""
    texts = [
        [str(r.signals[m.name].values[0]) for r in rows if m.name in r.signals]
        for m in pair
        if m.carrier == "text"
    ]
    return any(len(set(t)) > 1 for t in texts)


# --- how each pair is aligned --------------------------------------------------------------------------------------


def _aligned(
    matcher: Matcher, decoder: Decoder, pair: Pair, rows: Sequence[Read], own: Sequence[int], say: Say
) -> Iterator[dict[str, object]]:
    """Align one pair of modalities in each of some rows, which differ in their texts."""
    a, b = sorted(
        pair, key=lambda m: (m.carrier != "text", m.carrier != "image")
    )  # words first, then pictures
    heard = hear(decoder, a, b, own, say) if (a.carrier, b.carrier) == ("text", "audio") else None
    others: list[Side] | None = None
    for row in rows:
        text = str(row.signals[a.name].values[0]) if a.carrier == "text" else ""
        told = {"text": text} if text and len(rows) > 1 else {}
        times = heard.times(row.signals[b.name], text) if heard is not None else None
        if times is not None and heard is not None:
            found = _spoken(times, heard.rows, row.signals[b.name], b.name)
        else:
            others = _strangers(matcher, decoder, b, own) if others is None else others
            found = _by_vectors(row.sides[a.name], row.sides[b.name], others)
        if heard is not None and heard.models is None:
            found["told"] = (
                f"{found['told']} Word times are learned from {FEWEST} rows with words and sound on; here are {heard.rows}."
            )
        yield {"columns": [a.name, b.name], **told, **found}


def _by_vectors(a: Side, b: Side, others: Sequence[Side]) -> dict[str, object]:
    """Align two sides by their vectors, as fits what they are; beside it what the cells of other rows cost in place of b."""
    if a.kind == WORDS and b.kind == STEPS and len(a.parts) <= len(b.vectors):
        made = _ordered
        others = [o for o in others if len(a.parts) <= len(o.vectors)]
    elif a.kind == STEPS and b.kind == STEPS:
        made = _warped
    else:
        made = _moved
    found = made(a, b)
    costs = [float(made(a, o)["cost"]) for o in others]  # type: ignore[arg-type]
    if costs:
        dearer = sum(c > float(found["cost"]) for c in costs)  # type: ignore[arg-type]
        found["strangers"] = {"rows": len(costs), "cost": round(float(np.mean(costs)), 4), "dearer": dearer}
    return found


def _strangers(matcher: Matcher, decoder: Decoder, modality: Modality, own: Sequence[int]) -> list[Side]:
    """What some other rows hold of a modality, from all over the table; what cannot be read is left out."""
    mine = set(own)
    rest = [i for i, name in enumerate(decoder.table.ids) if i not in mine]
    found: list[Side] = []
    for i in dict.fromkeys(rest[k * len(rest) // (2 * STRANGERS)] for k in range(2 * STRANGERS) if rest):
        patches, _ = decoder.patches(i, [modality])
        signal = decoder.of(i, modality) if modality.name in patches else None
        if signal is not None and len(found) < STRANGERS:
            found += sides_of(matcher.network, [modality], patches, {modality.name: signal}).values()
    return found


def _spoken(times: Sequence[Spoken], rows: int, sound: Signal, name: str) -> dict[str, object]:
    listed = [
        {
            "word": w.word,
            "start_s": round(w.start_s, 3),
            "stop_s": round(w.stop_s, 3),
            "score": round(w.score, 3),
        }
        for w in times
    ]
    told = f"Word times, learned without any from {rows} rows with words and sound, this row among them."
    seconds = len(sound.values) / (sound.rate_hz or 1.0)
    return {
        "method": "word models",
        "told": told,
        "rows": rows,
        "words": listed,
        "shown": {"sound": name, "seconds": seconds},
    }


def _ordered(said: Side, steps: Side) -> dict[str, object]:
    spans, cost, even = in_order(said, steps)
    alike = likeness(said, steps)
    listed = []
    for i, (word, (first, stop)) in enumerate(zip(said.parts, spans, strict=True)):
        when = [round(max(0.0, steps.seconds(t)), 3) for t in (first - 0.5, stop - 0.5)]
        times = (
            dict(zip(("start_s", "stop_s"), when, strict=True))
            if steps.step_s > 0
            else {"first": first, "stop": stop}
        )
        listed.append({"word": word, **times, "score": round(float(alike[i, first:stop].mean()), 3)})
    path = [(i, j) for i, (first, stop) in enumerate(spans) for j in range(first, stop)]
    told = "Words laid over the steps in their order, where their vectors are most alike: right only if they come in the order of time."
    return {
        "method": "order",
        "told": told,
        "words": listed,
        **_costs(cost, even),
        "shown": _map(said, steps, alike, path),
    }


def _warped(a: Side, b: Side) -> dict[str, object]:
    cells, cost, even = warped(a, b)
    path = [[round(a.seconds(i), 3), round(b.seconds(j), 3)] for i, j in cells]
    told = "Dynamic time warping over the vectors of the steps: both may wait, neither goes back."
    return {
        "method": "warping",
        "told": told,
        "path": path,
        **_costs(cost, even),
        "shown": _map(a, b, likeness(a, b), cells),
    }


def _moved(a: Side, b: Side) -> dict[str, object]:
    """Optimal transport; b is the picture where there is one, and recordings go in pieces."""
    a, b = (b, a) if a.kind == PATCHES and b.kind != PATCHES else (a, b)
    a, b = moments(a), moments(b)
    plan, cost, even = transported(a, b)
    told = "Optimal transport: each part of one side gives its mass to those of the other that are most like it, and none is left over."
    found = {"method": "transport", "told": told, **_costs(cost, even)}
    if b.kind != PATCHES:
        return found | {"links": _links(a, b, plan)}
    name = "words" if a.kind == WORDS else "links"
    listed = []
    for part, mass in zip(a.parts, plan, strict=True):
        y, x = divmod(int(mass.argmax()), b.shape[1])
        place = {"y": round((y + 0.5) / b.shape[0], 4), "x": round((x + 0.5) / b.shape[1], 4)}
        listed.append(
            {
                "word" if a.kind == WORDS else "from": part,
                **place,
                "mass": round(float(mass.max() / mass.sum()), 4),
            }
        )
    heat = {
        "picture": b.name,
        "shape": list(b.shape),
        "parts": list(a.parts),
        "plan": (plan.T * len(a.parts)).round(5).tolist(),
    }
    return found | {name: listed, "shown": heat}


def _links(a: Side, b: Side, plan: np.ndarray) -> list[dict[str, object]]:
    """For each part of a the part of b that gets most of its mass, and how much."""
    best = plan.argmax(1)
    shares = plan.max(1) / plan.sum(1)
    return [
        {"from": part, "to": b.parts[j], "mass": round(float(s), 4)}
        for part, j, s in zip(a.parts, best, shares, strict=True)
    ][:LISTED]


def _costs(cost: float, even: float) -> dict[str, object]:
    return {"cost": round(cost, 4), "even": round(even, 4)}


def _map(a: Side, b: Side, alike: np.ndarray, path: Sequence[tuple[int, int]]) -> dict[str, object]:
    """What a picture of a path needs: similarities, cells and both axes."""
    axes = [
        {"name": s.name, "words": list(s.parts) if s.kind == WORDS else [], "step_s": s.step_s or None, "start_s": s.start_s - s.step_s / 2}
        for s in (a, b)
    ]  # fmt: skip
    return {
        "similarity": alike.round(3).tolist(),
        "path": [list(p) for p in path],
        "rows": axes[0],
        "columns": axes[1],
    }


def _preview(modality: Modality, signal: Signal) -> dict[str, object]:
    """A small picture of a cell; the outline of a sound covers all of it, however long."""
    made = CARRIERS[modality.carrier].preview(signal)
    if modality.carrier == "audio":
        loud = np.abs(signal.values[:, 0])
        parts = np.array_split(loud / max(1e-9, float(loud.max())), min(OUTLINE, len(loud)))
        made["lines"] = [[round(float(p.max()), 3) for p in parts]]
    return made
