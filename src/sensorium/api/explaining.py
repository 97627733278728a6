"""Why one row got its answer: what each input added, where in it, and what only the inputs together tell."""

from collections.abc import Mapping, Sequence

import numpy as np

from sensorium.api.answers import answers
from sensorium.api.heads import Rows, all_heads, everyone
from sensorium.api.interactions import Trained, evidence_of, floor_evidence
from sensorium.api.saying import Say
from sensorium.data import Decoder, Row
from sensorium.explain import Outputs, integrated_gradients, modality_shapley, places, sanity, split
from sensorium.modalities import CARRIERS
from sensorium.tasks import Target
from sensorium.types import InputError

CHECKED = 8  # rows on which the explanations themselves are tested
PARTNERS = 24  # rows whose inputs stand in for those of the explained one


def find_row(ids: Sequence[str], asked: object) -> int:
    """The number of a row, from its id or its number from 0; an id counts first. Raises InputError."""
    name = str(asked)
    if name in ids:
        return list(ids).index(name)
    number = int(name) if name.lstrip("-").isdigit() else len(ids)
    if not -len(ids) <= number < len(ids):
        fix = f"give a number from 0 to {len(ids) - 1}, or an id such as {ids[0]!r}" if ids else "give rows"
        raise InputError("no such row", got=asked, fix=fix)
    return number % len(ids)


def output_of(target: Target, said: np.ndarray | np.generic, asked: str | None) -> int:
    """Which output is explained: the class or label that was asked for, else the answer, or its likeliest label.

    Raises InputError for a class that the target does not have.
    """
    if target.kind == "number":
        return 0
    if asked is None:
        return int(said.argmax())
    if asked not in target.classes:
        raise InputError("no such class", got=asked, fix=f"one of {', '.join(target.classes[:20])}")
    return target.classes.index(asked)


def explained(
    model: Trained,
    decoder: Decoder,
    number: int,
    rows: Rows,
    others: Sequence[Row],
    *,
    asked: str | None,
    say: Say,
) -> dict[str, object]:
    """Explain the answer to one row; JSON-able. The page of it is `report.write_explanation`'s work.

    rows: the row alone, decoded from number `number` of the decoder's table; others: further decoded rows, on which
    the explanations are tested and whose inputs stand in for the row's own.
    """
    task, row = model.task, rows.patches[0]
    heads, present, _ = all_heads(model.network, task, model.floors, rows)
    said = answers(model.experts, task.target, heads, everyone(heads, present))[0]
    which, outputs = output_of(task.target, said, asked), evidence_of(model)
    say("explain", 0.1, "what each input added")
    shares = modality_shapley(model.network, task, [row], outputs)[0]
    simple = {k: v[0] for k, v in floor_evidence(model, rows, outputs).items() if k in row}
    say("explain", 0.2, "where in each input")
    made = integrated_gradients(model.network, task, [row], outputs, which=[which])[0]
    signals = {m.name: s for m in task.modalities if (s := decoder.of(number, m)) is not None}
    where = places(made, task, row, signals=signals)
    inputs = []
    for m in task.modalities:
        if m.name not in row:
            inputs.append({"name": m.name, "carrier": m.carrier, "present": False})
            continue
        learned = float(shares.values[m.name][which])
        extra = float(simple[m.name][which]) if m.name in simple else 0.0
        inputs.append({
            "name": m.name, "carrier": m.carrier, "present": True, "evidence": round(learned + extra, 5),
            "network": round(learned, 5), "simple": round(extra, 5), "places": where["modalities"].get(m.name),  # type: ignore[attr-defined]
            "preview": CARRIERS[m.carrier].preview(signals[m.name]),
        })  # fmt: skip
    return {
        "id": decoder.table.ids[number], "row": number, "target": task.target.column, "kind": task.target.kind,
        **_answer(task.target, said, which), "inputs": inputs,
        "blank": round(float(outputs.blank[which]), 5),
        "value": round(float(shares.full[which] + sum(float(v[which]) for v in simple.values())), 5),
        "shapley_error": round(shares.error, 5),
        "subsets": _subsets(shares.subsets, simple, which),
        "gradients": {k: where[k] for k in ("value", "baseline", "error")} | {"steps": made.steps},
        "split": _split(model, outputs, row, others, which, say),
        "checks": _checks(model, outputs, others or [row], say),
    }  # fmt: skip


def _answer(target: Target, said: np.ndarray | np.generic, which: int) -> dict[str, object]:
    if target.kind == "number":
        return {"answer": float(said), "explained": target.column, "unit": "number"}
    probabilities = {c: round(float(p), 6) for c, p in zip(target.classes, said, strict=True)}
    best = sorted(probabilities, key=lambda c: -probabilities[c])[:10]
    if target.kind == "labels":
        answer: object = [c for c, p in probabilities.items() if p >= 0.5]
        unit = "log odds"
    else:
        answer, unit = target.classes[int(said.argmax())], "nats above the mean class"
    return {
        "answer": answer,
        "explained": target.classes[which],
        "unit": unit,
        "probabilities": {c: probabilities[c] for c in best},
    }


def _subsets(
    found: Mapping[tuple[str, ...], np.ndarray], simple: Mapping[str, np.ndarray], which: int
) -> list[dict[str, object]]:
    """The evidence from every subset of the row's inputs, simple models included."""
    return [
        {
            "modalities": list(s),
            "evidence": round(float(v[which] + sum(float(simple[n][which]) for n in s if n in simple)), 5),
        }
        for s, v in found.items()
        if s
    ]


def _split(
    model: Trained, outputs: Outputs, row: Row, others: Sequence[Row], which: int, say: Say
) -> dict[str, object] | None:
    """What the inputs tell one by one and what only their meeting tells; None for one input or without partners."""
    fit = [o for o in others if all(n in o for n in row)][:PARTNERS]
    if len(row) < 2 or len(fit) < 2:
        return None
    say("explain", 0.4, "what only the inputs together tell")
    found = split(model.network, model.task, row, outputs, partners=fit, which=which)
    return {
        "partners": found.partners,
        "unimodal": {k: round(v, 5) for k, v in found.unimodal.totals.items()},
        "interaction": {k: round(v, 5) for k, v in found.interaction.totals.items()},
        "unimodal_value": round(found.unimodal.value, 5),
        "interaction_value": round(found.interaction.value, 5),
    }


def _checks(model: Trained, outputs: Outputs, rows: Sequence[Row], say: Say) -> dict[str, float | None]:
    """Whether these explanations mean anything, tested on some rows."""
    say("explain", 0.6, "testing the explanations")
    return sanity(model.network, model.task, list(rows[:CHECKED]), outputs, draws=3).to_json()


def strangers(rows: Sequence[Row], *, but: int, seed: int, most: int = 64) -> list[Row]:
    """Some other rows, those with the modalities of row `but` first."""
    order = np.random.default_rng(seed).permutation(len(rows))
    own = set(rows[but])
    free = [int(i) for i in order if i != but and rows[int(i)]]
    free.sort(key=lambda i: not own <= set(rows[i]))
    return [rows[i] for i in free[:most]]
