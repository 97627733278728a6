"""What the explanations of a model are worth where the truth is known: `python -m benchmarks.why`. One JSON line a figure.

gates     exact tables against their textbook values, and how long a 20 x 20 x 10 table takes
embedded  the same gates hidden in noisy 32-d vectors, as a trained model tells them; XOR also by its fusion
quality   per-row visible noise: accuracy against the Bayes oracle, and calibration
missing   every subset of the inputs against a specialist, and what complete rows pay (reviews: text, voice, face)
coverage  conformal sets in every pattern of missing inputs, against sets learned on complete rows only
speed     `interactions` and `explain` of a trained run, in seconds
"""

import argparse
import json
import math
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks import child, command_line, emit

TRUTH = {  # redundancy, unique first, unique second, synergy in bits, without flips
    "and": (0.3113, 0, 0, 0.5), "or": (0.3113, 0, 0, 0.5), "xor": (0, 0, 0, 1), "copy": (1, 0, 0, 0), "unique": (0, 1, 0, 0),
    "two-bit-copy": (0, 1, 1, 0), "rdnxor": (1, 0, 0, 1),
}  # fmt: skip
ATOMS = ("redundancy", "unique_first", "unique_second", "synergy")


def gates(args: argparse.Namespace) -> None:
    """Exact tables: every atom within .005 bit; the big table in under 10 s."""
    from sensorium.measure.partial import decompose_table
    from sensorium.worlds.planted import gate_table

    for gate, truth in TRUTH.items():
        found = decompose_table(gate_table(gate, flip=0.0))
        error = max(abs(getattr(found, a) - t) for a, t in zip(ATOMS, truth, strict=True))
        emit(
            "why",
            part="gates",
            gate=gate,
            largest_error_bit=round(error, 6),
            aim=0.005,
            reached=error < 0.005,
        )
    table = np.random.default_rng(args.seed).dirichlet(np.ones(4000)).reshape(20, 20, 10)
    began = time.perf_counter()
    decompose_table(table)
    emit("why", part="gates", gate="20 x 20 x 10", seconds=round(time.perf_counter() - began, 3), aim=10)


def embedded(args: argparse.Namespace) -> None:
    """Gates in vectors: the dominant atom right, the others under .1 bit off, shuffled labels under .02."""
    import sensorium as sm
    from sensorium.measure.partial import decompose_table
    from sensorium.worlds.planted import gate_table, write_gates

    for gate in args.gates or TRUTH:
        exact = decompose_table(gate_table(gate))
        truth = {a: round(getattr(exact, a), 4) for a in ATOMS}
        with tempfile.TemporaryDirectory() as folder:
            table = write_gates(Path(folder) / "world", gate, rows=args.rows, seed=args.seed)
            model = sm.Model("y", inputs=["a", "b"], epochs=args.epochs, seed=args.seed).fit(table)
            test = sm.read(table, split="test")
            found = model.interactions(test)
            subsets = {
                " + ".join(s["modalities"]): s["score"]["value"] for s in model.evaluate(test)["subsets"]
            }  # type: ignore[attr-defined]
        (one,) = found["atoms"]  # type: ignore[misc]
        said = {a: one[a]["value"] for a in ATOMS}
        null = max(one["null"][a]["high"] for a in ATOMS)
        tops = [a for a in ATOMS if truth[a] > 0.95 * max(truth.values())]
        off = max(abs(said[a] - truth[a]) for a in ATOMS if a != one["dominant"])
        emit(
            "why", part="embedded", gate=gate, rows=args.rows, test_rows=one["rows"], seed=args.seed, truth=truth, found=said,
            intervals={a: [one[a]["low"], one[a]["high"]] for a in ATOMS}, synergy_clustered=one["synergy_clustered"]["value"],
            dominant=one["dominant"], dominant_right=one["dominant"] in tops, others_off=round(off, 4), null=round(null, 4),
            accuracy=subsets, fusion=model.metrics["fusion"]["chosen"], emap=found["emap"],  # type: ignore[index]
        )  # fmt: skip


def quality(args: argparse.Namespace) -> None:
    """Visible noise: within 1.5 points of the oracle, expected calibration error under .05."""
    import csv

    import sensorium as sm
    from sensorium.worlds.planted import write_quality

    with tempfile.TemporaryDirectory() as folder:
        table = write_quality(Path(folder) / "world", rows=args.rows, seed=args.seed)
        model = sm.Model("y", inputs=["a", "b"], epochs=args.epochs, seed=args.seed).fit(table)
        test = sm.read(table, split="test")
        metrics = model.evaluate(test)
        with (table.parent / "truth.csv").open(encoding="utf-8") as file:
            hidden = {row["id"]: row for row in csv.DictReader(file)}
        answers = zip(test.ids, test.cells("y"), strict=True)
        oracle = float(np.mean([str(hidden[i]["best"]) == str(y) for i, y in answers]))
    accuracy, ece = (metrics["scores"][k] for k in ("accuracy", "ece"))  # type: ignore[index]
    emit(
        "why", part="quality", rows=args.rows, seed=args.seed, oracle=round(oracle, 4), accuracy=accuracy, ece=ece,
        gap_points=round(100 * (oracle - accuracy["value"]), 2), aim_points=1.5, aim_ece=0.05, fusion=model.metrics["fusion"]["chosen"],  # type: ignore[index]
        subsets={" + ".join(s["modalities"]): s["score"]["value"] for s in metrics["subsets"]},  # type: ignore[attr-defined]
    )  # fmt: skip


def missing(args: argparse.Namespace) -> None:
    """Regret against specialists: 2 points for each subset, 1 for complete rows."""
    import sensorium as sm
    from sensorium.worlds.sentiment import write_sentiment

    with tempfile.TemporaryDirectory() as folder:
        world = write_sentiment(Path(folder) / "world", seed=args.seed, further=args.further)
        model = sm.Model("sentiment", inputs=["text", "voice", "face"], minutes=args.minutes, seed=args.seed)
        model.fit(world)
        metrics = model.evaluate(sm.read(world, split="test"))
        emit(
            "why", part="missing", world="reviews", seed=args.seed, scores=metrics["scores"], robustness=metrics["robustness"],
            subsets={" + ".join(s["modalities"]): s["score"] for s in metrics["subsets"]},  # type: ignore[attr-defined]
            floors={f["name"]: f["score"]["value"] for f in model.metrics["baselines"]}, fusion=model.metrics["fusion"]["chosen"],  # type: ignore[attr-defined, index]
        )  # fmt: skip
        for row in model.missing(world, minutes=args.minutes):
            regret = row["regret"]["value"]  # type: ignore[index]
            emit("why", part="missing", seed=args.seed, **row, aim=0.02, reached=regret <= 0.02)


def coverage(args: argparse.Namespace) -> None:
    """Conformal sets: .90 +- .02 in every pattern; with thresholds of complete rows only they hold less."""
    from sensorium.measure.conformal import Conformal, class_scores, fit_conformal, quantile

    rng = np.random.default_rng(args.seed)

    def world(rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        truth, kind = rng.integers(0, 5, rows), rng.integers(0, 3, rows)
        logits = np.zeros((rows, 5))
        for sharp, absent in ((3.0, 2), (1.0, 1)):
            x = np.eye(5)[truth] * sharp + rng.normal(size=(rows, 5)) * math.sqrt(sharp)
            logits += x * (kind != absent)[:, None]
        p = np.exp(logits - logits.max(1, keepdims=True))
        return p / p.sum(1, keepdims=True), truth, kind

    names = (frozenset("ab"), frozenset("a"), frozenset("b"))
    p, truth, kind = world(2000)
    scores = class_scores(p)[np.arange(len(p)), truth]
    each = fit_conformal({n: scores[kind == k] for k, n in enumerate(names)}, pooled=scores)
    naive = Conformal(pooled=quantile(scores[kind == 0], 0.9))
    p, truth, kind = world(6000)
    patterns, rows = [names[k] for k in kind], np.arange(len(p))
    for called, sets in (("each pattern", each), ("complete rows only", naive)):
        inside = sets.classes(p, patterns)
        held = {
            "+".join(sorted(n)): round(float(inside[rows, truth][kind == k].mean()), 4)
            for k, n in enumerate(names)
        }
        size = {
            "+".join(sorted(n)): round(float(inside.sum(1)[kind == k].mean()), 3) for k, n in enumerate(names)
        }
        emit(
            "why", part="coverage", thresholds=called, coverage=held, size=size, promised=0.9, seed=args.seed
        )


def speed(args: argparse.Namespace) -> None:
    """Both verbs of a finished run, in under 60 s."""
    if not args.run or not args.table:
        emit("why", part="speed", skipped="give --run and --table")
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        took: dict[str, float] = {}
        for verb, more in (
            ("interactions", []),
            ("explain", ["--row", "0", "-o", str(folder / "page.html")]),
        ):
            ran = child(command_line(verb, args.run, args.table, "--json", "--quiet", *more), folder=folder)
            if ran.code:
                raise RuntimeError(f"{verb}: {ran.err[-500:]}")
            took[verb] = ran.wall_s
            if verb == "explain":
                checks = json.loads(ran.out)["checks"]
    total = round(sum(took.values()), 1)
    emit("why", part="speed", seconds=took, total=total, aim=60, reached=total < 60, checks=checks)


PARTS = {
    "gates": gates,
    "embedded": embedded,
    "quality": quality,
    "missing": missing,
    "coverage": coverage,
    "speed": speed,
}


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    """What was asked on the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.why", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--only", default="gates,coverage,embedded,quality", help=f"some of {','.join(PARTS)}"
    )
    parser.add_argument("--gates", type=lambda s: s.split(","), help="only these gates")
    parser.add_argument("--rows", type=int, default=6000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--minutes", type=float, default=2.0, help="of each fit of `missing`")
    parser.add_argument(
        "--further", type=int, default=1800, help="test rows of `missing` beyond the 270 of its world"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", help="a finished run, for `speed`")
    parser.add_argument("--table", help="its table")
    args = parser.parse_args(argv)
    if unknown := set(args.only.split(",")) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the parts that were asked for."""
    args = options(argv)
    for name in args.only.split(","):
        PARTS[name](args)


if __name__ == "__main__":
    main()
