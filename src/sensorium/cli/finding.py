"""The verbs of a matcher: vectors, an index, searches."""

import argparse

from sensorium.cli.asked import limits_of
from sensorium.cli.screen import tell


def embed(args: argparse.Namespace) -> None:
    """Write the vectors of every row: sensorium embed RUN DATA -o vectors.npz."""
    limits = limits_of(args.limit)
    from sensorium.api import load, read
    from sensorium.store import write_vectors

    model = load(args.run, limits=limits)
    ids, vectors, errors = model.embed(read(args.data, split=args.split), space=args.space, say=args.progress)
    write_vectors(args.out, ids, vectors, errors)
    args.progress.close()
    bad = sum(map(bool, errors))
    shapes = {n: list(v.shape) for n, v in vectors.items()}
    lines = [f"{args.out}: {len(ids)} rows, {bad} of them without a vector"]
    lines += [f"  {n}: {v.shape[1]} numbers in {int(v.any(1).sum())} rows" for n, v in vectors.items()]
    tell(args, {"rows": len(ids), "errors": bad, "shapes": shapes, "file": args.out}, lines)
