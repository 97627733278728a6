"""Model: fit, evaluate, predict, save, load."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from sensorium.api.answers import answers, standard, subsets_of, truths, value_of
from sensorium.api.choice import choose
from sensorium.api.diagnosis import damaged, starved
from sensorium.api.evaluate import FITTED, evaluate_rows, floor_table, verdict
from sensorium.api.explaining import explained, find_row, strangers
from sensorium.api.heads import Rows, all_heads, everyone, floors_of, statistics, weighed, weighs
from sensorium.api.interactions import Trained, sampled, study
from sensorium.api.matching import Matcher, matcher
from sensorium.api.missing import Figures, folder_or_temporary, only, own_answers, regrets, right, test_rows
from sensorium.api.neighbours import Neighbours
from sensorium.api.persist import State, begun, described, mark_of, restored, write_run
from sensorium.api.planning import MINUTES, planned
from sensorium.api.prepare import (
    Asked,
    asked_of,
    cut,
    decoded,
    examples,
    known_rows,
    load_rows,
    plan_task,
    truth_of,
    with_texts,
)
from sensorium.api.promises import Promises, fit_promises, least_confidence, patterns_of, sets_of
from sensorium.api.saying import Say, silent
from sensorium.api.story import hardest, story
from sensorium.api.teaching import teacher_answers
from sensorium.api.texts import MANNER, Manner, streamed
from sensorium.api.thoughts import thought
from sensorium.api.writing import judged, must_write, on_held, on_table, refuse, text_predictions  # fmt: skip
from sensorium.data import Decoder, Row
from sensorium.measure.baselines import Floor
from sensorium.measure.experts import Experts
from sensorium.measure.scores import headline
from sensorium.network import SIZES, STEPS, Network
from sensorium.report import write_report
from sensorium.store import Table, lock, read, read_json, read_jsonl, write_json
from sensorium.tasks import Target
from sensorium.training import BALANCES, Examples, Plan, Trainer, run, threads
from sensorium.types import InputError, Limits, Prediction

FEW = 32  # rows up to which a second thread costs more than it gives
STRANGERS = 96  # other rows of which some test an explanation


class Model:
    """Any columns in, one column out.

    Args:
        target: the column to answer.
        inputs: the columns that go in; None: all that are not the target, `id`, `split` or the group.
        also: further target columns that only help training.
        columns: name -> `kind:option=value,...` where the guess from the cells is wrong.
        size: nano, small or base; None: chosen from the machine.
        fusion: auto, early, mid, late or tensor.
        seed: of everything random.
        minutes: hard budget of the training steps; epochs: a fixed number of them instead.
        balance: how the losses of the joint head and of the inputs' own heads train the encoders: a word of
            `training.BALANCES`.
        teacher: run for the same target whose answers are learned, too; it may read columns that are not among `inputs`.
        steps: of reasoning, where one input is a question about the others (default 4; 0: none).
        group: column whose values (subject, speaker, patient) stay on one side of the validation cut.
        limits: what one cell may hold at most.
    """

    def __init__(
        self, target: str, *, inputs: Sequence[str] | None = None, also: Sequence[str] = (), columns: Mapping[str, str] | None = None,
        size: str | None = None, fusion: str = "auto", seed: int = 0, minutes: float | None = None, epochs: int | None = None,
        group: str | None = None, balance: str = "guarded", teacher: str | Path | None = None, steps: int | None = None,
        limits: Limits = Limits(),
    ):  # fmt: skip
        if size is not None and size not in SIZES:
            raise InputError("no such size", got=size, fix=f"one of {', '.join(SIZES)}")
        if fusion not in ("auto", "early", "mid", "late", "tensor"):
            raise InputError("no such fusion", got=fusion, fix="use auto, early, mid, late or tensor")
        if steps is not None and not 0 <= steps <= 32:
            raise InputError("no such number of steps", got=steps, fix="0 to 32")
        if balance not in BALANCES:
            raise InputError("no such balance", got=balance, fix=f"one of {', '.join(BALANCES)}")
        if (minutes is not None and not minutes > 0) or (epochs is not None and epochs < 1):
            got = minutes if epochs is None else epochs
            raise InputError("the budget must be above zero", got=got, fix="give minutes or epochs")
        self.asked = Asked(
            target=target, inputs=None if inputs is None else tuple(inputs), also=tuple(also), columns=columns, size=size,
            fusion=fusion, seed=seed, minutes=minutes, epochs=epochs, group=group, balance=balance, teacher=None if teacher is None else str(teacher),
            steps=steps,
        )  # fmt: skip
        self.limits = limits
        self.floors: tuple[Floor, ...] = ()  # those that have a say in the answers
        self.promises = Promises()
        self.neighbours: Neighbours | None = None  # training rows whose texts a written target may take
        self.metrics: dict[str, object] = {}

    @classmethod
    def _of(cls, asked: Asked, limits: Limits) -> "Model":
        model = cls(asked.target, limits=limits)
        model.asked = asked
        return model

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the target; () for numbers."""
        return self.task.target.classes

    def fit(
        self, data: object, *, valid: object = None, out: str | Path | None = None, say: Say = silent
    ) -> "Model":
        """Train on a table and measure on held-out rows; `out` is the run folder (a temporary one where not given).

        A fit with the same arguments and data on the same folder continues where the last one stopped.
        Raises InputError for input that cannot be learned from.
        """
        with folder_or_temporary(out) as folder, lock(folder):
            return self._fit(read(data), None if valid is None else read(valid), folder, say)

    def _fit(self, table: Table, valid: Table | None, folder: Path, say: Say) -> "Model":
        began = time.monotonic()
        torch.set_num_threads(threads())
        mark = mark_of(self.asked, table, valid)
        old = begun(folder, mark)
        if old is not None and old["complete"]:
            say("fit", 1.0, "already complete")
            return self._restore(restored(old, folder), folder)
        train, held = cut(table, valid, self.asked)
        say("look", 0.0, f"{len(train)} training and {len(held)} validation rows")
        self.task, self.rates, remarks = plan_task(train, self.asked, self.limits)
        train, rows, lost = self._load(train, folder, say, "read training rows")
        held, held_rows, lost_held = (
            self._load(held, folder, say, "read validation rows") if len(held) else (held, [], 0)
        )
        remarks += truth_of(held, self.task.target)[1] if self.task.target.column in held.columns else []
        writes = self.task.target.wording is not None
        metric = "" if writes else headline(self.task.target.kind, self.task.target.counts)
        fit, check = (
            examples(t, r, self.task, weighted=weighs(self.task.target))
            for t, r in ((train, rows), (held, held_rows))
        )
        if self.asked.teacher is not None:
            said = teacher_answers(load(self.asked.teacher, limits=self.limits), train, self.task.target)
            said = said - weighed(self.task.target)  # the scale that heads are trained on
            fit = replace(fit, taught={self.task.target.column: said})
        say("floors", 0.0, "simple models first")
        cells, seed = fit.targets[self.task.target.column], self.asked.seed
        floors = [] if writes else floors_of(self.task, self._rows(train, rows), cells, seed=seed)
        self._build(old, fit, say)
        self.experts = Experts(weights={"": 1.0}, prior=self._prior())
        write_run(folder, self._state(), mark, complete=False)
        why = self._train(folder, fit, check, say)
        self._finish(folder, mark, {
            "held": held, "held_rows": held_rows, "fit": fit, "check": check, "say": say, "floors": floors, "metric": metric, "why": why,
            "train": train, "rows": rows, "lost": lost + lost_held, "remarks": remarks, "began": began,
        })  # fmt: skip
        say("done", 1.0, self.metrics["verdict"][0] if self.metrics.get("verdict") else "trained")  # type: ignore[index]
        return self

    def _load(self, table: Table, folder: Path, say: Say, stage: str) -> tuple[Table, list[Row], int]:
        total = len(table)
        return load_rows(
            table, self.task, self.rates, self.limits, quarantine=folder / "quarantine.jsonl",
            tick=lambda n: say(stage, n / total, f"{n} of {total}"),
        )  # fmt: skip

    def _prior(self) -> tuple[float, ...]:
        target = self.task.target
        return tuple(np.log(target.prior()).tolist()) if target.kind == "category" else ()

    def _rows(self, table: Table, patches: Sequence[Row]) -> Rows:
        return with_texts(Decoder(table, limits=self.limits, rates=self.rates), self.task, patches)

    def _build(self, old: Mapping[str, object] | None, fit: Examples, say: Say) -> None:
        """Make the network and the plan; the plan of an interrupted run is taken as it was."""
        self.size = self.asked.size or ("small" if torch.cuda.is_available() else "nano")
        torch.manual_seed(self.asked.seed)
        fusion = "early" if self.asked.fusion == "auto" else self.asked.fusion
        steps = STEPS if self.asked.steps is None else self.asked.steps
        self.network = Network(self.task, SIZES[self.size], fusion=fusion, steps=steps)
        if old is not None:
            self.plan = Plan(**old["plan"])  # type: ignore[arg-type]
            return
        # Without what is asked about the rest tells next to nothing, and steps of thought are found at a slow pace only.
        asks = {"drop": 0.1, "rate": 1e-3} if self.task.question else {}
        wanted = Plan(steps=0, batch=0, seed=self.asked.seed, balance=self.asked.balance, **asks)
        self.plan = planned(self.asked, self.network, self.task, fit, say, wanted=wanted)

    def _train(self, folder: Path, fit: Examples, check: Examples, say: Say) -> str:
        torch.set_num_threads(self.plan.threads or threads())
        trainer = Trainer(self.network, self.task, self.plan, fit)
        trainer.resume(folder / "checkpoint")
        budget = None if self.asked.epochs is not None else (self.asked.minutes or MINUTES) * 60
        latest = {"valid": ""}

        def show(row: Mapping[str, object]) -> None:
            latest["valid"] = f" valid {row['valid']:.3f}" if "valid" in row else latest["valid"]
            figures = f"step {row['step']}/{row['steps']} loss {row['loss']:.3f}{latest['valid']}"
            say("train", row["step"] / row["steps"], figures)  # type: ignore[operator]

        few = Examples(rows=check.rows[:1024], targets={k: v[:1024] for k, v in check.targets.items()})
        if not any(c is not None for c in few.targets.get(self.task.target.column, [])):
            few = Examples(rows=[], targets={})
        why = run(trainer, folder=folder, valid=few, deadline_s=budget, show=show)
        self.steps_taken, self.train_seconds = trainer.step, trainer.elapsed_s
        return why

    def _finish(self, folder: Path, mark: Mapping[str, object], found: Mapping) -> None:
        """Measure on validation rows, write the run folder."""
        if self.task.target.wording is not None:
            decoder = Decoder(found["held"], limits=self.limits, rates=self.rates)
            self.neighbours, fusion, metrics, examples = on_held(
                self.network, self.task, decoder, found, seed=self.asked.seed
            )
            write_json(folder / "examples.json", examples)
        else:
            fusion, metrics = self._choose(folder, found)
        self.metrics = story(
            self._state(),
            self.asked,
            found,
            fusion,
            metrics,
            steps=self.steps_taken,
            seconds=self.train_seconds,
        )
        if metrics["rows"]:
            self.metrics["verdict"] = (verdict if self.task.target.wording is None else judged)(self.metrics)
        write_json(folder / "metrics.json", self.metrics)
        write_run(folder, self._state(), mark, complete=True)
        write_report(folder)

    def _choose(self, folder: Path, found: Mapping) -> tuple[dict[str, object], dict[str, object]]:
        """Choose the fusion on validation rows and measure it: what the metrics file says of both."""
        target = self.task.target
        filled = found["held"].take([]) if target.column not in found["held"].columns else found["held"]
        # Rows of classes that training lacks are among them: they count as wrong.
        asked = truth_of(filled, target)[0].tolist()
        cells = [found["check"].targets[target.column][i] for i in asked]
        truth = truths(target, cells) if asked else np.zeros(0)
        known = np.flatnonzero(truth >= 0) if target.kind == "category" else np.arange(len(asked))
        why = "there are no validation rows to choose by"
        fusion: dict[str, object] = {"chosen": self.asked.fusion, "reason": why, "candidates": []}
        metrics: dict[str, object] = {
            "metric": found["metric"], "rows": 0, "scores": {}, "subsets": [], "baselines": []
        }  # fmt: skip
        if len(known):
            held = found["held"].take(asked)
            rows = self._rows(held, [found["held_rows"][i] for i in asked])
            single = [f for f in found["floors"] if f.modality] if self.asked.fusion == "auto" else []
            names = [m.name for m in self.task.modalities]
            heads, present, fewer = all_heads(
                self.network, self.task, single, rows.take(known.tolist()), subsets=subsets_of(names)
            )
            self.experts, fusion, halves = choose(
                self.task, heads, present, truth[known], fusion=self.asked.fusion, metric=str(found["metric"]), floors=single,
            )  # fmt: skip
            self.floors = tuple(f for f in single if f.name in self.experts.weights)
            self.promises = fit_promises(target, names, halves, heads, present, fewer, truth[known], single)
            metrics, said = self._measure(rows, truth, say=found["say"], most=FITTED)
            metrics["baselines"] = floor_table(
                found["floors"], statistics(self.task, rows), rows.texts, truth, target, str(found["metric"])
            )
            decoder = Decoder(held, limits=self.limits, rates=self.rates)
            think = partial(thought, self.network, self.task, decoder)
            write_json(folder / "examples.json", hardest(self.task, decoder, said, truth, more=think))
            seed, metric = self.asked.seed, str(found["metric"])
            metrics["balance"] = starved(
                self._trained(), (found["rows"], found["fit"].targets[target.column]), rows.take(known.tolist()),
                standard(target, truth[known]), read_jsonl(folder / "history.jsonl"), seed=seed,
            )  # fmt: skip
            metrics["corruption"] = damaged(
                self._trained(), decoder, rows, truth, metric, seed=seed, trained_s=self.train_seconds, say=found["say"]
            )  # fmt: skip
        return fusion, metrics

    def _decode(self, table: Table, say: Say) -> tuple[list[Row], list[str]]:
        return decoded(Decoder(table, limits=self.limits, rates=self.rates), self.task, say)

    def predict(
        self, data: object, *, sets: float | None = None, abstain: float | None = None, say: Say = silent
    ) -> list[Prediction]:
        """Answer every row, in order. A row that cannot be read carries an `error` and no value.

        sets: .8, .9 or .95; each prediction's `set` then holds the truth as often, for every pattern of missing inputs
            (classes; for a number its range). abstain: share of wrong answers that is allowed; a row of which the
            model was not sure enough on validation rows gets an `error` instead of a value. Raises InputError.
        """
        if self.task.target.wording is not None:
            refuse(self.task, "promises of what an answer is among", sets=sets, abstain=abstain)
            return self._texts(read(data), MANNER, say)
        held = None if sets is None else self.promises.at(sets)
        least = least_confidence(self.promises, self.task.target, abstain)
        table = read(data)
        torch.set_num_threads(threads() if len(table) > FEW else 1)
        rows, errors = self._decode(table, say)
        good = [i for i, e in enumerate(errors) if not e]
        ids = table.ids
        found = [Prediction(id=i, error=e.replace("\n", " ")) for i, e in zip(ids, errors, strict=True)]
        if not good:
            return found
        some = self._rows(table if len(good) == len(table) else table.take(good), [rows[i] for i in good])
        heads, present, _ = all_heads(self.network, self.task, self.floors, some)
        said = answers(self.experts, self.task.target, heads, everyone(heads, present))
        patterns = patterns_of([m.name for m in self.task.modalities], present)
        within = [()] * len(good) if held is None else sets_of(held, self.classes, said, patterns)
        for i, answer, inside in zip(good, said, within, strict=True):
            value, probabilities = value_of(self.task.target, answer)
            sure = max(probabilities.values(), default=1.0)
            error = "" if sure >= least else f"not sure enough: {sure:.3f}, {least:.3f} would do"
            found[i] = Prediction(
                id=ids[i],
                value=None if error else value,
                set=inside,
                probabilities=probabilities,
                error=error,
            )
        return found

    def _texts(self, table: Table, manner: Manner, say: Say) -> list[Prediction]:
        torch.set_num_threads(threads() if len(table) > FEW else 1)
        decoder = Decoder(table, limits=self.limits, rates=self.rates)
        return text_predictions(self.network, self.task, decoder, manner=self.manner(manner), say=say)

    def manner(self, asked: Manner = MANNER) -> Manner:
        """How texts are searched for, with the training rows whose texts this run may take."""
        return replace(asked, near=self.neighbours)

    def generate(
        self, data: object = None, *, manner: Manner = MANNER, say: Say = silent, **cells: object
    ) -> list[Prediction] | Prediction:
        """Write texts: one for each row of `data`, or the one for `cells` (column -> file, text or array).

        manner: how texts are searched for (beam, length, by lot). Raises InputError for a run whose target is no text.
        """
        must_write(self.task)
        if data is not None:
            return self._texts(read(data), manner, say)
        return self._texts(read([cells]), manner, say)[0]

    def stream(self, *, manner: Manner = MANNER, **cells: object) -> Iterator[str]:
        """Write the text for `cells` in pieces, each as soon as no later word can change it. Raises InputError."""
        must_write(self.task)
        rows, errors = self._decode(read([cells]), silent)
        if errors[0]:
            raise InputError("nothing to write from", got=errors[0], fix="give at least one of the inputs")
        yield from streamed(self.network, self.task, rows[0], manner=manner)

    def _measure(self, rows: Rows, truth: np.ndarray, **how: object) -> tuple[dict[str, object], np.ndarray]:
        return evaluate_rows(
            self.network, self.task, self.experts, self.floors, rows, truth, promises=self.promises, seed=self.asked.seed, **how,
        )  # fmt: skip

    def _known(self, table: Table, say: Say) -> tuple[Table, Rows, np.ndarray, list[str]]:
        """The readable rows whose target is filled, decoded, with their truth and remarks. Raises InputError for none."""
        target: Target = self.task.target
        part, rows, remarks = known_rows(Decoder(table, limits=self.limits, rates=self.rates), self.task, say)
        truth = truths(target, [target.encode(c) for c in part.cells(target.column)])
        return part, self._rows(part, rows), truth, remarks

    def evaluate(self, data: object, *, say: Say = silent) -> dict[str, object]:
        """Measure on the rows whose target is filled: figures with intervals, every subset, robustness, confusion.

        Rows that cannot be read or have no target are counted in `skipped`. Rows of a class that training never saw
        count as wrong; `warnings` names the class. Raises InputError where nothing can be compared.
        """
        torch.set_num_threads(threads())
        table = read(data)
        if self.task.target.wording is not None:
            decoder = Decoder(table, limits=self.limits, rates=self.rates)
            metrics, remarks = on_table(
                self.network, self.task, decoder, manner=self.manner(), seed=self.asked.seed, say=say
            )
        else:
            _, some, truth, remarks = self._known(table, say)
            metrics, _ = self._measure(some, truth, say=say)
        skipped = len(table) - int(metrics["rows"])  # type: ignore[call-overload]
        metrics |= {
            "split": "given",
            "skipped": skipped,
            "warnings": remarks,
            "target": self.task.target.column,
        }
        metrics["verdict"] = (verdict if self.task.target.wording is None else judged)(metrics)
        return metrics

    def interactions(self, data: object, *, say: Say = silent) -> dict[str, object]:
        """What the inputs tell one by one, what either tells, and what only together, on rows whose target is filled.

        Per pair of inputs, and each against the rest: redundancy, uniqueness and synergy in bits (BROJA, on held-out
        answers) with intervals and what shuffled answers come to; Shapley values and interaction indices; and how
        much the model loses if its answers are made a sum over inputs (EMAP). Raises InputError for a single input and
        where rows are too few.
        """
        refuse(self.task, "what inputs tell together")
        torch.set_num_threads(threads())
        _, rows, truth, _ = self._known(sampled(read(data), self.asked.seed), say)
        return study(self._trained(), rows, truth, seed=self.asked.seed, say=say)

    def missing(
        self, data: object, *, out: str | Path | None = None, minutes: float | None = None, say: Say = silent
    ) -> list[dict[str, object]]:
        """What this model loses against specialists: models made for each subset of the inputs, trained here.

        data: the table that it was trained on, with rows whose split is test, on which they are compared. out: a folder
        for the specialists' runs; minutes of training each (the budget of this model where not given). Raises
        InputError without test rows, and for more inputs than `api.missing.MOST`.
        """
        refuse(self.task, "specialists")
        table = read(data)
        part, rows, truth, _ = self._known(test_rows(table), say)
        asked = self.asked if minutes is None else replace(self.asked, minutes=minutes, epochs=None)

        def specialist(columns: list[str], folder: Path) -> Figures:
            model = Model._of(asked.only(columns), self.limits).fit(only(table, columns), out=folder, say=say)
            return lambda some: right(self.task.target, *model._said(some, say))

        with folder_or_temporary(out) as folder:
            ours = own_answers(self._trained(), rows, truth)
            return regrets(self.task, ours, specialist, part, folder, seed=asked.seed, say=say)

    def _said(self, table: Table, say: Say) -> tuple[np.ndarray, np.ndarray]:
        _, rows, truth, _ = self._known(table, say)
        heads, present, _ = all_heads(self.network, self.task, self.floors, rows)
        return answers(self.experts, self.task.target, heads, everyone(heads, present)), truth

    def explain(
        self, data: object, row: object = 0, *, answer: str | None = None, say: Say = silent
    ) -> dict[str, object]:
        """Why one row got its answer: what each input added, where in it, and what only the inputs together tell.

        data: a table; its other rows serve to test the explanation. row: an id, or a number from 0. answer: the class
        or label to explain instead of the likeliest. Raises InputError for a row that is not there or cannot be read.
        """
        refuse(self.task, "reasons for an answer")
        torch.set_num_threads(threads())
        table = read(data)
        number = find_row(table.ids, row)
        others = [i for i in range(len(table)) if i != number][:STRANGERS]
        some = table.take([number, *others])
        rows, errors = self._decode(some, say)
        if errors[0]:
            raise InputError(
                "the row cannot be read", got=errors[0], fix="repair its cells, or leave them empty"
            )
        asked = some.take([0])
        decoder = Decoder(asked, limits=self.limits, rates=self.rates)
        found = explained(
            self._trained(), decoder, 0, self._rows(asked, rows[:1]), strangers(rows, but=0, seed=self.asked.seed),
            asked=answer, say=say,
        )  # fmt: skip
        return found | {"row": number}

    def _trained(self) -> Trained:
        return Trained(network=self.network, task=self.task, experts=self.experts, floors=self.floors)

    def save(self, run_folder: str | Path) -> None:
        """Write the model as a run folder. Raises InputError where that is not possible."""
        folder = Path(run_folder)
        with lock(folder):
            write_run(folder, self._state(), mark_of(self.asked), complete=True)
            write_json(folder / "metrics.json", self.metrics)

    def _state(self) -> State:
        return State(
            task=self.task, network=self.network, size=self.size, plan=self.plan, rates=self.rates,
            experts=self.experts, floors=self.floors, promises=self.promises, neighbours=self.neighbours,
        )  # fmt: skip

    def _restore(self, state: State, folder: Path) -> "Model":
        for field in fields(state):
            setattr(self, field.name, getattr(state, field.name))
        self.metrics = read_json(folder / "metrics.json") if (folder / "metrics.json").exists() else {}
        return self


def load(run_folder: str | Path, *, limits: Limits = Limits()) -> Model | Matcher:
    """Load a run folder that `fit` or `save` wrote, finished or not; one of `--match` gives a Matcher. Raises InputError."""
    folder = Path(run_folder)
    if not (folder / "model.json").is_file():
        raise InputError(
            "not a run folder", got=str(folder), fix="give a folder that `sensorium fit -o` wrote"
        )
    saved = described(folder)
    if "match" in saved:
        return matcher(saved, folder, limits)
    model = Model._of(asked_of(saved["mark"]["asked"]), limits)  # type: ignore[index]
    return model._restore(restored(saved, folder), folder)
