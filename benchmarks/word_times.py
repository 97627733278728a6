"""Word times from sounds and transcripts, against given times that learning never sees.

    python -m benchmarks.word_times --data FOLDER

FOLDER holds manifest.csv (id, split, a column of sounds or videos, transcript) and word_times.csv (id, word, start,
end, in seconds). Learned from the training rows, measured on the test rows, beside two controls: an equal share of
the spoken part for each word, and the same models with the transcripts shuffled among the training rows. One JSON line.
"""

import argparse
import csv
import random
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks import emit
from sensorium.alignment.forced import Spoken, equal_shares, learn_words, word_times
from sensorium.modalities import audio
from sensorium.types import Limits, Media

STEP_S = 0.01

Truth = dict[str, list[tuple[float, float]]]


def read(folder: Path, column: str) -> tuple[dict[str, list[dict]], Truth]:
    """Rows of each split with their log-mel frames, and the true times of their words."""
    splits: dict[str, list[dict]] = {}
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            media = Media(content=(folder / row[column]).read_bytes(), name=row["id"])
            sound = audio.decode(media, Limits())
            if sound is not None:
                mel = audio.patches(sound, rate_hz=16000, bands=64, hop_s=STEP_S, longest=20000)
                splits.setdefault(row["split"], []).append({**row, "mel": mel})
    truth: Truth = {}
    with (folder / "word_times.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            truth.setdefault(row["id"], []).append((float(row["start"]), float(row["end"])))
    return splits, truth


def errors(
    rows: Sequence[dict], found: Sequence[Sequence[Spoken]], truth: Truth
) -> dict[str, dict[str, float]]:
    """Milliseconds between told and true times, for starts and ends: median, 90th percentile, and the median shift."""
    pairs = [
        (s, t)
        for r, spoken in zip(rows, found, strict=True)
        for s, t in zip(spoken, truth[r["id"]], strict=True)
    ]
    off = {
        "start": np.array([1000 * (s.start_s - t[0]) for s, t in pairs]),
        "end": np.array([1000 * (s.stop_s - t[1]) for s, t in pairs]),
    }
    return {
        side: {
            "median_ms": round(float(np.median(np.abs(d))), 1),
            "p90_ms": round(float(np.percentile(np.abs(d), 90)), 1),
            "shift_ms": round(float(np.median(d)), 1),
            "within_60_ms": round(float((np.abs(d) <= 60).mean()), 3),
        }
        for side, d in off.items()
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--column", default="video", help="the column of sounds or videos")
    parser.add_argument("--rounds", type=int, default=9)
    asked = parser.parse_args(argv)
    splits, truth = read(asked.data, asked.column)
    train, test = splits["train"], splits["test"]
    mels, said = [r["mel"] for r in test], [r["transcript"] for r in test]
    began = time.process_time()
    learned = learn_words([r["mel"] for r in train], [r["transcript"] for r in train], rounds=asked.rounds)
    learning_s = time.process_time() - began
    began = time.process_time()
    found = word_times(learned, mels, said, step_s=STEP_S)
    aligning_s = time.process_time() - began
    mixed = [r["transcript"] for r in train]
    random.Random(0).shuffle(mixed)
    wrong = word_times(
        learn_words([r["mel"] for r in train], mixed, rounds=asked.rounds), mels, said, step_s=STEP_S
    )
    emit(
        "word times", train=len(train), test=len(test), words=sum(map(len, found)), rounds=asked.rounds,
        learning_cpu_s=round(learning_s, 2), aligning_cpu_s=round(aligning_s, 2), forced=errors(test, found, truth),
        equal_shares=errors(test, [equal_shares(m, t, step_s=STEP_S) for m, t in zip(mels, said, strict=True)], truth),
        shuffled_transcripts=errors(test, wrong, truth),
    )  # fmt: skip


if __name__ == "__main__":
    main()
