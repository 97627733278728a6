"""One row at a time in a warm process: `python -m benchmarks.latency`. Milliseconds from files on disk to an answer.

A model for a picture and a recording is trained for two epochs on the world of the demo (its answers do not matter
here), then asked for one row after the other.
"""

import argparse
import tempfile
import time
from pathlib import Path

from benchmarks import emit, quantile

AIM_MS = 15.0  # of the median for image + audio
CASES = ("image,audio", "image", "audio")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--rows", type=int, default=300, help="rows of the world; each is asked once per case"
    )
    args = parser.parse_args(argv)

    import torch

    import sensorium as sm
    from sensorium.worlds import write_digits

    with tempfile.TemporaryDirectory() as name:
        table = sm.read(
            write_digits(Path(name) / "world", rows=args.rows, missing=0.0, engine="builtin") / "digit.csv"
        )
        model = sm.Model("digit", inputs=["image", "audio"], epochs=2).fit(table, out=Path(name) / "run")
        model = sm.load(Path(name) / "run")
        for case in CASES:
            took = times(model, table, case.split(","))
            p50, p99 = (round(1e3 * quantile(took, share), 2) for share in (0.5, 0.99))
            emit(
                "latency", inputs=case, p50_ms=p50, p99_ms=p99, best_ms=round(1e3 * min(took), 2), rows=len(took),
                aim_p50_ms=AIM_MS, reached=p50 <= AIM_MS, threads=torch.get_num_threads(), size=model.size,
            )  # fmt: skip


def times(model, table, columns: list[str], warm: int = 20) -> list[float]:
    """Seconds of one `predict` of one row each, without those that warm up."""
    from dataclasses import replace

    found = []
    for row in range(len(table)):
        one = table.take([row])
        asked = replace(one, data={k: v for k, v in one.data.items() if k in ("id", *columns)})
        began = time.perf_counter()
        (answer,) = model.predict(asked)
        found.append(time.perf_counter() - began)
        if answer.error:
            raise RuntimeError(answer.error)
    return found[warm:] or found


if __name__ == "__main__":
    main()
