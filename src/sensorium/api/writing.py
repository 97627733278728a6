"""How good the texts are that a model writes, and where it looked for each word."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from sensorium.api.answers import subsets_of
from sensorium.api.controls import FITTED, MOST, Judge, controls, unused
from sensorium.api.heads import Rows
from sensorium.api.neighbours import Neighbours
from sensorium.api.prepare import decoded, known_rows
from sensorium.api.saying import Say
from sensorium.api.texts import MANNER, WEIGHED, Manner, Said, figure, headline, say_all, with_neighbours
from sensorium.data import Decoder, Row
from sensorium.measure.text import beside, commonest, plain, words
from sensorium.modalities import CARRIERS
from sensorium.modalities.text import ids as tokens_of
from sensorium.network import Network, key
from sensorium.tasks import Task, Wording, texts_of
from sensorium.training import memories
from sensorium.translation.loss import lesson
from sensorium.types import InputError, Prediction

SHOWN = 12  # rows that a report shows
BLIND, COMMONEST = "without any input", "the commonest text"  # who answers beside the model
MEASURED = 1000  # most rows of which every subset of the inputs is measured


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """Held-out rows with what was written for them and what should have been."""

    rows: Sequence[Row]
    truth: Sequence[Sequence[str]]  # of each row, one text or several that say the same
    said: Sequence[Said]

    @property
    def texts(self) -> list[str]:
        """What was written."""
        return [s.text for s in self.said]


def measured(
    network: Network, task: Task, rows: Sequence[Row], truth: Sequence[Sequence[str]], *, train: Sequence[str] = (), seed: int = 0,
    manner: Manner = MANNER, most: int = MOST, say: Say,
) -> tuple[dict[str, object], Written]:  # fmt: skip
    """Write a text for each row and measure it, beside answers that see nothing, and with fewer inputs.

    train: texts of training rows, the commonest of which is one of the blind answers. most: rows that are asked again
    with wrong inputs, in the likeliest words.
    """
    wording = task.target.wording
    assert wording is not None, "the target is a text"
    total = len(rows)
    said = say_all(
        network, task, rows, manner=manner, tick=lambda n: say("write", n / total, f"{n} of {total}")
    )  # fmt: skip
    found = Written(rows=rows, truth=truth, said=said)
    metric = headline(wording, truth)
    names = [m.name for m in task.modalities]
    blind = say_all(network, task, rows[:1], manner=manner, but=names)[0].text
    answers = {"": found.texts, BLIND: [blind] * total}
    if train:
        answers[COMMONEST] = [commonest(train)] * total
    table = beside(answers, truth, seed=seed)
    scores = {who: {figure: table[figure][who].to_json() for figure in table} for who in answers}
    baselines = [
        {"name": who, "modality": "", "score": figures[metric], "scores": figures, "seconds": 0.0}
        for who, figures in scores.items()
        if who
    ]
    return {
        "metric": metric, "rows": total, "scores": scores[""], "baselines": baselines,
        "subsets": _subsets(network, task, found, metric, manner, seed, say),
        "controls": controls(
            task.modalities, Rows(patches=rows), _judge(network, task, truth, metric, replace(manner, beam=1), seed),
            seed=seed, most=most, say=say,
        ),
    }, found  # fmt: skip


def _judge(
    network: Network, task: Task, truth: Sequence[Sequence[str]], metric: str, manner: Manner, seed: int
) -> Judge:
    """How the controls ask for texts and measure them."""
    return Judge(
        answer=lambda rows: [s.text for s in say_all(network, task, rows.patches, manner=manner)],
        figure=lambda said, index: figure(said, [truth[i] for i in index], metric, seed),
        differ=lambda one, other: np.array([a != b for a, b in zip(one, other, strict=True)]),
    )


def _subsets(
    network: Network, task: Task, found: Written, metric: str, manner: Manner, seed: int, say: Say
) -> list[dict[str, object]]:
    """The headline figure with fewer inputs, on the rows that hold them, at most MEASURED."""
    names = [m.name for m in task.modalities]
    if len(names) < 2:
        return []
    wanted = [s for s in subsets_of(names) if len(s) < len(names)]
    told = []
    for number, subset in enumerate(wanted):
        say("inputs", number / len(wanted), " + ".join(subset))
        able = [i for i, row in enumerate(found.rows) if all(n in row for n in subset)][:MEASURED]
        if len(able) < 2:
            continue
        truth = [found.truth[i] for i in able]
        but = [n for n in names if n not in subset]
        fewer = say_all(network, task, [found.rows[i] for i in able], manner=manner, but=but)
        score = figure([s.text for s in fewer], truth, metric, seed)
        whole = figure([found.said[i].text for i in able], truth, metric, seed)
        told.append({
            "modalities": list(subset), "rows": len(able), "score": score.to_json(), "everything": round(whole.value, 4)
        })  # fmt: skip
    return told


def likeness(said: str, truth: Sequence[str]) -> float:
    """0..1: how much of the words a text shares with the nearest of several, to sort rows by."""
    mine = set(words(said))
    return max(
        (2 * len(mine & set(words(t))) / max(1, len(mine) + len(set(words(t)))) for t in truth), default=0.0
    )


@torch.inference_mode()
def looks(network: Network, task: Task, row: Row, said: str) -> dict[str, object]:
    """Where the decoder looked for each piece of a text: looks (0..1) at the tokens of each modality, and their places."""
    wording, decoder = task.target.wording, network.writers[key(task.target.column)]
    assert wording is not None, "the target is a text"
    index, memory = next(memories(network.eval(), task, [row]))
    ids = wording.read(said)
    given, _ = lesson(decoder, torch.from_numpy(ids.astype(np.int64))[None])
    seen = decoder.with_looks(memory, given)[1][0].numpy()
    kind, place, valid = memory.kind[0].numpy(), memory.place[0].numpy(), memory.valid[0].numpy()
    mine = {name: np.flatnonzero((kind == k) & valid) for k, name in enumerate(network.names, 1)}
    mine = {name: _detail(name, at, network) for name, at in mine.items() if len(at) > 1}
    pieces_of = [wording.write(ids[: n + 1])[len(wording.write(ids[:n])) :] for n in range(len(ids))]
    return {
        "words": [
            {"word": piece, "looks": {n: np.round(seen[k, at], 5).tolist() for n, at in mine.items()}}
            for k, piece in enumerate(pieces_of)
        ],
        "places": {n: np.round(place[at], 4).tolist() for n, at in mine.items()},
        "shown": {m.name: {"carrier": m.carrier} for m in task.modalities if m.name in mine},
    }


def _detail(name: str, at: np.ndarray, network: Network) -> np.ndarray:
    """The tokens of one modality less its summary, which stands in front and has no place."""
    return at[1:] if network.kinds is not None else at


def shown(
    network: Network, task: Task, decoder: Decoder, found: Written, *, most: int = SHOWN
) -> list[dict[str, object]]:
    """Rows for a report, from the best to the worst: the cells, the text, the truth, and where the decoder looked."""
    rank = np.argsort(
        [-likeness(s.text, t) for s, t in zip(found.said, found.truth, strict=True)], kind="stable"
    )
    half = most // 2
    chosen = rank if len(rank) <= most else np.concatenate([rank[:half], rank[-half:]])
    return [
        {"truth": list(found.truth[row])[:5]}
        | drawn(network, task, decoder, row, found.rows[row], found.said[row])
        for row in chosen.tolist()
    ]


def drawn(
    network: Network, task: Task, decoder: Decoder, number: int, row: Row, said: Said
) -> dict[str, object]:
    """One row of a table with what was written for it: its id, previews of its cells, the text, and where the decoder looked."""
    cells: dict[str, object] = {}
    for m in task.modalities:
        signal = decoder.of(number, m) if m.name in row else None
        cells[m.name] = None if signal is None else CARRIERS[m.carrier].preview(signal)
    return {
        "id": decoder.table.ids[number], "said": said.text, "log_probability": round(said.log_probability, 4),
        "cells": cells, **looks(network, task, row, said.text),
    }  # fmt: skip


def shortened(task: Task, decoder: Decoder) -> list[str]:
    """A remark for each text input of which cells are longer than what the model reads: it reads their beginning."""
    told = []
    for m in task.modalities:
        if m.carrier != "text":
            continue
        json, most, case = str(m.options["tokenizer"]), m.longest, bool(m.options["case"])
        texts = [_text_of(decoder, i, m.column) for i in range(len(decoder.table))]
        long = sum(len(tokens_of(t if case else t.lower(), json)) > most for t in texts)
        if long:
            told.append(f"{m.name}: cut after {most} tokens in {long} of {len(texts)} rows; training texts were hardly longer")  # fmt: skip
    return told


def _text_of(decoder: Decoder, row: int, column: str) -> str:
    """The text of a cell; "" for none, and for one that cannot be read, of which the answer's error tells."""
    try:
        signal = decoder.signal(row, column, "text")
    except InputError:
        return ""
    return "" if signal is None else str(signal.values[0])


def truth_texts(cells: Sequence[object]) -> list[list[str]]:
    """The texts of each cell, letter case as it is."""
    return [texts_of(c) for c in cells]


def on_held(
    network: Network, task: Task, decoder: Decoder, found: Mapping, *, seed: int
) -> tuple[Neighbours | None, dict[str, object], dict[str, object], list[dict[str, object]]]:
    """After a fit: neighbours that help, what the metrics file says of the fusion and the texts, and rows to show."""
    target, held = task.target, decoder.table
    how = {"chosen": network.fusion, "reason": "texts are written from all inputs together", "candidates": []}
    known = [i for i, c in enumerate(found["check"].targets[target.column]) if c is not None]
    if not known:
        return None, how, {"metric": "", "rows": 0, "scores": {}, "subsets": [], "baselines": []}, []
    part = Decoder(held.take(known), limits=decoder.limits, rates=decoder.rates)
    truth = truth_texts(part.table.cells(target.column))
    train = [t for cell in found["train"].cells(target.column) for t in texts_of(cell)]
    rows = [found["held_rows"][i] for i in known]
    texts = truth_texts(found["train"].cells(target.column))
    near, tried = with_neighbours(
        network, task, found["rows"], texts, rows, truth, seed=seed, say=found["say"]
    )
    if near is not None:
        how |= {
            "chosen": f"{network.fusion}, neighbours' agreement times {near.share:g}" if near.share else network.fusion,
            "reason": f"figures by the share of the agreement, on {min(len(rows), WEIGHED)} validation rows",
            "candidates": [{"name": f"share {t['share']:g}", "score": t["score"], "loss": 0.0} for t in tried],
        }  # fmt: skip
        near = near if near.share else None
    manner = replace(MANNER, near=near)
    metrics, said = measured(
        network, task, rows, truth, train=train, seed=seed, most=FITTED, manner=manner, say=found["say"]
    )
    return near, how, metrics, shown(network, task, part, said)


def on_table(
    network: Network, task: Task, decoder: Decoder, *, manner: Manner, seed: int, say: Say
) -> tuple[dict[str, object], list[str]]:
    """Figures on the rows of a table whose target is filled, and remarks. Raises InputError where there are none."""
    part, rows, remarks = known_rows(decoder, task, say)
    truth = truth_texts(part.cells(task.target.column))
    asked = Decoder(part, limits=decoder.limits, rates=decoder.rates)
    remarks = [*remarks, *_unheard(must_write(task), truth), *shortened(task, asked)]
    return measured(network, task, rows, truth, manner=manner, seed=seed, say=say)[0], remarks


def _unheard(wording: Wording, truth: Sequence[Sequence[str]]) -> list[str]:
    """A remark on true answers that are not in the closed set: such rows count as wrong."""
    known = {plain(a) for a in wording.answers}
    odd = sorted({t[0] for t in truth if known and not known & {plain(one) for one in t}})
    told = f"answers that training never saw: {', '.join(map(repr, odd[:5]))}; their rows count as wrong"
    return [told] if odd else []


def text_predictions(
    network: Network, task: Task, decoder: Decoder, *, manner: Manner, say: Say
) -> list[Prediction]:
    """A text for every row of a table, in order; a row that cannot be read carries an `error` and no value."""
    rows, errors = decoded(decoder, task, say)
    good, total = [i for i, e in enumerate(errors) if not e], len(rows)
    said = say_all(
        network, task, [rows[i] for i in good], manner=manner, tick=lambda n: say("write", n / total, f"{n} of {total}")
    )  # fmt: skip
    ids = decoder.table.ids
    found = [Prediction(id=i, error=e.replace("\n", " ")) for i, e in zip(ids, errors, strict=True)]
    for i, one in zip(good, said, strict=True):
        found[i] = Prediction(id=ids[i], value=one.text, probabilities=one.probabilities)
    return found


def judged(metrics: Mapping) -> list[str]:
    """The result in a few sentences, the unwelcome ones too."""
    metric, score = str(metrics["metric"]), metrics["scores"][metrics["metric"]]
    lines = [
        f"{metric} {score['value']:.3f} (95 % interval {score['low']:.3f} to {score['high']:.3f}) on {metrics['rows']} "
        f"{metrics.get('split', '')} rows."
    ]
    blind = max((b["score"]["value"] for b in metrics["baselines"]), default=None)
    if blind is not None:
        lines.append(f"A text that sees no input has {blind:.3f} at best.")
        if blind >= score["low"]:
            lines.append("That is within the interval: the inputs have not been shown to matter.")
    different = metrics["scores"]["distinct"]["value"]
    lines.append(f"{different:.0%} of the texts are different from each other.")
    alone = [s for s in metrics["subsets"] if len(s["modalities"]) == 1]
    if alone:
        best = max(alone, key=lambda s: s["score"]["value"])
        lines.append(
            f"The best single input is {best['modalities'][0]} with {best['score']['value']:.3f}; all that the same rows have "
            f"gives {best['everything'] - best['score']['value']:+.3f}."
        )
    return lines + unused(metrics.get("controls") or [])


def must_write(task: Task) -> Wording:
    """How the target is written. Raises InputError for a run whose target is no text."""
    if task.target.wording is None:
        raise InputError(
            "the run does not write", got=f"a target of kind {task.target.kind}",
            fix="use `predict`, or fit with a text target (--column NAME=text)",
        )  # fmt: skip
    return task.target.wording


def refuse(task: Task, what: str, **asked: object) -> None:
    """Raises InputError where a target that is a text has no such thing; `asked` are options, of which None is not asked for."""
    if task.target.wording is not None and (not asked or any(v is not None for v in asked.values())):
        raise InputError(
            f"{what}: only for a target that is a class, labels or a number", got=f"{task.target.column!r}, a text",
            fix="fit with --column NAME=category where its answers recur; `generate` shows where a text looked",
        )  # fmt: skip


def exact(said: Sequence[str], truth: Sequence[Sequence[str]]) -> np.ndarray:
    """(n,) whether each text is one of its references, marks and letter case aside."""
    return np.array([plain(s) in {plain(r) for r in many} for s, many in zip(said, truth, strict=True)])
