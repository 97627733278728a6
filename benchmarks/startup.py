"""How fast the doors open: `python -m benchmarks.startup`. Seconds of whole processes, and what they load."""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks import child, command_line, emit, quantile

HEAVY = ("torch", "numpy", "sklearn", "pyarrow", "av", "PIL", "scipy")
CASES = {  # name -> command, aim in seconds; the import is counted above a bare interpreter
    "bare python": ([sys.executable, "-c", "pass"], None),
    "import sensorium": ([sys.executable, "-c", "import sensorium"], 0.15),
    "sensorium --help": (command_line("--help"), 0.5),
    "sensorium fit --help": (command_line("fit", "--help"), 0.5),
    "sensorium version": (command_line("version"), 0.5),
}


def loaded(module: str, folder: Path) -> list[str]:
    """Which heavy packages come with a module."""
    code = f"import sys, {module}; print(*[m for m in {HEAVY} if m in sys.modules])"
    return child([sys.executable, "-c", code], folder=folder).out.split()


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=__doc__)
    parser.add_argument("--runs", type=int, default=9)
    runs = parser.parse_args(argv).runs
    with tempfile.TemporaryDirectory() as name:
        folder, bare = Path(name), 0.0
        for case, (command, aim) in CASES.items():
            found = [child(command, folder=folder) for _ in range(runs)]
            if any(r.code for r in found):
                sys.exit(f"{case} failed: {found[0].err[-500:]}")
            wall = quantile([r.wall_s for r in found], 0.5)
            bare = wall if case == "bare python" else bare
            net = round(wall - bare, 3) if case.startswith("import") else wall
            emit(
                "startup", case=case, seconds=net, best=min(r.wall_s for r in found), cpu_s=quantile([r.cpu_s for r in found], 0.5),
                aim=aim, reached=None if aim is None else net <= aim, runs=runs,
            )  # fmt: skip
        for module in ("sensorium", "sensorium.cli"):
            emit("startup", case=f"heavy packages of {module}", packages=loaded(module, folder))


if __name__ == "__main__":
    main()
