"""The table of real data sets, through the real command line with its default settings.

    python -m benchmarks.sets --data FOLDER --scorer score.py --only fsdd,mvsa --seeds 0,1,2

FOLDER holds one folder per set, each with a manifest whose column `split` is train, val or test; a set that is not
there is skipped with the reason. `fit` sees the training and validation rows only. Predictions of the test rows are
scored by `--scorer`, a script that shares no code with this project (TRUTH PREDICTIONS --target T --split test, JSON
out), and by our own `evaluate`, which also measures every subset. One JSON line per fit, a table on stderr.
"""

import argparse
import csv
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import Ran, child, command_line, emit


@dataclass(frozen=True, kw_only=True, slots=True)
class Set:
    """One row of the table: what goes in, what comes out, and the figures to hold ours against."""

    table: str  # of the data folder
    inputs: str
    target: str
    metric: str = "accuracy"
    floor: float | None = None  # forest on statistics, or linear model on tf-idf
    plain: float | None = None  # a plain script for this one set
    plain_cpu_s: float | None = None
    aim: float
    apart: str = ""  # leave one value of this column out at a time, instead of the column `split`


SETS = {
    "fsdd": Set(table="fsdd/manifest.csv", inputs="audio", target="digit", floor=0.980, plain=1.0, plain_cpu_s=20, aim=0.995),
    "fsdd_unseen": Set(
        table="fsdd/manifest.csv", inputs="audio", target="digit", apart="speaker", floor=0.18, plain=0.89, plain_cpu_s=20, aim=0.90,
    ),
    "sign_digits": Set(
        table="sign_digits/manifest.csv", inputs="image", target="digit", floor=0.784, plain=0.981, plain_cpu_s=25, aim=0.98,
    ),
    "av_digit": Set(table="sign_digits/av_pairs.csv", inputs="image_same,audio", target="digit", aim=0.995),
    "av_sum": Set(
        table="sign_digits/av_pairs.csv", inputs="image_other,audio", target="sum", floor=0.10, plain=0.45, plain_cpu_s=75, aim=0.80,
    ),
    "utd_mhad": Set(
        table="utd_mhad/manifest.csv", inputs="inertial,skeleton,depth", target="label", floor=0.89, plain=0.98, plain_cpu_s=28, aim=0.97,
    ),
    "radhar": Set(table="radhar/manifest.csv", inputs="points", target="label", plain=0.97, plain_cpu_s=25, aim=0.98),
    "mvsa": Set(
        table="mvsa/manifest.csv", inputs="image,text", target="label", metric="macro_f1", floor=0.514, plain=0.465, plain_cpu_s=35, aim=0.55,
    ),
    "ecg_mitbih": Set(
        table="ecg_mitbih/beats.csv", inputs="ecg", target="label", metric="macro_f1", floor=0.362, plain=0.314, plain_cpu_s=20, aim=0.38,
    ),
}  # fmt: skip


def rows_of(path: Path) -> list[dict[str, str]]:
    """Read a manifest."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_rows(path: Path, rows: Sequence[dict[str, str]]) -> Path:
    """Write a manifest; return its path."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def folds(table: Path, job: Set, folder: Path) -> Iterator[tuple[str, Path]]:
    """(name, manifest) of each fit: the set's own, or one per value left out, with absolute paths."""
    if not job.apart:
        yield "", table
        return
    rows = rows_of(table)
    for value in sorted({r[job.apart] for r in rows}):
        told = [
            {
                "id": r["id"], "split": "test" if r[job.apart] == value else "train",
                **{c: str((table.parent / r[c]).resolve()) for c in job.inputs.split(",")}, job.target: r[job.target],
            }
            for r in rows
        ]  # fmt: skip
        yield value, write_rows(folder / f"without_{value}.csv", told)


def step(command: Sequence[str], folder: Path) -> Ran:
    """Run one command of the measurement; stop with its message where it fails."""
    ran = child(command, folder=folder)
    if ran.code:
        raise RuntimeError(f"{' '.join(command[:6])} ... ended with {ran.code}: {ran.err[-800:]}")
    return ran


def one_fit(table: Path, job: Set, seed: int, folder: Path, minutes: float | None) -> dict[str, object]:
    """Fit, predict the test rows and evaluate; returns the costs, our own figures and the file of predictions."""
    run, said = str(folder / "run"), folder / "predictions.csv"
    ask = ["--target", job.target, "--inputs", job.inputs, "--seed", str(seed), "--quiet", "-o", run]
    budget = [] if minutes is None else ["--minutes", str(minutes)]
    fit = step(command_line("fit", str(table), *ask, *budget), folder)
    test = ["--split", "test", "--json"]
    predict = step(command_line("predict", run, str(table), "-o", str(said), *test), folder)
    own = json.loads(step(command_line("evaluate", run, str(table), *test), folder).out)
    told = decomposed(run, table, folder) if "," in job.inputs else None
    metrics = json.loads((folder / "run" / "metrics.json").read_text(encoding="utf-8"))
    return {
        "cpu_s": fit.cpu_s, "wall_s": fit.wall_s, "peak_mb": fit.peak_mb, "predict_cpu_s": predict.cpu_s,
        "plan": {k: metrics["plan"][k] for k in ("size", "parameters", "steps", "epochs", "training_seconds", "stopped")},
        "fusion": metrics["fusion"]["chosen"], "own": own["scores"][job.metric],
        "subsets": [{"inputs": s["modalities"], **s["score"]} for s in own["subsets"]],
        "interactions": told, "robustness": own["robustness"], "sets": own["sets"],
        "floors_on_valid": [[f["name"], f["score"]["value"], f["seconds"]] for f in metrics["baselines"]], "said": said,
    }  # fmt: skip


def decomposed(run: str, table: Path, folder: Path) -> dict[str, object]:
    """What the inputs tell one by one and only together; the reason where it cannot be said."""
    ran = child(command_line("interactions", run, str(table), "--split", "test", "--json"), folder=folder)
    found = json.loads(ran.out)
    if ran.code:
        return found
    keep = ("redundancy", "unique_first", "unique_second", "synergy", "entropy")
    atoms = [
        {"sides": a["sides"], "dominant": a["dominant"], **{k: a[k] for k in keep}} for a in found["atoms"]
    ]
    return {
        "atoms": atoms,
        "emap": found.get("emap"),
        "shapley": found.get("shapley"),
        "remarks": found["remarks"],
    }


def independent(scorer: Path | None, truth: Path, said: Path, target: str, folder: Path) -> dict[str, object]:
    """What the independent script says; empty without one."""
    if scorer is None:
        return {}
    call = [sys.executable, str(scorer), str(truth), str(said), "--target", target, "--split", "test"]
    return json.loads(step(call, folder).out)


def measure(name: str, args: argparse.Namespace, seed: int) -> dict[str, object]:
    """One set with one seed; folds are scored together."""
    job = SETS[name]
    with tempfile.TemporaryDirectory(prefix=f"sensorium-{name}-") as temporary:
        folder = Path(temporary)
        found, truth, said = [], [], []
        for fold, table in folds(args.data / job.table, job, folder):
            inside = folder / f"fold_{fold}"
            inside.mkdir()
            found.append({"fold": fold, **one_fit(table, job, seed, inside, args.minutes)})
            truth += [r for r in rows_of(table) if r["split"] == "test"]
            said += rows_of(Path(str(found[-1].pop("said"))))
        known = list(dict.fromkeys(k for r in said for k in r))
        said = [{k: r.get(k, "") for k in known} for r in said]
        files = write_rows(folder / "truth.csv", truth), write_rows(folder / "said.csv", said)
        theirs = independent(args.scorer, *files, job.target, folder)
    return summary(name, job, seed, found, theirs)


def summary(
    name: str, job: Set, seed: int, found: list[dict], theirs: dict[str, object]
) -> dict[str, object]:
    """Our figures beside the others', as one flat row."""
    own = sum(f["own"]["value"] for f in found) / len(found)
    score = float(theirs.get(job.metric, own))  # type: ignore[arg-type]
    mine = [found[0]["own"]["low"], found[0]["own"]["high"]] if len(found) == 1 else None
    interval = theirs.get(f"{job.metric}_95") or mine  # folds together have one from the scorer only
    alone = [s for s in found[0]["subsets"] if len(s["inputs"]) == 1]
    best = max(alone, key=lambda s: s["value"]) if len(alone) > 1 else None
    return {
        "set": name, "seed": seed, "metric": job.metric, "score": round(score, 4), "interval": interval, "own": round(own, 4),
        "floor": job.floor, "plain": job.plain, "aim": job.aim, "reached": score >= job.aim,
        "best_single": best and {"input": best["inputs"][0], "value": best["value"]},
        "never_worse_than_single": best and interval and interval[1] >= best["value"],
        "cpu_s": round(sum(f["cpu_s"] for f in found) / len(found), 1), "plain_cpu_s": job.plain_cpu_s,
        "wall_s": round(sum(f["wall_s"] for f in found) / len(found), 1), "peak_mb": max(f["peak_mb"] for f in found),
        "independent": theirs, "fits": found,
    }  # fmt: skip


def shown(rows: Sequence[dict]) -> str:
    """The table for people."""

    def text(value: object, digits: int = 3) -> str:
        return "-" if value is None else f"{value:.{digits}f}" if isinstance(value, float) else str(value)

    heads = [
        "set",
        "seed",
        "metric",
        "ours",
        "95 %",
        "floor",
        "plain",
        "aim",
        "reached",
        "CPU s",
        "plain's",
        "wall s",
    ]
    table = [heads] + [
        [
            r["set"], text(r["seed"]), r["metric"], text(r["score"]), "{:.3f}..{:.3f}".format(*r["interval"]) if r["interval"] else "-", text(r["floor"]),
            text(r["plain"]), text(r["aim"]), "yes" if r["reached"] else "no", text(r["cpu_s"], 0), text(r["plain_cpu_s"]), text(r["wall_s"], 0),
        ]
        for r in rows
    ]  # fmt: skip
    wide = [max(len(row[i]) for row in table) for i in range(len(heads))]
    return "\n".join("  ".join(f"{c:<{w}}" for c, w in zip(row, wide, strict=True)).rstrip() for row in table)


def options(argv: list[str] | None) -> argparse.Namespace:
    """What was asked on the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sets", description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of data sets")
    parser.add_argument("--scorer", type=Path, help="independent scorer")
    parser.add_argument("--only", default=",".join(SETS), help=f"some of {','.join(SETS)}")
    parser.add_argument("--seeds", default="0")
    parser.add_argument(
        "--minutes", type=float, help="another budget than the default one: not the figures of the table"
    )
    args = parser.parse_args(argv)
    args.only = args.only.split(",")
    unknown = [n for n in args.only if n not in SETS]
    if unknown:
        parser.error(f"no such set: {', '.join(unknown)}")
    return args


def main(argv: list[str] | None = None) -> None:
    args = options(argv)
    rows = []
    for name in args.only:
        table = args.data / SETS[name].table
        if not table.is_file():
            emit("sets", set=name, skipped=f"{table} is not there")
            continue
        for seed in map(int, args.seeds.split(",")):
            try:
                found = measure(name, args, seed)
            except RuntimeError as error:  # the other sets are still worth measuring
                emit("sets", set=name, seed=seed, failed=str(error))
                continue
            rows.append(emit("sets", minutes=args.minutes, **found))
    if rows:
        print(shown(rows), file=sys.stderr)


if __name__ == "__main__":
    main()
