"""Decoding and batching beside the bare decoders: `python -m benchmarks.decode`. Rows a second over the same files.

Three ways over each column, with the same number of threads, each after a pass that warms the disk cache:
`bare` reads the file and lets its library decode it (Pillow to RGB, soundfile, PyAV, numpy); `signal` is our decoding,
with checks and the change of size or rate; `batch` goes on to patches, as training wants them, and pads them in batches.
The aim is `batch` at 0.8 of `bare`. Files of usual sizes that are written first, the tiny files of the world of
everything (where our fixed cost per file shows most), or those of `--table FILE --column NAME --kind CARRIER`.
"""

import argparse
import io
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import emit

AIM = 0.8
COLUMNS = {"image": "image", "sound": "audio", "clip": "video", "trace": "series"}  # of the world -> carrier


def usual(folder: Path, rows: int):
    """Write files as cameras and recorders do: 640 x 480 JPEG, 4 s of 44.1 kHz FLAC, 2 s of 320 x 240 MP4, NPY."""
    import numpy as np
    import soundfile
    from PIL import Image

    from sensorium.store import read
    from sensorium.worlds.everything import encoded_clip

    rng, cells = (
        np.random.default_rng(0),
        {c: [f"{i}.{c}" for i in range(rows)] for c in ("jpg", "flac", "mp4", "npy")},
    )
    for i in range(rows):
        scene = Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)).resize((640, 480))
        scene.save(folder / f"{i}.jpg", quality=88)
        walk = np.cumsum(rng.normal(size=4 * 44_100))
        soundfile.write(folder / f"{i}.flac", 0.3 * walk / np.abs(walk).max(), 44_100)
        still = np.asarray(scene.resize((320, 240)))
        (folder / f"{i}.mp4").write_bytes(encoded_clip([np.roll(still, 4 * k, 1) for k in range(16)]))
        np.save(folder / f"{i}.npy", rng.normal(size=(2000, 6)).astype(np.float32))
    table = folder / "table.jsonl"
    lines = [json.dumps({c: cells[c][i] for c in cells}) for i in range(rows)]
    table.write_text("\n".join(lines), encoding="utf-8")
    return read(table), {"jpg": "image", "flac": "audio", "mp4": "video", "npy": "series"}


def bare_image(raw: bytes) -> object:
    import numpy as np
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(raw)).convert("RGB"))


def bare_audio(raw: bytes) -> object:
    import soundfile

    return soundfile.read(io.BytesIO(raw), dtype="float32")


def bare_video(raw: bytes) -> object:
    import av

    with av.open(io.BytesIO(raw)) as container:
        return [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]


def bare_series(raw: bytes) -> object:
    import numpy as np

    return np.load(io.BytesIO(raw), allow_pickle=False)


BARE: dict[str, Callable[[bytes], object]] = {
    "image": bare_image, "audio": bare_audio, "video": bare_video, "series": bare_series,
}  # fmt: skip


def rate(work: Callable[[], object], rows: int, seconds: float) -> float:
    """Rows a second of the best of several passes over about `seconds`, after one that warms up."""
    work()
    best, began = 0.0, time.perf_counter()
    while not best or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        work()
        best = max(best, rows / (time.perf_counter() - start))
    return best


def measured(table, column: str, carrier: str, *, threads: int, seconds: float) -> dict[str, float]:
    """The three rates of one column."""
    from sensorium.api.prepare import surveyed
    from sensorium.data import Decoder, collate, decode_rows
    from sensorium.tasks import Column
    from sensorium.types import Limits

    rows = [i for i, c in enumerate(table.cells(column)) if c]
    files = [table.folder / str(table.cells(column)[i]).partition("#")[0] for i in rows]
    decoder = Decoder(table, limits=Limits())
    chosen = surveyed(table, [Column(name=column, carrier=carrier, given={})], decoder, 0)
    modality = next(m for m in chosen if m.carrier == carrier)

    def spread(work: Callable, items: Sequence) -> None:
        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(work, items, chunksize=8):
                pass

    def batch() -> None:
        found, faults = decode_rows(decoder, rows, [modality])
        assert not any(faults)
        for start in range(0, len(found), 32):
            collate(found[start : start + 32], [modality])

    ways = {
        "bare": lambda: spread(lambda path: BARE[carrier](path.read_bytes()), files),
        "signal": lambda: spread(lambda row: decoder.signal(row, column, carrier), rows),
        "batch": batch,
    }
    found = {name: round(rate(work, len(rows), seconds), 1) for name, work in ways.items()}
    share = round(found["batch"] / found["bare"], 3)
    return {
        **found,
        "batch_to_bare": share,
        "signal_to_bare": round(found["signal"] / found["bare"], 3),
        "rows": len(rows),
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decode", description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=240)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--threads", type=int, help="default: all cores of this process")
    parser.add_argument("--table", help="a table of yours, with --column and --kind")
    parser.add_argument("--column")
    parser.add_argument("--kind", choices=sorted(BARE))
    args = parser.parse_args(argv)

    from sensorium.health import cores
    from sensorium.store import read
    from sensorium.worlds import write_everything

    threads = args.threads or cores()
    if args.threads and hasattr(
        os, "sched_setaffinity"
    ):  # our decoding takes a thread for every core it may use
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "usual").mkdir()
        if args.table:
            sources = {args.table: (read(args.table), {args.column: args.kind})}
        else:
            tiny = write_everything(Path(name) / "tiny", rows=args.rows, missing=0.0, columns=list(COLUMNS))
            sources = {
                "usual sizes": usual(Path(name) / "usual", args.rows),
                "tiny files": (read(tiny), COLUMNS),
            }
        for source, (table, columns) in sources.items():
            for column, carrier in columns.items():
                found = measured(table, column, carrier, threads=threads, seconds=args.seconds)
                reached = found["batch_to_bare"] >= AIM
                emit("decode", source=source, column=column, carrier=carrier, threads=threads, **found, aim=AIM, reached=reached)  # fmt: skip


if __name__ == "__main__":
    main()
