"""Matching, through the real command line with its default settings: what belongs together is found.

    python -m benchmarks.match --data FOLDER --only pivot,photos,signs --minutes 5 --seeds 0

pivot   three sensors of one hidden thing; rows hold a and p, or b and p, never a and b. How often is b found by a, beside
        a model that saw a and b together (the upper bound) and one whose pairs were dealt out anew (chance).
photos  FOLDER/flickr8k: photos and their captions, both ways, among the photos of the test split.
signs   FOLDER/sign_digits: spoken digits and pictures of the sign; a right answer is one of the same digit.

One JSON line per fit; a set that is not there is skipped with the reason.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks import child, command_line, emit

SETS = {
    "photos": ("flickr8k/captions.jsonl", "image,captions", ()),
    "signs": ("sign_digits/av_pairs.csv", "audio,image_same", ("--by", "digit")),
}
FIGURES = ("r@1", "r@5", "r@10", "median_rank", "chance@10")


def sights(hidden: np.ndarray, seed: int) -> list[np.ndarray]:
    """What one sensor shows of hidden things, (n, d) -> n series of 8 steps and 6 channels, by a curved map of its own."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(hidden.shape[1], 96)) / hidden.shape[1] ** 0.5
    back = rng.normal(size=(96, 48)) / 96**0.5
    seen = np.sin(2.5 * hidden @ mix) @ back + 0.1 * rng.normal(size=(len(hidden), 48))
    return list(seen.reshape(len(hidden), 8, 6).astype(np.float32))


def pivot(minutes: float, seed: int, rows: int = 4000) -> Iterator[dict[str, object]]:
    """The world of three sensors, through Python, since its cells are arrays."""
    import sensorium as sm

    def cells(count: int, start: int) -> dict[str, list]:
        z = np.random.default_rng(start).normal(size=(count, 4))
        return {name: sights(z, 100 + i) for i, name in enumerate("apb")}

    made, test, half = cells(rows, seed), cells(300, seed + 10_000), rows // 2
    bound = {
        "a": [*made["a"][:half], *[None] * half],
        "p": made["p"],
        "b": [*[None] * half, *made["b"][half:]],
    }
    order = np.random.default_rng(seed).permutation(rows)
    unpaired = {**bound, "p": [made["p"][i] for i in order]}
    for name, table in (("through p", bound), ("direct", made), ("pairs dealt out anew", unpaired)):
        model = sm.Matcher(["a", "p", "b"], minutes=minutes, seed=seed).fit(table)
        for row in model.evaluate(test)["retrieval"]:
            if {row["query"], row["answer"]} == {"a", "b"}:
                yield {"trained": name, **_figures(row)}


def _figures(row: dict) -> dict[str, object]:
    told = {k: row[k] for k in ("query", "answer", "by", "queries", "gallery")}
    return told | {k: row[k] for k in FIGURES}


def on_files(name: str, data: Path, minutes: float | None, seed: int) -> Iterator[dict[str, object]]:
    """Fit on the training rows of a set, evaluate on its test rows."""
    table, columns, extra = SETS[name]
    path = data / table
    if not path.is_file():
        yield {"skipped": f"{path} is not there"}
        return
    with tempfile.TemporaryDirectory() as kept:
        folder = Path(kept)
        run = str(folder / "run")
        budget = [] if minutes is None else ["--minutes", f"{minutes:g}"]
        fit = command_line(
            "fit", str(path), "--match", columns, "--seed", str(seed), "-o", run, "--quiet", *budget
        )
        fitted = child(fit, folder=folder)
        if fitted.code:
            yield {"failed": fitted.err[-500:]}
            return
        asked = child(
            command_line("evaluate", run, str(path), "--split", "test", "--json", *extra), folder=folder
        )
        metrics = json.loads((Path(run) / "metrics.json").read_text())
        plan = {k: metrics["plan"][k] for k in ("steps", "batch", "training_seconds", "stopped")}
        found = json.loads(asked.out)["retrieval"]
        cost = {
            "cpu_s": round(fitted.cpu_s),
            "wall_s": round(fitted.wall_s),
            "plan": plan,
            "blend": metrics["blend"],
        }
        for row in found:
            yield _figures(row) | cost


def main(argv: list[str] | None = None) -> None:
    """Run the parts that were asked for."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--data", type=Path, default=Path("data"))
    ask.add_argument("--only", default="pivot,photos,signs")
    ask.add_argument("--minutes", type=float)
    ask.add_argument("--seeds", default="0")
    args = ask.parse_args(argv)
    for seed in map(int, args.seeds.split(",")):
        for part in args.only.split(","):
            rows = (
                pivot(args.minutes or 2.0, seed)
                if part == "pivot"
                else on_files(part, args.data, args.minutes, seed)
            )
            for row in rows:
                emit("match", part=part, seed=seed, **row)


if __name__ == "__main__":
    main()
