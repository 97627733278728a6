"""The story of `sensorium demo`: write a world as ordinary files, fit, measure every subset, say what was seen."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sensorium.api import Model, load, read
from sensorium.api.saying import Say
from sensorium.report import write_report
from sensorium.store import read_json, write_json
from sensorium.types import InputError
from sensorium.worlds.digits import write_digits

Figures = dict[
    str, Mapping[str, float]
]  # "image", "audio", "image + audio", "all", "floor" -> value, low, high
MEANING = {
    "digit": "both show the same digit: either tells it (redundancy)",
    "sum": "the sum of two different digits: neither tells it alone (synergy)",
}
SHARE = {"digit": 1.0, "sum": 4.0}  # of the time: what only both together tell takes longer to learn


def run_demo(
    folder: Path, *, targets: Sequence[str] = ("digit", "sum"), minutes: float, say: Say
) -> dict[str, object]:
    """Run the demo in `folder`; `minutes` is the training time of all `targets`.

    Returns the measured figures and about ten lines for people. A second call continues or repeats the first.
    """
    world = folder / "world"
    if not (world / "README.md").exists():  # the last file that is written
        say("write the world", 0.0, str(world))
        write_digits(world)
        say("write the world", 1.0, str(world))
    unit = minutes / sum(SHARE[t] for t in targets)
    figures, why = {}, {}
    for t in targets:
        table, run = world / f"{t}.csv", folder / t
        figures[t] = measured(table, t, run, minutes=unit * SHARE[t], say=say)
        why[t] = decomposed(table, run, say=say)
    return {"folder": str(folder), "figures": figures, "why": why, "lines": story(folder, figures, why)}


def measured(table: Path, target: str, run: Path, *, minutes: float, say: Say) -> Figures:
    """Fit one target; score every subset of the inputs on the test rows, and the best floor on the validation rows."""
    done = (run / "model.json").is_file() and read_json(run / "model.json").get("complete")
    model = (
        load(run)
        if done
        else Model(target, inputs=["image", "audio"], minutes=minutes).fit(table, out=run, say=say)
    )
    metrics = model.evaluate(read(table, split="test"), say=say)
    found: Figures = {" + ".join(s["modalities"]): s["score"] for s in metrics["subsets"]}  # type: ignore[attr-defined]
    floors = [f["score"] for f in model.metrics.get("baselines", [])]  # type: ignore[attr-defined]
    if floors:
        found["floor"] = max(floors, key=lambda s: s["value"])
    return {**found, "all": metrics["scores"][metrics["metric"]]}  # type: ignore[index, call-overload]


def decomposed(table: Path, run: Path, *, say: Say) -> list[str]:
    """What the inputs tell together, in sentences, from all rows that were not trained on; it stands in the report, too."""
    whole = read(table)
    rows = whole.take([i for i, split in enumerate(whole.cells("split")) if split != "train"])
    try:
        found = load(run).interactions(rows, say=say)
    except InputError as error:  # of a very small world
        return [str(error.wrong)]
    write_json(run / "interactions.json", {"data": str(table), "split": "valid and test", **found})
    write_report(run)
    return list(found["verdict"]) or list(found["remarks"])  # type: ignore[call-overload]


def said(score: Mapping[str, float] | None) -> str:
    """A share in per cent with its interval, or a dash."""
    if score is None:
        return "-"
    return f"{100 * score['value']:.1f} % [{100 * score['low']:.1f}, {100 * score['high']:.1f}]"


def story(folder: Path, figures: Mapping[str, Figures], why: Mapping[str, Sequence[str]]) -> list[str]:
    """What a person should know, and what to try next."""
    lines = [
        f"{folder / 'world'}: handwritten digits that are seen and spoken digits that are heard; 20 % of the cells are empty.",
        "Right answers on test rows, whose writers and voices training never met, with 95 % intervals:",
    ]
    for target, found in figures.items():
        both = found.get("image + audio")
        best = max((found[n]["value"] for n in ("image", "audio") if n in found), default=0.0)
        gain = (
            ""
            if both is None
            else f"; together {100 * (both['value'] - best):+.1f} points over the better one"
        )
        lines += [
            f"  {target}: {MEANING[target]}",
            f"    image {said(found.get('image'))}   audio {said(found.get('audio'))}   whatever a row has {said(found['all'])}",
            f"    both {said(both)}{gain}   (best simple floor, on validation rows: {said(found.get('floor'))})",
            *(f"    {line}" for line in why.get(target, ())),
        ]
    last = list(figures)[-1]
    return [
        *lines,
        f"Reports, to open in a browser: {', '.join(str(folder / t / 'report.html') for t in figures)}",
        "Try next:",
        f"  sensorium evaluate {folder / last} {folder / 'world' / last}.csv",
        f"  sensorium predict {folder / last} {folder / 'world' / last}.csv --split test -o {folder / 'predictions.csv'}",
        f"  sensorium explain {folder / last} {folder / 'world' / last}.csv --row 0",
        "  sensorium fit YOUR_TABLE.csv --target COLUMN -o RUN",
    ]
