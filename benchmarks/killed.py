"""A process that writes an index is killed at a random moment, again and again: `python -m benchmarks.killed`.

What it had acknowledged must be there afterwards, with the right vectors; what it had deleted must not.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import ROOT, emit

# Adds batches, replaces, deletes, compacts, for ever; prints what was acknowledged, one line each.
WRITER = """
import sys
import numpy as np
from sensorium.store.index import Index
index = Index.create(sys.argv[1], spaces={"a": 8, "b": 8}, texts=["word"])
print("ready", flush=True)
step = 0
while True:
    rng = np.random.default_rng(step)
    found = rng.standard_normal((5, 8)).astype(np.float32)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    index.add([f"r{step}-{i}" for i in range(5)], {"a": found, "b": -found}, rows={"word": [f"w{step}"] * 5})
    print("added", step, flush=True)
    if step % 3 == 2:
        index.delete([f"r{step - 1}-0"])
        print("deleted", step - 1, flush=True)
    if step % 17 == 16:
        index.compact(engine="exact")
    step += 1
"""


def vectors_of(step: int) -> np.ndarray:
    found = np.random.default_rng(step).standard_normal((5, 8)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def killed(folder: Path, lines: int, after_s: float) -> list[str]:
    """Start the writer, kill it `after_s` seconds after so many acknowledgements; all that it acknowledged."""
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    )  # fmt: skip
    with writer.stdout:
        if writer.stdout.readline() != "ready\n":
            raise RuntimeError("the writer did not start")
        said = [writer.stdout.readline().strip() for _ in range(lines)]
        time.sleep(after_s)
        writer.send_signal(signal.SIGKILL)
        said += writer.stdout.read().splitlines()
    if writer.wait() != -signal.SIGKILL:
        raise RuntimeError("the writer ended before it was killed")
    return said


def lost(folder: Path, said: list[str]) -> list[str]:
    """What was acknowledged and is not there, or is there and was deleted."""
    from sensorium.store.index import Index

    index = Index.open(folder)
    index.check()
    steps = [int(line.split()[1]) for line in said if line.startswith("added")]
    deleted = {f"r{line.split()[1]}-0" for line in said if line.startswith("deleted")}
    living, wrong = set(index.ids), []
    last = max(steps, default=-1)
    for step in steps:
        names = [f"r{step}-{i}" for i in range(5)]
        maybe = f"r{last - 1}-0" if last % 3 == 2 else ""  # its deletion may have been done and not yet told
        held = [n for n in names if n not in deleted and n != maybe]
        wrong += [n for n in names if (n in living) == (n in deleted) and n != maybe]
        if not wrong:
            found, there = index.vectors(held, "a")
            rows = [int(n.split("-")[1]) for n in held]
            right = there.all() and np.array_equal(found, vectors_of(step)[rows])
            wrong += [] if right else [f"vectors of {step}"]
    return wrong


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.killed", description=__doc__.split("\n")[0])
    parser.add_argument("--times", type=int, default=20, help="how often a writer is killed")
    args = parser.parse_args(argv)
    acknowledged = whole = 0
    for seed in range(args.times):
        chance = random.Random(seed)
        with tempfile.TemporaryDirectory() as name:
            said = killed(Path(name) / "i", chance.randint(1, 60), chance.uniform(0, 0.1))
            acknowledged += len(said)
            whole += not lost(Path(name) / "i", said)
    emit(
        "killed",
        times=args.times,
        nothing_lost=whole,
        acknowledged_writes=acknowledged,
        reached=whole == args.times,
    )


if __name__ == "__main__":
    main()
