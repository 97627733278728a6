"""What is printed: progress on stderr, results for people or as JSON."""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterable, Mapping


class Progress:
    """Long work on stderr: stage, bar, time left, figures; one line that changes, or a few lines where it is no terminal."""

    def __init__(self, quiet: bool):
        self.quiet, self.stage, self.began, self.shown, self.first = quiet, "", 0.0, 0.0, 0.0
        self.stages: set[str] = set()
        self.live = not quiet and sys.stderr.isatty()

    def __call__(self, stage: str, done: float, text: str) -> None:
        """Show that `stage` is `done` (0..1)."""
        now = time.monotonic()
        if stage != self.stage:
            self.close()
            self.stage, self.began, self.shown = stage, now, 0.0
            self.first = (
                done  # a run that goes on starts in the middle: what was done before took none of this time
            )
            self.stages.add(stage)
        if self.quiet or (self.shown and now - self.shown < (0.2 if self.live else 20.0) and done < 1):
            return
        self.shown = now
        moved = done - self.first
        left = (now - self.began) * (1 - done) / moved if 0.02 < moved and done < 1 else None
        bar = "#" * round(24 * done)
        line = f"{stage:<24} [{bar:<24}] {'' if left is None else f'{duration(left)} left':>11}  {text}"
        if self.live:
            print(
                f"\r{line[: shutil.get_terminal_size().columns - 1]}\x1b[K",
                end="",
                file=sys.stderr,
                flush=True,
            )
        else:
            print(line.rstrip(), file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the line, so that what follows starts on a new one."""
        if self.live and self.stage:
            print(file=sys.stderr, flush=True)
        self.stage = ""


def duration(seconds: float) -> str:
    """Seconds as people say them: `42 s`, `3 min 05 s`."""
    whole = round(seconds)
    return f"{whole} s" if whole < 90 else f"{whole // 60} min {whole % 60:02d} s"


def tell(args: argparse.Namespace, value: object, lines: Iterable[str]) -> None:
    """Print a result: JSON on one line where `--json` is given, else lines for people."""
    if args.json:
        from sensorium.store.runs import plain

        unicode = (sys.stdout.encoding or "").lower().startswith("utf")
        print(json.dumps(plain(value), ensure_ascii=not unicode))
    else:
        print("\n".join(lines))


def interval(score: Mapping[str, float]) -> str:
    """A figure with its interval."""
    return f"{score['value']:.3f}  [{score['low']:.3f}, {score['high']:.3f}]"


def subset_lines(metrics: Mapping, *, most: int = 16) -> list[str]:
    """One line for each subset of the inputs, the figure over the rows that have all of it.

    Of more than `most` subsets those between one input and all but one are counted only.
    """
    from sensorium.report.markup import several, subset_name

    subsets = metrics["subsets"]
    names = list(dict.fromkeys(n for s in subsets for n in s["modalities"]))
    shown = [s for s in subsets if len(subsets) <= most or not 1 < len(s["modalities"]) < len(names) - 1]
    found = [(subset_name(s["modalities"], names) if len(subsets) > most else " + ".join(s["modalities"]), s) for s in shown]  # fmt: skip
    wide = max((len(name) for name, _ in found), default=0)
    lines = [f"  {name:<{wide}}  {interval(s['score'])}  {several(s['rows'], 'row')}" for name, s in found]
    hidden = len(subsets) - len(shown)
    return lines + [f"  ({hidden} subsets in between: --json has them)"] * bool(hidden)


def control_lines(metrics: Mapping) -> list[str]:
    """One line for each control: the figure with the wrong input, that of the same rows unharmed, and what changed."""
    found = [(f"{c['modality']}, {c['name']}", c) for c in metrics.get("controls") or []]
    wide = max((len(name) for name, _ in found), default=0)
    return [
        f"  {name:<{wide}}  {interval(c['score'])}  instead of {c['everything']:.3f}; {c['changed']:.0%} of {c['rows']} answers change"
        for name, c in found
    ]


def interaction_lines(found: Mapping) -> list[str]:
    """What `interactions` found, a few lines for people."""
    lines = list(found["verdict"])
    wide = max((len(n) for n in found.get("shapley", {}).get("names", [])), default=0)
    for unit in ("bits", "accuracy", "r2"):
        shares = found.get("shapley", {}).get(unit)
        if shares:
            told = "bits about the answer" if unit == "bits" else unit
            lines.append(f"what each input adds, over all orders of joining ({told}):")
            lines += [f"  {name:<{wide}}  {interval(score)}" for name, score in shares.items()]
    emap = found.get("emap")
    if emap:
        lines.append(
            f"as a sum over inputs the answers would reach {emap['metric']} {emap['additive']['value']:.3f} instead of "
            f"{emap['full']['value']:.3f}: interaction is worth {interval(emap['gap'])}"
        )
    return lines


def explanation_lines(found: Mapping) -> list[str]:
    """Why one row got its answer, a few lines for people."""
    chance = found.get("probabilities", {}).get(found["explained"])
    sure = f" (probability {chance:.3f})" if chance is not None else ""
    lines = [f"row {found['id']}: {found['target']} = {found['answer']}; evidence for {found['explained']}{sure}, in {found['unit']}:"]  # fmt: skip
    wide = max(len(i["name"]) for i in found["inputs"])
    for one in found["inputs"]:
        told = f"{one['evidence']:+.3f}" if one["present"] else "empty"
        lines.append(f"  {one['name']:<{wide}}  {told}")
    if found.get("split"):
        alone, both = found["split"]["unimodal_value"], found["split"]["interaction_value"]
        lines.append(
            f"  of the network's evidence {alone:+.3f} is said one by one, {both:+.3f} only together"
        )
    checks = found["checks"]
    lines.append(
        f"checked on {checks['rows']} rows: parts add up to {1 - checks['completeness_median']:.1%}; the answer falls to "
        f"{checks['deletion']:.2f} where what counts goes first, to {checks['random']:.2f} in random order"
    )
    return lines


def retrieval_lines(metrics: Mapping) -> list[str]:
    """One line for each direction and kind of vectors: how often a right answer is among the first ones."""
    lines = []
    for row in metrics["retrieval"]:
        figures = "  ".join(f"@{k} {100 * row[f'r@{k}']['value']:5.1f}" for k in (1, 5, 10))
        lines.append(
            f"  {row['query']} > {row['answer']}, {row['by']:<8}{figures}  median rank {row['median_rank']['value']:g}"
        )
    probes = metrics.get("probes", [])
    return lines + [f"  linear probe on {p['vectors']}: accuracy {interval(p['accuracy'])}" for p in probes]
