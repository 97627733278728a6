"""From attributions of patches to what people see: pixels, seconds, words, channels, points, fields; as JSON."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from sensorium.data import Row
from sensorium.explain.gradients import Attribution
from sensorium.explain.words import words
from sensorium.tasks import Task
from sensorium.types import Modality, Signal

CELLS = 64  # most rows and columns of a picture's heat
FRAME = 16  # the same of each frame of a clip
FRAMES = 16
TIMES = 200  # most steps of a course
BANDS = 32
CHANNELS = 16
POINTS = 1000


def places(
    attribution: Attribution, task: Task, row: Row, *, signals: Mapping[str, Signal] | None = None
) -> dict[str, object]:
    """Say where in each sensor's own terms the output came from, as JSON of well below 300 kB.

    signals: modality -> decoded signal of the row, which tells the text as written, the seconds of a recording that
    was cut or stretched, and the names of channels; without it seconds are those of training, and text is tokens.
    Numbers are sums of attributions, in the unit of the output; those of a modality sum to its `total`.
    """
    found: dict[str, object] = {}
    for m in task.modalities:
        if m.name in attribution.parts:
            part = attribution.parts[m.name].astype(np.float64)
            signal = (signals or {}).get(m.name)
            shown = _BY_CARRIER[m.carrier](part, m, row[m.name], signal)
            found[m.name] = {"carrier": m.carrier, "total": rounded(part.sum()), **shown}
    return {
        "output": attribution.output,
        "value": rounded(np.float64(attribution.value)),
        "baseline": rounded(np.float64(attribution.baseline)),
        "error": rounded(np.float64(attribution.error)),
        "modalities": found,
    }


def rounded(values: np.ndarray | np.floating) -> object:
    """An array (or number) as nested lists of floats with four digits."""
    if np.ndim(values) == 0:
        return float(f"{float(values):.4g}")
    return [rounded(v) for v in values]


def thinned(values: np.ndarray, most: int, *, axis: int = 0) -> np.ndarray:
    """Sum neighbours along an axis so that at most `most` remain; the sum stays."""
    size = -(-values.shape[axis] // most)
    return np.add.reduceat(values, np.arange(0, values.shape[axis], size), axis=axis) if size > 1 else values


def _image(part: np.ndarray, m: Modality, _patches: np.ndarray, _signal: Signal | None) -> dict[str, object]:
    """Cells of the whole picture in reading order; each covers the same share of its height and width."""
    heat = thinned(thinned(part.sum(-1), CELLS), CELLS, axis=1)
    return {"heat": rounded(heat)}


def _video(part: np.ndarray, m: Modality, _patches: np.ndarray, signal: Signal | None) -> dict[str, object]:
    frames = thinned(part.sum(-1), FRAMES)
    heat = thinned(thinned(frames, FRAME, axis=1), FRAME, axis=2)
    told = _course(frames.sum((1, 2)), m, signal, steps=len(part), shown=len(frames))
    return {**told, "heat": rounded(heat)}


def _audio(part: np.ndarray, m: Modality, _patches: np.ndarray, signal: Signal | None) -> dict[str, object]:
    """Steps of time, and for each of them bands of the mel scale from low to high."""
    grid = thinned(thinned(part, TIMES), BANDS, axis=1)
    return {
        **_course(grid.sum(1), m, signal, steps=len(part), shown=len(grid)),
        "bands": rounded(grid),
    }


def _series(part: np.ndarray, m: Modality, _patches: np.ndarray, signal: Signal | None) -> dict[str, object]:
    """The course of each channel, all columns of it summed; the smallest channels together where there are many."""
    count = int(m.options.get("channels", part.shape[1]))  # type: ignore[call-overload]
    whole = part.shape[1] // count * count
    channels = part[:, :whole].reshape(len(part), -1, count).sum(1)
    names = [str(n) for n in m.options.get("names", ())] or [str(i) for i in range(1, count + 1)]  # type: ignore[attr-defined]
    channels = thinned(channels, TIMES)
    top = np.sort(np.argsort(-np.abs(channels).sum(0), kind="stable")[:CHANNELS])
    listed = [{"name": names[i], "values": rounded(channels[:, i])} for i in top]
    rest = channels.sum(1) - channels[:, top].sum(1)
    if count > CHANNELS:
        listed.append({"name": "the others", "values": rounded(rest)})
    if part.shape[1] > whole:  # the time that passed before each step, of recordings without a steady clock
        listed.append({"name": "gaps", "values": rounded(thinned(part[:, whole:].sum(1), TIMES))})
    steps = thinned(part.sum(1), TIMES)
    return {**_course(steps, m, signal, steps=len(part), shown=len(steps)), "channels": listed}


def _points(part: np.ndarray, m: Modality, patches: np.ndarray, signal: Signal | None) -> dict[str, object]:
    """Frames of a timed recording; else the points that count most, placed about the cloud's middle in its unit."""
    each = part.sum(1)
    if m.step_s > 0:
        steps = thinned(each, TIMES)
        return _course(steps, m, signal, steps=len(part), shown=len(steps))
    top = np.sort(np.argsort(-np.abs(each), kind="stable")[:POINTS])
    spread = np.asarray(m.options.get("spread", np.ones(patches.shape[1])))[:3]
    return {"points": rounded(np.column_stack([patches[top, :3] * spread, each[top]]))}


def _table(part: np.ndarray, m: Modality, _patches: np.ndarray, _signal: Signal | None) -> dict[str, object]:
    fields: Sequence[Mapping[str, object]] = m.options.get("fields", ())  # type: ignore[assignment]
    names = [str(f["name"]) for f in fields] or [str(i) for i in range(1, len(part) + 1)]
    return {"fields": [{"name": n, "value": rounded(v)} for n, v in zip(names, part, strict=True)]}


def _text(part: np.ndarray, m: Modality, patches: np.ndarray, signal: Signal | None) -> dict[str, object]:
    found = words(part, m, patches, None if signal is None else str(signal.values[0]))
    return {"words": [{**w, "value": rounded(np.float64(w["value"]))} for w in found]}  # type: ignore[arg-type]


def _course(
    values: np.ndarray, m: Modality, signal: Signal | None, *, steps: int, shown: int
) -> dict[str, object]:
    """A course over time: where it starts and how far its steps are apart; steps have no seconds without a clock."""
    start_s, step_s = clock(m, steps, signal)
    size = -(-steps // shown)
    return {
        "start_s": rounded(np.float64(start_s)),
        "step_s": rounded(np.float64(step_s * size)) if step_s > 0 else None,
        "steps": rounded(values),
    }


def clock(modality: Modality, steps: int, signal: Signal | None) -> tuple[float, float]:
    """Seconds at which the first of `steps` patches starts, and from one to the next; 0 for an unknown step."""
    if signal is None:
        return 0.0, modality.step_s
    if modality.carrier == "audio":
        return _hops(modality, signal)
    if signal.times_s is not None and len(signal.times_s) > 1:
        first, last = float(signal.times_s[0]), float(signal.times_s[-1])
        if modality.carrier == "video":  # its frames hold both ends
            return signal.start_s + first, (last - first) / max(1, steps - 1)
        return signal.start_s + first, (last - first) / steps
    if signal.rate_hz:
        samples = signal.values.shape[1 if modality.options.get("turned") else 0]
        return signal.start_s, samples / signal.rate_hz / steps
    return signal.start_s, modality.step_s


def _hops(modality: Modality, signal: Signal) -> tuple[float, float]:
    """Long clips have longer hops, and lose their ends: the same sums as where their patches are made."""
    rate = int(modality.options.get("rate_hz", 0)) or round(signal.rate_hz or 16000)  # type: ignore[call-overload]
    samples = round(len(signal.values) * rate / (signal.rate_hz or rate))
    hop = max(1, round(modality.step_s * rate))
    frames = 1 + (samples - 1) // hop
    if frames > 2 * modality.longest:
        hop *= frames // modality.longest
        frames = 1 + (samples - 1) // hop
    first = max(0, frames - modality.longest) // 2 * hop
    return signal.start_s + first / rate, hop / rate


_BY_CARRIER: Mapping[str, Callable[..., dict[str, object]]] = {
    "image": _image,
    "video": _video,
    "audio": _audio,
    "series": _series,
    "points": _points,
    "table": _table,
    "text": _text,
}
