"""The most memory that a fit takes: `python -m benchmarks.memory`. Megabytes of whole processes.

A fit of one epoch over the world of the demo at two sizes, beside a process that only imports what a fit needs: the
difference of the sizes is what one more row costs.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks import child, command_line, emit


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__.split("\n")[0])
    parser.add_argument("--rows", default="500,2000", help="sizes of the world")
    args = parser.parse_args(argv)

    from sensorium.worlds import write_digits

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        idle = child([sys.executable, "-c", "import sensorium.api, sklearn.ensemble"], folder=folder)
        emit("memory", case="imports only", peak_mb=idle.peak_mb)
        found = {}
        for rows in map(int, args.rows.split(",")):
            table = (
                write_digits(folder / f"world{rows}", rows=rows, missing=0.0, engine="builtin") / "digit.csv"
            )
            ask = [
                "fit",
                str(table),
                "--target",
                "digit",
                "--inputs",
                "image,audio",
                "--epochs",
                "1",
                "--quiet",
            ]
            ran = child(command_line(*ask, "-o", str(folder / f"run{rows}")), folder=folder)
            if ran.code:
                sys.exit(f"the fit failed: {ran.err[-500:]}")
            found[rows] = ran.peak_mb
            emit("memory", case="fit, one epoch", rows=rows, peak_mb=ran.peak_mb, above_imports_mb=round(ran.peak_mb - idle.peak_mb, 1), cpu_s=ran.cpu_s)  # fmt: skip
        few, many = min(found), max(found)
        if few < many:
            emit("memory", case="one more row", kb=round(1e3 * (found[many] - found[few]) / (many - few), 1))


if __name__ == "__main__":
    main()
