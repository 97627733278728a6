"""Matcher: columns that belong together -> one space for all of them: fit, evaluate, embed, save, load."""

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import torch

import sensorium
from sensorium.api.blend import Facts, fit_blend, weigh
from sensorium.api.heads import Rows
from sensorium.api.initial import initial, take_over
from sensorium.api.mirror import mirror_remarks
from sensorium.api.missing import folder_or_temporary
from sensorium.api.naming import by_names, by_shots, numbered, sentences, spoken, worded
from sensorium.api.opening import Things, Wanted, plan_match
from sensorium.api.pairs import cut_groups, decoded, groups, readable, sorted_out, spread
from sensorium.api.persist import (
    MatchState,
    begun,
    fingerprint_of,
    mark_of,
    norm_for,
    read_match,
    write_match,
)
from sensorium.api.planning import MINUTES, planned
from sensorium.api.prepare import with_texts
from sensorium.api.retrieving import figures, probed, verdict
from sensorium.api.saying import Say, silent
from sensorium.api.shown import searches
from sensorium.api.unlearned import ailments
from sensorium.data import Decoder, alone
from sensorium.network import SIZES, Network
from sensorium.report import write_report
from sensorium.store import Table, lock, read, read_json, read_jsonl, write_json
from sensorium.tasks import blank, label
from sensorium.training import MATCHINGS, Examples, Placed, Plan, Trainer, run, threads, vectors_of
from sensorium.types import InputError, Limits, Prediction

HELD = 1024  # rows that a validation during training compares


class Matcher:
    """Columns that belong together, brought into one space: what lies close there belongs together.

    Args:
        match: two or more columns. A row may lack any of them; a cell may list several texts, which all belong to its row.
        columns: name -> `kind:option=value,...` where the guess from the cells is wrong.
        size: nano, small or base; None: chosen from the machine.
        loss: softmax (InfoNCE, CLIP's) or sigmoid (SigLIP's).
        batch: rows that are compared with each other at a step; 0: chosen, 256 at most.
        memory: bytes that a training step may hold; 0: the whole batch at once. Encoders then see a batch in pieces, with the
            same gradients (and with a norm inside each sample, which learns slower than batch norm).
        init: run folder whose encoders of the same columns training starts from.
        lock: columns whose encoders are trained no further (locked-image tuning, LiT); of use with `init`.
        seed: of everything random.
        minutes: hard budget of the training steps; epochs: a fixed number of them instead.
        limits: what one cell may hold at most.
    """

    def __init__(
        self, match: Sequence[str], *, columns: Mapping[str, str] | None = None, size: str | None = None, loss: str = "softmax",
        batch: int = 0, memory: int = 0, init: str | Path | None = None, lock: Sequence[str] = (), seed: int = 0, minutes: float | None = None,
        epochs: int | None = None, limits: Limits = Limits(),
    ):  # fmt: skip
        names = tuple(dict.fromkeys(match))
        if len(names) < 2:
            raise InputError(
                "one column has nothing to match",
                got=list(match),
                fix="name two or more: --match image,caption",
            )
        if size is not None and size not in SIZES:
            raise InputError("no such size", got=size, fix=f"one of {', '.join(SIZES)}")
        if loss not in MATCHINGS:
            raise InputError("no such loss of pairs", got=loss, fix=f"one of {', '.join(MATCHINGS)}")
        if (minutes is not None and not minutes > 0) or (epochs is not None and epochs < 1) or memory < 0:
            raise InputError(
                "the budget must be above zero", got=[minutes, epochs, memory], fix="give minutes or epochs"
            )
        if batch < 0 or batch == 1:
            raise InputError("a batch of one has nothing to compare", got=batch, fix="two rows or more")
        if set(lock) - set(names) or set(lock) == set(names):
            raise InputError(
                "some of the matched columns can be locked, not all",
                got=list(lock),
                fix=f"from {', '.join(names)}",
            )
        self.asked = Wanted(
            match=names, columns=columns, size=size, seed=seed, minutes=minutes, epochs=epochs, loss=loss, batch=batch, memory=memory,
            init=None if init is None else str(init), lock=tuple(lock),
        )  # fmt: skip
        self.limits = limits
        self.metrics: dict[str, object] = {}

    def fit(
        self, data: object, *, valid: object = None, out: str | Path | None = None, say: Say = silent
    ) -> "Matcher":
        """Train on a table and measure on held-out rows; `out` is the run folder (a temporary one where not given).

        A fit with the same arguments and data on the same folder continues where the last one stopped.
        Raises InputError for input that cannot be learned from.
        """
        with folder_or_temporary(out) as folder, lock(folder):
            return self._fit(read(data), None if valid is None else read(valid), folder, say)

    def _fit(self, table: Table, valid: Table | None, folder: Path, say: Say) -> "Matcher":
        began = time.monotonic()
        torch.set_num_threads(threads())
        mark = mark_of(self.asked, table, valid)
        old = begun(folder, mark)
        if old is not None and old["complete"]:
            say("fit", 1.0, "already complete")
            return self._restore(old, folder)
        fit, held, lost, remarks = self._open(table, valid, folder, say)
        say("simple", 0.0, "linear correlations first")
        some = with_texts(self._decoder(fit.table), self.task, fit.rows)
        facts = Facts(
            rows=with_texts(self._decoder(held.table), self.task, held.rows), group=held.group, same=held.same
        )
        with alone():
            self.blend = fit_blend(self.task, some, fit.group, fit.same, seed=self.asked.seed)
            remarks += mirror_remarks(self.task, self.blend, facts)
        self._build(old, fit, say)
        write_match(folder, self._state(), mark, complete=False)
        why, steps, seconds = self._train(folder, fit, held, say)
        self.metrics = {"metric": "r@10", "split": "valid", "rows": 0, "retrieval": [], "verdict": []}
        if len(held.rows):
            placed = vectors_of(self.network, self.task, held.rows)
            self.blend = weigh(self.blend, placed.own, facts, self.task)
            self.metrics |= self._measure(held, placed, facts.rows) | {"blend": {"share": self.blend.share}}
            vectors = self.blend.vectors(placed.own, facts.rows)
            write_json(
                folder / "examples.json",
                searches(self.task, self._decoder(held.table), vectors, facts.rows, held.group, held.same),
            )
        history = read_jsonl(folder / "history.jsonl")
        self.metrics |= self._story(table, fit, held, lost, remarks)
        self.metrics["plan"] = self._plan_told(steps, seconds, time.monotonic() - began, why, len(fit.rows))
        self.metrics["diagnosis"] = ailments(self.network.space, self.plan, history, fit.group, self.metrics)
        write_json(folder / "metrics.json", self.metrics)
        write_match(folder, self._state(), mark, complete=True)
        write_report(folder)
        say("done", 1.0, (self.metrics["verdict"] or ["trained"])[0])  # type: ignore[index]
        return self

    def _open(
        self, table: Table, valid: Table | None, folder: Path, say: Say
    ) -> tuple[Things, Things, int, list[str]]:
        """Decide what is matched with what, cut, decode.

        Returns rows to learn from, rows held out, how many could not be read, and remarks.
        """
        part = table.split("train")
        held = table.split("valid") if valid is None and part is not None else valid
        part = table if part is None else part
        missing = [c for c in self.asked.match if c not in table.columns]
        if missing:
            raise InputError("no such column", got=missing, fix=f"the columns are {', '.join(table.columns)}")
        if not len(part):
            raise InputError("no training row", got=f"{len(table)} rows", fix="mark rows as train")
        wide = spread(part, self.asked.match)
        same = sorted_out(wide.table, self.asked.match)
        group, remarks = groups(same, wide.parent)
        if group.max() == 0:
            raise InputError(
                "all rows hold the same, so nothing can be told apart",
                got=f"{len(group)} rows",
                fix="give rows that differ",
            )
        if held is None or not len(held):
            fit_rows, held_rows = cut_groups(group, share=0.15, seed=self.asked.seed)
            train, check = wide.table.take(fit_rows), wide.table.take(held_rows)
            parents = {"fit": group[fit_rows], "held": group[held_rows]}
        else:
            other = spread(held, self.asked.match)
            train, check = wide.table, other.table
            parents = {"fit": wide.parent, "held": other.parent}
        say("look", 0.0, f"{len(train)} training and {len(check)} validation rows")
        self.start = initial(self.asked.init)
        self.task, self.rates, more = plan_match(train, self.asked, self.limits, self.start)
        fit, lost = self._things(
            train, parents["fit"], folder / "quarantine.jsonl", say, "read training rows"
        )
        none = Things(table=check, rows=[], group=np.zeros(0, int), same={})
        held_things = none
        if len(check):
            held_things, gone = self._things(
                check, parents["held"], folder / "quarantine.jsonl", say, "read validation rows"
            )
            lost += gone
        pairs = {m: sum(m in r for r in fit.rows) for m in self.task.match}
        together = sum(sum(n in r for n in self.task.match) > 1 for r in fit.rows)
        if together < 2:
            raise InputError(
                "no two rows hold things that belong together",
                got=pairs,
                fix="each row should fill two or more of the columns that are matched",
            )
        return fit, held_things, lost, remarks + more

    def _things(
        self, table: Table, parent: np.ndarray, quarantine: Path | None, say: Say, stage: str
    ) -> tuple[Things, int]:
        rows, errors = decoded(table, self.task, self.rates, self.limits, say=say, stage=stage)
        good, lost = readable(table, rows, errors, quarantine=quarantine)
        some = table.take(good) if len(good) < len(table) else table
        same = sorted_out(some, self.asked.match)
        group, _ = groups(same, parent[good])
        return Things(table=some, rows=[rows[i] for i in good], group=group, same=same), lost

    def _build(self, old: Mapping[str, object] | None, fit: Things, say: Say) -> None:
        """Make the network and the plan; the plan of an interrupted run is taken as it was."""
        self.size = self.asked.size or self.start.size or ("small" if torch.cuda.is_available() else "nano")
        torch.manual_seed(self.asked.seed)
        self.network = Network(self.task, SIZES[self.size], norm=norm_for(self.asked.memory))
        take_over(self.network, self.task.modalities, self.start)
        self.network.lock([m.name for m in self.task.modalities if m.column in self.asked.lock])
        if old is not None:
            self.plan = Plan(**old["plan"])  # type: ignore[arg-type]
            return
        examples = Examples(rows=fit.rows, targets={}, group=fit.group)
        asked = self.asked
        wanted = Plan(steps=0, batch=asked.batch, seed=asked.seed, matching=asked.loss, memory=asked.memory)
        self.plan = planned(asked, self.network, self.task, examples, say, wanted=wanted)

    def _train(self, folder: Path, fit: Things, held: Things, say: Say) -> tuple[str, int, float]:
        """Run the loop; returns why it ended, the steps and the seconds."""
        torch.set_num_threads(self.plan.threads or threads())
        trainer = Trainer(
            self.network, self.task, self.plan, Examples(rows=fit.rows, targets={}, group=fit.group)
        )
        trainer.resume(folder / "checkpoint")
        budget = None if self.asked.epochs is not None else (self.asked.minutes or MINUTES) * 60
        latest = {"valid": ""}

        def show(row: Mapping[str, object]) -> None:
            latest["valid"] = f" valid {row['valid']:.3f}" if "valid" in row else latest["valid"]
            figures = f"step {row['step']}/{row['steps']} loss {row['loss']:.3f}{latest['valid']}"
            say("train", row["step"] / row["steps"], figures)  # type: ignore[operator]

        few = Examples(rows=held.rows[:HELD], targets={}, group=held.group[:HELD])
        why = run(trainer, folder=folder, valid=few, deadline_s=budget, show=show)
        return why, trainer.step, trainer.elapsed_s

    def _decoder(self, table: Table) -> Decoder:
        return Decoder(table, limits=self.limits, rates=self.rates)

    def _measure(self, things: Things, placed: Placed, rows: Rows) -> dict[str, object]:
        found = figures(self.task, self.blend, placed, rows, things.group, things.same)
        return {"rows": len(things.rows), "retrieval": found, "verdict": verdict(found)}

    def evaluate(self, data: object, *, by: str | None = None, say: Say = silent) -> dict[str, object]:
        """Measure how often what belongs together is found among all that the table holds, in every direction.

        by: a column whose equal cells count as belonging together (a class), instead of rows and equal cells. Figures: the
        share of queries with a right answer among the first 1, 5 and 10, and the median rank, with intervals, beside
        chance and linear correlations. With `by`, linear probes for its classes in both spaces beside them, as `probes`.
        Raises InputError where nothing can be compared.
        """
        torch.set_num_threads(threads())
        table = read(data)
        if by is not None:
            table.cells(by)  # says what there is where there is no such column
        wide = spread(table, self.asked.match)
        things, lost = self._things(wide.table, wide.parent, None, say, "read")
        if by is not None:
            things = replace(things, group=sorted_out(things.table, [by])[by])
        if sum(sum(n in r for n in self.task.match) > 1 for r in things.rows) < 2:
            raise InputError(
                "no two rows hold things that belong together",
                got=f"{len(things.rows)} rows",
                fix="give rows that fill two or more of the matched columns",
            )
        placed = vectors_of(self.network, self.task, things.rows)
        rows = with_texts(self._decoder(things.table), self.task, things.rows)
        found = {"metric": "r@10", "split": "given", "skipped": lost, "by": by}
        found |= self._measure(things, placed, rows)
        if by is not None:
            found["probes"] = probed(self.blend.vectors(placed.own, rows), placed.joint, things.group)
        return found

    def embed(
        self, data: object, *, space: str = "coordinated", say: Say = silent
    ) -> tuple[list[str], dict[str, np.ndarray], list[str]]:
        """Vectors of every row: ids, modality -> (rows, d) float32, and why a row has none ("" where it has).

        coordinated: one vector for each modality that a row has; of a cell that lists several texts, their mean. joint: one
        vector for all that a row has, under the name `joint`. Of unit length, zeros where there is nothing. The dot
        product of two vectors of the same space says how well they belong together. Raises InputError.
        """
        if space not in ("coordinated", "joint"):
            raise InputError("no such space", got=space, fix="coordinated or joint")
        torch.set_num_threads(threads())
        table = read(data)
        if not set(self.asked.match) & set(table.columns):
            raise InputError(
                "the table has none of the matched columns",
                got=table.columns,
                fix=f"give {', '.join(self.asked.match)}",
            )
        wide = spread(table, self.asked.match)
        rows, errors = decoded(wide.table, self.task, self.rates, self.limits, say=say, stage="read")
        placed = vectors_of(self.network, self.task, rows)
        if space == "joint":
            found = {"joint": placed.joint}
        else:
            found = self.blend.vectors(placed.own, with_texts(self._decoder(wide.table), self.task, rows))
        why = ["" for _ in range(len(table))]
        for parent, error in zip(wide.parent.tolist(), errors, strict=True):
            why[parent] = why[parent] or error
        filled = {p for p, row in zip(wide.parent.tolist(), rows, strict=True) if row}
        strange = "nothing in the row is known to the run: a text of words that training never saw, say"
        folded = {n: _folded(v, wide.parent, len(table)) for n, v in found.items()}
        for i in range(len(table)):
            if not why[i] and not any(v[i].any() for v in folded.values()):
                why[i] = strange if i in filled else "the row has none of the matched columns"
        return table.ids, folded, why

    def predict(
        self, data: object, labels: Sequence[str] = (), *, templates: Sequence[str] | None = None, shots: object = None,
        target: str | None = None, say: Say = silent,
    ) -> list[Prediction]:  # fmt: skip
        """Sort every row, in order, among classes that no training named (zero-shot), or by a few labelled rows (few-shot).

        labels: names of the classes, as the matched texts would say them; () takes those of the shots. templates: sentences with
        `{}` for the name. shots: a table of labelled rows, whose column `target` holds the class. Raises InputError.
        """
        few = None if shots is None else read(shots)
        if few is not None and target is None:
            raise InputError(
                "labelled rows need a column of labels", got=few.columns, fix="name it as target"
            )
        cells = [] if few is None else list(few.cells(str(target)))
        names = list(labels) or sorted({label(c) for c in cells if not blank(c)})
        said = sentences(self.task, names, templates) if few is None or spoken(self.task) else {}
        texts = {m: self._encoded(sets) for m, sets in said.items()}
        if few is None:
            named = by_names(names, texts)
        else:
            known = self.embed(few, say=say)[1]
            named = by_shots(names, texts, known, numbered(cells, names))
        ids, vectors, errors = self.embed(data, say=say)
        chance, here = named.answer(vectors)
        found = []
        for i, name in enumerate(ids):
            error = errors[i] or ("" if here[i] else "the row has none of the columns that can be sorted")
            if error:
                found.append(Prediction(id=name, error=error.replace("\n", " ")))
                continue
            told = {c: float(p) for c, p in zip(named.names, chance[i], strict=True)}
            found.append(Prediction(id=name, value=named.names[int(chance[i].argmax())], probabilities=told))
        return found

    def _encoded(self, sets: Sequence[Sequence[str]]) -> np.ndarray:
        """Vectors of sentences: classes x templates -> (classes, templates, d)."""
        words = worded(self.task)
        flat = [text for one in sets for text in one]
        vectors = self.embed(Table(data={words.column: flat}))[1][words.name]
        return vectors.reshape(len(sets), -1, vectors.shape[1])

    def _story(
        self, table: Table, fit: Things, held: Things, lost: int, remarks: Sequence[str]
    ) -> dict[str, object]:
        """What the metrics file tells of the data and the machine."""
        names = self.task.match
        together = {
            " ~ ".join(sorted((a, b))): sum(a in r and b in r for r in fit.rows)
            for i, a in enumerate(names)
            for b in names[i + 1 :]
        }
        return {
            "task": {
                "kind": "match", "target": "", "match": list(names),
                "inputs": [{"name": m.name, "carrier": m.carrier, "summary": f"{m.longest} steps of {m.item}"} for m in self.task.modalities],
            },
            "data": {
                "source": table.source, "rows": {"train": len(fit.rows), "valid": len(held.rows)},
                "present": {n: round(sum(n in r for r in fit.rows) / len(fit.rows), 4) for n in names},
                "things": {c: int((np.unique(v) >= 0).sum()) for c, v in fit.same.items()},
                "together": together, "groups": int(fit.group.max()) + 1, "quarantined": lost, "warnings": list(remarks),
            },
            "machine": {
                "python": platform.python_version(), "torch": torch.__version__, "processor": platform.machine(),
                "sensorium": sensorium.__version__,
            },
        }  # fmt: skip

    def _plan_told(
        self, steps: int, trained_s: float, took_s: float, why: str, rows: int
    ) -> dict[str, object]:
        return {
            "size": self.size, "parameters": sum(p.numel() for p in self.network.parameters()), "steps": steps,
            "planned_steps": self.plan.steps, "batch": self.plan.batch, "epochs": round(steps / -(-rows // self.plan.batch), 1),
            "precision": "float32", "threads": torch.get_num_threads(), "seed": self.plan.seed, "minutes": self.asked.minutes,
            "loss": self.plan.matching, "training_seconds": round(trained_s, 1), "seconds": round(took_s, 1), "stopped": why,
        }  # fmt: skip

    @property
    def width(self) -> int:
        """Numbers of a vector of `embed` in the coordinated space."""
        linear = 0 if self.blend.space is None or self.blend.share >= 1 else len(self.blend.space.roots)
        return (self.network.shape.space if self.blend.share > 0 else 0) + linear

    def fingerprint(self) -> str:
        """SHA-256 (hex) of all that makes vectors: those of two matchers can be compared only where it is the same."""
        return fingerprint_of(self._state())

    def save(self, run_folder: str | Path) -> None:
        """Write the matcher as a run folder. Raises InputError where that is not possible."""
        folder = Path(run_folder)
        with lock(folder):
            write_match(folder, self._state(), mark_of(self.asked), complete=True)
            write_json(folder / "metrics.json", self.metrics)

    def _state(self) -> MatchState:
        return MatchState(
            task=self.task,
            network=self.network,
            size=self.size,
            plan=self.plan,
            rates=self.rates,
            blend=self.blend,
        )

    def _restore(self, saved: Mapping, folder: Path) -> "Matcher":
        found = read_match(saved, folder)
        for part in fields(found):
            setattr(self, part.name, getattr(found, part.name))
        self.metrics = read_json(folder / "metrics.json") if (folder / "metrics.json").exists() else {}
        return self


def _folded(vectors: np.ndarray, parent: np.ndarray, rows: int) -> np.ndarray:
    """The mean of the vectors of each given row, at unit length: (rows, d)."""
    summed = np.zeros((rows, vectors.shape[1]), np.float32)
    np.add.at(summed, parent, vectors)
    length = np.linalg.norm(summed, axis=1, keepdims=True)
    return summed / np.where(length > 0, length, 1)


def matcher(saved: Mapping, folder: Path, limits: Limits) -> Matcher:
    """The matcher that a run's description tells of."""
    asked = saved["mark"]["asked"]
    made = Matcher(asked["match"], limits=limits)
    made.asked = Wanted(**{**asked, "match": tuple(asked["match"]), "lock": tuple(asked["lock"])})
    return made._restore(saved, folder)
