"""The verb that says which parts of the cells of one row belong together."""

import argparse
from collections.abc import Mapping
from pathlib import Path

from sensorium.cli.asked import limits_of, split_names
from sensorium.cli.finding import matcher_of
from sensorium.cli.screen import tell

SHOWN = 12  # words or parts of one pair that are printed


def align(args: argparse.Namespace) -> None:
    """Say which parts of one row's cells belong together: sensorium align RUN DATA --row N."""
    limits = limits_of(args.limit)
    from sensorium.api import read
    from sensorium.api.aligning import align as aligned
    from sensorium.report import write_alignment

    model = matcher_of(args.run, limits)
    found = aligned(
        model,
        read(args.data, split=args.split),
        args.row,
        columns=split_names(args.columns),
        say=args.progress,
    )
    page = write_alignment(
        found, Path(args.out) if args.out else Path(args.run) / f"align-{found['row']}.html"
    )
    args.progress.close()
    bare = [{k: v for k, v in pair.items() if k != "shown"} for pair in found["pairs"]]  # type: ignore[attr-defined]
    result = {k: v for k, v in found.items() if k != "previews"} | {"pairs": bare, "page": str(page)}
    tell(args, result, [*alignment_lines(result), f"picture: {page}"])


def alignment_lines(found: Mapping) -> list[str]:
    """What belongs to what, some lines for people."""
    lines = [f"row {found['id']}: {', '.join(found['columns'])}", *found["remarks"]]
    for pair in found["pairs"]:
        worth = f"; distance {pair['cost']:.3f}, without looking {pair['even']:.3f}" if "cost" in pair else ""
        if "strangers" in pair:
            worth += f", larger with {pair['strangers']['dearer']} of {pair['strangers']['rows']} other rows in place"
        lines.append(f"{' and '.join(pair['columns'])}, by {pair['method']}{worth}")
        told = [_told(part) for part in (*pair.get("words", ()), *pair.get("links", ()))]
        if "path" in pair:
            every = max(1, len(pair["path"]) // SHOWN)
            told = [f"{a:g} ~ {b:g}" for a, b in pair["path"][::every]]
        lines += [f"  {t}" for t in told[:SHOWN]] + ["  ..."] * (len(told) > SHOWN)
    return lines


def _told(part: Mapping) -> str:
    name = part.get("word", part.get("from"))
    if "start_s" in part:
        return f"{name}: {part['start_s']:.2f} to {part['stop_s']:.2f} s"
    if "first" in part:
        return f"{name}: steps {part['first']} to {part['stop']}"
    where = f"y {part['y']:.2f}, x {part['x']:.2f}" if "y" in part else part["to"]
    return f"{name}: {where} ({part['mass']:.0%})"
